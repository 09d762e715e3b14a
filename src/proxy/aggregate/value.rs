//! Placeholders become values: typed, spelled as they came, and escaped for where they stand.

mod escape;
mod json;
#[cfg(test)]
mod tests;

pub use escape::{Room, header, path, query};
pub use json::{NoJson, json, template};

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

use http::HeaderMap;
use percent_encoding::percent_decode;
use serde_json::{Number, Value};

use super::json::{Json, Kind, NoItems};
use crate::proxy::query::decoded_name_is;
use crate::route::Matched;
use crate::snapshot::plan::{Absent, Condition, Reference, ValueSource};

/// All that placeholders can read.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    pub matched: &'a Matched,
    /// The request's path as received, which was matched.
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    /// The request's body, if it is read.
    pub request: Option<&'a Json>,
    /// The client's name.
    pub client: Option<&'a str>,
    /// By index; `None`: not there yet.
    pub parts: &'a [Option<Content>],
    /// Of `for_each`, with its number from 0.
    pub item: Option<(&'a Json, usize)>,
    /// What was found in the request and in parts, for those who look for the same again and again.
    pub seen: Option<&'a Seen>,
}

/// What was found in the request's body and in parts, by where the placeholder is: an answer may have megabytes, and is
/// walked to its end each time.
#[derive(Debug, Default)]
pub struct Seen(RefCell<HashMap<*const Reference, Option<Json>>>);

impl Seen {
    fn at(&self, json: &Json, reference: &Reference) -> Option<Json> {
        let mut seen = self.0.borrow_mut();
        seen.entry(std::ptr::from_ref(reference)).or_insert_with(|| json.at(&reference.path)).clone()
    }
}

/// What stands for a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Absent,
    Json(Json),
}

/// A placeholder without a value that can stand in its place. It never shows the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfilled {
    /// As it is written, without its braces.
    pub placeholder: String,
    pub why: Why,
}

/// Why a placeholder's value cannot stand in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Absent,
    /// There is no text for null.
    Null,
    /// An object or a list stands in a text.
    NotText,
    /// A string with half a surrogate pair, or a part of the request that is no UTF-8.
    NotUnicode,
    /// An empty text stands in a path.
    Empty,
    /// It would make a dot segment, a control character or a backslash of a path (SEC-02).
    UnsafePath,
    /// With it, a header's value is not legal.
    NotHeader,
    /// There is nothing to go over.
    NotList,
    /// With it, the target or the headers of a request are longer than they may be.
    TooLong,
}

/// The value of a placeholder alone, with its type. `None`: it is left out.
pub fn value(known: &Known<'_>, reference: &Reference) -> Result<Option<Json>, Unfilled> {
    Ok(present(known, reference, Nulls::Count)?.map(Found::into_json))
}

/// Whether there is a value.
pub fn check(known: &Known<'_>, reference: &Reference) -> Result<(), Unfilled> {
    find(known, reference)?.map(drop).ok_or_else(|| unfilled(reference, Why::Absent))
}

/// The items that a part is called for, no more than one beyond `items_max`; none if the list is null, or absent and may be
/// (`?`). The path enters lists: what it leads to in their items is one list, in order.
pub fn items(known: &Known<'_>, reference: &Reference, items_max: usize) -> Result<Vec<Json>, Unfilled> {
    let json = match &reference.source {
        ValueSource::Request => known.request,
        ValueSource::Part(index) => part(known, *index),
        _ => return Err(unfilled(reference, Why::NotList)),
    };
    match json.map_or(Err(NoItems::Absent), |json| json.first_items_at(&reference.path, items_max + 1)) {
        Ok(items) => Ok(items),
        Err(NoItems::Absent) if reference.absent == Absent::LeavesOut => Ok(Vec::new()),
        Err(NoItems::Absent) => Err(unfilled(reference, Why::Absent)),
        Err(NoItems::NotList) => Err(unfilled(reference, Why::NotList)),
    }
}

/// Whether a part is called. What is absent does not hold, is equal to nothing, and differs from everything: a condition has
/// no default.
pub fn holds(known: &Known<'_>, condition: &Condition) -> Result<bool, Unfilled> {
    let (Condition::Holds(reference) | Condition::OneOf(reference, _) | Condition::NoneOf(reference, _)) = condition;
    let found = find(known, reference)?;
    Ok(match condition {
        Condition::Holds(_) => match found {
            None => false,
            Some(Found::Json(json)) => !matches!(json.as_bytes(), b"null" | b"false"),
            Some(Found::Text(_) | Found::Number(_)) => true,
        },
        Condition::OneOf(_, values) => found.is_some_and(|found| values.iter().any(|value| found.is(value))),
        Condition::NoneOf(_, values) => !found.is_some_and(|found| values.iter().any(|value| found.is(value))),
    })
}

/// What a placeholder found.
enum Found<'a> {
    Text(Cow<'a, str>),
    Number(usize),
    Json(Json),
}

/// Whether null is a value, as it is in JSON, or none, as in a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nulls {
    Count,
    AreAbsent,
}

/// The value, or what stands for it. `None`: what it stands in alone is left out. A default stands for null as well.
fn present<'a>(known: &Known<'a>, reference: &'a Reference, nulls: Nulls) -> Result<Option<Found<'a>>, Unfilled> {
    let nulls = if matches!(reference.absent, Absent::Default(_)) { Nulls::AreAbsent } else { nulls };
    let why = match find(known, reference)? {
        Some(Found::Json(json)) if nulls == Nulls::AreAbsent && json.is_null() => Why::Null,
        Some(found) => return Ok(Some(found)),
        None => Why::Absent,
    };
    match &reference.absent {
        Absent::Fails => Err(unfilled(reference, why)),
        Absent::LeavesOut => Ok(None),
        Absent::Default(text) => Ok(Some(Found::Text(Cow::Borrowed(text)))),
    }
}

fn find<'a>(known: &Known<'a>, reference: &Reference) -> Result<Option<Found<'a>>, Unfilled> {
    let text = |text: Option<Cow<'a, [u8]>>| match text {
        None => Ok(None),
        Some(Cow::Borrowed(bytes)) => std::str::from_utf8(bytes).map(Cow::Borrowed).map(Some).map_err(drop),
        Some(Cow::Owned(bytes)) => String::from_utf8(bytes).map(Cow::Owned).map(Some).map_err(drop),
    };
    let within = |json: Option<&Json>| {
        let found = json.and_then(|json| match known.seen {
            Some(seen) => seen.at(json, reference),
            None => json.at(&reference.path),
        });
        Ok(found.map(Found::Json))
    };
    let found = match &reference.source {
        // A path has a segment for each of its pattern's.
        ValueSource::Segment(index) => text(known.path.split('/').nth(index + 1).map(decoded)),
        ValueSource::Rest => text(rest(known).map(decoded)),
        ValueSource::Query(name) => text(parameter(known.query.unwrap_or_default(), name)),
        ValueSource::Header(name) => text(known.headers.get(name).map(|value| Cow::Borrowed(value.as_bytes()))),
        ValueSource::Client => Ok(known.client.map(Cow::Borrowed)),
        ValueSource::Index => return Ok(known.item.map(|(_, index)| Found::Number(index))),
        ValueSource::Item => {
            return Ok(known.item.and_then(|(item, _)| item.at(&reference.path)).map(Found::Json));
        }
        ValueSource::Request => return within(known.request),
        ValueSource::Part(index) => return within(part(known, *index)),
    };
    match found {
        Ok(text) => Ok(text.map(Found::Text)),
        Err(()) => Err(unfilled(reference, Why::NotUnicode)),
    }
}

/// What stands for a part, if that is there.
fn part<'a>(known: &Known<'a>, index: usize) -> Option<&'a Json> {
    match &known.parts[index] {
        Some(Content::Json(json)) => Some(json),
        Some(Content::Absent) | None => None,
    }
}

/// What the rest of the route matched, as received, without its leading slash. Nothing is absent.
fn rest<'a>(known: &Known<'a>) -> Option<&'a str> {
    let rest = &known.path[known.matched.rest.clone()?];
    Some(rest.strip_prefix('/').unwrap_or(rest)).filter(|rest| !rest.is_empty())
}

/// The first parameter of this name.
fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, [u8]>> {
    let piece = query.split('&').find(|piece| !piece.is_empty() && decoded_name_is(piece, name))?;
    let raw = piece.split_once('=').map_or("", |(_, value)| value);
    match raw.contains('+') {
        false => Some(decoded(raw)),
        true => Some(Cow::Owned(percent_decode(raw.replace('+', " ").as_bytes()).collect())),
    }
}

fn decoded(raw: &str) -> Cow<'_, [u8]> {
    percent_decode(raw.as_bytes()).into()
}

impl<'a> Found<'a> {
    fn into_json(self) -> Json {
        match self {
            Found::Text(text) => Json::string(&text),
            Found::Number(number) => Json::from(&Value::from(number)),
            Found::Json(json) => json,
        }
    }

    /// How it stands in a text.
    fn text(&self) -> Result<Cow<'_, str>, Why> {
        match self {
            Found::Text(text) => Ok(Cow::Borrowed(text)),
            Found::Number(number) => Ok(Cow::Owned(number.to_string())),
            Found::Json(json) => json_text(json),
        }
    }

    /// Whether it equals a value of the configuration, which is no list and no object: type and value; `1.0` is `1`.
    fn is(&self, value: &Value) -> bool {
        match (self, value) {
            (Found::Text(text), Value::String(value)) => text == value,
            (Found::Number(number), Value::Number(value)) => is_same_number(&Number::from(*number), value),
            // A string is not read into a tree, which half a surrogate pair in it would refuse.
            (Found::Json(json), Value::String(value)) => json.text().is_some_and(|text| text == *value),
            (Found::Json(json), Value::Number(value)) if json.kind() == Kind::Number => {
                serde_json::from_str(json.as_str()).is_ok_and(|number| is_same_number(&number, value))
            }
            (Found::Json(json), Value::Bool(value)) => json.as_str() == if *value { "true" } else { "false" },
            (Found::Json(json), Value::Null) => json.is_null(),
            _ => false,
        }
    }
}

/// How a JSON value stands in a text: a string as it is, a number or a boolean as JSON writes it.
fn json_text(json: &Json) -> Result<Cow<'_, str>, Why> {
    match json.kind() {
        Kind::String => json.text().ok_or(Why::NotUnicode),
        Kind::Number | Kind::Boolean => Ok(Cow::Borrowed(json.as_str())),
        Kind::Null => Err(Why::Null),
        Kind::List | Kind::Object => Err(Why::NotText),
    }
}

/// `1.0` is `1`.
fn is_same_number(one: &Number, other: &Number) -> bool {
    one == other || (one.is_f64() || other.is_f64()) && one.as_f64() == other.as_f64()
}

fn unfilled(reference: &Reference, why: Why) -> Unfilled {
    Unfilled { placeholder: reference.text.clone(), why }
}

/// Shows nothing of the request.
impl fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl fmt::Display for Unfilled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::Absent => "is absent",
            Why::Null => "is null, which no text can say",
            Why::NotText => "is an object or a list, which cannot stand in a text",
            Why::NotUnicode => "is not Unicode text",
            Why::Empty => "is empty, which a path cannot hold",
            Why::UnsafePath => "would make a dot segment or a control character of the path",
            Why::NotHeader => "makes no legal header value",
            Why::NotList => "is no list",
            Why::TooLong => "makes a target longer than 32768 bytes, or headers longer than 65536 together",
        };
        write!(f, "{{{}}} {why}", self.placeholder)
    }
}
