//! Tokens that are bound to a key (RFC 9449, DPoP): the keys that are made here, and what is said of them at token
//! endpoints. What goes to upstreams is in [`super::sign`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use http::{HeaderMap, HeaderName};

use crate::config::{self, Dpop, TokenEndpoint};
use crate::jws::{ProofKey, Proven, SigningKey};

/// Where a server says which nonce it wants in the next proof, RFC 9449 section 8.
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The keys that were made, one for each authorization server, so that no two servers know by the key that they serve the
/// same client. One lives as long as a credential uses it, also across reloads.
#[derive(Debug, Default)]
pub struct ProofKeys {
    made: Mutex<BTreeMap<String, Weak<ProofKey>>>,
}

impl ProofKeys {
    /// The key that tokens of this grant are bound to, if they are.
    ///
    /// # Panics
    /// If the system gives no random bytes.
    pub(super) fn of(&self, config: &config::OAuth2) -> Option<Arc<ProofKey>> {
        match config.dpop.as_ref()? {
            Dpop::Given(key) => Some(key.clone()),
            Dpop::Made => Some(self.made_for(&config.endpoint)),
        }
    }

    fn made_for(&self, endpoint: &TokenEndpoint) -> Arc<ProofKey> {
        let server = match endpoint {
            TokenEndpoint::Url(url) => url.to_string(),
            TokenEndpoint::Issuer { issuer, .. } => issuer.clone(),
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|_, key| key.strong_count() > 0);
        if let Some(key) = made.get(&server).and_then(Weak::upgrade) {
            return key;
        }
        let key = SigningKey::generate().expect("the system gives random bytes");
        let key = Arc::new(ProofKey::new(key));
        made.insert(server, Arc::downgrade(&key));
        key
    }
}

/// Keeps the nonce of an answer for the proofs after this one, and takes it out. Whether there was one.
pub(super) fn hear(key: &ProofKey, request: &Proven<'_>, answer: &mut HeaderMap) -> bool {
    let nonce = answer.remove(DPOP_NONCE);
    nonce.as_ref().and_then(|nonce| nonce.to_str().ok()).is_some_and(|nonce| key.heard(request, nonce))
}

/// The likely cause of what a token endpoint says of a proof. `bound`: whether there was one.
pub(super) fn hint(code: Option<&str>, bound: bool) -> Option<String> {
    let hint = match (code?, bound) {
        ("invalid_dpop_proof" | "use_dpop_nonce", false) => {
            "the server binds tokens to a key of the client: say `dpop = true`"
        }
        ("invalid_dpop_proof", true) => {
            "check this machine's clock, that `token_url` is the URL that the server knows itself by, and that it takes \
             this kind of key"
        }
        ("use_dpop_nonce", true) => "the server does not take the nonce that it has just given",
        _ => return None,
    };
    Some(hint.to_owned())
}
