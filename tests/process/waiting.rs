//! Joins with and without patience, and waits for several.

use commonhold::Error;
use commonhold::process::{self, Ends, Process, Stdio};
use std::time::{Duration, Instant};

/// It runs until its standard input ends.
fn patient() -> Process<u8> {
    let read = |_: ()| {
        std::io::read_to_string(std::io::stdin()).unwrap();
        7
    };
    Process::builder(read, ())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_join_without_patience_leaves_the_process_as_it_is() {
    let p = patient();
    let stdin = p.take_stdin();
    assert!(matches!(p.try_join(), Err(Error::WouldBlock)));
    let start = Instant::now();
    let e = p.join_timeout(Duration::from_millis(50)).unwrap_err();
    assert!(matches!(e, Error::Timeout), "{e}");
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert!(p.is_alive());
    assert_eq!(p.exit_code(), None);
    drop(stdin);
    assert_eq!(p.join().unwrap(), 7);
    assert_eq!(p.try_join().unwrap(), 7);
}

#[test]
fn terminate_and_kill_end_a_process_and_do_nothing_to_one_that_has_ended() {
    let p = patient();
    p.terminate().unwrap();
    assert!(matches!(
        p.join(),
        Err(Error::Killed {
            signal: libc::SIGTERM
        })
    ));
    assert_eq!(p.exit_code(), Some(-libc::SIGTERM));
    p.terminate().unwrap();
    p.kill().unwrap();
    let p = patient();
    p.kill().unwrap();
    assert!(matches!(
        p.join(),
        Err(Error::Killed {
            signal: libc::SIGKILL
        })
    ));
}

#[test]
fn a_child_is_ended_and_waited_for_by_who_has_no_handle_of_its_process() {
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let p = patient();
        let stdin = p.take_stdin();
        let children = process::active_children();
        let child = children.iter().find(|c| c.pid() == p.pid()).unwrap();
        drop(p);
        let early = child.wait_timeout(Duration::from_millis(20));
        assert!(matches!(early, Err(Error::Timeout)));
        assert!(child.is_alive());
        match signal {
            libc::SIGTERM => child.terminate().unwrap(),
            _ => child.kill().unwrap(),
        }
        assert_eq!(process::wait(&[child]), [0]);
        assert_eq!(child.exit_code(), Some(-signal));
        drop(stdin);
    }
}

#[test]
fn of_several_processes_a_wait_names_those_that_have_ended() {
    let all: Vec<_> = (0..5).map(|_| patient()).collect();
    let text = Process::spawn(|_: ()| "another type".to_owned(), ()).unwrap();
    let mut waited: Vec<&dyn Ends> = all.iter().map(|p| p as &dyn Ends).collect();
    waited.push(&text);
    assert_eq!(process::wait(&waited), [5]);
    waited.pop();
    let e = process::wait_timeout(&waited, Duration::from_millis(20)).unwrap_err();
    assert!(matches!(e, Error::Timeout), "{e}");
    drop(all[3].take_stdin());
    assert_eq!(process::wait(&waited), [3]);
    assert_eq!(all[3].join().unwrap(), 7);
    all[1].kill().unwrap();
    let _ = all[1].join();
    assert_eq!(process::wait(&waited), [1, 3]);
    assert_eq!(
        process::wait_timeout(&waited, Duration::ZERO).unwrap(),
        [1, 3]
    );
    assert!(process::wait(&[]).is_empty());
    assert!(
        process::wait_timeout(&[], Duration::MAX)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn several_threads_can_join_one_process() {
    let p = patient();
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| assert_eq!(p.join().unwrap(), 7));
        }
    });
}

#[test]
fn what_a_process_returns_is_there_when_the_handle_of_another_thread_is_gone() {
    let p = patient();
    let children = process::active_children();
    let child = children.iter().find(|c| c.pid() == p.pid()).unwrap();
    drop(p);
    // Its end of the pipe went with the handle, so it reads to the end.
    child.wait();
    assert_eq!(child.exit_code(), Some(0));
    child.wait_timeout(Duration::ZERO).unwrap();
}

#[test]
fn handles_are_sent_and_shared_between_threads_whatever_the_result_is() {
    fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<Process<std::rc::Rc<u8>>>();
    is_shared::<process::ChildProcess>();
    is_shared::<process::ProcessInfo>();
    is_shared::<Stdio>();
}
