//! Header names and values that configuration sets.

use http::{HeaderName, HeaderValue};

use super::Reading;
use super::fields::{Fields, Text, text};
use crate::config::file::Format;
use crate::config::{HeaderEdits, Problem};

/// Framing and routing: hop-by-hop fields (RFC 9110 section 7.6.1) and those that say where a message goes and ends.
const OURS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// A legal name of a header that is not the proxy's own to write.
pub(super) fn header_name(reading: &mut Reading<'_>, text: &Text) -> Option<HeaderName> {
    let Ok(name) = HeaderName::from_bytes(text.value.as_bytes()) else {
        let why = format!("`{}` is no header name", text.value.escape_debug());
        return reading.refuse((why, "it is made of letters, digits and `-`".to_owned()), &text.span);
    };
    if OURS.contains(&name.as_str()) {
        let why = format!("`{name}` is the proxy's own to write");
        let hint = "it says where a message goes or ends, or concerns one connection only";
        return reading.refuse((why, hint.to_owned()), &text.span);
    }
    Some(name)
}

/// `request_headers` or `response_headers` of a route. `credential`: the headers that its upstream's credential sets.
pub(super) fn edits(
    reading: &mut Reading<'_>,
    route: &Fields<'_>,
    key: &str,
    credential: &[&HeaderName],
) -> HeaderEdits {
    let Some(fields) = route.table(key) else { return HeaderEdits::default() };
    let mut edits = HeaderEdits::default();
    for (name, value) in fields.entries("set") {
        let Some(header) = editable(reading, &name, credential) else {
            // What was to be set may be a key.
            reading.hide_value(value);
            continue;
        };
        let Some(value) = text(reading, value, Format::Plain) else { continue };
        match HeaderValue::from_str(&value.value) {
            Ok(legal) if value.value.trim() == value.value => edits.set.push((header, legal)),
            _ => {
                let problem = Problem::new(format!("this cannot be the value of `{header}`"), value.span);
                reading.problem(problem.hint("it is made of visible ASCII characters, and spaces between them"));
            }
        }
    }
    for name in fields.texts(reading, "remove") {
        let Some(header) = editable(reading, &name, credential) else { continue };
        if edits.set.iter().any(|(set, _)| *set == header) {
            let problem = Problem::new(format!("`{header}` is set and removed"), name.span);
            reading.problem(problem.hint("what is set replaces what was there"));
        } else {
            edits.remove.push(header);
        }
    }
    edits
}

/// A header that a route may set, or remove.
pub(super) fn editable(reading: &mut Reading<'_>, name: &Text, credential: &[&HeaderName]) -> Option<HeaderName> {
    let header = header_name(reading, name)?;
    if credential.contains(&&header) {
        let why = format!("`{header}` is set by the upstream's credential");
        return reading.refuse((why, "remove it here".to_owned()), &name.span);
    }
    if header == http::header::AUTHORIZATION {
        let why = "`authorization` is for credentials".to_owned();
        let hint = "write a `[credentials.NAME.bearer]` or `.basic`, and name it in the upstream";
        return reading.refuse((why, hint.to_owned()), &name.span);
    }
    Some(header)
}
