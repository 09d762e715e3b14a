//! How the process's file descriptors are shared out (SEC-41): so many for clients, so many for upstreams, and the rest
//! for what must go on however busy both are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// File descriptors kept for what is neither a client's connection nor one to an upstream: token endpoints, discovery,
/// names, the admin pages, listening sockets, files, the log.
pub const RESERVED_DESCRIPTORS: usize = 256;

/// How many connections there may be of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    pub clients: usize,
    pub upstreams: usize,
}

impl Shares {
    /// Shares out this many descriptors. Clients get `connections_max`, if that leaves as many for upstreams, else half.
    /// Upstreams get all that clients leave, since a client that speaks HTTP/2 wants more than one connection there.
    /// Where there are few, the reserve is half of them.
    pub fn of(descriptors: usize, connections_max: usize) -> Shares {
        let shared = descriptors - RESERVED_DESCRIPTORS.min(descriptors / 2);
        let clients = connections_max.min(shared / 2);
        Shares { clients, upstreams: shared - clients }
    }
}

/// How many connections of a kind are open, over all workers, and how many may be.
#[derive(Debug)]
pub struct Places {
    taken: AtomicUsize,
    max: AtomicUsize,
    refused: AtomicU64,
}

/// A place for one connection, until it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Places>);

impl Places {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Places { taken: 0.into(), max: max.into(), refused: 0.into() })
    }

    /// Those beyond a lower bound keep their places.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    pub fn take(self: &Arc<Self>) -> Option<Place> {
        let place = Place(self.clone());
        // Counted first and looked at then, so that workers that race never take one too many.
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        (before < self.max.load(Ordering::Relaxed)).then_some(place)
    }

    /// Counts a connection that was given up for want of a place.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that were given up so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Place {
    /// A place that counts against nothing: what it is for uses the reserved descriptors.
    pub fn of_the_reserve() -> Place {
        Place(Arc::new(Places { taken: 1.into(), max: usize::MAX.into(), refused: 0.into() }))
    }

    /// A second place beside this one.
    pub fn another(&self) -> Option<Place> {
        self.0.take()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-41: whatever `connections_max` says, there are descriptors for upstreams, and others stay reserved.
    #[test]
    fn descriptors_are_left_for_upstreams_and_tokens() {
        let cases = [
            (1 << 20, 10_000, (10_000, 1_038_320)),
            (20_256, 10_000, (10_000, 10_000)),
            (1024, 10_000, (384, 384)),
            (1024, 100, (100, 668)),
            (256, 10_000, (64, 64)),
            (usize::MAX, 1, (1, usize::MAX - 257)),
        ];
        for (descriptors, connections_max, (clients, upstreams)) in cases {
            let shares = Shares::of(descriptors, connections_max);
            assert_eq!(shares, Shares { clients, upstreams }, "{descriptors} descriptors");
        }
    }

    #[test]
    fn places_are_given_back() {
        let places = Places::new(1);
        let first = places.take().unwrap();
        assert!(places.take().is_none() && first.another().is_none());
        assert_eq!(places.taken(), 1, "a refused one is not counted");
        drop(first);
        let _second = places.take().unwrap();
        places.set_max(2);
        assert!(places.take().is_some());
    }

    #[test]
    fn the_reserve_is_not_shared() {
        let first = Place::of_the_reserve();
        assert!(first.another().is_some());
        assert_eq!(first.0.taken(), 1);
    }
}
