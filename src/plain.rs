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
