//! Problems of a configuration as events of the log. An event is a line: the report that underlines is for terminals.

use crate::config::{Problems, Severity};

/// More problems than this are counted, not logged.
const PROBLEMS_LOGGED_MAX: usize = 100;

/// One event for each problem. `what` says what came of them.
pub(super) fn log(problems: &Problems, what: &str) {
    for problem in problems.problems.iter().take(PROBLEMS_LOGGED_MAX) {
        let (at, hint, message) = (problems.place(problem), problem.hint.as_deref(), &problem.message);
        match problems.severity {
            Severity::Error => tracing::error!(at, hint, "{what}: {message}"),
            Severity::Warning => tracing::warn!(at, hint, "{what}: {message}"),
        }
    }
    if let Some(more @ 1..) = problems.problems.len().checked_sub(PROBLEMS_LOGGED_MAX) {
        let told = "there are more problems (hint: `attache check` shows them)";
        match problems.severity {
            Severity::Error => tracing::error!(more, "{told}"),
            Severity::Warning => tracing::warn!(more, "{told}"),
        }
    }
}
