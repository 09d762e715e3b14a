//! What is special about the cell of a subject: it goes when it is forgotten, shares refusals with others of its credential, and
//! what it takes of memory is counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Inner, TokenCell};
use crate::clock::Boot;
use crate::token::cache::Shared;
use crate::token::machine::constants::SUBJECT_BYTES;
use crate::token::store::Version;
use crate::token::subjects::{Closed, Spent};
use crate::token::{FetchError, FetchErrorKind, Identity, Source, Subjects};

impl TokenCell {
    /// The cell of one subject, which is used now. It goes when it is forgotten.
    pub(in crate::token) fn of_subject(
        shared: &Arc<Shared>,
        identity: Identity,
        subjects: &Arc<Subjects>,
        source: Arc<dyn Source>,
    ) -> Arc<Self> {
        let (proof, policy, version) = (subjects.proof, subjects.policy.clone(), Version::default());
        let cell = TokenCell::make(shared, identity, Some(subjects.clone()), version, proof, policy, source);
        cell.note_use(shared.clock.now());
        cell.weigh(&cell.lock());
        cell
    }

    /// A subject's cell is used, perhaps for the first time after a reload: the token that it has serves until one is fetched
    /// as the credential is declared now (TL-03, TL-04). `source`: as these `subjects` have it, which may be an older snapshot's.
    pub(in crate::token) fn keep_up_with(
        self: &Arc<Self>,
        subjects: &Subjects,
        source: impl FnOnce() -> Arc<dyn Source>,
    ) {
        let (declaration, known) = (subjects.declaration, self.declaration.load(Ordering::Relaxed));
        if known == declaration && self.spent.load(Ordering::Relaxed) {
            self.update(|inner, now| {
                // Another one may have come first, with what a later snapshot has.
                if self.declaration.load(Ordering::Relaxed) != declaration || !self.spent.load(Ordering::Relaxed) {
                    return;
                }
                inner.machine.set_closed(Boot::default());
                // Before the next try it would be held for nothing.
                if inner.machine.next_start() <= now {
                    inner.source = source();
                    self.spent.store(false, Ordering::Relaxed);
                }
            });
        } else if known < declaration && self.declaration.fetch_max(declaration, Ordering::Relaxed) < declaration {
            self.declare_again(subjects.proof, subjects.policy.clone(), source());
            // The request has read the clock before a new proof made the token soft, and would not renew it.
            drop(self.ready());
        }
    }

    /// Whose it is one of, if it is a subject's.
    pub(in crate::token) fn subjects(&self) -> Option<&Arc<Subjects>> {
        self.subjects.as_ref()
    }

    /// Why no fetch may begin for a subject now: neither for want of a token, nor to renew or confirm one.
    pub(super) fn closed(&self, inner: &Inner, now: Boot) -> Option<Closed> {
        self.subjects.as_ref()?.closed(now, &self.shared, inner.machine.error())
    }

    /// Nothing is had for the subject's own token, and nothing of what was had serves: that token is not held any longer.
    pub(super) fn forget_subject_token(&self, inner: &mut Inner, now: Boot) {
        if self.subjects.is_some() && inner.machine.easy_until(now).is_none() {
            inner.source = Arc::new(Spent::of(&*inner.source));
            self.spent.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it has a token, usable or not, or a time before which it must not ask.
    pub(in crate::token) fn is_worth_keeping(&self) -> bool {
        let inner = self.lock();
        let is_limited = |error: &FetchError| matches!(error.kind, FetchErrorKind::RateLimited { .. });
        inner.token.is_some() || inner.machine.error().is_some_and(is_limited)
    }

    /// Counts what a subject's cell takes of memory.
    pub(super) fn weigh(&self, inner: &Inner) {
        if self.subjects.is_some() {
            let token = inner.token.as_ref().map_or(0, |token| token.bytes());
            let bytes = SUBJECT_BYTES + inner.source.subject_bytes() + token;
            let before = self.bytes.swap(bytes, Ordering::Relaxed);
            self.shared.subject_bytes.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
        }
    }
}
