//! What the answer says of its parts: which failed and why, which were skipped, of which something was left out.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use crate::proxy::failure::PartCause;

pub(super) const ATTACHE_PARTS: HeaderName = HeaderName::from_static("attache-parts");

/// How a part came out, as far as the client is told.
#[derive(Debug, Clone, Default)]
pub(super) enum Told {
    /// It was not called, and nothing is missing for that: it stands in for a part that did not fail.
    #[default]
    Nothing,
    Answered {
        /// There were more pages than are followed.
        truncated: bool,
        /// The first item in order that failed, and how many did.
        items: Option<(Arc<PartCause>, usize)>,
    },
    Skipped,
    Failed(Arc<PartCause>),
}

/// A part's name as RFC 9651 has it: a token (section 3.3.4), or else a string.
pub(super) struct Key<'a>(pub(super) &'a str);

impl Told {
    fn cause(&self) -> Option<(&PartCause, Option<usize>)> {
        match self {
            Told::Failed(cause) => Some((cause, None)),
            Told::Answered { items: Some((cause, failed)), .. } => Some((cause, Some(*failed))),
            Told::Answered { items: None, .. } | Told::Nothing | Told::Skipped => None,
        }
    }

    fn is_truncated(&self) -> bool {
        matches!(self, Told::Answered { truncated: true, .. })
    }

    fn has_something_to_say(&self) -> bool {
        matches!(self, Told::Skipped) || self.cause().is_some() || self.is_truncated()
    }
}

/// The field for a header: a list of parts with parameters (RFC 9651 section 3.1). `None`: all went well.
pub(super) fn header<'a>(parts: impl Iterator<Item = (&'a str, &'a Told)>) -> Option<HeaderValue> {
    let mut field = String::new();
    for (name, told) in parts.filter(|(_, told)| told.has_something_to_say()) {
        if !field.is_empty() {
            field.push_str(", ");
        }
        // A string takes all that is written to it.
        let _ = write!(field, "{}", Key(name));
        if let Some((cause, items)) = told.cause() {
            if let Some(status) = cause.upstream_status() {
                let _ = write!(field, ";status={}", status.as_u16());
            }
            let _ = write!(field, ";error=\"{}\"", cause.meaning().name);
            if let Some(items) = items {
                let _ = write!(field, ";items={items}");
            }
        }
        if matches!(told, Told::Skipped) {
            field.push_str(";skipped");
        }
        if told.is_truncated() {
            field.push_str(";truncated");
        }
    }
    (!field.is_empty()).then(|| HeaderValue::try_from(field).expect("names and words are ASCII"))
}

/// The member for a body. Empty: all went well.
pub(super) fn body<'a>(parts: impl Iterator<Item = (&'a str, &'a Told)>) -> Value {
    let mut members = Map::new();
    for (name, told) in parts.filter(|(_, told)| told.has_something_to_say()) {
        let mut member = Map::new();
        if let Some((cause, items)) = told.cause() {
            member.insert("error".to_owned(), cause.meaning().name.into());
            if let Some(status) = cause.upstream_status() {
                member.insert("status".to_owned(), status.as_u16().into());
            }
            if let Some(items) = items {
                member.insert("items".to_owned(), items.into());
            }
        }
        if matches!(told, Told::Skipped) {
            member.insert("skipped".to_owned(), json!(true));
        }
        if told.is_truncated() {
            member.insert("truncated".to_owned(), json!(true));
        }
        members.insert(name.to_owned(), Value::Object(member));
    }
    Value::Object(members)
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What else is legal in a name of the configuration is legal in a token.
        match self.0.starts_with(|first: char| first.is_ascii_alphabetic()) {
            true => f.write_str(self.0),
            false => write!(f, "\"{}\"", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::proxy::failure::Refusal;

    fn told() -> [(&'static str, Told); 6] {
        let status = |status| {
            let status = StatusCode::from_u16(status).unwrap();
            Arc::new(PartCause::Status(Refusal { status, retry_after: None, of_credential: false }))
        };
        [
            ("fine", Told::Answered { truncated: false, items: None }),
            ("orders", Told::Failed(status(503))),
            ("2nd", Told::Failed(Arc::new(PartCause::Timeout))),
            ("extras", Told::Skipped),
            ("list", Told::Answered { truncated: true, items: Some((status(404), 2)) }),
            ("spare", Told::Nothing),
        ]
    }

    #[test]
    fn a_header_lists_what_did_not_go_well() {
        let told = told();
        let field = header(told.iter().map(|(name, told)| (*name, told))).unwrap();
        assert_eq!(
            field,
            "orders;status=503;error=\"upstream_status\", \"2nd\";error=\"timeout\", extras;skipped, \
             list;status=404;error=\"upstream_status\";items=2;truncated"
        );
        assert_eq!(header(told[..1].iter().map(|(name, told)| (*name, told))), None);
    }

    #[test]
    fn a_body_says_the_same() {
        let told = told();
        let expected = json!({
            "orders": { "error": "upstream_status", "status": 503 },
            "2nd": { "error": "timeout" },
            "extras": { "skipped": true },
            "list": { "error": "upstream_status", "status": 404, "items": 2, "truncated": true },
        });
        assert_eq!(body(told.iter().map(|(name, told)| (*name, told))), expected);
        assert_eq!(body(std::iter::empty()), json!({}));
    }
}
