//! A token that is bound to a key, and the proof that we have the key (RFC 9449 section 7).

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;

use super::{Signed, Unsignable, Unsigned, attached, sensitive};
use crate::config::DPOP;
use crate::credential::dpop;
use crate::jws::Proven;
use crate::secret::Masks;
use crate::token::{Attached, Token};

/// The token as it is attached anyway, and a proof beside it. A token without a key, which only the moment of a reload
/// that asks for `dpop` can bring here, goes alone.
pub(super) fn sign(token: &Token, request: &Unsigned<'_>, now: SystemTime) -> Result<Signed, Unsignable> {
    let held = &token.attached;
    let mut headers: Vec<_> =
        held.first_header().map(|(name, value)| (name.clone(), value.clone())).into_iter().collect();
    let Some(key) = &token.proof_key else {
        return Ok(attached(&Arc::new(Attached::of_one_request(headers, None, held.masks().clone()))));
    };
    let origin = request.origin();
    let proof = key.proof(&proven(token, &origin, request), now).map_err(|_| Unsignable::NoRandomBytes)?;
    headers.push((DPOP.clone(), sensitive(proof.expose())));
    let masks = Arc::new(Masks::new([&token.value, &proof]));
    Ok(attached(&Arc::new(Attached::of_one_request(headers, None, masks))))
}

/// Keeps the nonce of an answer to such a request, and takes it out. Whether there was one.
pub(super) fn hear(token: &Token, request: &Unsigned<'_>, answer: &mut HeaderMap) -> bool {
    let origin = request.origin();
    token.proof_key.as_ref().is_some_and(|key| dpop::hear(key, &proven(token, &origin, request), answer))
}

fn proven<'a>(token: &'a Token, origin: &'a str, request: &Unsigned<'a>) -> Proven<'a> {
    Proven { method: request.head.method.as_str(), origin, target: request.head.target, token: Some(&token.value) }
}
