//! What a rejection by the upstream starts: suspicion of one generation, and the guard that bounds it.

use std::time::Duration;

use super::constants::{GUARD_BASE, GUARD_MAX, NEXT_TRY_WAIT_MAX, WAIT_MAX, YOUNG_MAX};
use super::{Cause, Machine};
use crate::clock::Boot;
use crate::token::Generation;

/// Whether a token is under suspicion (TL-40, TL-41).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    None,
    /// A fetch that confirms it is in flight.
    Confirming {
        since: Boot,
    },
    /// Confirming failed, or could not begin: it is tried again until it succeeds.
    Unconfirmed,
}

/// Bounds the fetches that rejections cause. It counts fetches, never rejections (TL-43).
#[derive(Debug, Default)]
pub struct Guard {
    /// Until then rejections start no fetch.
    until: Boot,
    /// Fetches in a row that proved nothing.
    strikes: u32,
    /// The token whose replays have yet to show that the last fetch was worth it.
    trial: Option<Generation>,
}

/// What becomes of a rejected request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send it again with the held token.
    Replay,
    /// The upstream's own answer.
    PassThrough,
    /// Wait for the fetch in flight: if it brings a different token, replay, else pass through.
    Join,
    /// Ask again then.
    WaitUntil(Boot),
}

/// A rejected request. All that the machine knows of it.
#[derive(Debug, Clone, Copy)]
pub struct Rejection {
    pub sent: Generation,
    pub can_replay: bool,
    /// Until when it may wait.
    pub deadline: Boot,
    /// It waited already for a try to come due.
    pub again: bool,
}

impl Guard {
    /// A confirming fetch brought the same token, or one that no replay has proved yet.
    fn strike(&mut self, now: Boot) {
        if now > self.until.after(GUARD_MAX) {
            self.strikes = 0;
        }
        self.until = now.after((GUARD_BASE * 2u32.pow(self.strikes.min(8))).min(GUARD_MAX));
        self.strikes += 1;
        self.trial = None;
    }

    /// A confirming fetch brought the same token.
    pub fn same_token(&mut self, now: Boot) {
        self.strike(now);
    }

    /// A confirming fetch brought a different token. Until a replay with it is accepted, it proved nothing.
    pub fn on_trial(&mut self, now: Boot, generation: Generation) {
        self.strike(now);
        self.trial = Some(generation);
    }

    /// A replay with this token was accepted.
    fn accepted(&mut self, generation: Generation) {
        if self.trial == Some(generation) {
            *self = Guard::default();
        }
    }
}

impl Machine {
    /// The upstream rejected a request. The second value says whether to begin a fetch.
    pub fn rejected(&mut self, now: Boot, rejection: Rejection) -> (Verdict, bool) {
        let join = if rejection.can_replay { Verdict::Join } else { Verdict::PassThrough };
        let Some(held) = &self.held else {
            return (if self.fetch.is_some() { join } else { Verdict::PassThrough }, false);
        };
        if held.generation != rejection.sent {
            return (self.rejected_other(now, held.generation > rejection.sent, rejection.can_replay), false);
        }
        if !rejection.again {
            self.counters.rejections += 1;
        }
        if self.fetch.is_some() {
            self.suspect(now);
            return (join, false);
        }
        if !self.may_confirm(now) {
            return (Verdict::PassThrough, false);
        }
        self.suspect(now);
        // A dead token would be fetched anew anyway: that is nothing for the guard to count.
        let cause = if self.usable(now) { Cause::Rejection } else { Cause::Demand };
        if self.begin(now, cause) {
            return (join, true);
        }
        // Backing off: the fetch that comes anyway will confirm.
        self.suspect_unconfirmed();
        let next = self.next_start();
        let worth_waiting = rejection.can_replay && next <= now.after(NEXT_TRY_WAIT_MAX) && next <= rejection.deadline;
        (if worth_waiting { Verdict::WaitUntil(next) } else { Verdict::PassThrough }, false)
    }

    /// A token that is not the held one was rejected: replaced already (TL-42), or never cached (TL-14).
    fn rejected_other(&self, now: Boot, replaced: bool, can_replay: bool) -> Verdict {
        match (can_replay, replaced && self.usable(now)) {
            (true, true) => Verdict::Replay,
            (true, false) if self.fetch.is_some() => Verdict::Join,
            _ => Verdict::PassThrough,
        }
    }

    /// After a fetch that a rejected request joined: whether there is another token to replay with.
    pub fn replaced(&self, now: Boot, sent: Generation) -> bool {
        self.held.as_ref().is_some_and(|held| held.generation > sent) && self.usable(now)
    }

    /// How a replay went (TL-43).
    pub fn replayed(&mut self, generation: Generation, accepted: bool) {
        if accepted {
            self.counters.replays_accepted += 1;
            self.guard.accepted(generation);
        }
    }

    /// Whether the held token is suspect now.
    pub fn suspected(&self, now: Boot) -> bool {
        match self.held.as_ref().map(|held| held.suspicion) {
            Some(Suspicion::Confirming { since }) => now.since(since) <= WAIT_MAX,
            Some(Suspicion::Unconfirmed) => true,
            Some(Suspicion::None) | None => false,
        }
    }

    /// Whether a rejection of the held token may start a fetch (TL-43).
    fn may_confirm(&self, now: Boot) -> bool {
        let Some(held) = &self.held else { return false };
        let young = held.facts.lifetime.map_or(YOUNG_MAX, |lifetime: Duration| YOUNG_MAX.min(lifetime / 10));
        let unconfirmed = held.suspicion == Suspicion::Unconfirmed;
        unconfirmed || !self.usable(now) || (now >= self.guard.until && now.since(held.obtained) >= young)
    }

    fn suspect(&mut self, now: Boot) {
        let suspected = self.suspected(now);
        if let Some(held) = &mut self.held
            && !suspected
        {
            held.suspicion = Suspicion::Confirming { since: now };
        }
    }

    pub(super) fn suspect_unconfirmed(&mut self) {
        if let Some(held) = &mut self.held {
            held.suspicion = Suspicion::Unconfirmed;
        }
    }

    /// A fetch failed: a suspicion that was being confirmed stays until one succeeds, unless its time was over (TL-41).
    pub(super) fn confirming_failed(&mut self, now: Boot) {
        let suspected = self.suspected(now);
        if let Some(held) = &mut self.held {
            held.suspicion = if suspected { Suspicion::Unconfirmed } else { Suspicion::None };
        }
    }
}
