//! How long the others wait when a process is killed that holds what they wait for.

use crate::segment;
use commonhold::process::Process;
use commonhold::{Error, Event, Mutex};
use divan::Bencher;
use std::time::Duration;

/// A process that holds the mutex, and keeps so many MiB resident.
fn owner(mutex: &Mutex<u64>, held: &Event, mib: usize) -> Process<()> {
    let hold = |(mutex, held, mib): (Mutex<u64>, Event, usize)| {
        let resident = vec![1u8; mib << 20];
        let _guard = mutex.lock().expect("nobody died");
        held.set();
        std::thread::sleep(Duration::from_secs(1000));
        drop(resident);
    };
    let args = (mutex.clone(), held.clone(), mib);
    let owner = Process::builder(hold, args).daemon(true).spawn();
    held.wait().expect("it comes to that");
    owner.expect("this program, again")
}

/// From before SIGKILL is sent until this process has the lock; the owner has so many MiB resident.
#[divan::bench(args = [0, 64, 1024], sample_count = 20, sample_size = 1)]
fn mutex_after_sigkill_of_its_owner(bencher: Bencher<'_, '_>, mib: usize) {
    let segment = segment();
    let mutex = Mutex::create(&segment, "mutex", 0u64).expect("there is room");
    let held = Event::create_auto_reset(&segment, "held").expect("there is room");
    bencher
        .with_inputs(|| owner(&mutex, &held, mib))
        .bench_local_values(|owner| {
            owner.kill().expect("it is ours");
            match mutex.lock() {
                Err(Error::Poisoned) => {
                    drop(mutex.recover().expect("it is ours to mend"));
                }
                other => panic!("{other:?}"),
            }
            owner
        });
}
