//! What is sent for a part: method, path, query, headers, body.

use std::ops::Range;

use http::header::ACCEPT_ENCODING;
use http::{HeaderName, HeaderValue, Method};
use percent_encoding::percent_decode_str;
use toml::de::DeValue;

use super::super::fields::{Fields, Text, text};
use super::super::headers::editable;
use super::super::route::method;
use super::super::{Reading, Why};
use super::scope::{Here, Needed};
use super::written::Written;
use crate::config::file::Format;
use crate::config::pattern::check_literal;
use crate::config::{Absent, JsonValue, PartRequest, Problem, TextPiece, Upstream};

pub(super) fn request(
    reading: &mut Reading<'_>,
    here: Here<'_>,
    fields: &Fields<'_>,
    upstream: Option<&Upstream>,
) -> Option<PartRequest> {
    let method = part_method(reading, fields);
    let address = fields.text(reading, "path").and_then(|text| address(reading, here, &text));
    let more = query(reading, here, fields, upstream);
    let headers = headers(reading, here, fields, upstream);
    let body = match fields.value("body") {
        None => Some(None),
        Some(value) => here.json(reading, "body", value, Needed::Always).map(Some),
    };
    let (path, mut query) = address?;
    let names: Vec<&str> = query.iter().map(|(name, _)| name.as_str()).collect();
    if let Some(value) = fields.value("path") {
        for name in names {
            if refuse_credentials_parameter(reading, upstream, name, &value.span()) {
                reading.hide_value(value);
            }
        }
    }
    query.extend(more?);
    Some(PartRequest { method: method?, path, query, headers: headers?, body: body? })
}

fn part_method(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<Method> {
    if fields.value("method").is_none() {
        return Some(if fields.value("body").is_some() { Method::POST } else { Method::GET });
    }
    let text = fields.text(reading, "method")?;
    let why = match method(&text.value) {
        Ok(Method::HEAD) => {
            ("an answer to HEAD has nothing that could be composed".to_owned(), "write \"GET\"".to_owned())
        }
        Ok(Method::GET) if fields.value("body").is_some() => {
            let hint = "write \"POST\", or leave `method` out for that".to_owned();
            ("a GET request has no body".to_owned(), hint)
        }
        Ok(method) => return Some(method),
        Err(why) => why,
    };
    reading.refuse(why, &text.span)
}

type Parameters = Vec<(String, JsonValue)>;

/// The path, and the parameters behind its `?`.
fn address(reading: &mut Reading<'_>, here: Here<'_>, text: &Text) -> Option<(Vec<TextPiece>, Parameters)> {
    let written = here.written(reading, "path", text)?;
    let (path, query) = at_question_mark(written);
    let checked = check_path(&path).map_err(|(message, hint)| (format!("`path`: {message}"), hint));
    let checked = checked.or_else(|why| reading.refuse(why, &text.span).ok_or(())).ok();
    let path = here.pieces(reading, "path", &text.span, path, Needed::Always);
    let query = parameters(reading, here, &text.span, query);
    checked?;
    Some((path?, query?))
}

/// What stands before the first `?` outside of placeholders, and what stands behind it.
fn at_question_mark(written: Vec<Written>) -> (Vec<Written>, Vec<Written>) {
    let (mut path, mut query, mut behind) = (Vec::new(), Vec::new(), false);
    for piece in written {
        match piece {
            Written::Text(text) if !behind => match text.split_once('?') {
                Some((before, after)) => {
                    path.extend((!before.is_empty()).then(|| Written::Text(before.to_owned())));
                    query.extend((!after.is_empty()).then(|| Written::Text(after.to_owned())));
                    behind = true;
                }
                None => path.push(Written::Text(text)),
            },
            piece if behind => query.push(piece),
            piece => path.push(piece),
        }
    }
    (path, query)
}

/// SEC-02: no dot segment, and nothing that cannot stand in a request line. What values make of a segment is seen when they
/// are there.
fn check_path(path: &[Written]) -> Result<(), Why> {
    let hint = || "the upstream's `url` says where it is: write what follows, such as \"/customers/{id}\"".to_owned();
    if !matches!(path.first(), Some(Written::Text(text)) if text.starts_with('/')) {
        return Err(("a path begins with `/`".to_owned(), hint()));
    }
    // A placeholder counts as a letter, unless all that its segment is made of is a default.
    let mut segments = vec![(String::new(), Vec::new())];
    for piece in path {
        let (last, defaults) = segments.last_mut().expect("there is always one");
        match piece {
            Written::Text(text) => {
                let mut parts = text.split('/');
                last.push_str(parts.next().unwrap_or_default());
                segments.extend(parts.map(|part| (part.to_owned(), Vec::new())));
            }
            Written::Placeholder(placeholder) => {
                last.push('x');
                defaults.push(&placeholder.absent);
            }
        }
    }
    for (segment, defaults) in segments {
        check_literal(&segment).map_err(|error| (error.message, error.hint))?;
        // An empty value fails the part wherever it stands in a path.
        let bad = |absent: &&Absent| match absent {
            Absent::Default(text) => text.is_empty() || segment == "x" && [".", ".."].contains(&text.as_str()),
            Absent::Fails | Absent::LeavesOut => false,
        };
        if defaults.iter().any(bad) {
            let why = "a default is empty, or would make a dot segment of it".to_owned();
            return Err((why, "write another one".to_owned()));
        }
    }
    Ok(())
}

/// The parameters of a path's query. Values are encoded when they are sent, so that what is written is decoded here.
fn parameters(
    reading: &mut Reading<'_>,
    here: Here<'_>,
    span: &Range<usize>,
    query: Vec<Written>,
) -> Option<Parameters> {
    let mut parameters: Vec<(String, Option<Vec<Written>>)> = vec![(String::new(), None)];
    for piece in query {
        let text = match piece {
            Written::Text(text) => text,
            piece @ Written::Placeholder(_) => match parameters.last_mut() {
                Some((_, Some(value))) => {
                    value.push(piece);
                    continue;
                }
                _ => {
                    let why = "`path`: a parameter's name has no placeholder".to_owned();
                    return reading.refuse((why, "write such as \"/orders?customer={id}\"".to_owned()), span);
                }
            },
        };
        if text.contains('#') {
            let why = ("`path`: a request has no fragment".to_owned(), "write `#` as `%23`".to_owned());
            return reading.refuse(why, span);
        }
        for (index, part) in text.split('&').enumerate() {
            if index > 0 {
                parameters.push((String::new(), None));
            }
            let (name, value) = parameters.last_mut().expect("there is always one");
            match (value, part.split_once('=')) {
                (Some(value), _) => value.extend((!part.is_empty()).then(|| Written::Text(decoded(part)))),
                (value @ None, Some((before, after))) => {
                    name.push_str(&decoded(before));
                    *value = Some((!after.is_empty()).then(|| Written::Text(decoded(after))).into_iter().collect());
                }
                (None, None) => name.push_str(&decoded(part)),
            }
        }
    }
    let parameters = parameters.into_iter().filter(|(name, value)| !name.is_empty() || value.is_some());
    let resolved: Vec<_> = parameters
        .map(|(name, value)| {
            let value = here.pieces(reading, "path", span, value.unwrap_or_default(), Needed::Maybe)?;
            Some((name, JsonValue::of_text(value)))
        })
        .collect();
    resolved.into_iter().collect()
}

/// As a form is decoded.
fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// SEC-10: what the credential sets is removed from every request before, so that it would not arrive. True: it was refused.
pub(super) fn refuse_credentials_parameter(
    reading: &mut Reading<'_>,
    upstream: Option<&Upstream>,
    name: &str,
    span: &Range<usize>,
) -> bool {
    let credential = upstream.and_then(|upstream| upstream.credential.as_ref());
    let refused = credential.is_some_and(|credential| credential.query_names().contains(&name));
    if refused {
        let why = format!("the query parameter `{name}` is set by the upstream's credential");
        reading.problem(Problem::new(why, span.clone()).hint("remove it here"));
    }
    refused
}

fn query(
    reading: &mut Reading<'_>,
    here: Here<'_>,
    fields: &Fields<'_>,
    upstream: Option<&Upstream>,
) -> Option<Parameters> {
    let parameter = |(name, value): (Text, &crate::config::file::Value<'_>)| {
        if refuse_credentials_parameter(reading, upstream, &name.value, &name.span) {
            // What was to be set may be a key.
            reading.hide_value(value);
        }
        let value = match value.get_ref() {
            DeValue::Boolean(_) | DeValue::Integer(_) => here.json(reading, &name.value, value, Needed::Maybe)?,
            _ => {
                let text = text(reading, value, Format::Plain)?;
                JsonValue::of_text(here.text(reading, &name.value, &text, Needed::Maybe)?)
            }
        };
        Some((name.value, value))
    };
    let parameters: Vec<_> = fields.entries("query").into_iter().map(parameter).collect();
    parameters.into_iter().collect()
}

fn headers(
    reading: &mut Reading<'_>,
    here: Here<'_>,
    fields: &Fields<'_>,
    upstream: Option<&Upstream>,
) -> Option<Vec<(HeaderName, Vec<TextPiece>)>> {
    let credential = upstream.and_then(|upstream| upstream.credential.as_ref());
    let credential = credential.map(|credential| credential.headers()).unwrap_or_default();
    let mut headers = Some(Vec::new());
    for (name, value) in fields.entries("headers") {
        let header = editable(reading, &name, &credential);
        if header.is_none() {
            // What was to be set may be a key.
            reading.hide_value(value);
        }
        let header = header.filter(|header| {
            let ours = *header == ACCEPT_ENCODING;
            if ours {
                let why = "attache asks for what it can decode itself".to_owned();
                reading.refuse::<()>((why, format!("remove `{header}`")), &name.span);
            }
            !ours
        });
        let value =
            text(reading, value, Format::Plain).and_then(|text| header_value(reading, here, &name.value, &text));
        headers = headers.and_then(|mut headers| {
            headers.push((header?, value?));
            Some(headers)
        });
    }
    headers
}

fn header_value(reading: &mut Reading<'_>, here: Here<'_>, name: &str, text: &Text) -> Option<Vec<TextPiece>> {
    let pieces = here.text(reading, name, text, Needed::Maybe)?;
    let legal = |piece: &TextPiece| match piece {
        TextPiece::Text(text) => HeaderValue::from_str(text).is_ok(),
        TextPiece::Value(_) => true,
    };
    if !pieces.iter().all(legal) || text.value.trim() != text.value {
        let why = format!("this cannot be the value of `{name}`");
        let hint = "it is made of visible ASCII characters, and spaces between them".to_owned();
        return reading.refuse((why, hint), &text.span);
    }
    Some(pieces)
}
