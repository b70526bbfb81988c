//! Messages of any size: byte rings, pipes, channels, with one process at both ends.

use crate::meter::Meter;
use commonhold::{Channel, Messages, Pipe, Segment};
use std::hint::black_box;

const CAPACITY: usize = 1 << 16;

pub(crate) fn all(meter: &Meter, segment: &Segment) {
    let messages = Messages::create(segment, "messages", CAPACITY).expect("room");
    let mut got = Vec::with_capacity(4096);
    for size in [64, 4096] {
        let message = vec![1u8; size];
        meter.each(&format!("Messages: send, recv of {size} bytes"), || {
            black_box(&messages)
                .send(black_box(&message))
                .expect("room");
            black_box(&messages).recv(&mut got).expect("one is there")
        });
    }
    meter.each(
        "Messages: send_with, recv_with of 64 bytes, untouched",
        || {
            let messages = black_box(&messages);
            messages
                .send_with(64, |room| black_box(room).len())
                .expect("room");
            messages
                .recv_with(|message| black_box(message).len())
                .expect("one is there");
        },
    );

    let pipe = Pipe::create(segment, "pipe", CAPACITY).expect("room");
    let left = pipe.left().expect("nobody else");
    let right = pipe.right().expect("nobody else");
    let message = [1u8; 64];
    meter.each("Pipe: send, recv of 64 bytes", || {
        black_box(&left).send(black_box(&message)).expect("room");
        black_box(&right).recv(&mut got).expect("one is there")
    });

    let channel = Channel::create(segment, "channel", CAPACITY).expect("room");
    let value = (
        1u64,
        "a string of 24 characters".to_owned(),
        vec![1.5f64; 4],
    );
    meter.each(
        "Channel: send, recv of a number, a string, a vector",
        || {
            black_box(&channel).send(black_box(&value)).expect("room");
            black_box(&channel).recv().expect("one is there")
        },
    );
}
