//! A shop with room for one piece: makers and takers wait for each other by condition variables. A wake-up that is lost for good
//! leaves all of them asleep.

use crate::ledger::Op;
use crate::stage::{SHOP, Stage};
use crate::worker::Worker;
use commonhold::{Condvar, MutexGuard};
use std::time::Duration;

pub const ROOM: u64 = 1;
const MADE: usize = 1;
const TAKEN: usize = 2;

fn can_make(shop: &[u64; SHOP]) -> bool {
    shop[MADE] - shop[TAKEN] < ROOM
}

fn can_take(shop: &[u64; SHOP]) -> bool {
    shop[MADE] > shop[TAKEN]
}

impl Worker<'_> {
    pub fn make(&mut self) {
        let stage: &Stage = self.stage;
        self.operation(Op::Make, 1, |w| {
            let mut shop = w.wait_in_shop(&stage.taken, can_make);
            w.count(shop.as_mut(), MADE - 1..MADE);
            w.leave_shop(shop, &stage.made);
            1
        });
    }

    pub fn take(&mut self) {
        let stage: &Stage = self.stage;
        self.operation(Op::Take, 1, |w| {
            let mut shop = w.wait_in_shop(&stage.made, can_take);
            w.count(shop.as_mut(), TAKEN - 1..TAKEN);
            w.leave_shop(shop, &stage.taken);
            1
        });
    }

    fn wait_in_shop<'g>(
        &mut self,
        changed: &Condvar,
        ready: fn(&[u64; SHOP]) -> bool,
    ) -> MutexGuard<'g, [u64; SHOP]>
    where
        Self: 'g,
    {
        let stage: &Stage = self.stage;
        let shop = &stage.shop;
        let mut guard = self.hold(shop);
        while !ready(&guard) {
            let time = Duration::from_millis(self.random.below(30));
            let got = match self.random.below(16) {
                0 => changed.wait_timeout(guard, time).map(|(guard, _)| guard),
                1 => changed
                    .wait_timeout_while(guard, time, |shop| !ready(shop))
                    .map(|(guard, _)| guard),
                n if n % 2 == 0 => changed.wait(guard),
                _ => changed.wait_while(guard, |shop| !ready(shop)),
            };
            guard = self.sound(shop, got);
        }
        guard
    }

    fn leave_shop(&mut self, shop: MutexGuard<'_, [u64; SHOP]>, changed: &Condvar) {
        let all = self.random.below(8) == 0;
        let notify = || {
            if all {
                changed.notify_all();
            } else {
                changed.notify_one();
            }
        };
        if self.random.below(4) == 0 {
            notify();
            drop(shop);
        } else {
            drop(shop);
            // Who dies here takes a wake-up along.
            self.peril();
            notify();
        }
    }
}
