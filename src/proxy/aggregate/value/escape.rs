//! Where values stand: in a path, a query, a header, JSON. Each escapes them in its own way.

use http::HeaderValue;
use percent_encoding::utf8_percent_encode;

use super::{Found, Known, Nulls, Unfilled, Why, json_text, present, rest, unfilled};
use crate::proxy::aggregate::json::Kind;
use crate::proxy::aggregate::json::walk::separate;
use crate::proxy::aggregate::shape::write_string;
use crate::route::check_path;
use crate::snapshot::plan::{JsonValue, Reference, TextPiece, ValueSource};
use crate::token::NOT_UNRESERVED;

/// A path. A value stands within one segment, whatever it holds; what the rest of the route matched stands there as it came,
/// slashes included.
pub fn path(known: &Known<'_>, pieces: &[TextPiece]) -> Result<String, Unfilled> {
    let mut out = String::new();
    // Where each value begins.
    let mut values = Vec::new();
    for piece in pieces {
        match piece {
            TextPiece::Text(text) => out.push_str(text),
            TextPiece::Value(reference) => {
                values.push((out.len(), reference));
                match (&reference.source, rest(known)) {
                    (ValueSource::Rest, Some(rest)) => out.push_str(rest),
                    _ => {
                        let found = required(known, reference)?;
                        let text = found.text().map_err(|why| unfilled(reference, why))?;
                        if text.is_empty() {
                            return Err(unfilled(reference, Why::Empty));
                        }
                        out.extend(utf8_percent_encode(&text, NOT_UNRESERVED));
                    }
                }
            }
        }
    }
    let in_bad_segment = |(at, _): &&(usize, &Reference)| check_path(segment_at(&out, *at)).is_err();
    match values.first() {
        Some(first) if check_path(&out).is_err() => {
            let (_, blamed) = values.iter().find(in_bad_segment).unwrap_or(first);
            Err(unfilled(blamed, Why::UnsafePath))
        }
        _ => Ok(out),
    }
}

/// A query, without its question mark; empty if there are no parameters. A list of scalars alone repeats its parameter.
pub fn query(known: &Known<'_>, parameters: &[(String, JsonValue)]) -> Result<String, Unfilled> {
    let mut out = String::new();
    for (name, value) in parameters {
        write_parameter(&mut out, known, name, value)?;
    }
    Ok(out)
}

/// A header's value. `None`: the header is left out.
pub fn header(known: &Known<'_>, pieces: &[TextPiece]) -> Result<Option<HeaderValue>, Unfilled> {
    let is_legal = |text: &str| HeaderValue::from_bytes(text.as_bytes()).is_ok();
    let Some(text) = text(known, pieces, |value| if is_legal(value) { Ok(()) } else { Err(Why::NotHeader) })? else {
        return Ok(None);
    };
    let is_space = [' ', '\t'];
    match HeaderValue::from_bytes(text.as_bytes()) {
        Ok(value) if !text.starts_with(is_space) && !text.ends_with(is_space) => Ok(Some(value)),
        _ => {
            let mut values = pieces.iter().filter_map(reference_of);
            let blamed = if text.starts_with(is_space) { values.next() } else { values.next_back() };
            Err(unfilled(blamed.expect("resolve checks what is written out"), Why::NotHeader))
        }
    }
}

/// JSON. `None`: it is left out, being one placeholder.
pub fn json(known: &Known<'_>, value: &JsonValue) -> Result<Option<Vec<u8>>, Unfilled> {
    let mut out = Vec::new();
    Ok(write_json(&mut out, known, value, Unfit::Fails)?.then_some(out))
}

/// JSON of an answer, whose shape is the same whatever parts came to: what has no value is null.
pub fn template(known: &Known<'_>, value: &JsonValue) -> Vec<u8> {
    let mut out = Vec::new();
    match write_json(&mut out, known, value, Unfit::IsNull) {
        Ok(true) => out,
        Ok(false) | Err(_) => b"null".to_vec(),
    }
}

/// What becomes of a placeholder whose value cannot stand in its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unfit {
    Fails,
    /// It, or the text that it stands in.
    IsNull,
}

/// Writes a value; `false`: it is left out, and nothing was written.
fn write_json(out: &mut Vec<u8>, known: &Known<'_>, value: &JsonValue, unfit: Unfit) -> Result<bool, Unfilled> {
    match value {
        JsonValue::Value(reference) => match present(known, reference, Nulls::Count) {
            Err(_) if unfit == Unfit::IsNull => out.extend_from_slice(b"null"),
            Err(why) => return Err(why),
            Ok(None) => return Ok(false),
            Ok(Some(Found::Text(text))) => write_string(out, &text),
            Ok(Some(Found::Number(number))) => out.extend_from_slice(number.to_string().as_bytes()),
            Ok(Some(Found::Json(json))) => out.extend_from_slice(json.as_bytes()),
        },
        JsonValue::Text(pieces) => match text(known, pieces, |_| Ok(())) {
            Err(_) if unfit == Unfit::IsNull => out.extend_from_slice(b"null"),
            Err(why) => return Err(why),
            Ok(None) => return Ok(false),
            Ok(Some(text)) => write_string(out, &text),
        },
        JsonValue::Other(value) => serde_json::to_writer(out, value).expect("a value is JSON, and memory takes it"),
        JsonValue::List(items) => {
            out.push(b'[');
            for item in items {
                let before = out.len();
                separate(out);
                if !write_json(out, known, item, unfit)? {
                    out.truncate(before);
                }
            }
            out.push(b']');
        }
        JsonValue::Object(members) => {
            out.push(b'{');
            for (name, value) in members {
                let before = out.len();
                separate(out);
                write_string(out, name);
                out.push(b':');
                if !write_json(out, known, value, unfit)? {
                    out.truncate(before);
                }
            }
            out.push(b'}');
        }
    }
    Ok(true)
}

fn write_parameter(out: &mut String, known: &Known<'_>, name: &str, value: &JsonValue) -> Result<(), Unfilled> {
    let mut write = |text: &str| {
        if !out.is_empty() {
            out.push('&');
        }
        out.extend(utf8_percent_encode(name, NOT_UNRESERVED));
        out.push('=');
        out.extend(utf8_percent_encode(text, NOT_UNRESERVED));
    };
    match value {
        JsonValue::Value(reference) => match present(known, reference, Nulls::AreAbsent)? {
            None => {}
            Some(Found::Json(list)) if list.kind() == Kind::List => {
                for item in list.items().unwrap_or_default() {
                    write(&json_text(&item).map_err(|why| unfilled(reference, why))?);
                }
            }
            Some(found) => write(&found.text().map_err(|why| unfilled(reference, why))?),
        },
        JsonValue::Text(pieces) => {
            if let Some(text) = text(known, pieces, |_| Ok(()))? {
                write(&text);
            }
        }
        JsonValue::Other(serde_json::Value::String(text)) => write(text),
        JsonValue::Other(value) => write(&value.to_string()),
        JsonValue::List(_) | JsonValue::Object(_) => unreachable!("resolve lets no structure stand in a query"),
    }
    Ok(())
}

/// A text of which each value was checked. `None`: it is one placeholder alone, and left out.
fn text(
    known: &Known<'_>,
    pieces: &[TextPiece],
    check: impl Fn(&str) -> Result<(), Why>,
) -> Result<Option<String>, Unfilled> {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            TextPiece::Text(text) => out.push_str(text),
            TextPiece::Value(reference) => {
                let found = match present(known, reference, Nulls::AreAbsent)? {
                    None if pieces.len() == 1 => return Ok(None),
                    None => return Err(unfilled(reference, Why::Absent)),
                    Some(found) => found,
                };
                let text = found.text().map_err(|why| unfilled(reference, why))?;
                check(&text).map_err(|why| unfilled(reference, why))?;
                out.push_str(&text);
            }
        }
    }
    Ok(Some(out))
}

/// The value where nothing can be left out.
fn required<'a>(known: &Known<'a>, reference: &'a Reference) -> Result<Found<'a>, Unfilled> {
    present(known, reference, Nulls::AreAbsent)?.ok_or_else(|| unfilled(reference, Why::Absent))
}

/// The segment of a path in which a byte lies.
fn segment_at(path: &str, at: usize) -> &str {
    let begin = path[..at].rfind('/').map_or(0, |slash| slash + 1);
    let end = path[at..].find('/').map_or(path.len(), |slash| at + slash);
    &path[begin..end]
}

fn reference_of(piece: &TextPiece) -> Option<&Reference> {
    match piece {
        TextPiece::Text(_) => None,
        TextPiece::Value(reference) => Some(reference),
    }
}
