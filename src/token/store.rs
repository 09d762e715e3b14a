//! Where tokens outlive a cell: in memory, or in a file whose entries are sealed.
//!
//! A store keeps one entry per identity. Every write names the version that it replaces, so that a store that several
//! processes share needs no other interface (TL-61).

mod entry;
mod file;
mod memory;
mod seal;
#[cfg(test)]
mod tests;

pub use entry::{Entry, StoredToken};
#[cfg(test)]
pub(super) use file::exchange_values;
pub use file::{FileStore, OpenDatabase};
pub use memory::MemoryStore;

use std::fmt;

use zeroize::Zeroizing;

use super::Identity;

/// The key under which a store's identities and proofs are computed (TL-02). It lives as long as the store.
pub type DigestKeyBytes = Zeroizing<[u8; 32]>;

/// Counts the writes of one entry; zero: there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version(pub u64);

/// Keeps entries. A trait because deployments swap it (memory, file, later one for a fleet) and tests break it.
///
/// Every call may wait for a disk: it belongs on the blocking pool, never on the control thread.
pub trait TokenStore: Send + Sync + fmt::Debug {
    /// The key of this store's identities.
    fn digest_key(&self) -> DigestKeyBytes;

    /// Whether what is saved is there after a restart. Where it is not, only refresh tokens are worth saving.
    fn outlives_process(&self) -> bool;

    /// The entry of an identity, with its version; `None`: there is none.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    fn load(&self, identity: &Identity) -> Result<Option<(Version, Entry)>, StoreError>;

    /// Replaces the entry of version `last`, and returns when the new one is durable.
    ///
    /// # Errors
    /// It cannot be written, or somebody else has written meanwhile; the old entry is still there.
    fn save(&self, identity: &Identity, last: Version, entry: &Entry) -> Result<Version, StoreError>;
}

/// Why a store did not do what it was asked for. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// The entry has another version than the one that was to be replaced.
    Conflict,
    /// The entry is there, in this version, and is not what was written. A write that names the version replaces it.
    Damaged(Version),
    /// What was being done, where, and why it failed.
    Failed(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Conflict => f.write_str("somebody else has written this entry meanwhile"),
            StoreError::Damaged(_) => f.write_str("an entry of the store is damaged"),
            StoreError::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StoreError {}
