//! How a cell comes to be, and what becomes of it when a reload declares it again, or no more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::{Inner, Stored, TokenCell, tending};
use crate::token::cache::Shared;
use crate::token::endpoint::Gate;
use crate::token::machine::Machine;
use crate::token::store::Version;
use crate::token::{Identity, Policy, ProofVersion, Source, Subjects};

impl TokenCell {
    /// A new cell, with its tending task on the control runtime. It goes on with what the store has of it.
    pub(in crate::token) fn new(
        shared: &Arc<Shared>,
        identity: Identity,
        stored: Stored,
        proof: ProofVersion,
        policy: Policy,
        source: Arc<dyn Source>,
    ) -> Arc<Self> {
        let cell = TokenCell::make(shared, identity, None, stored.version(), proof, policy, source);
        cell.restore(stored);
        shared.control.spawn(tending::tend(Arc::downgrade(&cell), cell.changed.clone()));
        cell
    }

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
        cell
    }

    fn make(
        shared: &Arc<Shared>,
        identity: Identity,
        subjects: Option<Arc<Subjects>>,
        version: Version,
        proof: ProofVersion,
        policy: Policy,
        source: Arc<dyn Source>,
    ) -> Arc<Self> {
        let now = shared.clock.now();
        Arc::new(TokenCell {
            name: ArcSwap::from_pointee(policy.name.clone()),
            identity,
            declaration: AtomicU64::new(subjects.as_ref().map_or(0, |subjects| subjects.declaration)),
            subjects,
            shared: shared.clone(),
            published: ArcSwapOption::empty(),
            // A token that is fetched at start is meant to be kept (TL-29).
            used: AtomicU64::new(if policy.warm { now.as_nanos() } else { 0 }),
            waiting: Arc::default(),
            changed: Arc::default(),
            writer: fastrand::u64(1..),
            entry: tokio::sync::Mutex::new(version),
            inner: Mutex::new(Inner {
                token: None,
                granted: None,
                refresh_token: source.seed().cloned(),
                claims: None,
                exchange: None,
                unsaved: false,
                flight: None,
                ready_to_run: None,
                proof,
                keep_warm: policy.keep_warm,
                attach: policy.attach.clone(),
                gate: shared.endpoints.gate(&source.origin()),
                hold: shared.endpoints.hold(source.client_id(), &source.origin()),
                source,
                machine: Machine::new(policy, now, fastrand::u64(..)),
                retired: false,
                wake_at: None,
                late_logged: 0,
                trouble: None,
                window_warned: false,
            }),
        })
    }

    /// A reload declares the cell again, perhaps with another policy, proof or source (TL-03, TL-04).
    pub(in crate::token) fn declare_again(
        self: &Arc<Self>,
        proof: ProofVersion,
        policy: Policy,
        source: Arc<dyn Source>,
    ) {
        if policy.warm {
            self.note_use(self.shared.clock.now());
        }
        self.name.store(Arc::new(policy.name.clone()));
        self.update(|inner, now| {
            if inner.source.asks_for() != source.asks_for() {
                inner.discard();
            }
            inner.retired = false;
            inner.keep_warm = policy.keep_warm;
            if *inner.attach != *policy.attach {
                inner.attach = policy.attach.clone();
                inner.attach_anew();
            }
            inner.source = source;
            inner.window_warned = false;
            inner.machine.set_policy(now, policy);
            if std::mem::replace(&mut inner.proof, proof) != proof {
                inner.machine.proof_changed(now);
            }
        });
        self.locate();
        self.changed.notify_one();
    }

    /// A subject's cell is used, perhaps for the first time after a reload: the token that it has serves until one is fetched
    /// as the credential is declared now (TL-03, TL-04). `source`: as these `subjects` have it, which may be an older snapshot's.
    pub(in crate::token) fn keep_up_with(
        self: &Arc<Self>,
        subjects: &Subjects,
        source: impl FnOnce() -> Arc<dyn Source>,
    ) {
        let declaration = subjects.declaration;
        if self.declaration.load(Ordering::Relaxed) < declaration
            && self.declaration.fetch_max(declaration, Ordering::Relaxed) < declaration
        {
            self.declare_again(subjects.proof, subjects.policy.clone(), source());
            // The request has read the clock before a new proof made the token soft, and would not renew it.
            drop(self.ready());
        }
    }

    /// No snapshot declares the cell any more. A fetch in flight may finish.
    pub(in crate::token) fn retire(&self) {
        self.lock().retired = true;
        self.changed.notify_one();
    }

    /// Takes turns and holds of the endpoint's origin, which discovery may have found meanwhile. Between two events: the
    /// machine hears of a hold at the beginning of the next one.
    pub(super) fn locate(&self) -> Arc<Gate> {
        let mut inner = self.lock();
        let origin = inner.source.origin();
        inner.gate = self.shared.endpoints.gate(&origin);
        inner.hold = self.shared.endpoints.hold(inner.source.client_id(), &origin);
        inner.gate.clone()
    }
}
