//! The cells of one part of an aggregate in one worker.

use std::time::Duration;

use super::cells::{Cell, Histogram};

/// How a part of an aggregate ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartEnd {
    Answered,
    Failed,
    /// It was not answered in time.
    TimedOut,
    /// Its condition did not hold.
    Skipped,
    /// It was no longer needed, because another part had failed or the client had left.
    Cancelled,
}

/// What one worker counts of one part. Only that worker writes here; anybody may read.
#[derive(Debug, Default)]
pub struct PartCells {
    /// Of those that were called.
    pub(super) duration: Histogram,
    ends: [Cell; PartEnd::ALL.len()],
}

impl PartEnd {
    pub(super) const ALL: [PartEnd; 5] =
        [PartEnd::Answered, PartEnd::Failed, PartEnd::TimedOut, PartEnd::Skipped, PartEnd::Cancelled];

    /// The label.
    pub fn name(self) -> &'static str {
        match self {
            PartEnd::Answered => "answered",
            PartEnd::Failed => "failed",
            PartEnd::TimedOut => "timed_out",
            PartEnd::Skipped => "skipped",
            PartEnd::Cancelled => "cancelled",
        }
    }
}

impl PartCells {
    /// Counts a part that ended. Only the worker that the cells belong to may call this.
    pub fn record(&self, end: PartEnd, duration: Duration) {
        self.ends[end as usize].add(1);
        if end != PartEnd::Skipped {
            self.duration.record(duration);
        }
    }

    pub(super) fn ended(&self, end: PartEnd) -> u64 {
        self.ends[end as usize].get()
    }
}
