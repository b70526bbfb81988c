use super::*;
use crate::sys::image::Image;

fn head() -> Head {
    Head {
        identity: Identity::of_this_process(Image::of_this_process().unwrap()).unwrap(),
        function: Function::of((|n| n + 1) as fn(u32) -> u32).unwrap(),
        parent: 7,
        daemon: true,
        text_len: 0,
        args_len: 0,
    }
}

fn text() -> Text {
    Text {
        name: "a name".to_owned(),
        lineage: "2:1".to_owned(),
        parent_name: "MainProcess".to_owned(),
        directory: Some(b"/tmp".to_vec()),
        given: vec![3, 9],
        passed: vec![],
    }
}

/// A file that holds these bytes, taken for a letter.
fn forged(bytes: &[u8]) -> Letter {
    let file = memfd::create(c"commonhold-forged").unwrap();
    file.write_all_at(bytes, 0).unwrap();
    Letter::of(file).unwrap()
}

fn bytes_of(letter: &Letter) -> Vec<u8> {
    let len = letter.file.metadata().unwrap().len();
    memfd::read_at(&letter.file, len, 0).unwrap()
}

/// Reads all that a letter says, as parent and child do.
fn read(letter: &Letter) -> Result<(Head, Text, Vec<u8>)> {
    let _ = letter.outcome();
    let head = letter.head()?;
    Ok((head, letter.text(&head)?, letter.args(&head)?))
}

struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[test]
fn what_is_written_is_read() {
    let letter = Letter::write(head(), &text(), b"arguments").unwrap();
    let (read_head, read_text, args) = read(&letter).unwrap();
    assert_eq!(read_head.function, head().function);
    assert_eq!(read_head.identity, head().identity);
    assert_eq!((read_head.parent, read_head.daemon), (7, true));
    assert_eq!(read_text, text());
    assert_eq!(args, b"arguments");
    assert_eq!(letter.outcome().unwrap(), Err(HasBegun(false)));
    letter.begin().unwrap();
    assert_eq!(letter.outcome().unwrap(), Err(HasBegun(true)));
    letter.answer(&read_head, b"what became of it").unwrap();
    assert_eq!(letter.outcome().unwrap().unwrap(), b"what became of it");
}

#[test]
fn the_first_answer_is_the_only_one() {
    let letter = Letter::write(head(), &text(), b"").unwrap();
    let head = letter.head().unwrap();
    letter.begin().unwrap();
    letter.answer(&head, b"what it returned").unwrap();
    // Another thread that panics, say, while the process ends.
    letter.answer(&head, b"a panic").unwrap();
    assert_eq!(letter.outcome().unwrap().unwrap(), b"what it returned");
}

#[test]
fn an_outcome_without_its_last_word_does_not_exist() {
    let letter = Letter::write(head(), &text(), b"").unwrap();
    letter.begin().unwrap();
    let at = outcome_at(&letter.head().unwrap()).unwrap();
    memfd::write_at(&letter.file, b"half of", at).unwrap();
    assert_eq!(letter.outcome().unwrap(), Err(HasBegun(true)));
}

#[test]
fn a_letter_that_was_cut_short_is_no_letter() {
    let whole = bytes_of(&Letter::write(head(), &text(), b"arguments").unwrap());
    for len in 0..whole.len() {
        let e = read(&forged(&whole[..len])).unwrap_err();
        assert!(matches!(e, Error::Corrupt), "{len}: {e}");
    }
    read(&forged(&whole)).unwrap();
}

#[test]
fn a_head_in_which_any_bit_was_changed_is_no_head() {
    let whole = bytes_of(&Letter::write(head(), &text(), b"").unwrap());
    for bit in 0..8 * STATE_AT as usize {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let e = forged(&bytes).head().unwrap_err();
        assert!(matches!(e, Error::Corrupt), "{bit}: {e}");
    }
}

#[test]
fn a_head_with_lengths_that_are_not_there_is_an_error() {
    let good = bytes_of(&Letter::write(head(), &text(), b"args").unwrap());
    let good = forged(&good).head().unwrap();
    for len in [4097, 1 << 32, 1 << 62, u64::MAX, u64::MAX - STATE_AT] {
        for (text_len, args_len) in [(len, 0), (good.text_len, len)] {
            let bad = Head {
                text_len,
                args_len,
                ..good
            };
            let mut bytes = bytes_of(&Letter::write(head(), &text(), b"args").unwrap());
            bytes[..STATE_AT as usize].copy_from_slice(&bad.to_bytes());
            let letter = forged(&bytes);
            // A file can be long and hold nothing.
            letter.file.set_len(1 << 40).unwrap();
            let e = read(&letter).unwrap_err();
            assert!(
                matches!(e, Error::Corrupt),
                "{text_len:#x} {args_len:#x}: {e}"
            );
        }
    }
}

#[test]
fn whatever_a_letter_holds_reading_it_is_an_error_at_worst() {
    let seed = crate::sys::deadline::now().as_nanos() as u64 | 1;
    println!("seed {seed}");
    let mut numbers = Numbers(seed);
    let whole = bytes_of(&Letter::write(head(), &text(), b"arguments").unwrap());
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + numbers.next() % 8 {
            let at = numbers.next() as usize % bytes.len();
            match numbers.next() % 3 {
                0 => bytes[at] = numbers.next() as u8,
                1 => bytes.truncate(at.max(1)),
                _ => {
                    let word = at / 8 * 8;
                    let value = numbers.next() >> (numbers.next() % 64);
                    for (b, v) in bytes[word..].iter_mut().zip(value.to_le_bytes()) {
                        *b = v;
                    }
                }
            }
        }
        // With a checksum that is right, so that what is behind it is judged, too.
        if bytes.len() >= STATE_AT as usize && numbers.next() % 4 != 0 {
            bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
            bytes[8..16].copy_from_slice(&VERSION.to_le_bytes());
            let mut sum = Checksum::new();
            sum.add(&bytes[..STATE_AT as usize - 8]);
            bytes[STATE_AT as usize - 8..STATE_AT as usize].copy_from_slice(&sum.0.to_le_bytes());
        }
        let letter = forged(&bytes);
        if let Ok((head, _, args)) = read(&letter) {
            assert!(args.len() <= bytes.len());
            // Looked up, and not called.
            // SAFETY: what is looked up is not called.
            let _ = unsafe { head.function.resolve() };
        }
        if let Ok(Ok(outcome)) = letter.outcome() {
            assert!(outcome.len() <= bytes.len());
            let _ = crate::process::outcome::take_outcome::<Vec<String>>(&mut &outcome[..]);
        }
    }
}
