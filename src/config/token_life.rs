//! What credentials have in common whose tokens are fetched.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::AUTHORIZATION;

use super::{ApiKeyPlace, BaseUrl, Piece, Template};

/// Where a token goes, and what goes with it. At least one part; no two of them go to one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attach {
    pub parts: Vec<AttachPart>,
    /// The values that say where upstreams are, by name: a token with another one is not sent at all.
    pub base_urls: BTreeMap<String, BaseUrl>,
}

/// One header, query parameter or cookie that a token credential sets. `token` is the token itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachPart {
    pub place: ApiKeyPlace,
    pub value: Template,
}

/// `Authorization: Bearer TOKEN`, RFC 6750 section 2.1.
impl Default for Attach {
    fn default() -> Self {
        Attach::authorization("Bearer")
    }
}

impl Attach {
    /// `Authorization: SCHEME TOKEN`.
    pub fn authorization(scheme: &str) -> Self {
        let value = Template { pieces: vec![Piece::Text(format!("{scheme} ")), Piece::Value("token".to_owned())] };
        Attach {
            parts: vec![AttachPart { place: ApiKeyPlace::Header(AUTHORIZATION), value }],
            base_urls: BTreeMap::new(),
        }
    }
}

/// When a credential's token is fetched and renewed, how its endpoint is reached, and where it goes: the same for every kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenLife {
    /// Begin to renew this long before expiry; wins over the server's `refresh_in` and the default (TL-20 ff.).
    pub refresh_before: Option<Duration>,
    /// Renew without traffic if used within this time: 24 h; zero: never (TL-29).
    pub keep_warm: Duration,
    /// The provider ends a token when it grants the next one (TL-13).
    pub single_active: bool,
    pub warm: Warm,
    /// Send an expired token for this long after its expiry if none can be had: zero unless asked for (TL-24).
    pub stale_if_error: Duration,
    /// Where it goes: `Authorization: Bearer` unless said otherwise.
    pub attach: Attach,
    /// Whether names may resolve to private addresses (SEC-14).
    pub private: bool,
    /// Whether plain http is allowed beyond loopback (TL-35).
    pub cleartext: bool,
    pub timeouts: TokenTimeouts,
}

/// Whether a token is fetched at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warm {
    No,
    Yes,
    /// `/readyz` waits for the first token, 30 s at most (SEC-45).
    Required,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenTimeouts {
    /// 3 s.
    pub connect: Duration,
    /// 10 s.
    pub attempt: Duration,
    /// 30 s.
    pub total: Duration,
}
