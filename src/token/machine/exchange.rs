//! Exchanges of a refresh token, each of which may be its only use (TL-52), and beginning where another process ended.

use std::time::Duration;

use super::constants::SOFT_SPREAD_MIN;
use super::{Facts, Held, Machine};
use crate::clock::Boot;
use crate::token::{FetchError, FetchErrorKind, Generation};

/// Whether it is known what became of the last exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Doubt {
    #[default]
    None,
    /// It may have been carried out: the same refresh token is tried once more.
    Once,
    /// So may the second one: it is in doubt, and from now on each fetch tries once.
    Twice,
}

/// An attempt that may have used up a refresh token.
#[derive(Debug, Clone, Copy)]
pub struct Exchanged {
    named: bool,
}

/// What a store kept of a token's life.
#[derive(Debug)]
pub struct Restored {
    pub token: Option<RestoredToken>,
    /// An exchange had begun whose end was not stored (TL-55).
    pub exchanging: bool,
    /// Why the refresh token is of no more use (TL-27).
    pub needs_reauthorization: Option<FetchError>,
    /// The client proves itself as it did then (TL-03).
    pub same_proof: bool,
}

/// An access token that another process was granted.
#[derive(Debug, Clone, Copy)]
pub struct RestoredToken {
    /// How long ago it was asked for.
    pub age: Duration,
    pub lifetime: Option<Duration>,
    pub refresh_in: Option<Duration>,
}

impl Machine {
    /// Begins where another process ended, before anything else happens. Returns the generation of the restored token, if
    /// it is of use still.
    pub fn restore(&mut self, now: Boot, restored: Restored) -> Option<Generation> {
        if restored.exchanging {
            self.doubt = Doubt::Once;
            self.warm_at = Some(now);
        }
        // As a reload with another proof, a restart with one forgets a refusal.
        if let Some(error) = restored.needs_reauthorization.filter(|_| restored.same_proof) {
            self.backoff.failed(now, error, None, 0.0);
        }
        let RestoredToken { age, lifetime, refresh_in } = restored.token?;
        let spread = SOFT_SPREAD_MIN + (1.0 - SOFT_SPREAD_MIN) * self.random.f64();
        let facts = Facts { since: now, age, lifetime, refresh_in, last: false, spread };
        let mut held = Held::new(self.generation, facts, &self.policy, now.before(age));
        if held.schedule.dead <= now {
            return None;
        }
        held.generation = self.next_generation();
        self.last_lifetime = lifetime;
        self.held = Some(held);
        if restored.exchanging || !restored.same_proof {
            self.soften(now);
        }
        if !restored.exchanging {
            self.warm_at = None;
        }
        Some(self.generation)
    }

    /// The held token is for something that nobody wants any more. What was refused was asked for with it.
    pub fn discard(&mut self) {
        self.held = None;
        if !self.backoff.needs_reauthorization() {
            self.backoff.forget_refusal();
        }
    }

    /// The attempt is an exchange of a refresh token, and bytes of it may have been sent. `named`: it was answered with an error
    /// of some name, so that it was not carried out.
    pub fn exchange_sent(&mut self, named: bool) {
        if let Some(fetch) = &mut self.fetch {
            fetch.exchanged = Some(Exchanged { named });
        }
    }

    /// An exchange was answered with a token, though it is for something that nobody wants any more: nothing is in doubt.
    pub fn exchange_answered(&mut self) {
        self.doubt = Doubt::None;
    }

    /// Whether the last exchange may have been carried out without an answer of which we know.
    pub fn doubtful(&self) -> bool {
        self.doubt != Doubt::None
    }

    /// Whether what a fetch does next can be put off: the held token serves, and nobody waits for another one.
    pub fn can_wait(&self, now: Boot) -> bool {
        self.usable(now) && !self.suspected(now)
    }

    /// When the fetch makes another exchange after this failure of one that was sent: once, and at once, if its outcome is
    /// ambiguous. Servers that detect reuse revoke what a token belongs to when it is used too often.
    pub(super) fn retry_exchange(&mut self, now: Boot, error: &FetchError) -> Option<Boot> {
        let fetch = self.fetch.as_ref()?;
        if error.kind.is_refusal() {
            return (fetch.proof != self.proof).then_some(now);
        }
        if error.kind != FetchErrorKind::Transient || fetch.exchanged.is_none_or(|exchanged| exchanged.named) {
            return None;
        }
        let again = self.doubt == Doubt::None;
        self.doubt = if again { Doubt::Once } else { Doubt::Twice };
        (again && now < fetch.started?.after(self.policy.total_timeout)).then_some(now)
    }
}
