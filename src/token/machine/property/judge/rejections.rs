//! The judge's own account of rejections: whether the held token is suspect, and what the guard lets through (TL-40 to
//! TL-43).

use std::time::Duration;

use super::{Judge, secs};
use crate::clock::Boot;
use crate::token::machine::Verdict;

/// How long a fetch may take to confirm a rejection (TL-41).
const CONFIRMED_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Suspicion {
    #[default]
    None,
    /// It was rejected then, and the fetch in flight is to confirm that.
    Since(Boot),
    /// Confirming failed or could not begin: a fetch is owed, until one succeeds.
    Owed,
}

impl Suspicion {
    fn stands(self, now: Boot) -> bool {
        match self {
            Suspicion::None => false,
            Suspicion::Since(since) => now.since(since) <= CONFIRMED_WITHIN,
            Suspicion::Owed => true,
        }
    }

    /// The token is rejected while a fetch is in flight, or begins for it.
    fn rejected(&mut self, now: Boot) {
        if !self.stands(now) {
            *self = Suspicion::Since(now);
        }
    }

    /// A fetch ended and said nothing about the token.
    fn not_confirmed(&mut self, now: Boot) {
        *self = if self.stands(now) { Suspicion::Owed } else { Suspicion::None };
    }
}

impl Judge {
    /// The held token is rejected. Returns whether a fetch has to begin for that: TL-40, within what TL-43 allows.
    pub(in crate::token::machine::property) fn rejects(&mut self, now: Boot) -> bool {
        if self.fetch.is_some() {
            self.suspicion.rejected(now);
            return false;
        }
        let token = self.token.expect("a token that is rejected was granted");
        let young = token.lifetime.map_or(secs(10), |lifetime| secs(10).min(lifetime / 10));
        let guarded = now < self.guard_until || now.since(token.got) < young;
        if guarded && self.usable(now) && self.suspicion != Suspicion::Owed {
            return false;
        }
        let backing_off = now < self.not_before.max(self.hold);
        if backing_off {
            self.suspicion = Suspicion::Owed;
        } else {
            self.suspicion.rejected(now);
        }
        !backing_off
    }

    /// A token that was replaced is rejected (TL-42).
    pub(in crate::token::machine::property) fn rejects_replaced(
        &mut self,
        now: Boot,
        can_replay: bool,
        verdict: Verdict,
        begins: bool,
    ) {
        assert!(!begins, "a rejection of a token that was replaced begins a fetch");
        if can_replay && self.usable(now) {
            assert_eq!(verdict, Verdict::Replay, "a token that was replaced is rejected");
            self.note("rejected: replaced already");
        }
    }

    /// Whether the held token is suspect.
    pub(in crate::token::machine::property) fn suspects(&self, now: Boot) -> bool {
        self.suspicion.stands(now)
    }

    /// When the fetch is due that has to confirm a rejection, if one is owed (TL-41).
    pub(in crate::token::machine::property) fn owes_a_fetch(&self) -> Option<Boot> {
        let owed = self.fetch.is_none() && self.suspicion == Suspicion::Owed;
        owed.then_some(self.not_before.max(self.hold))
    }

    /// A fetch ended and said nothing about the token.
    pub(super) fn not_confirmed(&mut self, now: Boot) {
        if self.suspicion != Suspicion::None && !self.suspicion.stands(now) {
            self.note("suspicion over");
        }
        self.suspicion.not_confirmed(now);
    }

    pub(super) fn strike(&mut self, now: Boot) {
        if now > self.guard_until.after(secs(300)) {
            self.strikes = 0;
        }
        self.guard_until = now.after((secs(30) * (1 << self.strikes.min(5))).min(secs(300)));
        self.strikes += 1;
    }

    pub(in crate::token::machine::property) fn replayed(&mut self, value: u64, accepted: bool) {
        self.note(if accepted { "replay accepted" } else { "replay rejected" });
        if accepted && self.trial == Some(value) {
            (self.guard_until, self.strikes, self.trial) = (Boot::default(), 0, None);
        }
    }
}
