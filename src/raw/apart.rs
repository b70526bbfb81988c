//! How far the two ends of a queue or lane are apart, to those who do not hold both.

use super::mutex::LOST_AT_ONCE;
use crate::sys::atomic::{AtomicU64, Ordering};

/// How far `tail` is ahead of `head`, both of one moment: more than the capacity if they were scribbled on, or if `head` moves all the time.
/// The one looked at after the other may be any number apart.
pub(super) fn apart(head: &AtomicU64, tail: &AtomicU64) -> u64 {
    // Acquire, both: pairs with the Release of who moved it; what he did before is seen. And `tail` is not read before `head`.
    let mut seen = head.load(Ordering::Acquire);
    let mut apart = 0;
    for _ in 0..LOST_AT_ONCE {
        apart = tail.load(Ordering::Acquire).wrapping_sub(seen);
        let now = head.load(Ordering::Acquire);
        if now == seen {
            break;
        }
        seen = now;
    }
    apart
}
