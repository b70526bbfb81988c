//! Makers of segments and objects, killed at random.

use crate::support::{Child, Name, Random, tell};
use commonhold::{Array, Segment, Value};

/// Makes segments and objects, over and over, until it is killed.
pub fn make_for_ever(args: &[String]) {
    tell("ready");
    for n in 0u64.. {
        let name = format!("{}-{}", args[0], n % 3);
        let seg = Segment::create(&name, 1 << 20).unwrap_or_else(|_| Segment::open(&name).unwrap());
        for i in 0..20 {
            let _ = Value::create(&seg, &format!("value {i}"), [n, !n]);
            let _ = Array::create(&seg, &format!("array {i}"), 1000, n);
        }
        if Segment::unlink(&name).is_err() {
            return;
        }
    }
}

#[test]
fn makers_killed_at_random_leave_nothing_half_made() {
    let base = Name::new("makers");
    let mut random = Random::new();
    let mut found = 0;
    for _ in 0..60 {
        let mut child = Child::start("make_for_ever", &[&base]);
        child.expect("ready");
        for _ in 0..random.below(30_000) {
            std::hint::spin_loop();
        }
        child.kill();
        let mut names = Vec::new();
        for entry in std::fs::read_dir("/dev/shm").unwrap() {
            let entry = entry.unwrap().file_name().into_string().unwrap();
            if entry.starts_with(&*base) {
                names.push(entry);
            }
        }
        assert!(names.len() <= 1, "left behind: {names:?}");
        for name in names {
            found += 1;
            // Whatever has a name is whole, and goes on being made.
            let seg = Segment::open(&name).unwrap();
            let before = seg.objects();
            let available = seg.available();
            for o in &before {
                match &*o.type_name {
                    "[u64; 2]" => {
                        let v = Value::<[u64; 2]>::open(&seg, &o.name)
                            .unwrap()
                            .get()
                            .unwrap();
                        assert_eq!(v[0], !v[1]);
                    }
                    _ => {
                        let all = Array::<u64>::open(&seg, &o.name).unwrap().to_vec().unwrap();
                        assert!(all.len() == 1000 && all.iter().all(|n| *n == all[0]));
                    }
                }
            }
            Value::create(&seg, "one more", 1u64).unwrap();
            assert!(seg.available() < available);
            let used: usize = seg
                .objects()
                .iter()
                .map(|o| o.size.next_multiple_of(128))
                .sum();
            assert_eq!(
                (seg.capacity() - seg.available()).next_multiple_of(128),
                used,
                "room was lost"
            );
            Segment::unlink(&name).unwrap();
        }
    }
    println!("{found} segments were found half-filled, and whole");
}
