//! What every primitive of a kind must do, whoever makes it: one body for a behaviour, run against every adapter of the kind.
//!
//! A new primitive is one adapter (`adapters/`), which says how it locks, waits or sends, and one line in the tables below. What
//! only one primitive does, and what deaths do to each, is tested elsewhere (`tests/deaths.rs`, `tests/locks`); the suites
//! `death_*` are the little that all robust ones share, and a backend that is not robust leaves them out.

#[path = "../support/mod.rs"]
mod support;

mod adapters;
mod bodies;
mod stage;

use adapters::*;

/// A module of tests for each adapter, one test for each body. A body is a generic function in `bodies`; so is, in suites that
/// start processes, `child`, which is what those do.
macro_rules! suite {
    ($suite:ident { $($body:ident),* $(,)? } for $adapters:tt $(with $child:ident)?) => {
        mod $suite {
            use super::*;
            suite!(@modules $suite { $($body),* } $adapters);
            $(suite!(@$child $suite $adapters);)?
        }
    };
    (@modules $suite:ident $bodies:tt { $($(#[$when:meta])* $name:ident = $adapter:ty),* $(,)? }) => {
        $($(#[$when])* mod $name {
            use super::*;
            suite!(@tests $suite $adapter, $bodies);
        })*
    };
    (@tests $suite:ident $adapter:ty, { $($body:ident),* $(,)? }) => {
        $(#[test] fn $body() { bodies::$suite::$body::<$adapter>() })*
    };
    (@child $suite:ident { $($(#[$when:meta])* $name:ident = $adapter:ty),* $(,)? }) => {
        pub(crate) fn child(adapter: &str, args: &[String]) {
            $($(#[$when])* if adapter == std::any::type_name::<$adapter>() {
                return bodies::$suite::child::<$adapter>(args);
            })*
            panic!("no adapter {adapter}");
        }
    };
}

suite!(finding {
    it_is_made_once_and_found_often,
    what_is_not_there_is_not_found,
    of_racing_makers_all_get_the_same_one,
    an_object_of_another_kind_is_refused,
} for {
    mutex = Mutex<u64>,
    array = Array<u64>,
    condvar = Condvars<Mutex<u64>>,
    value = Value<u64>,
    queue = Queue<u64>,
    ring = Ring<u64>,
    messages = Mail,
    #[cfg(feature = "serde")]
    channel = Encoded,
    pipe = Pipe,
    broadcast = Publishing,
    rwlock = Rw,
    reentrant = Beside<ReentrantMutex>,
    semaphore = Beside<Semaphore>,
    pool = BlockPool,
    barrier = Barrier,
    event = ManualEvent,
    auto_event = AutoEvent,
    once = Once,
    #[cfg(feature = "raw-sync")]
    os_mutex = OsMutex,
    #[cfg(feature = "raw-sync")]
    os_rwlock = OsRwLock,
    #[cfg(feature = "raw-sync")]
    os_event = OsEvent,
    #[cfg(feature = "raw-sync")]
    os_auto_event = OsAutoEvent,
});

suite!(exclusion {
    of_threads_and_processes_one_at_a_time_holds_it,
    a_held_lock_would_block_whoever_tries,
    a_lock_that_is_dropped_is_free_for_a_thread_and_a_process,
    two_processes_hand_it_to_each_other,
    many_that_wait_are_all_served,
    those_that_give_up_lose_no_unlock,
    a_timed_lock_gets_what_is_unlocked_in_time,
    a_clone_and_an_opened_handle_are_the_same_lock,
    another_lock_is_another_lock,
    a_guard_that_a_panic_drops_poisons,
    a_panic_that_was_under_way_poisons_nothing,
} for {
    mutex = Mutex<u64>,
    array = Array<u64>,
    reentrant = Beside<ReentrantMutex>,
    rwlock = Rw,
    semaphore = Beside<Semaphore>,
    pool = BlockPool,
    #[cfg(feature = "raw-sync")]
    os_mutex = OsMutex,
    #[cfg(feature = "raw-sync")]
    os_rwlock = OsRwLock,
} with child);

suite!(waits {
    a_deadline_is_kept_and_never_early,
    no_time_at_all_is_a_try,
    what_happens_in_time_ends_a_timed_wait,
    the_longest_time_is_for_ever_and_ends_when_it_happens,
    a_wait_without_a_deadline_ends_when_it_happens,
    another_process_is_let_through,
    signals_neither_end_nor_shorten_nor_lengthen_a_wait,
    signals_do_not_keep_from_what_happens,
    a_stopped_process_finds_its_deadline_passed,
} for {
    mutex = Mutex<u64>,
    array = Array<u64>,
    condvar = Condvars<Mutex<u64>>,
    condvar_of_an_array = Condvars<Array<u64>>,
    value = Value<u64>,
    receiving = Receiving<Queue<u64>>,
    leasing = Receiving<Leasing>,
    sending = Sending<Queue<u64>>,
    ring_consumer = Draining,
    ring_producer = Filling,
    receiving_a_message = Receiving<Mail>,
    sending_a_message = Sending<Mail>,
    #[cfg(feature = "serde")]
    receiving_from_a_channel = Receiving<Encoded>,
    #[cfg(feature = "serde")]
    sending_into_a_channel = Sending<Encoded>,
    publishing = Publishing,
    selecting = Selecting,
    #[cfg(feature = "async")]
    awaited_mutex = Awaited<Mutex<u64>>,
    #[cfg(feature = "async")]
    awaited_receiving = Receiving<Awaited<Queue<u64>>>,
    #[cfg(feature = "async")]
    awaited_sending = Sending<Awaited<Queue<u64>>>,
    reentrant = Beside<ReentrantMutex>,
    rwlock = Rw,
    semaphore = Beside<Semaphore>,
    pool = BlockPool,
    receiving_blocks = ReceivingBlocks,
    rwlock_read = Reading,
    event = ManualEvent,
    auto_event = AutoEvent,
    once_wait = Once,
    once_call = Calling,
    barrier = Barrier,
    #[cfg(feature = "raw-sync")]
    os_mutex = OsMutex,
    #[cfg(feature = "raw-sync")]
    os_rwlock = OsRwLock,
    #[cfg(feature = "raw-sync")]
    os_rwlock_read = OsReading,
    #[cfg(feature = "raw-sync")]
    os_event = OsEvent,
    #[cfg(feature = "raw-sync")]
    os_auto_event = OsAutoEvent,
} with child);

suite!(crowds {
    many_that_wait_keep_each_their_own_deadline,
    one_that_gives_up_does_not_take_what_comes_later,
} for {
    mutex = Mutex<u64>,
    array = Array<u64>,
    condvar = Condvars<Mutex<u64>>,
    value = Value<u64>,
    receiving = Receiving<Queue<u64>>,
    leasing = Receiving<Leasing>,
    sending = Sending<Queue<u64>>,
    receiving_a_message = Receiving<Mail>,
    sending_a_message = Sending<Mail>,
    #[cfg(feature = "serde")]
    receiving_from_a_channel = Receiving<Encoded>,
    #[cfg(feature = "serde")]
    sending_into_a_channel = Sending<Encoded>,
    pipe_recv = Arriving,
    pipe_send = Departing,
    publishing = Publishing,
    selecting = Selecting,
    #[cfg(feature = "async")]
    awaited_mutex = Awaited<Mutex<u64>>,
    #[cfg(feature = "async")]
    awaited_receiving = Receiving<Awaited<Queue<u64>>>,
    #[cfg(feature = "async")]
    awaited_sending = Sending<Awaited<Queue<u64>>>,
    reentrant = Beside<ReentrantMutex>,
    rwlock = Rw,
    semaphore = Beside<Semaphore>,
    pool = BlockPool,
    receiving_blocks = ReceivingBlocks,
    rwlock_read = Reading,
    event = ManualEvent,
    auto_event = AutoEvent,
    once_wait = Once,
    once_call = Calling,
    #[cfg(feature = "raw-sync")]
    os_mutex = OsMutex,
    #[cfg(feature = "raw-sync")]
    os_rwlock = OsRwLock,
    #[cfg(feature = "raw-sync")]
    os_rwlock_read = OsReading,
    #[cfg(feature = "raw-sync")]
    os_event = OsEvent,
    #[cfg(feature = "raw-sync")]
    os_auto_event = OsAutoEvent,
});

suite!(nudges {
    a_deadline_is_kept_by_one_that_is_woken_for_nothing_again_and_again,
} for {
    condvar = Condvars<Mutex<u64>>,
    condvar_of_an_array = Condvars<Array<u64>>,
    value = Value<u64>,
});

suite!(condvars {
    one_notify_wakes_one_and_the_next_another,
    notify_all_wakes_all,
    a_notify_that_nobody_waits_for_is_lost,
    a_wait_unlocks_and_returns_with_the_lock_held,
    a_notify_under_the_lock_is_not_lost,
    a_wait_for_a_condition_ends_only_when_it_holds,
    a_timed_wait_says_whether_the_time_was_up,
    threads_and_processes_take_turns,
} for {
    of_a_mutex = Condvars<Mutex<u64>>,
    of_an_array = Condvars<Array<u64>>,
} with child);

suite!(queues {
    of_threads_and_processes_nothing_is_lost_and_nothing_twice,
    a_full_queue_and_an_empty_one_say_so,
    a_closed_queue_takes_nothing_and_gives_what_it_has,
    closing_wakes_all_that_wait,
    a_receive_lets_a_waiting_sender_in,
    a_batch_larger_than_the_queue_arrives_whole_and_in_order,
    a_batch_is_received_up_to_what_was_asked_for,
    what_was_sent_is_there_for_anyone_who_looks,
    the_items_end_when_the_queue_is_closed_and_drained,
} for {
    queue = Queue<u64>,
    leasing = Leasing,
    messages = Mail,
    #[cfg(feature = "serde")]
    channel = Encoded,
    #[cfg(feature = "async")]
    awaited = Awaited<Queue<u64>>,
} with child);

suite!(rwlocks {
    readers_of_threads_and_processes_read_at_once,
    while_one_reads_nobody_writes,
    while_one_writes_nobody_reads,
    readers_see_no_half_of_what_threads_and_processes_write,
    a_reader_that_panics_poisons_nothing,
    a_writer_that_panics_poisons_it_for_readers_too,
} for {
    rwlock = Rw,
    #[cfg(feature = "raw-sync")]
    os_rwlock = OsRwLock,
} with child);

suite!(events {
    it_is_clear_until_it_is_set,
    a_wait_for_one_that_is_set_returns_at_once,
    two_processes_wake_each_other,
} for {
    event = ManualEvent,
    auto_event = AutoEvent,
    #[cfg(feature = "raw-sync")]
    os_event = OsEvent,
    #[cfg(feature = "raw-sync")]
    os_auto_event = OsAutoEvent,
} with child);

suite!(manual_events {
    one_that_stays_set_lets_all_through,
} for {
    event = ManualEvent,
    #[cfg(feature = "raw-sync")]
    os_event = OsEvent,
});

suite!(pulsed_events {
    those_that_wait_go_on_even_if_it_is_cleared_at_once,
} for {
    event = ManualEvent,
    #[cfg(feature = "raw-sync")]
    os_event = OsEvent,
});

suite!(automatic_events {
    each_set_lets_one_through,
    two_sets_before_anybody_waits_let_one_through,
} for {
    event = AutoEvent,
    #[cfg(feature = "raw-sync")]
    os_event = OsAutoEvent,
});

suite!(semaphores {
    there_are_as_many_permits_as_it_was_made_with,
    never_more_at_once_than_there_are_permits,
    permits_that_are_added_let_as_many_through,
    a_permit_that_is_forgotten_is_handed_over,
} for {
    semaphore = Semaphore,
} with child);

suite!(barriers {
    all_leave_when_all_have_arrived_and_one_leads,
    one_party_alone_never_waits,
    two_processes_meet_again_and_again,
    it_is_broken_by_an_abort_until_it_is_reset,
    it_is_broken_by_one_that_gives_up,
    a_reset_sends_those_that_wait_away,
} for {
    barrier = Barrier,
} with child);

suite!(reentrance {
    it_is_free_after_as_many_drops_as_locks,
    another_thread_waits_for_the_last_drop,
} for {
    reentrant = Beside<ReentrantMutex>,
});

suite!(death_of_a_holder {
    a_killed_holder_poisons_it_until_somebody_recovers,
    a_killed_waiter_leaves_nothing_behind,
} for {
    mutex = Mutex<u64>,
    array = Array<u64>,
    rwlock = Rw,
    reentrant = Beside<ReentrantMutex>,
} with child);

suite!(death_of_a_waiter {
    a_killed_waiter_keeps_nobody_from_what_happens,
} for {
    mutex = Mutex<u64>,
    array = Array<u64>,
    condvar = Condvars<Mutex<u64>>,
    value = Value<u64>,
    receiving = Receiving<Queue<u64>>,
    leasing = Receiving<Leasing>,
    sending = Sending<Queue<u64>>,
    receiving_a_message = Receiving<Mail>,
    sending_a_message = Sending<Mail>,
    #[cfg(feature = "serde")]
    receiving_from_a_channel = Receiving<Encoded>,
    #[cfg(feature = "serde")]
    sending_into_a_channel = Sending<Encoded>,
    publishing = Publishing,
    selecting = Selecting,
    #[cfg(feature = "async")]
    awaited_mutex = Awaited<Mutex<u64>>,
    #[cfg(feature = "async")]
    awaited_receiving = Receiving<Awaited<Queue<u64>>>,
    #[cfg(feature = "async")]
    awaited_sending = Sending<Awaited<Queue<u64>>>,
    reentrant = Beside<ReentrantMutex>,
    rwlock = Rw,
    semaphore = Beside<Semaphore>,
    pool = BlockPool,
    receiving_blocks = ReceivingBlocks,
    rwlock_read = Reading,
    event = ManualEvent,
    auto_event = AutoEvent,
    once_wait = Once,
    once_call = Calling,
} with child);

support::roles!(conform);

/// What a child does: see [`stage::Own::child`].
fn conform(args: &[String]) {
    let (adapter, rest) = (&args[1], &args[2..]);
    match args[0].as_str() {
        "exclusion" => exclusion::child(adapter, rest),
        "waits" => waits::child(adapter, rest),
        "events" => events::child(adapter, rest),
        "rwlocks" => rwlocks::child(adapter, rest),
        "barriers" => barriers::child(adapter, rest),
        "semaphores" => semaphores::child(adapter, rest),
        "condvars" => condvars::child(adapter, rest),
        "queues" => queues::child(adapter, rest),
        "death_of_a_holder" => death_of_a_holder::child(adapter, rest),
        "death_of_a_waiter" => death_of_a_waiter::child(adapter, rest),
        other => panic!("no suite {other} with children"),
    }
}
