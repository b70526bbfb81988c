//! Rings, messages, pipes, leases, broadcasts, pools of blocks: between threads and processes, killed and forked.

mod blocks;
mod broadcast;
#[cfg(feature = "serde")]
mod channel;
mod lease;
mod messages;
mod pipe;
mod ring;
mod select;
mod select_channels;
#[path = "../support/mod.rs"]
mod support;
mod watch;

use blocks::{
    consume_blocks, hold_blocks, lose_blocks, produce_blocks, share_blocks, wait_for_a_block,
};
use broadcast::{
    fill_and_wait, lose_a_broadcast, publish, publish_for_ever, receive_all, subscribe_and_wait,
};
#[cfg(feature = "serde")]
use channel::send_jobs;
use lease::{hold_leases, lose_leases, work};
use messages::{die_in_a_closure, lose_messages, receive_numbered, send_numbered};
use pipe::{
    pipe_echo, pipe_hold, pipe_lose, pipe_receive_what_is_cut, pipe_send_for_ever, pipe_send_large,
};
use ring::{
    count_for_ever, lose_a_ring, recv_and_hold, recv_for_ever, send_and_hold, take_for_ever,
};
use select::{hold_a_permit, select_from_two};
use select_channels::hold_an_end;
use watch::{change_for_ever, watch_and_tell};

support::roles!(
    consume_blocks,
    hold_blocks,
    lose_blocks,
    produce_blocks,
    share_blocks,
    wait_for_a_block,
    fill_and_wait,
    lose_a_broadcast,
    publish,
    publish_for_ever,
    receive_all,
    subscribe_and_wait,
    #[cfg(feature = "serde")]
    send_jobs,
    hold_leases,
    lose_leases,
    work,
    die_in_a_closure,
    lose_messages,
    receive_numbered,
    send_numbered,
    pipe_echo,
    pipe_hold,
    pipe_lose,
    pipe_receive_what_is_cut,
    pipe_send_for_ever,
    pipe_send_large,
    count_for_ever,
    lose_a_ring,
    recv_and_hold,
    recv_for_ever,
    send_and_hold,
    take_for_ever,
    hold_a_permit,
    select_from_two,
    hold_an_end,
    change_for_ever,
    watch_and_tell,
);
