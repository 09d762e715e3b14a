//! Reads the values of a table whose shape was checked: a value of the wrong type was reported, and counts as absent.

use std::ops::Range;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::duration::parse_duration;
use super::{Load, Reading};
use crate::config::Problem;
use crate::config::file::{Format, Key, SecretSource, Shape, Table, Value, unknown_choice};
use crate::config::problem::closest;

/// A table of the file, with its declaration.
#[derive(Debug)]
pub(super) struct Fields<'t> {
    table: &'static Table,
    entries: &'t DeTable<'t>,
    /// Its header, or all of it if it stands within a line.
    pub span: Range<usize>,
}

/// A text of the file or the environment, and where the file says so.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub value: String,
    pub span: Range<usize>,
    /// Whether the file holds the text itself, not the name of a variable.
    pub in_file: bool,
}

impl<'t> Fields<'t> {
    pub(super) fn new(table: &'static Table, entries: &'t DeTable<'t>, span: Range<usize>) -> Self {
        Fields { table, entries, span }
    }

    /// The value of a key, if it is there.
    pub(super) fn value(&self, key: &str) -> Option<&'t Value<'t>> {
        debug_assert!(self.table.key(key).is_some(), "`{key}` is not declared");
        self.entries.get(key)
    }

    /// Whether the table has a key of this name.
    pub(super) fn declares(&self, key: &str) -> bool {
        self.table.key(key).is_some()
    }

    /// Whether a key that nobody knows was probably meant to be this one: its absence is no news then.
    pub(super) fn is_misspelt(&self, key: &str) -> bool {
        let known: Vec<&str> = self.table.names().collect();
        let unknown = self.entries.keys().map(|name| name.get_ref().as_ref()).filter(|name| !known.contains(name));
        unknown.filter_map(|name| closest(name, &known)).any(|meant| meant == key)
    }

    /// Whether a key stands in a table below this one, where it was reported: TOML put it under the header above it.
    pub(super) fn is_misplaced(&self, key: &str) -> bool {
        self.entries.values().filter_map(|value| value.get_ref().as_table()).any(|below| below.contains_key(key))
    }

    pub(super) fn text(&self, reading: &mut Reading<'_>, key: &str) -> Option<Text> {
        let format = format_of(&self.table.key(key)?.shape);
        text(reading, self.value(key)?, format)
    }

    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        self.value(key)?.get_ref().as_bool()
    }

    /// A number within the declared bounds.
    pub(super) fn integer(&self, key: &str) -> Option<u64> {
        let Shape::Integer { min, max } = self.table.key(key)?.shape else { return None };
        integer(self.value(key)?).filter(|number| (min..=max).contains(number))
    }

    pub(super) fn size(&self, key: &str, default: usize) -> usize {
        self.integer(key).and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
    }

    pub(super) fn duration(&self, reading: &mut Reading<'_>, key: &str) -> Option<Duration> {
        let Shape::Duration { zero } = self.table.key(key)?.shape else { return None };
        let text = text(reading, self.value(key)?, Format::Plain)?;
        match parse_duration(&text.value) {
            Ok(Duration::ZERO) if !zero => {
                let problem = Problem::new(format!("`{key}` cannot be zero: it would always be over"), text.span);
                reading.problem(problem.hint("leave it out for the default"));
                None
            }
            Ok(duration) => Some(duration),
            Err(why) => {
                reading.problem(Problem::new(format!("`{key}`: {}", why.message), text.span).hint(why.hint));
                None
            }
        }
    }

    /// The word that was chosen.
    pub(super) fn choice(&self, reading: &mut Reading<'_>, key: &str) -> Option<&'static str> {
        let Key { shape: Shape::Choice(choices), doc, .. } = self.table.key(key)? else { return None };
        let value = self.value(key)?;
        let word = match value.get_ref() {
            DeValue::Integer(number) => number.to_string(),
            DeValue::Boolean(truth) => truth.to_string(),
            _ => text(reading, value, Format::Plain)?.value,
        };
        let chosen = choices.iter().find(|choice| **choice == word).copied();
        // What the file says itself was checked before.
        if chosen.is_none() && value.get_ref().is_table() {
            reading.problem(unknown_choice(key, &word, choices, doc, value.span()));
        }
        chosen
    }

    /// The items of a list; a single value is a list of one.
    pub(super) fn list(&self, key: &str) -> Vec<&'t Value<'t>> {
        match self.value(key) {
            None => Vec::new(),
            Some(value) => match value.get_ref() {
                DeValue::Array(items) => items.iter().collect(),
                _ => vec![value],
            },
        }
    }

    /// The texts of a list.
    pub(super) fn texts(&self, reading: &mut Reading<'_>, key: &str) -> Vec<Text> {
        self.list(key).into_iter().filter_map(|value| text(reading, value, Format::Plain)).collect()
    }

    /// The table of a key.
    pub(super) fn table(&self, key: &str) -> Option<Fields<'t>> {
        fields_of(&self.table.key(key)?.shape, self.value(key)?)
    }

    /// The table of a key, or the empty one that it is given.
    pub(super) fn table_or<'e>(&self, empty: &'e DeTable<'e>, key: &str) -> Fields<'e>
    where
        't: 'e,
    {
        let declared = match self.table.key(key).map(|declared| declared.shape) {
            Some(Shape::Table(table)) => table,
            _ => unreachable!("`{key}` is declared as a table"),
        };
        let given = self.value(key).and_then(|value| Some((value.get_ref().as_table()?, value.span())));
        match given {
            Some((entries, span)) => Fields { table: declared, entries, span },
            None => Fields { table: declared, entries: empty, span: 0..0 },
        }
    }

    /// Each table of a list of them.
    pub(super) fn tables(&self, key: &str) -> Vec<Fields<'t>> {
        let Some(declared) = self.table.key(key) else { return Vec::new() };
        self.list(key).into_iter().filter_map(|value| fields_of(&declared.shape, value)).collect()
    }

    /// The entries of a table whose keys the file chooses, in the order of the file.
    pub(super) fn entries(&self, key: &str) -> Vec<(Text, &'t Value<'t>)> {
        let Some(entries) = self.value(key).and_then(|value| value.get_ref().as_table()) else { return Vec::new() };
        in_order(entries)
    }

    /// The tables of a table whose keys the file chooses, in the order of the file. `None`: no table.
    pub(super) fn named(&self, key: &str) -> Vec<(Text, Option<Fields<'t>>)> {
        let Some(declared) = self.table.key(key) else { return Vec::new() };
        let entries = self.entries(key).into_iter();
        entries.map(|(name, value)| (name, fields_of(&declared.shape, value))).collect()
    }

    /// The name of the one kind of a client or credential, if it has exactly one.
    pub(super) fn kind(&self) -> Option<&'static str> {
        let name = self.entries.keys().next().filter(|_| self.entries.len() == 1)?;
        self.table.key(name.get_ref()).map(|key| key.name)
    }
}

/// The entries of a table in the order of the file.
pub(super) fn in_order<'t>(entries: &'t DeTable<'t>) -> Vec<(Text, &'t Value<'t>)> {
    let text = |key: &toml::Spanned<std::borrow::Cow<'_, str>>| Text {
        value: key.get_ref().to_string(),
        span: key.span(),
        in_file: true,
    };
    let mut entries: Vec<_> = entries.iter().map(|(key, value)| (text(key), value)).collect();
    entries.sort_by_key(|(key, _)| key.span.start);
    entries
}

fn fields_of<'t>(shape: &Shape, value: &'t Value<'t>) -> Option<Fields<'t>> {
    match shape {
        Shape::Table(table) | Shape::Tables(table) => {
            Some(Fields::new(table, value.get_ref().as_table()?, value.span()))
        }
        Shape::SecretOr(table) => {
            let entries = value.get_ref().as_table().filter(|entries| table.is_begun(entries))?;
            Some(Fields::new(table, entries, value.span()))
        }
        Shape::List(of) | Shape::OneOrMore(of) | Shape::Map { of, .. } => fields_of(of, value),
        Shape::Either(shapes) => shapes.iter().find_map(|shape| fields_of(shape, value)),
        _ => None,
    }
}

fn format_of(shape: &Shape) -> Format {
    match shape {
        Shape::Text(format) => *format,
        Shape::Either(shapes) => shapes.first().map_or(Format::Plain, format_of),
        _ => Format::Plain,
    }
}

pub(super) fn integer(value: &Value<'_>) -> Option<u64> {
    let number = value.get_ref().as_integer()?;
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A string of the file, or the environment variable that it names.
pub(super) fn text(reading: &mut Reading<'_>, value: &Value<'_>, format: Format) -> Option<Text> {
    let span = value.span();
    if let Some(text) = value.get_ref().as_str() {
        return Some(Text { value: text.to_owned(), span, in_file: true });
    }
    let Some(SecretSource::Env(name)) = SecretSource::of(value) else { return None };
    if let Some(found) = reading.variable(name) {
        return Some(Text { value: found.clone(), span, in_file: false });
    }
    let problem = Problem::new(format!("the environment variable `{name}` is not set"), span.clone());
    match format.placeholder() {
        Some(placeholder) if reading.how == Load::WithoutSecrets => {
            reading.warning(problem.hint("what it would say was not checked"));
            Some(Text { value: placeholder.to_owned(), span, in_file: false })
        }
        _ => {
            reading.problem(problem.hint("set it where attache is started"));
            None
        }
    }
}
