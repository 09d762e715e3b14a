//! What the store has of a cell: read when the cell is made, written when a token comes and around every exchange of a
//! refresh token (TL-50). The store may wait for a disk, so it is asked on the blocking pool.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::{Exchange, Inner, TokenCell};
use crate::clock::Boot;
use crate::token::machine::constants::{SAVE_RETRY_BASE, SAVE_RETRY_MAX, SAVE_WAIT_MAX};
use crate::token::machine::{Restored, RestoredToken};
use crate::token::store::{Entry, StoreError, StoredToken, TokenStore, Version};
use crate::token::{Attached, FetchError, FetchErrorKind, Identity, Reached, Token};

/// When a token was asked for, and the server's wish when to refresh it.
pub(super) type Granted = (SystemTime, Option<Duration>);

/// What a store has of an identity.
#[derive(Debug)]
pub(in crate::token) enum Stored {
    Nothing,
    Entry(Version, Box<Entry>),
    Unreadable(StoreError),
}

impl Stored {
    /// Blocking.
    pub(in crate::token) fn read(store: &dyn TokenStore, identity: &Identity) -> Self {
        match store.load(identity) {
            Ok(None) => Stored::Nothing,
            Ok(Some((version, entry))) => Stored::Entry(version, Box::new(entry)),
            Err(error) => Stored::Unreadable(error),
        }
    }

    pub(super) fn version(&self) -> Version {
        match self {
            Stored::Entry(version, _) | Stored::Unreadable(StoreError::Damaged(version)) => *version,
            Stored::Nothing | Stored::Unreadable(_) => Version::default(),
        }
    }
}

impl TokenCell {
    /// Goes on with what the store has. Before anything else happens to the cell.
    pub(super) fn restore(self: &Arc<Self>, stored: Stored) {
        match stored {
            Stored::Nothing => {}
            Stored::Entry(_, entry) => self.restore_entry(*entry),
            Stored::Unreadable(error) => {
                let hint = "put a copy of the store back, or move it away";
                tracing::error!(credential = &*self.name(), %error, hint, "what the store has of this credential is lost");
                self.update(|inner, now| {
                    // The seed may have been used up: with it, a server that detects reuse would revoke what the lost
                    // one belongs to (TL-62).
                    if inner.refresh_token.take().is_some() {
                        let text = format!("the refresh token is lost: {error}");
                        inner.machine.restore(now, Restored::unreadable(text));
                    }
                });
            }
        }
    }

    fn restore_entry(self: &Arc<Self>, entry: Entry) {
        let wall = self.shared.clock.wall();
        if let Some(since_use) = entry.used_at.and_then(|used_at| wall.duration_since(used_at).ok()) {
            let used = self.shared.clock.now().before(since_use).max(Boot::from_nanos(1));
            self.used.fetch_max(used.as_nanos(), Ordering::Relaxed);
        }
        self.update(|inner, now| {
            let token = entry.token.filter(|_| entry.asks_for == inner.source.asks_for());
            // One that lacks a value for where it is to go now is of no use.
            let token = token.and_then(|token| {
                let attached = Attached::of_token(&inner.attach, &token.value, &token.further).ok()?;
                Some((restored(&token, wall)?, token, attached))
            });
            if let Some(refresh_token) = entry.refresh_token.filter(|_| inner.refresh_token.is_some()) {
                inner.refresh_token = Some(refresh_token);
            }
            let restored = Restored {
                token: token.as_ref().map(|(restored, ..)| *restored),
                exchanging: entry.exchanging,
                needs_reauthorization: entry.needs_reauthorization.map(needs_reauthorization),
                same_proof: entry.proof == inner.proof,
            };
            let generation = inner.machine.restore(now, restored);
            if let (Some(generation), Some((_, token, attached))) = (generation, token) {
                let StoredToken { value, further, requested_at, refresh_in, .. } = token;
                inner.granted = Some((requested_at, refresh_in));
                let proof_key = inner.source.proof_key().cloned();
                inner.token = Some(Arc::new(Token { generation, value, further, attached, proof_key }));
            }
        });
    }

    /// Before an attempt: if it is to exchange a refresh token, the intent has been saved when this returns (TL-50). One that
    /// no attempt was made of yet stands.
    pub(super) async fn begin_exchange(self: &Arc<Self>) -> Option<Exchange> {
        let exchange = {
            let mut inner = self.lock();
            if inner.exchange.is_some() {
                return inner.exchange.clone();
            }
            inner.exchange = inner.refresh_token.clone().map(Exchange::new);
            inner.exchange.clone()?
        };
        self.save().await;
        Some(exchange)
    }

    /// After it: if it brought another refresh token, that has been saved when this returns.
    pub(super) async fn end_exchange(self: &Arc<Self>) {
        if self.update(|inner, _| inner.take_exchange()) {
            self.save().await;
        }
    }

    /// The refresh token was refused. If the store has another one, a sibling has exchanged it first: that one is used from
    /// now on (TL-54).
    pub(super) async fn adopt_sibling(self: &Arc<Self>, exchange: Option<Exchange>) -> bool {
        let mut version = self.entry.lock().await;
        let (Some(exchange), Some(Stored::Entry(found, entry))) = (exchange, self.read().await) else { return false };
        let Some(refresh_token) = entry.refresh_token.filter(|token| token != exchange.refresh_token()) else {
            return false;
        };
        // What we put there ourselves is no sibling's: the store has it while something newer cannot be saved.
        if entry.writer == self.writer || found == *version {
            return false;
        }
        *version = found;
        self.lock().refresh_token = Some(refresh_token);
        tracing::info!(
            credential = &*self.name(),
            "another process has exchanged the refresh token: its new one is used"
        );
        true
    }

    /// Saves what the cell holds now, and returns when that is durable, or has failed: then what is held in memory is what counts,
    /// and saving is tried again until it succeeds (TL-51). A disk that hangs is waited for as long as nobody but this does:
    /// what is built on what is not durable is lost with the process. Once a request waits, that is for [`SAVE_WAIT_MAX`].
    pub(super) async fn save(self: &Arc<Self>) {
        let worth = self.shared.store.outlives_process() || self.lock().refresh_token.is_some();
        // A subject's token can be had again for as long as somebody comes with the subject's own.
        if !worth || self.subjects.is_some() {
            return;
        }
        // A task of its own: if waiting for it ends, it goes on, and the next one comes after it.
        let mut saving = self.shared.control.spawn(self.clone().save_now());
        // Looked at so often, because a request may begin to wait at any time.
        while tokio::time::timeout(SAVE_WAIT_MAX, &mut saving).await.is_err() {
            self.not_saved(&format!("the store has not answered for {SAVE_WAIT_MAX:?}"));
            if !self.lock().machine.can_wait(self.shared.clock.now()) {
                return;
            }
        }
    }

    async fn save_now(self: Arc<Self>) -> bool {
        let mut version = self.entry.lock().await;
        // It is never closed.
        let _turn = self.shared.store_turns.acquire().await;
        let mut saved = self.write(*version).await;
        if saved == Err(StoreError::Conflict)
            && let Some(found) = self.replaceable().await
        {
            saved = self.write(found).await;
        }
        match saved {
            Ok(next) => {
                *version = next;
                if std::mem::replace(&mut self.lock().unsaved, false) {
                    tracing::info!(credential = &*self.name(), "the store can be written again, and has everything");
                }
                true
            }
            Err(error) => {
                self.not_saved(&error.to_string());
                false
            }
        }
    }

    /// What is held is not in the store: says so once, and why, and saves it as soon as that can be.
    fn not_saved(self: &Arc<Self>, error: &str) {
        if !std::mem::replace(&mut self.lock().unsaved, true) {
            let hint = "until the store can be written, a restart loses what is newer than it";
            tracing::error!(credential = &*self.name(), error, hint, "a token could not be saved");
            self.shared.control.spawn(self.clone().save_again());
        }
    }

    /// Writes what the cell holds now, in place of this version.
    async fn write(&self, last: Version) -> Result<Version, StoreError> {
        let (store, identity, entry) = (self.shared.store.clone(), self.identity, self.to_entry());
        let saved = tokio::task::spawn_blocking(move || store.save(&identity, last, &entry)).await;
        saved.unwrap_or_else(|_| Err(StoreError::Failed("the store panicked, which is a bug".to_owned())))
    }

    /// The version of what stands in the store, if it may be replaced although we have not heard of it: a save of ours that
    /// was carried out although it failed, or what nobody can read. What a sibling wrote may not; a refusal of the refresh
    /// token tells of that (TL-54).
    async fn replaceable(&self) -> Option<Version> {
        match self.read().await? {
            Stored::Entry(found, entry) => (entry.writer == self.writer).then_some(found),
            Stored::Unreadable(StoreError::Damaged(found)) => Some(found),
            Stored::Nothing | Stored::Unreadable(_) => None,
        }
    }

    /// What the store has now; `None`: the process is ending.
    async fn read(&self) -> Option<Stored> {
        let (store, identity) = (self.shared.store.clone(), self.identity);
        tokio::task::spawn_blocking(move || Stored::read(&*store, &identity)).await.ok()
    }

    /// Until it is saved; by whom is all the same.
    fn save_again(self: Arc<Self>) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let mut pause = SAVE_RETRY_BASE;
            loop {
                tokio::time::sleep(pause).await;
                if !self.lock().unsaved {
                    return;
                }
                pause = SAVE_RETRY_MAX.min(pause * 2);
                self.clone().save_now().await;
            }
        })
    }

    fn to_entry(&self) -> Entry {
        let (now, wall) = (self.shared.clock.now(), self.shared.clock.wall());
        let used = Boot::from_nanos(self.used.load(Ordering::Relaxed));
        let inner = self.lock();
        let token = inner.token.as_ref().zip(inner.granted).map(|(token, (requested_at, refresh_in))| StoredToken {
            value: token.value.clone(),
            further: token.further.clone(),
            requested_at,
            lifetime: inner.machine.lifetime(),
            refresh_in,
        });
        let revoked = inner.machine.error().filter(|error| error.kind == FetchErrorKind::NeedsReauthorization);
        Entry {
            credential: self.name().to_string(),
            writer: self.writer,
            proof: inner.proof,
            asks_for: inner.source.asks_for(),
            token,
            refresh_token: inner.refresh_token.clone(),
            exchanging: inner.exchange.is_some() || inner.machine.doubtful(),
            needs_reauthorization: revoked.map(|error| error.text.to_string()),
            used_at: (used > Boot::default()).then(|| wall.checked_sub(now.since(used))).flatten(),
        }
    }
}

impl Inner {
    /// The attempt has ended. Whether it brought another refresh token.
    pub(super) fn take_exchange(&mut self) -> bool {
        let Some(exchange) = self.exchange.take() else { return false };
        if exchange.was_sent() {
            self.machine.exchange_sent(exchange.was_named());
        }
        let received = exchange.take_received().filter(|received| Some(received) != self.refresh_token.as_ref());
        let is_new = received.is_some();
        self.refresh_token = received.or(self.refresh_token.take());
        is_new
    }
}

/// What is left of a stored token. Wall time is all that two processes have in common; a token from the future says that it
/// was set back, and by how much nobody knows: such a token is not used.
fn restored(token: &StoredToken, wall: SystemTime) -> Option<RestoredToken> {
    let age = wall.duration_since(token.requested_at).ok()?;
    Some(RestoredToken { age, lifetime: token.lifetime, refresh_in: token.refresh_in })
}

fn needs_reauthorization(text: String) -> FetchError {
    let kind = FetchErrorKind::NeedsReauthorization;
    FetchError { kind, reached: Reached::Answered, code: Some("invalid_grant"), text: text.into() }
}

impl Restored {
    fn unreadable(text: String) -> Self {
        let error = FetchError { code: None, reached: Reached::No, ..needs_reauthorization(text) };
        Restored { token: None, exchanging: false, needs_reauthorization: Some(error), same_proof: true }
    }
}
