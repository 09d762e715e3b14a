//! What a token endpoint answered, with its secrets masked.

use std::time::{Duration, SystemTime};

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, LOCATION, RETRY_AFTER, SERVER, SET_COOKIE, WWW_AUTHENTICATE};
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

/// What headers an answer may have that hold no secret.
const RECEIVED: [HeaderName; 5] = [CONTENT_TYPE, RETRY_AFTER, SERVER, WWW_AUTHENTICATE, CONTENT_LENGTH];
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
    for (name, value) in &reply.headers {
        lines.extend(received_header(name, value, shapes, reflections));
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

/// The headers that explain something.
fn received_header(
    name: &HeaderName,
    value: &HeaderValue,
    shapes: &[&AnswerShape],
    reflections: &Reflections<'_>,
) -> Option<String> {
    let text = value.to_str().ok()?;
    if declared(shapes).any(|place| *place == AnswerPlace::Header(name.clone())) {
        return Some(format!("{name}: {}", mask(text)));
    }
    if *name == SET_COOKIE {
        let (cookie, rest) = text.split_once('=')?;
        let value = rest.split(';').next().unwrap_or_default();
        return Some(format!("set-cookie: {}={}", reflections.quotable(cookie, SHOWN_BYTES_MAX)?, mask(value)));
    }
    // The rest of where a redirect leads may repeat the request.
    let origin = || HttpUrl::parse(text).ok().map(|url| format!("{}://{}/...", url.scheme(), url.authority()));
    let shown = match *name == LOCATION {
        true => origin()?,
        false if RECEIVED.contains(name) || REQUEST_IDS.contains(&name.as_str()) => text.to_owned(),
        false => return None,
    };
    Some(format!("{name}: {}", reflections.quotable(&shown, SHOWN_BYTES_MAX)?))
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
            let shown = AnswerMask { reflections, is_error, declared }.json("", &members);
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
