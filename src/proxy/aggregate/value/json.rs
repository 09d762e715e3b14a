//! Where values stand in JSON: written twice, of which the first time only counts, so that what there is no room for is not
//! made.

use std::fmt;
use std::io::{self, Write};

use serde::{Serialize, Serializer};

use super::{Found, Known, Nulls, Unfilled, Why, present, unfilled};
use crate::snapshot::Held;
use crate::snapshot::plan::{JsonValue, TextPiece};

/// Why there is no JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoJson {
    Unfilled(Unfilled),
    /// There is no room for it.
    NoMemory,
}

/// JSON, counted by `held`. `None`: it is left out, being one placeholder.
pub fn json(known: &Known<'_>, value: &JsonValue, held: &mut Held) -> Result<Option<Vec<u8>>, NoJson> {
    written(known, value, Unfit::Fails, held)
}

/// JSON of an answer, counted by `held`. Its shape is the same whatever parts came to: what has no value is null. `None`: there
/// is no room for it.
pub fn template(known: &Known<'_>, value: &JsonValue, held: &mut Held) -> Option<Vec<u8>> {
    match written(known, value, Unfit::IsNull, held) {
        Ok(Some(json)) => Some(json),
        Ok(None) | Err(NoJson::Unfilled(_)) => Some(b"null".to_vec()),
        Err(NoJson::NoMemory) => None,
    }
}

fn written(known: &Known<'_>, value: &JsonValue, unfit: Unfit, held: &mut Held) -> Result<Option<Vec<u8>>, NoJson> {
    let mut length = Length(0);
    if !write_json(&mut length, known, value, unfit).map_err(NoJson::Unfilled)? {
        return Ok(None);
    }
    if !held.grow(length.0) {
        return Err(NoJson::NoMemory);
    }
    let mut out = Vec::with_capacity(length.0);
    write_json(&mut out, known, value, unfit).map_err(NoJson::Unfilled)?;
    debug_assert_eq!(out.len(), length.0);
    Ok(Some(out))
}

/// What becomes of a placeholder whose value cannot stand in its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unfit {
    Fails,
    /// It, or the text that it stands in.
    IsNull,
}

/// What JSON is written to. It takes all that it gets.
trait Out: Write {
    fn len(&self) -> usize;
    fn truncate(&mut self, length: usize);
}

impl Out for Vec<u8> {
    fn len(&self) -> usize {
        self.len()
    }

    fn truncate(&mut self, length: usize) {
        self.truncate(length);
    }
}

/// How long a text would be.
struct Length(usize);

impl Out for Length {
    fn len(&self) -> usize {
        self.0
    }

    fn truncate(&mut self, length: usize) {
        self.0 = length;
    }
}

impl Write for Length {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(data.len());
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a value; `false`: it is left out, and nothing was written.
fn write_json(out: &mut impl Out, known: &Known<'_>, value: &JsonValue, unfit: Unfit) -> Result<bool, Unfilled> {
    match value {
        JsonValue::Value(reference) => match present(known, reference, Nulls::Count) {
            Err(_) if unfit == Unfit::IsNull => put(out, b"null"),
            Err(why) => return Err(why),
            Ok(None) => return Ok(false),
            Ok(Some(Found::Text(text))) => serialise(out, &text),
            Ok(Some(Found::Number(number))) => serialise(out, &number),
            Ok(Some(Found::Json(json))) => put(out, json.as_bytes()),
        },
        JsonValue::Text(pieces) => match texts(known, pieces) {
            Err(_) if unfit == Unfit::IsNull => put(out, b"null"),
            Err(why) => return Err(why),
            Ok(None) => return Ok(false),
            Ok(Some(texts)) => serialise(out, &texts),
        },
        JsonValue::Other(value) => serialise(out, value),
        JsonValue::List(items) => {
            put(out, b"[");
            let begin = out.len();
            for item in items {
                let before = out.len();
                put(out, if before > begin { b"," } else { b"" });
                if !write_json(out, known, item, unfit)? {
                    out.truncate(before);
                }
            }
            put(out, b"]");
        }
        JsonValue::Object(members) => {
            put(out, b"{");
            let begin = out.len();
            for (name, value) in members {
                let before = out.len();
                put(out, if before > begin { b"," } else { b"" });
                serialise(out, name);
                put(out, b":");
                if !write_json(out, known, value, unfit)? {
                    out.truncate(before);
                }
            }
            put(out, b"}");
        }
    }
    Ok(true)
}

fn put(out: &mut impl Out, bytes: &[u8]) {
    out.write_all(bytes).expect("memory takes it");
}

fn serialise<T: Serialize + ?Sized>(out: &mut impl Out, value: &T) {
    serde_json::to_writer(out, value).expect("it is JSON, and memory takes it");
}

/// Texts that become one, which is never made but where it is written to.
struct Texts<'a>(Vec<Piece<'a>>);

enum Piece<'a> {
    Written(&'a str),
    Found(Found<'a>),
}

/// A text's pieces, of which each has a text. `None`: it is one placeholder alone, and left out.
fn texts<'a>(known: &Known<'a>, pieces: &'a [TextPiece]) -> Result<Option<Texts<'a>>, Unfilled> {
    let mut texts = Vec::with_capacity(pieces.len());
    for piece in pieces {
        texts.push(match piece {
            TextPiece::Text(text) => Piece::Written(text),
            TextPiece::Value(reference) => {
                let found = match present(known, reference, Nulls::AreAbsent)? {
                    None if pieces.len() == 1 => return Ok(None),
                    None => return Err(unfilled(reference, Why::Absent)),
                    Some(found) => found,
                };
                found.text().map_err(|why| unfilled(reference, why))?;
                Piece::Found(found)
            }
        });
    }
    Ok(Some(Texts(texts)))
}

impl fmt::Display for Texts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Written(text) => f.write_str(text),
            Piece::Found(found) => f.write_str(&found.text().map_err(|_| fmt::Error)?),
        })
    }
}

impl Serialize for Texts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
