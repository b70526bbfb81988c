//! Those who work while somebody scribbles: one for each primitive, each with all its public operations.

mod array;
mod atomics;
mod barrier;
mod blocks;
mod broadcast;
mod condvar;
mod event;
mod messages;
mod mutex;
mod once;
mod pipe;
mod queue;
mod reentrant;
mod ring;
mod rwlock;
mod segment;
mod select;
mod semaphore;
mod value;

use crate::fence::Fence;
use crate::region::Region;
use crate::striker::Striker;
use crate::support::{listen, tell};
use crate::watch::{AT_ONCE, Watch};
use commonhold::{Result, Segment};
use std::time::Duration;

/// One process's handles to the objects of one primitive.
trait Victim: Sized {
    /// Makes the objects.
    fn create(seg: &Segment) -> Result<Self>;
    fn open(seg: &Segment) -> Result<Self>;
    /// Uses them: every public operation.
    fn round(&self, watch: &Watch);
}

/// Makes the objects that the victims of `primitive` use.
pub(crate) fn prepare(primitive: &str, seg: &Segment) {
    match primitive {
        "segment" => drop(segment::All::create(seg).unwrap()),
        "mutex" => drop(mutex::Mutexes::create(seg).unwrap()),
        "condvar" => drop(condvar::Waited::create(seg).unwrap()),
        "value" => drop(value::Values::create(seg).unwrap()),
        "array" => drop(array::Arrays::create(seg).unwrap()),
        "atomics" => drop(atomics::Cells::create(seg).unwrap()),
        "rwlock" => drop(rwlock::RwLocks::create(seg).unwrap()),
        "broadcast" => drop(broadcast::Broadcasts::create(seg).unwrap()),
        "queue" => drop(queue::Queues::create(seg).unwrap()),
        "ring" => drop(ring::Rings::create(seg).unwrap()),
        "messages" => drop(messages::Mails::create(seg).unwrap()),
        "pipe" => drop(pipe::Pipes::create(seg).unwrap()),
        "blocks" => drop(blocks::Blocks::create(seg).unwrap()),
        "semaphore" => drop(semaphore::Semaphores::create(seg).unwrap()),
        "barrier" => drop(barrier::Barriers::create(seg).unwrap()),
        "event" => drop(event::Events::create(seg).unwrap()),
        "select" => drop(select::Selected::create(seg).unwrap()),
        "once" => drop(once::Onces::create(seg).unwrap()),
        "reentrant" => drop(reentrant::Reentrants::create(seg).unwrap()),
        other => panic!("no primitive {other}"),
    }
}

/// A victim process: [primitive, segment, ledger, milliseconds, seed of its own attacks or ""].
pub(crate) fn victim(args: &[String]) {
    let [primitive, name, ledger, time, seed] = args else {
        panic!("five arguments")
    };
    let work = match &**primitive {
        "segment" => work::<segment::All>,
        "mutex" => work::<mutex::Mutexes>,
        "condvar" => work::<condvar::Waited>,
        "value" => work::<value::Values>,
        "array" => work::<array::Arrays>,
        "atomics" => work::<atomics::Cells>,
        "rwlock" => work::<rwlock::RwLocks>,
        "broadcast" => work::<broadcast::Broadcasts>,
        "queue" => work::<queue::Queues>,
        "ring" => work::<ring::Rings>,
        "messages" => work::<messages::Mails>,
        "pipe" => work::<pipe::Pipes>,
        "blocks" => work::<blocks::Blocks>,
        "semaphore" => work::<semaphore::Semaphores>,
        "barrier" => work::<barrier::Barriers>,
        "event" => work::<event::Events>,
        "select" => work::<select::Selected>,
        "once" => work::<once::Onces>,
        "reentrant" => work::<reentrant::Reentrants>,
        other => panic!("no primitive {other}"),
    };
    let time = Duration::from_millis(time.parse().unwrap());
    let striker = seed.parse().ok().map(|seed| Striker::new(name, seed));
    work(name, || Watch::new(ledger, time, striker));
}

fn work<V: Victim>(name: &str, watch: impl FnOnce() -> Watch) {
    let region = Region::open(name);
    // One who came before the attack, and keeps its handles. Another mapping (a thread's, a sanitizer's) may get between the
    // fences before it.
    let (seg, fence) = (0..20)
        .map(|_| Fence::around_the_next(&region))
        .map(|fence| (Segment::open(name).unwrap(), fence))
        .find(|(_, fence)| fence.is_filled(name))
        .expect("the segment stands between the fences");
    let veteran = V::open(&seg).unwrap();
    tell("ready");
    listen();
    let watch = watch();
    while !watch.is_over() {
        watch.begin_round();
        watch.is_used_by(true);
        veteran.round(&watch);
        watch.is_used_by(false);
        // And one who comes while it goes on.
        let _fence = Fence::around_the_next(&region);
        if let Some(seg) = watch.op("Segment::open", AT_ONCE, || Segment::open(name)) {
            if let Some(newcomer) = watch.op("(open)", AT_ONCE, || V::open(&seg)) {
                newcomer.round(&watch);
            }
            watch.op("(drop)", AT_ONCE, || {
                drop(seg);
                Ok(())
            });
        }
    }
    drop((veteran, seg, fence));
    watch.report();
}
