//! How a checked text is walked, without recursion and without a tree.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Kind, NoItems};

/// Within so many bytes, the end of a string is looked for byte by byte.
const SHORT_STRING_BYTES: usize = 16;

/// The name of a member.
#[derive(Debug, Clone)]
pub(in crate::proxy::aggregate) struct Name<'a> {
    /// As it is written, with its quotes.
    pub(in crate::proxy::aggregate) raw: &'a str,
    /// What it says: UTF-8, but for halves of surrogate pairs, which are encoded like any character (WTF-8), so that names
    /// are equal if and only if they say the same.
    pub(in crate::proxy::aggregate) decoded: Cow<'a, [u8]>,
}

impl Name<'_> {
    /// What a copy of it takes of its own, and itself, in bytes: nothing if it says what is written.
    pub(in crate::proxy::aggregate) fn owned_bytes(&self) -> usize {
        match &self.decoded {
            Cow::Borrowed(_) => 0,
            Cow::Owned(decoded) => 2 * (decoded.capacity() + size_of::<usize>()),
        }
    }
}

/// Calls with each member of an object, as they stand. `None`: it is no object.
pub(in crate::proxy::aggregate) fn for_each_member<'a>(
    text: &'a str,
    each: impl FnMut(Name<'a>, &'a str),
) -> Option<()> {
    (kind(text.as_bytes()) == Kind::Object).then(|| {
        serde_json::Deserializer::from_str(text).deserialize_map(EachMember(each)).expect("it was checked");
    })
}

/// Calls with each item of a list, in order. `None`: it is no list.
pub(in crate::proxy::aggregate) fn for_each_item<'a>(text: &'a str, each: impl FnMut(&'a str)) -> Option<()> {
    (kind(text.as_bytes()) == Kind::List).then(|| {
        serde_json::Deserializer::from_str(text).deserialize_seq(EachItem(each)).expect("it was checked");
    })
}

/// Calls with each item of a list, until one is the last that is wanted: what lies behind it is not looked at. `None`: it is
/// no list.
pub(super) fn each_until<'a>(text: &'a str, mut is_last: impl FnMut(&'a str) -> bool) -> Option<()> {
    (kind(text.as_bytes()) == Kind::List).then(|| {
        // That it ended before the list did, is said as an error.
        let _ = serde_json::Deserializer::from_str(text).deserialize_seq(EachUntil(&mut is_last));
    })
}

/// Calls with each item of the list at the end of a path, until one is the last that is wanted; then it is true. `within`: the
/// path has entered a list before, so that what is absent is no item, and what is no list is one.
pub(super) fn each_at(
    value: &str,
    path: &[String],
    within: bool,
    is_last: &mut impl FnMut(&str) -> bool,
) -> Result<bool, NoItems> {
    let mut ends = false;
    match (kind(value.as_bytes()), path) {
        (Kind::Null, []) => {}
        (Kind::List, []) => each_until(value, |item| {
            ends = is_last(item);
            ends
        })
        .expect("it is a list"),
        (_, []) if within => ends = is_last(value),
        (_, []) => return Err(NoItems::NotList),
        (Kind::Object, [name, rest @ ..]) => match member(value, name) {
            Some(value) => return each_at(value, rest, within, is_last),
            None if within => {}
            None => return Err(NoItems::Absent),
        },
        (Kind::List, [step, rest @ ..]) => match index(step) {
            Some(index) => match item(value, index) {
                Some(value) => return each_at(value, rest, within, is_last),
                None if within => {}
                None => return Err(NoItems::Absent),
            },
            None => each_until(value, |item| {
                ends = each_at(item, path, true, is_last).expect("within a list nothing is missed");
                ends
            })
            .expect("it is a list"),
        },
        _ if within => {}
        _ => return Err(NoItems::Absent),
    }
    Ok(ends)
}

/// What kind of value a checked text without space around it is.
pub(in crate::proxy::aggregate) fn kind(text: &[u8]) -> Kind {
    match text.first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::List,
        Some(b'"') => Kind::String,
        Some(b't' | b'f') => Kind::Boolean,
        Some(b'n') => Kind::Null,
        _ => Kind::Number,
    }
}

/// What stands between a list's brackets. `None`: it is no list.
pub(in crate::proxy::aggregate) fn list_interior(text: &str) -> Option<&str> {
    Some(text.strip_prefix('[')?.strip_suffix(']')?.trim_matches([' ', '\t', '\n', '\r']))
}

/// Writes what stood between a list's brackets behind the items that a list has already.
pub(in crate::proxy::aggregate) fn write_items(out: &mut Vec<u8>, interior: &str) {
    if !interior.is_empty() {
        separate(out);
        out.extend_from_slice(interior.as_bytes());
    }
}

/// Writes the comma before a further item or member.
pub(in crate::proxy::aggregate) fn separate(out: &mut Vec<u8>) {
    if !matches!(out.last(), Some(b'[' | b'{')) {
        out.push(b',');
    }
}

/// The index that a step of a path is: digits as JSON writes a number.
pub(super) fn index(step: &str) -> Option<usize> {
    let canonical = step.bytes().all(|byte| byte.is_ascii_digit()) && (step == "0" || !step.starts_with('0'));
    if canonical { step.parse().ok() } else { None }
}

/// The member of this name; the last one if there are several.
pub(in crate::proxy::aggregate) fn member<'a>(object: &'a str, wanted: &str) -> Option<&'a str> {
    let mut found = None;
    for_each_member(object, |name, value| {
        if *name.decoded == *wanted.as_bytes() {
            found = Some(value);
        }
    });
    found
}

pub(in crate::proxy::aggregate) fn item(list: &str, index: usize) -> Option<&str> {
    let mut at = 0;
    let mut found = None;
    each_until(list, |item| {
        if at == index {
            found = Some(item);
        }
        at += 1;
        found.is_some()
    })?;
    found
}

/// What a string's text says, WTF-8.
pub(super) fn decoded(raw: &str) -> Cow<'_, [u8]> {
    match raw.as_bytes() {
        [b'"', plain @ .., b'"'] if !plain.contains(&b'\\') => Cow::Borrowed(plain),
        _ => serde_json::Deserializer::from_str(raw).deserialize_bytes(StringBytes).expect("it was checked"),
    }
}

/// Whether lists and objects of a checked text are nested deeper than that.
pub(super) fn is_deeper_than(depth_max: usize, text: &[u8]) -> bool {
    let mut depth = 0;
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => skip_string(&mut rest),
            b'[' | b'{' if depth == depth_max => return true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
    }
    false
}

/// Leaves behind what a string holds, and its last quote.
fn skip_string(rest: &mut std::slice::Iter<'_, u8>) {
    // Most strings are short, and a search costs more than they do.
    for _ in 0..SHORT_STRING_BYTES {
        match rest.next() {
            Some(b'"') | None => return,
            Some(b'\\') => drop(rest.next()),
            Some(_) => {}
        }
    }
    while let Some(found) = memchr::memchr2(b'"', b'\\', rest.as_slice()) {
        if rest.nth(found) == Some(&b'"') {
            return;
        }
        rest.next();
    }
}

struct EachMember<F>(F);

impl<'a, F: FnMut(Name<'a>, &'a str)> Visitor<'a> for EachMember<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            (self.0)(Name { raw: name.get(), decoded: decoded(name.get()) }, value.get());
        }
        Ok(())
    }
}

struct EachItem<F>(F);

impl<'a, F: FnMut(&'a str)> Visitor<'a> for EachItem<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while let Some(item) = seq.next_element::<&RawValue>()? {
            (self.0)(item.get());
        }
        Ok(())
    }
}

struct EachUntil<F>(F);

impl<'a, F: FnMut(&'a str) -> bool> Visitor<'a> for EachUntil<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while let Some(item) = seq.next_element::<&RawValue>()? {
            if (self.0)(item.get()) {
                break;
            }
        }
        Ok(())
    }
}

/// Takes a string as bytes, which lets halves of surrogate pairs pass.
struct StringBytes;

impl<'a> Visitor<'a> for StringBytes {
    type Value = Cow<'a, [u8]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'a [u8]) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(bytes))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(bytes.to_vec()))
    }
}
