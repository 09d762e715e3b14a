//! The real program as a child process: for its log, its signals and its exit code.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::process::Process;

/// A running attache whose output is kept. Dropped, it is killed.
pub struct Child {
    process: Process,
    folder: TempDir,
}

impl Child {
    /// `attache run` with this proxy.toml, these variables and no others. Returns when all listeners are bound.
    pub fn run(toml: &str, environment: &[(&str, &str)]) -> Child {
        Child::run_by(Command::new(program()), toml, environment)
    }

    /// The same with so many file descriptors.
    pub fn run_with_descriptors(toml: &str, environment: &[(&str, &str)], descriptors: u32) -> Child {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")).arg(program());
        Child::run_by(command, toml, environment)
    }

    fn run_by(mut command: Command, toml: &str, environment: &[(&str, &str)]) -> Child {
        command.arg("run");
        let child = Child::spawn(command, environment, folder_with(toml));
        child.wait_for_line("the start", |line| line.contains("listening on"));
        child
    }

    /// `attache` with these arguments, in a folder with this proxy.toml, which is what it looks for where nothing else is
    /// said.
    pub fn start_on(toml: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
        let mut command = Command::new(program());
        command.args(arguments);
        Child::spawn(command, environment, folder_with(toml))
    }

    /// `attache` with these arguments, in an empty folder.
    pub fn start(arguments: &[&str]) -> Child {
        Child::start_with(arguments, &[])
    }

    /// The same with these variables.
    pub fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Child {
        let mut command = Command::new(program());
        command.args(arguments);
        Child::spawn(command, environment, tempfile::tempdir().expect("there is room for a file"))
    }

    fn spawn(mut command: Command, environment: &[(&str, &str)], folder: TempDir) -> Child {
        command.current_dir(folder.path()).env_clear().envs(environment.iter().copied());
        Child { process: Process::spawn(command, "cargo builds it"), folder }
    }

    /// The first line of the output that satisfies this, once it is there.
    pub fn wait_for_line(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        self.process.wait_for_line(what, is_it)
    }

    /// Waits until this many lines of the output satisfy this.
    pub fn wait_for_lines(&self, what: &str, count: usize, is_it: impl Fn(&str) -> bool) {
        self.process.wait_for_lines(what, count, is_it);
    }

    /// Everything that it wrote so far.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.process.lines()
    }

    /// Writes proxy.toml anew, in place; what that does is up to a signal or to `--watch`.
    pub fn rewrite(&self, toml: &str) {
        fs::write(self.folder.path().join("proxy.toml"), toml).expect("there is room for a file");
    }

    /// Puts another file in the place of proxy.toml, as careful editors do.
    pub fn replace(&self, toml: &str) {
        let [new, old] = ["proxy.toml.new", "proxy.toml"].map(|name| self.folder.path().join(name));
        fs::write(&new, toml).expect("there is room for a file");
        fs::rename(new, old).expect("a file can be renamed");
    }

    pub fn id(&self) -> u32 {
        self.process.process().id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.process.process());
        kill_process(pid, signal).expect("the child can be signalled");
    }

    /// Waits for its end; its output is complete then.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }
}

fn folder_with(toml: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("there is room for a file");
    fs::write(folder.path().join("proxy.toml"), toml).expect("there is room for a file");
    folder
}

/// The program under test: the one that was built with this test, or the one that `ATTACHE` names.
pub fn program() -> String {
    std::env::var("ATTACHE").unwrap_or_else(|_| env!("CARGO_BIN_EXE_attache").to_owned())
}

/// An address for a program that must be told its own. Nobody listens there at the moment, and nobody is given it by chance
/// until the program does: it is outside of what the kernel takes for connections and for port 0.
pub fn free_address() -> SocketAddr {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("this is Linux");
    let range: Vec<u16> = range.split_whitespace().filter_map(|port| port.parse().ok()).collect();
    let [first, last] = range[..] else { panic!("a range: {range:?}") };
    let ports: Vec<u16> = (20_000..first).chain(last.saturating_add(1)..u16::MAX).collect();
    // Test programs that run at the same time begin at different places.
    let begin = std::process::id() as usize * 61;
    let next = |_| begin + TAKEN.fetch_add(1, Ordering::Relaxed);
    let mut candidates =
        (0..ports.len()).map(next).map(|at| SocketAddr::from(([127, 0, 0, 1], ports[at % ports.len()])));
    candidates.find(|address| TcpListener::bind(address).is_ok()).expect("a port that the kernel does not give away")
}
