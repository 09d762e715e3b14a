//! The token state machine, without I/O: events and the time go in, decisions come out. No clock, no locks, no tasks;
//! randomness is seeded. The property test drives exactly this.
//!
//! `schedule`: when a token turns soft, late, dead. `demand`: requests and the passing of time. `fetch`: attempts and
//! their ends. `exchange`: refresh tokens, and restarts. `backoff`: when to try again. `rejection`: suspicion and its guard. `constants`: the numbers.

mod backoff;
pub mod constants;
mod demand;
mod exchange;
mod fetch;
mod rejection;
mod schedule;

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;

pub use demand::Asked;
pub use exchange::{Restored, RestoredToken};
pub use fetch::{Adopted, Attempt, Grant, Next};
pub use rejection::{Rejection, Verdict};

use std::time::Duration;

use backoff::Backoff;
use constants::WARM_SPREAD;
use exchange::Doubt;
use fetch::Fetch;
use rejection::{Guard, Suspicion};
use schedule::{Facts, Schedule};

use super::{FetchError, Generation, Policy};
use crate::clock::Boot;

/// The life of one identity's token.
#[derive(Debug)]
pub struct Machine {
    policy: Policy,
    random: fastrand::Rng,
    held: Option<Held>,
    /// The last generation that was given out, cached or not.
    generation: Generation,
    fetch: Option<Fetch>,
    backoff: Backoff,
    guard: Guard,
    /// Until then the client is held back at the endpoint, by whichever cell (TL-33).
    hold: Boot,
    /// Until then no fetch is begun, whatever this machine would do.
    closed: Boot,
    /// Counts changes of the proof (TL-03).
    proof: u64,
    doubt: Doubt,
    /// How long the last successful attempt took (TL-32).
    last_attempt: Option<Duration>,
    last_lifetime: Option<Duration>,
    /// Tokens in a row that could not be cached (TL-14).
    uncacheable: u32,
    /// When to fetch at start (TL-29).
    warm_at: Option<Boot>,
    counters: Counters,
}

/// The token that is held; its value is the cell's affair.
#[derive(Debug)]
struct Held {
    generation: Generation,
    facts: Facts,
    schedule: Schedule,
    /// When it came.
    obtained: Boot,
    suspicion: Suspicion,
    late_seen: bool,
}

/// Why a fetch was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// There is no token, or it is time to renew it.
    Demand,
    /// The upstream rejected the token: counted by the guard (TL-43).
    Rejection,
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub granted: u64,
    pub failed: u64,
    pub rejections: u64,
    pub replays_accepted: u64,
    pub late: u64,
}

impl Machine {
    /// A machine without a token. `seed` decides every random choice to come.
    pub fn new(policy: Policy, now: Boot, seed: u64) -> Self {
        let mut machine = Machine {
            policy,
            random: fastrand::Rng::with_seed(seed),
            held: None,
            generation: Generation(0),
            fetch: None,
            backoff: Backoff::default(),
            guard: Guard::default(),
            hold: Boot::default(),
            closed: Boot::default(),
            proof: 0,
            doubt: Doubt::None,
            last_attempt: None,
            last_lifetime: None,
            uncacheable: 0,
            warm_at: None,
            counters: Counters::default(),
        };
        machine.warm(now);
        machine
    }

    /// A reload changed the policy; the token stays (TL-04).
    pub fn set_policy(&mut self, now: Boot, policy: Policy) {
        let old = std::mem::replace(&mut self.policy, policy);
        let timing = |policy: &Policy| (policy.refresh_before, policy.single_active);
        if timing(&self.policy) != timing(&old)
            && let Some(held) = &mut self.held
        {
            let soft = held.facts.schedule(&self.policy).soft;
            // What made it soft already still holds.
            held.schedule.soft =
                if held.schedule.soft <= now { held.schedule.soft } else { soft.min(held.schedule.dead) };
        }
        if !old.warm {
            self.warm(now);
        }
    }

    /// The client proves itself differently from now on (TL-03).
    pub fn proof_changed(&mut self, now: Boot) {
        self.proof += 1;
        self.backoff.forget_refusal();
        if let Some(fetch) = &mut self.fetch {
            fetch.probe = false;
        }
        self.soften(now);
    }

    /// The token serves until a fetch with the new proof succeeds, which is due now.
    fn soften(&mut self, now: Boot) {
        if let Some(held) = &mut self.held {
            held.schedule.soft = held.schedule.soft.min(now);
        }
    }

    /// The client is held back at its endpoint until then (TL-33). Told before anything else is asked.
    pub fn set_hold(&mut self, until: Boot) {
        self.hold = until;
    }

    /// Others than this machine decide that no fetch may begin before then. Told before anything else is asked.
    pub fn set_closed(&mut self, until: Boot) {
        self.closed = until;
    }

    /// Until when the client is held back, as far as this machine heard.
    pub fn hold(&self) -> Boot {
        self.hold
    }

    /// Whether a fetch is in flight.
    pub fn fetching(&self) -> bool {
        self.fetch.is_some()
    }

    /// How long the last successful attempt took.
    pub fn last_attempt(&self) -> Option<Duration> {
        self.last_attempt
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Why the last fetch failed; `None` after a success.
    pub fn error(&self) -> Option<&FetchError> {
        self.backoff.error()
    }

    /// The held token's generation, dead or alive.
    pub fn held(&self) -> Option<Generation> {
        self.held.as_ref().map(|held| held.generation)
    }

    /// L of the held token, as far as it is known.
    pub fn lifetime(&self) -> Option<Duration> {
        self.held.as_ref()?.facts.lifetime
    }

    /// How long the held token lives on; `None` if there is none, or its life has no known end.
    pub fn expires_in(&self, now: Boot) -> Option<Duration> {
        self.held.as_ref().map(|held| held.schedule.expiry).filter(|at| *at < Boot::NEVER).map(|at| at.since(now))
    }

    /// The state, in the words of the docs (TL-20 to TL-27).
    pub fn state(&self, now: Boot) -> &'static str {
        match &self.held {
            Some(held) if now < held.schedule.late.min(held.schedule.soft) => "fresh",
            Some(held) if now < held.schedule.late => "soft",
            Some(held) if now < held.schedule.dead => "late",
            _ if self.backoff.needs_reauthorization() => "needs_reauthorization",
            _ if self.backoff.refused() => "refused",
            _ if self.backoff.error().is_some() && now < self.next_start() => "backing_off",
            Some(_) => "dead",
            None => "empty",
        }
    }

    /// When the next fetch may begin.
    pub fn next_start(&self) -> Boot {
        self.backoff.next_try().max(self.hold).max(self.closed)
    }

    /// The configured `refresh_before`, if the held token lives no longer than that, so that it is not followed.
    pub fn useless_window(&self) -> Option<Duration> {
        let lifetime = self.held.as_ref()?.facts.lifetime?;
        self.policy.refresh_before.filter(|before| *before >= lifetime)
    }

    fn usable(&self, now: Boot) -> bool {
        self.usable_for(now).is_some()
    }

    /// How long the held token can still be sent.
    fn usable_for(&self, now: Boot) -> Option<Duration> {
        self.held.as_ref().filter(|held| now < held.schedule.dead).map(|held| held.schedule.dead.since(now))
    }

    fn warm(&mut self, now: Boot) {
        if self.policy.warm && self.held.is_none() {
            self.warm_at = Some(now.after(WARM_SPREAD.mul_f64(self.random.f64())));
        }
    }
}

impl Held {
    fn new(generation: Generation, facts: Facts, policy: &Policy, now: Boot) -> Self {
        Held {
            generation,
            facts,
            schedule: facts.schedule(policy),
            obtained: now,
            suspicion: Suspicion::None,
            late_seen: false,
        }
    }
}
