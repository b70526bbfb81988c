//! A bank whose tellers are threads. Line by line the same program as `with_commonhold.rs`.

use std::sync::{Barrier, Condvar, Mutex, Once, RwLock};

pub(crate) const TELLERS: usize = 4;
const ACCOUNTS: usize = 8;

pub(crate) struct Bank {
    opening: Once,
    doors: Barrier,
    fee: RwLock<i64>,
    accounts: Mutex<[i64; ACCOUNTS]>,
    gone_home: Mutex<usize>,
    somebody_left: Condvar,
}

impl Bank {
    pub(crate) fn new() -> Self {
        Bank {
            opening: Once::new(),
            doors: Barrier::new(TELLERS),
            fee: RwLock::new(1),
            accounts: Mutex::new([0; ACCOUNTS]),
            gone_home: Mutex::new(0),
            somebody_left: Condvar::new(),
        }
    }

    /// A teller's day.
    pub(crate) fn work(&self) {
        let endow = || *self.accounts.lock().unwrap() = [1_000_000; ACCOUNTS];
        self.opening.call_once(endow);
        if self.doors.wait().is_leader() {
            *self.fee.write().unwrap() += 1;
        }
        for n in 0..100_000 {
            let fee = *self.fee.read().unwrap();
            let mut accounts = self.accounts.lock().unwrap();
            accounts[n % ACCOUNTS] -= fee;
            accounts[0] += fee;
        }
        *self.gone_home.lock().unwrap() += 1;
        self.somebody_left.notify_one();
    }

    /// Waits until all tellers have gone, and counts the money.
    pub(crate) fn close(&self) -> i64 {
        let gone = self.gone_home.lock().unwrap();
        let all_gone = self.somebody_left.wait_while(gone, |gone| *gone < TELLERS);
        drop(all_gone.unwrap());
        self.accounts.lock().unwrap().iter().sum()
    }
}
