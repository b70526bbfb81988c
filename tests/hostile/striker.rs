//! One who scribbles on the region, by a seed.

use crate::chosen::{self, any, one};
use crate::layout::{ENTRY_BYTES, Layout, Object, Place};
use crate::region::Region;
use crate::support::Random;

/// Where and how it strikes for a while.
#[derive(Clone, Copy, Debug)]
enum Mood {
    /// The words of the objects.
    Objects,
    /// The words that all members share, and their slots.
    Header,
    Directory,
    /// What users put into the objects.
    Data,
    /// Any byte, the geometry's too.
    Anywhere,
    /// Futexes and locks of the kernel's, no bytes.
    Kernel,
}

pub(crate) struct Striker {
    pub(crate) region: Region,
    pub(crate) layout: Layout,
    random: Random,
    mood: Mood,
    /// Pieces of the region as they were at some moment.
    past: Vec<(u64, Vec<u8>)>,
}

impl Striker {
    pub(crate) fn new(name: &str, seed: u64) -> Striker {
        let region = Region::open(name);
        let layout = Layout::of(&region);
        Striker {
            region,
            layout,
            random: Random::from(seed),
            mood: Mood::Objects,
            past: Vec::new(),
        }
    }

    /// Mends all, and begins another sort of attack.
    pub(crate) fn begin_anew(&mut self) {
        self.region.mend_all();
        let moods = [
            Mood::Objects,
            Mood::Objects,
            Mood::Header,
            Mood::Directory,
            Mood::Data,
            Mood::Anywhere,
            Mood::Kernel,
        ];
        self.mood = one(&mut self.random, &moods);
    }

    /// Strikes once.
    pub(crate) fn strike(&mut self) {
        if matches!(self.mood, Mood::Kernel) {
            return self.strike_by_the_kernel();
        }
        match self.random.below(16) {
            0 | 1 => self.scribble(),
            2 => self.remember(),
            3 | 4 => self.bring_back(),
            5..=9 if matches!(self.mood, Mood::Directory) => self.forge_an_entry(),
            5 => self.strike_by_the_kernel(),
            6 if matches!(self.mood, Mood::Header) => self.take_all_slots(),
            _ => {
                let place = self.place();
                let n = chosen::value(&mut self.random, &self.region, &self.layout, &place);
                self.region.put(place.at, place.width, n);
            }
        }
    }

    /// Strikes one place many times, with as many values.
    pub(crate) fn hammer(&mut self, times: u64) {
        let place = self.place();
        for _ in 0..times {
            let n = chosen::value(&mut self.random, &self.region, &self.layout, &place);
            self.region.put(place.at, place.width, n);
        }
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.random.below(n)
    }

    fn object(&mut self) -> &Object {
        let n = self.random.below(self.layout.objects.len() as u64);
        &self.layout.objects[n as usize]
    }

    /// A place that the mood allows; where it allows all, one that means something.
    fn place(&mut self) -> Place {
        let Striker { random, layout, .. } = self;
        let words = match (self.mood, random.below(4)) {
            (Mood::Header, 0 | 1) => &layout.header,
            (Mood::Header, _) => &layout.slots,
            (Mood::Directory, 0) => &layout.entries,
            (Mood::Directory, _) => {
                let in_use = random.below(layout.objects.len() as u64) as usize;
                &layout.objects[in_use].entry_places
            }
            _ => &layout.objects[random.below(layout.objects.len() as u64) as usize].places,
        };
        one(random, words)
    }

    /// Random bytes: in the mood's own places, or anywhere.
    fn scribble(&mut self) {
        let at = match self.mood {
            Mood::Anywhere => match self.random.below(8) {
                0 => self.random.below(128),
                _ => self.random.below(self.region.len()),
            },
            Mood::Data => {
                let object = self.object().clone();
                object.offset + self.random.below(object.size)
            }
            _ => self.place().at,
        };
        let len = 1 + self.random.below(16);
        let bytes: Vec<u8> = (0..len).map(|_| any(&mut self.random) as u8).collect();
        self.region.write(at, &bytes);
    }

    /// A whole piece: an object, an entry, the members, the header, or any.
    fn piece(&mut self) -> (u64, u64) {
        let object = self.object().clone();
        match self.random.below(5) {
            0 => (object.offset, object.size.min(4096)),
            1 => (object.entry, ENTRY_BYTES),
            2 => (crate::layout::SLOTS, self.layout.members * 64),
            3 => (crate::layout::SHARED, 256),
            _ => (
                self.random.below(self.region.len()),
                1 + self.random.below(64),
            ),
        }
    }

    fn remember(&mut self) {
        let (at, len) = self.piece();
        let bytes = self.region.read(at, len);
        if self.past.len() == 16 {
            self.past.remove(0);
        }
        self.past.push((at, bytes));
    }

    /// Old values back: of some moment, or of the beginning.
    fn bring_back(&mut self) {
        if self.past.is_empty() || self.random.below(2) == 0 {
            let (at, len) = self.piece();
            self.region.mend(at, len);
        } else {
            let n = self.random.below(self.past.len() as u64) as usize;
            let (at, bytes) = &self.past[n];
            self.region.write(*at, bytes);
        }
    }

    /// No slot is free, by their words: newcomers have to ask after each.
    fn take_all_slots(&mut self) {
        for slot in &self.layout.slots {
            let n = chosen::value(&mut self.random, &self.region, &self.layout, slot);
            self.region.put(slot.at, 8, n | 1);
        }
    }

    /// An entry with more items, at another place: over another object, or at the very end of the region. Two in five agree
    /// with themselves, and so are believed; the others must not be.
    fn forge_an_entry(&mut self) {
        let it = self.object().clone();
        let other = self.object().clone();
        let room = self.region.len() - self.layout.data_at;
        // Of a value or mutex there is only one, and more are refused.
        let more = match self.random.below(4) {
            0 => 0,
            1 => 1,
            2 => self.random.below(1 + room / it.item),
            // What would end far outside.
            _ => self.random.below(1 << 20),
        };
        let (len, size) = (it.len + more, it.size + more * it.item);
        let at_the_end = self.region.len().saturating_sub(size) / 128 * 128;
        let places = [it.offset, other.offset, at_the_end, at_the_end + 128];
        let offset = one(&mut self.random, &places);
        let left_out = self.random.below(5);
        // All else is in order: what is refused for one thing shows nothing about another.
        self.region.mend(it.entry, ENTRY_BYTES);
        for (i, n) in [(0, offset), (1, size), (2, len)] {
            if i != left_out {
                self.region.put(it.entry + 16 + 8 * i, 8, n);
            }
        }
        if self.random.below(4) == 0 {
            // And under the other's name, twice in the directory.
            let name = self.region.read(other.entry + 56, 96);
            self.region.write(it.entry + 56, &name);
            let name_len = self.region.read(other.entry + 48, 2);
            self.region.write(it.entry + 48, &name_len);
        }
    }

    /// What an outsider can do without a byte: wake sleepers, lead them astray, vouch for anybody.
    fn strike_by_the_kernel(&mut self) {
        let (one, other) = (self.place().at & !3, self.place().at & !3);
        let owner = self.region.get(one, 4) as u32 & crate::layout::OWNER;
        match self.random.below(8) {
            0..=2 => self.region.wake(one),
            5 if self.random.below(16) == 0 => self.region.punch(one),
            3..=5 => self.region.requeue(one, other),
            6 => self.region.vouch(libc::F_WRLCK, owner),
            _ => self.region.vouch(libc::F_UNLCK, owner),
        }
    }
}
