//! The store of a process without one: refresh tokens outlive a reload that removes their credential and another that
//! brings it back, and nothing outlives the process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::{DigestKeyBytes, Entry, StoreError, TokenStore, Version};
use crate::token::Identity;

/// Each is a credential that was configured at some time since the start.
const ENTRIES_MAX: usize = 100_000;

/// Entries in memory.
pub struct MemoryStore {
    digest_key: DigestKeyBytes,
    entries: Mutex<HashMap<Identity, (Version, Entry)>>,
}

impl MemoryStore {
    /// An empty one. Panics if the system has no randomness, without which nothing here is safe.
    pub fn new() -> Self {
        let mut digest_key = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut *digest_key).expect("the system gives random bytes");
        MemoryStore { digest_key, entries: Mutex::default() }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore::new()
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl TokenStore for MemoryStore {
    fn digest_key(&self) -> DigestKeyBytes {
        self.digest_key.clone()
    }

    fn outlives_process(&self) -> bool {
        false
    }

    fn load(&self, identity: &Identity) -> Result<Option<(Version, Entry)>, StoreError> {
        Ok(self.entries.lock().unwrap_or_else(PoisonError::into_inner).get(identity).cloned())
    }

    fn save(&self, identity: &Identity, last: Version, entry: &Entry) -> Result<Version, StoreError> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let version = entries.get(identity).map_or(Version(0), |(version, _)| *version);
        if version != last {
            return Err(StoreError::Conflict);
        }
        if version == Version(0) && entries.len() >= ENTRIES_MAX {
            return Err(StoreError::Failed(format!("the memory store holds {ENTRIES_MAX} entries already")));
        }
        let next = Version(version.0 + 1);
        entries.insert(*identity, (next, entry.clone()));
        Ok(next)
    }
}
