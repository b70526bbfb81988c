//! Python's multiprocessing, in a process that lives as long as the run.

use crate::machine::on_all_cpus;
use crate::servant::Servant;
use std::cell::{OnceCell, RefCell};
use std::process::Command;

/// What `python3` says it is, if there is one.
pub(crate) fn version() -> Option<String> {
    let said = Command::new("python3").arg("--version").output().ok()?;
    let version = String::from_utf8(said.stdout).ok()?.trim().to_owned();
    (said.status.success() && !version.is_empty()).then_some(version)
}

/// The process, started when it is first used.
#[derive(Default)]
pub(crate) struct Python(OnceCell<RefCell<Servant>>);

impl Python {
    /// How many seconds it takes for so many tasks.
    pub(crate) fn seconds(&self, what: &str, tasks: u64) -> f64 {
        let python = self.0.get_or_init(|| {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/python.py");
            // Bound to no CPU, and neither are its workers.
            on_all_cpus(|| RefCell::new(Servant::start(Command::new("python3").arg(script))))
        });
        python.borrow_mut().ask(&format!("{what} {tasks}"))
    }
}
