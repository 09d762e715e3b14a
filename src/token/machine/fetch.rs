//! One fetch: up to three attempts, and what their ends mean.

use std::sync::Arc;
use std::time::Duration;

use super::constants::{
    ATTEMPT_MIN_WHILE_USABLE, BACKOFF_MIN, EXPIRY_MOVED_MIN, HOLD_MAX, RETRY_AFTER_WITHIN_FETCH_MAX, RETRY_PAUSES,
    SOFT_SPREAD_MIN, UNCACHEABLE_MAX, UNCACHEABLE_PAUSE,
};
use super::exchange::{Doubt, Exchanged};
use super::rejection::Suspicion;
use super::{Cause, Facts, Held, Machine, backoff, schedule};
use crate::clock::Boot;
use crate::token::{FetchError, FetchErrorKind, Generation, Reached};

/// A fetch in flight.
#[derive(Debug)]
pub struct Fetch {
    pub cause: Cause,
    /// A refused credential is tried again, without anybody waiting for it (TL-26).
    pub probe: bool,
    /// When it was begun.
    pub begun: Boot,
    /// When it got its turn at the endpoint: its total time counts from here.
    pub started: Option<Boot>,
    attempts: usize,
    /// t0 of the last attempt.
    sent: Boot,
    /// The proof that the last attempt used.
    pub proof: u64,
    /// The last attempt may have used up a refresh token.
    pub exchanged: Option<Exchanged>,
    error: Option<FetchError>,
}

/// Whether the next attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Make it, within this time.
    Make { timeout: Duration },
    /// The client is held back (TL-33): ask again then.
    Pause(Boot),
    /// The fetch has ended.
    Ended,
}

/// What an endpoint granted.
#[derive(Debug, Clone, Copy)]
pub struct Grant {
    pub lifetime: Option<Duration>,
    pub refresh_in: Option<Duration>,
    /// No other one would live longer.
    pub last: bool,
    /// It is the token that is held.
    pub same: bool,
}

/// What became of a granted token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopted {
    /// It replaces the held one.
    New(Generation),
    /// It is the held one.
    Same,
    /// Only for those who waited (TL-14).
    Uncacheable(Generation),
    /// One too many of those: the fetch has failed.
    Failed,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Ask for another attempt then.
    Retry(Boot),
    /// The fetch has ended.
    Ended,
}

impl Machine {
    /// Begins a fetch if none is in flight and none is backing off.
    pub(super) fn begin(&mut self, now: Boot, cause: Cause) -> bool {
        if self.fetch.is_some() || now < self.next_start() {
            return false;
        }
        self.warm_at = None;
        self.fetch = Some(Fetch {
            cause,
            probe: false,
            begun: now,
            started: None,
            attempts: 0,
            sent: now,
            proof: self.proof,
            exchanged: None,
            error: None,
        });
        true
    }

    /// The fetch has its turn at the endpoint.
    pub fn attempt(&mut self, now: Boot) -> Attempt {
        let (usable, policy) = (self.usable_for(now), &self.policy);
        let Some(fetch) = &mut self.fetch else { return Attempt::Ended };
        let started = *fetch.started.get_or_insert(now);
        let left = policy.total_timeout.saturating_sub(now.since(started));
        if now < self.hold && self.hold.since(now) <= RETRY_AFTER_WITHIN_FETCH_MAX.min(left) {
            return Attempt::Pause(self.hold);
        }
        if now < self.hold || left.is_zero() {
            self.give_up(now);
            return Attempt::Ended;
        }
        fetch.attempts += 1;
        fetch.sent = now;
        fetch.proof = self.proof;
        fetch.exchanged = None;
        let mut timeout = policy.attempt_timeout.min(left);
        if let Some(usable) = usable {
            let last = self.last_attempt.unwrap_or_default();
            timeout = timeout.min(ATTEMPT_MIN_WHILE_USABLE.max(usable / 2).max(last * 2));
        }
        Attempt::Make { timeout }
    }

    /// The attempt brought a token. Ends the fetch.
    pub fn granted(&mut self, now: Boot, grant: Grant) -> Adopted {
        let Some(fetch) = self.fetch.take() else { return Adopted::Failed };
        self.doubt = Doubt::None;
        self.last_attempt = Some(now.since(fetch.sent));
        self.last_lifetime = grant.lifetime.filter(|lifetime| !lifetime.is_zero()).or(self.last_lifetime);
        let facts = Facts {
            since: fetch.sent,
            age: Duration::ZERO,
            lifetime: grant.lifetime.or(self.last_lifetime),
            refresh_in: grant.refresh_in,
            last: grant.last,
            spread: SOFT_SPREAD_MIN + (1.0 - SOFT_SPREAD_MIN) * self.random.f64(),
        };
        let mut held = Held::new(self.generation, facts, &self.policy, now);
        if held.schedule.dead <= now {
            return self.uncacheable(now, &fetch, grant.same);
        }
        self.uncacheable = 0;
        self.warm_at = None;
        self.counters.granted += 1;
        self.backoff.succeeded(fetch.begun.after(BACKOFF_MIN));
        let adopted = match &mut self.held {
            Some(old) if grant.same => {
                old.again(now, held, grant.lifetime.is_some());
                if fetch.cause == Cause::Rejection {
                    self.guard.same_token(now);
                }
                Adopted::Same
            }
            _ => {
                held.generation = self.next_generation();
                if fetch.cause == Cause::Rejection {
                    self.guard.on_trial(now, held.generation);
                }
                self.held = Some(held);
                Adopted::New(self.generation)
            }
        };
        if fetch.proof != self.proof {
            // It was proved with what the client no longer uses.
            self.soften(now);
        }
        adopted
    }

    /// The attempt failed.
    pub fn failed(&mut self, now: Boot, error: FetchError) -> Next {
        let limited = match error.kind {
            FetchErrorKind::RateLimited { retry_after } => retry_after.map(|after| now.after(after.min(HOLD_MAX))),
            _ => None,
        };
        self.hold = self.hold.max(limited.unwrap_or_default());
        let exchanged = self.fetch.as_ref().is_some_and(|fetch| fetch.exchanged.is_some());
        let retry = if exchanged { self.retry_exchange(now, &error) } else { self.retry(now, error.kind) };
        match retry {
            Some(at) => {
                if let Some(fetch) = &mut self.fetch {
                    fetch.error = Some(error);
                }
                Next::Retry(at)
            }
            None => {
                self.end_failed(now, error);
                // Others may be held back for less long than whoever was answered so.
                self.backoff.postpone(limited.unwrap_or_default());
                Next::Ended
            }
        }
    }

    /// The task of the fetch ended without a word: it panicked, or its runtime is gone (TL-31).
    pub fn abandoned(&mut self, now: Boot) {
        if self.fetch.is_some() {
            let text = "the token fetch ended unexpectedly; this is a bug, and its message is in the log above";
            let error = transient(Reached::No, text);
            if self.fetch.as_ref().is_some_and(|fetch| fetch.exchanged.is_some()) {
                self.retry_exchange(now, &error);
            }
            self.end_failed(now, error);
        }
    }

    /// When the fetch makes another attempt after this failure, if it does (TL-32, TL-33).
    fn retry(&mut self, now: Boot, kind: FetchErrorKind) -> Option<Boot> {
        let random = self.random.f64();
        let gap_max = backoff::gap_max(now, self.held.as_ref().map(|held| &held.schedule));
        let fetch = self.fetch.as_ref()?;
        if kind.is_lasting() {
            // What was refused is a proof that the client no longer uses: try with the new one (TL-03).
            return (fetch.proof != self.proof).then_some(now);
        }
        let mut pause = RETRY_PAUSES.get(fetch.attempts.checked_sub(1)?)?.mul_f64(random).min(gap_max);
        if let FetchErrorKind::RateLimited { retry_after } = kind {
            pause = pause.max(retry_after.filter(|after| *after <= RETRY_AFTER_WITHIN_FETCH_MAX)?);
        }
        let at = now.after(pause);
        (at < fetch.started?.after(self.policy.total_timeout)).then_some(at)
    }

    /// The fetch may not go on: what it last heard is its error, and if it heard nothing, nothing was learned.
    fn give_up(&mut self, now: Boot) {
        match self.fetch.as_mut().and_then(|fetch| fetch.error.take()) {
            Some(error) => self.end_failed(now, error),
            None => {
                self.fetch = None;
                self.confirming_failed(now);
                self.backoff.postpone(now.after(BACKOFF_MIN));
            }
        }
    }

    fn end_failed(&mut self, now: Boot, error: FetchError) {
        self.fetch = None;
        self.counters.failed += 1;
        self.confirming_failed(now);
        let random = self.random.f64();
        self.backoff.failed(now, error, self.held.as_ref().map(|held| &held.schedule), random);
    }

    /// The token's life was over as it arrived (TL-14).
    fn uncacheable(&mut self, now: Boot, fetch: &Fetch, same: bool) -> Adopted {
        if same {
            // The newest word about the held token is that it is over.
            if fetch.cause == Cause::Rejection {
                self.guard.same_token(now);
            }
            self.expire(now);
        } else {
            self.confirming_failed(now);
        }
        self.uncacheable += 1;
        if self.uncacheable > UNCACHEABLE_MAX {
            let text = "the token endpoint keeps granting tokens whose lifetime is over as they arrive; \
                        check its clock, and what it calls the lifetime";
            self.end_failed(now, transient(Reached::Answered, text));
            return Adopted::Failed;
        }
        self.counters.granted += 1;
        self.backoff.succeeded(now.after(UNCACHEABLE_PAUSE));
        Adopted::Uncacheable(if same { self.generation_held() } else { self.next_generation() })
    }

    fn expire(&mut self, now: Boot) {
        if let Some(held) = &mut self.held {
            let schedule = &mut held.schedule;
            for deadline in [&mut schedule.soft, &mut schedule.late, &mut schedule.dead, &mut schedule.expiry] {
                *deadline = (*deadline).min(now);
            }
            held.suspicion = Suspicion::None;
        }
    }

    fn generation_held(&self) -> Generation {
        self.held.as_ref().map_or(self.generation, |held| held.generation)
    }

    pub(super) fn next_generation(&mut self) -> Generation {
        self.generation = Generation(self.generation.0 + 1);
        self.generation
    }
}

impl Held {
    /// The same token came again, with this news of its life (TL-36). `dated`: the answer named a lifetime.
    fn again(&mut self, now: Boot, news: Held, dated: bool) {
        self.suspicion = Suspicion::None;
        let (old, new) = (self.schedule.expiry, news.schedule.expiry);
        let moved = old.since(new).max(new.since(old));
        let least = EXPIRY_MOVED_MIN.max(self.facts.lifetime.unwrap_or_default() / 100);
        let unmoved = old < Boot::NEVER && (!dated || moved < least);
        if !unmoved || self.schedule.dead <= now {
            *self = Held { generation: self.generation, obtained: self.obtained, ..news };
            return;
        }
        let half = self.schedule.dead.since(now) / 2;
        let next = now.after(half.max(schedule::pause_min(self.facts.lifetime)));
        self.schedule.soft = self.schedule.soft.max(next).min(self.schedule.dead);
    }
}

fn transient(reached: Reached, text: &str) -> FetchError {
    FetchError { kind: FetchErrorKind::Transient, reached, code: None, text: Arc::from(text) }
}
