//! Objects: each operation in the crate and in the model.

use crate::model::SegmentModel;
use crate::room::Plan;
use crate::segments::{Handle, Life, World};
use crate::things::{How, SPECS, Thing};
use crate::{Len, ObjectName, ObjectOp};
use commonhold::Segment;
use commonhold_fuzz::{apart, check};
use std::rc::Rc;

/// Handles of objects are kept up to this many; then a new one takes an old one's place.
const MOST: usize = 8;

/// A handle of an object: dropped before the life that it prolongs.
pub struct Object {
    thing: Box<dyn Thing>,
    life: Rc<Life>,
    /// Its number in the segment's model.
    index: usize,
}

impl ObjectName {
    /// In a segment.
    fn text(&self, model: &SegmentModel) -> String {
        let objects = model.objects.borrow();
        match self {
            ObjectName::Existing(n) if !objects.is_empty() => {
                objects[usize::from(*n) % objects.len()].name.clone()
            }
            ObjectName::Existing(n) => format!("object {n}"),
            ObjectName::Numbered(n) => format!("object {}", n % 8),
            ObjectName::Long(n) => {
                "é".repeat(usize::from(*n) / 2) + &"x".repeat(usize::from(n % 2))
            }
            ObjectName::Text(text) => text.clone(),
        }
    }
}

impl Len {
    /// In a segment that has room for `most`.
    fn number(self, most: u64) -> usize {
        match self {
            Len::Few(n) => (n % 8).into(),
            Len::Many(n) => n.into(),
            Len::Rest(by) => most.saturating_add_signed(by.into()) as usize,
            Len::Edge(bit, by) => {
                let edge = 1u64.checked_shl((bit % 65).into()).unwrap_or(0);
                edge.wrapping_add_signed(by.into()) as usize
            }
        }
    }
}

impl World {
    pub fn object(&mut self, segment: u8, at: u8, op: &ObjectOp) {
        let count = self.objects.len().max(1);
        let at = usize::from(at) % count;
        match op {
            ObjectOp::Make {
                how,
                name,
                kind,
                len,
                number,
            } => {
                let Some(handle) = self.handle(segment) else {
                    return;
                };
                let spec = usize::from(*kind) % SPECS.len();
                let name = name.text(&handle.life.segment);
                if let Some(object) = make(handle, *how, &name, spec, *len, *number) {
                    object.read();
                    if self.objects.len() == MOST {
                        self.objects[at] = object;
                    } else {
                        self.objects.push(object);
                    }
                }
                self.look(segment);
            }
            ObjectOp::Write(number) => {
                if let Some(object) = self.objects.get(at) {
                    object.thing.write((*number).into());
                    let mut models = object.life.segment.objects.borrow_mut();
                    models[object.index].number = Some((*number).into());
                }
            }
            ObjectOp::Read => {
                if let Some(object) = self.objects.get(at) {
                    object.read();
                }
            }
            ObjectOp::Drop => {
                if at < self.objects.len() {
                    self.objects.swap_remove(at);
                }
            }
        }
    }

    /// Every object still shows what was written to it, whatever was written to others.
    pub fn read_all(&self) {
        self.objects.iter().for_each(Object::read);
    }

    pub fn look_at_objects(&self, segment: &Segment, model: &SegmentModel) {
        let models = model.objects.borrow();
        let objects = segment.objects();
        assert_eq!(objects.len(), models.len());
        for o in &objects {
            let model = &models[model.find(&o.name).expect("an object that is listed")];
            let spec = &SPECS[model.spec];
            assert_eq!(
                (o.kind, o.type_name.as_str(), o.len, o.size as u64),
                (spec.kind, spec.type_name, model.len, model.size)
            );
        }
    }
}

impl Object {
    fn read(&self) {
        let model = &self.life.segment.objects.borrow()[self.index];
        assert!(
            self.thing.shows(model.number),
            "{:?} is not as it was written",
            model.name
        );
    }
}

fn make(
    handle: &Handle,
    how: How,
    name: &str,
    spec: usize,
    len: Len,
    number: u8,
) -> Option<Object> {
    let model = &handle.life.segment;
    let most = Plan::of(&SPECS[spec]).most(model.taken(), model.capacity);
    let mut len = len.number(most);
    if SPECS[spec].size != 0 && most > 1 << 17 {
        // To fill the largest segments takes long; where they end is seen in the small ones.
        len %= 1 << 10;
    }
    let want = model.make(how, name, spec, len, number.into());
    let got = (SPECS[spec].make)(how, &handle.segment, name, len, number.into());
    let ((thing, got), (index, want)) = (apart(got), apart(want));
    check(got, want);
    thing.zip(index).map(|(thing, index)| Object {
        thing,
        life: handle.life.clone(),
        index,
    })
}
