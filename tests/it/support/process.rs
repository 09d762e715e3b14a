//! A child process whose output is kept, line by line.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{self, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::{DEADLINE, Watched};

/// A process with its input and output in our hands. Dropped, it is killed.
pub struct Process {
    name: String,
    process: process::Child,
    input: Option<ChildStdin>,
    /// Both outputs; a line of one is never in the middle of a line of the other.
    lines: Arc<Watched<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// `install` says how to get the program if it is not there.
    pub fn spawn(mut command: Command, install: &str) -> Process {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = command.get_program().to_string_lossy().into_owned();
        let mut process = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}; {install}"));
        let lines = Arc::new(Watched::default());
        let out = reader(process.stdout.take().expect("it is piped"), lines.clone());
        let err = reader(process.stderr.take().expect("it is piped"), lines.clone());
        let input = process.stdin.take();
        Process { name, process, input, lines, readers: vec![out, err] }
    }

    pub fn write_line(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it is piped");
        writeln!(input, "{line}").expect("the process reads its input");
    }

    /// The first line of the output that satisfies this, once it is there.
    pub fn wait_for_line(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        self.wait_for_lines(what, 1, is_it)
    }

    /// Waits until this many lines of the output satisfy this; the last of them.
    pub fn wait_for_lines(&self, what: &str, count: usize, is_it: impl Fn(&str) -> bool) -> String {
        let found = |lines: &mut Vec<String>| lines.iter().filter(|line| is_it(line)).nth(count - 1).cloned();
        match self.lines.wait_at_most(DEADLINE, found) {
            Some(line) => line,
            None => panic!("waited in vain for {what} from {}", self.name),
        }
    }

    /// Everything that it wrote so far.
    pub fn output(&self) -> String {
        self.lines.look(|lines| lines.join("\n"))
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.look(Clone::clone)
    }

    pub fn process(&self) -> &process::Child {
        &self.process
    }

    /// Waits for its end; its output is complete then.
    pub fn wait(&mut self) -> ExitStatus {
        drop(self.input.take());
        let status = self.process.wait().expect("a child can be waited for");
        for reader in self.readers.drain(..) {
            reader.join().expect("reading lines does not panic");
        }
        status
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "a failed test's output is for people")]
    fn drop(&mut self) {
        if thread::panicking() {
            // The test failed; what the process said about it is shown with it.
            eprintln!("{} wrote:\n{}", self.name, self.output());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn reader(pipe: impl Read + Send + 'static, lines: Arc<Watched<Vec<String>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            lines.update(|lines| lines.push(line));
        }
    })
}
