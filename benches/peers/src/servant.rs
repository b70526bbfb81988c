//! A program that measures for us what is not in Rust: it answers each line of its input with a line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub(crate) struct Servant {
    child: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Servant {
    /// Starts it; it begins with a line, which is thrown away.
    pub(crate) fn start(command: &mut Command) -> Servant {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect("it starts");
        let mut servant = Servant {
            ask: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().expect("it is piped")),
            child,
        };
        servant.answer();
        servant
    }

    /// The figure that it answers.
    pub(crate) fn ask(&mut self, line: &str) -> f64 {
        let ask = self.ask.as_mut().expect("it is open");
        writeln!(ask, "{line}").expect("it reads");
        let answer = self.answer();
        answer.parse().expect("a figure")
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        assert!(!line.is_empty(), "it failed");
        line.trim().to_owned()
    }
}

impl Drop for Servant {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.ask = None;
        let _ = self.child.wait();
    }
}
