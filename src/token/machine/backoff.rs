//! When the next fetch may begin after one that failed.

use std::time::Duration;

use super::Schedule;
use super::constants::{
    BACKOFF_BASE, BACKOFF_MAX_DEAD, BACKOFF_MAX_WHILE_LATE, BACKOFF_MAX_WHILE_USABLE, BACKOFF_MIN, PROBE_BASE,
    PROBE_MAX,
};
use crate::clock::Boot;
use crate::token::{FetchError, FetchErrorKind};

/// The memory of failed fetches.
#[derive(Debug, Default)]
pub struct Backoff {
    /// n of TL-32.
    failures: u32,
    /// n of TL-26. Not reset by death: the account would be locked all the same.
    refusals: u32,
    last: Option<(Boot, FetchError)>,
    next_try: Boot,
}

impl Backoff {
    /// When the next fetch may begin.
    pub fn next_try(&self) -> Boot {
        self.next_try
    }

    /// Why the last fetch failed; `None` after a success.
    pub fn error(&self) -> Option<&FetchError> {
        self.last.as_ref().map(|(_, error)| error)
    }

    /// Whether the credential is refused (TL-26, TL-27).
    pub fn refused(&self) -> bool {
        self.error().is_some_and(|error| error.kind.is_lasting())
    }

    /// Whether nothing but another refresh token helps (TL-27).
    pub fn needs_reauthorization(&self) -> bool {
        self.error().is_some_and(|error| error.kind == FetchErrorKind::NeedsReauthorization)
    }

    /// A fetch succeeded; the next one begins no earlier than `next_try`.
    pub fn succeeded(&mut self, next_try: Boot) {
        *self = Backoff { next_try, ..Backoff::default() };
    }

    /// Nothing was learned about the endpoint: errors stay, the next fetch begins no earlier than `next_try`.
    pub fn postpone(&mut self, next_try: Boot) {
        self.next_try = self.next_try.max(next_try);
    }

    /// The client proves itself differently now: a refusal of the old proof says nothing (TL-03).
    pub fn forget_refusal(&mut self) {
        if let Some((at, error)) = &self.last
            && error.kind.is_lasting()
        {
            *self = Backoff { next_try: at.after(BACKOFF_MIN), ..Backoff::default() };
        }
    }

    /// A fetch failed. `random` is in 0..1.
    pub fn failed(&mut self, now: Boot, error: FetchError, token: Option<&Schedule>, random: f64) {
        let died =
            token.is_some_and(|token| token.dead <= now && self.last.as_ref().is_some_and(|(at, _)| *at < token.dead));
        if died {
            self.failures = 0;
        }
        let max = gap_max(now, token);
        let gap = if error.kind.is_refusal() {
            let gap = doubled(PROBE_BASE, self.refusals).min(PROBE_MAX);
            self.refusals += 1;
            let usable = token.is_some_and(|token| now < token.dead);
            if usable { gap.min(max.max(PROBE_BASE)) } else { gap }
        } else {
            doubled(BACKOFF_BASE, self.failures).mul_f64(0.5 + random / 2.0).min(max)
        };
        self.next_try = now.after(gap);
        if error.kind == FetchErrorKind::NeedsReauthorization {
            self.next_try = Boot::NEVER;
        } else if let Some(token) = token
            && now < token.late
            && !error.kind.is_refusal()
        {
            // A pause that began before the token was late does not hold when it is.
            self.next_try = self.next_try.min(token.late).max(now.after(BACKOFF_MIN));
        }
        self.failures += 1;
        self.last = Some((now, error));
    }
}

/// The longest pause between two tries now (TL-23, TL-32).
pub fn gap_max(now: Boot, token: Option<&Schedule>) -> Duration {
    let Some(token) = token.filter(|token| now < token.dead) else { return BACKOFF_MAX_DEAD };
    let quarter = token.dead.since(now) / 4;
    let max = if token.late <= now { BACKOFF_MAX_WHILE_LATE } else { BACKOFF_MAX_WHILE_USABLE };
    max.min(quarter).max(BACKOFF_MIN)
}

/// `base` x 2^n; n beyond 16 changes nothing, since every bound is below that.
fn doubled(base: Duration, n: u32) -> Duration {
    base * 2u32.pow(n.min(16))
}
