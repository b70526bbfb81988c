//! What stands where, by docs/layout.md and not by the crate's code: an attacker's map of the region.

use crate::region::Region;

pub(crate) const SHARED: u64 = 128;
pub(crate) const DIRECTORY_LOCK: u64 = SHARED;
pub(crate) const SLOTS: u64 = 4096;
pub(crate) const ENTRY_BYTES: u64 = 256;
/// Bits of a lock word that name its owner.
pub(crate) const OWNER: u32 = (1 << 30) - 1;

/// Where the kernel is asked after the member that a lock word names.
pub(crate) fn liveness(owner: u32) -> i64 {
    (1 << 61) + (i64::from(owner % 1024) << 32) + i64::from(owner >> 10)
}

/// What a word is for: it decides which values are the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Lock,
    Signal,
    /// Of a queue's end; the object holds so many items.
    Position {
        capacity: u64,
    },
    Version,
    /// A member's id, beside a number of its claims: not a lock's.
    Owner,
    /// Who has a block, and how: a member's id, and two bits.
    Holder,
    /// A number that has no worse values than the extremes.
    Number,
    Claim,
    /// A number in an entry: a kind, size, offset or length.
    Entry,
    /// What users put there.
    Data,
}

/// One word of the region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) at: u64,
    pub(crate) width: u64,
    pub(crate) sort: Sort,
    /// Naming a living member here would make calls wait that have no deadline, or one of ten seconds.
    pub(crate) spare_the_living: bool,
}

/// An object, by its entry.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) name: String,
    pub(crate) entry: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) len: u64,
    /// Bytes of one item, at the least 1.
    pub(crate) item: u64,
    pub(crate) places: Vec<Place>,
    pub(crate) entry_places: Vec<Place>,
}

/// All words that mean something.
pub(crate) struct Layout {
    pub(crate) members: u64,
    pub(crate) data_at: u64,
    pub(crate) header: Vec<Place>,
    pub(crate) slots: Vec<Place>,
    pub(crate) entries: Vec<Place>,
    pub(crate) objects: Vec<Object>,
}

impl Layout {
    /// Of a region that nobody has scribbled on yet.
    pub(crate) fn of(region: &Region) -> Layout {
        let members = region.get(28, 4);
        let (entries_at, data_at) = (region.get(48, 8), region.get(56, 8));
        let entry_at = |i| entries_at + i * ENTRY_BYTES;
        let entries = (0..region.get(32, 4)).map(entry_at);
        Layout {
            members,
            data_at,
            header: header(),
            slots: (0..members)
                .map(|i| place(SLOTS + i * 64, 8, Sort::Claim))
                .collect(),
            entries: entries.clone().flat_map(entry).collect(),
            objects: entries
                .filter(|at| region.get(*at, 4) == 1)
                .map(|at| object(region, at))
                .collect(),
        }
    }

    pub(crate) fn object(&self, name: &str) -> &Object {
        self.objects.iter().find(|o| o.name == name).unwrap()
    }
}

fn place(at: u64, width: u64, sort: Sort) -> Place {
    Place {
        at,
        width,
        sort,
        spare_the_living: false,
    }
}

fn header() -> Vec<Place> {
    let mut all = vec![Place {
        spare_the_living: true,
        ..place(DIRECTORY_LOCK, 4, Sort::Lock)
    }];
    all.push(place(DIRECTORY_LOCK + 4, 4, Sort::Signal));
    // next_slot, deaths, swept_at, sweep_from
    all.extend([8, 128, 132, 136].map(|at| place(SHARED + at, 4, Sort::Number)));
    // The roles.
    all.extend((0..8).map(|i| place(SHARED + 144 + i * 4, 4, Sort::Lock)));
    all
}

fn entry(at: u64) -> Vec<Place> {
    let words = [
        (0, 4),
        (8, 4),
        (12, 4),
        (16, 8),
        (24, 8),
        (32, 8),
        (40, 8),
        (48, 2),
        (50, 2),
    ];
    words
        .map(|(i, width)| place(at + i, width, Sort::Entry))
        .to_vec()
}

fn object(region: &Region, entry: u64) -> Object {
    let [offset, size, len] = [16, 24, 32].map(|i| region.get(entry + i, 8));
    let name_len = u64::from_ne_bytes(region.read(entry + 48, 8).try_into().unwrap()) & 0xFFFF;
    let name = String::from_utf8(region.read(entry + 56, name_len)).unwrap();
    let lane = Sort::Position {
        capacity: len.div_ceil(8) + 1,
    };
    let kind = region.get(entry + 8, 4);
    let queue_end = Sort::Position {
        capacity: if kind == 14 { len.div_ceil(8) + 1 } else { len },
    };
    let members = region.get(28, 4);
    let tallies = (0..members).map(|i| 64 + i * 8);
    let arrivals = (0..members).map(|i| 64 + i * 64);
    // Behind the cells, a word for each.
    let words_of = if kind == 6 { len } else { 0 };
    let leases = (offset + size - words_of * 8..offset + size)
        .step_by(8)
        .take(16)
        .map(|at| at - offset);
    // Behind the value, a line for each member.
    let lines = (192 + region.get(entry + 40, 8)).next_multiple_of(64);
    // Behind the blocks, a word for each.
    let size_of_block = region.get(entry + 40, 8);
    let align: u64 = if size_of_block < 4096 { 64 } else { 4096 };
    let blocks_end = align + len * size_of_block.next_multiple_of(align);
    let blocks = (0..len).map(|i| blocks_end.next_multiple_of(64) + i * 8);
    // The tally, and who reads solo.
    let readers = (0..members).flat_map(|i| [0, 8].map(|word| lines + i * 64 + word));
    // The last part of a broadcast.
    let subscriptions = (0..members).map(|i| size.saturating_sub((members - i) * 64));
    let words: Vec<(u64, u64, Sort)> = match kind {
        1 => vec![
            (0, 4, Sort::Lock),
            (8, 4, Sort::Signal),
            (16, 8, Sort::Version),
        ],
        2 | 4 => vec![(0, 4, Sort::Lock)],
        3 => vec![],
        5 => vec![(0, 4, Sort::Signal)],
        // Of messages, the positions count words.
        6 | 14 => [
            (0, 4, Sort::Lock),
            (8, 8, queue_end),
            (16, 8, queue_end),
            (128, 4, Sort::Lock),
            (136, 8, queue_end),
            (144, 8, queue_end),
            (152, 8, queue_end),
            (160, 8, queue_end),
            (168, 8, Sort::Number),
            (256, 4, Sort::Signal),
            (260, 4, Sort::Signal),
            (264, 4, Sort::Number),
            (268, 4, Sort::Signal),
        ]
        .into_iter()
        // A number, and whose lease it is, with two bits above.
        .chain(leases.flat_map(|at| [(at, 4, Sort::Number), (at + 4, 4, Sort::Owner)]))
        .collect(),
        17 => [
            (0, 4, Sort::Lock),
            (8, 4, Sort::Number),
            (16, 8, queue_end),
            (128, 8, queue_end),
            (136, 8, queue_end),
            (256, 4, Sort::Signal),
            (260, 4, Sort::Signal),
            (264, 4, Sort::Number),
        ]
        .into_iter()
        .chain(subscriptions.flat_map(|at| [(at, 8, queue_end), (at + 8, 4, Sort::Owner)]))
        .collect(),
        7 => [
            (0, 4, Sort::Lock),
            (8, 4, Sort::Number),
            (12, 4, Sort::Signal),
            (16, 8, Sort::Number),
            (24, 8, Sort::Number),
        ]
        .into_iter()
        // A number of readings, and whose: one who lives, and is not there, is waited for as if he held a lock.
        .chain(readers.flat_map(|at| [(at, 4, Sort::Number), (at + 4, 4, Sort::Lock)]))
        .collect(),
        9 => [
            (0, 4, Sort::Lock),
            (8, 4, Sort::Signal),
            (16, 8, Sort::Number),
            (24, 8, Sort::Number),
        ]
        .into_iter()
        .chain(tallies.flat_map(|at| [(at, 4, Sort::Number), (at + 4, 4, Sort::Owner)]))
        .collect(),
        10 => [
            (0, 4, Sort::Lock),
            (8, 4, Sort::Signal),
            (12, 4, Sort::Number),
            (16, 4, Sort::Version),
            (20, 4, Sort::Version),
        ]
        .into_iter()
        .chain(arrivals.flat_map(|at| {
            [
                (at, 4, Sort::Number),
                (at + 4, 4, Sort::Version),
                (at + 8, 4, Sort::Owner),
            ]
        }))
        .collect(),
        8 => vec![
            (0, 4, Sort::Lock),
            (8, 4, Sort::Number),
            (16, 8, Sort::Version),
        ],
        11 => vec![(0, 4, Sort::Number), (4, 4, Sort::Signal)],
        12 => vec![
            (0, 4, Sort::Lock),
            (8, 4, Sort::Number),
            (12, 4, Sort::Signal),
        ],
        13 => vec![
            (0, 8, queue_end),
            (8, 4, Sort::Owner),
            (128, 8, queue_end),
            (136, 4, Sort::Owner),
            (256, 4, Sort::Signal),
            (260, 4, Sort::Signal),
            (264, 8, queue_end),
            (272, 4, Sort::Number),
        ],
        16 => vec![
            (0, 8, lane),
            (128, 8, lane),
            (256, 8, lane),
            (384, 8, lane),
            (PIPE_LOCK, 4, Sort::Lock),
            (520, 4, Sort::Owner),
            (524, 4, Sort::Owner),
            (528, 4, Sort::Signal),
            (532, 4, Sort::Signal),
            (536, 4, Sort::Signal),
            (540, 4, Sort::Signal),
        ],
        18 => [
            (0, 4, Sort::Signal),
            (8, 4, Sort::Version),
            (12, 4, Sort::Number),
        ]
        .into_iter()
        .chain(blocks.flat_map(|at| [(at, 4, Sort::Version), (at + 4, 4, Sort::Holder)]))
        .collect(),
        other => panic!("a kind of object that is unknown here: {other}"),
    };
    let control = match kind {
        18 => align,
        kind => {
            const CONTROLS: [u64; 18] = [
                0, 24, 64, 0, 8, 4, 384, 192, 24, 32, 24, 8, 16, 384, 384, 384, 640, 384,
            ];
            CONTROLS[kind as usize]
        }
    };
    // Not all of a long one: its control words would hardly ever be hit.
    let data = (offset + control..offset + size)
        .filter(|at| at % 4 == 0)
        .take(16);
    // Behind each lock's word, its signal. (A reader's name is no lock's.)
    let is_lock =
        |(at, _, sort): &&(u64, u64, Sort)| *sort == Sort::Lock && (kind != 7 || *at == 0);
    let locks = words.iter().filter(is_lock);
    let freed: Vec<_> = locks.map(|(at, ..)| (at + 4, 4, Sort::Signal)).collect();
    let mut places: Vec<Place> = words
        .iter()
        .chain(&freed)
        .map(|(at, width, sort)| Place {
            // A condition variable's wait has to get its mutex back, a permit's drop the semaphore's lock, a lease's drop that of the
            // queue's receivers, and a subscriber the broadcast's, without a deadline. To take a pipe's end waits a second for it.
            spare_the_living: name == WAITED_WITH
                || [9, 10, 17].contains(&kind)
                || [(6, 128), (16, PIPE_LOCK)].contains(&(kind, *at)),
            ..place(offset + at, *width, *sort)
        })
        .collect();
    places.extend(data.map(|at| place(at, 4, Sort::Data)));
    Object {
        name,
        entry,
        offset,
        size,
        len,
        item: region.get(entry + 40, 8).max(1),
        places,
        entry_places: self::entry(entry),
    }
}

/// Of a pipe: held while an end is taken.
const PIPE_LOCK: u64 = 512;

/// The mutex that condition variables are waited on with.
pub(crate) const WAITED_WITH: &str = "waited with";
