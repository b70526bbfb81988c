//! The squares of a list, put into an array that both processes see.
//!
//! Python's `Array('i', 4)` and `Value('i')` given to a `Process`.
//!
//! ```text
//! cargo run --release --example mp_squares
//! ```

use commonhold::process::{self, Process};
use commonhold::{Array, Segment, Value};

/// The handles travel as arguments, and are attached when they arrive.
fn square((numbers, result, sum): (Vec<i64>, Array<i64>, Value<i64>)) -> commonhold::Result<()> {
    let mut result = result.lock()?;
    for (square, n) in result.iter_mut().zip(numbers) {
        *square = n * n;
    }
    sum.set(result.iter().sum())
}

fn main() -> commonhold::Result<()> {
    process::init();

    // No name: the memory goes when the last process that has it goes.
    let seg = Segment::anonymous(1 << 16)?;
    let numbers = vec![1, 2, 3, 4];
    let result = Array::create(&seg, "squares", numbers.len(), 0i64)?;
    let sum = Value::create(&seg, "sum", 0i64)?;

    let child = Process::spawn(
        |args| square(args).map_err(|e| e.to_string()),
        (numbers, result.clone(), sum.clone()),
    )?;
    child.join()?.expect("the child could do it");
    println!("squares {:?}, sum {}", result.to_vec()?, sum.get()?);
    assert_eq!((result.to_vec()?, sum.get()?), (vec![1, 4, 9, 16], 30));
    Ok(())
}
