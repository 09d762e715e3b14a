//! What a token endpoint answered: RFC 6749 section 5, as freely as real servers read it.

pub(super) mod document;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{CONTENT_TYPE, DATE, LOCATION, RETRY_AFTER};
use serde_json::Value;

use super::endpoint::Reply;
use super::failure::{Failure, Step, hint, kind};
use super::reflection::Reflections;
use crate::config::{AnswerShape, Grant, HttpUrl, TokenEndpointAuthMethod};
use crate::secret::Secret;
use crate::token::lifetime::{lifetime, refresh_in};
use crate::token::{FetchErrorKind, Granted};
use document::{Document, Named};

/// A longer token does not fit the header limits of the servers it is for (TL-37).
const TOKEN_BYTES_MAX: usize = 16 * 1024;
const CODE_BYTES_MAX: usize = 64;
const DESCRIPTION_BYTES_MAX: usize = 200;
/// How many members of an answer without a token are named.
const MEMBERS_NAMED_MAX: usize = 10;
/// A `Date` further from the local clock than this says nothing about the time (as in TL-12).
const DATE_SKEW_MAX: Duration = Duration::from_secs(24 * 3600);

/// What reading an answer takes besides the answer.
pub(super) struct Asked<'a> {
    /// The endpoint's host, and port unless it is the scheme's own, for the error's text.
    pub host: &'a str,
    pub method: TokenEndpointAuthMethod,
    pub grant: &'a Grant,
    /// What must not be repeated in an error's text: the client's secret, and what else was sent for a token.
    pub secrets: Vec<&'a Secret>,
    pub shape: &'a AnswerShape,
    /// The local clock.
    pub wall: SystemTime,
}

/// Reads any answer of a token endpoint, whatever its content type claims.
pub(super) fn read(reply: &Reply, asked: &Asked<'_>) -> Result<Granted, Failure> {
    let reader = Reader { reply, asked, reflections: Reflections::of(&asked.secrets) };
    let document = match &reply.body {
        Ok(body) => Document::parse(body, content_type(&reply.headers)),
        Err(unreadable) => Document::Unreadable(unreadable.clone()),
    };
    if !reply.status.is_success() {
        return Err(reader.refused(&document));
    }
    match document {
        Document::Members(members) => reader.granted(&members),
        other => Err(reader.unreadable(&reader.without_token(&other))),
    }
}

struct Reader<'a> {
    reply: &'a Reply,
    asked: &'a Asked<'a>,
    reflections: Reflections<'a>,
}

impl Reader<'_> {
    /// A 200 or 201 with members: a token, or an error that the status does not show.
    fn granted(&self, members: &Value) -> Result<Granted, Failure> {
        if let Some(named) = document::error(members) {
            return Err(self.named(&named));
        }
        let (place, path) = self.token_member(members);
        let Some(value) = place.and_then(Value::as_str) else {
            // Some say it in words of their own (`errcode`), which count only where there is no token.
            return Err(match document::error_in_other_words(members) {
                Some(named) => Failure { kind: FetchErrorKind::Transient, ..self.named(&named) },
                None => self.unreadable(&self.tokenless(members, path)),
            });
        };
        self.check_type(members)?;
        check_token(value).map_err(|wrong| self.unreadable(&wrong))?;
        let date = date(&self.reply.headers);
        Ok(Granted {
            lifetime: lifetime(members, self.asked.shape, value, date, self.asked.wall),
            refresh_in: refresh_in(members),
            value: Secret::new(value),
            further: BTreeMap::new(),
        })
    }

    /// Where the token is, declared or standard, and how that is called.
    fn token_member<'v>(&self, members: &'v Value) -> (Option<&'v Value>, &str) {
        let path = self.asked.shape.token.as_deref().unwrap_or("access_token");
        (path.split('.').try_fold(members, |value, name| value.get(name)), path)
    }

    /// TL-37: `mac` and `DPoP` need a proof with each request; whatever else a server calls its tokens is Bearer.
    fn check_type(&self, members: &Value) -> Result<(), Failure> {
        let Some(Value::String(token_type)) = members.get("token_type") else { return Ok(()) };
        for unusable in ["mac", "DPoP"] {
            if token_type.trim().eq_ignore_ascii_case(unusable) {
                let cause = format!("it granted a token of type {unusable}, where a Bearer token was asked for");
                let failure = self.failure(FetchErrorKind::Refused, cause);
                return Err(failure.with_hint("let the server issue Bearer tokens to this client"));
            }
        }
        Ok(())
    }

    /// Any other status than success.
    fn refused(&self, document: &Document) -> Failure {
        let named = match document {
            Document::Members(members) => {
                document::error(members).or_else(|| document::error_in_other_words(members)).unwrap_or_default()
            }
            Document::Text(text) => Named { code: None, description: Some(text.clone()) },
            _ => Named::default(),
        };
        let mut failure = self.named(&named);
        if self.reply.status.is_redirection() {
            failure.cause = format!("it answered {}{}", self.reply.status, self.redirected_to());
        }
        failure
    }

    /// A failure that the server gave a name.
    fn named(&self, named: &Named) -> Failure {
        let status = self.reply.status;
        let code = named.code.as_deref().and_then(|code| self.reflections.quotable(code, CODE_BYTES_MAX));
        let says = named.description.as_deref().and_then(|text| self.reflections.quotable(text, DESCRIPTION_BYTES_MAX));
        let retry_after = retry_after(&self.reply.headers, self.asked.wall);
        let mut cause = format!("it answered {status}");
        if let Some(code) = &code {
            cause.push_str(&format!(" with the error {code}"));
        }
        if let Some(says) = says {
            cause.push_str(&format!(" and says \"{says}\""));
        }
        Failure {
            code: code.clone(),
            hint: hint(status, code.as_deref(), self.asked.method, self.asked.grant),
            ..self.failure(kind(status, code.as_deref(), retry_after), cause)
        }
    }

    /// A success that cannot be read: it passes by itself as often as not (TL-32).
    fn unreadable(&self, what: &str) -> Failure {
        let status = self.reply.status;
        self.failure(FetchErrorKind::Transient, format!("it answered {status}, but not a token answer: {what}"))
    }

    fn failure(&self, kind: FetchErrorKind, cause: String) -> Failure {
        Failure { status: Some(self.reply.status), ..Failure::new(kind, Step::Token, self.asked.host, cause) }
    }

    /// What a body is that has no members.
    fn without_token(&self, document: &Document) -> String {
        match document {
            Document::Empty => "the body is empty".to_owned(),
            Document::Html => "the body is an HTML page, such as a login or maintenance page".to_owned(),
            Document::Xml => "the body is XML, where JSON was asked for".to_owned(),
            Document::Unreadable(why) => why.clone(),
            Document::Text(_) | Document::Members(_) => "the body is neither a JSON object nor a form".to_owned(),
        }
    }

    /// An answer that has members, but no token among them.
    fn tokenless(&self, members: &Value, path: &str) -> String {
        let names: Vec<_> = members.as_object().map_or(Vec::new(), |members| {
            let quotable = |name: &String| self.reflections.quotable(name, CODE_BYTES_MAX);
            members.keys().filter_map(quotable).take(MEMBERS_NAMED_MAX).collect()
        });
        match names.as_slice() {
            [] => format!("it holds no text at `{path}`"),
            names => format!("it holds no text at `{path}`, only {}", names.join(", ")),
        }
    }

    /// The origin that a redirect names; the rest of it may repeat the request.
    fn redirected_to(&self) -> String {
        let location = self.reply.headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let origin = location
            .and_then(|location| HttpUrl::parse(location).ok())
            .map(|url| format!("{}://{}", url.scheme(), url.authority()))
            .and_then(|origin| self.reflections.quotable(&origin, DESCRIPTION_BYTES_MAX));
        origin.map(|origin| format!(", a redirect to {origin}")).unwrap_or_default()
    }
}

/// TL-37: what cannot be sent as a header value is no token. Characters beyond RFC 6750's b64token are let through, since
/// eBay's tokens have them.
pub(super) fn check_token(value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err("the token is empty".to_owned());
    }
    if value.len() > TOKEN_BYTES_MAX {
        return Err(format!("the token has {} bytes, more than {TOKEN_BYTES_MAX}", value.len()));
    }
    if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(
            "the token holds control characters or non-ASCII characters, and is no legal header value".to_owned()
        );
    }
    if value.starts_with(' ') || value.ends_with(' ') {
        return Err("the token begins or ends with a space, and is no legal header value".to_owned());
    }
    Ok(())
}

pub(super) fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The answer's own date.
pub(super) fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

/// How long to hold back: seconds, or a date, which is measured against the answer's own (RFC 9110 section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, wall: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(u64::from(u32::MAX))));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let skew = |date: SystemTime| date.duration_since(wall).unwrap_or_else(|earlier| earlier.duration());
    let now = date(headers).filter(|date| skew(*date) <= DATE_SKEW_MAX).unwrap_or(wall);
    Some(until.duration_since(now).unwrap_or(Duration::ZERO))
}
