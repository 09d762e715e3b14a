//! Counting connections of a kind, over all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many connections are open, over all workers, and how many may be.
#[derive(Debug)]
pub struct Permits {
    taken: AtomicUsize,
    max: AtomicUsize,
}

/// Leave for one connection, until it is dropped.
#[derive(Debug)]
pub struct Permit(Arc<Permits>);

impl Permits {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Permits { taken: 0.into(), max: max.into() })
    }

    /// Those beyond a lower bound keep their permits.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Never counts one that it refuses, not even for a moment: that could refuse another worker what is free.
    pub fn take(self: &Arc<Self>) -> Option<Permit> {
        let max = self.max.load(Ordering::Relaxed);
        let one_more = |taken| (taken < max).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Permit(self.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_given_back() {
        let permits = Permits::new(1);
        let first = permits.take().unwrap();
        assert!(permits.take().is_none());
        assert_eq!(permits.taken(), 1, "a refused one is not counted");
        drop(first);
        let _second = permits.take().unwrap();
        permits.set_max(2);
        assert!(permits.take().is_some());
    }

    #[test]
    fn who_is_refused_is_not_counted_even_for_a_moment() {
        let permits = Permits::new(1);
        let _held = permits.take().unwrap();
        std::thread::scope(|scope| {
            let refused = scope.spawn(|| (0..300_000).all(|_| permits.take().is_none()));
            while !refused.is_finished() {
                assert_eq!(permits.taken(), 1);
            }
            assert!(refused.join().unwrap());
        });
    }
}
