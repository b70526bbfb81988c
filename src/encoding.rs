//! Values as bytes and back, in postcard's format.

use crate::error::{Error, Result};
use crate::plain::short_type_name;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Appends `value` to `bytes`.
#[inline]
pub(crate) fn encode<T: Serialize>(value: &T, bytes: &mut Vec<u8>) -> Result<()> {
    let before = reasons::said();
    postcard::serialize_with_flavor(value, Growing(bytes))
        .map_err(|e| not_encodable::<T>(&e, before))
}

#[cold]
fn not_encodable<T>(e: &postcard::Error, before: u32) -> Error {
    Error::NotEncodable {
        type_name: short_type_name::<T>(),
        reason: reason(e, before),
    }
}

/// The value that all of `bytes` are.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(mut bytes: &[u8]) -> Result<T> {
    let value = take(&mut bytes)?;
    match bytes.len() {
        0 => Ok(value),
        n => Err(not_decodable::<T>(format!("{n} bytes are left over"))),
    }
}

/// The value that `bytes` begin with, and those of it are taken.
#[inline]
pub(crate) fn take<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T> {
    let before = reasons::said();
    match postcard::take_from_bytes(bytes) {
        Ok((value, rest)) => {
            *bytes = rest;
            Ok(value)
        }
        Err(e) => Err(not_decodable::<T>(reason(&e, before))),
    }
}

#[cold]
fn not_decodable<T>(reason: String) -> Error {
    Error::NotDecodable {
        type_name: short_type_name::<T>(),
        reason,
    }
}

/// What a handle has said since [`reasons::said`] was `before`, which postcard keeps to itself; otherwise what postcard says.
fn reason(e: &postcard::Error, before: u32) -> String {
    use postcard::Error::{SerdeDeCustom, SerdeSerCustom};
    match (e, reasons::since(before)) {
        (SerdeDeCustom | SerdeSerCustom, Some(why)) => why,
        _ => e.to_string(),
    }
}

/// Where postcard writes.
struct Growing<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Growing<'_> {
    type Output = ();

    #[inline]
    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    #[inline]
    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    #[inline]
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Why a handle could not be sent or attached. postcard's error has no room for it, so it goes beside.
#[cfg(feature = "process")]
pub(crate) mod reasons {
    use std::cell::Cell;

    thread_local! {
        static LAST: Cell<Option<String>> = const { Cell::new(None) };
        /// How often something was said. Each value is asked for this, so it is of a kind that costs nothing to look at.
        static SAID: Cell<u32> = const { Cell::new(0) };
    }

    /// How often something was said in this thread.
    #[inline]
    pub(super) fn said() -> u32 {
        SAID.get()
    }

    /// The last thing that was said since then.
    #[cold]
    pub(super) fn since(before: u32) -> Option<String> {
        // A thread that ends hears nothing any more. What was said before was of another value, whose error somebody passed over.
        let last = LAST.try_with(Cell::take).ok().flatten();
        last.filter(|_| said() != before)
    }

    pub(crate) fn say(why: String) {
        SAID.set(said().wrapping_add(1));
        let _ = LAST.try_with(|last| last.set(Some(why)));
    }
}

/// Without handles that travel nobody says anything.
#[cfg(not(feature = "process"))]
mod reasons {
    pub(super) fn said() -> u32 {
        0
    }

    pub(super) fn since(_before: u32) -> Option<String> {
        None
    }
}

#[cfg(all(test, feature = "process"))]
mod tests {
    use super::*;
    use serde::ser::Error as _;
    use serde::{Serializer, ser};

    /// Says why it can't be written.
    struct Mute;

    impl Serialize for Mute {
        fn serialize<S: Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
            reasons::say("it is mute".to_owned());
            Err(S::Error::custom("mute"))
        }
    }

    /// Passes over the error of what it holds, and fails or not for reasons of its own.
    struct Tolerant {
        fails: bool,
    }

    impl Serialize for Tolerant {
        fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
            assert!(encode(&Mute, &mut Vec::new()).is_err());
            match self.fails {
                true => Err(ser::Error::custom("intolerant")),
                false => serializer.serialize_u8(7),
            }
        }
    }

    fn refused<T: Serialize>(value: &T) -> String {
        match encode(value, &mut Vec::new()) {
            Err(Error::NotEncodable { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_error_tells_what_its_own_value_said_and_not_what_another_did() {
        assert_eq!(refused(&Mute), "it is mute");
        encode(&Tolerant { fails: false }, &mut Vec::new()).unwrap();
        let postcards = refused(&Tolerant { fails: true });
        assert_ne!(postcards, "it is mute");
        // Said by one whose error somebody passed over, long before.
        reasons::say("it is stale".to_owned());
        let before = reasons::said();
        assert_eq!(reasons::since(before), None);
        assert_eq!(refused(&Mute), "it is mute");
    }
}
