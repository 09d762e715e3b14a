//! The exchange of a refresh token that a person asks for, in a process that has no cell: with what the store has, and in a
//! cell's order (TL-50).

use std::sync::Arc;
use std::time::SystemTime;

use super::store::{Entry, StoredToken, TokenStore, Version};
use super::{Exchange, Granted, Identity, ProofVersion, Source, TokenCache};

/// One that was begun: its intent is durable.
#[derive(Debug)]
pub struct ByHand {
    store: Arc<dyn TokenStore>,
    identity: Identity,
    version: Version,
    /// As it will be saved.
    entry: Entry,
    proof: ProofVersion,
    asks_for: Option<ProofVersion>,
    exchange: Exchange,
    /// What became of an earlier exchange is not known.
    doubtful: bool,
    requested_at: SystemTime,
}

/// What became of the refresh token that was exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotated {
    /// The server gave none in its place.
    No,
    /// The one that came in its place is durable.
    Kept,
    /// The one that came in its place ends with this process.
    Lost,
}

impl TokenCache {
    /// Begins an exchange for the credential of this name, unless its source has no refresh token. What the store has wins
    /// over the seed. Blocking.
    ///
    /// # Errors
    /// The store cannot be read or written. Nothing may be sent.
    pub fn begin_by_hand(
        &self,
        name: &str,
        identity: Identity,
        proof: ProofVersion,
        source: &dyn Source,
    ) -> Result<Option<ByHand>, String> {
        let Some(seed) = source.seed() else { return Ok(None) };
        let (store, requested_at) = (self.shared.store.clone(), self.shared.clock.wall());
        let failed =
            |error| format!("nothing was exchanged, since the store has to be read and written first: {error}");
        let asks_for = source.asks_for();
        let (version, mut entry) = store.load(&identity).map_err(failed)?.unwrap_or_else(|| {
            let entry = Entry {
                credential: name.to_owned(),
                writer: fastrand::u64(1..),
                proof,
                asks_for,
                token: None,
                refresh_token: None,
                exchanging: false,
                needs_reauthorization: None,
                used_at: None,
            };
            (Version::default(), entry)
        });
        let refresh_token = entry.refresh_token.get_or_insert_with(|| seed.clone()).clone();
        let doubtful = std::mem::replace(&mut entry.exchanging, true);
        let version = store.save(&identity, version, &entry).map_err(failed)?;
        let exchange = Exchange::new(refresh_token);
        Ok(Some(ByHand { store, identity, version, entry, proof, asks_for, exchange, doubtful, requested_at }))
    }
}

impl ByHand {
    /// What is to be sent, and what hears of the answer.
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// It brought this token, which the next process goes on with.
    pub fn granted(&mut self, granted: &Granted) {
        let token = StoredToken {
            value: granted.value.clone(),
            further: granted.further.clone(),
            requested_at: self.requested_at,
            lifetime: granted.lifetime,
            refresh_in: granted.refresh_in,
        };
        (self.entry.proof, self.entry.asks_for, self.entry.token) = (self.proof, self.asks_for, Some(token));
        (self.entry.exchanging, self.entry.needs_reauthorization) = (false, None);
    }

    /// Saves what became of it. Blocking.
    ///
    /// # Errors
    /// The store cannot be written, and what it would take to go on is lost.
    pub fn end(mut self) -> Result<Rotated, String> {
        let before = self.entry.refresh_token.take();
        let received = self.exchange.take_received().filter(|received| Some(received) != before.as_ref());
        let rotated = match (&received, self.store.outlives_process()) {
            (None, _) => Rotated::No,
            (Some(_), true) => Rotated::Kept,
            (Some(_), false) => Rotated::Lost,
        };
        let ambiguous = self.exchange.was_sent() && !self.exchange.was_named();
        self.entry.exchanging &= received.is_none() && (self.doubtful || ambiguous);
        self.entry.refresh_token = received.or(before);
        match self.store.save(&self.identity, self.version, &self.entry) {
            Ok(_) => Ok(rotated),
            Err(error) if rotated == Rotated::No => {
                Err(format!("the store says still that an exchange is under way, and could not be written: {error}"))
            }
            Err(error) => Err(format!(
                "the server gave another refresh token, which could not be saved and is lost: {error} (hint: authorize again)"
            )),
        }
    }
}
