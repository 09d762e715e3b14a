//! Tests that change what belongs to a whole process, or end it.

use std::process::{Command, Output};

const MARK: &str = "ATTACHE_TEST_CHILD";

/// Runs `test` in a process of its own: it changes what belongs to the whole process. `name` is the test's full name.
pub(crate) fn in_a_process_of_its_own(name: &str, test: impl FnOnce()) {
    let Some(output) = child(name, test) else { return };
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "the name is not that of a test: {text}");
}

/// As [`in_a_process_of_its_own`], for a test that does not return: how the process ended, and what it said. `None` in
/// the child, if it does return.
pub(super) fn child(name: &str, test: impl FnOnce()) -> Option<Output> {
    if std::env::var_os(MARK).is_some() {
        test();
        return None;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(MARK, "1");
    Some(command.output().unwrap())
}

/// Logs as text on standard error, in a process of its own.
pub(super) fn log_text() {
    let log = crate::config::Log { format: crate::config::LogFormat::Text, level: "info".to_owned(), access: true };
    crate::app::log::set_up(&log).unwrap();
}

pub(super) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
