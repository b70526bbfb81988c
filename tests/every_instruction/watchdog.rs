//! Nothing here may wait for ever: what does is named, and ends the whole test.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Runs `f`, which may take no longer than `limit`; if it never ends, neither would the test: it is aborted.
pub fn within<R>(limit: Duration, what: &str, f: impl FnOnce() -> R) -> R {
    let (ended, ends) = channel::<()>();
    let name = what.to_owned();
    let patience = limit + Duration::from_secs(30);
    let watch = std::thread::spawn(move || {
        if ends.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            let _ = writeln!(std::io::stderr(), "not within {patience:?}: {name}");
            std::process::abort();
        }
    });
    let start = Instant::now();
    let result = f();
    let took = start.elapsed();
    drop(ended);
    watch.join().expect("the watch only waits");
    assert!(took < limit, "{what} took {took:?}");
    result
}
