//! Time: an exact clock for tokens, a coarse tick for the deadlines of connections.
//!
//! `Instant::now` and `SystemTime::now` are lint errors elsewhere: what reads time takes a [`Clock`], or asks [`timer_now`] how
//! long something may still take.

#[cfg(test)]
mod manual;
mod tick;

#[cfg(test)]
pub use manual::ManualClock;
pub use tick::{Deadline, Tick, Ticker};

use std::fmt;
use std::time::{Duration, SystemTime};

/// A point in time since boot, in nanoseconds. It counts suspend and never jumps (CLOCK_BOOTTIME).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Boot(u64);

impl Boot {
    /// The latest point there is; "never" as a deadline.
    pub const NEVER: Boot = Boot(u64::MAX);

    /// The point this many nanoseconds after boot.
    pub const fn from_nanos(nanos: u64) -> Self {
        Boot(nanos)
    }

    /// Nanoseconds after boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The point `duration` later, at most [`Boot::NEVER`].
    pub fn after(self, duration: Duration) -> Self {
        Boot(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The point `duration` earlier, at least boot itself.
    pub fn before(self, duration: Duration) -> Self {
        Boot(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long it is from `earlier` until this point; zero if `earlier` is later.
    pub fn since(self, earlier: Boot) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The runtime's own clock, which its timers run on: for how long an attempt or a pause may still take, and for nothing else.
/// It does not count suspend, so what a suspend interrupted has the rest of its time after it. Tests pause it.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the runtime's clock")]
pub fn timer_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Where time comes from. Tests put one in its place that moves when they say so.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The exact time since boot.
    fn now(&self) -> Boot;
    /// The wall clock, for what is shown, stored, or compared with a server's `Date`.
    fn wall(&self) -> SystemTime;
}

/// The system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Boot {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Boot(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}
