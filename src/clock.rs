//! Time: an exact clock for tokens, a coarse tick for the deadlines of connections.
//!
//! `Instant::now` and `SystemTime::now` are lint errors elsewhere: what reads time takes a [`Clock`].

mod tick;

pub use tick::{Deadline, Tick, Ticker};

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// Where time comes from. Tests put a [`ManualClock`] in its place.
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
