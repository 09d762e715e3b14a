//! What was sent to a token endpoint, with its secrets masked.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{SHOWN_BYTES_MAX, Showing};
use crate::config::{DPOP, HttpUrl};
use crate::credential::claims::claims;
use crate::credential::mask::{is_harmless, mask};
use crate::credential::reflection::Reflections;
use crate::credential::tape::Exchange;
use crate::secret::Secret;

/// What headers a request may have that hold no secret.
const SENT: [HeaderName; 6] = [ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT];

/// What was sent, and what of it was hidden: that must not be shown either where it comes back.
pub(super) struct Sent {
    /// What the clock showed.
    wall: SystemTime,
    pub(super) lines: Vec<String>,
    pub(super) hidden: Vec<Secret>,
}

impl Sent {
    pub(super) fn of(exchange: &Exchange, showing: &Showing<'_>) -> Sent {
        let wall = exchange.reply.as_ref().map_or(SystemTime::UNIX_EPOCH, |(_, wall)| *wall);
        let mut sent = Sent { wall, lines: Vec::new(), hidden: showing.secrets.clone() };
        let url = sent.url(&exchange.url, &exchange.target, showing);
        sent.lines.push(format!("{} {url}", exchange.method));
        for (name, value) in &exchange.headers {
            let value = sent.header(name, value, showing);
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

    fn url(&mut self, url: &HttpUrl, target: &str, showing: &Showing<'_>) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path: Vec<String> = path.split('/').map(|segment| self.segment(segment, showing)).collect();
        let path = path.join("/");
        let fields: Vec<_> = form_urlencoded::parse(query.as_bytes())
            .map(|(name, value)| format!("{name}={}", self.field(&name, &value, showing)))
            .collect();
        let mark = if fields.is_empty() { "" } else { "?" };
        format!("{}://{}{path}{mark}{}", url.scheme(), url.authority(), fields.join("&"))
    }

    /// A part of the path, which is the server's own unless a secret was put there.
    fn segment(&mut self, segment: &str, showing: &Showing<'_>) -> String {
        match Reflections::of(&showing.hidden()).quotable(segment, SHOWN_BYTES_MAX) {
            Some(shown) => shown,
            None if segment.is_empty() => String::new(),
            None => self.hide(&percent_decode_str(segment).decode_utf8_lossy()),
        }
    }

    fn header(&mut self, name: &HeaderName, value: &HeaderValue, showing: &Showing<'_>) -> String {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if SENT.contains(name) && !value.is_sensitive() {
            return text;
        }
        match text.split_once(' ') {
            Some(("Basic", pair)) if *name == AUTHORIZATION => self.basic(pair, showing),
            Some((scheme @ ("Bearer" | "DPoP"), token)) if *name == AUTHORIZATION => {
                format!("{scheme} {}", self.hide(token))
            }
            _ if *name == DPOP => format!("{}{}", self.hide(&text), self.says(&text)),
            _ if *name == AUTHORIZATION => self.hide(&text),
            _ => self.field(name.as_str(), &text, showing),
        }
    }

    /// The pair of Basic, taken apart again; the fingerprint is that of the secret itself, however it was encoded.
    fn basic(&mut self, pair: &str, showing: &Showing<'_>) -> String {
        let decoded = STANDARD.decode(pair).ok().and_then(|pair| String::from_utf8(pair).ok());
        let Some((id, secret)) = decoded.as_deref().and_then(|pair| pair.split_once(':')) else {
            return format!("Basic {}", self.hide(pair));
        };
        self.hidden.push(Secret::new(pair));
        // Some servers want a key where others want a name.
        let id = match Reflections::of(&showing.hidden()).quotable(id, SHOWN_BYTES_MAX) {
            None if !id.is_empty() => self.hide(id),
            shown => shown.unwrap_or_default(),
        };
        let as_form = format!("v={secret}");
        let plain = form_urlencoded::parse(as_form.as_bytes()).next().map(|(_, value)| value.into_owned());
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        match plain.filter(|plain| plain != secret && encoded(plain) == secret) {
            Some(plain) => format!("Basic {id}:{} (form-encoded)", self.hide(&plain)),
            None if secret.is_empty() => format!("Basic {id}:"),
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
