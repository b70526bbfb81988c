//! Boost.Interprocess, by a small program that is compiled when it is first asked for.

use crate::servant::Servant;
use std::cell::{OnceCell, RefCell};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Which Boost the compiler finds, if there are both.
pub(crate) fn version() -> Option<String> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/src/boost.cpp");
    let mut compiler = Command::new("g++");
    compiler.args(["-E", "-dM", program]).stderr(Stdio::null());
    let said = compiler.output().ok()?;
    if !said.status.success() {
        return None;
    }
    let macros = String::from_utf8_lossy(&said.stdout).into_owned();
    let mut lines = macros.lines();
    let version = lines.find_map(|line| line.strip_prefix("#define BOOST_LIB_VERSION "))?;
    Some(version.trim_matches('"').replace('_', "."))
}

/// The program, started when it is first used.
pub(crate) struct Boost {
    cpus: Option<[usize; 2]>,
    program: OnceCell<RefCell<Servant>>,
}

impl Boost {
    pub(crate) fn new(cpus: Option<[usize; 2]>) -> Boost {
        let program = OnceCell::new();
        Boost { cpus, program }
    }

    /// The figure for some work: what, of what length or by how many, and for how long.
    pub(crate) fn figure(&self, what: &str, n: usize, duration: Duration) -> f64 {
        let program = self.program.get_or_init(|| RefCell::new(self.start()));
        let ms = duration.as_secs_f64() * 1e3;
        program.borrow_mut().ask(&format!("{what} {n} {ms}"))
    }

    fn start(&self) -> Servant {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/boost.cpp");
        let this = std::env::current_exe().expect("this program's path");
        let program = this.with_file_name("commonhold-peers-boost");
        let mut compiler = Command::new("g++");
        compiler.args(["-O2", "-pthread", source, "-lrt", "-o"]);
        let compiled = compiler.arg(&program).status().expect("g++ starts");
        assert!(compiled.success(), "boost.cpp does not compile");
        let mut command = Command::new(program);
        command.args(self.cpus.into_iter().flatten().map(|cpu| cpu.to_string()));
        Servant::start(&mut command)
    }
}
