//! What may live in a segment.

/// Values that are copied into a segment and out of it: the items of [`Value`](crate::Value) and
/// [`Queue`](crate::Queue).
///
/// Implemented for every type that is
/// - [`NoUninit`](bytemuck::NoUninit): all its bytes are initialised, so they can be written to shared memory, and
/// - [`CheckedBitPattern`](bytemuck::CheckedBitPattern): any bytes read back can be judged before they become a value, so
///   that a peer that scribbles causes [`Error::Corrupt`](crate::Error::Corrupt) and never an invalid value.
///
/// That is: integers, floats, `bool`, `char`, arrays of such, and your own types with
/// `#[derive(Clone, Copy, NoUninit, CheckedBitPattern)] #[repr(C)]` (bytemuck's feature `derive`). References, pointers,
/// `String`, `Vec` and `Box` are not: an address means nothing in another process.
///
/// Two processes mean the same type if its name (without the path), size and alignment agree; anything else is a
/// [`TypeMismatch`](crate::Error::TypeMismatch). The fields are not compared: a program in which they stand in another order
/// opens the object and reads nonsense. Give a type that you change a new name, or the segment.
///
/// ```compile_fail
/// fn plain<T: commonhold::Plain>() {}
/// plain::<String>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be copied into shared memory",
    note = "derive bytemuck's `NoUninit` and `CheckedBitPattern` for it (or `Pod`); it must hold no pointer and no padding"
)]
pub trait Plain: bytemuck::CheckedBitPattern + bytemuck::NoUninit + Send + 'static {}

impl<T: bytemuck::CheckedBitPattern + bytemuck::NoUninit + Send + 'static> Plain for T {}

/// Values that stand in a segment and are lent in place, as `&mut T` behind a lock: [`Mutex`](crate::Mutex),
/// [`RwLock`](crate::RwLock) and [`Array`](crate::Array).
///
/// Implemented for every type that is [`NoUninit`](bytemuck::NoUninit) and
/// [`AnyBitPattern`](bytemuck::AnyBitPattern): whatever bytes a peer leaves there are a valid value. That is: integers,
/// floats, arrays of such, and your own types with `#[derive(Clone, Copy, Pod, Zeroable)] #[repr(C)]`. `bool`, `char`
/// and enums are not, because not all bytes are one of them; use an integer.
///
/// Two processes mean the same type if its name (without the path), size and alignment agree; anything else is a
/// [`TypeMismatch`](crate::Error::TypeMismatch). The fields are not compared: a program in which they stand in another order
/// opens the object and reads nonsense. Give a type that you change a new name, or the segment.
///
/// ```compile_fail
/// fn in_place<T: commonhold::InPlace>() {}
/// in_place::<bool>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be lent in place from shared memory",
    note = "derive bytemuck's `Pod` and `Zeroable` for it; fields of type `bool`, `char` or an enum must become integers"
)]
pub trait InPlace: bytemuck::AnyBitPattern + bytemuck::NoUninit + Send + 'static {}

impl<T: bytemuck::AnyBitPattern + bytemuck::NoUninit + Send + 'static> InPlace for T {}

/// Longest type name kept in the region, in bytes.
pub(crate) const TYPE_NAME_BYTES: usize = 96;

/// The type's name without the paths, so that it does not change when a type moves to another module or crate: `State`,
/// `[u64; 4]`, `Pair<State>`. Cut to [`TYPE_NAME_BYTES`].
pub(crate) fn short_type_name<T>() -> String {
    let full = std::any::type_name::<T>();
    let mut short = String::new();
    let mut word = String::new();
    let mut rest = full.chars().peekable();
    while let Some(c) = rest.next() {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
        } else if c == ':' && rest.peek() == Some(&':') {
            rest.next();
            word.clear();
        } else {
            short.push_str(&word);
            word.clear();
            short.push(c);
        }
    }
    short.push_str(&word);
    let mut end = short.len().min(TYPE_NAME_BYTES);
    while !short.is_char_boundary(end) {
        end -= 1;
    }
    short.truncate(end);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Local<T>(std::marker::PhantomData<T>);

    #[test]
    fn type_names_are_short() {
        assert_eq!(short_type_name::<u64>(), "u64");
        assert_eq!(short_type_name::<[u16; 4]>(), "[u16; 4]");
        assert_eq!(
            short_type_name::<Local<std::num::Wrapping<u8>>>(),
            "Local<Wrapping<u8>>"
        );
        assert_eq!(short_type_name::<(u8, Local<u8>)>(), "(u8, Local<u8>)");
    }
}
