//! `Channel`.

use crate::support::{Child, Forked, LIMIT, Name, forks_are_noticed, tell};
use commonhold::{Channel, Error, Messages, Result, Segment};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::time::Duration;

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
enum Job {
    Fetch {
        url: String,
        tags: Vec<Option<String>>,
    },
    Table(BTreeMap<String, (f64, char)>),
    Nested(Box<Job>),
    Stop,
}

fn jobs() -> Vec<Job> {
    let table = [
        ("half".to_owned(), (0.5, '½')),
        (String::new(), (-1.0, '0')),
    ];
    vec![
        Job::Fetch {
            url: "https://example.org".into(),
            tags: vec![None, Some("a tag".into())],
        },
        Job::Stop,
        Job::Table(table.into()),
        Job::Nested(Box::new(Job::Nested(Box::new(Job::Stop)))),
    ]
}

fn anonymous() -> Segment {
    Segment::anonymous(1 << 16).unwrap()
}

#[test]
fn values_of_every_form_arrive_as_they_were_sent() {
    let seg = anonymous();
    let c = Channel::<Job>::create(&seg, "c", 200).unwrap();
    for job in jobs() {
        c.send(&job).unwrap();
        assert_eq!(c.recv().unwrap(), job);
        c.try_send(&job).unwrap();
        assert_eq!(c.try_recv().unwrap(), job);
        c.send_timeout(&job, LIMIT).unwrap();
        assert_eq!(c.recv_timeout(LIMIT).unwrap(), job);
    }
    assert!(c.is_empty() && c.used() == 0);
    assert!(matches!(c.try_recv(), Err(Error::Empty)));
    // One byte of its own.
    while c.try_send(&Job::Stop).is_ok() {}
    assert!(matches!(c.try_send(&Job::Stop), Err(Error::Full)));
    assert_eq!(c.used(), 208);
    let soon = Duration::from_millis(5);
    assert!(matches!(
        c.send_timeout(&Job::Stop, soon),
        Err(Error::Timeout)
    ));
    fn is_a_handle<T: Clone + Send + Sync + 'static>(_: &T) {}
    is_a_handle(&c);
    // Also of what can't be sent from thread to thread: it never is.
    #[derive(Serialize, Deserialize)]
    struct Here(std::marker::PhantomData<*const u8>);
    is_a_handle(&Channel::<Here>::create(&seg, "here", 9).unwrap());
}

#[test]
fn a_value_of_more_bytes_than_the_capacity_is_too_large() {
    let seg = anonymous();
    let c = Channel::<String>::create(&seg, "c", 100).unwrap();
    assert_eq!(c.capacity(), 100);
    // One byte tells the length.
    let fits = "x".repeat(99);
    c.send(&fits).unwrap();
    assert_eq!(c.recv().unwrap(), fits);
    match c.send(&"x".repeat(100)) {
        Err(Error::TooLarge { requested, limit }) => assert_eq!((requested, limit), (101, 100)),
        other => panic!("{other:?}"),
    }
    assert!(c.is_empty());
}

#[test]
fn it_is_found_by_its_name_and_the_name_of_its_type() {
    let seg = anonymous();
    let made = Channel::<String>::open_or_create(&seg, "c", 100).unwrap();
    made.send(&"found".into()).unwrap();
    let found = Channel::<String>::open(&seg, "c").unwrap();
    assert_eq!(found.recv().unwrap(), "found");
    let again = Channel::<String>::create(&seg, "c", 100);
    assert!(matches!(again, Err(Error::AlreadyExists)));
    let other = Channel::<Job>::open(&seg, "c").unwrap_err().to_string();
    assert!(
        other.contains("a Channel<String> of 100 bytes, but a Channel<Job> was"),
        "{other}"
    );
    let messages = Messages::open(&seg, "c").unwrap_err().to_string();
    assert!(messages.contains("but a Messages was"), "{messages}");
    assert!(format!("{made:?}").contains("Channel"));
}

/// What another build may have in memory: another size, and the same name.
mod another_build {
    #[derive(serde::Serialize, serde::Deserialize)]
    pub(super) struct Point {
        pub(super) x: u64,
        pub(super) y: u64,
    }
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Point {
    x: u32,
    y: u32,
}

#[test]
fn the_size_that_a_type_has_in_memory_makes_no_difference() {
    let seg = anonymous();
    let here = Channel::<Point>::create(&seg, "c", 100).unwrap();
    let there = Channel::<another_build::Point>::open(&seg, "c").unwrap();
    there.send(&another_build::Point { x: 1, y: 2 }).unwrap();
    assert_eq!(here.recv().unwrap(), Point { x: 1, y: 2 });
    let large = another_build::Point { x: 1, y: 1 << 40 };
    there.send(&large).unwrap();
    there.send(&another_build::Point { x: 3, y: 4 }).unwrap();
    assert!(matches!(here.recv(), Err(Error::NotDecodable { .. })));
    assert_eq!(here.recv().unwrap(), Point { x: 3, y: 4 });
}

/// Writes whatever bytes it is; reads a number.
#[derive(Debug, PartialEq)]
struct Odd(Vec<u8>);

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error, SerializeTuple};
        if self.0.is_empty() {
            return Err(S::Error::custom("nothing"));
        }
        let mut all = s.serialize_tuple(self.0.len())?;
        for byte in &self.0 {
            all.serialize_element(byte)?;
        }
        all.end()
    }
}

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        bool::deserialize(d).map(|b| Odd(vec![b.into()]))
    }
}

#[test]
fn a_message_that_cannot_be_decoded_is_an_error_and_the_next_one_is_fine() {
    let seg = anonymous();
    let c = Channel::<Odd>::create(&seg, "c", 100).unwrap();
    let [good, no_bool, too_long] = [vec![1], vec![7], vec![1, 0, 0]].map(Odd);
    for value in [&no_bool, &good, &too_long, &good] {
        c.send(value).unwrap();
    }
    assert!(matches!(
        c.send(&Odd(vec![])),
        Err(Error::NotEncodable { .. })
    ));
    c.close();
    let said = |e: &Error, what: &str| {
        let text = e.to_string();
        assert!(text.contains("Odd") && text.contains(what), "{text}");
    };
    let got: Vec<Result<Odd>> = c.iter().collect();
    assert_eq!(got.len(), 4, "{got:?}");
    assert!(matches!(&got[0], Err(Error::NotDecodable { type_name, .. }) if type_name == "Odd"));
    assert_eq!(got[1].as_ref().unwrap(), &good);
    said(got[2].as_ref().unwrap_err(), "2 bytes are left over");
    assert_eq!(got[3].as_ref().unwrap(), &good);
    assert!(matches!(c.recv(), Err(Error::Closed)));
    said(&c.send(&Odd(vec![])).unwrap_err(), "cannot be written");
}

#[test]
fn no_bytes_whatever_make_it_panic_or_take_memory_without_end() {
    let seg = anonymous();
    let raw = Channel::<Bytes>::create(&seg, "c", 100).unwrap();
    let jobs = Channel::<fake::Bytes>::open(&seg, "c").unwrap();
    let mut random = crate::support::Random::new();
    let mut decoded = 0;
    for round in 0..20_000 {
        let len = random.below(20) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
        if round % 3 == 0 && len > 8 {
            // A job that announces a length beyond all memory.
            bytes[0] = 0;
            bytes[1..8].fill(0xFF);
        }
        if round % 100 == 1 {
            // `Job::Stop`: what is among the others is still found.
            bytes = vec![3];
        }
        raw.send(&Bytes(bytes)).unwrap();
        match jobs.recv() {
            Ok(_) => decoded += 1,
            Err(Error::NotDecodable { .. }) => {}
            Err(e) => panic!("{e}"),
        }
    }
    assert!(decoded >= 200);
    assert!(raw.is_empty());
}

/// Its own bytes, and no more.
#[derive(Deserialize)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple;
        let mut all = s.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|b| all.serialize_element(b))?;
        all.end()
    }
}

/// Under the same name, a job.
mod fake {
    #[derive(serde::Serialize, serde::Deserialize)]
    pub(super) struct Bytes(super::Job);
}

#[test]
fn a_value_may_send_and_receive_others_while_it_is_encoded_and_decoded() {
    thread_local! {
        static INNER: Channel<String> = Channel::create(&anonymous(), "inner", 100).unwrap();
    }
    struct Chatty(String);
    impl Serialize for Chatty {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            INNER.with(|c| c.send(&"from within".to_owned()).unwrap());
            self.0.serialize(s)
        }
    }
    impl<'de> Deserialize<'de> for Chatty {
        fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            INNER.with(|c| assert_eq!(c.recv().unwrap(), "from within"));
            String::deserialize(d).map(Chatty)
        }
    }
    let c = Channel::create(&anonymous(), "c", 100).unwrap();
    for text in ["one", "another"] {
        c.send(&Chatty(text.to_owned())).unwrap();
        assert_eq!(c.recv().unwrap().0, text);
    }
}

/// [segment, jobs]: sends them again and again, until it is killed.
pub(crate) fn send_jobs(args: &[String]) {
    let seg = Segment::open(&args[0]).unwrap();
    let c = Channel::<Job>::open(&seg, "c").unwrap();
    tell("ready");
    loop {
        for job in jobs() {
            c.send(&job).unwrap();
        }
    }
}

#[test]
fn of_a_killed_sender_all_that_was_sent_arrives_whole() {
    for _ in 0..5 {
        let name = Name::new("jobs");
        let seg = Segment::create(&name, 1 << 16).unwrap();
        let c = Channel::<Job>::create(&seg, "c", 300).unwrap();
        let mut sender = Child::start("send_jobs", &[&name]);
        sender.expect("ready");
        let mut expected = jobs().into_iter().cycle();
        for _ in 0..1000 {
            assert_eq!(c.recv().unwrap(), expected.next().unwrap());
        }
        sender.kill();
        while let Ok(job) = c.try_recv() {
            assert_eq!(job, expected.next().unwrap());
        }
        assert!(c.is_empty());
        c.send_timeout(&Job::Stop, LIMIT).unwrap();
        assert_eq!(c.recv().unwrap(), Job::Stop);
    }
}

#[test]
fn a_forked_child_joins_in_with_the_handle_that_it_inherited() {
    if !forks_are_noticed() {
        return;
    }
    let c = Channel::<String>::create(&anonymous(), "c", 100).unwrap();
    c.send(&"from the parent".into()).unwrap();
    Forked::start(|| {
        assert_eq!(c.recv().unwrap(), "from the parent");
        c.send(&"from the child".into()).unwrap();
    })
    .finish();
    assert_eq!(c.recv().unwrap(), "from the child");
}

#[test]
fn a_length_that_was_scribbled_on_is_corrupt_and_the_last_that_an_iterator_gives() {
    let name = Name::new("scribbled");
    let seg = Segment::create(&name, 1 << 16).unwrap();
    let c = Channel::<String>::create(&seg, "c", 100).unwrap();
    c.send(&"first".into()).unwrap();
    c.send(&"second".into()).unwrap();
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(name.path());
    let file = file.unwrap();
    let mut data_at = [0; 8];
    file.read_exact_at(&mut data_at, 56).unwrap();
    let ring = u64::from_ne_bytes(data_at) + 384;
    file.write_all_at(&[0xFF; 8], ring).unwrap();
    let got: Vec<_> = c.iter().collect();
    assert!(matches!(got[..], [Err(Error::Corrupt)]), "{got:?}");
    c.send(&"third".into()).unwrap();
    assert_eq!(c.recv().unwrap(), "third");
}
