//! Threads and processes that send and receive at once.

use super::*;

/// The first bytes tell which message it is; its length and the rest follow from that.
fn numbered(sender: u64, n: u64) -> Vec<u8> {
    let len = (sender * 7 + n * 13) % 90;
    let mut bytes = [sender.to_le_bytes(), n.to_le_bytes()].concat();
    bytes.extend((0..len).map(|i| (sender + n + i) as u8));
    bytes
}

const EACH: u64 = 3000;

/// [segment, sender]
pub(crate) fn send_numbered(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let sender: u64 = args[1].parse().unwrap();
    send_all(&Messages::open(&seg, "m").unwrap(), sender);
}

fn send_all(m: &Messages, sender: u64) {
    for n in 0..EACH {
        let bytes = numbered(sender, n);
        match n % 4 {
            0 => m.send(&bytes).unwrap(),
            1 => m
                .send_with(bytes.len(), |to| to.copy_from_slice(&bytes))
                .unwrap(),
            2 => m.send_timeout(&bytes, LIMIT).unwrap(),
            _ => {
                while let Err(e) = m.try_send(&bytes) {
                    assert!(matches!(e, Error::Full), "{e}");
                    std::thread::yield_now();
                }
            }
        }
    }
}

/// [segment]: counts what it receives, by sender.
pub(crate) fn receive_numbered(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let counts = receive_all(&Messages::open(&seg, "m").unwrap());
    tell(&counts.map(|n| n.to_string()).join(" "));
}

fn receive_all(m: &Messages) -> [u64; 4] {
    let mut counts = [0; 4];
    let mut last = [None; 4];
    let mut bytes = Vec::new();
    for round in 0.. {
        let got = match round % 3 {
            0 => m.recv(&mut bytes).map(drop),
            1 => m.recv_with(|b| {
                bytes.clear();
                bytes.extend_from_slice(b);
            }),
            _ => m.recv_timeout(&mut bytes, LIMIT).map(drop),
        };
        match got {
            Ok(()) => {}
            Err(Error::Closed) => break,
            Err(e) => panic!("{e}"),
        }
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let (sender, n) = (number(0), number(8));
        assert_eq!(bytes, numbered(sender, n), "torn");
        let before = last[sender as usize].replace(n);
        assert!(before < Some(n), "out of order");
        counts[sender as usize] += 1;
    }
    counts
}

#[test]
fn of_threads_and_processes_nothing_is_lost_and_nothing_twice() {
    // So small that messages cross its end, and senders wait; and larger.
    for capacity in [110, 5000] {
        let name = Name::new("many");
        let seg = named(&name);
        let m = Messages::create(&seg, "m", capacity).unwrap();
        let mut receiver = Child::start("receive_numbered", &[&name]);
        let senders = ["2", "3"].map(|i| Child::start("send_numbered", &[&name, i]));
        let mut all = std::thread::scope(|scope| {
            let here = [0, 1].map(|i| {
                scope.spawn({
                    let m = &m;
                    move || send_all(m, i)
                })
            });
            let receivers = [(); 2].map(|()| scope.spawn(|| receive_all(&m)));
            here.into_iter().for_each(|t| t.join().unwrap());
            senders.into_iter().for_each(Child::finish);
            m.close();
            let counts = receivers.map(|r| r.join().unwrap());
            std::array::from_fn::<u64, 4, _>(|i| counts.iter().map(|c| c[i]).sum())
        });
        for (sum, n) in all.iter_mut().zip(receiver.hear().split(' ')) {
            *sum += n.parse::<u64>().unwrap();
        }
        receiver.finish();
        assert_eq!(all, [EACH; 4]);
        assert!(is_drained_and_closed(&m));
    }
}

fn is_drained_and_closed(m: &Messages) -> bool {
    m.is_empty() && matches!(m.try_recv(&mut Vec::new()), Err(Error::Closed))
}
