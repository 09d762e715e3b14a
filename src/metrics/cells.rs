//! The cells of one route in one worker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Fault, Outcome};

/// Upper bounds of the histograms' buckets, in seconds; one more bucket has none.
pub const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The same bounds, as durations are compared with them.
const BUCKETS_NANOSECONDS: [u64; BUCKETS.len()] = {
    let mut bounds = [0; BUCKETS.len()];
    let mut index = 0;
    while index < bounds.len() {
        bounds[index] = (BUCKETS[index] * 1e9) as u64;
        index += 1;
    }
    bounds
};

/// The statuses that are counted one by one; others are counted by their class, so that an upstream cannot make up
/// label values.
const STATUSES: [u16; 62] = [
    100, 101, 102, 103, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308, 400,
    401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 425, 426,
    428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
];
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// What one worker counts of one route. Histograms have fixed buckets.
///
/// Only that worker writes here, so that a write needs no bus lock; anybody may read.
#[derive(Debug)]
pub struct RouteCells {
    statuses: [Cell; STATUSES.len() + CLASSES.len()],
    pub(super) duration: Histogram,
    pub(super) token_wait: Histogram,
    pub(super) first_byte: Histogram,
    pub(super) bytes_in: Cell,
    pub(super) bytes_out: Cell,
    pub(super) retries: Cell,
    pub(super) replays: Cell,
    faults: [Cell; 4],
}

/// A counter with one writer.
#[derive(Debug, Default)]
pub(super) struct Cell(AtomicU64);

impl Cell {
    pub(super) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts of durations by [`BUCKETS`].
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Cell; BUCKETS.len() + 1],
    nanoseconds: Cell,
}

/// Histograms summed up.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Sum {
    pub(super) buckets: [u64; BUCKETS.len() + 1],
    pub(super) seconds: f64,
}

impl Histogram {
    pub(super) fn record(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        // From the front: what is common is short.
        let bucket = BUCKETS_NANOSECONDS.iter().position(|bound| nanoseconds <= *bound).unwrap_or(BUCKETS.len());
        self.buckets[bucket].add(1);
        self.nanoseconds.add(nanoseconds);
    }
}

impl Sum {
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (sum, cell) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += cell.get();
        }
        self.seconds += histogram.nanoseconds.get() as f64 / 1e9;
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl Default for RouteCells {
    fn default() -> Self {
        RouteCells {
            statuses: std::array::from_fn(|_| Cell::default()),
            duration: Histogram::default(),
            token_wait: Histogram::default(),
            first_byte: Histogram::default(),
            bytes_in: Cell::default(),
            bytes_out: Cell::default(),
            retries: Cell::default(),
            replays: Cell::default(),
            faults: Default::default(),
        }
    }
}

impl RouteCells {
    /// Counts a finished request. Only the worker that the cells belong to may call this.
    pub fn record(&self, outcome: &Outcome) {
        self.statuses[status_index(outcome.status)].add(1);
        self.duration.record(outcome.total);
        self.token_wait.record(outcome.token_wait);
        self.first_byte.record(outcome.first_byte);
        self.bytes_in.add(outcome.bytes_in);
        self.bytes_out.add(outcome.bytes_out);
        self.retries.add(u64::from(outcome.retries));
        self.replays.add(u64::from(outcome.replayed));
        if let Some(fault) = outcome.fault {
            self.faults[fault_index(fault)].add(1);
        }
    }

    pub(super) fn requests(&self) -> u64 {
        self.statuses.iter().map(Cell::get).sum()
    }

    /// How many requests there were of each status, by label.
    pub(super) fn statuses(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        let labels = STATUSES.iter().map(u16::to_string).chain(CLASSES.iter().map(ToString::to_string));
        labels.zip(self.statuses.iter().map(Cell::get))
    }

    pub(super) fn faults(&self, fault: Fault) -> u64 {
        self.faults[fault_index(fault)].get()
    }
}

fn status_index(status: u16) -> usize {
    match status {
        100..=599 => usize::from(STATUS_INDICES[usize::from(status) - 100]),
        _ => STATUSES.len() + CLASSES.len() - 1,
    }
}

/// Where statuses from 100 to 599 are counted: in a cell of their own, or in their class's.
const STATUS_INDICES: [u8; 500] = {
    let mut indices = [0; 500];
    let mut status = 0;
    while status < indices.len() {
        indices[status] = (STATUSES.len() + status / 100) as u8;
        status += 1;
    }
    let mut index = 0;
    while index < STATUSES.len() {
        indices[STATUSES[index] as usize - 100] = index as u8;
        index += 1;
    }
    indices
};

const fn fault_index(fault: Fault) -> usize {
    match fault {
        Fault::Client => 0,
        Fault::Proxy => 1,
        Fault::TokenEndpoint => 2,
        Fault::Upstream => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_cell_and_made_up_ones_share_theirs() {
        assert!(STATUSES.is_sorted());
        let label = |status| {
            let cells = RouteCells::default();
            cells.statuses[status_index(status)].add(1);
            cells.statuses().find(|(_, count)| *count == 1).unwrap().0
        };
        for status in STATUSES {
            assert_eq!(label(status), status.to_string());
        }
        for (status, expected) in
            [(299, "2xx"), (599, "5xx"), (199, "1xx"), (600, "other"), (999, "other"), (0, "other")]
        {
            assert_eq!(label(status), expected);
        }
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_reaches_it() {
        let histogram = Histogram::default();
        for millis in [0, 1, 2, 30_000, 30_001] {
            histogram.record(Duration::from_millis(millis));
        }
        let mut sum = Sum::default();
        sum.add(&histogram);
        assert_eq!((sum.buckets[0], sum.buckets[1]), (2, 1), "bounds are inclusive");
        assert_eq!((sum.buckets[13], sum.buckets[14]), (1, 1));
        assert_eq!(sum.count(), 5);
        assert!((sum.seconds - 60.004).abs() < 1e-9);
    }
}
