//! The client assertion of RFC 7523 section 2.2 and OpenID Connect Core section 9: a JWT of our own in place of a secret.

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use crate::config::{ClientAssertion, HttpUrl};
use crate::secret::Secret;

/// `client_assertion_type` of RFC 7523 section 2.2.
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// It is used at once.
const LIFETIME: Duration = Duration::from_secs(60);
const JTI_BYTES: usize = 16;

/// An assertion that has never been used. `now` is the wall clock's.
///
/// # Errors
/// The system gave no random bytes.
pub(super) fn assertion(
    config: &ClientAssertion,
    client_id: &str,
    token_url: &HttpUrl,
    now: SystemTime,
) -> Result<Secret, Unspecified> {
    let mut jti = [0; JTI_BYTES];
    SystemRandom::new().fill(&mut jti)?;
    let now_s = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = json!({
        "iss": client_id,
        "sub": client_id,
        "aud": config.audience.clone().unwrap_or_else(|| token_url.to_string()),
        "jti": URL_SAFE_NO_PAD.encode(jti),
        "iat": now_s,
        "nbf": now_s,
        "exp": now_s + LIFETIME.as_secs(),
    });
    config.key.sign(config.key_id.as_deref(), &claims)
}
