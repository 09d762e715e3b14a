//! How a cell comes to be, and what becomes of it when a reload declares it again, or no more.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
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

    pub(super) fn make(
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
            spent: AtomicBool::new(false),
            bytes: AtomicUsize::new(0),
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
            self.spent.store(false, Ordering::Relaxed);
            inner.window_warned = false;
            inner.machine.set_policy(now, policy);
            if std::mem::replace(&mut inner.proof, proof) != proof {
                inner.machine.proof_changed(now);
            }
        });
        self.locate();
        self.changed.notify_one();
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
