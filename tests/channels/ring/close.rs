//! The end of a ring.

use super::*;

#[test]
fn a_closed_ring_takes_nothing_and_gives_what_it_has() {
    let r = private_ring(4);
    let (mut p, mut c) = (r.producer().unwrap(), r.consumer().unwrap());
    p.send_all(&[1, 2, 3]).unwrap();
    assert!(!r.is_closed() && !p.is_closed() && !c.is_closed());
    r.close();
    r.close();
    assert!(r.is_closed() && p.is_closed() && c.is_closed());
    for _ in 0..5 {
        // Again and again: nothing piles up behind the end.
        assert!(is_closed(p.send(4)) && is_closed(p.try_send(4)));
        assert!(is_closed(p.send_timeout(4, LIMIT)) && is_closed(p.send_all(&[4, 5])));
        assert!(is_closed(p.try_send_all(&[4, 5])));
        assert!(is_closed(
            p.write_chunk(1).and_then(|chunk| chunk.commit_all())
        ));
        assert_eq!(r.len(), 3);
    }
    drop(p);
    let mut p = r.producer().unwrap();
    assert!(is_closed(p.send(4)));
    assert!(is_closed(c.read_chunk(4).map(drop)) && is_closed(c.try_read_chunk(4).map(drop)));
    assert_eq!(c.read_chunk(2).unwrap().len(), 2);
    let mut got = Vec::new();
    assert_eq!(c.recv_many(&mut got, 2).unwrap(), 2);
    drop(c);
    got.extend(r.consumer().unwrap().iter());
    assert_eq!(got, [1, 2, 3]);
    let mut c = r.consumer().unwrap();
    assert!(is_closed(c.recv()) && is_closed(c.try_recv()));
    assert!(is_closed(c.recv_many(&mut got, 1)) && is_closed(c.recv_timeout(LIMIT)));
    assert_eq!(r.len(), 0);
}

#[test]
fn a_close_ends_the_waits_of_both_ends() {
    let full = private_ring(1);
    let empty = private_ring(1);
    let (tell, told) = std::sync::mpsc::channel();
    let tell_too = tell.clone();
    std::thread::scope(|s| {
        let sender = s.spawn(|| {
            let mut p = full.producer().unwrap();
            p.send(1).unwrap();
            tell.send(this_thread()).unwrap();
            p.send(2)
        });
        let receiver = s.spawn(|| {
            let mut c = empty.consumer().unwrap();
            tell_too.send(this_thread()).unwrap();
            c.recv()
        });
        for thread in told.iter().take(2) {
            eventually(LIMIT, "it sleeps", || sleeps(thread));
        }
        // They are past their first naps when this is over, unless the machine is very busy.
        let other = private_ring(1);
        let waited = other
            .consumer()
            .unwrap()
            .recv_timeout(Duration::from_millis(50));
        assert!(is_timeout(waited) && !sender.is_finished() && !receiver.is_finished());
        within_the_limit(|| {
            full.consumer().unwrap().close();
            empty.producer().unwrap().close();
            assert!(is_closed(sender.join().unwrap()) && is_closed(receiver.join().unwrap()));
        });
    });
    assert_eq!(full.consumer().unwrap().iter().collect::<Vec<_>>(), [1]);
}

#[test]
fn a_close_amid_sends_loses_nothing_that_was_accepted() {
    for round in 0..300 {
        let r = private_ring(3);
        let (mut p, mut c) = (r.producer().unwrap(), r.consumer().unwrap());
        let (sent, got) = std::thread::scope(|s| {
            let sender = s.spawn(move || (0..).take_while(|&i| p.send(i).is_ok()).count());
            let receiver = s.spawn(move || c.iter().count());
            (0..round * 20).for_each(|_| std::hint::spin_loop());
            r.close();
            (sender.join().unwrap(), receiver.join().unwrap())
        });
        assert_eq!(sent, got);
    }
}

#[test]
fn what_is_not_visible_when_another_closes_was_not_sent() {
    let r = private_ring(4);
    let mut p = r.producer().unwrap();
    p.lazy(10);
    p.send_all(&[1, 2]).unwrap();
    r.close();
    p.send(3).unwrap();
    assert!(is_closed(p.flush()));
    drop(p);
    assert!(is_closed(r.consumer().unwrap().recv()));
}
