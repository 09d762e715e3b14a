//! Answers that a test gives.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lock;

/// A name without addresses does not resolve.
#[derive(Debug, Default)]
pub struct FixedNames {
    addresses: Mutex<HashMap<String, Vec<IpAddr>>>,
    asked: AtomicU64,
}

impl FixedNames {
    pub fn set(&self, name: &str, addresses: &[IpAddr]) {
        lock(&self.addresses).insert(name.to_owned(), addresses.to_vec());
    }

    /// How often a name was asked for.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    pub(super) fn answer(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        lock(&self.addresses).get(name).cloned().filter(|found| !found.is_empty()).ok_or_else(|| "no such name".into())
    }
}
