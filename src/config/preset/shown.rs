//! A preset as text of proxy.toml.

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::{Preset, is_alone, place};
use crate::config::expansion;
use crate::config::file::Shape;

impl Preset {
    /// What a user writes, with names in capitals for what is their own.
    pub fn example(&self) -> String {
        let written: Vec<String> =
            self.asks.iter().map(|(name, _)| format!("{name} = {}", self.stand_in(name))).collect();
        let width = written.iter().map(String::len).max().unwrap_or(0);
        let lines = written.iter().zip(&self.asks).map(|(line, (_, what))| format!("{line:width$}  # {what}\n"));
        format!("[credentials.{0}]\nprovider = \"{0}\"\n{1}", self.name, lines.collect::<String>())
    }

    /// What the example stands for: the table of its kind.
    ///
    /// # Panics
    /// Never: a test shows it for each preset.
    pub fn expansion(&self) -> String {
        let example = self.example();
        let Some(DeValue::Table(kinds)) = expansion(&example) else { panic!("an example names its preset") };
        let kind = kinds.get(self.kind).map(|kind| kind.get_ref());
        let title = format!("credentials.{}.{}", self.name, self.kind);
        match kind {
            Some(DeValue::Table(table)) => format!("[{title}]\n{}", lines(table)),
            Some(DeValue::Array(tables)) => {
                let tables = tables.iter().filter_map(|table| table.get_ref().as_table());
                tables.map(|table| format!("[[{title}]]\n{}", lines(table))).collect::<Vec<_>>().join("\n")
            }
            _ => panic!("a kind is a table or a list of them"),
        }
    }

    /// A value to write for a name that the preset asks for.
    fn stand_in(&self, name: &str) -> String {
        let capitals = name.to_uppercase();
        let key = self.table().key(name).filter(|_| !self.has_place(name));
        let is_number = |shape: &Shape| matches!(shape, Shape::Integer { .. });
        if key.is_some_and(|key| matches!(key.shape, Shape::Either(shapes) if shapes.iter().any(is_number))) {
            return "1234".to_owned();
        }
        let is_secret = match key {
            Some(key) => matches!(key.shape, Shape::Secret | Shape::OneOrMore(Shape::Secret)),
            None => self.fills_a_secret(name),
        };
        let variable = || format!("{}_{capitals}", self.name.to_uppercase().replace('-', "_"));
        if is_secret { format!("{{ env = \"{}\" }}", variable()) } else { format!("\"{capitals}\"") }
    }

    /// Whether a name is filled in where the kind may have a secret.
    fn fills_a_secret(&self, name: &str) -> bool {
        let place = place(name);
        let tables: Vec<&DeTable<'_>> = match self.template.get_ref() {
            DeValue::Table(table) => vec![table],
            DeValue::Array(tables) => tables.iter().filter_map(|table| table.get_ref().as_table()).collect(),
            _ => Vec::new(),
        };
        let secret = |key: &str| self.table().key(key).is_some_and(|key| key.shape.holds_secrets());
        let mut entries = tables.into_iter().flatten();
        entries.any(|(key, value)| secret(key.get_ref()) && is_alone(value.get_ref(), &place))
    }
}

fn lines(table: &DeTable<'_>) -> String {
    table.iter().map(|(key, value)| format!("{} = {}\n", key.get_ref(), inline(value.get_ref()))).collect()
}

/// A value within a line.
fn inline(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| inline(item.get_ref())).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Table(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{} = {}", key.get_ref(), inline(value.get_ref()))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        DeValue::String(text) => Value::from(text.as_ref()).to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(date) => date.to_string(),
    }
}
