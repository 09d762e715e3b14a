//! Schemas of parts and of templates: what of an upstream's document describes what of a part is shown.

use serde_json::{Map, Value, json};

use super::schema::{Components, Schema, or};
use crate::config::{Absent, Edits, JsonValue, OnFailure, OpenApi, Part, Reference, TextPiece, ValueSource};

/// The schema of what a part's content is, of what is shown of it, and whether it is always there.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub value: Value,
    pub always: bool,
}

/// What is shown of a part, behind a path within it.
pub(super) fn shown(parts: &[Part], index: usize, path: &[String], components: &mut Components) -> Shown {
    let part = &parts[index];
    let mut value = of_answer(part, &part.edits, path, components);
    let mut always = part.when.is_none();
    match &part.on_failure {
        OnFailure::Fail(_) => {}
        OnFailure::Null => always &= path.is_empty(),
        OnFailure::Omit => always = false,
        OnFailure::Value(fixed) => {
            let pointer: String =
                path.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect();
            match fixed.pointer(&pointer) {
                Some(fixed) => value = or(value, json!({ "const": fixed })),
                None => always = false,
            }
        }
        OnFailure::Part(stand_in) => {
            let other = shown_as(parts, *stand_in, &part.edits, path, components);
            value = or(value, other.value);
            always &= other.always;
        }
    }
    // What `when` skipped is null, unless its failure says something else.
    let skipped = part.when.is_some() && !matches!(part.on_failure, OnFailure::Value(_) | OnFailure::Omit);
    let null = path.is_empty() && (skipped || part.on_failure == OnFailure::Null);
    if null {
        value = or(value, json!({ "type": "null" }));
        always = true;
    } else if part.when.is_some() && matches!(part.on_failure, OnFailure::Value(_)) {
        always = true;
    }
    Shown { value, always }
}

/// A fallback, in the shape of the part that it stands in for.
fn shown_as(parts: &[Part], index: usize, edits: &Edits, path: &[String], components: &mut Components) -> Shown {
    let part = &parts[index];
    let mut value = of_answer(part, edits, path, components);
    let always = match &part.on_failure {
        OnFailure::Fail(_) => true,
        OnFailure::Null => {
            value = or(value, json!({ "type": "null" }));
            path.is_empty()
        }
        OnFailure::Omit => false,
        OnFailure::Value(fixed) => {
            value = if path.is_empty() { or(value, json!({ "const": fixed })) } else { json!({}) };
            path.is_empty()
        }
        OnFailure::Part(next) => {
            let other = shown_as(parts, *next, edits, path, components);
            value = or(value, other.value);
            other.always
        }
    };
    Shown { value, always }
}

/// The schema of a part's own answer behind a path.
fn of_answer(part: &Part, edits: &Edits, path: &[String], components: &mut Components) -> Value {
    let each = part.for_each.is_some();
    let schema = answered(part).and_then(|schema| schema.at_target(part.target.as_ref()));
    let schema = schema.map(|schema| schema.edited(edits));
    // With `for_each` the first name is the index of an item.
    let (below, list) = match (each, path.split_first()) {
        (true, Some((_, below))) => (below, false),
        (each, _) => (path, each),
    };
    let schema = schema.and_then(|schema| schema.at(below));
    let value = schema.map_or(json!({}), |schema| schema.finished(&part.upstream.name, components));
    match list {
        true => json!({ "type": "array", "items": value }),
        false => value,
    }
}

/// The schema of a template.
pub(super) fn of_template(parts: &[Part], template: &JsonValue, components: &mut Components) -> Value {
    match template {
        JsonValue::Value(reference) => of_reference(parts, reference, components).value,
        JsonValue::Text(pieces) => match &pieces[..] {
            [TextPiece::Text(text)] => json!({ "const": text }),
            _ => json!({ "type": "string" }),
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

fn of_reference(parts: &[Part], reference: &Reference, components: &mut Components) -> Shown {
    let mut found = match reference.source {
        ValueSource::Part(part) => shown(parts, part, &reference.path, components),
        ValueSource::Request | ValueSource::Item => Shown { value: json!({}), always: true },
        ValueSource::Index => Shown { value: json!({ "type": "integer" }), always: true },
        _ => Shown { value: json!({ "type": "string" }), always: true },
    };
    if let Absent::Default(_) = reference.absent {
        found.value = or(found.value, json!({ "type": "string" }));
    }
    found
}

/// What a part's answer is, as its upstream describes it.
fn answered(part: &Part) -> Option<Schema<'_>> {
    let api = part.upstream.openapi.as_deref()?;
    let operation = api.operation(&part.request.method, part.upstream.url.path(), &part.request.path).ok()?;
    let responses = operation.get("responses")?.as_object()?;
    let is_success = |status: &str| {
        let first = status.replace(['X', 'x'], "0").parse::<u16>();
        first.is_ok_and(|first| part.success.iter().any(|range| range.has(first)))
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
