//! How many connections to upstreams there may be, over all workers (SEC-41), and how many of them one upstream may have, so
//! that a slow one does not take every other with it (SEC-45).
//!
//! Asked when a connection is opened and told when it is closed, never when one is used again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, futures::Notified, oneshot};

/// How long a request waits for a permit, and which part of the time that connecting may take: idle connections of other
/// workers make way in less, and so does what is about to end.
const WAIT_MAX: Duration = Duration::from_secs(1);
const WAIT_PART: u32 = 4;
/// The most requests that wait for one upstream.
const WAITING_PER_KEY_MAX: usize = 1024;

/// The connections to all upstreams, counted by their key, see [`super::Connector`].
#[derive(Debug)]
pub struct Bulkhead {
    state: Mutex<State>,
    /// Tells the workers that somebody waits.
    wanted: Notify,
    refused: AtomicU64,
    refusing: AtomicBool,
}

#[derive(Debug)]
struct State {
    max: usize,
    taken: usize,
    /// There is more than one key. One that is alone may have all.
    several: bool,
    keys: Vec<Key>,
}

#[derive(Debug, Default)]
struct Key {
    taken: usize,
    /// Oldest first.
    waiting: VecDeque<oneshot::Sender<Permit>>,
}

/// Leave for one connection, until it is dropped. `None`: it uses the reserved descriptors and counts against nothing.
#[derive(Debug)]
pub(super) struct Permit(Option<(Arc<Bulkhead>, usize)>);

/// Whose idle connections can make way for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MakesWay {
    Anyone,
    /// The upstream has all that one may have.
    ItsOwn,
}

/// Requests that wait for connections of one key.
#[derive(Debug)]
pub(super) struct Want {
    pub(super) slot: usize,
    pub(super) count: usize,
    pub(super) makes_way: MakesWay,
}

impl Bulkhead {
    pub fn new(max: usize) -> Arc<Self> {
        let state = State { max, taken: 0, several: false, keys: Vec::new() };
        Arc::new(Bulkhead {
            state: Mutex::new(state),
            wanted: Notify::new(),
            refused: 0.into(),
            refusing: AtomicBool::new(false),
        })
    }

    /// Those beyond a lower bound keep their permits.
    pub fn set_max(self: &Arc<Self>, max: usize) {
        self.lock().max = max;
        self.hand_out();
    }

    /// Connections that are open or being opened.
    pub fn taken(&self) -> usize {
        self.lock().taken
    }

    /// Connections that were given up so far for want of a descriptor.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// A permit, if one is free. `several`: there are other keys.
    pub(super) fn take(self: &Arc<Self>, slot: usize, several: bool) -> Result<Permit, MakesWay> {
        let mut state = self.lock();
        state.several = several;
        state.admit(slot).map(|()| self.permit(slot))
    }

    /// Waits for a permit, after all workers were told: at most a second, and a quarter of `timeout`. Of those who wait the
    /// upstream with the fewest connections comes first.
    pub(super) async fn wait(self: &Arc<Self>, slot: usize, timeout: Duration) -> Option<Permit> {
        let granted = {
            let mut state = self.lock();
            if state.admit(slot).is_ok() {
                return Some(self.permit(slot));
            }
            let waiting = &mut state.key(slot).waiting;
            waiting.retain(|waiting| !waiting.is_closed());
            if waiting.len() >= WAITING_PER_KEY_MAX {
                return None;
            }
            let (grant, granted) = oneshot::channel();
            waiting.push_back(grant);
            granted
        };
        self.wanted.notify_waiters();
        tokio::time::timeout(WAIT_MAX.min(timeout / WAIT_PART), granted).await.ok()?.ok()
    }

    /// Ready when somebody begins to wait from now on.
    pub(super) fn wanted(&self) -> Notified<'_> {
        self.wanted.notified()
    }

    /// What is waited for at present.
    pub(super) fn wants(&self) -> Vec<Want> {
        let mut wants = Vec::new();
        let mut state = self.lock();
        let share = state.share();
        for (slot, key) in state.keys.iter_mut().enumerate() {
            key.waiting.retain(|waiting| !waiting.is_closed());
            if !key.waiting.is_empty() {
                wants.push(Want { slot, count: key.waiting.len(), makes_way: key.makes_way(share) });
            }
        }
        wants
    }

    /// Counts a connection that was given up for want of a descriptor. Tells whether it is the first since [`Self::calm`].
    pub(super) fn refuse(&self) -> bool {
        self.refused.fetch_add(1, Ordering::Relaxed);
        !self.refusing.swap(true, Ordering::Relaxed)
    }

    /// None was refused for a while.
    pub(super) fn calm(&self) {
        self.refusing.store(false, Ordering::Relaxed);
    }

    /// Gives what is free to those who wait.
    fn hand_out(self: &Arc<Self>) {
        loop {
            let Some((slot, waiting)) = self.lock().grant() else { return };
            // Whoever has just stopped waiting drops it, and so it comes to the next one.
            let _ = waiting.send(self.permit(slot));
        }
    }

    fn permit(self: &Arc<Self>, slot: usize) -> Permit {
        Permit(Some((self.clone(), slot)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The most connections of one key: three quarters of all, rounded up.
    fn share(&self) -> usize {
        if self.several { self.max - self.max / 4 } else { self.max }
    }

    fn key(&mut self, slot: usize) -> &mut Key {
        if self.keys.len() <= slot {
            self.keys.resize_with(slot + 1, Key::default);
        }
        &mut self.keys[slot]
    }

    /// Counts another connection, if it may be.
    fn admit(&mut self, slot: usize) -> Result<(), MakesWay> {
        let (share, is_full) = (self.share(), self.taken >= self.max);
        let key = self.key(slot);
        if is_full || key.taken >= share {
            return Err(key.makes_way(share));
        }
        key.taken += 1;
        self.taken += 1;
        Ok(())
    }

    /// Counts a connection for one of those who wait.
    fn grant(&mut self) -> Option<(usize, oneshot::Sender<Permit>)> {
        let share = self.share();
        while self.taken < self.max {
            let keys = self.keys.iter_mut().enumerate();
            let may = keys.filter(|(_, key)| !key.waiting.is_empty() && key.taken < share);
            let (slot, key) = may.min_by_key(|(_, key)| key.taken)?;
            let waiting = key.waiting.pop_front()?;
            if !waiting.is_closed() {
                key.taken += 1;
                self.taken += 1;
                return Some((slot, waiting));
            }
        }
        None
    }
}

impl Key {
    fn makes_way(&self, share: usize) -> MakesWay {
        if self.taken >= share { MakesWay::ItsOwn } else { MakesWay::Anyone }
    }
}

impl Permit {
    pub(super) fn of_the_reserve() -> Permit {
        Permit(None)
    }

    /// A second one beside this one, if it is free.
    pub(super) fn another(&self) -> Option<Permit> {
        let Some((bulkhead, slot)) = &self.0 else { return Some(Permit(None)) };
        bulkhead.lock().admit(*slot).ok().map(|()| bulkhead.permit(*slot))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some((bulkhead, slot)) = self.0.take() else { return };
        {
            let mut state = bulkhead.lock();
            state.key(slot).taken -= 1;
            state.taken -= 1;
        }
        bulkhead.hand_out();
    }
}

#[cfg(test)]
mod tests;
