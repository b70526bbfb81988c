//! A victim's side: each operation is named, timed, and counted, and may be preceded by a strike.

use crate::layout::{DIRECTORY_LOCK, Object, Sort};
use crate::ledger::Ledger;
use crate::region::Region;
use crate::striker::Striker;
use crate::support::{SHORT_OF_A_NAP, tell};
use commonhold::{Error, Result};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a busy machine may add to a deadline: also less than the maker of an object waits.
pub(crate) const GRACE: Duration = SHORT_OF_A_NAP;
/// The deadline of most timed calls here: long enough to fall asleep.
const SOON: Duration = Duration::from_micros(300);
/// That of one in five hundred: long enough to take part in the watch over deaths.
const LATER: Duration = Duration::from_millis(120);
pub(crate) const AT_ONCE: Duration = Duration::ZERO;
/// How long the maker of an object waits for another, by its documentation.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Tally {
    well: u64,
    refused: u64,
    longest: Duration,
}

pub(crate) struct Watch {
    ledger: Ledger,
    until: Instant,
    /// Strikes before each operation; nobody does if the attacker is a process of its own.
    striker: Option<RefCell<Striker>>,
    /// For a while nobody strikes, so that operations also end well.
    calm: Cell<bool>,
    /// Whether the handles were opened before the attack, and so are where the attacker's map says.
    veteran: Cell<bool>,
    timed: Cell<u32>,
    tallies: RefCell<BTreeMap<&'static str, Tally>>,
}

impl Watch {
    pub(crate) fn new(ledger: &str, time: Duration, striker: Option<Striker>) -> Watch {
        Watch {
            ledger: Ledger::open(ledger),
            until: Instant::now() + time,
            striker: striker.map(RefCell::new),
            calm: Cell::new(false),
            veteran: Cell::new(true),
            timed: Cell::new(0),
            tallies: RefCell::default(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Before a round of operations: one round in eight is calm, and another eighth begins with a sound segment.
    pub(crate) fn begin_round(&self) {
        let Some(striker) = &self.striker else { return };
        let mut striker = striker.borrow_mut();
        let n = striker.below(8);
        if n < 2 {
            striker.begin_anew();
        }
        self.calm.set(n == 0);
    }

    /// Whose handles are used next.
    pub(crate) fn is_used_by(&self, veteran: bool) {
        self.veteran.set(veteran);
    }

    /// Runs an operation that has `deadline` to end. Its error's message is made, too.
    pub(crate) fn op<R>(
        &self,
        name: &'static str,
        deadline: Duration,
        f: impl FnOnce() -> Result<R>,
    ) -> Option<R> {
        self.strike();
        self.ledger.begin(name, deadline + GRACE);
        let start = Instant::now();
        let result = f();
        let took = start.elapsed();
        self.ledger.end();
        assert!(
            took <= deadline + GRACE,
            "{name} took {took:?}, with a deadline of {deadline:?}"
        );
        let mut tallies = self.tallies.borrow_mut();
        let tally = tallies.entry(name).or_default();
        tally.longest = tally.longest.max(took);
        match result {
            Ok(r) => {
                tally.well += 1;
                Some(r)
            }
            Err(e) => {
                tally.refused += 1;
                assert!(!e.to_string().is_empty());
                // None of these can come of anything that was asked here.
                let impossible = matches!(e, Error::PermissionDenied | Error::Io(_));
                assert!(!impossible, "{name}: {e:?}");
                None
            }
        }
    }

    /// As [`op`](Self::op), of a call that is given its deadline.
    pub(crate) fn timed<R>(
        &self,
        name: &'static str,
        f: impl FnOnce(Duration) -> Result<R>,
    ) -> Option<R> {
        let n = self.timed.get() + 1;
        self.timed.set(n);
        let deadline = if n % 500 == 0 { LATER } else { SOON };
        self.op(name, deadline, || f(deadline))
    }

    /// As [`op`](Self::op), of what can't fail.
    pub(crate) fn see<R>(&self, name: &'static str, f: impl FnOnce() -> R) -> R {
        self.op(name, AT_ONCE, || Ok(f())).expect("never refused")
    }

    /// Whether the region is struck by this process, between its operations; otherwise by another, meanwhile.
    pub(crate) fn strikes_itself(&self) -> bool {
        self.striker.is_some()
    }

    fn strike(&self) {
        let Some(striker) = &self.striker else { return };
        if self.calm.get() {
            return;
        }
        let mut striker = striker.borrow_mut();
        for _ in 0..striker.below(4) {
            striker.strike();
        }
    }

    /// As [`op`](Self::op), of a call that waits for as long as the object's lock is held: only where nobody who lives holds
    /// it, and nobody strikes meanwhile.
    pub(crate) fn untimed<R>(
        &self,
        name: &'static str,
        object: &str,
        f: impl FnOnce() -> Result<R>,
    ) -> Option<R> {
        self.strike();
        if !self.veteran.get() {
            // A forged entry may have led it to a lock at another place.
            return None;
        }
        let striker = self.striker.as_ref()?.borrow();
        let mut words = striker.layout.object(object).places.iter();
        let region = &striker.region;
        if words.any(|p| p.sort == Sort::Lock && region.is_held_by_the_living(p.at)) {
            return None;
        }
        drop(striker);
        self.calmly(name, AT_ONCE, f)
    }

    /// What the words of an object say, to one who uses handles of before the attack; `None` where nobody strikes in between.
    pub(crate) fn look<R>(&self, object: &str, f: impl FnOnce(&Region, &Object) -> R) -> Option<R> {
        let striker = self.striker.as_ref()?.borrow();
        Some(f(&striker.region, striker.layout.object(object)))
    }

    /// As [`op`](Self::op), of one that makes an object: it waits for another maker for ten seconds, which are not spent here in vain.
    pub(crate) fn make<R>(&self, name: &'static str, f: impl FnOnce() -> Result<R>) -> Option<R> {
        self.strike();
        let is_held =
            |s: &RefCell<Striker>| s.borrow().region.is_held_by_the_living(DIRECTORY_LOCK);
        if self.striker.as_ref().is_some_and(is_held) {
            return None;
        }
        self.calmly(name, PATIENCE, f)
    }

    fn calmly<R>(
        &self,
        name: &'static str,
        deadline: Duration,
        f: impl FnOnce() -> Result<R>,
    ) -> Option<R> {
        let calm = self.calm.replace(true);
        let r = self.op(name, deadline, f);
        self.calm.set(calm);
        r
    }

    /// Tells the parent how it went.
    pub(crate) fn report(&self) {
        for (name, t) in &*self.tallies.borrow() {
            tell(&format!(
                "{name:<34} {:>9} {:>9} {:>10.3}",
                t.well,
                t.refused,
                t.longest.as_secs_f64() * 1e3
            ));
        }
        tell("end");
    }
}
