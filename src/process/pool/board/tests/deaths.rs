//! A worker is killed, at each moment at which the region has just changed.

use super::*;
use std::sync::atomic::AtomicU64;

/// A forked child that stops itself, and is then stepped through.
struct Stepped(i32);

/// What a child ends with that can't be stepped through: under an emulator, or where ptrace is forbidden.
const NO_PTRACE: i32 = 77;

impl Stepped {
    /// `f` calls its argument when it is ready, and does then what is stepped through. None: nothing can be stepped through here.
    fn start(f: impl FnOnce(&dyn Fn())) -> Option<Stepped> {
        let stop = || {
            // SAFETY: plain system calls.
            unsafe {
                if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) != 0 {
                    libc::_exit(NO_PTRACE);
                }
                libc::raise(libc::SIGSTOP);
            }
        };
        // SAFETY: the child does what a forked child may do that was made by a thread which holds no lock, and then ends at once.
        match unsafe { libc::fork() } {
            0 => {
                let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f(&stop)));
                // SAFETY: plain system call.
                unsafe { libc::_exit(i32::from(ended.is_err())) }
            }
            pid => {
                let stepped = Stepped(pid);
                match stepped.wait().map(|status| libc::WEXITSTATUS(status)) {
                    None => Some(stepped),
                    Some(NO_PTRACE) => None,
                    status => panic!("it ended too early: {status:?}"),
                }
            }
        }
    }

    /// One instruction. `false`: it has ended, well.
    fn step(&self) -> bool {
        // SAFETY: plain system call.
        unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, self.0, 0, 0) };
        let ended = self.wait();
        assert!(matches!(ended, None | Some(0)), "it failed: {ended:?}");
        ended.is_none()
    }

    fn kill(self) {
        // SAFETY: plain system call; the pid is our child's.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        assert!(self.wait().is_some());
    }

    /// Its status once it has ended; `None`: it has stopped.
    fn wait(&self) -> Option<i32> {
        let mut status = 0;
        // SAFETY: plain system call; the status is an int.
        let waited = unsafe { libc::waitpid(self.0, &mut status, 0) };
        assert_eq!(waited, self.0);
        (!libc::WIFSTOPPED(status)).then_some(status)
    }
}

/// All words of the board, but those of slots that no test uses.
fn words(board: &Board) -> Vec<u64> {
    let word = |at: *const u8, i: usize| {
        // SAFETY: within the board, and aligned; words of the region change through atomics only.
        let word = unsafe { &*at.cast::<AtomicU64>().add(i) };
        word.load(Ordering::Relaxed)
    };
    let control: *const u8 = std::ptr::from_ref(board.raw()).cast();
    let used = std::mem::offset_of!(RawBoard, todo) / 8 + 2 * board.count();
    let slots = board.count() * 2 * board.half / 8;
    (0..used)
        .map(|i| word(control, i))
        .chain((0..slots).map(|i| word(board.slot(0), i)))
        .collect()
}

/// The victim does a task of two items, whose outcomes are "one" and "two!"; there is another task, which it does not come to.
fn scene() -> (Parent, Board, [Place; 2]) {
    let (mut parent, board) = board(2, 2);
    let places = [&b"first"[..], b"second"].map(|input| publish(&mut parent, 2, input));
    (parent, board, places)
}

fn victim(board: &Board) -> Option<Stepped> {
    Stepped::start(|is_ready| {
        let mut worker = Worker::new(board.clone(), 0).unwrap();
        // What is allocated in the call is not stepped through.
        worker.words.reserve(64);
        let mut input = Vec::with_capacity(64);
        is_ready();
        let mut claimed = worker.claim(Deadline::PASSED).unwrap();
        claimed.input(&mut input).unwrap();
        claimed.append(b"one").unwrap();
        claimed.append(b"two!").unwrap();
    })
}

/// How far the victim came: 0, not begun; 1 to 3, with so many outcomes less one.
fn judge((mut parent, board, [first, second]): (Parent, Board, [Place; 2])) -> u32 {
    let mut ended = collected(&mut parent);
    ended.extend(abandoned(&mut parent, 0));
    let mut other = Worker::new(board.clone(), 1).unwrap();
    let came = match ended[..] {
        [] => {
            assert_eq!(carry_out(&mut other), b"first");
            assert_eq!(collected(&mut parent), [first]);
            0
        }
        [place] => {
            assert_eq!(place, first);
            let (items, outcomes) = output(&mut parent, place);
            let expected: [&[u8]; 3] = [b"", b"one", b"onetwo!"];
            assert_eq!(outcomes, expected[items as usize]);
            items + 1
        }
        _ => panic!("{ended:?}"),
    };
    parent.release(first);
    // Nothing else is harmed, and the slot serves again.
    assert_eq!(carry_out(&mut other), b"second");
    let again = publish(&mut parent, 1, b"again");
    assert_eq!(carry_out(&mut other), b"again");
    let mut ended = collected(&mut parent);
    ended.sort_by_key(|p| *p == again);
    assert_eq!(ended, [second, again]);
    assert!(matches!(other.claim(Deadline::PASSED), Err(Error::Timeout)));
    came
}

#[test]
fn a_worker_killed_at_any_change_of_the_board_costs_no_more_than_its_item() {
    let whole = scene();
    let Some(stepped) = victim(&whole.1) else {
        return eprintln!("SKIPPED: no ptrace here");
    };
    let (mut changes, mut step, mut last) = (vec![0], 0, words(&whole.1));
    while stepped.step() {
        step += 1;
        let now = words(&whole.1);
        if now != last {
            changes.push(step);
            last = now;
        }
    }
    assert_eq!(judge(whole), 3);
    // Claim, head, two outcomes with their progress, and the bit.
    assert!(changes.len() >= 7, "{changes:?}");
    let mut before = 0;
    for steps in changes {
        let scene = scene();
        let victim = victim(&scene.1).expect("as before");
        assert!((0..steps).all(|_| victim.step()));
        victim.kill();
        let came = judge(scene);
        assert!(came >= before, "after {steps} instructions");
        before = came;
    }
    assert_eq!(before, 3);
}

#[test]
fn a_forked_child_is_neither_parent_nor_worker() {
    let (mut parent, board) = board(2, 1);
    let mut worker = Worker::new(board.clone(), 0).unwrap();
    publish(&mut parent, 2, b"mine");
    let (mut claimed, _) = claim(&mut worker);
    let before = words(&board);
    // SAFETY: as in `start`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let refused = |result: Result<()>| matches!(result, Err(Error::InvalidArgument(_)));
        let mut good = refused(claimed.append(b"of another"));
        claimed.leave();
        good &= refused(worker.claim(Deadline::PASSED).map(drop));
        good &= refused(parent.publish(7, 1, false, b"").map(drop));
        // SAFETY: plain system call.
        unsafe { libc::_exit(i32::from(!good)) };
    }
    assert_eq!(Stepped(pid).wait(), Some(0));
    assert_eq!(words(&board), before);
    claimed.append(b"one").unwrap();
}
