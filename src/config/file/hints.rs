//! What to do about a value that does not fit its key. Nothing of the value is quoted: it may be a secret.

use toml::de::{DeTable, DeValue};

use super::{Key, Shape, Table};
use crate::config::problem::{closest, either};

const SECRET_SOURCES: &[&str] = &["env", "file", "credential", "command"];

/// What a key is for: the hint where nothing closer to the mistake can be said.
pub(super) fn about(name: &str, doc: &str) -> String {
    format!("`{name}`: {}", doc.trim_end_matches('.'))
}

pub(super) fn first_sentence(doc: &str) -> &str {
    doc.find(". ").map_or(doc, |end| &doc[..end])
}

/// For what is written in place of a secret.
pub(super) fn secret(name: &str, found: &DeValue<'_>) -> String {
    let forms = format!(
        "`{name} = {{ env = \"NAME\" }}`, `{{ file = \"PATH\" }}`, `{{ credential = \"NAME\" }}` or \
         `{{ command = [\"PROGRAM\", …] }}`"
    );
    let only_key = found.as_table().and_then(only_key);
    match only_key {
        Some("env") => {
            "`env` holds the name of a variable (letters, digits and `_`, no digit first), and never the secret"
                .to_owned()
        }
        Some("file") => "`file` wants the path of a file, in quotes".to_owned(),
        Some("credential") => {
            "`credential` holds the name of a systemd credential (letters, digits, `.`, `_` and `-`), and never the secret"
                .to_owned()
        }
        Some("command") => {
            "`command` wants a list of the program and its arguments, each in quotes: `[\"PROGRAM\", \"ARGUMENT\"]`"
                .to_owned()
        }
        Some(other) if closest(other, SECRET_SOURCES).is_some() => {
            format!("did you mean `{}`?", closest(other, SECRET_SOURCES).unwrap_or_default())
        }
        None if found.is_table() => format!("write exactly one of them: {forms}"),
        _ => format!("write {forms}; treat a secret that was committed as known to all"),
    }
}

/// For a value of a type that the key does not take.
pub(super) fn wrong_type(name: &str, place: &str, doc: &str, shape: &Shape, found: &DeValue<'_>) -> String {
    match (shape, found) {
        (Shape::Tables(_), _) => format!("write `[[{name}]]`, with two brackets, for each one"),
        (Shape::Map { keys, .. }, _) => format!("write `[{}.{keys}]`", header(place, name)),
        (Shape::Table(table), _) if table.one_kind => {
            let kinds: Vec<&str> = table.names().collect();
            format!("write `[{place}.{name}.KIND]`, where KIND is {}", either(&kinds))
        }
        (Shape::Table(table), _) => format!("write `[{}]`, or `{name} = {}`", header(place, name), inline(table)),
        (Shape::Text(_), DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)) => {
            "write it in quotes".to_owned()
        }
        (Shape::Text(_), DeValue::Table(entries)) => not_from_there(entries),
        (Shape::Duration { .. }, _) => "write it in quotes, with a unit: ms, s, m, h or d".to_owned(),
        (Shape::List(of), _) => format!("write it in brackets: `{name} = [{}]`", item(of)),
        _ if is_quoted(shape, found) => "write it without quotes".to_owned(),
        _ => about(name, doc),
    }
}

/// A string that would be right if it were none.
fn is_quoted(shape: &Shape, found: &DeValue<'_>) -> bool {
    let Some(text) = found.as_str() else { return false };
    match shape {
        Shape::Integer { .. } => text.parse::<u64>().is_ok(),
        Shape::Boolean => matches!(text, "true" | "false"),
        Shape::Either(shapes) => shapes.iter().any(|shape| is_quoted(shape, found)),
        _ => false,
    }
}

/// For a table in place of a text that is no secret.
fn not_from_there(entries: &DeTable<'_>) -> String {
    match only_key(entries) {
        Some("file" | "credential" | "command") => {
            "only secrets come from files, credentials and commands: write it in quotes, or `{ env = \"NAME\" }`"
                .to_owned()
        }
        Some(other) if closest(other, &["env"]).is_some() => "did you mean `env`?".to_owned(),
        _ => "write it in quotes, or `{ env = \"NAME\" }`".to_owned(),
    }
}

fn only_key<'t>(entries: &'t DeTable<'_>) -> Option<&'t str> {
    let mut keys = entries.keys().map(|key| key.get_ref().as_ref());
    keys.next().filter(|_| keys.next().is_none())
}

fn header(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

/// A table within a line, with the keys that it cannot do without, or the first of them.
fn inline(table: &Table) -> String {
    let required = table.keys.iter().filter(|key| key.required);
    let keys: Vec<&Key> = required.collect();
    let keys = if keys.is_empty() { table.keys.iter().take(1).collect() } else { keys };
    let keys: Vec<String> = keys.iter().map(|key| format!("{} = …", key.name)).collect();
    format!("{{ {} }}", keys.join(", "))
}

fn item(shape: &Shape) -> String {
    match shape {
        Shape::Table(table) => inline(table),
        Shape::Text(_) => "\"…\"".to_owned(),
        _ => "…".to_owned(),
    }
}
