//! Sizes that are nothing, or absurd, and indexes beyond the end.

use crate::support::*;
use commonhold::{Array, Atomics, Error, Place, Queue, Segment, SegmentOptions, Value};
use std::sync::atomic::{AtomicI8, AtomicU64};

#[test]
fn a_segment_of_no_capacity_has_one_page_or_more() {
    let seg = Segment::anonymous(0).unwrap();
    assert!(seg.capacity() >= 4096);
    Value::create(&seg, "value", 1u64).unwrap();
}

#[test]
fn sizes_beyond_the_limits_are_refused_with_the_limit() {
    let name = Name::new();
    // (32 bits can't say a number beyond this limit.)
    #[cfg(target_pointer_width = "64")]
    for huge in [
        usize::MAX,
        usize::MAX - 4096,
        isize::MAX as usize,
        (1 << 56) + 1,
    ] {
        for result in [
            Segment::create(&name, huge),
            Segment::open_or_create(&name, huge),
            Segment::anonymous(huge),
        ] {
            refused!(
                result,
                Error::TooLarge { requested, limit: 0x100_0000_0000_0000 }
                    if *requested == huge as u64,
                [&huge.to_string()[..], "the limit is 72057594037927936"]
            );
        }
    }
    for (options, asked, most) in [
        (SegmentOptions::new().max_members(1025), 1025, 1024),
        (SegmentOptions::new().max_members(u32::MAX), u32::MAX, 1024),
        (SegmentOptions::new().max_objects(65_537), 65_537, 65_536),
        (
            SegmentOptions::new().max_objects(u32::MAX),
            u32::MAX,
            65_536,
        ),
    ] {
        refused!(
            options.create(&name),
            Error::TooLarge { requested, limit }
                if *requested == u64::from(asked) && *limit == most,
            [
                &format!("{asked} was asked for")[..],
                &format!("the limit is {most}")
            ]
        );
    }
    for options in [
        SegmentOptions::new().max_members(0),
        SegmentOptions::new().max_objects(0),
    ] {
        refused!(
            options.create(&name),
            Error::InvalidArgument(_),
            ["max_members and max_objects must be at least 1"]
        );
    }
    assert!(!name.exists());
}

#[test]
fn objects_of_absurd_lengths_are_refused_and_leave_the_segment_as_it_was() {
    let seg = Segment::anonymous(1 << 16).unwrap();
    let objects = Objects::create(&seg);
    let available = seg.available();
    for huge in [
        usize::MAX,
        usize::MAX - 63,
        usize::MAX / 8,
        usize::MAX / 8 + 1,
        isize::MAX as usize,
        isize::MAX as usize + 1,
        1 << (usize::BITS - 3),
        1 << (usize::BITS / 2),
    ] {
        for result in [
            Array::create(&seg, "huge", huge, 0u8).map(drop),
            Array::create(&seg, "huge", huge, 0u64).map(drop),
            Array::open_or_create(&seg, "huge", huge, [0u8; 24]).map(drop),
            Atomics::<AtomicI8>::create(&seg, "huge", huge).map(drop),
            Atomics::<AtomicU64>::open_or_create(&seg, "huge", huge).map(drop),
            Queue::<bool>::create(&seg, "huge", huge).map(drop),
            Queue::<u64>::open_or_create(&seg, "huge", huge).map(drop),
            Queue::<()>::create(&seg, "huge", huge).map(drop),
        ] {
            refused!(
                result,
                Error::OutOfSpace { requested, available: a, place: Place::Segment }
                    if *requested >= huge as u64 && *a == available as u64,
                NO_ROOM_IN_SEGMENT,
                "{huge:#x}"
            );
        }
    }
    assert_eq!(seg.available(), available);
    assert_eq!(seg.objects().len(), 6);
    objects.work().unwrap();
}

#[test]
fn a_queue_without_room_for_one_item_is_refused() {
    let seg = Segment::anonymous(4096).unwrap();
    for result in [
        Queue::<u64>::create(&seg, "q", 0),
        Queue::<u64>::open_or_create(&seg, "q", 0),
    ] {
        refused!(
            result,
            Error::InvalidArgument(_),
            ["invalid argument", "a queue's capacity must be at least 1"]
        );
    }
    assert!(seg.objects().is_empty());
}

#[test]
fn an_array_of_no_items_has_none() {
    let seg = Segment::anonymous(4096).unwrap();
    let array = Array::<u64>::from_slice(&seg, "array", &[]).unwrap();
    assert!(array.is_empty());
    assert!(array.to_vec().unwrap().is_empty());
    assert!(array.lock().unwrap().is_empty());
}

#[test]
fn atomics_of_no_items_have_none() {
    let seg = Segment::anonymous(4096).unwrap();
    let atomics = Atomics::<AtomicU64>::create(&seg, "atomics", 0).unwrap();
    assert!(atomics.is_empty());
    let opened = Atomics::<AtomicU64>::open(&seg, "atomics").unwrap();
    assert!(opened.is_empty());
}

#[test]
fn an_index_beyond_the_end_is_refused_with_both_numbers() {
    let seg = Segment::anonymous(4096).unwrap();
    let array = Array::from_slice(&seg, "array", &ARRAY).unwrap();
    for index in [5, 6, usize::MAX] {
        let says = [
            format!("index {index} is out of bounds"),
            "there are 5 items".into(),
        ];
        refused!(
            array.get(index),
            Error::OutOfBounds { index: i, len: 5 } if *i == index,
            says
        );
        refused!(
            array.set(index, 1),
            Error::OutOfBounds { index: i, len: 5 } if *i == index,
            says
        );
    }
    assert_eq!(array.to_vec().unwrap(), ARRAY);
}

#[test]
fn an_array_of_items_without_size_may_not_be_longer_than_memory() {
    alone(|| {
        let seg = Segment::anonymous(4096).unwrap();
        for huge in [usize::MAX, isize::MAX as usize + 1] {
            for result in [
                Array::create(&seg, "huge", huge, ()),
                Array::open_or_create(&seg, "huge", huge, ()),
            ] {
                refused!(
                    result,
                    Error::TooLarge { requested, limit }
                        if *requested == huge as u64 && *limit == isize::MAX as u64,
                    [
                        &format!("{huge} was asked for")[..],
                        &format!("the limit is {}", isize::MAX)
                    ]
                );
            }
        }
        assert!(seg.objects().is_empty());
        let array = Array::create(&seg, "small", 1000, ()).unwrap();
        assert_eq!(array.to_vec().unwrap().len(), 1000);
    });
}
