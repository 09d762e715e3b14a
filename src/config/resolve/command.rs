//! Secrets that a command prints, such as `["pass", "show", "crm"]`.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use zeroize::Zeroizing;

/// How long a command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs a command in a folder and returns the first line that it prints, of at most `bytes_max` bytes of output.
pub(super) fn first_line(words: &[&str], folder: &Path, bytes_max: u64) -> Result<Zeroizing<String>, String> {
    output(words, folder, bytes_max).map(|output| first_line_of(&output))
}

/// Runs a command in a folder and returns what it prints, at most `bytes_max` bytes. No shell is between. What it writes
/// to its standard error is not kept, because it may hold the secret.
pub(super) fn output(words: &[&str], folder: &Path, bytes_max: u64) -> Result<Zeroizing<String>, String> {
    output_within(words, folder, bytes_max, COMMAND_TIMEOUT)
}

fn first_line_of(output: &str) -> Zeroizing<String> {
    Zeroizing::new(output.lines().next().unwrap_or_default().to_owned())
}

fn output_within(
    words: &[&str],
    folder: &Path,
    bytes_max: u64,
    timeout: Duration,
) -> Result<Zeroizing<String>, String> {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // A group of its own, so that what the command started ends with it.
    command.process_group(0);
    let child = command.spawn().map_err(|error| format!("cannot run `{}`: {error}", words[0]))?;
    let group = rustix::process::Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(collect(child, bytes_max)));
    let output = receiver.recv_timeout(timeout).map_err(|_| {
        // It may have ended this very moment: then there is nothing to kill.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        format!("`{}` did not end within {} s", words[0], timeout.as_secs())
    })?;
    let output = output.map_err(|why| format!("`{}` {why}", words[0]))?;
    let text = std::str::from_utf8(&output).map_err(|_| format!("what `{}` printed is not UTF-8", words[0]))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Waits for the end of the output, then for that of the command.
fn collect(mut child: Child, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut output = Zeroizing::new(Vec::with_capacity(1024));
    let stdout = child.stdout.take().ok_or("has no output")?;
    let read = stdout.take(bytes_max + 1).read_to_end(&mut output);
    let too_much = output.len() as u64 > bytes_max;
    if too_much {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| format!("could not be waited for: {error}"))?;
    read.map_err(|error| format!("could not be read from: {error}"))?;
    if too_much {
        return Err(format!("printed more than {bytes_max} bytes"));
    }
    if !status.success() {
        return Err(format!("failed with {status}"));
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, timeout: Duration) -> Result<String, String> {
        let output = output_within(&["sh", "-c", script], Path::new("/"), 1000, timeout);
        output.map(|output| first_line_of(&output).to_string())
    }

    #[test]
    fn the_first_line_is_the_secret() {
        let long = Duration::from_secs(60);
        assert_eq!(run("echo one; echo two", long), Ok("one".into()));
        assert_eq!(run("printf 'one'", long), Ok("one".into()));
        assert_eq!(run("printf 'one\\r\\n'; pwd >&2", long), Ok("one".into()));
        assert_eq!(run("pwd", long), Ok("/".into()));
    }

    #[test]
    fn a_command_that_fails_or_floods_or_hangs_yields_nothing() {
        let long = Duration::from_secs(60);
        assert_eq!(run("echo one; exit 3", long), Err("`sh` failed with exit status: 3".into()));
        assert_eq!(run("yes", long), Err("`sh` printed more than 1000 bytes".into()));
        assert_eq!(run("sleep 600 | cat", Duration::from_millis(50)), Err("`sh` did not end within 0 s".into()));
        let missing = first_line(&["no-such-program-here"], Path::new("/"), 1000).unwrap_err();
        assert!(missing.starts_with("cannot run `no-such-program-here`: "), "{missing}");
    }

    /// All of them hold the pipe open: its end is theirs.
    #[test]
    fn what_a_command_started_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (ready, is_ready) = mpsc::channel();
        let (ended, has_ended) = mpsc::channel();
        let reading = pipe.clone();
        thread::spawn(move || {
            let mut pipe = std::fs::File::open(reading).unwrap();
            pipe.read_exact(&mut [0]).unwrap();
            ready.send(()).unwrap();
            ended.send(pipe.read_to_end(&mut Vec::new()).map(drop)).unwrap();
        });
        let script = format!("exec 3> '{}'; echo >&3; sleep 600 | cat", pipe.display());
        // A machine that is busy may need longer to begin.
        let timeouts = [1, 10, 60].map(Duration::from_secs);
        let began = timeouts.into_iter().any(|timeout| run(&script, timeout).is_err() && is_ready.try_recv().is_ok());
        assert!(began, "the command did not begin");
        let ended = has_ended.recv_timeout(Duration::from_secs(60));
        assert!(matches!(ended, Ok(Ok(()))), "something lives on: {ended:?}");
    }
}
