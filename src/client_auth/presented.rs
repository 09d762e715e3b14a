//! The keys that a request presents: read from its headers, hashed, and never kept.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::Unrecognised;
use super::key::{KeyDigest, digest_of};

/// Where SDKs put a key that is no Bearer token.
pub(super) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// User name and password of Basic, before base64. Ours are 51 bytes; the rest is room for a user name.
const BASIC_PAIR_BYTES_MAX: usize = 1024;

/// Clients leave the padding out as often as not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The digest of the one key that a request presents. The same key in both places is one key.
pub(super) fn digest(headers: &HeaderMap) -> Result<KeyDigest, Unrecognised> {
    let authorization = match only(headers, &AUTHORIZATION)? {
        Some(value) => authorization_digest(value.as_bytes())?,
        None => None,
    };
    let api_key = match only(headers, &X_API_KEY)? {
        Some(value) => Some(key_digest(value.as_bytes())?),
        None => None,
    };
    match (authorization, api_key) {
        (None, None) => Err(Unrecognised::Missing),
        (Some(digest), None) | (None, Some(digest)) => Ok(digest),
        // Comparing digests early-out tells a caller nothing but whether two keys that it sent itself are equal.
        (Some(one), Some(other)) if one == other => Ok(one),
        (Some(_), Some(_)) => Err(Unrecognised::Ambiguous),
    }
}

/// The value of a field that must not be repeated: two lines are two credentials, whatever they say.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Unrecognised> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next();
    if lines.next().is_some() { Err(Unrecognised::Ambiguous) } else { Ok(first) }
}

/// The key in `Authorization`: `scheme SP credentials`, the scheme in any case (RFC 9110 section 11.4).
///
/// `None` for other schemes: an SDK that signs its requests for the third party sends them, they hold no key of ours,
/// and they are removed before anything goes out.
fn authorization_digest(value: &[u8]) -> Result<Option<KeyDigest>, Unrecognised> {
    let scheme_end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, credentials) = value.split_at(scheme_end);
    let credentials = credentials.get(1..).unwrap_or_default();
    if scheme.eq_ignore_ascii_case(b"bearer") {
        key_digest(credentials).map(Some)
    } else if scheme.eq_ignore_ascii_case(b"basic") {
        basic_digest(credentials).map(Some)
    } else {
        Ok(None)
    }
}

/// A key holds visible characters only, so that `Bearer  x` and `Bearer x, Bearer y` are nobody's.
fn key_digest(key: &[u8]) -> Result<KeyDigest, Unrecognised> {
    if key.is_empty() || !key.iter().all(u8::is_ascii_graphic) {
        return Err(Unrecognised::Malformed);
    }
    Ok(digest_of(key))
}

/// The password of Basic (RFC 7617 section 2); the user name says nothing to us.
fn basic_digest(encoded: &[u8]) -> Result<KeyDigest, Unrecognised> {
    // On the stack, since this happens for every request of such a client.
    let mut pair = Zeroizing::new([0_u8; BASIC_PAIR_BYTES_MAX]);
    let length = BASE64.decode_slice(encoded, pair.as_mut()).map_err(|_| Unrecognised::Malformed)?;
    let pair = &pair[..length];
    let colon = memchr::memchr(b':', pair).ok_or(Unrecognised::Malformed)?;
    key_digest(&pair[colon + 1..])
}
