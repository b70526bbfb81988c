//! What the public calls alone cannot show: scribbled words, and looks between looks.

use super::*;
use crate::{Pipe, Segment};
use std::sync::atomic::Ordering::Relaxed;

/// Who is not done by then waits for ever.
const LIMIT: Duration = Duration::from_secs(30);

fn pair(bytes: usize) -> (PipeEnd, PipeEnd) {
    let seg = Segment::anonymous(1 << 20).unwrap();
    let pipe = Pipe::create(&seg, "p", bytes).unwrap();
    (pipe.left().unwrap(), pipe.right().unwrap())
}

/// From here on the left end is held by one that died.
fn kill_left(end: &PipeEnd) {
    let dead = MemberId::new(7, 1).unwrap();
    end.raw().ends.left.store(dead.bits(), Relaxed);
}

/// `wait` waits for the left end of `of` to close, and finds out by itself.
fn finds_the_death(of: &PipeEnd, wait: impl FnOnce() -> Result<()> + Send) {
    kill_left(of);
    let (done, finds) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || done.send(wait()));
        let found = finds.recv_timeout(LIMIT);
        // If it does not, it is told, that the test may end.
        of.raw().ends.left.store(1, Relaxed);
        assert!(matches!(found, Ok(Err(Error::Closed))), "{found:?}");
    });
}

#[test]
fn a_scribbled_head_does_not_hide_the_senders_death() {
    for head in [3, u64::MAX, 1 << 40] {
        let (_left, right) = pair(64);
        right.raw().to_right.head.words.store(head, Relaxed);
        finds_the_death(&right, || right.recv(&mut Vec::new()).map(drop));
    }
}

#[test]
fn a_scribbled_tail_does_not_hide_the_receivers_death() {
    for tail in [3, u64::MAX, 1 << 40] {
        let (_left, right) = pair(64);
        right.send(&[0; 64]).unwrap();
        right.raw().to_left.tail.words.store(tail, Relaxed);
        finds_the_death(&right, || right.send(&[0; 64]));
    }
}

#[test]
fn scribbled_positions_are_reported_and_then_mended() {
    for (tail, head) in [
        (Some(1 << 40), None),
        (None, Some(1 << 40)),
        (Some(u64::MAX), Some(5)),
    ] {
        let (left, right) = pair(64);
        let mut got = Vec::new();
        left.send(&[0; 64]).unwrap();
        let lane = &left.raw().to_right;
        if let Some(tail) = tail {
            lane.tail.words.store(tail, Relaxed);
        }
        if let Some(head) = head {
            lane.head.words.store(head, Relaxed);
        }
        // Each meets it once or twice, in whatever order.
        for _ in 0..3 {
            let sent = left.try_send(&[0; 64]);
            assert!(matches!(sent, Ok(()) | Err(Error::Full | Error::Corrupt)));
            let received = right.try_recv(&mut got);
            assert!(matches!(
                received,
                Ok(64) | Err(Error::Empty | Error::Corrupt)
            ));
        }
        while right.try_recv(&mut got).is_ok() {}
        for n in 0..20 {
            left.try_send(&[n; 64]).unwrap();
            assert_eq!(right.try_recv(&mut got).unwrap(), 64);
            assert_eq!(got, [n; 64]);
        }
    }
}

#[test]
fn who_waits_sees_what_another_thread_has_taken_out() {
    let (left, right) = pair(64);
    let sent = [5; 1000];
    std::thread::scope(|scope| {
        scope.spawn(|| left.send(&sent).unwrap());
        let call = right.call(Deadline::NEVER).unwrap();
        let mut looks = Vec::new();
        let mut got = Vec::new();
        let waited = right.wait_for_arrival(&call, |look| {
            looks.push(look);
            if looks.len() == 1 {
                // Just after we found nothing, another thread takes the pieces out, and goes away.
                assert!(right.poll(LIMIT).unwrap());
                return Ok(false);
            }
            right.receive(&call, look, &mut got)
        });
        waited.unwrap();
        assert_eq!(got, sent);
        // Not by way of a nap that ended by itself.
        assert_eq!(looks, [Look::AtOnce, Look::AtOnce]);
    });
}

#[test]
fn one_attempt_takes_out_no_more_than_a_lane() {
    let (left, right) = pair(64);
    // Rests of a message that nobody began: all words are headers.
    let piece = Piece {
        len: 0,
        first: false,
        last: false,
    };
    let words = left.from.len();
    (0..words).for_each(|at| left.from.write_piece(at, piece, &[]));
    left.raw().to_right.tail.words.store(words, Relaxed);
    let call = right.call(Deadline::NEVER).unwrap();
    let mut arriving = right.receiving.next(&call).unwrap();
    for _ in 0..3 {
        let before = arriving.at.own;
        assert!(matches!(
            right.gather(&mut arriving, &call, Look::AtOnce),
            Ok(None)
        ));
        assert_eq!(arriving.at.own.wrapping_sub(before), words);
        // As if the peer sent on and on: ten lanes more are there.
        arriving.at.own = before.wrapping_sub(9 * words);
    }
}
