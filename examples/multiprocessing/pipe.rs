//! Two processes that talk through a pipe.
//!
//! Python's `parent_conn, child_conn = Pipe()`.
//!
//! ```text
//! cargo run --release --example mp_pipe
//! ```

use commonhold::process::{self, Process};
use commonhold::{Error, Pipe, Segment};

/// Answers until the other end is gone.
fn answer(pipe: Pipe) -> u32 {
    let end = pipe.right().expect("nobody has that end");
    let (mut message, mut answered) = (Vec::new(), 0);
    loop {
        match end.recv(&mut message) {
            Ok(_) => {
                message.reverse();
                end.send(&message).expect("it waits for the answer");
                answered += 1;
            }
            Err(Error::Closed) => return answered,
            Err(e) => panic!("{e}"),
        }
    }
}

fn main() -> commonhold::Result<()> {
    process::init();

    let seg = Segment::anonymous(1 << 20)?;
    let pipe = Pipe::create(&seg, "pipe", 1 << 16)?;
    let end = pipe.left()?;
    let child = Process::spawn(answer, pipe.clone())?;
    let mut answer = Vec::new();
    for question in ["stressed", "drawer", "live"] {
        end.send(question.as_bytes())?;
        end.recv(&mut answer)?;
        println!("{question}: {}", String::from_utf8_lossy(&answer));
        assert!(question.bytes().rev().eq(answer.iter().copied()));
    }
    drop(end);
    assert_eq!(child.join()?, 3);
    Ok(())
}
