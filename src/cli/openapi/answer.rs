//! The schema of an aggregate's answer, composed as the answer is.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::part::{of_template, shown};
use super::schema::{Components, with_reference};
use crate::config::{Aggregate, FailStatus, Layout, OnFailure, Place, Report};

pub(super) fn schema(aggregate: &Aggregate, components: &mut Components) -> Value {
    let mut answer = match &aggregate.layout {
        Layout::Template(template) => of_template(&aggregate.parts, template, components),
        Layout::Places => places(aggregate, components),
    };
    if aggregate.report == Report::Body && answer.get("properties").is_some() {
        answer["properties"]["_parts"] = report();
        if let Some(required) = answer["required"].as_array_mut() {
            required.push("_parts".into());
        }
    }
    answer
}

/// The statuses that are said to be possible, beside those of a default.
pub(super) fn failures(aggregate: &Aggregate) -> BTreeSet<u16> {
    let mut statuses = BTreeSet::from([502, 503, 504]);
    if aggregate.reads_request {
        statuses.extend([400, 413, 415]);
    }
    statuses.extend(aggregate.parts.iter().filter_map(|part| match part.on_failure {
        OnFailure::Fail(FailStatus::Fixed(status)) => Some(status.as_u16()),
        _ => None,
    }));
    statuses
}

fn places(aggregate: &Aggregate, components: &mut Components) -> Value {
    let mut answer = object();
    let mut unknown: Vec<&[String]> = Vec::new();
    for (index, part) in aggregate.parts.iter().enumerate() {
        match &part.place {
            Place::Hidden => {}
            Place::At(path) => {
                let shown = shown(&aggregate.parts, index, &[], components);
                put(&mut answer, path, shown.value, shown.always);
            }
            Place::Merged(path) => {
                let shown = shown(&aggregate.parts, index, &[], components);
                let (members, required) = members(&shown.value, components, &[]);
                if members.is_empty() {
                    unknown.push(path);
                }
                for (name, value) in members {
                    let always = shown.always && required.contains(&name);
                    put(&mut answer, &[&path[..], &[name]].concat(), value, always);
                }
            }
        }
    }
    unknown.iter().for_each(|path| forget(&mut answer, path));
    answer
}

/// Of what members a part has nothing is known: any may stand in the place of another part's.
fn forget(answer: &mut Value, path: &[String]) {
    let Some(properties) = answer.get_mut("properties").and_then(Value::as_object_mut) else { return };
    match path.split_first() {
        Some((name, rest)) => properties.get_mut(name).into_iter().for_each(|below| forget(below, rest)),
        None => properties.values_mut().for_each(|value| *value = json!({})),
    }
}

fn object() -> Value {
    json!({ "type": "object", "properties": {}, "required": [] })
}

/// Says what stands at a path. Of what two parts say something, nothing is known.
fn put(answer: &mut Value, path: &[String], value: Value, always: bool) {
    let Some((name, rest)) = path.split_first() else { return };
    let properties = answer["properties"].as_object_mut().expect("it was made as one");
    match rest {
        [] => {
            let value = if properties.contains_key(name) { json!({}) } else { value };
            properties.insert(name.clone(), value);
        }
        rest => {
            let below = properties.entry(name.clone()).or_insert_with(object);
            match below.get("properties").is_some() && below.get("$ref").is_none() {
                true => put(below, rest, value, always),
                false => *below = json!({}),
            }
        }
    }
    let required = answer["required"].as_array_mut().expect("it was made as one");
    if always && !required.iter().any(|known| known == name.as_str()) {
        required.push(name.as_str().into());
    }
}

/// The members of an object's schema, as far as they are known, and which of them are always there. `met`: the references
/// that were followed to get here.
fn members(schema: &Value, components: &Components, met: &[&str]) -> (Map<String, Value>, BTreeSet<String>) {
    let (mut members, mut required) = (Map::new(), BTreeSet::new());
    let Some(met) = with_reference(met, schema) else { return (members, required) };
    let schema = match schema.get("$ref").and_then(Value::as_str).and_then(|to| to.rsplit('/').next()) {
        Some(name) => components.0.get(name).unwrap_or(&Value::Null),
        None => schema,
    };
    for branch in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        let (of_branch, always) = self::members(branch, components, &met);
        members.extend(of_branch);
        required.extend(always);
    }
    // Of several that are possible, none is always there.
    for branch in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
        members.extend(self::members(branch, components, &met).0);
    }
    let own = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    members.extend(own.map(|(name, value)| (name.clone(), value.clone())));
    let own = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    required.extend(own.map(str::to_owned));
    (members, required)
}

fn report() -> Value {
    json!({
        "type": "object",
        "description": "The parts that failed, were skipped or cut, and why.",
        "additionalProperties": {
            "type": "object",
            "properties": {
                "error": { "type": "string" },
                "status": { "type": "integer" },
                "items": { "type": "integer", "description": "How many items failed." },
                "skipped": { "const": true },
                "truncated": { "const": true },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_what_refers_to_itself_are_found_once() {
        let mut components = Components::default();
        let to = json!({ "$ref": "#/components/schemas/crm.Itself" });
        let schema = json!({ "allOf": [to, { "properties": { "a": {} }, "required": ["a"] }], "anyOf": [to] });
        components.0.insert("crm.Itself".to_owned(), schema);
        let (members, required) = members(&to, &components, &[]);
        assert_eq!(members.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(required, BTreeSet::from(["a".to_owned()]));
    }
}
