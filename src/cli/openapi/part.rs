//! Schemas of parts and of templates: what of an upstream's document describes what of a part is shown.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::schema::{Components, Schema, or};
use crate::config::{Absent, Edits, JsonValue, OnFailure, OpenApi, Part, Reference, TextPiece, ValueSource};

/// The schema of what is shown of a part, and whether there always is something.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub value: Value,
    pub always: bool,
}

/// What is shown of a part, behind a path within it. Behind a path nothing is sure to be there.
pub(super) fn shown(parts: &[Part], index: usize, path: &[String], components: &mut Components) -> Shown {
    shown_as(parts, index, &parts[index].edits, path, components)
}

/// A part, or a fallback in the shape of the part that it stands in for.
fn shown_as(parts: &[Part], index: usize, edits: &Edits, path: &[String], components: &mut Components) -> Shown {
    let part = &parts[index];
    let mut one = |path: &[String]| match stand_in(part, edits, path) {
        Some(stand_in) => or(of_answer(part, edits, path, components), stand_in),
        None => of_answer(part, edits, path, components),
    };
    // With `for_each` the first name is the index of an item, and `on_failure` says what stands for one.
    let mut value = match (&part.for_each, path.split_first()) {
        (None, _) => one(path),
        (Some(_), Some((_, below))) => one(below),
        (Some(_), None) => json!({ "type": "array", "items": one(&[]) }),
    };
    let mut always = path.is_empty() && part.on_failure != OnFailure::Omit;
    if let OnFailure::Part(fallback) = part.on_failure {
        let other = shown_as(parts, fallback, edits, path, components);
        value = or(value, other.value);
        always &= other.always;
    }
    // What was skipped is null, unless something else stands for it.
    if part.when.is_some() && path.is_empty() && matches!(part.on_failure, OnFailure::Fail(_) | OnFailure::Part(_)) {
        value = or(value, null());
    }
    Shown { value, always }
}

/// The value that stands in the place of a part, or an item, that failed.
fn stand_in(part: &Part, edits: &Edits, path: &[String]) -> Option<Value> {
    let pointer: String = path.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect();
    match &part.on_failure {
        OnFailure::Null => path.is_empty().then(null),
        // Of its members some may not be shown.
        OnFailure::Value(fixed) if !edits.is_empty() && has_members(fixed) => Some(json!({})),
        OnFailure::Value(fixed) => fixed.pointer(&pointer).map(|fixed| json!({ "const": fixed })),
        OnFailure::Fail(_) | OnFailure::Omit | OnFailure::Part(_) => None,
    }
}

fn has_members(value: &Value) -> bool {
    match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => items.iter().any(has_members),
        _ => false,
    }
}

fn null() -> Value {
    json!({ "type": "null" })
}

/// The schema of a part's own answer behind a path.
fn of_answer(part: &Part, edits: &Edits, path: &[String], components: &mut Components) -> Value {
    let schema = answered(part).and_then(|schema| schema.at_target(part.target.as_ref()));
    let schema = schema.map(|schema| schema.edited(edits)).and_then(|schema| schema.at(path));
    schema.map_or(json!({}), |schema| schema.finished(&part.upstream.name, components))
}

/// The schema of a template.
pub(super) fn of_template(parts: &[Part], template: &JsonValue, components: &mut Components) -> Value {
    match template {
        JsonValue::Value(reference) => of_reference(parts, reference, components),
        JsonValue::Text(pieces) => match &pieces[..] {
            [TextPiece::Text(text)] => json!({ "const": text }),
            pieces if pieces.iter().all(is_always_text) => json!({ "type": "string" }),
            _ => or(json!({ "type": "string" }), null()),
        },
        JsonValue::Other(value) => json!({ "const": value }),
        JsonValue::List(items) => {
            let items: Vec<Value> = items.iter().map(|item| of_template(parts, item, components)).collect();
            json!({ "type": "array", "prefixItems": items, "minItems": items.len(), "maxItems": items.len() })
        }
        JsonValue::Object(members) => {
            let (mut properties, mut required) = (Map::new(), Vec::new());
            for (name, value) in members {
                let always = !matches!(value, JsonValue::Value(Reference { absent: Absent::LeavesOut, .. }));
                properties.insert(name.clone(), of_template(parts, value, components));
                required.extend(always.then(|| name.clone()));
            }
            json!({ "type": "object", "properties": properties, "required": required })
        }
    }
}

/// A placeholder alone. What is not there is null, unless it has a default or leaves its member out.
fn of_reference(parts: &[Part], reference: &Reference, components: &mut Components) -> Value {
    let text = json!({ "type": "string" });
    let Shown { value, always } = match reference.source {
        ValueSource::Part(part) => shown(parts, part, &reference.path, components),
        ValueSource::Request | ValueSource::Item => Shown { value: json!({}), always: false },
        ValueSource::Index => Shown { value: json!({ "type": "integer" }), always: true },
        _ => Shown { value: text.clone(), always: is_always_there(reference) },
    };
    match reference.absent {
        Absent::Fails if !always => or(value, null()),
        // It stands for null as well, which an answer may be or hold.
        Absent::Default(_) if !always || reference.source.may_hold_lists() => or(value, text),
        _ => value,
    }
}

/// Whether a text of the request is always there: what its route matched, and the name of a client that has to be known.
fn is_always_there(reference: &Reference) -> bool {
    matches!(reference.source, ValueSource::Segment(_) | ValueSource::Client) && reference.absent == Absent::Fails
}

/// Whether a text that a placeholder stands in is one in any case; else it may be null.
fn is_always_text(piece: &TextPiece) -> bool {
    match piece {
        TextPiece::Text(_) => true,
        TextPiece::Value(reference) => {
            let has_default = matches!(reference.absent, Absent::Default(_));
            !reference.source.may_hold_lists() && (has_default || is_always_there(reference))
        }
    }
}

/// What a part's answer is, as its upstream describes it.
fn answered(part: &Part) -> Option<Schema<'_>> {
    let api = part.upstream.openapi.as_deref()?;
    let operation = api.operation(&part.request.method, part.upstream.url.path(), &part.request.path).ok()?;
    let responses = operation.get("responses")?.as_object()?;
    let is_success = |status: &str| {
        let first = status.replace(['X', 'x'], "0").parse::<u16>();
        first.is_ok_and(|first| StatusCode::from_u16(first).is_ok_and(|first| part.is_success(first)))
    };
    let mut answers = responses.iter().filter(|(status, _)| is_success(status)).map(|(_, answer)| answer);
    let schema = answers.find_map(|answer| of_json(api, answer)).or_else(|| of_json(api, responses.get("default")?))?;
    Some(Schema { api, value: schema.clone() })
}

/// The schema of JSON among the types of an answer.
fn of_json<'d>(api: &'d OpenApi, answer: &'d Value) -> Option<&'d Value> {
    let content = api.resolved(answer).get("content")?.as_object()?;
    let is_json = |kind: &str| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind == "application/json" || kind.ends_with("+json") || kind == "*/*"
    };
    content.iter().find(|(kind, _)| is_json(kind)).and_then(|(_, media)| media.get("schema"))
}
