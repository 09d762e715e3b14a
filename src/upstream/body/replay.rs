//! The copy of a request's body that makes it possible to send the request again, and what all copies may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

/// The most that is kept of one request's body, unless it has to be held whole before it is sent.
pub(super) const COPY_BYTES_MAX: usize = 64 * 1024;

/// What all replay copies of the process may hold together (`replay_memory_bytes_max`).
#[derive(Debug)]
pub struct ReplayBudget {
    bytes_max: usize,
    bytes: AtomicUsize,
    refused: AtomicU64,
}

impl ReplayBudget {
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(ReplayBudget { bytes_max, bytes: AtomicUsize::new(0), refused: AtomicU64::new(0) })
    }

    /// How many bodies were not kept because the budget was used up.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// What is held now, in bytes.
    pub fn used(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.bytes_max;
        if !fits {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        fits
    }
}

/// The copy itself. Holds all that was read, or nothing.
#[derive(Debug)]
pub(super) struct Copy {
    budget: Arc<ReplayBudget>,
    /// Shared with what was read, not copied: a small body is one piece, and costs nothing to keep.
    first: Bytes,
    /// Further pieces, copied together, so that many small ones cost no more than their bytes.
    rest: BytesMut,
    /// What `rest` was, once nothing more comes.
    sealed: Bytes,
    /// The most that is kept.
    bytes_max: usize,
    lost: bool,
    /// The body is known to be too long: nothing of it will be kept.
    hopeless: bool,
}

impl Copy {
    pub(super) fn new(budget: Arc<ReplayBudget>) -> Self {
        Copy {
            budget,
            first: Bytes::new(),
            rest: BytesMut::new(),
            sealed: Bytes::new(),
            bytes_max: COPY_BYTES_MAX,
            lost: false,
            hopeless: false,
        }
    }

    fn len(&self) -> usize {
        self.slices().map(<[u8]>::len).iter().sum()
    }

    /// All that is kept, in order.
    pub(super) fn slices(&self) -> [&[u8]; 3] {
        [&self.first, &self.sealed, &self.rest]
    }

    /// Lets it hold another number of bytes than usual. Only before anything was read.
    pub(super) fn allow(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.hopeless = false;
    }

    /// Nothing more comes: from now on its pieces are shared, not copied.
    pub(super) fn seal(&mut self) {
        if !self.rest.is_empty() {
            self.sealed = std::mem::take(&mut self.rest).freeze();
        }
    }

    /// Whether something was read that is not here.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Keeps a further piece, or gives up all.
    pub(super) fn push(&mut self, data: &Bytes) {
        if self.lost || data.is_empty() {
            return;
        }
        if self.hopeless || self.len() + data.len() > self.bytes_max || !self.budget.take(data.len()) {
            self.give_up();
        } else if self.first.is_empty() {
            self.first = data.clone();
        } else {
            self.rest.extend_from_slice(data);
        }
    }

    /// The body will not fit: gives up with its first byte, and takes nothing of the budget before.
    pub(super) fn give_up_when_read(&mut self) {
        self.hopeless = true;
    }

    /// Keeps nothing, and nothing more.
    fn give_up(&mut self) {
        self.release();
        self.lost = true;
    }

    /// The pieces, in order.
    pub(super) fn piece(&self, index: usize) -> Option<Bytes> {
        match index {
            0 if !self.first.is_empty() => Some(self.first.clone()),
            1 if !self.sealed.is_empty() => Some(self.sealed.clone()),
            1 if !self.rest.is_empty() => Some(Bytes::copy_from_slice(&self.rest)),
            _ => None,
        }
    }

    /// The number of pieces.
    pub(super) fn pieces(&self) -> usize {
        self.slices().into_iter().filter(|slice| !slice.is_empty()).count()
    }

    fn release(&mut self) {
        if self.len() > 0 {
            self.budget.bytes.fetch_sub(self.len(), Ordering::Relaxed);
            self.first = Bytes::new();
            self.rest = BytesMut::new();
            self.sealed = Bytes::new();
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_holds_all_or_nothing() {
        let budget = ReplayBudget::new(1 << 20);
        let mut copy = Copy::new(budget.clone());
        copy.push(&Bytes::from(vec![1; COPY_BYTES_MAX - 1]));
        copy.push(&Bytes::from_static(&[2]));
        assert_eq!((budget.used(), copy.is_lost(), copy.pieces()), (COPY_BYTES_MAX, false, 2));
        copy.push(&Bytes::from_static(&[3]));
        assert_eq!((budget.used(), copy.is_lost(), copy.pieces()), (0, true, 0));
    }

    /// SEC limits: beyond the budget bodies are not kept, and that is counted; what is dropped is given back.
    #[test]
    fn the_budget_is_shared_and_returned() {
        let budget = ReplayBudget::new(100);
        let (mut one, mut two) = (Copy::new(budget.clone()), Copy::new(budget.clone()));
        one.push(&Bytes::from(vec![0; 60]));
        two.push(&Bytes::from(vec![0; 60]));
        assert_eq!((one.is_lost(), two.is_lost(), budget.refused()), (false, true, 1));
        drop(one);
        assert_eq!(budget.used(), 0);
    }
}
