//! What a token endpoint answered: RFC 6749 section 5, as freely as real servers read it.

mod base_url;
pub(super) mod document;
mod places;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_TYPE, DATE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::{Value, json};

use super::endpoint::Reply;
use super::failure::{Failure, Step, kind};
use super::reflection::Reflections;
use crate::config::{AnswerPlace, AnswerShape, HttpUrl, Success};
use crate::secret::Secret;
use crate::token::lifetime::{at_path, lifetime, refresh_in};
use crate::token::{FetchErrorKind, Granted};
use document::{Document, Named};

/// A longer token does not fit the header limits of the servers it is for (TL-37).
const TOKEN_BYTES_MAX: usize = 16 * 1024;
const CODE_BYTES_MAX: usize = 64;
const DESCRIPTION_BYTES_MAX: usize = 200;
/// How many members of an answer without a token are named.
const MEMBERS_NAMED_MAX: usize = 10;
/// How many headers of one without an expected header are: there are always some that say nothing.
const HEADERS_NAMED_MAX: usize = 20;
/// A `Date` further from the local clock than this says nothing about the time (as in TL-12).
const DATE_SKEW_MAX: Duration = Duration::from_secs(24 * 3600);

/// What reading an answer takes besides the answer.
pub(super) struct Asked<'a> {
    /// The endpoint's host, and port unless it is the scheme's own, for the error's text.
    pub host: &'a str,
    /// What probably explains a failure with this status and code.
    pub hint: &'a dyn Fn(StatusCode, Option<&str>) -> Option<String>,
    /// What must not be repeated in an error's text: the client's secret, and what else was sent for a token.
    pub secrets: Vec<&'a Secret>,
    pub shape: &'a AnswerShape,
    /// Whether the token has to be one that is bound to a key of ours.
    pub bound: bool,
    /// The local clock.
    pub wall: SystemTime,
}

/// Reads any answer of a token endpoint, whatever its content type claims.
pub(super) fn read(reply: &Reply, asked: &Asked<'_>) -> Result<Granted, Failure> {
    let reader = Reader { reply, asked, reflections: Reflections::of(&asked.secrets), brings_token: true };
    let document = reader.succeeded()?;
    reader.granted(&document)
}

/// Reads an answer without a token, for the values in it.
pub(super) fn read_values(reply: &Reply, asked: &Asked<'_>) -> Result<BTreeMap<String, Secret>, Failure> {
    let reader = Reader { reply, asked, reflections: Reflections::of(&asked.secrets), brings_token: false };
    let document = reader.succeeded()?;
    reader.values(&document, Reader::left_out)
}

/// The refresh token of an answer, whatever else is wrong with it: it may be the only one that is good from now on. It stands
/// where that is declared, else beside the token, or at the top.
pub(super) fn refresh_token(reply: &Reply, asked: &Asked<'_>) -> Option<Secret> {
    let body = reply.body.as_ref().ok().filter(|_| reply.status.is_success())?;
    let document = Document::parse(body, content_type(&reply.headers));
    if let Some(place) = &asked.shape.refresh_token {
        return places::text_at(place, reply, &document).filter(|text| !text.is_empty()).map(Secret::new);
    }
    let Document::Members(members) = document else { return None };
    let path = match &asked.shape.token {
        Some(AnswerPlace::Path(path)) => path.rsplit_once('.'),
        _ => None,
    };
    let beside = path.and_then(|(folder, _)| {
        let folder = folder.split('.').try_fold(&members, |value, name| value.get(name))?;
        folder.get("refresh_token")
    });
    let text = beside.or_else(|| members.get("refresh_token")).and_then(Value::as_str)?;
    (!text.is_empty()).then(|| Secret::new(text))
}

struct Reader<'a> {
    reply: &'a Reply,
    asked: &'a Asked<'a>,
    reflections: Reflections<'a>,
    /// Or only values for later steps.
    brings_token: bool,
}

impl Reader<'_> {
    /// The body of a success. An error may also come with status 200, by the name that RFC 6749 gives it, or as declared.
    fn succeeded(&self) -> Result<Document, Failure> {
        let document = match &self.reply.body {
            Ok(body) => Document::parse(body, content_type(&self.reply.headers)),
            Err(unreadable) => Document::Unreadable(unreadable.clone()),
        };
        if !self.reply.status.is_success() {
            return Err(self.refused(&document));
        }
        match (&document, &self.asked.shape.success) {
            (Document::Members(members), Some(success)) => self.check_success(members, success)?,
            (Document::Members(members), None) => {
                document::error(members)
                    .map_or(Ok(()), |named| Err(self.named(&self.in_declared_words(members, named))))?;
            }
            (other, Some(_)) => return Err(self.unreadable(&self.without_token(other))),
            (_, None) => {}
        }
        Ok(document)
    }

    fn check_success(&self, members: &Value, success: &Success) -> Result<(), Failure> {
        let Success { path, equals, or_absent } = success;
        // Some write numbers as texts.
        let alike = |found: &Value| {
            found == equals || document::scalar(found).is_some_and(|found| Some(found) == document::scalar(equals))
        };
        if at_path(members, path).map_or(*or_absent, alike) {
            return Ok(());
        }
        let named = document::error(members).or_else(|| document::error_in_other_words(members)).unwrap_or_default();
        let mut failure = self.named(&self.in_declared_words(members, named));
        failure.cause.push_str(&format!(", where `{path}` is not {equals}"));
        Err(failure)
    }

    fn granted(&self, document: &Document) -> Result<Granted, Failure> {
        let default = AnswerPlace::Path("access_token".to_owned());
        let place = self.asked.shape.token.as_ref().unwrap_or(&default);
        let value = places::text_at(place, self.reply, document);
        // RFC 6749 section 5.1: it is a text. Where it is declared, it may be a number.
        let is_text = |members: &Value| members.get("access_token").is_some_and(Value::is_string);
        let is_legal = match document {
            Document::Members(members) => self.asked.shape.token.is_some() || is_text(members),
            _ => true,
        };
        let Some(value) = value.filter(|_| is_legal) else {
            return Err(self.left_out(place, document));
        };
        let nothing = Value::Null;
        let members = if let Document::Members(members) = document { members } else { &nothing };
        self.check_type(members)?;
        check_token(&value).map_err(|wrong| self.unreadable(&wrong))?;
        Ok(Granted {
            lifetime: self.lifetime(members, place, &value).or(self.asked.shape.lifetime_default),
            refresh_in: refresh_in(members),
            further: self
                .values(document, |reader, place, document| reader.unreadable(&reader.lacking(place, document)))?,
            value: Secret::new(value),
            last: false,
        })
    }

    fn lifetime(&self, members: &Value, token_place: &AnswerPlace, token: &str) -> Option<Duration> {
        let (shape, date, wall) = (self.asked.shape, date(&self.reply.headers), self.asked.wall);
        // What stands beside the members is read as if it were the only one.
        let said = match (&shape.lifetime, token_place) {
            (Some(AnswerPlace::Path(_)), _) => None,
            (Some(beside), _) => places::text_at(beside, self.reply, &Document::Empty).map(Value::from),
            (None, AnswerPlace::Cookie(name)) => places::cookie_expiry(name, self.reply),
            (None, _) => None,
        };
        let Some(said) = said else { return lifetime(members, shape, token, date, wall) };
        let shape = AnswerShape { lifetime: Some("said".into()), ..shape.clone() };
        lifetime(&json!({ "said": said }), &shape, token, date, wall)
    }

    /// The declared values, each of which has to be there, unless the shape says otherwise. `lacking`: what it means if one is not.
    fn values(
        &self,
        document: &Document,
        lacking: impl Fn(&Self, &AnswerPlace, &Document) -> Failure,
    ) -> Result<BTreeMap<String, Secret>, Failure> {
        let read = |(name, place): (&String, &AnswerPlace)| {
            let text = places::text_at(place, self.reply, document).filter(|text| !text.is_empty());
            let Some(text) = text else {
                return if self.asked.shape.values_may_lack { Ok(None) } else { Err(lacking(self, place, document)) };
            };
            if text.len() > TOKEN_BYTES_MAX {
                return Err(self.unreadable(&format!("its `{name}` has more than {TOKEN_BYTES_MAX} bytes")));
            }
            if let Some(rule) = self.asked.shape.base_urls.get(name) {
                rule.check(&text).map_err(|flaw| self.misplaced(name, rule, &flaw))?;
            }
            Ok(Some((name.clone(), Secret::new(text))))
        };
        self.asked.shape.values.iter().filter_map(|value| read(value).transpose()).collect()
    }

    /// What the server says of an error, where it is declared to.
    fn in_declared_words(&self, members: &Value, named: Named) -> Named {
        let declared = self.asked.shape.error.as_ref().and_then(|path| document::scalar(at_path(members, path)?));
        Named { description: declared.or(named.description), ..named }
    }

    /// TL-37: `mac` and `DPoP` need a proof with each request; whatever else a server calls its tokens is Bearer. Where a
    /// token is to be bound, RFC 9449 section 5 leaves it to us what to make of one that is not: whoever asked for it wants it.
    fn check_type(&self, members: &Value) -> Result<(), Failure> {
        if self.asked.bound {
            return self.check_is_bound(members);
        }
        let Some(Value::String(token_type)) = members.get("token_type") else { return Ok(()) };
        for unusable in ["mac", "DPoP"] {
            if token_type.trim().eq_ignore_ascii_case(unusable) {
                let cause = format!("it granted a token of type {unusable}, where a Bearer token was asked for");
                let failure = self.failure(FetchErrorKind::Refused, cause);
                let hint = match unusable {
                    "DPoP" => "say `dpop = true`, or let the server issue Bearer tokens to this client",
                    _ => "let the server issue Bearer tokens to this client",
                };
                return Err(failure.with_hint(hint));
            }
        }
        Ok(())
    }

    fn check_is_bound(&self, members: &Value) -> Result<(), Failure> {
        let token_type = members.get("token_type").and_then(Value::as_str).unwrap_or("Bearer").trim();
        if token_type.eq_ignore_ascii_case("DPoP") {
            return Ok(());
        }
        let token_type = self.reflections.quotable(token_type, CODE_BYTES_MAX).unwrap_or_default();
        let cause = format!("it granted a token of type {token_type}, where one that is bound to a key was asked for");
        let hint = "let the server issue DPoP tokens to this client, or remove `dpop`";
        Err(self.failure(FetchErrorKind::Refused, cause).with_hint(hint))
    }

    /// Any other status than success.
    fn refused(&self, document: &Document) -> Failure {
        let named = match document {
            Document::Members(members) => {
                let named = document::error(members).or_else(|| document::error_in_other_words(members));
                self.in_declared_words(members, named.unwrap_or_default())
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
            hint: (self.asked.hint)(status, code.as_deref()),
            ..self.failure(kind(status, code.as_deref(), retry_after), cause)
        }
    }

    /// A success that cannot be read: it passes by itself as often as not (TL-32).
    fn unreadable(&self, what: &str) -> Failure {
        let status = self.reply.status;
        let read = if self.brings_token { "not a token answer" } else { "not what this step is for" };
        self.failure(FetchErrorKind::Transient, format!("it answered {status}, but {read}: {what}"))
    }

    fn failure(&self, kind: FetchErrorKind, cause: String) -> Failure {
        Failure { status: Some(self.reply.status), ..Failure::new(kind, Step::Token, self.asked.host, cause) }
    }

    /// An answer that has nothing of what was asked for. Some say why in words of their own (`errcode`), which count only there:
    /// such an answer is a refusal as any other (TL-26).
    fn left_out(&self, place: &AnswerPlace, document: &Document) -> Failure {
        let lacking = self.lacking(place, document);
        let Document::Members(members) = document else { return self.unreadable(&lacking) };
        let named = document::error_in_other_words(members).filter(|_| !document::says_success(members));
        let Some(named) = named else { return self.unreadable(&lacking) };
        let mut failure = self.named(&self.in_declared_words(members, named));
        failure.cause.push_str(&format!(", and {lacking}"));
        failure
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

    /// An answer without what is to be at a place.
    fn lacking(&self, place: &AnswerPlace, document: &Document) -> String {
        let path = match (place, document) {
            (AnswerPlace::Header(name), _) => {
                let names = self.reply.headers.keys().map(HeaderName::as_str);
                return format!("it has no header {name}{}", self.only(names, HEADERS_NAMED_MAX));
            }
            (AnswerPlace::Cookie(name), _) => {
                let names = places::cookie_names(self.reply);
                return format!("it sets no cookie {name}{}", self.only(names, MEMBERS_NAMED_MAX));
            }
            (AnswerPlace::Path(path), Document::Members(Value::Array(_)))
                if !path.starts_with(|c: char| c.is_ascii_digit()) =>
            {
                return "the body is neither a JSON object nor a form".to_owned();
            }
            (AnswerPlace::Path(path), Document::Members(_)) => path,
            (_, other) => return self.without_token(other),
        };
        let members = if let Document::Members(members) = document { members.as_object() } else { None };
        let names = members.into_iter().flat_map(|members| members.keys().map(String::as_str));
        format!("it holds no text at `{path}`{}", self.only(names, MEMBERS_NAMED_MAX))
    }

    /// What there is in place of what was looked for, by name.
    fn only<'n>(&self, names: impl Iterator<Item = &'n str>, named_max: usize) -> String {
        let quotable = |name| self.reflections.quotable(name, CODE_BYTES_MAX);
        let names: Vec<String> = names.filter_map(quotable).take(named_max).collect();
        if names.is_empty() { String::new() } else { format!(", only {}", names.join(", ")) }
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

/// The place that says the lifetime, if that is none of the body's members.
pub(super) fn lifetime_beside<'a>(reply: &Reply, shape: &'a AnswerShape) -> Option<&'a str> {
    let place = match (&shape.lifetime, &shape.token) {
        (Some(AnswerPlace::Path(_)), _) => None,
        (Some(place), _) => places::text_at(place, reply, &Document::Empty).map(|_| place),
        (None, Some(place @ AnswerPlace::Cookie(name))) => places::cookie_expiry(name, reply).map(|_| place),
        (None, _) => None,
    };
    place.map(AnswerPlace::name)
}

/// What stands at the declared places, as far as it is there: the token, and the further values.
pub(super) fn declared_texts(reply: &Reply, shape: &AnswerShape) -> Vec<Secret> {
    let Ok(body) = &reply.body else { return Vec::new() };
    let document = Document::parse(body, content_type(&reply.headers));
    shape.secret_places().filter_map(|place| places::text_at(place, reply, &document)).map(Secret::new).collect()
}

pub(super) fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The answer's own date.
pub(super) fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

/// How long to hold back: seconds, or a date, which is measured against the answer's own (RFC 9110 section 10.2.3).
pub fn retry_after(headers: &HeaderMap, wall: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    // Digits alone: the parser would take a sign as well.
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse::<u64>().ok()?.min(u64::from(u32::MAX))));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let skew = |date: SystemTime| date.duration_since(wall).unwrap_or_else(|earlier| earlier.duration());
    let now = date(headers).filter(|date| skew(*date) <= DATE_SKEW_MAX).unwrap_or(wall);
    Some(until.duration_since(now).unwrap_or(Duration::ZERO))
}
