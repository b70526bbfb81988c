//! Blocks whose holders are killed or forked, or lose their segment.

use super::*;

/// [segment, how many]: holds so many until it is killed; the first of them in the queue.
pub(crate) fn hold_blocks(args: &[String]) {
    let (pool, queue) = find(&Segment::open(&args[0]).unwrap());
    let mut first = pool.loan().unwrap();
    first[..4].copy_from_slice(b"sent");
    first.set_len(4).unwrap();
    first.send(&queue).unwrap();
    let count: usize = args[1].parse().unwrap();
    let held: Vec<Block> = (1..count).map(|_| pool.loan().unwrap()).collect();
    tell("ready");
    let _held = held;
    wait_to_be_killed()
}

#[test]
fn blocks_of_a_killed_holder_come_back_and_what_it_sent_arrives() {
    let name = Name::new("holder");
    let seg = segment(&name);
    let (pool, queue) = pool(&seg, 3);
    let mut holder = Child::start("hold_blocks", &[&name, "3"]);
    holder.expect("ready");
    assert!(matches!(pool.try_loan(), Err(Error::WouldBlock)));
    std::thread::scope(|scope| {
        let waiters = [(); 2].map(|()| scope.spawn(|| pool.loan().map(std::mem::forget)));
        // Past the first naps, so that only the watch over deaths finds it.
        let timed = pool.loan_timeout(Duration::from_millis(100));
        assert!(matches!(timed, Err(Error::Timeout)));
        assert!(waiters.iter().all(|w| !w.is_finished()));
        holder.kill();
        within_the_limit(|| {
            for w in waiters {
                w.join().unwrap().unwrap();
            }
        });
    });
    assert!(matches!(pool.try_loan(), Err(Error::WouldBlock)));
    let sent = pool.try_receive(&queue).unwrap();
    assert_eq!(&sent[..], b"sent");
}

#[test]
fn one_who_only_tries_finds_the_death_too() {
    let name = Name::new("tries");
    let seg = segment(&name);
    let (pool, _queue) = pool(&seg, 4);
    let mut holder = Child::start("hold_blocks", &[&name, "4"]);
    holder.expect("ready");
    assert!(matches!(pool.try_loan(), Err(Error::WouldBlock)));
    holder.kill();
    // Nobody has found out.
    assert_eq!(pool.available(), 0);
    let block = pool.try_loan().unwrap();
    assert_eq!(pool.available(), 2);
    drop(block);
}

#[test]
fn blocks_of_a_killed_holder_come_back_however_short_each_wait_is() {
    let name = Name::new("short");
    let seg = segment(&name);
    let (pool, _queue) = pool(&seg, 3);
    let mut holder = Child::start("hold_blocks", &[&name, "2"]);
    holder.expect("ready");
    assert!(two_have_one_each(holder, || pool.loan().unwrap()));
}

/// [segment]
pub(crate) fn wait_for_a_block(args: &[String]) {
    let (pool, _) = find(&Segment::open(&args[0]).unwrap());
    tell("ready");
    let block = pool.loan().unwrap();
    tell("got one");
    listen();
    drop(block);
}

#[test]
fn a_killed_waiter_takes_no_wake_up_with_it() {
    let name = Name::new("waiter");
    let seg = segment(&name);
    let (pool, _queue) = pool(&seg, 1);
    for _ in 0..5 {
        let block = pool.loan().unwrap();
        let mut waiters = [(); 2].map(|()| Child::start("wait_for_a_block", &[&name]));
        for w in &mut waiters {
            w.expect("ready");
            eventually(LIMIT, "it sleeps", || waits_on_a_futex(w.pid()));
        }
        let [mut first, mut second] = waiters;
        // The first is woken and killed at one stroke: it may have got the block, or the wake-up only.
        first.kill_only();
        drop(block);
        within_the_limit(|| second.expect("got one"));
        first.kill();
        second.say("end");
        second.finish();
        assert_eq!(pool.available(), 1);
    }
}

/// Fills a block so that any of its bytes tells whether the others are of the same turn.
fn fill(block: &mut Block, turn: u64) {
    let len = block.len();
    for (i, byte) in block.iter_mut().enumerate() {
        *byte = mix(turn, i, len);
    }
    block[..8].copy_from_slice(&turn.to_le_bytes());
}

fn check(block: &Block) -> u64 {
    let turn = u64::from_le_bytes(block[..8].try_into().unwrap());
    for (i, &byte) in block.iter().enumerate().skip(8) {
        assert_eq!(byte, mix(turn, i, block.len()), "torn at {i}, turn {turn}");
    }
    turn
}

fn mix(turn: u64, i: usize, len: usize) -> u8 {
    (turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8 ^ i as u8 ^ len as u8
}

/// [segment, number]: sends one after another, until it is killed.
pub(crate) fn produce_blocks(args: &[String]) {
    let (pool, queue) = find(&Segment::open(&args[0]).unwrap());
    let number: u64 = args[1].parse().unwrap();
    let mut turn = number << 32;
    loop {
        let mut block = match turn % 3 {
            0 => pool.loan(),
            1 => pool.loan_timeout(LIMIT),
            _ => match pool.try_loan() {
                Err(Error::WouldBlock) => continue,
                other => other,
            },
        }
        .unwrap();
        block.set_len(100 + (turn % 900) as usize).unwrap();
        fill(&mut block, turn);
        match turn % 2 {
            0 => block.send(&queue).unwrap(),
            _ => match block.try_send(&queue) {
                Ok(()) => {}
                Err(unsent) => unsent.block.send(&queue).unwrap(),
            },
        }
        turn += 1;
    }
}

/// [segment]: receives one after another, until it is killed or the queue is closed.
pub(crate) fn consume_blocks(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let (pool, queue) = find(&seg);
    let books = Atomics::<AtomicU64>::open(&seg, "books").unwrap();
    loop {
        match pool.receive(&queue) {
            Ok(block) => {
                let turn = check(&block);
                books[(turn >> 32) as usize % 4].fetch_add(1, SeqCst);
                // Nobody changed it meanwhile.
                assert_eq!(check(&block), turn);
            }
            Err(Error::Closed) => return,
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn no_block_is_lost_or_torn_while_producers_and_consumers_are_killed() {
    let name = Name::new("kills");
    let seg = segment(&name);
    let pool = BlockPool::create(&seg, "pool", 6, 1000).unwrap();
    let queue = Handles::create(&seg, "queue", 4).unwrap();
    let books = Atomics::<AtomicU64>::create(&seg, "books", 4).unwrap();
    let mut number = 0;
    let mut start = |role: &str| {
        number += 1;
        Child::start(role, &[&name, &number.to_string()])
    };
    let roles = [
        "produce_blocks",
        "consume_blocks",
        "produce_blocks",
        "consume_blocks",
    ];
    let mut children = roles.map(&mut start);
    let done = || books.iter().map(|n| n.load(SeqCst)).sum::<u64>();
    let mut random = Random::new();
    for _ in 0..40 {
        let before = done();
        let more = 1 + random.below(200);
        eventually(LIMIT, "they go on", || done() >= before + more);
        let victim = random.below(4) as usize;
        let heir = start(roles[victim]);
        std::mem::replace(&mut children[victim], heir).kill();
    }
    // The producers first; then the consumers, once the queue is drained.
    let [p, c, q, d] = children;
    [p, q].into_iter().for_each(Child::kill);
    queue.close();
    [c, d].into_iter().for_each(Child::finish);
    assert!(queue.is_empty());
    all_are_there(&pool);
}

/// [segment, rounds]
pub(crate) fn share_blocks(args: &[String]) {
    let (pool, _) = find(&Segment::open(&args[0]).unwrap());
    have_blocks_for_oneself(&pool, args[1].parse().unwrap());
}

fn have_blocks_for_oneself(pool: &BlockPool, rounds: u64) {
    let base = u64::from(std::process::id()) << 32;
    std::thread::scope(|scope| {
        for thread in 0..2 {
            scope.spawn(move || {
                for i in 0..rounds {
                    let mut block = pool.loan().unwrap();
                    let turn = base | thread << 31 | i;
                    fill(&mut block, turn);
                    assert_eq!(check(&block), turn);
                }
            });
        }
    });
}

#[test]
fn threads_and_processes_never_have_one_block_at_once() {
    let name = Name::new("share");
    let seg = segment(&name);
    let (pool, _queue) = pool(&seg, 3);
    let children = [(); 2].map(|()| Child::start("share_blocks", &[&name, "3000"]));
    have_blocks_for_oneself(&pool, 3000);
    children.into_iter().for_each(Child::finish);
    all_are_there(&pool);
}

#[test]
fn an_inherited_block_is_inert_and_a_forked_child_has_its_own() {
    if !forks_are_noticed() {
        return;
    }
    let seg = Segment::anonymous(1 << 20).unwrap();
    let (pool, queue) = pool(&seg, 2);
    let (dropped, sent) = (pool.loan().unwrap(), pool.loan().unwrap());
    let (dropped_too, sent_too) = (&dropped, &sent);
    Forked::start(|| {
        // SAFETY: copies that this process alone has, and uses once.
        let (d, s) = unsafe { (std::ptr::read(dropped_too), std::ptr::read(sent_too)) };
        drop(d);
        let unsent = s.send(&queue).unwrap_err();
        assert!(matches!(unsent.error, Error::InvalidArgument(_)));
        drop(unsent);
        assert_eq!((pool.available(), queue.len()), (0, 0));
        assert!(matches!(pool.try_loan(), Err(Error::WouldBlock)));
    })
    .finish();
    assert_eq!(pool.available(), 0);
    drop(dropped);
    Forked::start(|| {
        // Dies with it.
        std::mem::forget(pool.loan().unwrap());
    })
    .finish();
    assert_eq!(pool.available(), 0);
    drop(pool.try_loan().unwrap());
    Forked::start(|| {
        let mut block = pool.loan().unwrap();
        block[0] = 5;
        block.send(&queue).unwrap();
    })
    .finish();
    assert_eq!(pool.receive(&queue).unwrap()[0], 5);
    drop(sent);
    all_are_there(&pool);
}

/// [segment, which]: the first to meet the loss of the segment.
pub(crate) fn lose_blocks(args: &[String]) {
    let seg = SegmentOptions::new().guard_truncation(true);
    let (pool, queue) = find(&seg.open(&args[0]).unwrap());
    let [held, a, b, c] = [(); 4].map(|()| pool.loan().unwrap());
    let to_send = std::cell::RefCell::new(vec![a, b, c]);
    tell("ready");
    listen();
    let timeout = Duration::from_millis(1);
    let send = |send: &dyn Fn(Block) -> Result<(), BlockSendError>| {
        let block = to_send.borrow_mut().pop().unwrap();
        send(block).map_err(Error::from)
    };
    let ops: [&dyn Fn() -> Result<()>; 9] = [
        &|| pool.loan().map(drop),
        &|| pool.try_loan().map(drop),
        &|| pool.loan_timeout(timeout).map(drop),
        &|| pool.receive(&queue).map(drop),
        &|| pool.try_receive(&queue).map(drop),
        &|| pool.receive_timeout(&queue, timeout).map(drop),
        &|| send(&|block| block.send(&queue)),
        &|| send(&|block| block.try_send(&queue)),
        &|| send(&|block| block.send_timeout(&queue, timeout)),
    ];
    let first: usize = args[1].parse().unwrap();
    for i in 0..ops.len() {
        let which = (first + i) % ops.len();
        let got = ops[which]();
        // The first access is what shows that the segment is lost: a send that meets it may seem to succeed.
        let seems = i == 0 && which >= 6 && got.is_ok();
        assert!(
            seems || matches!(got, Err(Error::Corrupt)),
            "{which}: {got:?}"
        );
    }
    drop(held);
}

#[test]
fn blocks_of_a_segment_that_is_cut_short_are_lost() {
    for first in 0..9 {
        let name = Name::new("cut");
        drop(pool(&segment(&name), 4));
        let mut child = Child::start("lose_blocks", &[&name, &first.to_string()]);
        child.expect("ready");
        let file = std::fs::OpenOptions::new().write(true).open(name.path());
        file.unwrap().set_len(0).unwrap();
        child.say("cut");
        child.finish();
    }
}
