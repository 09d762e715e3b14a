//! Tokens that are bound to a key (RFC 9449, DPoP): the keys that are made here, and what is said of them at token
//! endpoints. What goes to upstreams is in [`super::sign`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use http::{HeaderMap, HeaderName};

use crate::config::{self, Dpop, TokenEndpoint};
use crate::jws::{ProofKey, Proven, SigningKey};

/// Where a server says which nonce it wants in the next proof, RFC 9449 section 8.
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The keys at work, with the nonces that servers gave. One lives as long as a credential uses it, also across reloads.
#[derive(Debug, Default)]
pub struct ProofKeys {
    keys: Mutex<BTreeMap<Name, Weak<ProofKey>>>,
}

/// Which key.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    /// The one that was made for a client of an authorization server: no two servers know by it that they serve the same, and
    /// no two clients share one.
    Made { server: String, client_id: String },
    /// The one with this public half, however often it is read.
    Given(Vec<u8>),
}

impl ProofKeys {
    /// The key that tokens of this grant are bound to, if they are.
    ///
    /// # Panics
    /// If the system gives no random bytes.
    pub(super) fn of(&self, config: &config::OAuth2) -> Option<Arc<ProofKey>> {
        let dpop = config.dpop.as_ref()?;
        let name = match dpop {
            Dpop::Made => Name::Made { server: server(&config.endpoint), client_id: config.client_id.clone() },
            Dpop::Given(key) => Name::Given(key.identity().to_vec()),
        };
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|_, key| key.strong_count() > 0);
        if let Some(key) = keys.get(&name).and_then(Weak::upgrade) {
            return Some(key);
        }
        let key = match dpop {
            Dpop::Made => Arc::new(SigningKey::generate().expect("the system gives random bytes")),
            Dpop::Given(key) => key.clone(),
        };
        let key = Arc::new(ProofKey::new(key));
        keys.insert(name, Arc::downgrade(&key));
        Some(key)
    }
}

fn server(endpoint: &TokenEndpoint) -> String {
    match endpoint {
        TokenEndpoint::Url(url) => url.to_string(),
        TokenEndpoint::Issuer { issuer, .. } => issuer.clone(),
    }
}

/// Keeps the nonce of an answer for the proofs after this one, and takes it out. Whether there was one.
pub(super) fn hear(key: &ProofKey, request: &Proven<'_>, answer: &mut HeaderMap) -> bool {
    let nonce = answer.remove(DPOP_NONCE);
    nonce.as_ref().and_then(|nonce| nonce.to_str().ok()).is_some_and(|nonce| key.heard(request, nonce))
}

/// The likely cause of what a token endpoint says of a proof. `bound`: whether there was one; `heard`: whether a nonce came.
pub(super) fn hint(code: Option<&str>, bound: bool, heard: bool) -> Option<String> {
    let hint = match (code?, bound) {
        ("invalid_dpop_proof" | "use_dpop_nonce", false) => {
            "the server binds tokens to a key of the client: say `dpop = true`"
        }
        ("invalid_dpop_proof", true) => {
            "check this machine's clock, that `token_url` is the URL that the server knows itself by, and that it takes \
             this kind of key"
        }
        ("use_dpop_nonce", true) if heard => "the server does not take the nonce that it has just given",
        ("use_dpop_nonce", true) => "the server wants a nonce in the proof, and gives none",
        _ => return None,
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::oauth2::tests::grant;
    use super::*;
    use crate::config::HttpUrl;
    use crate::jws::tests::{P256, P384};

    /// TL-04: what tells one key from another is whose it is, and not when a reload asks for it.
    #[test]
    fn each_client_of_each_server_has_a_key_of_its_own() {
        let keys = ProofKeys::default();
        let of = |dpop: &dyn Fn() -> Dpop, url: &str, client_id: &str| {
            let endpoint = TokenEndpoint::Url(HttpUrl::parse(url).unwrap());
            let grant = config::OAuth2 { dpop: Some(dpop()), client_id: client_id.to_owned(), ..grant(endpoint) };
            keys.of(&grant).unwrap()
        };
        let read = |pem: &'static str| move || Dpop::Given(Arc::new(SigningKey::from_pem(pem, None).unwrap()));
        let (made, one, other) = (|| Dpop::Made, read(P256), read(P384));
        let (here, there) = ("https://here.example/token", "https://there.example/token");
        let all: Vec<_> = [
            of(&made, here, "a"),
            of(&made, here, "b"),
            of(&made, there, "a"),
            of(&one, here, "a"),
            of(&other, here, "a"),
        ]
        .into();
        for (index, key) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|before| before.identity() != key.identity()), "{index}");
        }
        let again = [of(&made, here, "a"), of(&one, there, "b")];
        assert!(Arc::ptr_eq(&again[0], &all[0]) && Arc::ptr_eq(&again[1], &all[3]));
        drop((all, again));
        of(&made, here, "c");
        assert_eq!(keys.keys.lock().unwrap().len(), 1, "what nobody uses is forgotten");
    }
}
