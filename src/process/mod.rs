//! Functions that run in processes of their own. (Feature `process`.)
//!
//! A [`Process`] runs one function in a new process, which is this program started again; a [`Pool`] keeps some such processes, and gives them
//! tasks. Whatever becomes of them, somebody is told: no call here waits for a process that is not there.
//!
//! ```standalone_crate
//! use commonhold::process::{self, Process};
//!
//! fn greet(name: String) -> String {
//!     format!("hello, {name}, from process {}", std::process::id())
//! }
//!
//! fn main() -> Result<(), commonhold::Error> {
//!     process::init(); // The first line of main.
//!     let p = Process::spawn(greet, "bob".to_owned())?;
//!     println!("{}", p.join()?);
//!     Ok(())
//! }
//! ```
//!
//! It needs Linux 5.4, and /proc.
//!
//! # What can be run
//! A `fn`, or a closure that takes nothing from around it. If it does, the compiler says "expected fn pointer, found closure", and what was captured:
//! make that a part of the argument.
//!
//! It has one argument. Several are a tuple (`|(a, b): (u32, u32)| a + b`), which [`Pool::starmap`] takes apart; none is `()` (`|_: ()| work()`).
//! Argument and result are serde values that own what they have (a `String`, not a `&str`): your own types derive `Serialize` and `Deserialize`, and
//! every handle of a [`Segment`](crate::Segment) is such a value. So is a `Result`: errors that are to be expected are best returned.
//!
//! In the new process all is as at a program's start: a `static` has its first value. What each worker of a pool needs for all its tasks, its
//! [`initializer`](PoolBuilder::initializer_with) puts into a `OnceLock`.
//!
//! # Where `main` is not yours
//! A test has no `main` to call [`init`](fn@init) in: [`init_before_main!`](crate::init_before_main) does it. `#[tokio::main]` and its like put the whole
//! body of `main` into a runtime, where a function that starts one of its own panics: write `main` plainly, and start the runtime after `init`.
//!
//! # Coming from Python
//! | there | here |
//! |---|---|
//! | `Process(target=f, args=(a, b))`, `start()` | [`Process::spawn(f, (a, b))`](Process::spawn), always as by the start method "spawn" |
//! | `exitcode` after an exception: 1 | [`exit_code`](Process::exit_code) after a panic: 101; [`join`](Process::join) has its message |
//! | `daemon=True`, inherited; may start no processes | [`daemon`](Builder::daemon), for this one process; it may start others |
//! | a process that is no daemon is waited for at exit | it is not: [`join`](Process::join) it |
//! | `sentinel`, `connection.wait` | [`wait`](fn@wait), [`wait_timeout`] |
//! | `cpu_count()` | [`std::thread::available_parallelism`], the workers that a pool has if nothing else is said |
//! | `Pool(n, initializer, initargs, maxtasksperchild)` | [`Pool::builder`] |
//! | `pool.map(f, items, chunksize)` | [`Pool::map`]; or [`imap`](Pool::imap)`(f, items).`[`chunk_size`](Imap::chunk_size)`(n).collect()` |
//! | `apply_async`, `executor.submit` | [`Pool::submit`]; instead of a callback, a [`Task`] is a future, and there is [`as_completed`] |
//! | `next(timeout)`, `executor.map(timeout=…)` | [`Imap::next_timeout`] |
//! | `with Pool(n) as pool:`, which ends with `terminate` | a pool that is dropped waits for its tasks, as an executor does |
//! | `shutdown(cancel_futures=True)` | [`cancel`](Task::cancel) of each task; or [`terminate`](Pool::terminate), which kills |
//! | `BrokenProcessPool` | one task's [`Err(WorkerDied)`](crate::Error::WorkerDied), or its [retry](PoolBuilder::retries) |

mod builder;
mod call;
mod child;
mod function;
mod handle;
mod init;
mod letter;
mod nursery;
mod outcome;
mod panics;
mod pool;
mod stdio;
mod wait;
mod who;

pub use builder::Builder;
pub use handle::Process;
pub use init::init;
pub use pool::{AsCompleted, Imap, Pool, PoolBuilder, Task, as_completed};
pub use stdio::Stdio;
pub use wait::{Ends, wait, wait_timeout};
pub use who::{ChildProcess, ProcessInfo, active_children, current_process, parent_process};
