//! JSON as it came: checked, never parsed into a tree. A value within it shares its bytes, so that what is not changed is
//! copied as it was written, numbers with all their digits.

#[cfg(test)]
mod tests;
pub(super) mod walk;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::snapshot::Held;
#[cfg(any(test, fuzzing))]
use walk::for_each_member;
use walk::{decoded, each_at, for_each_item, index, is_deeper_than, item, kind, list_interior, member, write_items};

/// How deep lists and objects may lie in each other: as deep as `serde_json` reads them into a tree.
const DEPTH_MAX: usize = 127;

/// A JSON text that was checked, without space around it. Cloning it copies nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Bytes);

/// Why bytes are no JSON for us; never shows any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotJson {
    Invalid {
        line: usize,
        column: usize,
    },
    /// Nested deeper than 127 lists and objects.
    TooDeep,
}

/// Why there are no items at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoItems {
    Absent,
    NotList,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Null,
    Boolean,
    Number,
    String,
    List,
    Object,
}

impl Json {
    /// Checks that all of it is one JSON value (RFC 8259) in UTF-8. Half a surrogate pair in a string is legal, and so are
    /// names that occur twice, of which the last one counts.
    pub fn check(bytes: Bytes) -> Result<Json, NotJson> {
        let value: &RawValue = serde_json::from_slice(&bytes)
            .map_err(|error| NotJson::Invalid { line: error.line(), column: error.column() })?;
        // It was walked without recursion. All that opens it from here on may recurse.
        if is_deeper_than(DEPTH_MAX, value.get().as_bytes()) {
            return Err(NotJson::TooDeep);
        }
        Ok(Json(bytes.slice_ref(value.get().as_bytes())))
    }

    /// What was composed of checked values and is one.
    pub(super) fn composed(bytes: Vec<u8>) -> Json {
        debug_assert!(serde_json::from_slice::<&RawValue>(&bytes).is_ok_and(|raw| raw.get().len() == bytes.len()));
        Json(Bytes::from(bytes))
    }

    pub fn null() -> Json {
        Json(Bytes::from_static(b"null"))
    }

    pub fn string(text: &str) -> Json {
        Json(Bytes::from(serde_json::to_vec(text).expect("a text is JSON")))
    }

    /// The list of these values.
    pub fn list(items: &[Json]) -> Json {
        let bytes = items.iter().map(|item| item.0.len() + 1).sum::<usize>() + 2;
        let mut out = Vec::with_capacity(bytes);
        out.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&item.0);
        }
        out.push(b']');
        Json::composed(out)
    }

    /// One list of the items of several, which are not looked at. `None` if one of them is no list.
    pub fn joined(lists: &[Json]) -> Option<Json> {
        let mut out = Vec::with_capacity(lists.iter().map(|list| list.0.len()).sum::<usize>() + 2);
        out.push(b'[');
        for list in lists {
            write_items(&mut out, list_interior(list.as_str())?);
        }
        out.push(b']');
        Some(Json::composed(out))
    }

    /// Itself, counted for as long as any of it is shared. `None`: there is no room for it.
    pub(super) fn counted(self, held: Held) -> Option<Json> {
        held.count(self.0).map(Json)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("it was checked")
    }

    pub fn kind(&self) -> Kind {
        kind(&self.0)
    }

    pub fn is_null(&self) -> bool {
        self.kind() == Kind::Null
    }

    /// The member of this name; the last one if there are several.
    pub fn get(&self, name: &str) -> Option<Json> {
        member(self.as_str(), name).map(|value| self.within(value))
    }

    /// The value at the end of a path of members' names and lists' indices; itself if it is empty.
    pub fn at(&self, path: &[String]) -> Option<Json> {
        let mut value = self.as_str();
        for step in path {
            value = match kind(value.as_bytes()) {
                Kind::Object => member(value, step)?,
                Kind::List => item(value, index(step)?)?,
                _ => return None,
            };
        }
        Some(self.within(value))
    }

    /// The members of an object as they stand, names decoded; half a surrogate pair in a name is shown as U+FFFD.
    #[cfg(any(test, fuzzing))]
    pub fn members(&self) -> Option<Vec<(String, Json)>> {
        let mut members = Vec::new();
        for_each_member(self.as_str(), |name, value| {
            members.push((String::from_utf8_lossy(&name.decoded).into_owned(), self.within(value)));
        })?;
        Some(members)
    }

    /// The items of a list.
    pub fn items(&self) -> Option<Vec<Json>> {
        let mut items = Vec::new();
        for_each_item(self.as_str(), |item| items.push(self.within(item)))?;
        Some(items)
    }

    /// The first items of the list at the end of a path, no more than so many; null is an empty one. Where the path comes to a
    /// list, and the next step is no index, it goes on in each of its items: then what it leads to is one list, to which an
    /// item adds nothing in which there is nothing, and itself what is no list. `items_max` is at least 1.
    pub fn first_items_at(&self, path: &[String], items_max: usize) -> Result<Vec<Json>, NoItems> {
        let mut items = Vec::new();
        let mut take = |item: &str| {
            items.push(self.within(item));
            items.len() >= items_max
        };
        each_at(self.as_str(), path, false, &mut take)?;
        Ok(items)
    }

    /// What a string says. `None` if it is none, or holds half a surrogate pair, which no text can.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        if self.kind() != Kind::String {
            return None;
        }
        match decoded(self.as_str()) {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        }
    }

    /// A value that lies in this one.
    pub(super) fn within(&self, value: &str) -> Json {
        Json(self.0.slice_ref(value.as_bytes()))
    }
}

impl From<&serde_json::Value> for Json {
    fn from(value: &serde_json::Value) -> Json {
        Json::composed(serde_json::to_vec(value).expect("a value is JSON"))
    }
}

/// Shows no more than its size: it is an upstream's answer.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({:?}, {} bytes)", self.kind(), self.0.len())
    }
}

impl fmt::Display for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotJson::Invalid { line, column } => write!(f, "it is no JSON: see line {line}, column {column}"),
            NotJson::TooDeep => write!(f, "its lists and objects are nested deeper than {DEPTH_MAX}"),
        }
    }
}
