//! Queues and what else carries items from one process to another.

mod blocks;
mod bounded;
mod broadcast;
mod cells;
#[cfg(feature = "serde")]
mod channel;
mod frames;
mod lease;
mod messages;
mod pipe;
mod ring;
mod subscriber;
mod words;

pub use blocks::{Block, BlockHandle, BlockPool, BlockSendError};
pub use bounded::{Iter, Queue};
pub use broadcast::{Broadcast, Publisher};
#[cfg(feature = "serde")]
pub use channel::{Channel, ChannelIter};
pub use frames::MessageRoom;
pub use lease::Lease;
pub use messages::{Messages, MessagesIter};
pub use pipe::{Pipe, PipeEnd, PipeIter, PipeRoom};
pub use ring::{Consumer, ConsumerIter, Producer, ReadChunk, Ring, WriteChunk};
pub use subscriber::{Received, Subscriber};
