//! A conversation with a token endpoint as a person reads it, with every secret masked. Lines begin as curl's do: `*` is about
//! the connection, `>` was sent, `<` was received.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST, LOCATION, RETRY_AFTER, SERVER,
    SET_COOKIE, USER_AGENT, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::ProtocolVersion;
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::answer::document::{self, Document};
use super::answer::{content_type, date};
use super::claims::claims;
use super::endpoint::Reply;
use super::mask::{AnswerMask, is_harmless, mask};
use super::reflection::Reflections;
use super::tape::{Connected, Exchange};
use crate::config::{AnswerPlace, AnswerShape, DPOP, HttpUrl};
use crate::secret::Secret;

const SHOWN_BYTES_MAX: usize = 500;
/// Clocks that differ by less agree: `Date` has whole seconds, and an answer takes its time.
const CLOCKS_AGREE: Duration = Duration::from_secs(2);

/// What headers a request and an answer may have that hold no secret.
const SENT: [HeaderName; 6] = [ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT];
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

/// What is shown of an exchange beyond what is harmless anyway.
#[derive(Default)]
pub(super) struct Showing<'a> {
    /// Names of fields whose values stand in proxy.toml as text.
    pub configured: Vec<&'a str>,
    /// Where secrets stand in answers.
    pub shapes: Vec<&'a AnswerShape>,
    /// What is hidden wherever it stands, also where nothing is shown of it.
    pub secrets: Vec<Secret>,
}

impl Showing<'_> {
    fn hidden(&self) -> Vec<&Secret> {
        self.secrets.iter().collect()
    }
}

/// One request and what came of it. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub lines: Vec<String>,
}

impl Told {
    pub(super) fn of(exchange: &Exchange, showing: &Showing<'_>) -> Told {
        let mut lines: Vec<String> =
            exchange.connected.iter().map(|connected| format!("* {}", connection(connected))).collect();
        let sent = Sent::of(exchange, showing);
        lines.extend(sent.lines.iter().map(|line| format!("> {line}").trim_end().to_owned()));
        match &exchange.reply {
            Some((Ok(reply), wall)) => {
                let hidden: Vec<&Secret> = sent.hidden.iter().collect();
                let reflections = Reflections::of(&hidden);
                let received = received(reply, *wall, is_metadata(&exchange.url), &showing.shapes, &reflections);
                lines.extend(received.iter().map(|line| format!("< {line}").trim_end().to_owned()));
            }
            Some((Err(broken), _)) => lines.push(format!("* {}", broken.cause)),
            None => {}
        }
        Told { lines }
    }
}

fn is_metadata(url: &HttpUrl) -> bool {
    url.path.contains("/.well-known/")
}

/// The difference between an answer's `Date` and this machine's clock; `None` without a `Date`.
pub(super) fn clocks(headers: &HeaderMap, wall: SystemTime) -> Option<Clocks> {
    let date = date(headers)?;
    Some(match wall.duration_since(date) {
        Ok(ahead) if ahead > CLOCKS_AGREE => Clocks::Ahead(Duration::from_secs(ahead.as_secs())),
        Err(behind) if behind.duration() > CLOCKS_AGREE => {
            Clocks::Behind(Duration::from_secs(behind.duration().as_secs()))
        }
        Ok(_) | Err(_) => Clocks::Agree,
    })
}

fn connection(connected: &Connected) -> String {
    let to = match connected.address {
        Some(address) if connected.by_proxy => format!("connected through the egress proxy {address}"),
        Some(address) => format!("connected to {address}"),
        None => "connected".to_owned(),
    };
    let tls = match connected.tls {
        None => return format!("{to}, in cleartext"),
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(_) => "TLS",
    };
    let certificate = connected.certificate.as_ref().and_then(|der| X509Certificate::from_der(der).ok());
    match certificate {
        None => format!("{to}, {tls}"),
        Some((_, certificate)) => {
            let quoted = |text: String| Reflections::of(&[]).quotable(&text, SHOWN_BYTES_MAX).unwrap_or_default();
            let (subject, issuer) =
                (quoted(certificate.subject().to_string()), quoted(certificate.issuer().to_string()));
            let subject = if subject.is_empty() { "nobody by name".to_owned() } else { subject };
            format!(
                "{to}, {tls}, certificate of {subject} issued by {issuer} until {}",
                certificate.validity().not_after
            )
        }
    }
}

/// What was sent, and what of it was hidden: that must not be shown either where it comes back.
struct Sent {
    /// What the clock showed.
    wall: SystemTime,
    lines: Vec<String>,
    hidden: Vec<Secret>,
}

impl Sent {
    fn of(exchange: &Exchange, showing: &Showing<'_>) -> Sent {
        let wall = exchange.reply.as_ref().map_or(SystemTime::UNIX_EPOCH, |(_, wall)| *wall);
        let mut sent = Sent { wall, lines: Vec::new(), hidden: showing.secrets.clone() };
        let url = sent.url(&exchange.url, showing);
        sent.lines.push(format!("{} {url}", exchange.method));
        for (name, value) in &exchange.headers {
            let value = sent.header(name, value);
            sent.lines.push(format!("{name}: {value}"));
        }
        if !exchange.body.is_empty() {
            sent.lines.push(String::new());
            sent.body(&exchange.headers, &exchange.body, showing);
        }
        sent
    }

    /// Hides a text that is not empty.
    fn hide(&mut self, text: &str) -> String {
        self.hidden.push(Secret::new(text));
        mask(text)
    }

    fn field(&mut self, name: &str, value: &str, showing: &Showing<'_>) -> String {
        let harmless = is_harmless(name, &showing.configured);
        let shown = harmless.then(|| Reflections::of(&showing.hidden()).quotable(value, SHOWN_BYTES_MAX)).flatten();
        match shown {
            Some(shown) => shown,
            None if value.is_empty() => String::new(),
            None => format!("{}{}", self.hide(value), self.says(value)),
        }
    }

    /// What an assertion claims, its audience above all, which is what servers refuse most often.
    fn says(&self, value: &str) -> String {
        let claims = claims(value, self.wall).unwrap_or_default();
        let claims: Vec<String> = claims.iter().map(|(name, value)| format!("{name} {value}")).collect();
        if claims.is_empty() { String::new() } else { format!(" (a JWT: {})", claims.join("; ")) }
    }

    fn url(&mut self, url: &HttpUrl, showing: &Showing<'_>) -> String {
        let (path, query) = url.path.split_once('?').unwrap_or((&url.path, ""));
        let fields: Vec<_> = form_urlencoded::parse(query.as_bytes())
            .map(|(name, value)| format!("{name}={}", self.field(&name, &value, showing)))
            .collect();
        let mark = if fields.is_empty() { "" } else { "?" };
        format!("{}://{}{path}{mark}{}", url.scheme(), url.authority(), fields.join("&"))
    }

    fn header(&mut self, name: &HeaderName, value: &HeaderValue) -> String {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if SENT.contains(name) && !value.is_sensitive() {
            return text;
        }
        match text.split_once(' ') {
            Some(("Basic", pair)) if *name == AUTHORIZATION => self.basic(pair),
            Some((scheme @ ("Bearer" | "DPoP"), token)) if *name == AUTHORIZATION => {
                format!("{scheme} {}", self.hide(token))
            }
            _ if *name == DPOP => format!("{}{}", self.hide(&text), self.says(&text)),
            _ => self.hide(&text),
        }
    }

    /// The pair of Basic, taken apart again; the fingerprint is that of the secret itself, however it was encoded.
    fn basic(&mut self, pair: &str) -> String {
        let decoded = STANDARD.decode(pair).ok().and_then(|pair| String::from_utf8(pair).ok());
        let Some((id, secret)) = decoded.as_deref().and_then(|pair| pair.split_once(':')) else {
            return format!("Basic {}", self.hide(pair));
        };
        self.hidden.push(Secret::new(pair));
        let as_form = format!("v={secret}");
        let plain = form_urlencoded::parse(as_form.as_bytes()).next().map(|(_, value)| value.into_owned());
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        match plain.filter(|plain| plain != secret && encoded(plain) == secret) {
            Some(plain) => format!("Basic {id}:{} (form-encoded)", self.hide(&plain)),
            None => format!("Basic {id}:{}", self.hide(secret)),
        }
    }

    fn body(&mut self, headers: &HeaderMap, body: &[u8], showing: &Showing<'_>) {
        let is = |part: &str| {
            let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            value.is_some_and(|value| value.to_ascii_lowercase().contains(part))
        };
        if is("form-urlencoded") {
            for (name, value) in form_urlencoded::parse(body) {
                let value = self.field(&name, &value, showing);
                self.lines.push(format!("{name}={value}"));
            }
        } else if let (true, Ok(document)) = (is("json"), serde_json::from_slice::<Value>(body)) {
            let shown = self.json("", &document, showing);
            self.lines.extend(format!("{shown:#}").lines().map(str::to_owned));
        } else {
            let hidden = self.hide(&String::from_utf8_lossy(body));
            self.lines.push(hidden);
        }
    }

    fn json(&mut self, name: &str, value: &Value, showing: &Showing<'_>) -> Value {
        match value {
            Value::Object(members) => {
                members.iter().map(|(name, value)| (name.clone(), self.json(name, value, showing))).collect()
            }
            Value::Array(items) => items.iter().map(|item| self.json(name, item, showing)).collect(),
            Value::String(text) => Value::String(self.field(name, text, showing)),
            other => Value::String(self.field(name, &other.to_string(), showing)),
        }
    }
}

pub(super) fn received(
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
    shapes.iter().flat_map(|shape| shape.token.iter().chain(&shape.refresh_token).chain(shape.values.values()))
}

/// The member that a path leads to, or the list of which it is an item.
fn member(place: &AnswerPlace) -> Option<&str> {
    let AnswerPlace::Path(path) = place else { return None };
    path.rsplit('.').find(|name| name.parse::<usize>().is_err())
}

fn metadata(document: &Value) -> Value {
    METADATA.iter().filter_map(|name| Some(((*name).to_owned(), document.get(*name)?.clone()))).collect()
}
