//! A token that is bound to a key, and the proof that we have the key (RFC 9449 section 7).

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;

use super::{Signed, Unsignable, Unsigned, attached, sensitive};
use crate::config::DPOP;
use crate::credential::dpop;
use crate::jws::{ProofKey, Proven};
use crate::secret::Masks;
use crate::token::{Attached, Token};

/// A token and the key that it is bound to.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    pub(in crate::credential) token: &'a Token,
    pub(in crate::credential) key: &'a ProofKey,
}

impl Bound<'_> {
    /// The token as it is attached anyway, and a proof beside it.
    pub(super) fn sign(&self, request: &Unsigned<'_>, now: SystemTime) -> Result<Signed, Unsignable> {
        let origin = request.origin();
        let proof = self.key.proof(&self.proven(&origin, request), now).map_err(|_| Unsignable::NoRandomBytes)?;
        let held = self.token.attached.first_header().map(|(name, value)| (name.clone(), value.clone()));
        let headers = held.into_iter().chain([(DPOP.clone(), sensitive(proof.expose()))]).collect();
        let masks = Arc::new(Masks::new([&self.token.value, &proof]));
        Ok(attached(&Arc::new(Attached::of_one_request(headers, None, masks))))
    }

    /// Keeps the nonce of an answer to such a request, and takes it out. Whether there was one.
    pub fn hear(&self, request: &Unsigned<'_>, answer: &mut HeaderMap) -> bool {
        let origin = request.origin();
        dpop::hear(self.key, &self.proven(&origin, request), answer)
    }

    fn proven<'p>(&'p self, origin: &'p str, request: &Unsigned<'p>) -> Proven<'p> {
        let (method, target) = (request.head.method.as_str(), request.head.target);
        Proven { method, origin, target, token: Some(&self.token.value) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, UNIX_EPOCH};

    use http::{HeaderMap, HeaderValue, Method};

    use super::*;
    use crate::clock::Ticker;
    use crate::config::{Attach, HttpUrl};
    use crate::credential::claims::claims;
    use crate::jws::SigningKey;
    use crate::secret::Secret;
    use crate::token::Generation;
    use crate::upstream::{OutgoingBody, OutgoingHead, ReplayBudget};

    fn token() -> Token {
        let (value, further) = (Secret::new("a-bound-token"), BTreeMap::new());
        let attached = Attached::of_token(&Attach::authorization("DPoP"), &value, &further).unwrap();
        let proof_key = Some(Arc::new(ProofKey::new(Arc::new(SigningKey::generate().unwrap()))));
        Token { generation: Generation(1), value, further, attached, proof_key }
    }

    fn bound(token: &Token) -> Bound<'_> {
        Bound { token, key: token.proof_key.as_ref().unwrap() }
    }

    /// Gives a request to an upstream of this URL to whoever looks at it.
    fn with_request<T>(url: &str, method: &Method, target: &str, look: impl FnOnce(&Unsigned<'_>) -> T) -> T {
        let url = HttpUrl::parse(url).unwrap();
        let headers = HeaderMap::new();
        let head = OutgoingHead { method, target, headers: &headers, over: [None; 3], wants_trailers: false };
        let (_, frames) = tokio::sync::mpsc::channel(1);
        let (budget, idle) = (ReplayBudget::new(0), Duration::from_secs(30));
        let body = OutgoingBody::scripted(frames, Some(0), budget, &Ticker::default(), idle);
        look(&Unsigned { https: url.https, authority: &url.authority(), head: &head, body: &body })
    }

    fn said(token: &Token, url: &str, method: &Method, target: &str) -> BTreeMap<&'static str, String> {
        let signed = with_request(url, method, target, |request| bound(token).sign(request, UNIX_EPOCH)).unwrap();
        let (name, proof) = &signed.attachment.attached().and_then(Attached::rest).unwrap().headers[0];
        assert!(*name == DPOP && proof.is_sensitive());
        assert_eq!(signed.attachment.attached().and_then(Attached::first_header).unwrap().1, "DPoP a-bound-token");
        claims(proof.to_str().unwrap(), UNIX_EPOCH).unwrap().into_iter().collect()
    }

    /// RFC 9449 section 4.2, RFC 3986 section 6.2.3: the URL as it is sent, without query and without the scheme's own port.
    #[test]
    fn the_url_of_a_proof_is_the_one_that_is_sent() {
        let token = token();
        for (url, target, htu) in [
            ("https://api.example:443/", "/a%2Fb/%c3%bc//c;d", "https://api.example/a%2Fb/%c3%bc//c;d"),
            ("https://API.example:8443", "/?q=1", "https://api.example:8443/"),
            ("http://[::1]:80", "/x?a=/b?c", "http://[::1]/x"),
        ] {
            assert_eq!(said(&token, url, &Method::GET, target)["htu"], htu);
        }
        assert_eq!(said(&token, "https://api.example", &Method::PATCH, "/")["htm"], "PATCH");
    }

    #[test]
    fn a_nonce_is_taken_out_of_an_answer() {
        let token = token();
        let mut answer = HeaderMap::new();
        answer.append("dpop-nonce", HeaderValue::from_static("n-1"));
        answer.append("content-type", HeaderValue::from_static("text/plain"));
        let (url, target) = ("https://api.example", "/");
        assert!(with_request(url, &Method::GET, target, |request| bound(&token).hear(request, &mut answer)));
        assert_eq!(answer.keys().collect::<Vec<_>>(), ["content-type"]);
        assert!(!with_request(url, &Method::GET, target, |request| bound(&token).hear(request, &mut answer)));
        assert_eq!(said(&token, url, &Method::GET, target)["nonce"], "n-1");
    }
}
