//! What a token endpoint answered, with its secrets masked.

use std::time::{Duration, SystemTime};

use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, EXPIRES, LOCATION, PRAGMA,
    RETRY_AFTER, SERVER, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TRANSFER_ENCODING, VARY, VIA, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::SHOWN_BYTES_MAX;
use crate::config::{AnswerPlace, AnswerShape, HttpUrl};
use crate::credential::answer::document::{self, Document};
use crate::credential::answer::{content_type, date};
use crate::credential::endpoint::Reply;
use crate::credential::mask::{AnswerMask, mask};
use crate::credential::reflection::Reflections;

/// Clocks that differ by less agree: `Date` has whole seconds, and an answer takes its time.
const CLOCKS_AGREE: Duration = Duration::from_secs(2);

/// What headers an answer may have that hold no secret. Of all others the names are shown, and the values masked.
const RECEIVED: [HeaderName; 15] = [
    ALLOW,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EXPIRES,
    PRAGMA,
    RETRY_AFTER,
    SERVER,
    STRICT_TRANSPORT_SECURITY,
    TRANSFER_ENCODING,
    VARY,
    VIA,
    WWW_AUTHENTICATE,
];
/// By these a provider's support finds the request in its logs.
const REQUEST_IDS: [&str; 13] = [
    "cf-ray",
    "client-request-id",
    "correlation-id",
    "paypal-debug-id",
    "request-id",
    "x-amzn-requestid",
    "x-amzn-trace-id",
    "x-correlation-id",
    "x-github-request-id",
    "x-ms-ests-server",
    "x-ms-request-id",
    "x-okta-request-id",
    "x-request-id",
];
/// Of a metadata document, which is long, what decides how a token is asked for (RFC 8414 section 2).
const METADATA: [&str; 6] = [
    "issuer",
    "token_endpoint",
    "token_endpoint_auth_methods_supported",
    "token_endpoint_auth_signing_alg_values_supported",
    "grant_types_supported",
    "mtls_endpoint_aliases",
];

/// How far this machine's clock is from the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clocks {
    Agree,
    Ahead(Duration),
    Behind(Duration),
}

/// The difference between an answer's `Date` and this machine's clock; `None` without a `Date`.
pub(in crate::credential) fn clocks(headers: &HeaderMap, wall: SystemTime) -> Option<Clocks> {
    let date = date(headers)?;
    Some(match wall.duration_since(date) {
        Ok(ahead) if ahead > CLOCKS_AGREE => Clocks::Ahead(Duration::from_secs(ahead.as_secs())),
        Err(behind) if behind.duration() > CLOCKS_AGREE => {
            Clocks::Behind(Duration::from_secs(behind.duration().as_secs()))
        }
        Ok(_) | Err(_) => Clocks::Agree,
    })
}

pub(in crate::credential) fn received(
    reply: &Reply,
    wall: SystemTime,
    is_metadata: bool,
    shapes: &[&AnswerShape],
    reflections: &Reflections<'_>,
) -> Vec<String> {
    let mut lines = vec![reply.status.to_string()];
    for (name, value) in reply.headers.iter().filter(|(name, _)| **name != DATE) {
        lines.push(received_header(name, value, shapes, reflections));
    }
    if let Some(clocks) = clocks(&reply.headers, wall) {
        let date = reply.headers.get(DATE).and_then(|date| date.to_str().ok()).unwrap_or_default();
        lines.push(match clocks {
            Clocks::Agree => format!("date: {date} (this machine's clock agrees)"),
            Clocks::Ahead(by) => format!("date: {date} (this machine's clock is {} s ahead)", by.as_secs()),
            Clocks::Behind(by) => format!("date: {date} (this machine's clock is {} s behind)", by.as_secs()),
        });
    }
    lines.push(String::new());
    lines.extend(received_body(reply, is_metadata, shapes, reflections));
    lines
}

/// A header as it may be shown: its name always, for what was expected may have come under another one.
fn received_header(
    name: &HeaderName,
    value: &HeaderValue,
    shapes: &[&AnswerShape],
    reflections: &Reflections<'_>,
) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    let quoted = |text: &str| reflections.quotable(text, SHOWN_BYTES_MAX);
    let masked = || if text.is_empty() { String::new() } else { mask(&text) };
    let shown = if *name == SET_COOKIE {
        text.split_once('=').and_then(|(cookie, rest)| {
            let value = rest.split(';').next().unwrap_or_default();
            Some(format!("{}={}", quoted(cookie)?, mask(value)))
        })
    } else if *name == LOCATION {
        // The rest of where a redirect leads may repeat the request.
        HttpUrl::parse(&text).ok().and_then(|url| quoted(&format!("{}://{}/...", url.scheme(), url.authority())))
    } else {
        let is_harmless = RECEIVED.contains(name) || REQUEST_IDS.contains(&name.as_str());
        let is_declared = || declared(shapes).any(|place| *place == AnswerPlace::Header(name.clone()));
        quoted(&text).filter(|_| is_harmless && !is_declared())
    };
    let name = quoted(name.as_str()).unwrap_or_else(|| mask(name.as_str()));
    format!("{name}: {}", shown.unwrap_or_else(masked))
}

fn received_body(
    reply: &Reply,
    is_metadata: bool,
    shapes: &[&AnswerShape],
    reflections: &Reflections<'_>,
) -> Vec<String> {
    let body = match &reply.body {
        Ok(body) => body,
        Err(unreadable) => return vec![format!("({unreadable})")],
    };
    let success = reply.status.is_success();
    match Document::parse(body, content_type(&reply.headers)) {
        Document::Members(members) => {
            let members = if is_metadata && success { metadata(&members) } else { members };
            let is_error = !success || document::error(&members).is_some();
            if success && !is_error && declared(shapes).any(|place| *place == AnswerPlace::Body) {
                return vec![mask(&String::from_utf8_lossy(body))];
            }
            let declared = declared(shapes).filter_map(member).collect();
            let errors = shapes.iter().filter_map(|shape| shape.error.as_deref()?.rsplit('.').next()).collect();
            let shown = AnswerMask { reflections, is_error, declared, errors }.json("", &members);
            format!("{shown:#}").lines().map(str::to_owned).collect()
        }
        Document::Empty => vec!["(no body)".to_owned()],
        Document::Html => vec![format!("(an HTML page of {} bytes)", body.len())],
        Document::Xml => vec![format!("(XML, {} bytes)", body.len())],
        Document::Unreadable(why) => vec![format!("({why})")],
        // A success may be nothing but a token.
        Document::Text(text) if success => vec![mask(&text)],
        Document::Text(text) => vec![reflections.quotable(&text, SHOWN_BYTES_MAX).unwrap_or_else(|| mask(&text))],
    }
}

/// Where secrets are declared to stand.
fn declared<'a>(shapes: &[&'a AnswerShape]) -> impl Iterator<Item = &'a AnswerPlace> {
    shapes.iter().flat_map(|shape| shape.secret_places())
}

/// The member that a path leads to, or the list of which it is an item.
fn member(place: &AnswerPlace) -> Option<&str> {
    let AnswerPlace::Path(path) = place else { return None };
    path.rsplit('.').find(|name| name.parse::<usize>().is_err())
}

fn metadata(document: &Value) -> Value {
    METADATA.iter().filter_map(|name| Some(((*name).to_owned(), document.get(*name)?.clone()))).collect()
}
