//! What is noted of an aggregate's parts for the log: one entry a part, in declared order, whatever order they ended in.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::report::Key;
use crate::metrics::PartEnd;
use crate::proxy::access_log::{Effort, milliseconds};

/// Shared by a request's record and the run that answers it, of which either may end first.
#[derive(Debug, Default)]
pub(in crate::proxy) struct PartNotes {
    notes: RefCell<Vec<Note>>,
    effort: RefCell<Effort>,
}

/// How one part ended.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) index: usize,
    pub(super) name: Arc<str>,
    pub(super) end: PartEnd,
    /// The name of what failed it.
    pub(super) error: Option<&'static str>,
    /// That of its upstream's last answer.
    pub(super) status: Option<StatusCode>,
    pub(super) duration: Duration,
}

impl PartNotes {
    pub(super) fn add(&self, note: Note) {
        let mut notes = self.notes.borrow_mut();
        let place = notes.partition_point(|earlier| earlier.index < note.index);
        notes.insert(place, note);
    }

    /// What one call took. Calls wait at the same time: the longest wait counts.
    pub(super) fn took(&self, call: &Effort) {
        let mut all = self.effort.borrow_mut();
        all.token_wait = all.token_wait.max(call.token_wait);
        all.connect = all.connect.max(call.connect);
        all.retries += call.retries;
        all.replayed |= call.replayed;
    }

    /// Adds what all calls took to what is known of the request.
    pub(in crate::proxy) fn add_to(&self, effort: &mut Effort) {
        let Effort { token_wait, connect, retries, replayed, .. } = *self.effort.borrow();
        *effort = Effort { token_wait, connect, retries, replayed, ..*effort };
    }
}

impl fmt::Display for PartNotes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, note) in self.notes.borrow().iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            note.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Key(&self.name))?;
        if let Some(status) = self.status {
            write!(f, ";status={}", status.as_u16())?;
        }
        match self.end {
            PartEnd::Answered => {}
            PartEnd::Failed | PartEnd::TimedOut => write!(f, ";error={}", self.error.unwrap_or_default())?,
            PartEnd::Skipped => return f.write_str(";skipped"),
            PartEnd::Cancelled => f.write_str(";cancelled")?,
        }
        write!(f, ";ms={:.3}", milliseconds(self.duration))
    }
}
