//! What an object is: enough to refuse a wrong `open`, and to say in the message what both sides meant.

use crate::plain::short_type_name;
use std::fmt;

/// The kinds of object.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A [`Value`](crate::Value).
    Value,
    /// An [`Array`](crate::Array).
    Array,
    /// An [`Atomics`](crate::Atomics).
    Atomics,
    /// A [`Mutex`](crate::Mutex).
    Mutex,
    /// A [`Condvar`](crate::Condvar).
    Condvar,
    /// A [`Queue`](crate::Queue).
    Queue,
    /// An [`RwLock`](crate::RwLock).
    RwLock,
    /// A [`ReentrantMutex`](crate::ReentrantMutex).
    ReentrantMutex,
    /// A [`Semaphore`](crate::Semaphore).
    Semaphore,
    /// A [`Barrier`](crate::Barrier).
    Barrier,
    /// An [`Event`](crate::Event).
    Event,
    /// A [`Once`](crate::Once).
    Once,
    /// A [`Ring`](crate::Ring).
    Ring,
    /// A [`Messages`](crate::Messages).
    Messages,
    /// A `Channel` (feature "serde").
    Channel,
    /// A [`Pipe`](crate::Pipe).
    Pipe,
    /// A [`Broadcast`](crate::Broadcast).
    Broadcast,
    /// A [`BlockPool`](crate::BlockPool).
    BlockPool,
    /// Where the workers of a `Pool` find their tasks (feature "process").
    TaskBoard,
}

impl Kind {
    /// The number in the region. Never used for another kind, in any version.
    pub(crate) fn code(self) -> u32 {
        match self {
            Kind::Value => 1,
            Kind::Array => 2,
            Kind::Atomics => 3,
            Kind::Mutex => 4,
            Kind::Condvar => 5,
            Kind::Queue => 6,
            Kind::RwLock => 7,
            Kind::ReentrantMutex => 8,
            Kind::Semaphore => 9,
            Kind::Barrier => 10,
            Kind::Event => 11,
            Kind::Once => 12,
            Kind::Ring => 13,
            Kind::Messages => 14,
            Kind::Channel => 15,
            Kind::Pipe => 16,
            Kind::Broadcast => 17,
            Kind::BlockPool => 18,
            Kind::TaskBoard => 19,
        }
    }

    /// Whether its objects hold any number of items (a barrier: parties; messages, channels, pipes: bytes); the others hold one.
    pub(crate) fn is_counted(self) -> bool {
        use Kind::*;
        matches!(
            self,
            Array
                | Atomics
                | Queue
                | Barrier
                | Ring
                | Messages
                | Channel
                | Pipe
                | Broadcast
                | BlockPool
                | TaskBoard
        )
    }

    /// Whether its objects hold something of the user's; the others only make processes wait.
    fn has_items(self) -> bool {
        use Kind::*;
        matches!(
            self,
            Value
                | Array
                | Atomics
                | Mutex
                | Queue
                | RwLock
                | Ring
                | Messages
                | Channel
                | Pipe
                | Broadcast
                | BlockPool
                | TaskBoard
        )
    }

    pub(crate) fn from_code(code: u32) -> Option<Kind> {
        const ALL: [Kind; 19] = [
            Kind::Value,
            Kind::Array,
            Kind::Atomics,
            Kind::Mutex,
            Kind::Condvar,
            Kind::Queue,
            Kind::RwLock,
            Kind::ReentrantMutex,
            Kind::Semaphore,
            Kind::Barrier,
            Kind::Event,
            Kind::Once,
            Kind::Ring,
            Kind::Messages,
            Kind::Channel,
            Kind::Pipe,
            Kind::Broadcast,
            Kind::BlockPool,
            Kind::TaskBoard,
        ];
        ALL.into_iter().find(|k| k.code() == code)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Kind, size, alignment and short name of the type, and how many of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) kind: Kind,
    pub(crate) type_name: String,
    pub(crate) type_size: u64,
    pub(crate) type_align: u32,
    /// Items, for arrays and queues; bytes, for messages and channels; parties, for barriers; 1 for the others.
    pub(crate) len: u64,
}

impl Fingerprint {
    pub(crate) fn of<T>(kind: Kind, len: u64) -> Fingerprint {
        // What travels through a channel is not the T that this build has in memory, but the bytes that stand for it.
        let (type_size, type_align) = match kind {
            Kind::Channel => (1, 1),
            _ => (size_of::<T>() as u64, align_of::<T>() as u32),
        };
        Fingerprint {
            kind,
            type_name: short_type_name::<T>(),
            type_size,
            type_align,
            len,
        }
    }

    /// `count` blocks (or slots) of so many bytes, aligned so.
    pub(crate) fn of_blocks(kind: Kind, bytes: u64, align: u32, count: u64) -> Fingerprint {
        Fingerprint {
            kind,
            type_name: "[u8]".to_owned(),
            type_size: bytes,
            type_align: align,
            len: count,
        }
    }

    /// Whether an object that is `self` may be opened as `asked`, with as many items or (`any_len`) with any number.
    pub(crate) fn serves(&self, asked: &Fingerprint, any_len: bool) -> bool {
        self.kind == asked.kind
            && self.type_name == asked.type_name
            && self.type_size == asked.type_size
            && self.type_align == asked.type_align
            && (any_len || self.len == asked.len)
    }
}

impl Fingerprint {
    /// In words; without the number of items if any number is meant.
    pub(crate) fn describe(&self, any_len: bool) -> String {
        let Fingerprint {
            kind,
            type_name,
            type_size,
            type_align,
            len,
        } = self;
        let article = match kind {
            Kind::Array | Kind::Atomics | Kind::Event | Kind::RwLock => "an",
            _ => "a",
        };
        let counted = kind.is_counted() && !any_len;
        let of = if counted {
            format!(" of {len}")
        } else {
            String::new()
        };
        if *kind == Kind::Event {
            // Of two kinds, told apart by what stands for the type.
            return format!("{article} {kind} ({type_name})");
        }
        let bytes = if counted { " bytes" } else { "" };
        match kind {
            Kind::Messages => return format!("{article} {kind}{of}{bytes}"),
            Kind::Channel => return format!("{article} {kind}<{type_name}>{of}{bytes}"),
            _ => {}
        }
        if !kind.has_items() {
            return format!("{article} {kind}{of}");
        }
        format!(
            "{article} {kind}<{type_name}>{of} ({type_size} bytes each, aligned to {type_align})"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_kind_type_and_number() {
        let f = Fingerprint::of::<f32>(Kind::Array, 12);
        assert_eq!(
            f.describe(false),
            "an Array<f32> of 12 (4 bytes each, aligned to 4)"
        );
    }

    #[test]
    fn of_what_carries_bytes_the_message_counts_them() {
        let f = Fingerprint::of::<u8>(Kind::Messages, 4096);
        assert_eq!(f.describe(false), "a Messages of 4096 bytes");
        assert_eq!(f.describe(true), "a Messages");
        let f = Fingerprint::of::<String>(Kind::Channel, 12);
        assert_eq!(f.describe(false), "a Channel<String> of 12 bytes");
        assert_eq!((f.type_size, f.type_align), (1, 1));
    }

    #[test]
    fn kinds_keep_their_numbers() {
        for code in 1..=19 {
            assert_eq!(Kind::from_code(code).unwrap().code(), code);
        }
        assert_eq!(Kind::from_code(0), None);
        assert_eq!(Kind::from_code(20), None);
    }
}
