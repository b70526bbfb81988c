//! What a panic said, and where, kept for those who wait for the result.

use crate::error::{Error, RemoteBacktrace};
use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    /// What the last panic of this thread said.
    static LAST: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Runs `f`; a panic becomes an [`Error::Panicked`].
pub(super) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        // What was noted last may be of a panic that the function itself caught, if this one was only resumed.
        let noted = LAST.with(|last| last.take());
        let (message, backtrace) = noted
            .filter(|(message, _)| message.starts_with(said(&*payload)))
            .unwrap_or_else(|| (said(&*payload).to_owned(), String::new()));
        // A payload is any value, and its drop may panic in turn.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(second);
        }
        Error::Panicked {
            message,
            backtrace: RemoteBacktrace::new(backtrace),
        }
    })
}

/// From here on each panic's message and backtrace are noted, before whatever else is done about panics. Where a panic ends the process at
/// once (`panic = "abort"`), `last_words` are told of it first.
pub(super) fn note_panics(last_words: impl Fn(Error) + Send + Sync + 'static) {
    static NOTED: AtomicBool = AtomicBool::new(false);
    if NOTED.swap(true, Ordering::Relaxed) {
        return;
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let (message, backtrace) = describe(info);
        if cfg!(panic = "abort") {
            last_words(Error::Panicked {
                message,
                backtrace: RemoteBacktrace::new(backtrace),
            });
        } else {
            let _ = LAST.try_with(|last| last.replace(Some((message, backtrace))));
        }
        before(info);
    }));
}

fn describe(info: &PanicHookInfo<'_>) -> (String, String) {
    let mut message = said(info.payload()).to_owned();
    if let Some(place) = info.location() {
        message.push_str(&format!(", at {place}"));
    }
    (message, backtrace())
}

/// That of the caller, unless somebody said that none is wanted.
fn backtrace() -> String {
    let unwanted = ["RUST_LIB_BACKTRACE", "RUST_BACKTRACE"]
        .iter()
        .find_map(std::env::var_os)
        .is_some_and(|value| value == "0");
    if unwanted {
        return String::new();
    }
    let backtrace = Backtrace::force_capture();
    match backtrace.status() {
        BacktraceStatus::Captured => backtrace.to_string(),
        _ => String::new(),
    }
}

fn said(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "(with a value that is no text)"
    }
}
