//! What a token endpoint may answer that wants to do us harm: the target of fuzz/, and a bounded run without it.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, StatusCode};
use zeroize::Zeroizing;

use super::answer::{Asked, read};
use super::aws_keys;
use super::claims::claims;
use super::dpop;
use super::endpoint::Reply;
use super::endpoint::body::decoded;
use super::failure::{Failure, hint};
use super::lacking_claims;
use super::reflection::Reflections;
use super::told::received;
use crate::config::{
    AllowedHost, AnswerShape, BaseUrl, Grant, HttpUrl, LifetimeFormat, LifetimeUnit, TokenEndpointAuthMethod,
};
use crate::jws::{ProofKey, Proven, SigningKey};
use crate::secret::Secret;
use crate::token::Granted;
use crate::token::lifetime::LIFETIME_MAX;

const SECRET: &str = "s3cret+/=:x";
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Failures are logged: what a server says cannot flood the log.
const FAILURE_BYTES_MAX: usize = 1000;
/// A person's terminal shows no more of it than that for each byte that was received.
const SHOWN_PER_BYTE_MAX: usize = 64;
/// A nonce has 1 KiB at most, and base64 makes a third more of it.
const PROOF_BYTES_MAX: usize = 4 * 1024;

const STATUSES: [u16; 11] = [200, 200, 200, 201, 204, 302, 400, 401, 403, 429, 503];
const CONTENT_TYPES: [&str; 6] =
    ["application/json", "", "text/html", "application/x-www-form-urlencoded", "application/xml", "text/plain"];
const ENCODINGS: [&str; 5] = ["", "identity", "gzip", "deflate", "br"];
const DATES: [&str; 3] = ["", "Tue, 14 Nov 2023 22:13:20 GMT", "Sun, 06 Nov 1994 08:49:37 GMT"];

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Too short to be one.
    Nothing,
    Granted,
    Failed,
}

/// Reads an answer as it would be read. The first five bytes choose status, headers and declared places, and whether the token
/// has to be a bound one; the rest is the body as it is received.
///
/// # Panics
/// If the answer broke a promise: a token that is no header value, a lifetime beyond all bounds, a base URL that is not
/// allowed, our secret or a control character in a text.
pub fn token_answer(data: &[u8]) -> End {
    let bound = data.get(4).is_some_and(|byte| *byte >= 0x80);
    answer(data).map_or(End::Nothing, |(reply, shape)| reads(&reply, &shape, bound))
}

/// The same as an answer with AWS keys: of a metadata server, of STS, and as a refusal.
///
/// # Panics
/// As [`token_answer`] does.
pub fn aws_keys_answer(data: &[u8]) -> End {
    let Some((reply, _)) = answer(data) else { return End::Nothing };
    let (secret, host, wall) = (Secret::new(SECRET), "sts.example.com", wall());
    promises_of_failure(&aws_keys::refusal(&reply, host, Some(&secret), false, wall));
    let read = [aws_keys::keys(&reply, host, Some(&secret), wall), aws_keys::keys_of_sts(&reply, host, wall)];
    let mut end = End::Failed;
    for read in read {
        match read {
            Ok(keys) => {
                keys.further.values().chain([&keys.value]).for_each(|key| promises_of_token(key.expose()));
                promises_of_lifetime(&keys);
                end = End::Granted;
            }
            Err(failure) => promises_of_failure(&failure),
        }
    }
    end
}

/// Hears a nonce for proofs (RFC 9449), and decodes the claims of a challenge.
///
/// # Panics
/// If the proof with that nonce is no header value, or the claims are no JSON object.
pub fn nonce_and_claims(data: &[u8]) {
    let key = ProofKey::new(Arc::new(SigningKey::generate().expect("the system gives random bytes")));
    let request = Proven { method: "POST", origin: "https://login.example.com", target: "/token", token: None };
    if let Ok(nonce) = HeaderValue::from_bytes(data) {
        let mut headers = HeaderMap::from_iter([(HeaderName::from_static("dpop-nonce"), nonce)]);
        dpop::hear(&key, &request, &mut headers);
        assert!(headers.is_empty(), "the nonce stays here");
    }
    let proof = key.proof(&request, wall()).expect("the system gives random bytes");
    assert!(proof.expose().len() < PROOF_BYTES_MAX && proof.expose().bytes().all(|byte| byte.is_ascii_graphic()));
    if let Some(claims) = std::str::from_utf8(data).ok().and_then(lacking_claims::decoded) {
        assert!(serde_json::from_str::<serde_json::Value>(&claims).is_ok_and(|claims| claims.is_object()));
    }
}

/// The same for showing it as `attache token` does.
///
/// # Panics
/// If our secret or a control character is shown, or much more than was received.
pub fn shown_answer(data: &[u8]) {
    if let Some((reply, shape)) = answer(data) {
        shows(&reply, &shape);
    }
}

fn answer(data: &[u8]) -> Option<(Reply, AnswerShape)> {
    let (&[status, content_type, encoding, date, shape], body) = data.split_first_chunk()?;
    let status = StatusCode::from_u16(pick(&STATUSES, status)).expect("they are legal");
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (CONTENT_TYPE, pick(&CONTENT_TYPES, content_type)),
        (CONTENT_ENCODING, pick(&ENCODINGS, encoding)),
        (DATE, pick(&DATES, date)),
    ] {
        if !value.is_empty() {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    // The server writes these, too.
    for name in [LOCATION, RETRY_AFTER, WWW_AUTHENTICATE] {
        if let Ok(value) = HeaderValue::from_bytes(&body[..body.len().min(100)]) {
            headers.insert(name, value);
        }
    }
    let body = decoded(&headers, Zeroizing::new(body.to_vec()));
    Some((Reply { status, headers, body }, pick(&shapes(), shape)))
}

fn pick<T: Clone>(all: &[T], by: u8) -> T {
    all[usize::from(by) % all.len()].clone()
}

/// Declared places, some of which no answer has.
fn shapes() -> [AnswerShape; 7] {
    let path = |path: &str| Some(path.into());
    let format = |format: &str| LifetimeFormat::parse(format).ok();
    let based = AnswerShape {
        values: [("api".to_owned(), "api".into())].into(),
        base_urls: [("api".to_owned(), BaseUrl { hosts: vec![below_example()], cleartext: false })].into(),
        ..Default::default()
    };
    [
        AnswerShape::default(),
        AnswerShape::default(),
        AnswerShape { token: path("credentials.token"), lifetime: path("credentials.life"), ..Default::default() },
        AnswerShape { lifetime: path("t"), lifetime_unit: Some(LifetimeUnit::Hours), ..Default::default() },
        AnswerShape { token: path("t"), lifetime: path("l"), lifetime_format: format("H:MM:SS"), ..Default::default() },
        AnswerShape { values_may_lack: true, ..based.clone() },
        based,
    ]
}

fn below_example() -> AllowedHost {
    AllowedHost { name: "example.com".to_owned(), below: true, port: None }
}

fn wall() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn reads(reply: &Reply, shape: &AnswerShape, bound: bool) -> End {
    let (secret, wall) = (Secret::new(SECRET), wall());
    let asked = Asked {
        host: "login.example.com",
        hint: &|status, code| hint(status, code, TokenEndpointAuthMethod::ClientSecretPost, &Grant::ClientCredentials),
        secrets: vec![&secret],
        shape,
        bound,
        wall,
    };
    match read(reply, &asked) {
        Ok(granted) => {
            let token = granted.value.expose();
            assert!(reply.status.is_success(), "{}", reply.status);
            promises_of_token(token);
            promises_of_lifetime(&granted);
            for name in shape.base_urls.keys() {
                promises_of_base_url(granted.further.get(name), shape.values_may_lack);
            }
            for (_, value) in claims(token, wall).into_iter().flatten() {
                assert!(!value.contains(char::is_control), "{value:?}");
            }
            End::Granted
        }
        Err(failure) => {
            promises_of_failure(&failure);
            End::Failed
        }
    }
}

fn promises_of_token(token: &str) {
    assert!(!token.is_empty() && token.len() <= TOKEN_BYTES_MAX && token.trim() == token);
    let header = HeaderValue::from_str(&["Bearer ", token].concat());
    assert!(header.is_ok_and(|value| value.to_str().is_ok()), "the token is no header value");
}

fn promises_of_lifetime(granted: &Granted) {
    assert!(granted.lifetime.is_none_or(|life| life <= LIFETIME_MAX), "{:?}", granted.lifetime);
    assert!(granted.refresh_in.is_none_or(|life| life <= LIFETIME_MAX), "{:?}", granted.refresh_in);
}

/// SEC-14, by other means than those of the rule.
fn promises_of_base_url(url: Option<&Secret>, may_lack: bool) {
    let Some(url) = url else { return assert!(may_lack, "it came without its base URL") };
    let parsed = HttpUrl::parse(url.expose()).expect("it is a URL");
    assert!(parsed.https && parsed.port == 443 && parsed.path.is_empty(), "{parsed}");
    assert!(parsed.host.strip_suffix(".example.com").is_some_and(|label| !label.is_empty()), "{parsed}");
    assert!(!url.expose().contains(['@', '?', '#', '\\']), "{parsed}");
}

fn promises_of_failure(failure: &Failure) {
    let text = failure.text();
    assert!(text.len() < FAILURE_BYTES_MAX, "{} bytes", text.len());
    assert!(!text.contains(SECRET) && !text.contains(char::is_control), "{text:?}");
}

fn shows(reply: &Reply, shape: &AnswerShape) {
    let secret = Secret::new(SECRET);
    let bytes = reply.body.as_ref().map_or(0, |body| body.len()) + 1000;
    let lines = received(reply, wall(), false, &[shape], &Reflections::of(&[&secret]));
    assert!(lines.iter().map(String::len).sum::<usize>() < SHOWN_PER_BYTE_MAX * bytes);
    for line in lines {
        assert!(!line.contains(SECRET) && !line.contains(char::is_control), "{line:?}");
    }
}
