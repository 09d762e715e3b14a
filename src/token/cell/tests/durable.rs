//! A store that tests break.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::token::store::{DigestKeyBytes, Entry, StoreError, Version};

/// A store that is there after a restart, and fails when it is told to.
#[derive(Debug, Default)]
pub(super) struct Durable {
    memory: MemoryStore,
    broken: AtomicBool,
    /// How many writes are carried out, and reported as failed.
    unacknowledged: AtomicUsize,
    /// What was saved, in order.
    pub(super) saved: Mutex<Vec<Entry>>,
}

impl Durable {
    pub(super) fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    pub(super) fn lose_acknowledgements(&self, count: usize) {
        self.unacknowledged.store(count, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), StoreError> {
        let broken = self.broken.load(Ordering::SeqCst);
        if broken { Err(StoreError::Failed("scripted: the disk is full".to_owned())) } else { Ok(()) }
    }

    /// The refresh token and the intent of each entry that was saved.
    pub(super) fn saves(&self) -> Vec<(String, bool)> {
        let of = |entry: &Entry| (entry.refresh_token.as_ref().unwrap().expose().to_owned(), entry.exchanging);
        self.saved.lock().unwrap().iter().map(of).collect()
    }

    pub(super) fn last(&self) -> Entry {
        self.saved.lock().unwrap().last().expect("an entry was saved").clone()
    }
}

impl TokenStore for Durable {
    fn digest_key(&self) -> DigestKeyBytes {
        self.memory.digest_key()
    }

    fn outlives_process(&self) -> bool {
        true
    }

    fn load(&self, identity: &Identity) -> Result<Option<(Version, Entry)>, StoreError> {
        self.check()?;
        self.memory.load(identity)
    }

    fn save(&self, identity: &Identity, last: Version, entry: &Entry) -> Result<Version, StoreError> {
        self.check()?;
        let version = self.memory.save(identity, last, entry)?;
        self.saved.lock().unwrap().push(entry.clone());
        let less = |count: usize| count.checked_sub(1);
        match self.unacknowledged.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Ok(_) => Err(StoreError::Failed("scripted: nobody was told".to_owned())),
            Err(_) => Ok(version),
        }
    }
}

/// Lets all saves that are under way end.
pub(super) async fn saved(house: &House) {
    let mut in_flight = house.cache.shared.in_flight.subscribe();
    in_flight.wait_for(|fetches| *fetches == 0).await.unwrap();
}
