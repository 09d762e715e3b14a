//! Proofs of possession, RFC 9449 (DPoP): a token that is bound to a key is of no use to whoever sees it without the key.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::error::Unspecified;
use serde_json::{Value, json};

use super::{SigningKey, jti};
use crate::secret::Secret;

/// A key talks to the token endpoint and to its upstreams; whatever is beyond this is forgotten, the oldest first, which
/// costs a round trip.
const NONCES_MAX: usize = 64;
/// A longer one is no nonce.
const NONCE_BYTES_MAX: usize = 1024;

/// A key that tokens are bound to, and what servers want to find in its proofs.
pub struct ProofKey {
    key: Arc<SigningKey>,
    /// What the header of each proof says.
    header: Value,
    nonces: Mutex<VecDeque<Remembered>>,
}

struct Remembered {
    place: Place,
    nonce: String,
}

/// Who gave a nonce: scheme and authority; the token endpoint of an origin has other ones than the rest of it.
#[derive(PartialEq, Eq)]
struct Place {
    origin: String,
    is_token_endpoint: bool,
}

/// A request that a proof is for.
#[derive(Debug, Clone, Copy)]
pub struct Proven<'a> {
    pub method: &'a str,
    /// Scheme and authority as they are sent, the scheme's own port left out.
    pub origin: &'a str,
    /// Path and query as they are sent; the proof is not about the query.
    pub target: &'a str,
    /// The token that goes along with it. None: this is a token request.
    pub token: Option<&'a Secret>,
}

impl ProofKey {
    /// The key has to be a private one: a shared secret, which stands in where no key is read, proves nothing.
    pub fn new(key: Arc<SigningKey>) -> Self {
        let jwk = key.public_jwk().unwrap_or_default();
        let header = json!({ "typ": "dpop+jwt", "alg": key.algorithm().name(), "jwk": jwk });
        ProofKey { key, header, nonces: Mutex::default() }
    }

    /// What is the same for the same key only.
    pub fn identity(&self) -> &[u8] {
        self.key.identity()
    }

    /// The `DPoP` header's value for one request, never used before (RFC 9449 section 4.2). `now` is the wall clock's. Takes
    /// up to some milliseconds with RSA.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn proof(&self, request: &Proven<'_>, now: SystemTime) -> Result<Secret, Unspecified> {
        let path = request.target.split('?').next().unwrap_or_default();
        let mut claims = json!({
            "jti": jti()?,
            "htm": request.method,
            "htu": format!("{}{path}", request.origin),
            "iat": now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        });
        if let Some(token) = request.token {
            claims["ath"] = URL_SAFE_NO_PAD.encode(digest(&SHA256, token.expose().as_bytes())).into();
        }
        let place = request.place();
        let nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = nonces.iter().find(|known| known.place == place) {
            claims["nonce"] = known.nonce.as_str().into();
        }
        drop(nonces);
        self.key.sign_with(&self.header, &claims)
    }

    /// Keeps the nonce of the answer to a request, in place of the one before it (RFC 9449 section 8.2). Whether it can be
    /// kept: what is no nonce (visible ASCII, 1 KiB at most) is not.
    pub fn heard(&self, request: &Proven<'_>, nonce: &str) -> bool {
        if nonce.is_empty() || nonce.len() > NONCE_BYTES_MAX || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return false;
        }
        let (place, nonce) = (request.place(), nonce.to_owned());
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        match nonces.iter_mut().find(|known| known.place == place) {
            Some(known) => known.nonce = nonce,
            None => {
                nonces.truncate(NONCES_MAX - 1);
                nonces.push_front(Remembered { place, nonce });
            }
        }
        true
    }
}

impl Proven<'_> {
    fn place(&self) -> Place {
        Place { origin: self.origin.to_owned(), is_token_endpoint: self.token.is_none() }
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProofKey({})", self.key.algorithm().name())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::jws::tests::verified;

    const REQUEST: Proven<'static> =
        Proven { method: "POST", origin: "https://server.example.com", target: "/token?b=c%20d", token: None };

    fn claims(key: &ProofKey, request: &Proven<'_>) -> Value {
        let now = UNIX_EPOCH + Duration::from_secs(1_562_262_616);
        verified(key.proof(request, now).unwrap().expose(), &key.key).1
    }

    fn key() -> ProofKey {
        ProofKey::new(Arc::new(SigningKey::generate().unwrap()))
    }

    /// RFC 9449 section 4.2: as the examples of sections 5 and 7.1 have it.
    #[test]
    fn a_proof_says_what_is_sent_and_with_which_token() {
        let key = key();
        let proof = key.proof(&REQUEST, UNIX_EPOCH).unwrap();
        let (header, _) = verified(proof.expose(), &key.key);
        assert_eq!((header["typ"].as_str(), header["alg"].as_str()), (Some("dpop+jwt"), Some("ES256")));
        assert_eq!(header["jwk"]["kty"], "EC");
        assert_eq!(header["jwk"].as_object().unwrap().len(), 4, "only what is public: {header}");
        let first = claims(&key, &REQUEST);
        assert_eq!((first["htm"].as_str(), first["iat"].as_u64()), (Some("POST"), Some(1_562_262_616)));
        assert_eq!(first["htu"], "https://server.example.com/token");
        assert!(first.get("ath").is_none() && first.get("nonce").is_none(), "{first}");
        assert_ne!(claims(&key, &REQUEST)["jti"], first["jti"]);
        // The token and its hash of section 7.1.
        let token = Secret::new("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU");
        let with = Proven { token: Some(&token), ..REQUEST };
        assert_eq!(claims(&key, &with)["ath"], "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
    }

    #[test]
    fn each_server_has_its_own_nonce_and_the_last_one_counts() {
        let key = key();
        let token = Secret::new("a-token");
        let upstream = Proven { token: Some(&token), target: "/elsewhere", ..REQUEST };
        let other = Proven { origin: "https://other.example.com", ..REQUEST };
        assert!(key.heard(&REQUEST, "of-the-token-endpoint"));
        assert!(key.heard(&upstream, "before"));
        assert!(key.heard(&upstream, "of-the-upstream"));
        for (request, nonce) in
            [(REQUEST, Some("of-the-token-endpoint")), (upstream, Some("of-the-upstream")), (other, None)]
        {
            assert_eq!(claims(&key, &request).get("nonce").and_then(Value::as_str), nonce, "{request:?}");
        }
        for nonsense in ["", "two words", "über", &"x".repeat(NONCE_BYTES_MAX + 1)] {
            assert!(!key.heard(&REQUEST, nonsense), "{nonsense}");
        }
        assert_eq!(claims(&key, &REQUEST)["nonce"], "of-the-token-endpoint");
    }

    #[test]
    fn nonces_are_bounded() {
        let key = key();
        for number in 0..2 * NONCES_MAX {
            let origin = format!("https://{number}.example.com");
            assert!(key.heard(&Proven { origin: &origin, ..REQUEST }, "nonce"));
        }
        assert_eq!(key.nonces.lock().unwrap().len(), NONCES_MAX);
        assert!(claims(&key, &REQUEST).get("nonce").is_none());
        assert!(!format!("{key:?}").contains("nonce"));
    }
}
