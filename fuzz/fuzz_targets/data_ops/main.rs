//! Operation lists on values, arrays and atomics, by many handles of several members, against plain variables: each
//! result must be the model's, and nothing may depend on the handle.
//!
//! Updates run operations inside their closures, on the same value and on the other, and closures panic. What locks
//! do that somebody holds is `lock_ops`' part.

#![no_main]

mod arrays;
mod atomics;
mod handles;
mod values;

use arbitrary::Arbitrary;
use commonhold_fuzz::Wide;
use libfuzzer_sys::fuzz_target;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32,
    AtomicU64, AtomicUsize,
};

#[derive(Arbitrary, Debug)]
enum Input {
    Values(Type, Vec<(u8, values::Op)>),
    Arrays(Type, arrays::Make, Vec<(u8, arrays::Op)>),
    Atomics(Width, u8, Vec<(u8, atomics::Op)>),
}

#[derive(Arbitrary, Debug)]
enum Type {
    U8,
    U16,
    U64,
    Three,
    TwentyFour,
    Wide,
    /// For values; a word for arrays, which lend no `bool`.
    Bool,
    Nothing,
}

#[derive(Arbitrary, Debug)]
enum Width {
    U8,
    U16,
    U32,
    U64,
    Usize,
    I8,
    I16,
    I32,
    I64,
    Isize,
}

fuzz_target!(|input: Input| {
    match input {
        Input::Values(t, ops) => match t {
            Type::U8 => values::run::<u8>(&ops),
            Type::U16 => values::run::<u16>(&ops),
            Type::U64 => values::run::<u64>(&ops),
            Type::Three => values::run::<[u8; 3]>(&ops),
            Type::TwentyFour => values::run::<[u8; 24]>(&ops),
            Type::Wide => values::run::<Wide>(&ops),
            Type::Bool => values::run::<bool>(&ops),
            Type::Nothing => values::run::<()>(&ops),
        },
        Input::Arrays(t, make, ops) => match t {
            Type::U8 => arrays::run::<u8>(make, &ops),
            Type::U16 => arrays::run::<u16>(make, &ops),
            Type::U64 => arrays::run::<u64>(make, &ops),
            Type::Three => arrays::run::<[u8; 3]>(make, &ops),
            Type::TwentyFour => arrays::run::<[u8; 24]>(make, &ops),
            Type::Wide => arrays::run::<Wide>(make, &ops),
            Type::Bool => arrays::run::<u32>(make, &ops),
            Type::Nothing => arrays::run::<()>(make, &ops),
        },
        Input::Atomics(width, len, ops) => match width {
            Width::U8 => atomics::run::<AtomicU8>(len, &ops),
            Width::U16 => atomics::run::<AtomicU16>(len, &ops),
            Width::U32 => atomics::run::<AtomicU32>(len, &ops),
            Width::U64 => atomics::run::<AtomicU64>(len, &ops),
            Width::Usize => atomics::run::<AtomicUsize>(len, &ops),
            Width::I8 => atomics::run::<AtomicI8>(len, &ops),
            Width::I16 => atomics::run::<AtomicI16>(len, &ops),
            Width::I32 => atomics::run::<AtomicI32>(len, &ops),
            Width::I64 => atomics::run::<AtomicI64>(len, &ops),
            Width::Isize => atomics::run::<AtomicIsize>(len, &ops),
        },
    }
});
