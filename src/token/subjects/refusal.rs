//! What is known of a client that is refused whoever the subject is: one subject asks for all of them (TL-26).

use crate::clock::Boot;
use crate::token::machine::constants::{PROBE_BASE, PROBE_MAX};
use crate::token::{FetchError, FetchErrorKind, Identity, ProofVersion};

/// The endpoint refuses the client itself, whoever the subject is (TL-26).
#[derive(Debug)]
pub(super) struct Refusal {
    /// What is refused: another proof may not be (TL-03).
    proof: ProofVersion,
    count: u32,
    error: Option<FetchError>,
    /// When that was answered.
    at: Boot,
    /// Until when nobody asks for a subject; then one does for all.
    until: Boot,
    /// One did.
    probed: bool,
    /// Who was refused last, where nobody said whether it is the subject or the client that is.
    unclear: Option<Identity>,
    /// A token was granted with this proof.
    granted: bool,
}

impl Refusal {
    pub(super) fn none(proof: ProofVersion) -> Self {
        let (at, until) = (Boot::default(), Boot::default());
        Refusal { proof, count: 0, error: None, at, until, probed: false, unclear: None, granted: false }
    }

    /// A subject's fetch ended with this error.
    pub(super) fn note(&mut self, now: Boot, subject: Identity, error: &FetchError, proof: ProofVersion) {
        use FetchErrorKind::{RefusedForAll, RefusedUnclear, SubjectRefused};
        // Those that were under way together are one refusal, and one of an old proof says nothing.
        if proof != self.proof || self.error.is_some() && !self.probed {
            return;
        }
        let is_unclear = error.kind == RefusedUnclear;
        let concerns_all = match error.kind {
            RefusedForAll => true,
            // One subject's token explains one refusal. Two different ones in a row are the client's, until one is granted.
            RefusedUnclear => {
                let before = self.unclear.replace(subject);
                self.error.is_some() || before.is_some_and(|before| before != subject)
            }
            // Whoever says that of a subject has recognised the client.
            SubjectRefused if self.error.as_ref().is_none_or(|error| error.kind == RefusedUnclear) => {
                *self = Refusal { granted: self.granted, ..Refusal::none(proof) };
                false
            }
            _ => false,
        };
        if concerns_all {
            // A client that was recognised before is probably not what is refused: no more is at stake than a few seconds.
            let longest = if is_unclear && self.granted { PROBE_BASE } else { PROBE_MAX };
            self.until = now.after((PROBE_BASE * 2u32.pow(self.count.min(16))).min(longest));
            (self.count, self.error, self.at, self.probed) = (self.count + 1, Some(error.clone()), now, false);
        }
    }

    /// A token was granted.
    pub(super) fn recognised(&mut self) {
        *self = Refusal { granted: true, ..Refusal::none(self.proof) };
    }

    /// A fetch has begun. Where the client was refused, it is the one that asks for all.
    pub(super) fn probed(&mut self, now: Boot) {
        if self.error.is_some() {
            (self.until, self.probed) = (now.after(PROBE_BASE), true);
        }
    }

    /// What was answered after this.
    pub(super) fn since(&self, begun: Boot) -> Option<FetchError> {
        self.error.clone().filter(|_| self.at > begun)
    }

    /// Why, and until when, a subject does not ask whose own last fetch ended with this error. Where it may be the subject
    /// that is refused, another one asks first: twice as long is left to others.
    pub(super) fn holds(&self, now: Boot, own: Option<&FetchError>) -> Option<(Boot, FetchError)> {
        let error = self.error.as_ref()?;
        let is_unclear = |error: &FetchError| error.kind == FetchErrorKind::RefusedUnclear;
        let is_for_others = is_unclear(error) && own.is_some_and(is_unclear);
        let until = if is_for_others { self.until.after(self.until.since(self.at)) } else { self.until };
        (now < until).then(|| (until, error.clone()))
    }
}
