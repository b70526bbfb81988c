//! The worst values for each sort of word.

use crate::layout::{Layout, Place, Sort};
use crate::region::Region;
use crate::support::Random;

/// One of `all`.
pub(crate) fn one<T: Copy>(random: &mut Random, all: &[T]) -> T {
    all[random.below(all.len() as u64) as usize]
}

/// All 64 bits of it.
pub(crate) fn any(random: &mut Random) -> u64 {
    random.below(1 << 32) << 32 | random.below(1 << 32)
}

/// A value for `place`.
pub(crate) fn value(random: &mut Random, region: &Region, layout: &Layout, place: &Place) -> u64 {
    let now = region.get(place.at & !7, 8);
    match place.sort {
        Sort::Lock => lock(random, region, layout, place.spare_the_living).into(),
        Sort::Owner => (lock(random, region, layout, false) & crate::layout::OWNER).into(),
        Sort::Holder => {
            let owner = lock(random, region, layout, false) & crate::layout::OWNER;
            u64::from(owner) << 2 | random.below(4)
        }
        Sort::Signal => {
            let count = one(random, &[now, now.wrapping_add(4), 0, u64::MAX]) & !3;
            count | random.below(4)
        }
        Sort::Position { capacity } => position(random, now, capacity),
        Sort::Version => one(
            random,
            &[now.wrapping_add(1), now.wrapping_sub(1), now ^ 2, u64::MAX],
        ),
        Sort::Claim => claim(random, now),
        Sort::Entry => number(random, region, layout),
        Sort::Number => one(
            random,
            &[
                0,
                1,
                layout.members - 1,
                layout.members,
                now.wrapping_add(1),
                u64::MAX,
            ],
        ),
        Sort::Data => any(random),
    }
}

/// A lock word: each sort of owner, with each combination of the two state bits.
fn lock(random: &mut Random, region: &Region, layout: &Layout, spare_the_living: bool) -> u32 {
    let slot = random.below(layout.members) as u32;
    let claim = region.get(layout.slots[slot as usize].at, 8);
    let generation = (claim >> 1) as u32 & 0xF_FFFF;
    let id = |generation: u32, slot: u32| (generation & 0xF_FFFF) << 10 | slot;
    // The first one lives, most of the time; it may be the victim itself.
    let living = if spare_the_living {
        0
    } else {
        id(generation, slot)
    };
    let owners = [
        living,
        0,
        // Dead, or not yet born.
        id(generation.wrapping_sub(1), slot),
        id(generation.wrapping_add(1), slot),
        // Impossible: no such slot; no generation; all there is.
        id(1, layout.members as u32 + 1),
        id(0, 5),
        id(0xF_FFFF, 1023),
        any(random) as u32 & !0xFF | 0xF0,
    ];
    let flags = random.below(4) as u32;
    one(random, &owners) & crate::layout::OWNER | flags << 30
}

fn position(random: &mut Random, now: u64, capacity: u64) -> u64 {
    let near = one(
        random,
        &[0, 1, capacity - 1, capacity, capacity + 1, 2 * capacity],
    );
    let far = [
        0,
        u64::MAX,
        i64::MAX as u64,
        1 << 63,
        1 << 32,
        u64::MAX - capacity,
        now,
    ];
    let base = one(random, &far);
    if random.below(2) == 0 {
        base.wrapping_add(near)
    } else {
        base.wrapping_sub(near)
    }
}

fn claim(random: &mut Random, now: u64) -> u64 {
    let generation = one(random, &[0, 1, 0xF_FFFF, (now >> 1) + 1, now >> 1]) & 0xF_FFFF;
    let pid = one(
        random,
        &[0, 1, u64::from(std::process::id()), u64::from(u32::MAX)],
    );
    pid << 32 | any(random) & (0x7FF << 21) | generation << 1 | random.below(2)
}

/// An offset, size, length or kind: near a limit, or another object's.
fn number(random: &mut Random, region: &Region, layout: &Layout) -> u64 {
    let other = &layout.objects[random.below(layout.objects.len() as u64) as usize];
    let bases = [
        0,
        other.offset,
        other.size,
        other.len,
        layout.data_at,
        region.len(),
        region.len() - other.size,
        u64::MAX,
        i64::MAX as u64,
        1 << 63,
        u64::MAX / 8,
    ];
    let by = one(random, &[0, 1, 4, 8, 64, 127, 128, 4096]);
    let base = one(random, &bases);
    one(
        random,
        &[base, base.wrapping_add(by), base.wrapping_sub(by)],
    )
}
