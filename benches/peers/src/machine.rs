//! Where the bench runs: which CPUs, which machine, when; and a piece of work of known length.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The CPUs that this process had when it was started.
static ALL: OnceLock<libc::cpu_set_t> = OnceLock::new();

fn affinity() -> libc::cpu_set_t {
    // SAFETY: zero bytes are an empty cpu_set_t, which the call fills.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let r = libc::sched_getaffinity(0, size_of_val(&set), &mut set);
        assert_eq!(r, 0, "sched_getaffinity: {}", error());
        set
    }
}

fn set_affinity(set: &libc::cpu_set_t) {
    // SAFETY: the set is as long as it says.
    let r = unsafe { libc::sched_setaffinity(0, size_of_val(set), set) };
    assert_eq!(r, 0, "sched_setaffinity: {}", error());
}

/// The CPUs of the two parties; `None` where there is only one, and both run as the kernel likes. To be called before
/// [`pin`].
pub(crate) fn two_cpus() -> Option<[usize; 2]> {
    let set = ALL.get_or_init(affinity);
    // SAFETY: the index is below CPU_SETSIZE.
    let mut cpus = (0..libc::CPU_SETSIZE as usize).filter(|&n| unsafe { libc::CPU_ISSET(n, set) });
    Some([cpus.next()?, cpus.next()?])
}

/// Binds the calling thread, and what it starts, to one CPU.
pub(crate) fn pin(cpu: usize) {
    // SAFETY: zero bytes are an empty cpu_set_t; `cpu` came out of such a set, so it is below CPU_SETSIZE.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        set
    };
    set_affinity(&set);
}

/// Calls `f`, bound to no CPU, and neither is what it starts.
pub(crate) fn on_all_cpus<R>(f: impl FnOnce() -> R) -> R {
    let bound = affinity();
    set_affinity(ALL.get_or_init(affinity));
    let result = f();
    set_affinity(&bound);
    result
}

pub(crate) fn error() -> std::io::Error {
    std::io::Error::last_os_error()
}

/// Looks until there is something.
#[inline]
pub(crate) fn poll<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        for _ in 0..256 {
            if let Some(found) = look() {
                return found;
            }
            std::hint::spin_loop();
        }
        // With one CPU for both, or on a busy machine, the other may be waiting for this one.
        std::thread::yield_now();
    }
}

/// Does `n` steps of work that no cache and no other CPU can hurry or delay.
#[inline]
pub(crate) fn work(n: u32) {
    let mut x = 1u64;
    for _ in 0..n {
        x = x.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
    }
    black_box(x);
}

/// How many steps of [`work`] take `time`.
pub(crate) fn steps(time: Duration) -> u32 {
    const STEPS: u32 = 100_000;
    // The fastest of several: an interruption makes one longer, nothing makes one shorter.
    let fastest = (0..20)
        .map(|_| {
            let start = Instant::now();
            work(black_box(STEPS));
            start.elapsed()
        })
        .min()
        .unwrap_or(Duration::MAX);
    (u128::from(STEPS) * time.as_nanos() / fastest.as_nanos().max(1)) as u32
}

/// Whether nothing but this runs just now.
fn is_quiet() -> bool {
    // Averages of load, and then how many run of how many there are.
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace()
        .nth(3)
        .is_none_or(|n| n.starts_with("1/"))
}

/// How long we are willing to wait for a quiet machine, and how many samples we took on another.
#[derive(Default)]
pub(crate) struct Patience {
    pub(crate) left: Duration,
    pub(crate) samples: u32,
    pub(crate) disturbed: u32,
}

impl Patience {
    /// Takes a sample, again if other processes were seen before or after it.
    pub(crate) fn sample(&mut self, mut sample: impl FnMut() -> f64) -> f64 {
        self.samples += 1;
        loop {
            let start = Instant::now();
            let before = is_quiet();
            if !before && !self.left.is_zero() {
                std::thread::sleep(Duration::from_millis(5));
                self.left = self.left.saturating_sub(start.elapsed());
                continue;
            }
            let result = sample();
            let quiet = before && is_quiet();
            if quiet || self.left.is_zero() {
                self.disturbed += u32::from(!quiet);
                return result;
            }
            self.left = self.left.saturating_sub(start.elapsed());
        }
    }
}

/// What the report says about the machine, name and content.
pub(crate) fn describe(cpus: Option<[usize; 2]>) -> Vec<(&'static str, String)> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or(std::env::consts::ARCH, |(_, model)| model);
    let pinned = match cpus {
        Some([a, b]) => format!("{model}, parties on CPUs {a} and {b}"),
        None => format!("{model}, one CPU for both parties"),
    };
    vec![
        ("machine", pinned),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().into()),
        ("date", date()),
        ("load", read("/proc/loadavg").trim().into()),
        ("peers", peers()),
    ]
}

/// Which versions of the peers were built.
fn peers() -> String {
    const PEERS: [&str; 12] = [
        "concurrent-queue",
        "crossbeam-channel",
        "crossbeam-queue",
        "disruptor",
        "flume",
        "iceoryx2",
        "ipc-channel",
        "kanal",
        "parking_lot",
        "raw_sync",
        "ringbuf",
        "rtrb",
    ];
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock");
    let lock = std::fs::read_to_string(lock).unwrap_or_default();
    let quoted = |line: &str, key: &str| {
        let rest = line.strip_prefix(key)?.strip_prefix(" = \"")?;
        rest.strip_suffix('"').map(str::to_owned)
    };
    let mut lines = lock.lines();
    let mut peers = Vec::new();
    while let Some(line) = lines.next() {
        let Some(name) = quoted(line, "name").filter(|name| PEERS.contains(&name.as_str())) else {
            continue;
        };
        let version = lines.next().and_then(|line| quoted(line, "version"));
        peers.push(format!("{name} {}", version.unwrap_or_default()));
    }
    peers.join(", ")
}

fn date() -> String {
    // SAFETY: `time` accepts null; zero bytes are a valid tm, which `gmtime_r` fills from a time it may read.
    let t = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut t: libc::tm = std::mem::zeroed();
        libc::gmtime_r(&now, &mut t);
        t
    };
    format!(
        "{}-{:02}-{:02} {:02}:{:02} UTC",
        t.tm_year + 1900,
        t.tm_mon + 1,
        t.tm_mday,
        t.tm_hour,
        t.tm_min
    )
}
