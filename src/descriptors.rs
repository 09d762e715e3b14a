//! How the process's file descriptors are shared out (SEC-41): so many for clients, so many for upstreams, and the rest
//! for what must go on however busy both are.

mod permits;

pub use permits::{Permit, Permits};

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
}
