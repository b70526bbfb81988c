//! A bank whose tellers are processes. Line by line the same program as `with_std.rs`.

use commonhold::{Barrier, Condvar, Mutex, Once, Result, RwLock, Segment};

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
    pub(crate) fn new(seg: &Segment) -> Result<Self> {
        Ok(Bank {
            opening: Once::open_or_create(seg, "opening")?,
            doors: Barrier::open_or_create(seg, "doors", TELLERS)?,
            fee: RwLock::open_or_create(seg, "fee", 1)?,
            accounts: Mutex::open_or_create(seg, "accounts", [0; ACCOUNTS])?,
            gone_home: Mutex::open_or_create(seg, "gone home", 0)?,
            somebody_left: Condvar::open_or_create(seg, "somebody left")?,
        })
    }

    /// A teller's day.
    pub(crate) fn work(&self) {
        let endow = || *self.accounts.lock().unwrap() = [1_000_000; ACCOUNTS];
        self.opening.call_once(endow).unwrap();
        if self.doors.wait().unwrap().is_leader() {
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
