//! Panics that a target makes on purpose, to see what they leave.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What the panics on purpose carry.
struct OnPurpose;

/// Panics, and does not call the hook: libFuzzer's would abort.
pub fn panic_on_purpose() -> ! {
    resume_unwind(Box::new(OnPurpose))
}

/// Runs `f`; `None` if it panicked on purpose.
pub fn catch<R>(f: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => Some(result),
        Err(payload) if payload.is::<OnPurpose>() => None,
        Err(other) => resume_unwind(other),
    }
}
