//! When a token turns soft, late and dead.

use std::time::Duration;

use super::constants::{
    BACKOFF_MIN, DEAD_BEFORE_MAX, LATE_BEFORE_MAX, SAME_TOKEN_PAUSE_MIN, SOFT_WITHOUT_LIFETIME, WINDOW_MAX,
};
use crate::clock::Boot;
use crate::token::Policy;

/// What was said of a token when it was granted; its schedule follows from this and the policy.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// t0: the instant before the request was sent.
    pub since: Boot,
    /// How much of its life was over then: that of a restored token. Boot time may be shorter than a token's life.
    pub age: Duration,
    /// L; `None`: unknown (TL-13).
    pub lifetime: Option<Duration>,
    pub refresh_in: Option<Duration>,
    /// Nothing lives longer: it is not renewed before it is over.
    pub last: bool,
    /// The random part of W, drawn once per token.
    pub spread: f64,
}

/// The deadlines of one token, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    pub soft: Boot,
    pub late: Boot,
    pub dead: Boot,
    pub expiry: Boot,
}

impl Facts {
    /// The deadlines that follow.
    pub fn schedule(&self, policy: &Policy) -> Schedule {
        let Some(lifetime) = self.lifetime else {
            let unasked = (!policy.single_active).then_some(SOFT_WITHOUT_LIFETIME);
            let soft = self
                .refresh_in
                .or(unasked)
                .map(|after| self.since.after(after.max(SAME_TOKEN_PAUSE_MIN).saturating_sub(self.age)));
            let soft = soft.unwrap_or(Boot::NEVER);
            return Schedule { soft, late: Boot::NEVER, dead: Boot::NEVER, expiry: Boot::NEVER };
        };
        let expiry = self.since.after(lifetime.saturating_sub(self.age));
        let late = expiry.before(LATE_BEFORE_MAX.min(lifetime / 10));
        let dead = expiry.before(DEAD_BEFORE_MAX.min(lifetime / 20));
        if self.last {
            return Schedule { soft: dead, late: dead, dead, expiry };
        }
        let window = self.window(lifetime, policy.refresh_before);
        // A window close to L must not make a token soft as it arrives: it would be renewed without a pause.
        let soft = expiry.before(window.mul_f64(self.spread)).max(self.since.after(pause_min(Some(lifetime))));
        Schedule { soft: soft.min(late), late, dead, expiry }
    }

    /// W. One that is as long as the token's life says nothing about when to renew, and the next rule holds.
    fn window(&self, lifetime: Duration, refresh_before: Option<Duration>) -> Duration {
        let asked = self.refresh_in.filter(|after| *after < lifetime).map(|after| lifetime - after);
        refresh_before.filter(|before| *before < lifetime).or(asked).unwrap_or_else(|| (lifetime / 4).min(WINDOW_MAX))
    }
}

/// The least time between a success and the next try, where nothing else keeps them apart (TL-36).
pub fn pause_min(lifetime: Option<Duration>) -> Duration {
    let part = lifetime.map_or(SAME_TOKEN_PAUSE_MIN, |lifetime| lifetime / 20);
    SAME_TOKEN_PAUSE_MIN.min(BACKOFF_MIN.max(part))
}
