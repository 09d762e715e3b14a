//! proxy.toml as it is written. Every table is declared once, as data, in `tables`; from the declarations come the
//! check for unknown, missing and misplaced keys and wrong types (`check`) and the JSON schema for editors (`schema`).

mod check;
mod hints;
mod literals;
mod schema;
mod tables;

pub(super) use check::{SecretSource, check, unknown_choice};
pub(super) use literals::{leaves, mask, mask_unparsed};
pub use schema::json_schema;
pub(super) use tables::{CREDENTIAL, ROOT};

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value of the file with the bytes it was read from.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// A table of proxy.toml.
#[derive(Debug)]
pub(super) struct Table {
    /// What it is, for the schema.
    pub doc: &'static str,
    pub keys: &'static [Key],
    /// Whether exactly one of its keys has to be there: the kind of a client or credential.
    pub one_kind: bool,
}

/// A key of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub name: &'static str,
    pub required: bool,
    pub shape: Shape,
    pub doc: &'static str,
}

/// What a key may hold.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// A string, or `{ env = "NAME" }`.
    Text(Format),
    /// `{ env = … }`, `{ file = … }` or `{ command = … }`; never the secret itself.
    Secret,
    /// The same, or this table: what has one of its keys is meant as that.
    SecretOr(&'static Table),
    /// A string such as `"800ms"`, or `{ env = "NAME" }`.
    Duration {
        zero: bool,
    },
    Integer {
        min: u64,
        max: u64,
    },
    Boolean,
    /// Whatever it is.
    Any,
    /// One of these words. Numbers and booleans among them may be written as such.
    Choice(&'static [&'static str]),
    List(&'static Shape),
    /// One, or a list of them.
    OneOrMore(&'static Shape),
    Table(&'static Table),
    /// `[[name]]`
    Tables(&'static Table),
    /// A table whose keys are names that the file chooses.
    Map {
        keys: &'static str,
        of: &'static Shape,
    },
    /// Whichever fits the value's type.
    Either(&'static [Shape]),
    /// Comes in a later version.
    Later(&'static str),
}

/// What a text is, for the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    Url,
    /// A URL, or `{NAME}` and a path.
    BaseUrl,
    /// An address with a port.
    Address,
    /// A file, relative to the folder of proxy.toml.
    File,
}

impl Format {
    /// Stands in for an environment variable that is not set where no secret is read.
    pub(in crate::config) fn placeholder(self) -> Option<&'static str> {
        match self {
            Format::Plain => Some("placeholder"),
            Format::Url | Format::BaseUrl => Some("https://placeholder.invalid"),
            Format::Address => Some("127.0.0.1:0"),
            Format::File => None,
        }
    }
}

impl Table {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Whether one of its keys stands there.
    pub(super) fn is_begun(&self, entries: &DeTable<'_>) -> bool {
        entries.keys().any(|name| self.key(name.get_ref()).is_some())
    }

    /// The names that a user can choose from today.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().filter(|key| !matches!(key.shape, Shape::Later(_))).map(|key| key.name)
    }
}

impl Shape {
    /// The table that stands here, once or several times.
    pub(super) fn table(&self) -> Option<&'static Table> {
        match self {
            Shape::Table(table) => Some(table),
            Shape::OneOrMore(of) => of.table(),
            _ => None,
        }
    }

    /// Whether a secret belongs somewhere in it: then what stands at the wrong place may be one.
    pub(super) fn holds_secrets(&self) -> bool {
        match self {
            Shape::Secret | Shape::SecretOr(_) => true,
            Shape::List(of) | Shape::OneOrMore(of) | Shape::Map { of, .. } => of.holds_secrets(),
            Shape::Table(table) | Shape::Tables(table) => table.keys.iter().any(|key| key.shape.holds_secrets()),
            Shape::Either(shapes) => shapes.iter().any(Shape::holds_secrets),
            _ => false,
        }
    }
}

/// Whether the table that begins there was written as `[name]` or `[[name]]`: what follows it belongs to it.
pub(super) fn is_header(text: &str, span: &Range<usize>) -> bool {
    text.as_bytes().get(span.start) == Some(&b'[')
}

/// The number of the line, from 1, in which a byte stands.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
pub(super) mod tests;
