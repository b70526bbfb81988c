//! Names, standard streams, the environment and the directory.

use commonhold::Error;
use commonhold::process::{Pool, Process, Stdio, active_children, current_process, parent_process};
use std::fs::File;
use std::io::{Read, Write, read_to_string};

#[test]
fn a_process_has_the_name_that_it_is_given() {
    let f = |_: ()| {
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
        let cmdline = std::fs::read_to_string("/proc/self/cmdline").unwrap();
        (current_process().name().to_owned(), comm, cmdline)
    };
    let p = Process::builder(f, ())
        .name("a worker of some length")
        .spawn()
        .unwrap();
    assert_eq!(p.name(), "a worker of some length");
    let (name, comm, cmdline) = p.join().unwrap();
    assert_eq!(name, "a worker of some length");
    assert_eq!(comm.trim_end(), "a worker of som");
    assert!(
        cmdline.ends_with("\0a worker of some length\0"),
        "{cmdline:?}"
    );
}

#[test]
fn without_a_name_it_is_called_by_its_number_and_its_parents() {
    let p = Process::spawn(
        |_: ()| {
            let child = Process::spawn(|_: ()| parent_process().unwrap().name().to_owned(), ());
            let child = child.unwrap();
            (child.name().to_owned(), child.join().unwrap())
        },
        (),
    )
    .unwrap();
    let number = p.name().strip_prefix("Process-").unwrap();
    assert!(number.parse::<u32>().unwrap() > 0);
    let (name, its_parent) = p.join().unwrap();
    assert_eq!(name, format!("Process-{number}:1"));
    assert_eq!(its_parent, p.name());
    assert_eq!(parent_process(), None);
    assert_eq!(current_process().name(), "MainProcess");
}

#[test]
fn what_is_shown_of_a_handle_is_who_it_is_and_no_argument() {
    let p = Process::spawn(|secret: String| secret.len(), "secret".to_owned()).unwrap();
    let (name, pid) = (p.name(), p.pid());
    assert_eq!(
        format!("{p:?}"),
        format!("Process {{ name: {name:?}, pid: {pid}, .. }}")
    );
    p.join().unwrap();
    let builder = Pool::builder().workers(1).initializer_with(drop, 777u64);
    let shown = format!("{builder:?}");
    assert!(shown.contains("Initializer { .. }"), "{shown}");
    let pool = builder.build().unwrap();
    assert_eq!(
        format!("{pool:?}"),
        r#"Pool { name: "Pool", workers: 1, retries: 0, deadline: None, .. }"#
    );
    let pid = pool.pids()[0];
    let children = active_children();
    let child = children.iter().find(|c| c.pid() == pid).unwrap();
    let shown = format!(r#"ChildProcess {{ name: "Pool-1", pid: {pid}, .. }}"#);
    assert_eq!(format!("{child:?}"), shown);
}

#[test]
fn parent_and_children_know_each_other() {
    let f = |_: ()| {
        let parent = parent_process().unwrap();
        std::io::stdin().read_line(&mut String::new()).unwrap();
        (parent.pid(), parent.is_alive(), current_process().pid())
    };
    let p = Process::builder(f, ())
        .name("known")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let children = active_children();
    let child = children.iter().find(|c| c.pid() == p.pid()).unwrap();
    assert_eq!(child.name(), "known");
    assert!(child.is_alive());
    assert_eq!(child.exit_code(), None);
    // It reads to the end of its input, which comes with the join.
    assert_eq!(p.join().unwrap(), (std::process::id(), true, p.pid()));
    assert!(!child.is_alive());
    assert_eq!(child.exit_code(), Some(0));
    assert!(!active_children().iter().any(|c| c.pid() == p.pid()));
}

#[test]
fn the_workers_of_a_pool_are_children_with_names() {
    let named = Pool::builder().workers(2).name("named").build().unwrap();
    let pool = Pool::new(1).unwrap();
    let name = |_: ()| (current_process().name().to_owned(), std::process::id());
    for (pool, names) in [(&named, ["named-1", "named-2"]), (&pool, ["Pool-1"; 2])] {
        let (name, pid) = pool.apply(name, ()).unwrap();
        assert!(names.contains(&&*name), "{name}");
        assert!(pool.pids().contains(&pid));
        let children = active_children();
        let child = children.iter().find(|c| c.pid() == pid).unwrap();
        assert_eq!(child.name(), name);
    }
    let pids = named.pids();
    let children = active_children();
    let mut names: Vec<_> = children
        .iter()
        .filter(|c| pids.contains(&c.pid()))
        .map(|c| c.name())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["named-1", "named-2"]);
}

#[test]
fn standard_streams_are_pipes_files_or_nothing() {
    let echo = |_: ()| {
        let input = read_to_string(std::io::stdin()).unwrap();
        print!("out {input}");
        eprint!("err {input}");
        input.len()
    };
    let p = Process::builder(echo, ())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    p.take_stdin().unwrap().write_all(b"words").unwrap();
    assert_eq!(
        read_to_string(p.take_stdout().unwrap()).unwrap(),
        "out words"
    );
    assert_eq!(
        read_to_string(p.take_stderr().unwrap()).unwrap(),
        "err words"
    );
    assert_eq!(p.join().unwrap(), 5);
    assert!(p.take_stdin().is_none() && p.take_stdout().is_none());

    let (mut reads, writes) = std::os::unix::net::UnixStream::pair().unwrap();
    let p = Process::builder(echo, ())
        .stdin(Stdio::null())
        .stdout(writes)
        .stderr(File::create("/dev/null").unwrap())
        .spawn()
        .unwrap();
    assert_eq!(p.join().unwrap(), 0);
    let mut said = String::new();
    reads.read_to_string(&mut said).unwrap();
    assert_eq!(said, "out ");
}

#[test]
fn the_environment_and_the_directory_are_what_was_said() {
    let f = |_: ()| {
        let mut names: Vec<String> = std::env::vars().map(|(k, v)| format!("{k}={v}")).collect();
        names.sort();
        (names, std::env::current_dir().unwrap())
    };
    let p = Process::builder(f, ())
        .env("BEFORE", "gone")
        .env_clear()
        .env("A", "1")
        .env("A", "2")
        .env("B", "3")
        .env_remove("B")
        .env("C", "four=4")
        .current_dir("/")
        .spawn()
        .unwrap();
    let (names, directory) = p.join().unwrap();
    assert_eq!(names, ["A=2", "C=four=4"]);
    assert_eq!(directory.to_str(), Some("/"));
    let p = Process::spawn(f, ()).unwrap();
    let (names, directory) = p.join().unwrap();
    assert!(names.iter().any(|n| n.starts_with("PATH=")));
    assert_eq!(directory, std::env::current_dir().unwrap());
}

#[test]
fn what_no_process_can_have_is_refused() {
    let unit = |_: ()| ();
    let builder = || Process::builder(unit, ());
    for refused in [
        builder().name("a\0b").spawn(),
        builder().env("a=b", "c").spawn(),
        builder().env("", "c").spawn(),
        builder().env("a", "\0").spawn(),
        builder().current_dir("/proc/self/exe").spawn(),
    ] {
        assert!(
            matches!(refused, Err(Error::InvalidArgument(_))),
            "{refused:?}"
        );
    }
    let absent = builder().current_dir("/there/is/none").spawn();
    let e = absent.unwrap_err().to_string();
    assert!(e.contains("/there/is/none: No such file"), "{e}");
}
