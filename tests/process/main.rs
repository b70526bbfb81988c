//! Processes, and what travels to them.
#![cfg(feature = "process")]

mod board_file;
mod deaths;
mod limits;
mod parents;
mod pool;
mod pool_corners;
mod pool_deaths;
mod pool_ends;
mod pool_hostile;
mod pool_keeps;
mod pool_limits;
mod spawning;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod travel;
mod waiting;

use deaths::{
    exe_is_replaced, exe_is_touched, may_not_wait, spawn_by_a_loader, spawn_without_init,
};
use limits::{descriptors_run_out, many_processes, nobody_in_particular};
use parents::{
    closes_all, ends_at_once, has_a_daemon, has_an_orphan, ignores_its_children,
    is_killed_before_init,
};
use pool_corners::have_short_files;
use pool_deaths::have_a_pool;
use pool_hostile::{
    is_locked_out, is_made_ready, is_struck_anywhere, is_struck_often, is_struck_once,
    is_struck_open,
};
use pool_keeps::{keep_few_descriptors, keep_no_long_values, keep_no_tasks, keep_no_workers};
use pool_limits::have_no_descriptors;
use travel::{ask_for_kits, close_and_spawn, send_from_a_directory, send_two_and_wait, use_a_kit};

support::roles!(
    ask_for_kits,
    close_and_spawn,
    closes_all,
    descriptors_run_out,
    ends_at_once,
    exe_is_replaced,
    exe_is_touched,
    has_a_daemon,
    has_an_orphan,
    have_a_pool,
    have_no_descriptors,
    have_short_files,
    ignores_its_children,
    is_killed_before_init,
    is_locked_out,
    is_made_ready,
    is_struck_anywhere,
    is_struck_often,
    is_struck_once,
    is_struck_open,
    keep_few_descriptors,
    keep_no_long_values,
    keep_no_tasks,
    keep_no_workers,
    many_processes,
    may_not_wait,
    nobody_in_particular,
    send_from_a_directory,
    send_two_and_wait,
    spawn_by_a_loader,
    spawn_without_init,
    use_a_kit,
);

/// What a process does before `init`: none of these are things that a program should do.
pub(crate) const BEFORE_INIT: &str = "COMMONHOLD_TEST_BEFORE_INIT";

/// As `commonhold::init_before_main!()`, with room for [`BEFORE_INIT`]. The harness has the only main.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    match std::env::var(BEFORE_INIT).as_deref() {
        Ok("exit") => std::process::exit(0),
        Ok("abort") => std::process::abort(),
        Ok("never") => return,
        Ok("touch") => deaths::touch_own_executable(),
        Ok("wait") => parents::wait_for_the_parent_to_die(),
        _ => {}
    }
    commonhold::process::init();
}
