//! A clock for tests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::{Boot, Clock};

/// A clock that moves only when it is told to.
#[derive(Debug)]
pub struct ManualClock {
    now: AtomicU64,
    wall_at_boot: SystemTime,
}

impl ManualClock {
    /// A clock that stands at one hour after boot, at the given wall time.
    pub fn at(wall: SystemTime) -> Self {
        let now = Duration::from_secs(3600);
        ManualClock { now: AtomicU64::new(now.as_nanos() as u64), wall_at_boot: wall - now }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Boot {
        Boot(self.now.load(Ordering::SeqCst))
    }

    fn wall(&self) -> SystemTime {
        self.wall_at_boot + Duration::from_nanos(self.now.load(Ordering::SeqCst))
    }
}
