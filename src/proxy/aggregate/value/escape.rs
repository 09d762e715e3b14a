//! Where values stand: in a path, a query, a header. Each escapes them in its own way, and there is so much room for all of
//! them and no more: an answer may have megabytes.

use std::borrow::Cow;

use http::HeaderValue;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;

use super::{Found, Known, Nulls, Unfilled, Why, present, rest, unfilled};
use crate::proxy::aggregate::json::Kind;
use crate::route::check_path;
use crate::snapshot::plan::{JsonValue, Reference, TextPiece, ValueSource};
use crate::token::NOT_UNRESERVED;

/// The most bytes that JSON takes for one byte of a text: a control character as `\u001f`.
const ESCAPED_BYTES_MAX: usize = 6;

/// What is left of the bytes that values may take together, and which took the most: it is to blame if they do not fit.
#[derive(Debug)]
pub struct Room<'a> {
    left: usize,
    largest: Option<(usize, &'a Reference)>,
}

impl<'a> Room<'a> {
    pub fn new(bytes_max: usize) -> Self {
        Room { left: bytes_max, largest: None }
    }

    /// Takes what is not a value.
    fn take_text(&mut self, text: &str) {
        self.left = self.left.saturating_sub(text.len());
    }

    /// Takes so many bytes for a value.
    fn take(&mut self, bytes: usize, reference: &'a Reference) -> Result<(), Unfilled> {
        self.left = self.after(bytes, reference)?;
        if self.largest.is_none_or(|(most, _)| most < bytes) {
            self.largest = Some((bytes, reference));
        }
        Ok(())
    }

    /// What would be left after so many bytes for a value.
    fn after(&self, bytes: usize, reference: &'a Reference) -> Result<usize, Unfilled> {
        self.left.checked_sub(bytes).ok_or_else(|| match self.largest {
            Some((most, largest)) if most > bytes => unfilled(largest, Why::TooLong),
            _ => unfilled(reference, Why::TooLong),
        })
    }

    /// A value as a text, if it may fit: whatever it is written as takes no fewer bytes.
    fn text<'f>(&self, found: &'f Found<'_>, reference: &'a Reference) -> Result<Cow<'f, str>, Unfilled> {
        if let Found::Json(json) = found
            && json.kind() == Kind::String
        {
            self.after(json.as_bytes().len().saturating_sub(2) / ESCAPED_BYTES_MAX, reference)?;
        }
        let text = found.text().map_err(|why| unfilled(reference, why))?;
        self.after(text.len(), reference)?;
        Ok(text)
    }
}

/// A path. A value stands within one segment, whatever it holds; what the rest of the route matched stands there as it came,
/// slashes included.
pub fn path<'a>(known: &Known<'a>, pieces: &'a [TextPiece], room: &mut Room<'a>) -> Result<String, Unfilled> {
    let mut out = String::new();
    // Where each value begins.
    let mut values = Vec::new();
    for piece in pieces {
        match piece {
            TextPiece::Text(text) => {
                room.take_text(text);
                out.push_str(text);
            }
            TextPiece::Value(reference) => {
                let begin = out.len();
                values.push((begin, reference));
                match (&reference.source, rest(known)) {
                    // No longer than a request line may be.
                    (ValueSource::Rest, Some(rest)) => out.push_str(rest),
                    _ => {
                        let found = required(known, reference)?;
                        let text = room.text(&found, reference)?;
                        if text.is_empty() {
                            return Err(unfilled(reference, Why::Empty));
                        }
                        encode(&mut out, &text);
                    }
                }
                room.take(out.len() - begin, reference)?;
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
pub fn query<'a>(
    known: &Known<'a>,
    parameters: &'a [(String, JsonValue)],
    room: &mut Room<'a>,
) -> Result<String, Unfilled> {
    let mut out = String::new();
    for (name, value) in parameters {
        write_parameter(&mut out, known, name, value, room)?;
    }
    Ok(out)
}

/// A header's value. `None`: the header is left out.
pub fn header<'a>(
    known: &Known<'a>,
    pieces: &'a [TextPiece],
    room: &mut Room<'a>,
) -> Result<Option<HeaderValue>, Unfilled> {
    let is_legal = |text: &str| HeaderValue::from_bytes(text.as_bytes()).is_ok();
    let check = |value: &str| if is_legal(value) { Ok(()) } else { Err(Why::NotHeader) };
    let mut text = String::new();
    if !write_text(&mut text, known, pieces, room, |out, text| out.push_str(text), check)? {
        return Ok(None);
    }
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

fn write_parameter<'a>(
    out: &mut String,
    known: &Known<'a>,
    name: &str,
    value: &'a JsonValue,
    room: &mut Room<'a>,
) -> Result<(), Unfilled> {
    let begin = out.len();
    match value {
        JsonValue::Value(reference) => {
            let values = match present(known, reference, Nulls::AreAbsent)? {
                None => Vec::new(),
                Some(Found::Json(list)) if list.kind() == Kind::List => {
                    // Each takes a byte at least.
                    list.first_items_at(&[], room.left + 1).unwrap_or_default().into_iter().map(Found::Json).collect()
                }
                Some(found) => vec![found],
            };
            for value in &values {
                let begin = out.len();
                let text = room.text(value, reference)?;
                begin_parameter(out, name);
                encode(out, &text);
                room.take(out.len() - begin, reference)?;
            }
        }
        JsonValue::Text(pieces) => {
            begin_parameter(out, name);
            room.take_text(&out[begin..]);
            if !write_text(out, known, pieces, room, encode, |_| Ok(()))? {
                out.truncate(begin);
            }
        }
        JsonValue::Other(value) => {
            begin_parameter(out, name);
            match value {
                Value::String(text) => encode(out, text),
                value => encode(out, &value.to_string()),
            }
            room.take_text(&out[begin..]);
        }
        JsonValue::List(_) | JsonValue::Object(_) => unreachable!("resolve lets no structure stand in a query"),
    }
    Ok(())
}

fn begin_parameter(out: &mut String, name: &str) {
    if !out.is_empty() {
        out.push('&');
    }
    encode(out, name);
    out.push('=');
}

fn encode(out: &mut String, text: &str) {
    out.extend(utf8_percent_encode(text, NOT_UNRESERVED));
}

/// Writes a text of which each value is checked. `false`: it is one placeholder alone, and left out.
fn write_text<'a>(
    out: &mut String,
    known: &Known<'a>,
    pieces: &'a [TextPiece],
    room: &mut Room<'a>,
    escape: impl Fn(&mut String, &str),
    check: impl Fn(&str) -> Result<(), Why>,
) -> Result<bool, Unfilled> {
    for piece in pieces {
        let begin = out.len();
        match piece {
            TextPiece::Text(text) => {
                escape(out, text);
                room.take_text(&out[begin..]);
            }
            TextPiece::Value(reference) => {
                let found = match present(known, reference, Nulls::AreAbsent)? {
                    None if pieces.len() == 1 => return Ok(false),
                    None => return Err(unfilled(reference, Why::Absent)),
                    Some(found) => found,
                };
                let text = room.text(&found, reference)?;
                check(&text).map_err(|why| unfilled(reference, why))?;
                escape(out, &text);
                room.take(out.len() - begin, reference)?;
            }
        }
    }
    Ok(true)
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
