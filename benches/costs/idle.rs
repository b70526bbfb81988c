//! How much of a processor those take who wait for what does not come.

use crate::table::Table;
use commonhold::process::{Process, Stdio};
use commonhold::{Event, Mutex, Queue, Segment};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::time::Duration;

/// So many threads wait in each process.
const THREADS: usize = 50;

/// What a process's threads wait for.
type Waited = (Event, Mutex<u64>, Queue<u64>);

pub(crate) fn tell(table: &mut Table, quick: bool) {
    let (processes, seconds) = if quick { (4, 1) } else { (20, 20) };
    let segment = Segment::anonymous(1 << 20).expect("memory");
    let waited = (
        Event::create(&segment, "event").expect("there is room"),
        Mutex::create(&segment, "mutex", 0).expect("there is room"),
        Queue::create(&segment, "queue", 8).expect("there is room"),
    );
    // Nobody gets it.
    let held = waited.1.lock().expect("nobody died");
    let children: Vec<_> = (0..processes).map(|_| start(waited.clone())).collect();
    for child in &children {
        // When all its threads are there.
        let stdout = child.take_stdout().expect("it is piped");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it says so");
    }
    let used = || {
        children
            .iter()
            .map(|child| used(child.pid()))
            .sum::<Duration>()
    };
    // Each begins with some short naps, which are no part of being idle.
    std::thread::sleep(Duration::from_secs(1));
    let before = used();
    std::thread::sleep(Duration::from_secs(seconds));
    let share = (used() - before).as_secs_f64() / seconds as f64;
    let what = format!(
        "{} threads of {processes} processes wait for {seconds} s, for an event, a mutex or an item",
        processes * THREADS
    );
    table.row([what, format!("{:.2}", 100.0 * share)]);
    for child in children {
        child.kill().expect("it is ours");
        let _ = child.join();
    }
    drop(held);
}

fn start(waited: Waited) -> Process<()> {
    let child = Process::builder(wait, waited)
        .daemon(true)
        .stdout(Stdio::piped());
    child.spawn().expect("this program, again")
}

fn wait((event, mutex, queue): Waited) {
    std::thread::scope(|s| {
        for n in 0..THREADS {
            let (event, mutex, queue) = (&event, &mutex, &queue);
            s.spawn(move || match n % 3 {
                0 => event.wait().is_ok(),
                1 => mutex.lock().is_ok(),
                _ => queue.recv().is_ok(),
            });
        }
        println!("ready");
    });
}

/// The processor's time that the threads of the process have used so far.
fn used(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it is running");
    let of_thread = |path: PathBuf| {
        let said = std::fs::read_to_string(path.join("schedstat")).expect("they are all there");
        let nanos = said.split(' ').next().and_then(|n| n.parse().ok());
        Duration::from_nanos(nanos.expect("a number"))
    };
    threads
        .map(|thread| of_thread(thread.expect("a name").path()))
        .sum()
}
