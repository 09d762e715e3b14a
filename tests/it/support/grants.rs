//! Tokens that a token endpoint granted and an upstream accepts.

use std::time::Duration;

use attache::clock::{Boot, Clock as _, SystemClock};

use super::Watched;

/// What was granted, in order. Shared by a token endpoint and the upstreams that believe it.
#[derive(Debug, Default)]
pub struct Grants(Watched<Vec<Granted>>);

#[derive(Debug, Clone)]
struct Granted {
    token: String,
    at: Boot,
    expiry: Boot,
    revoked: bool,
}

impl Grants {
    /// Remembers a token; `None`: it lives for ever.
    pub fn add(&self, token: &str, lifetime: Option<Duration>) {
        let at = SystemClock.now();
        let expiry = lifetime.map_or(Boot::NEVER, |lifetime| at.after(lifetime));
        self.0.update(|granted| granted.push(Granted { token: token.to_owned(), at, expiry, revoked: false }));
    }

    pub fn accepts(&self, token: &str) -> bool {
        let now = SystemClock.now();
        self.0.look(|granted| granted.iter().any(|one| one.token == token && !one.revoked && now < one.expiry))
    }

    /// From now on no token of before is accepted.
    pub fn revoke_all(&self) {
        self.0.update(|granted| granted.iter_mut().for_each(|one| one.revoked = true));
    }

    /// How many were granted.
    pub fn count(&self) -> usize {
        self.0.look(Vec::len)
    }

    /// All tokens, in order.
    pub fn tokens(&self) -> Vec<String> {
        self.0.look(|granted| granted.iter().map(|one| one.token.clone()).collect())
    }

    /// When the newest one was granted.
    pub fn newest_at(&self) -> Option<Boot> {
        self.0.look(|granted| granted.last().map(|one| one.at))
    }

    /// Waits until this many were granted.
    pub fn wait_for(&self, count: usize) {
        self.0.wait(&format!("{count} grants"), |granted| (granted.len() >= count).then_some(()));
    }

    /// Waits until the newest token is older than this: some promises begin with a token's age.
    pub fn wait_until_older_than(&self, age: Duration) {
        let at = self.newest_at().expect("something was granted");
        self.wait_until(at.after(age));
    }

    /// Waits until this point in time.
    pub fn wait_until(&self, point: Boot) {
        self.0.wait_at_most(point.since(SystemClock.now()), |_| None::<()>);
    }
}
