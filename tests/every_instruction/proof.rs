//! The proof of one operation: what each death in it would leave, what real ones leave, and deaths of those who mend.

use crate::case::{Case, LIMIT, Look, Subject, leak};
use crate::region::Snapshot;
use crate::report::Row;
use crate::tracer::{Op, Victim};
use crate::walk::{Place, Scene, Walk};
use crate::watchdog::within;
use commonhold::Segment;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// How much of it, for want of time: each instruction is always stepped, and each distinct state always judged.
#[derive(Clone, Copy)]
pub struct Budget {
    /// Real kills in an operation.
    pub kills: usize,
    /// States, of those that a death in the operation can leave, from which the mending is stepped through.
    pub mended: usize,
}

pub fn prove(subject: &Subject, case: &Case, budget: Budget) -> Row {
    let start = Instant::now();
    let mut proof = Proof {
        subject,
        case,
        row: Row::new(subject.name, case.name),
        states: Vec::new(),
        places: Vec::new(),
    };
    proof.attempt("stepping", Proof::step_through);
    if proof.row.failures.is_empty() {
        for i in spread(proof.places.len(), budget.kills) {
            let place = proof.places[i];
            proof.attempt(&format!("a kill at {place:?}"), |p| p.kill_at(Some(place)));
        }
        proof.attempt("a kill when it is done", |p| p.kill_at(None));
    }
    for i in spread(proof.states.len(), budget.mended) {
        let state = proof.states[i].clone();
        proof.attempt(&format!("mending state {i}"), |p| p.mend(&state));
    }
    proof.row.took = start.elapsed();
    proof.row
}

/// At most `most` of the numbers below `n`, evenly spread, the first and the last among them.
fn spread(n: usize, most: usize) -> Vec<usize> {
    if n <= most {
        return (0..n).collect();
    }
    (0..most).map(|i| i * (n - 1) / (most - 1).max(1)).collect()
}

struct Proof<'a> {
    subject: &'a Subject,
    case: &'a Case,
    row: Row,
    /// What a death in the operation can leave.
    states: Vec<Snapshot>,
    /// Where a death could matter.
    places: Vec<Place>,
}

impl Proof<'_> {
    /// Failures are noted, with what was under way; the proof goes on.
    fn attempt(&mut self, what: &str, f: impl FnOnce(&mut Self)) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| f(self))) {
            let why = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()))
                .unwrap_or_default();
            let (subject, case) = (self.row.subject, self.row.case);
            self.row
                .failures
                .push(format!("{subject}, {case}: {what}: {why}"));
        }
    }

    fn judge(&self, seg: &Segment, look: Look) -> u32 {
        let judge = self.case.judge.unwrap_or(self.subject.judge);
        within(LIMIT, "the survivor's look", || judge(seg, look))
    }

    fn judge_copy(&self, state: &Snapshot, look: Look) -> u32 {
        let copied = state.revive();
        self.judge(&Segment::open(&copied).unwrap(), look)
    }

    /// Who else was at work, and so cannot be told from the victim.
    fn look(&self) -> Look {
        if self.case.peers.is_empty() {
            Look::First
        } else {
            Look::Later
        }
    }

    /// Stops after each instruction; each new state of the region's bytes is given to survivors, in a copy.
    fn step_through(&mut self) {
        let look = self.look();
        let mut scene = Scene::set(self.subject, self.case);
        let mut walk = scene.walk(self.case);
        let mut seen = HashMap::new();
        let mut progress = 0;
        let mut event = None;
        loop {
            // A state that was there before is judged by what was said of it then.
            let state = walk.now.fingerprint();
            let known = seen.get(&state).copied();
            let now = known.unwrap_or_else(|| self.judge_copy(&walk.now, look));
            if known.is_none() {
                seen.insert(state, now);
                self.states.push(walk.now.clone());
            }
            if look == Look::First {
                let at = walk.instructions;
                assert!(event.is_some() || now == 0, "at first {now}");
                assert!(
                    now >= progress && now <= self.case.done,
                    "instruction {at}, {event:?}: from {progress} to {now}"
                );
            }
            progress = now;
            event = walk.next();
            match event {
                Some(place) => self.places.push(place),
                None => break,
            }
        }
        self.row.instructions = walk.instructions;
        self.row.system_calls = walk.system_calls;
        self.row.states = seen.len();
        if look == Look::First {
            assert_eq!(progress, self.case.done, "done, and not there");
        }
        drop(walk);
        scene.victim.finish();
        for peer in scene.peers {
            within(LIMIT, "a peer's end", || peer.finish());
        }
    }

    /// Runs it afresh to a place (or to its end), and kills it there; the survivors go on in the segment itself.
    fn kill_at(&mut self, place: Option<Place>) {
        let mut scene = Scene::set(self.subject, self.case);
        let mut walk = scene.walk(self.case);
        match place {
            Some(place) => walk.go_to(place),
            None => while walk.next().is_some() {},
        }
        drop(walk);
        let was_done = scene.victim.is_done();
        scene.victim.kill();
        scene.wake();
        if let Some(release) = self.case.release {
            within(LIMIT, "releasing the peers", || release(&scene.seg));
        }
        for peer in std::mem::take(&mut scene.peers) {
            within(LIMIT, "a peer's end", || peer.finish());
        }
        let look = self.look();
        let progress = self.judge(&scene.seg, look);
        if look == Look::First {
            let done = self.case.done;
            assert!(
                progress <= done && (progress == done || !was_done),
                "{progress} of {done}"
            );
        }
        self.row.kills += 1;
    }

    /// A survivor mends what a death left: it is stepped through too, and what its own death would leave is judged; then
    /// it is killed, half-way.
    fn mend(&mut self, state: &Snapshot) {
        let mend = self.subject.mend;
        let start = |name: &str| {
            Victim::start(|| -> Op {
                let seg = leak(Segment::open(name).unwrap());
                Box::new(move || mend(seg))
            })
        };
        let copied = state.revive();
        let mut mender = start(&copied);
        let mut walk = Walk::new(&mut mender, &copied, |_| {});
        let mut seen = HashSet::new();
        let mut places = Vec::new();
        loop {
            if seen.insert(walk.now.fingerprint()) {
                self.judge_copy(&walk.now, Look::Later);
            }
            match walk.next() {
                Some(place) => places.push(place),
                None => break,
            }
        }
        self.row.mending_instructions += walk.instructions;
        self.row.mending_states += seen.len();
        drop(walk);
        mender.finish();
        self.judge(&Segment::open(&copied).unwrap(), Look::Later);

        let copied = state.revive();
        let mut mender = start(&copied);
        let mut walk = Walk::new(&mut mender, &copied, |_| {});
        if let Some(place) = places.get(places.len() / 2) {
            walk.go_to(*place);
        }
        drop(walk);
        mender.kill();
        self.judge(&Segment::open(&copied).unwrap(), Look::Later);
        self.row.kills += 1;
    }
}
