//! A store that tests break.

use std::sync::Condvar;
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
    /// Writes until the disk hangs; `None`: it does not.
    until_hang: Mutex<Option<usize>>,
    released: Condvar,
    /// Writes that hang.
    hanging: AtomicUsize,
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

    /// After so many more writes the disk hangs, as long as what is returned is held.
    pub(super) fn hang_after(self: &Arc<Self>, writes: usize) -> Hang {
        *self.until_hang.lock().unwrap() = Some(writes);
        Hang(self.clone())
    }

    pub(super) fn hangs(&self) -> bool {
        self.hanging.load(Ordering::SeqCst) > 0
    }

    /// Returns when the disk can be written. Blocking, as a disk is.
    fn wait_for_disk(&self) {
        let mut until_hang = self.until_hang.lock().unwrap();
        if let Some(writes) = until_hang.as_mut().filter(|writes| **writes > 0) {
            *writes -= 1;
            return;
        }
        self.hanging.fetch_add(1, Ordering::SeqCst);
        drop(self.released.wait_while(until_hang, |until_hang| until_hang.is_some()).unwrap());
        self.hanging.fetch_sub(1, Ordering::SeqCst);
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

/// As long as this is held, the disk hangs: also a test that fails ends.
pub(super) struct Hang(Arc<Durable>);

impl Drop for Hang {
    fn drop(&mut self) {
        *self.0.until_hang.lock().unwrap() = None;
        self.0.released.notify_all();
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
        self.wait_for_disk();
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
