//! What all aggregates of the process may hold of answers together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// A number of bytes that many take of, and give back when they let go.
#[derive(Debug)]
pub struct MemoryBudget {
    bytes_max: usize,
    bytes: AtomicUsize,
}

/// Bytes that were taken of a budget. Dropped, it gives them back.
#[derive(Debug)]
pub struct Held {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

/// Data with what it takes of a budget: given back when the last slice of it is gone.
struct Counted {
    data: Bytes,
    _held: Held,
}

impl MemoryBudget {
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(MemoryBudget { bytes_max, bytes: AtomicUsize::new(0) })
    }

    /// What is held now, in bytes.
    pub fn used(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Nothing yet, to be grown.
    pub fn hold(self: &Arc<Self>) -> Held {
        Held { budget: self.clone(), bytes: 0 }
    }
}

impl Held {
    /// Holds so many bytes, in place of what it held. False: there is no room, and nothing changes.
    #[must_use]
    pub fn resize(&mut self, bytes: usize) -> bool {
        let Some(more) = bytes.checked_sub(self.bytes) else {
            self.budget.bytes.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
            self.bytes = bytes;
            return true;
        };
        let before = self.budget.bytes.fetch_add(more, Ordering::Relaxed);
        let fits = before.saturating_add(more) <= self.budget.bytes_max;
        if fits {
            self.bytes = bytes;
        } else {
            self.budget.bytes.fetch_sub(more, Ordering::Relaxed);
        }
        fits
    }

    /// Holds so many bytes more. False: there is no room, and nothing changes.
    #[must_use]
    pub fn grow(&mut self, more: usize) -> bool {
        self.resize(self.bytes.saturating_add(more))
    }

    /// Data that is counted for as long as any of it is shared. `None`: there is no room for it.
    pub fn count(mut self, data: Bytes) -> Option<Bytes> {
        if !self.resize(data.len()) {
            return None;
        }
        Some(if data.is_empty() { data } else { Bytes::from_owner(Counted { data, _held: self }) })
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_and_given_back() {
        let budget = MemoryBudget::new(100);
        let (mut one, mut two) = (budget.hold(), budget.hold());
        assert!(one.resize(60) && !two.resize(41) && two.resize(40) && !one.resize(61));
        assert_eq!(budget.used(), 100);
        assert!(one.resize(10));
        drop(two);
        assert_eq!(budget.used(), 10);
        drop(one);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn data_counts_until_its_last_slice_is_gone() {
        let budget = MemoryBudget::new(10);
        let data = budget.hold().count(Bytes::from_static(b"0123456789")).unwrap();
        let slice = data.slice(2..4);
        assert!(budget.hold().count(Bytes::from_static(b"x")).is_none());
        drop(data);
        assert_eq!((budget.used(), &slice[..]), (10, &b"23"[..]));
        drop(slice);
        assert_eq!(budget.used(), 0);
        assert_eq!(budget.hold().count(Bytes::new()).unwrap(), "");
    }
}
