//! How a call ended, and how it should have.

use commonhold::{Error, Result};
use std::fmt::Debug;
use std::mem::discriminant;
use std::time::Duration;

/// For the timed forms: no input may take long.
pub const AT_ONCE: Duration = Duration::ZERO;
/// Long enough to fall asleep.
pub const SOON: Duration = Duration::from_micros(20);

/// Compares what the crate did with what the model says: the value, or the error.
#[track_caller]
pub fn check<R: Debug + PartialEq>(got: Result<R>, want: Result<R>) {
    let same = match (&got, &want) {
        (Ok(got), Ok(want)) => got == want,
        (Err(got), Err(want)) => is_as(got, want),
        _ => false,
    };
    assert!(same, "{got:?} where the model says {want:?}");
    told(got);
}

/// The same variant, and the same numbers. Texts are for people.
fn is_as(got: &Error, want: &Error) -> bool {
    match want {
        Error::OutOfBounds { .. } | Error::OutOfSpace { .. } | Error::TooLarge { .. } => {
            format!("{got:?}") == format!("{want:?}")
        }
        _ => discriminant(got) == discriminant(want),
    }
}

/// What came of a call, and how it ended: for what can't be compared.
pub fn apart<T>(result: Result<T>) -> (Option<T>, Result<()>) {
    match result {
        Ok(it) => (Some(it), Ok(())),
        Err(e) => (None, Err(e)),
    }
}

/// Makes the error's message, too: it must not panic on names that somebody scribbled.
pub fn told<R>(result: Result<R>) -> Option<R> {
    result.map_err(|e| assert!(!e.to_string().is_empty())).ok()
}
