//! iceoryx2: publish and subscribe, one of each and each way. What is sent is written into a loaned sample, and what comes is
//! copied out of it, so that all bytes are written and read, as everywhere here.

use super::{Link, depth};
use crate::machine::poll;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use std::collections::HashMap;
use std::path::PathBuf;

/// One party's node, and its ends by the length of the messages. They stay: making them is not what is measured.
#[derive(Default)]
pub(crate) struct Iceoryx {
    links: HashMap<usize, Samples>,
    node: Option<Node<ipc::Service>>,
    /// The first party's: what is left to be removed after both are done.
    left: Option<Leftovers>,
}

pub(crate) struct Samples {
    publisher: Publisher<ipc::Service, [u8], ()>,
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    room: Vec<u8>,
}

impl Iceoryx {
    pub(crate) fn link(&mut self, len: usize, first: bool) -> &mut Samples {
        let node = self.node.get_or_insert_with(|| {
            // The pair is named for the first party.
            let pair = match first {
                true => std::process::id(),
                false => std::os::unix::process::parent_id(),
            };
            if first {
                self.left = Some(Leftovers { pair });
            }
            make_node(pair)
        });
        self.links
            .entry(len)
            .or_insert_with(|| Samples::open(node, len, first))
    }
}

fn prefix(pair: u32) -> String {
    format!("commonhold-peers-{pair}-")
}

fn directory(pair: u32) -> PathBuf {
    std::env::temp_dir().join(prefix(pair))
}

/// A node whose files are of this pair's alone.
fn make_node(pair: u32) -> Node<ipc::Service> {
    set_log_level_from_env_or(LogLevel::Error);
    let mut config = Config::default();
    config.global.prefix = FileName::new(prefix(pair).as_bytes()).expect("a name");
    let path = directory(pair);
    let path = Path::new(path.as_os_str().as_encoded_bytes()).expect("a path");
    config.global.set_root_path(&path);
    NodeBuilder::new()
        .config(&config)
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .create()
        .expect("a node")
}

/// What matches a pair's files, for a shell.
pub(crate) fn files(pair: u32) -> [String; 2] {
    let shared = format!("/dev/shm/{}*", prefix(pair));
    [shared, directory(pair).display().to_string()]
}

/// What iceoryx2 leaves when its last node is gone: a file that is common to all nodes, and directories.
struct Leftovers {
    pair: u32,
}

impl Leftovers {
    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let prefix = prefix(self.pair);
        let files = std::fs::read_dir("/dev/shm")
            .into_iter()
            .flatten()
            .flatten();
        files
            .filter(move |file| {
                file.file_name()
                    .as_encoded_bytes()
                    .starts_with(prefix.as_bytes())
            })
            .map(|file| file.path())
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        for file in self.files() {
            let _ = std::fs::remove_file(file);
        }
        let _ = std::fs::remove_dir_all(directory(self.pair));
    }
}

impl Samples {
    fn open(node: &Node<ipc::Service>, len: usize, first: bool) -> Samples {
        let service = |way| {
            let name = format!("messages of {len}, {way}");
            let name = ServiceName::new(&name).expect("a name");
            node.service_builder(&name)
                .publish_subscribe::<[u8]>()
                .enable_safe_overflow(false)
                .subscriber_max_buffer_size(depth(len))
                .max_publishers(1)
                .max_subscribers(1)
                .open_or_create()
                .expect("a service")
        };
        let (there, back) = (service("there"), service("back"));
        let (out, into) = if first { (there, back) } else { (back, there) };
        Samples {
            publisher: out
                .publisher_builder()
                .initial_max_slice_len(len)
                .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
                .create()
                .expect("a publisher"),
            subscriber: into.subscriber_builder().create().expect("a subscriber"),
            room: Vec::with_capacity(len),
        }
    }
}

impl Link for Samples {
    fn connect(&mut self) {
        // Until the subscriber has looked once, a publisher that finds its buffer full discards, whatever its strategy.
        let some = self.subscriber.has_samples();
        assert!(!some.expect("the publisher is there"), "nothing was sent");
    }
    fn send(&mut self, message: &[u8]) {
        let sample = self.publisher.loan_slice_uninit(message.len());
        let sample = sample.expect("a sample").write_from_slice(message);
        let received = sample.send().expect("the subscriber is there");
        assert_eq!(received, 1, "it was discarded");
    }
    fn recv(&mut self) -> &[u8] {
        let sample = poll(|| self.subscriber.receive().expect("the publisher is there"));
        self.room.clear();
        self.room.extend_from_slice(sample.payload());
        &self.room
    }
}
