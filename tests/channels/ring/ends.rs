//! Who holds an end, and who takes it next.

use super::*;

#[test]
fn an_end_is_in_one_hand_at_a_time_and_the_next_goes_on_behind_it() {
    let r = private_ring(4);
    let mut p = r.producer().unwrap();
    assert!(is_busy(r.producer()));
    assert!(is_busy(r.clone().producer()));
    p.send_all(&[1, 2]).unwrap();
    drop(p);
    let mut p = r.producer().unwrap();
    p.send(3).unwrap();
    let mut c = r.consumer().unwrap();
    assert!(is_busy(r.consumer()));
    assert_eq!(c.recv().unwrap(), 1);
    drop(c);
    let mut c = r.consumer().unwrap();
    assert_eq!((c.recv().unwrap(), c.recv().unwrap()), (2, 3));
    // An end outlives its ring's handle.
    drop(r);
    p.send(4).unwrap();
    assert_eq!(c.recv().unwrap(), 4);
}

#[test]
fn of_many_threads_that_ask_at_once_one_gets_the_end() {
    let r = private_ring(4096);
    // Each time the end is had, its holder counts on; two at once would write the same place.
    let got: u64 = std::thread::scope(|s| {
        let threads = [(); 4].map(|()| {
            s.spawn(|| {
                let mut got = 0;
                for _ in 0..2000 {
                    match r.producer() {
                        Ok(mut p) => match p.try_send(0) {
                            Ok(()) => got += 1,
                            Err(e) => assert!(matches!(e, Error::Full), "{e}"),
                        },
                        Err(e) => assert!(matches!(e, Error::Busy), "{e}"),
                    }
                }
                got
            })
        });
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(r.len() as u64, got);
    assert!(got > 0);
}
