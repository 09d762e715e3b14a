//! The tokens that the demo's authorization server has issued and the demo's API asks about: one state for both, so
//! that a revocation is seen at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};

use crate::clock::{Boot, Clock};

/// Short, so that a renewal can be watched.
pub(super) const LIFETIME: Duration = Duration::from_secs(30);

/// More are never valid at a time: a token request beyond it is refused until some have expired.
const VALID_TOKENS_MAX: usize = 1_000;

/// Valid tokens. They are opaque: the API can only ask here.
#[derive(Debug)]
pub(super) struct Tokens {
    clock: Arc<dyn Clock>,
    issued: Mutex<Issued>,
}

#[derive(Debug, Default)]
struct Issued {
    /// When each of them expires.
    valid: HashMap<String, Boot>,
    newest: Option<Boot>,
}

impl Tokens {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Tokens { clock, issued: Mutex::default() })
    }

    /// A new token, or `None` if too many are valid.
    pub(super) fn issue(&self) -> Option<String> {
        let now = self.clock.now();
        let token = random_text();
        self.with(|issued| {
            issued.valid.retain(|_, expiry| now < *expiry);
            if issued.valid.len() >= VALID_TOKENS_MAX {
                return None;
            }
            issued.valid.insert(token.clone(), now.after(LIFETIME));
            issued.newest = Some(now);
            Some(token)
        })
    }

    /// Whether the API lets a request with this token pass.
    pub(super) fn accepts(&self, token: &str) -> bool {
        let now = self.clock.now();
        self.with(|issued| issued.valid.get(token).is_some_and(|expiry| now < *expiry))
    }

    /// Revokes one token (RFC 7009); one that is not known is no error.
    pub(super) fn revoke(&self, token: &str) {
        self.with(|issued| issued.valid.remove(token));
    }

    /// Revokes all of them; returns how many there were.
    pub(super) fn revoke_all(&self) -> usize {
        let now = self.clock.now();
        self.with(|issued| issued.valid.drain().filter(|(_, expiry)| now < *expiry).count())
    }

    /// How long ago the last token was issued.
    pub(super) fn newest_age(&self) -> Option<Duration> {
        let now = self.clock.now();
        self.with(|issued| issued.newest.map(|newest| now.since(newest)))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Issued) -> T) -> T {
        // A panic while this was held leaves a map that is still a map.
        work(&mut self.issued.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// 256 random bits as text.
pub(super) fn random_text() -> String {
    let mut bytes = [0_u8; 32];
    SystemRandom::new().fill(&mut bytes).expect("the system gives random bytes");
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::clock::ManualClock;

    fn tokens() -> (Arc<ManualClock>, Arc<Tokens>) {
        let clock = Arc::new(ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
        (clock.clone(), Tokens::new(clock))
    }

    #[test]
    fn a_token_is_accepted_until_it_expires() {
        let (clock, tokens) = tokens();
        let token = tokens.issue().unwrap();
        clock.advance(LIFETIME - Duration::from_nanos(1));
        assert!(tokens.accepts(&token));
        clock.advance(Duration::from_nanos(1));
        assert!(!tokens.accepts(&token));
    }

    #[test]
    fn a_revoked_token_is_refused_and_others_are_not() {
        let (_clock, tokens) = tokens();
        let (first, second) = (tokens.issue().unwrap(), tokens.issue().unwrap());
        tokens.revoke(&first);
        assert!(!tokens.accepts(&first));
        assert!(tokens.accepts(&second));
        assert_eq!(tokens.revoke_all(), 1);
        assert!(!tokens.accepts(&second));
    }

    #[test]
    fn valid_tokens_are_bounded_and_expired_ones_make_room() {
        let (clock, tokens) = tokens();
        for _ in 0..VALID_TOKENS_MAX {
            tokens.issue().unwrap();
        }
        assert_eq!(tokens.issue(), None);
        clock.advance(LIFETIME);
        assert!(tokens.issue().is_some());
    }

    #[test]
    fn the_age_is_that_of_the_newest_token() {
        let (clock, tokens) = tokens();
        assert_eq!(tokens.newest_age(), None);
        tokens.issue().unwrap();
        clock.advance(Duration::from_secs(5));
        tokens.issue().unwrap();
        clock.advance(Duration::from_secs(2));
        assert_eq!(tokens.newest_age(), Some(Duration::from_secs(2)));
    }
}
