//! The machine, promise by promise.

mod failures;
mod rejections;
mod reload;
mod states;

use std::sync::Arc;
use std::time::Duration;

use super::{Adopted, Asked, Attempt, Grant, Machine, Next, Rejection, Verdict};
use crate::clock::Boot;
use crate::token::{FetchError, FetchErrorKind, Generation, Policy, Reached, TokenUnavailable};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

pub(super) fn policy() -> Policy {
    Policy {
        name: Arc::from("crm"),
        refresh_before: None,
        keep_warm: DAY,
        single_active: false,
        warm: false,
        stale_if_error: Duration::ZERO,
        attach: Arc::default(),
        attempt_timeout: secs(10.0),
        total_timeout: secs(30.0),
    }
}

pub(super) fn error(kind: FetchErrorKind) -> FetchError {
    FetchError { kind, reached: Reached::Answered, code: None, text: Arc::from("it did not work") }
}

/// A machine and its time.
struct Sim {
    machine: Machine,
    now: Boot,
}

impl Sim {
    fn new() -> Self {
        Sim::with(policy(), 7)
    }

    fn with(policy: Policy, seed: u64) -> Self {
        let now = Boot::default().after(HOUR);
        Sim { machine: Machine::new(policy, now, seed), now }
    }

    /// One that holds a token of this lifetime, granted right now.
    fn holding(lifetime: f64) -> Self {
        let mut sim = Sim::new();
        sim.fetch(Some(secs(lifetime)));
        sim
    }

    fn pass(&mut self, seconds: f64) -> &mut Self {
        self.now = self.now.after(secs(seconds));
        self
    }

    fn pass_to(&mut self, at: Boot) {
        assert!(at >= self.now, "time runs forward");
        self.now = at;
    }

    /// A request with 10 s of patience.
    fn ask(&mut self) -> (Asked, bool) {
        self.machine.request(self.now, self.now.after(secs(10.0)))
    }

    fn takes(&mut self) -> bool {
        matches!(self.ask().0, Asked::Take)
    }

    /// Begins a fetch by a request, and its first attempt.
    fn begin(&mut self) -> Duration {
        assert!(self.ask().1, "a request begins a fetch");
        self.attempt()
    }

    fn attempt(&mut self) -> Duration {
        match self.machine.attempt(self.now) {
            Attempt::Make { timeout } => timeout,
            other => panic!("an attempt can be made, not {other:?}"),
        }
    }

    fn grant(&mut self, lifetime: Option<Duration>) -> Adopted {
        self.machine.granted(self.now, Grant { lifetime, refresh_in: None, last: false, same: false })
    }

    fn grant_same(&mut self, lifetime: Option<Duration>) -> Adopted {
        self.machine.granted(self.now, Grant { lifetime, refresh_in: None, last: false, same: true })
    }

    /// A fetch that takes no time.
    fn fetch(&mut self, lifetime: Option<Duration>) -> Adopted {
        self.begin();
        self.grant(lifetime)
    }

    fn fail(&mut self, kind: FetchErrorKind) -> Next {
        self.machine.failed(self.now, error(kind))
    }

    /// Fails all attempts of the fetch in flight, the first of which has begun.
    fn fail_through(&mut self) {
        while let Next::Retry(at) = self.fail(FetchErrorKind::Transient) {
            self.pass_to(at);
            self.attempt();
        }
    }

    /// Lets time pass until the timer begins a fetch, and returns how long that was.
    fn until_tick_begins(&mut self) -> Duration {
        let from = self.now;
        let active = Some(self.now.after(DAY));
        for _ in 0..10_000 {
            let at = self.machine.wake_at(self.now, active).expect("something is due");
            self.now = self.now.max(at);
            if self.machine.tick(self.now, active) {
                return self.now.since(from);
            }
        }
        panic!("the timer spins");
    }

    fn reject(&mut self, sent: u64, can_replay: bool) -> (Verdict, bool) {
        let deadline = self.now.after(secs(10.0));
        self.machine.rejected(self.now, Rejection { sent: Generation(sent), can_replay, deadline, again: false })
    }

    fn soft(&self) -> Boot {
        self.machine.held.as_ref().unwrap().schedule.soft
    }

    fn late(&self) -> Boot {
        self.machine.held.as_ref().unwrap().schedule.late
    }

    fn dead(&self) -> Boot {
        self.machine.held.as_ref().unwrap().schedule.dead
    }
}
