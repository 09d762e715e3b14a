//! What cells share that fetch from the same place: turns at a token endpoint's origin, and being held back there.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use tokio::sync::oneshot;

use super::machine::constants::FETCHES_PER_ORIGIN_MAX;
use crate::clock::Boot;

/// All endpoints of the process. Bounded by what is declared: what no cell uses is forgotten.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    gates: DashMap<Box<str>, Arc<Gate>>,
    holds: DashMap<(Box<str>, Box<str>), Arc<Hold>>,
}

/// Until when a client is held back at an origin (TL-33).
#[derive(Debug, Default)]
pub(super) struct Hold(AtomicU64);

/// Lets so many fetches at once to one origin, those with waiters first (TL-34).
#[derive(Debug, Default)]
pub(super) struct Gate {
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    inside: usize,
    queue: VecDeque<Queued>,
}

#[derive(Debug)]
struct Queued {
    /// How many requests wait for this fetch; it changes while it is queued.
    waiting: Arc<AtomicUsize>,
    turn: oneshot::Sender<Turn>,
}

/// A turn at an origin; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn(Arc<Gate>);

impl Endpoints {
    pub(super) fn gate(&self, origin: &str) -> Arc<Gate> {
        self.gates.entry(origin.into()).or_default().clone()
    }

    pub(super) fn hold(&self, client_id: &str, origin: &str) -> Arc<Hold> {
        self.holds.entry((client_id.into(), origin.into())).or_default().clone()
    }

    /// Forgets what no cell uses and what holds nobody back any more.
    pub(super) fn prune(&self, now: Boot) {
        self.gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        self.holds.retain(|_, hold| Arc::strong_count(hold) > 1 || hold.until() > now);
    }
}

impl Hold {
    pub(super) fn until(&self) -> Boot {
        Boot::from_nanos(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn extend(&self, until: Boot) {
        self.0.fetch_max(until.as_nanos(), Ordering::Relaxed);
    }
}

impl Gate {
    /// Waits for a turn.
    pub(super) async fn enter(self: &Arc<Self>, waiting: Arc<AtomicUsize>) -> Turn {
        let receiver = {
            let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
            if line.inside < FETCHES_PER_ORIGIN_MAX {
                line.inside += 1;
                return Turn(self.clone());
            }
            let (turn, receiver) = oneshot::channel();
            line.queue.push_back(Queued { waiting, turn });
            receiver
        };
        receiver.await.expect("a queued fetch gets its turn before the gate is dropped, since it holds the gate")
    }

    fn leave(self: &Arc<Self>) {
        let next = {
            let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
            // Those whose fetch is gone (its runtime ended) need no turn.
            line.queue.retain(|queued| !queued.turn.is_closed());
            let urgent = line.queue.iter().position(|queued| queued.waiting.load(Ordering::Relaxed) > 0);
            let next = line.queue.remove(urgent.unwrap_or(0));
            if next.is_none() {
                line.inside -= 1;
            }
            next
        };
        if let Some(next) = next {
            // Sent without the lock: a turn that nobody takes is dropped, and leaves again.
            drop(next.turn.send(Turn(self.clone())));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.leave();
    }
}
