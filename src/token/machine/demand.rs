//! Who wants a token: requests, and the passing of time.

use super::constants::{NEXT_TRY_WAIT_MAX, RETRY_AFTER_RUNNING};
use super::rejection::Suspicion;
use super::{Cause, Machine};
use crate::clock::Boot;
use crate::token::TokenUnavailable;

/// What a request does that wants a token.
#[derive(Debug, Clone)]
pub enum Asked {
    /// Take the held token.
    Take,
    /// Wait for the fetch in flight, then ask again.
    Join,
    /// Wait until then, and ask again.
    WaitUntil(Boot),
    Fail(TokenUnavailable),
}

impl Machine {
    /// A request wants a token; it may wait until `deadline`. The second value says whether to begin a fetch.
    pub fn request(&mut self, now: Boot, deadline: Boot) -> (Asked, bool) {
        if self.usable(now) || self.stale_usable(now) {
            return (Asked::Take, self.renew(now));
        }
        if let Some(fetch) = &self.fetch {
            // A probe is made for itself; requests keep failing fast meanwhile (TL-26).
            let asked = if fetch.probe { Asked::Fail(self.unavailable(now)) } else { Asked::Join };
            return (asked, false);
        }
        if self.begin(now, Cause::Demand) {
            return (Asked::Join, true);
        }
        let next = self.next_start();
        let due_soon = next <= now.after(NEXT_TRY_WAIT_MAX) && next <= deadline;
        let asked = if due_soon && !self.backoff.refused() {
            Asked::WaitUntil(next)
        } else {
            Asked::Fail(self.unavailable(now))
        };
        (asked, false)
    }

    /// The held token is being taken: whether to begin a background refresh (TL-22).
    pub fn renew(&mut self, now: Boot) -> bool {
        let begun = self.wanted(now) && self.begin(now, self.cause(now));
        self.note_late(now);
        begun
    }

    /// Time has passed. `active_until` is how long the credential is kept warm; `None`: not at all (TL-29). Returns whether
    /// to begin a fetch.
    pub fn tick(&mut self, now: Boot, active_until: Option<Boot>) -> bool {
        let active = active_until.is_some_and(|until| now <= until);
        let warm = self.warm_at.is_some_and(|at| at <= now);
        let begun = (active || warm) && self.wanted(now) && self.begin_untended(now);
        self.note_late(now);
        begun
    }

    /// When to call [`Machine::tick`] next, if nothing else happens.
    pub fn wake_at(&self, now: Boot, active_until: Option<Boot>) -> Option<Boot> {
        let start = if self.fetch.is_some() {
            None
        } else {
            let wanted = if self.wanted(now) { now } else { self.held.as_ref().map_or(now, |held| held.schedule.soft) };
            let start = wanted.max(self.next_start());
            // Whether anybody used the token is looked at then, not now.
            let kept = (start > now || active_until.is_some_and(|until| now <= until)).then_some(start);
            let warm = self.warm_at.map(|at| at.max(self.next_start()));
            kept.into_iter().chain(warm).min()
        };
        let late = self.held.as_ref().filter(|held| !held.late_seen && self.renewing()).map(|held| held.schedule.late);
        start.into_iter().chain(late).filter(|at| *at < Boot::NEVER).min()
    }

    /// Until when a request may take the held token without asking the machine; `None`: not at all.
    pub fn easy_until(&self, now: Boot) -> Option<Boot> {
        let held = self.held.as_ref().filter(|held| now < held.schedule.dead)?;
        if self.fetch.is_some() {
            return Some(held.schedule.dead);
        }
        let due = if held.suspicion == Suspicion::Unconfirmed { now } else { held.schedule.soft };
        Some(due.max(self.next_start()).min(held.schedule.dead))
    }

    /// Why there is no token, and when to come back.
    pub fn unavailable(&self, now: Boot) -> TokenUnavailable {
        let error = self.backoff.error().cloned();
        match error {
            Some(error) if error.kind.is_lasting() => TokenUnavailable::Refused { error },
            error => {
                let next = if self.fetch.is_some() { Boot::default() } else { self.next_start() };
                TokenUnavailable::Temporarily { error, retry_after: next.since(now).max(RETRY_AFTER_RUNNING) }
            }
        }
    }

    /// Whether a new token would be of use: there is none, or it is time to renew it.
    fn wanted(&self, now: Boot) -> bool {
        self.held.as_ref().is_none_or(|held| held.schedule.soft <= now || held.suspicion == Suspicion::Unconfirmed)
    }

    /// A request has waited as long as it may: an expired token may stand in if that was asked for (TL-24).
    pub fn waited_enough(&self, now: Boot) -> Asked {
        if self.usable(now) || self.stale_allowed(now) { Asked::Take } else { Asked::Fail(self.unavailable(now)) }
    }

    /// Whether an expired token stands in because none can be had (TL-24).
    fn stale_usable(&self, now: Boot) -> bool {
        self.backoff.error().is_some() && self.stale_allowed(now)
    }

    fn stale_allowed(&self, now: Boot) -> bool {
        let stale = self.policy.stale_if_error;
        let in_time = |held: &super::Held| now < held.schedule.expiry.after(stale);
        !stale.is_zero() && self.held.as_ref().is_some_and(in_time)
    }

    /// What a fetch is counted as that begins now. One for a dead token is owed to nobody's rejection.
    pub(super) fn cause(&self, now: Boot) -> Cause {
        let unconfirmed = self.held.as_ref().is_some_and(|held| held.suspicion == Suspicion::Unconfirmed);
        if unconfirmed && self.usable(now) { Cause::Rejection } else { Cause::Demand }
    }

    /// Begins a fetch that no request asked for.
    fn begin_untended(&mut self, now: Boot) -> bool {
        let begun = self.begin(now, self.cause(now));
        let probe = self.backoff.refused();
        if let Some(fetch) = self.fetch.as_mut().filter(|_| begun) {
            fetch.probe = probe;
        }
        begun
    }

    /// Somebody tries to renew the token. An idle one grows late without anybody minding.
    fn renewing(&self) -> bool {
        self.fetch.is_some() || self.backoff.error().is_some()
    }

    /// Notices once per token that it is late (TL-23).
    fn note_late(&mut self, now: Boot) {
        let renewing = self.renewing();
        if let Some(held) = &mut self.held
            && renewing
            && held.schedule.late <= now
            && !held.late_seen
        {
            held.late_seen = true;
            self.counters.late += 1;
        }
    }
}
