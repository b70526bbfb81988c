//! What the tests share: names that are removed, processes of their own, and one object of each kind.

use commonhold::{Array, Atomics, Condvar, Error, Kind, Mutex, Queue, Result, Segment, Value};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Matches the error, and looks for each piece of text in its message.
macro_rules! refused {
    ($result:expr, $pattern:pat $(if $guard:expr)?, $says:expr $(, $($context:tt)+)?) => {{
        let result = $result;
        #[allow(unused_mut, unused_assignments)]
        let mut context = String::new();
        $(context = format!(" ({})", format_args!($($context)+));)?
        match result {
            Err(e) => {
                assert!(
                    matches!(&e, $pattern $(if $guard)?),
                    "the wrong error{context}: {e:?}, {} expected", stringify!($pattern)
                );
                let message = e.to_string();
                for piece in &$says {
                    let piece: &str = piece.as_ref();
                    assert!(message.contains(piece), "{message:?} does not say {piece:?}{context}");
                }
            }
            Ok(_) => panic!("no error{context}, {} expected", stringify!($pattern)),
        }
    }};
}

// What was found, and what to do about it.
pub(crate) const NOT_FOUND: [&str; 2] = ["no segment or object of that name", "create it first"];
pub(crate) const ALREADY_EXISTS: [&str; 2] = ["exists already", "choose another name"];
pub(crate) const INVALID_NAME: [&str; 3] =
    ["the name cannot be used", "1 to 255 bytes", "1 to 96 bytes"];
pub(crate) const NOT_A_SEGMENT: [&str; 2] = ["not a commonhold segment", "choose another name"];
pub(crate) const VERSION: [&str; 3] = [
    "another layout version or byte order",
    "(version 1)",
    "create it anew",
];
pub(crate) const CORRUPT: [&str; 3] = ["contradict each other", "unlink it", "create it anew"];
pub(crate) const DENIED: [&str; 3] = ["belongs to another user", "mode", "allow_other_users"];
pub(crate) const NO_ROOM_IN_SEGMENT: [&str; 2] = ["the segment has", "a larger capacity"];
pub(crate) const NO_ROOM_IN_FILE_SYSTEM: [&str; 2] =
    ["the file system has", "choose another directory"];

/// A name in `/dev/shm` that nobody else uses, and that is free again when this is dropped.
pub(crate) struct Name(pub(crate) String);

impl Name {
    pub(crate) fn new() -> Name {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let n = MADE.fetch_add(1, Ordering::Relaxed);
        Name(format!("bad-input-{}-{n}", std::process::id()))
    }

    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/dev/shm").join(&self.0)
    }

    pub(crate) fn exists(&self) -> bool {
        self.path().symlink_metadata().is_ok()
    }

    /// The file, open for reading and writing behind the crate's back.
    pub(crate) fn file(&self) -> File {
        File::options()
            .read(true)
            .write(true)
            .open(self.path())
            .unwrap()
    }
}

impl std::ops::Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        remove(&self.path());
    }
}

/// Removes whatever stands there, if anything does.
pub(crate) fn remove(path: &Path) {
    if fs::remove_file(path).is_err() {
        let _ = fs::remove_dir_all(path);
    }
}

/// A directory that is removed when this is dropped.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new() -> Dir {
        let path = std::env::temp_dir().join(&*Name::new());
        fs::create_dir(&path).unwrap();
        Dir(path)
    }

    pub(crate) fn is_empty(&self) -> bool {
        fs::read_dir(&self.0).unwrap().next().is_none()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// This test binary, to be started again: by way of an emulator, if one runs it, which `COMMONHOLD_TEST_RUNNER` then names.
pub(crate) fn this_program() -> Command {
    let exe = std::env::current_exe().unwrap();
    let runner = std::env::var_os("COMMONHOLD_TEST_RUNNER").filter(|runner| !runner.is_empty());
    let Some(runner) = runner else {
        return Command::new(exe);
    };
    let mut command = Command::new(runner);
    command.arg(exe);
    command
}

const ALONE: &str = "COMMONHOLD_BAD_INPUT_ALONE";

/// Runs `body`, a closure in a test, in a process of its own, in which that test is the only one. A process that hangs is
/// killed after a minute.
pub(crate) fn alone<F: FnOnce()>(body: F) {
    // The closure is named after the function that it stands in: `bad_input::<test>::{{closure}}`.
    let test = std::any::type_name::<F>()
        .trim_start_matches("bad_input::")
        .trim_end_matches("::{{closure}}");
    if std::env::var(ALONE).is_ok_and(|t| t == test) {
        // SAFETY: the call has no preconditions; its signal ends this process, which has nothing else to do.
        unsafe { libc::alarm(60) };
        return body();
    }
    let child = this_program()
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env(ALONE, test)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let out = child.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&out.stdout);
    if !out.status.success() {
        // It may have had no time to tidy up.
        let left = format!("bad-input-{pid}-");
        for directory in ["/dev/shm".into(), std::env::temp_dir()] {
            for entry in fs::read_dir(directory).unwrap().flatten() {
                if entry.file_name().to_string_lossy().starts_with(&left) {
                    remove(&entry.path());
                }
            }
        }
    }
    assert!(
        out.status.success() && printed.contains("1 passed"),
        "{test}, alone: {}\n{printed}",
        out.status
    );
}

pub(crate) fn is_root() -> bool {
    // SAFETY: the call has no preconditions.
    unsafe { libc::geteuid() == 0 }
}

/// Ends a test that can't be made here, and says why.
macro_rules! skip {
    ($($why:tt)+) => {{
        // Not by eprintln, which libtest keeps to itself.
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("skipped: {}\n", format_args!($($why)+)));
        return;
    }};
}

pub(crate) fn put(file: &File, at: u64, bytes: &[u8]) {
    file.write_all_at(bytes, at).unwrap();
}

pub(crate) fn take<const N: usize>(file: &File, at: u64) -> [u8; N] {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at).unwrap();
    bytes
}

/// One object of each kind.
pub(crate) struct Objects {
    pub(crate) value: Value<u64>,
    pub(crate) array: Array<u32>,
    pub(crate) atomics: Atomics<AtomicU64>,
    pub(crate) mutex: Mutex<u64>,
    pub(crate) condvar: Condvar,
    pub(crate) queue: Queue<u64>,
}

pub(crate) const ARRAY: [u32; 5] = [1, 2, 3, 4, 5];

impl Objects {
    pub(crate) fn create(seg: &Segment) -> Objects {
        Objects {
            value: Value::create(seg, "value", 7).unwrap(),
            array: Array::from_slice(seg, "array", &ARRAY).unwrap(),
            atomics: Atomics::create(seg, "atomics", 4).unwrap(),
            mutex: Mutex::create(seg, "mutex", 11).unwrap(),
            condvar: Condvar::create(seg, "condvar").unwrap(),
            queue: Queue::create(seg, "queue", 5).unwrap(),
        }
    }

    pub(crate) fn open(seg: &Segment) -> Result<Objects> {
        Ok(Objects {
            value: Value::open(seg, "value")?,
            array: Array::open(seg, "array")?,
            atomics: Atomics::open(seg, "atomics")?,
            mutex: Mutex::open(seg, "mutex")?,
            condvar: Condvar::open(seg, "condvar")?,
            queue: Queue::open(seg, "queue")?,
        })
    }

    /// Uses each object, every wait with a deadline. A value that is not what was put there is a panic: nobody scribbled
    /// on the objects.
    pub(crate) fn work(&self) -> Result<()> {
        const LONG: Duration = Duration::from_secs(20);
        const SHORT: Duration = Duration::from_millis(3);
        self.value.set_timeout(8, LONG)?;
        self.value.update_timeout(LONG, |v| *v -= 1)?;
        assert_eq!(self.value.get()?, 7);
        assert_eq!(*self.array.lock_timeout(LONG)?, ARRAY);
        self.atomics[3].fetch_add(1, Ordering::Relaxed);
        // A wait that nobody ends, with a deadline that is kept.
        let start = Instant::now();
        let waited = self.value.wait_until_timeout(SHORT, |_| false);
        refused!(waited, Error::Timeout, ["the deadline passed"]);
        let guard = self.mutex.lock_timeout(LONG)?;
        assert_eq!(*guard, 11);
        drop(self.condvar.wait_timeout(guard, SHORT)?);
        refused!(
            self.queue.recv_timeout(SHORT),
            Error::Timeout,
            ["the deadline passed"]
        );
        assert!(start.elapsed() < LONG, "a deadline was not kept");
        // A wait that another thread ends.
        std::thread::scope(|s| {
            let receiver = s.spawn(|| self.queue.recv_timeout(LONG));
            self.queue.send_timeout(5, LONG)?;
            assert_eq!(receiver.join().unwrap()?, 5);
            Ok(())
        })
    }
}

/// How one kind of object is made and opened, and how a message begins to name it (32-bit x86 aligns a `u64` to 4).
pub(crate) struct Opener {
    pub(crate) kind: Kind,
    pub(crate) described: &'static str,
    pub(crate) create: fn(&Segment, &str) -> Result<()>,
    pub(crate) open: fn(&Segment, &str) -> Result<()>,
    pub(crate) open_or_create: fn(&Segment, &str) -> Result<()>,
}

macro_rules! opener {
    ($kind:ident, $type:ty, $described:literal $(, $arg:expr)*) => {
        Opener {
            kind: Kind::$kind,
            described: $described,
            create: |seg, name| <$type>::create(seg, name $(, $arg)*).map(drop),
            open: |seg, name| <$type>::open(seg, name).map(drop),
            open_or_create: |seg, name| <$type>::open_or_create(seg, name $(, $arg)*).map(drop),
        }
    };
}

pub(crate) const OPENERS: [Opener; 6] = [
    opener!(
        Value,
        Value<u64>,
        "a Value<u64> (8 bytes each, aligned to ",
        0
    ),
    opener!(Array, Array<u64>, "an Array<u64>", 3, 0),
    opener!(Atomics, Atomics<AtomicU64>, "an Atomics<AtomicU64>", 3),
    opener!(
        Mutex,
        Mutex<u64>,
        "a Mutex<u64> (8 bytes each, aligned to ",
        0
    ),
    opener!(Condvar, Condvar, "a Condvar"),
    opener!(Queue, Queue<u64>, "a Queue<u64>", 3),
];

/// Runs `body` in a forked child, in a process that was started for one test (see [`alone`]), and says how it ended.
pub(crate) fn forked(body: impl FnOnce()) -> i32 {
    assert!(std::env::var_os(ALONE).is_some());
    // SAFETY: this process runs one test; its other thread is libtest's, which waits and holds no lock that the child needs.
    match unsafe { libc::fork() } {
        0 => {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            // SAFETY: ends the child without the parent's destructors and exit handlers.
            unsafe { libc::_exit(if done.is_ok() { 0 } else { 1 }) }
        }
        child => {
            let mut status = -1;
            // SAFETY: the child is ours, and `status` an int.
            let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert!(child > 0 && waited == child);
            status
        }
    }
}
