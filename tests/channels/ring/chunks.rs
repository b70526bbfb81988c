//! Chunks in place.

use super::*;

#[test]
fn chunks_are_written_and_read_in_place() {
    let r = private_ring(5);
    let (mut p, mut c) = (r.producer().unwrap(), r.consumer().unwrap());
    let mut chunk = p.write_chunk(5).unwrap();
    assert_eq!((chunk.len(), chunk.is_empty()), (5, false));
    let (first, second) = chunk.as_mut_slices();
    assert_eq!((&*first, &*second), (&[0; 5][..], &[][..]));
    first.copy_from_slice(&[1, 2, 3, 4, 5]);
    // Of a chunk that is dropped nothing was sent.
    drop(chunk);
    assert!(is_empty(c.try_recv()) && is_empty(c.try_read_chunk(1).map(drop)));
    let mut chunk = p.try_write_chunk(4).unwrap();
    chunk.as_mut_slices().0.copy_from_slice(&[1, 2, 3, 4]);
    chunk.commit(3).unwrap();
    assert!(is_full(p.try_write_chunk(3).map(drop)));
    let chunk = c.read_chunk(3).unwrap();
    assert_eq!(chunk.as_slices(), (&[1, 2, 3][..], &[][..]));
    // And of one that is dropped nothing was taken.
    drop(chunk);
    c.try_read_chunk(3).unwrap().commit(2).unwrap();
    let mut chunk = p.write_chunk(4).unwrap();
    let (first, second) = chunk.as_mut_slices();
    assert_eq!((first.len(), second.len()), (2, 2));
    first.copy_from_slice(&[4, 5]);
    second.copy_from_slice(&[6, 7]);
    chunk.commit_all().unwrap();
    let chunk = c.read_chunk(5).unwrap();
    assert_eq!((chunk.len(), chunk.is_empty()), (5, false));
    assert_eq!(chunk.as_slices(), (&[3, 4, 5][..], &[6, 7][..]));
    chunk.commit_all().unwrap();
    assert!(r.is_empty());
}

#[test]
fn chunks_have_limits() {
    let r = private_ring(4);
    let (mut p, mut c) = (r.producer().unwrap(), r.consumer().unwrap());
    let too_large = |e: Option<Error>| match e {
        Some(Error::TooLarge { requested, limit }) => assert_eq!((requested, limit), (5, 4)),
        other => panic!("{other:?}"),
    };
    too_large(p.write_chunk(5).err());
    too_large(p.try_write_chunk(5).err());
    too_large(p.write_chunk_timeout(5, LIMIT).err());
    too_large(c.read_chunk(5).err());
    too_large(c.try_read_chunk(5).err());
    too_large(c.read_chunk_timeout(5, LIMIT).err());
    let refused = |r: Result<()>| assert!(matches!(r, Err(Error::InvalidArgument(_))));
    refused(p.write_chunk(2).unwrap().commit(3));
    assert!(p.write_chunk(0).unwrap().is_empty());
    p.write_chunk(0).unwrap().commit_all().unwrap();
    p.send(1).unwrap();
    refused(c.read_chunk(1).unwrap().commit(2));
    assert!(c.read_chunk(0).unwrap().is_empty());
    c.read_chunk(0).unwrap().commit_all().unwrap();
    assert_eq!(c.recv().unwrap(), 1);
    let seg = Segment::anonymous(4096).unwrap();
    let none = Ring::<u8>::create(&seg, "none", 0);
    assert!(matches!(none, Err(Error::InvalidArgument(_))));
}

#[test]
fn a_chunk_waits_for_all_its_items_or_room() {
    let r = private_ring(64);
    let (mut p, mut c) = (r.producer().unwrap(), r.consumer().unwrap());
    std::thread::scope(|s| {
        s.spawn(|| {
            for i in 0..10_000u64 {
                let mut chunk = p.write_chunk(1 + i as usize % 64).unwrap();
                let (first, second) = chunk.as_mut_slices();
                first.iter_mut().chain(second).for_each(|place| *place = i);
                chunk.commit_all().unwrap();
            }
        });
        for i in 0..10_000u64 {
            let chunk = c.read_chunk(1 + i as usize % 64).unwrap();
            let (first, second) = chunk.as_slices();
            assert!(first.iter().chain(second).all(|&item| item == i));
            chunk.commit_all().unwrap();
        }
    });
    assert!(r.is_empty());
}
