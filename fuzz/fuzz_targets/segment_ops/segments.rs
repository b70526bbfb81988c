//! Segments and their names: each operation in the crate and in the model.

use crate::model::{MOST_MEMBERS, MOST_OBJECTS, SegmentModel};
use crate::objects::Object;
use crate::{Name, Options, SegmentOp};
use commonhold::{Error, Result, Segment, SegmentOptions};
use commonhold_fuzz::{apart, attach, check};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;

/// Places for handles of segments.
const PLACES: usize = 4;

/// A member lives as long as any of its handles.
pub struct Life {
    pub segment: Rc<SegmentModel>,
}

impl Life {
    fn new(segment: &Rc<SegmentModel>) -> Rc<Life> {
        segment.living.set(segment.living.get() + 1);
        Rc::new(Life {
            segment: segment.clone(),
        })
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let living = &self.segment.living;
        living.set(living.get() - 1);
    }
}

pub struct Handle {
    pub segment: Segment,
    pub life: Rc<Life>,
    name: &'static str,
}

/// What stands at a name.
enum Stands {
    Segment(Rc<SegmentModel>),
    /// A file that is none.
    Litter,
}

const GOOD_NAMES: usize = 3;
const DIRECTORY: &str = "/dev/shm";

/// Names that are this process's own; the last one as long as can be.
fn good_names() -> &'static [String; GOOD_NAMES] {
    static NAMES: OnceLock<[String; GOOD_NAMES]> = OnceLock::new();
    NAMES.get_or_init(|| {
        let name = |end: &str| format!("commonhold-fuzz-{}-{end}", std::process::id());
        let mut longest = name("longest");
        longest.push_str(&"x".repeat(255 - longest.len()));
        [name("first"), name("second"), longest]
    })
}

fn bad_name(n: u8) -> &'static str {
    static TOO_LONG: [u8; 256] = [b'x'; 256];
    let too_long = std::str::from_utf8(&TOO_LONG).expect("letters");
    let all = ["", ".", "..", "a/b", "/", "a\0", "/dev/shm/a", too_long];
    all[usize::from(n) % all.len()]
}

/// A name as the model sees it.
enum Meant {
    Good(usize),
    /// In a directory that does not exist.
    Nowhere,
    Bad,
}

impl Name {
    fn text(&self) -> &'static str {
        match *self {
            Name::Good(n) => &good_names()[usize::from(n) % GOOD_NAMES],
            Name::Bad(n) => bad_name(n),
        }
    }
}

pub struct World {
    handles: [Option<Handle>; PLACES],
    pub objects: Vec<Object>,
    names: [Option<Stands>; GOOD_NAMES],
}

impl Options {
    fn build(&self) -> SegmentOptions {
        let directory = if self.nowhere {
            Path::new("/dev/shm/commonhold-fuzz/has/no such directory")
        } else {
            Path::new(DIRECTORY)
        };
        SegmentOptions::new()
            .capacity(self.capacity.bytes() as usize)
            .max_members(self.members.number(MOST_MEMBERS))
            .max_objects(self.objects.number(MOST_OBJECTS))
            .mode(self.permissions())
            .directory(directory)
    }

    /// Whatever else: this process may open it.
    fn permissions(&self) -> u32 {
        u32::from(self.mode) | 0o600
    }

    fn meant(&self, name: &Name) -> Meant {
        match *name {
            Name::Bad(_) => Meant::Bad,
            Name::Good(_) if self.nowhere => Meant::Nowhere,
            Name::Good(n) => Meant::Good(usize::from(n) % GOOD_NAMES),
        }
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

impl World {
    pub fn new() -> World {
        World {
            handles: Default::default(),
            objects: Vec::new(),
            names: Default::default(),
        }
    }

    pub fn handle(&self, at: u8) -> Option<&Handle> {
        self.handles[usize::from(at) % PLACES].as_ref()
    }

    pub fn segment(&mut self, at: u8, op: &SegmentOp) {
        match op {
            SegmentOp::Create(name, o) => {
                let want = self.create(name, o);
                let made = want.is_ok();
                self.put(at, o.build().create(name.text()), want, name.text());
                if made {
                    let permissions = path(name.text()).metadata().unwrap().permissions();
                    assert_eq!(permissions.mode() & 0o777, o.permissions() & 0o777);
                }
            }
            SegmentOp::Open(name, o) => {
                let want = self.open(name, o);
                self.put(at, o.build().open(name.text()), want, name.text());
            }
            SegmentOp::OpenOrCreate(name, o) => {
                let want = match self.open(name, o) {
                    Err(Error::NotFound) => self.create(name, o),
                    other => other,
                };
                self.put(at, o.build().open_or_create(name.text()), want, name.text());
            }
            SegmentOp::Anonymous(o) => {
                let want = SegmentModel::new(o).and_then(SegmentModel::mapped);
                let want = want.map(|s| Life::new(&Rc::new(s)));
                self.put(at, o.build().anonymous(), want, "");
            }
            SegmentOp::FromFd(from) => {
                if let Some(from) = self.handle(*from) {
                    let (got, want) = (attach(&from.segment), admit(&from.life.segment));
                    self.put(at, got, want, "");
                }
            }
            SegmentOp::Clone(from) => {
                if let Some(from) = self.handle(*from) {
                    let clone = Handle {
                        segment: from.segment.clone(),
                        life: from.life.clone(),
                        name: from.name,
                    };
                    self.handles[usize::from(at) % PLACES] = Some(clone);
                }
            }
            SegmentOp::Drop => self.handles[usize::from(at) % PLACES] = None,
            SegmentOp::Unlink(name, o) => {
                let want = match o.meant(name) {
                    Meant::Bad => Err(Error::InvalidName),
                    Meant::Nowhere => Err(Error::NotFound),
                    Meant::Good(n) => match self.names[n].take() {
                        None => Err(Error::NotFound),
                        Some(Stands::Segment(_)) => Ok(()),
                        litter => {
                            self.names[n] = litter;
                            Err(Error::NotASegment)
                        }
                    },
                };
                check(o.build().unlink(name.text()), want);
            }
            SegmentOp::Litter(name, bytes) => {
                if let Name::Good(n) = *name {
                    self.names[usize::from(n) % GOOD_NAMES] = Some(Stands::Litter);
                    let path = path(name.text());
                    // Removed first: a segment that has the name lives on without it.
                    let _ = std::fs::remove_file(&path);
                    std::fs::write(path, vec![b'c'; usize::from(*bytes)]).unwrap();
                }
            }
            SegmentOp::Members => {
                if let Some(handle) = self.handle(at) {
                    let members = handle.segment.members();
                    assert_eq!(members.len(), handle.life.segment.living.get());
                    assert!(
                        members
                            .iter()
                            .all(|m| m.alive && m.pid == std::process::id())
                    );
                    assert_eq!(members.iter().filter(|m| m.is_me).count(), 1);
                }
            }
        }
        self.look(at);
    }

    fn create(&mut self, name: &Name, o: &Options) -> Result<Rc<Life>> {
        let n = match o.meant(name) {
            Meant::Bad => return Err(Error::InvalidName),
            Meant::Nowhere => {
                SegmentModel::new(o)?;
                return Err(Error::NotFound);
            }
            Meant::Good(n) => n,
        };
        let model = SegmentModel::new(o)?;
        if self.names[n].is_some() {
            return Err(Error::AlreadyExists);
        }
        let model = Rc::new(model.mapped()?);
        self.names[n] = Some(Stands::Segment(model.clone()));
        Ok(Life::new(&model))
    }

    fn open(&self, name: &Name, o: &Options) -> Result<Rc<Life>> {
        match o.meant(name) {
            Meant::Bad => Err(Error::InvalidName),
            Meant::Nowhere => Err(Error::NotFound),
            Meant::Good(n) => match &self.names[n] {
                None => Err(Error::NotFound),
                Some(Stands::Litter) => Err(Error::NotASegment),
                Some(Stands::Segment(model)) => admit(model),
            },
        }
    }

    fn put(&mut self, at: u8, got: Result<Segment>, want: Result<Rc<Life>>, name: &'static str) {
        let ((segment, got), (life, want)) = (apart(got), apart(want));
        check(got, want);
        if let (Some(segment), Some(life)) = (segment, life) {
            self.handles[usize::from(at) % PLACES] = Some(Handle {
                segment,
                life,
                name,
            });
        }
    }

    /// What the segment says of itself.
    pub fn look(&self, at: u8) {
        let Some(handle) = self.handle(at) else {
            return;
        };
        let (segment, model) = (&handle.segment, &handle.life.segment);
        assert_eq!(segment.name(), handle.name);
        assert_eq!(segment.capacity() as u64, model.capacity);
        assert_eq!(segment.available() as u64, model.capacity - model.taken());
        self.look_at_objects(segment, model);
    }
}

/// One member more, if there is room.
fn admit(segment: &Rc<SegmentModel>) -> Result<Rc<Life>> {
    if segment.living.get() == segment.max_members {
        return Err(Error::TooManyMembers);
    }
    Ok(Life::new(segment))
}

/// Leaves nothing behind.
impl Drop for World {
    fn drop(&mut self) {
        for (name, stands) in good_names().iter().zip(&self.names) {
            if stands.is_some() {
                std::fs::remove_file(path(name)).expect("what the model has there");
            }
        }
    }
}
