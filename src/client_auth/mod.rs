//! Who calls us: the client of a request, from its key.

mod key;
mod presented;
#[cfg(test)]
mod tests;

pub use key::{KeyDigest, NewKey, digest_of};

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;

use crate::config::{self, ClientAuthentication};

/// Recognises clients. Made by the snapshot from all `[clients.*]`.
///
/// Its timing tells nobody a key: what is looked up is the SHA-256 of what the request presents, and how close that is
/// to a digest in the map says nothing about how close the key is to one of ours. Steering a digest bit by bit
/// through a keyed hash map would at best reveal a digest, from which no key of 256 bits can be found.
#[derive(Debug)]
pub struct ClientAuth {
    by_digest: HashMap<KeyDigest, Arc<config::Client>>,
}

/// Why a request has no client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unrecognised {
    /// It presents nothing.
    Missing,
    /// It presents a key that nobody has.
    Unknown,
    /// It presents two different ones (400).
    Ambiguous,
    /// What it presents is malformed (400).
    Malformed,
}

impl ClientAuth {
    /// Takes the keys of all clients. Of two clients with the same key (the configuration refuses that) the first has it.
    pub fn new(clients: &[Arc<config::Client>]) -> Self {
        let mut by_digest = HashMap::new();
        for client in clients {
            let ClientAuthentication::Key { sha256 } = &client.authentication;
            for digest in sha256 {
                by_digest.entry(*digest).or_insert_with(|| client.clone());
            }
        }
        ClientAuth { by_digest }
    }

    /// The client whose key the request presents, and which of its keys that is: as Bearer token, as `X-Api-Key`, or as
    /// Basic password.
    ///
    /// # Errors
    /// Says why there is none; the request must not go upstream (TL-71).
    pub fn recognise(&self, headers: &HeaderMap) -> Result<(Arc<config::Client>, KeyDigest), Unrecognised> {
        let digest = presented::digest(headers)?;
        self.by_digest.get(&digest).map(|client| (client.clone(), digest)).ok_or(Unrecognised::Unknown)
    }

    /// Whose key this is.
    pub fn client_with(&self, key: &KeyDigest) -> Option<&config::Client> {
        self.by_digest.get(key).map(|client| &**client)
    }
}
