//! Two seats behind a semaphore of two permits, and a gate that two pass at a time.

use crate::ledger::{Op, Token};
use crate::stage::Stage;
use crate::times::{LIMIT, PATIENCE};
use crate::worker::Worker;
use commonhold::Error;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// Permits, and seats.
pub const SEATS: usize = 2;
/// Who pass the gate together.
pub const PARTIES: usize = 2;

impl Worker<'_> {
    /// Takes a permit, and a seat, for a while. One permit too many would leave somebody without a seat.
    pub fn sit(&mut self) {
        let stage: &Stage = self.stage;
        self.operation(Op::Permit, 1, |w| {
            let permit = loop {
                let time = Duration::from_millis(w.random.below(30));
                let got = match w.random.below(4) {
                    0 => stage.permits.try_acquire(),
                    1 => stage.permits.acquire_timeout(time),
                    _ => stage.permits.acquire(),
                };
                match got {
                    Err(Error::WouldBlock | Error::Timeout) => {}
                    other => break other.unwrap(),
                }
            };
            let seat = w.take_seat();
            stage.sat[0].fetch_add(1, SeqCst);
            w.peril();
            w.leave_seat(seat);
            drop(permit);
            1
        });
    }

    /// A free seat, or else one of a dead.
    fn take_seat(&self) -> usize {
        let seats = &self.stage.seats;
        let mine = self.token().0;
        // Somebody may take the seat that we looked at, and leave us another.
        for _ in 0..1000 {
            let mut seen: Vec<_> = seats.iter().map(|s| s.load(SeqCst)).enumerate().collect();
            seen.retain(|(_, sits)| *sits == 0 || self.ledger().may_be_dead(Token(*sits)));
            seen.sort_by_key(|(_, sits)| *sits != 0);
            for (seat, sits) in seen {
                let taken = seats[seat].compare_exchange(sits, mine, SeqCst, SeqCst);
                if taken.is_ok() {
                    return seat;
                }
            }
            std::thread::yield_now();
        }
        let sit: Vec<String> = seats
            .iter()
            .map(|seat| Token(seat.load(SeqCst)).to_string())
            .collect();
        panic!("a permit too many: {sit:?} sit, and live");
    }

    fn leave_seat(&self, seat: usize) {
        let mine = self.token();
        let left = self.stage.seats[seat].compare_exchange(mine.0, 0, SeqCst, SeqCst);
        assert!(
            left.is_ok() || self.ledger().may_be_dead(mine),
            "{mine} held a permit, and its seat was given away"
        );
    }

    /// Passes the gate with one other, unless that one dies or is late.
    pub fn pass(&mut self) {
        let stage: &Stage = self.stage;
        self.operation(Op::Pass, 1, |w| {
            let time = PATIENCE / 10 + Duration::from_millis(w.random.below(30));
            match stage.gate.wait_timeout(time) {
                Ok(passed) => {
                    let role = usize::from(passed.is_leader());
                    stage.passed[role].fetch_add(1, SeqCst);
                    1
                }
                Err(Error::Broken | Error::Timeout) => {
                    w.peril();
                    stage.gate.reset().unwrap();
                    0
                }
                Err(e) => panic!("{e}"),
            }
        });
    }
}

impl Stage {
    /// All permits are there again, and each that passed the gate did so with another.
    pub fn settle_permits(&self) {
        self.balance(Op::Permit, self.sat[0].load(SeqCst));
        let permits = [(); SEATS].map(|()| self.permits.acquire_timeout(LIMIT).unwrap());
        assert!(matches!(self.permits.try_acquire(), Err(Error::WouldBlock)));
        drop(permits);
        assert_eq!(self.permits.available(), SEATS);
        let [followed, led] = [0, 1].map(|role| self.passed[role].load(SeqCst));
        self.balance(Op::Pass, led + followed);
        // Who is killed as it passes has not noted it.
        let more = self.ledger.cut_short(Op::Pass);
        assert!(
            led.abs_diff(followed) <= more,
            "{led} led, and {followed} followed; {more} were cut short"
        );
        self.gate.reset().unwrap();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| self.gate.wait_timeout(LIMIT).unwrap().is_leader());
            let mine = self.gate.wait_timeout(LIMIT).unwrap().is_leader();
            assert_ne!(mine, other.join().unwrap());
        });
    }
}
