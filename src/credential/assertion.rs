//! The assertions of RFC 7523 and OpenID Connect Core section 9: a JWT of our own in place of a secret, or as a grant.

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::error::Unspecified;
use serde_json::{Value, json};

use crate::config::{ClientAssertion, HttpUrl, JwtBearer};
use crate::jws::jti;
use crate::secret::Secret;

/// `client_assertion_type` of RFC 7523 section 2.2.
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// It is used at once. Some servers take no longer ones: Box a minute, Salesforce three, Google an hour.
const LIFETIME: Duration = Duration::from_secs(60);

/// What proves the client (RFC 7523 section 2.2), never used before. `now` is the wall clock's.
///
/// # Errors
/// The system gave no random bytes.
pub(super) fn client_assertion(
    config: &ClientAssertion,
    client_id: &str,
    token_url: &HttpUrl,
    now: SystemTime,
) -> Result<Secret, Unspecified> {
    let mut claims = fresh_claims(config.audience.as_deref(), token_url, now)?;
    claims["nbf"] = claims["iat"].clone();
    for who in ["iss", "sub"] {
        claims[who] = client_id.into();
    }
    config.key.sign(config.key_id.as_deref(), &claims)
}

/// What stands for a token (RFC 7523 section 2.1), never used before. `now` is the wall clock's. Without `nbf`, which
/// nobody asks for and a clock that is behind ours would not forgive.
///
/// # Errors
/// The system gave no random bytes.
pub(super) fn grant_assertion(config: &JwtBearer, token_url: &HttpUrl, now: SystemTime) -> Result<Secret, Unspecified> {
    let mut claims = fresh_claims(config.audience.as_deref(), token_url, now)?;
    claims["iss"] = config.issuer.as_str().into();
    if let Some(subject) = &config.subject {
        claims["sub"] = subject.as_str().into();
    }
    for (name, value) in &config.claims {
        claims[name] = value.as_str().into();
    }
    config.key.sign(config.key_id.as_deref(), &claims)
}

/// Whom it is for and for how long, and an id that was never used.
fn fresh_claims(audience: Option<&str>, token_url: &HttpUrl, now: SystemTime) -> Result<Value, Unspecified> {
    let now_s = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(json!({
        "aud": audience.map_or_else(|| token_url.to_string(), str::to_owned),
        "jti": jti()?,
        "iat": now_s,
        "exp": now_s + LIFETIME.as_secs(),
    }))
}
