//! One identity's token at work.
//!
//! `declaring`: how it comes to be. `waiting`: requests that wait for a token. `fetching`: the task of a fetch. `keeping`: what
//! the store has of it. `tending`: the timer that renews and retries without traffic. `of_subject`: what is special about a
//! subject's.

mod declaring;
mod fetching;
mod keeping;
mod of_subject;
mod status;
mod tending;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests measure by the clock that they pause")]
mod tests;
mod waiting;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Notify, watch};

use super::cache::Shared;
use super::endpoint::{Gate, Hold};
use super::machine::Machine;
use super::machine::constants::SUBJECT_HOLD_MAX;
use super::store::Version;
use super::{Attached, Exchange, Generation, Identity, Misfit, ProofVersion, Source, Subjects, Token};
use crate::clock::Boot;
use crate::config::Attach;
use crate::secret::Secret;
use keeping::Granted;
pub(super) use keeping::Stored;
pub use status::CellStatus;

/// Use is noted no more often than this, so that the hot path does not write what all workers read.
const USE_NOTED_EVERY: Duration = Duration::from_secs(1);

/// A token cell. Shared by every route, upstream and worker that uses the credential (TL-01).
#[derive(Debug)]
pub struct TokenCell {
    /// The credential's. That of a refresh token can be another one after a reload.
    name: ArcSwap<Arc<str>>,
    identity: Identity,
    /// Whose it is one of, if it is a subject's. Such a cell is not stored, nor renewed without requests.
    subjects: Option<Arc<Subjects>>,
    /// As which declaration of those has it.
    declaration: AtomicU64,
    /// The subject's own token was refused and is not held any more: whoever comes with it brings it again.
    spent: AtomicBool,
    /// What a subject's cell takes of memory, as it is counted.
    bytes: AtomicUsize,
    shared: Arc<Shared>,
    /// What the hot path reads.
    published: ArcSwapOption<Published>,
    /// When the token was last used, in nanoseconds after boot; zero: never (TL-29).
    used: AtomicU64,
    /// How many requests wait for a fetch (TL-34).
    waiting: Arc<AtomicUsize>,
    /// Tells the tending task that its next wake-up may have changed.
    changed: Arc<Notify>,
    /// Tells its writes to the store from those of others.
    writer: u64,
    /// The version of its entry in the store. Held while the entry is written, so that writes come one after the other.
    entry: tokio::sync::Mutex<Version>,
    /// Held briefly, never across an await.
    inner: Mutex<Inner>,
}

/// A token, and until when it can be taken without asking the machine.
#[derive(Debug)]
struct Published {
    token: Arc<Token>,
    until: Boot,
}

#[derive(Debug)]
struct Inner {
    machine: Machine,
    /// The token that the machine holds.
    token: Option<Arc<Token>>,
    /// When that was asked for and what was said of it, for the store.
    granted: Option<Granted>,
    /// What the next exchange sends.
    refresh_token: Option<Secret>,
    /// What the upstream misses in the token: fetches ask for it until one is answered with a token, or refused for it (TL-45).
    claims: Option<Arc<str>>,
    /// The exchange under way.
    exchange: Option<Exchange>,
    /// The store does not have what is held here, and cannot be made to (TL-51).
    unsaved: bool,
    /// How the fetch in flight will end.
    flight: Option<Flight>,
    /// A fetch that was begun, until its task is spawned.
    ready_to_run: Option<watch::Sender<Option<Finished>>>,
    source: Arc<dyn Source>,
    proof: ProofVersion,
    keep_warm: Duration,
    attach: Arc<Attach>,
    gate: Arc<Gate>,
    hold: Arc<Hold>,
    /// The snapshot no longer declares it: its timers stop.
    retired: bool,
    wake_at: Option<Boot>,
    late_logged: u64,
    /// What was last warned of; `None` once a token was granted that is kept.
    trouble: Option<Trouble>,
    /// Whether it was said already that `refresh_before` is too long.
    window_warned: bool,
}

/// What failing fetches mean for requests: a change of it is worth a warning, another failure is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trouble {
    /// The held token serves meanwhile.
    usable: bool,
    /// An operator is needed (TL-26).
    refused: bool,
}

type Flight = watch::Receiver<Option<Finished>>;

/// How a fetch ended, for those who waited; they read the state again (TL-28), but for a token that is theirs alone.
#[derive(Debug, Clone)]
enum Finished {
    Ended,
    /// It cannot be cached (TL-14).
    Uncached(Arc<Token>),
}

/// What becomes of a request that the upstream rejected (TL-40 to TL-43).
#[derive(Debug)]
pub enum Rejected {
    /// Send it again with this token, and report how that went with [`TokenCell::replayed`].
    Replay(Arc<Token>),
    /// The client gets the upstream's own answer.
    PassThrough,
}

impl TokenCell {
    /// The hot path: the token if it needs no thought. No lock, no allocation, no wait (TL-21). Soft and late tokens
    /// are returned too, after a background refresh was started (TL-22, TL-23).
    pub fn ready(self: &Arc<Self>) -> Option<Arc<Token>> {
        self.ready_at(self.shared.clock.now())
    }

    /// The same for who has read the clock just now.
    pub fn ready_at(self: &Arc<Self>, now: Boot) -> Option<Arc<Token>> {
        self.note_use(now);
        {
            let published = self.published.load();
            let published = published.as_ref()?;
            if now < published.until {
                return Some(published.token.clone());
            }
        }
        self.update(|inner, now| {
            inner.machine.easy_until(now)?;
            let begin = inner.machine.renew(now);
            inner.take_off(begin);
            inner.token.clone()
        })
    }

    /// The upstream misses these claims, a JSON object, in the token of this generation: the next token is asked for with
    /// them (TL-45). To be said before [`TokenCell::rejected`], which begins it.
    pub fn lacks(&self, sent: Generation, claims: Arc<str>) {
        let mut inner = self.lock();
        if inner.token.as_ref().is_some_and(|token| token.generation == sent) {
            inner.claims = Some(claims);
        }
    }

    /// How a replay with this generation went: accepted or rejected again (TL-43).
    pub fn replayed(&self, generation: Generation, accepted: bool) {
        self.lock().machine.replayed(generation, accepted);
    }

    fn name(&self) -> Arc<str> {
        Arc::clone(&self.name.load())
    }

    /// What tells its token from others.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// When it was last used, to the second.
    pub(super) fn used(&self) -> Boot {
        Boot::from_nanos(self.used.load(Ordering::Relaxed))
    }

    pub(super) fn note_use(&self, now: Boot) {
        let last = Boot::from_nanos(self.used.load(Ordering::Relaxed));
        if last == Boot::default() || now.since(last) >= USE_NOTED_EVERY {
            self.used.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // What a panic could leave behind is no worse than what any failure leaves.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an event to the machine, then does what follows: publish the token, begin a fetch, set the timer.
    fn update<R>(self: &Arc<Self>, event: impl FnOnce(&mut Inner, Boot) -> R) -> R {
        let mut inner = self.lock();
        let now = self.shared.clock.now();
        let hold = inner.hold.until();
        inner.machine.set_hold(hold);
        let closed = self.closed(&inner, now).map_or(Boot::default(), |closed| closed.until);
        inner.machine.set_closed(if self.spent.load(Ordering::Relaxed) { Boot::NEVER } else { closed });
        let result = event(&mut inner, now);
        let heard = inner.machine.hold();
        if heard > hold {
            let longest = if self.subjects.is_some() { now.after(SUBJECT_HOLD_MAX) } else { heard };
            inner.hold.extend(heard.min(longest));
        }
        let ticket = inner.ready_to_run.take().map(|done| fetching::Ticket::new(self, done));
        if ticket.is_some() {
            self.subjects.iter().for_each(|subjects| subjects.begun(now));
        }
        self.publish(&inner, now);
        self.weigh(&inner);
        let wake_at = inner.machine.wake_at(now, self.active_until(&inner));
        let rewind = std::mem::replace(&mut inner.wake_at, wake_at) != wake_at;
        let late = inner.machine.counters().late;
        let warn = (std::mem::replace(&mut inner.late_logged, late) != late).then(|| inner.machine.error().cloned());
        drop(inner);
        if rewind {
            self.changed.notify_one();
        }
        if let Some(error) = warn {
            let error = error.as_ref().map(|error| &*error.text);
            tracing::warn!(
                credential = &*self.name(),
                error,
                "the token is about to expire and could not be renewed yet"
            );
        }
        // Without the lock: on a runtime that has ended, the task is dropped right here, and says so to the machine.
        if let Some(ticket) = ticket {
            self.shared.control.spawn(fetching::run(ticket));
        }
        result
    }

    fn publish(&self, inner: &Inner, now: Boot) {
        let new = inner.token.as_ref().zip(inner.machine.easy_until(now));
        let old = self.published.load();
        let unchanged = match (&*old, new) {
            (None, None) => true,
            (Some(old), Some((token, until))) => Arc::ptr_eq(&old.token, token) && old.until == until,
            _ => false,
        };
        if !unchanged {
            self.published.store(new.map(|(token, until)| Arc::new(Published { token: token.clone(), until })));
        }
    }

    /// Until when the credential is kept warm (TL-29).
    fn active_until(&self, inner: &Inner) -> Option<Boot> {
        let used = self.used.load(Ordering::Relaxed);
        (used != 0 && !inner.keep_warm.is_zero()).then(|| Boot::from_nanos(used).after(inner.keep_warm))
    }
}

impl Inner {
    /// The places of the token have changed: the one that is held goes there, too, if it has what that takes.
    fn attach_anew(&mut self) {
        let Some(held) = &self.token else { return };
        match Attached::of_token(&self.attach, &held.value, &held.further) {
            Ok(attached) => {
                let Token { generation, ref value, ref further, ref proof_key, .. } = **held;
                let (value, further, proof_key) = (value.clone(), further.clone(), proof_key.clone());
                self.token = Some(Arc::new(Token { generation, value, further, attached, proof_key }));
            }
            Err(Misfit::Value(_)) => {}
            Err(Misfit::BaseUrl(_)) => self.discard(),
        }
    }

    /// The token that is held must not be sent any more.
    fn discard(&mut self) {
        (self.token, self.granted) = (None, None);
        self.machine.discard();
    }

    /// The server has answered these claims with a token, or refuses them. Others may have come meanwhile.
    fn claims_answered(&mut self, claims: Option<&Arc<str>>) {
        if self.claims.as_ref() == claims {
            self.claims = None;
        }
    }

    /// A fetch brought nothing that is kept. Whether that changes what requests get.
    fn in_trouble(&mut self, now: Boot) -> bool {
        let refused = self.machine.error().is_some_and(|error| error.kind.is_lasting());
        let trouble = Trouble { usable: self.machine.easy_until(now).is_some(), refused };
        self.trouble.replace(trouble) != Some(trouble)
    }

    /// The machine has begun a fetch: makes what its task and its waiters share.
    fn take_off(&mut self, begin: bool) {
        if begin {
            let (done, flight) = watch::channel(None);
            self.flight = Some(flight);
            self.ready_to_run = Some(done);
        }
    }
}

impl Drop for TokenCell {
    fn drop(&mut self) {
        // Its tending task finds it gone, and ends.
        self.changed.notify_one();
        self.shared.subject_bytes.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}
