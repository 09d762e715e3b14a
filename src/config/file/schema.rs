//! The JSON schema of proxy.toml, for editors.

use serde_json::{Map, Value, json};

use super::{CREDENTIAL, Format, ROOT, Shape, Table};
use crate::config::presets;

/// The schema, as pretty JSON with a line break at its end.
pub fn json_schema() -> String {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "proxy.toml of attache",
        "$defs": {
            "env": {
                "type": "object",
                "description": "Taken from the environment.",
                "properties": { "env": { "type": "string" } },
                "required": ["env"],
                "additionalProperties": false,
            },
            "secret": {
                "description": "Where a secret comes from. It is never literal.",
                "oneOf": [
                    { "$ref": "#/$defs/env" },
                    one_key("file", json!({ "type": "string", "description": "Relative to the folder of proxy.toml." })),
                    one_key("credential", json!({
                        "type": "string",
                        "description": "The name of a systemd credential of the service.",
                        "pattern": "^[A-Za-z0-9._-]+$",
                    })),
                    one_key("command", json!({
                        "type": "array",
                        "description": "A program and its arguments. It prints the secret, within 10 s.",
                        "items": { "type": "string" },
                        "minItems": 1,
                    })),
                ],
            },
        },
    });
    let root = table(&ROOT);
    let object = schema.as_object_mut().expect("it was made as one");
    object.extend(root.as_object().expect("tables are objects").clone());
    let mut text = serde_json::to_string_pretty(&schema).expect("it has no value that JSON has not");
    text.push('\n');
    text
}

fn one_key(name: &str, value: Value) -> Value {
    json!({ "type": "object", "properties": { name: value }, "required": [name], "additionalProperties": false })
}

fn table(table: &Table) -> Value {
    let mut properties = Map::new();
    for key in table.keys.iter().filter(|key| !matches!(key.shape, Shape::Later(_))) {
        let mut value = shape(&key.shape);
        if let Some(object) = value.as_object_mut() {
            object.insert("description".to_owned(), key.doc.into());
        }
        properties.insert(key.name.to_owned(), value);
    }
    let required: Vec<&str> = table.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut value = json!({
        "type": "object",
        "description": table.doc,
        "properties": properties,
        "additionalProperties": false,
    });
    let object = value.as_object_mut().expect("it was made as one");
    if !required.is_empty() {
        object.insert("required".to_owned(), json!(required));
    }
    if table.one_kind {
        object.insert("minProperties".to_owned(), json!(1));
        object.insert("maxProperties".to_owned(), json!(1));
    }
    value
}

fn shape(shape_of: &Shape) -> Value {
    match shape_of {
        Shape::Text(format) => or_env(match format {
            Format::Plain | Format::File => json!({ "type": "string" }),
            Format::Url => json!({ "type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://" }),
            Format::BaseUrl => json!({ "type": "string", "pattern": "^([Hh][Tt][Tt][Pp][Ss]?://|\\{)" }),
            Format::Address => json!({ "type": "string", "pattern": ":[0-9]+$" }),
        }),
        Shape::Secret => json!({ "$ref": "#/$defs/secret" }),
        Shape::SecretOr(of) => json!({ "anyOf": [shape(&Shape::Secret), table(of)] }),
        Shape::Duration { .. } => {
            or_env(json!({ "type": "string", "pattern": "^(0|[0-9]+ *(ms|s|m|h|d))$", "examples": ["5s"] }))
        }
        Shape::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Any => json!({}),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Choice(choices) => {
            or_env(json!({ "enum": choices.iter().flat_map(|word| spellings(word)).collect::<Vec<_>>() }))
        }
        Shape::List(of) => json!({ "type": "array", "items": shape(of) }),
        Shape::OneOrMore(of) => json!({ "anyOf": [shape(of), { "type": "array", "items": shape(of) }] }),
        Shape::Table(of) if std::ptr::eq(*of, &CREDENTIAL) => json!({ "anyOf": [table(of), preset()] }),
        Shape::Table(of) => table(of),
        Shape::Tables(of) => json!({ "type": "array", "items": table(of) }),
        Shape::Map { of, .. } => json!({ "type": "object", "additionalProperties": shape(of) }),
        Shape::Either(shapes) => {
            let known = shapes.iter().filter(|shape| !matches!(shape, Shape::Later(_)));
            json!({ "anyOf": known.map(shape).collect::<Vec<_>>() })
        }
        Shape::Later(_) => json!(false),
    }
}

/// A credential that names a preset: its other keys are those that the preset asks for, and those of its kind.
fn preset() -> Value {
    let names: Vec<&str> = presets().iter().map(|preset| preset.name).collect();
    let provider = json!({ "enum": names, "description": "The preset that it begins with: see `attache providers`." });
    json!({ "type": "object", "properties": { "provider": provider }, "required": ["provider"] })
}

fn or_env(value: Value) -> Value {
    json!({ "anyOf": [value, { "$ref": "#/$defs/env" }] })
}

/// A word, and the number or boolean that it may be written as.
fn spellings(word: &str) -> Vec<Value> {
    let other = serde_json::from_str::<Value>(word).ok().filter(|value| value.is_number() || value.is_boolean());
    std::iter::once(json!(word)).chain(other).collect()
}
