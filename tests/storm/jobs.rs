//! Jobs that are leased: each is done in the end, although who does it may die, and none is given out once it is done.

use crate::ledger::Op;
use crate::stage::Stage;
use crate::worker::Worker;
use commonhold::{Error, Lease, Result};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// All that are sent in an act; after that those that are left go round.
pub const JOBS: usize = 1 << 14;
/// Few: so there are some waiting, some leased, and often no room.
pub const PLACES: usize = 5;

impl Worker<'_> {
    /// Sends one, if there is room, and does one, or gives it back.
    pub fn do_a_job(&mut self) {
        let stage: &Stage = self.stage;
        self.operation(Op::Lease, 1, |w| {
            if !stage.jobs.is_full() {
                stage.send_a_job();
            }
            let time = Duration::from_millis(w.random.below(30));
            let Some(lease) = got(match w.random.below(2) {
                0 => stage.jobs.try_lease(),
                _ => stage.jobs.lease_timeout(time),
            }) else {
                return 0;
            };
            let n = *lease as usize;
            assert_eq!(stage.job_done[n].load(SeqCst), 0, "{n} was done before");
            w.peril();
            if w.random.below(4) == 0 {
                drop(lease);
                return 0;
            }
            lease.complete().unwrap();
            stage.job_done[n].store(1, SeqCst);
            1
        });
    }
}

fn got(lease: Result<Lease<u64>>) -> Option<Lease<u64>> {
    match lease {
        Err(Error::Empty | Error::Timeout) => None,
        other => Some(other.unwrap()),
    }
}

impl Stage {
    fn send_a_job(&self) {
        let n = self.jobs_begun[0].fetch_add(1, SeqCst) as usize;
        if n >= JOBS {
            return;
        }
        match self.jobs.try_send(n as u64) {
            Ok(()) => self.job_sent[n].store(1, SeqCst),
            Err(Error::Full) => {}
            Err(e) => panic!("{e}"),
        }
    }

    /// Nobody else is alive: what was sent was done, or is there.
    pub fn settle_jobs(&self) {
        let mut rest = Vec::new();
        while let Some(lease) = got(self.jobs.try_lease()) {
            let n = *lease as usize;
            assert_eq!(self.job_done[n].load(SeqCst), 0, "{n} was done before");
            rest.push(n);
            lease.complete().unwrap();
        }
        self.jobs.try_join().unwrap();
        assert!(rest.len() <= PLACES, "{rest:?}");
        let is_lost = |n: &usize| {
            let [sent, done] = [&self.job_sent, &self.job_done].map(|of| of[*n].load(SeqCst));
            sent == 1 && done == 0 && !rest.contains(n)
        };
        let lost = (0..JOBS).filter(is_lost).count() as u64;
        // Who is killed between the completion and its note.
        let unnoted = self.ledger.cut_short(Op::Lease);
        assert!(
            lost <= unnoted,
            "{lost} jobs were lost, {unnoted} can be done and not noted"
        );
    }
}
