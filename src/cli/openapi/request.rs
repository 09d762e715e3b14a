//! What an aggregate reads of a request: parameters and the body.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::config::{Absent, Aggregate, Layout, OnFailure, Reference, ValueSource};

/// Parameters of the query, and headers, each once.
pub(super) fn parameters(aggregate: &Aggregate) -> Vec<Value> {
    let mut found: BTreeMap<(&str, String), bool> = BTreeMap::new();
    for (reference, needed) in read(aggregate) {
        let key = match &reference.source {
            ValueSource::Query(name) => ("query", name.clone()),
            // OpenAPI gives these no meaning as parameters.
            ValueSource::Header(name) if !["accept", "content-type"].contains(&name.as_str()) => {
                ("header", name.to_string())
            }
            _ => continue,
        };
        *found.entry(key).or_default() |= needed;
    }
    let parameter = |((place, name), needed): ((&str, String), bool)| json!({ "name": name, "in": place, "required": needed, "schema": { "type": "string" } });
    found.into_iter().map(parameter).collect()
}

/// The request's JSON, as far as it is read.
pub(super) fn body(aggregate: &Aggregate) -> Value {
    let mut schema = json!({});
    for (reference, needed) in read(aggregate) {
        if reference.source == ValueSource::Request {
            add(&mut schema, &reference.path, needed);
        }
    }
    schema
}

/// A member that is read. Where an index stands, nothing more is said.
fn add(schema: &mut Value, path: &[String], needed: bool) {
    let Some((name, rest)) = path.split_first().filter(|(name, _)| name.parse::<usize>().is_err()) else { return };
    let object = schema.as_object_mut().expect("it was made as one");
    if needed {
        // Only then it has to be one at all.
        object.insert("type".to_owned(), "object".into());
        let required = object.entry("required").or_insert(json!([])).as_array_mut().expect("it was made as one");
        if !required.iter().any(|known| known == name.as_str()) {
            required.push(name.as_str().into());
        }
    }
    let properties = object.entry("properties").or_insert(json!({})).as_object_mut().expect("it was made as one");
    add(properties.entry(name.clone()).or_insert(json!({})), rest, needed);
}

/// Every placeholder, and whether the whole fails without its value.
fn read(aggregate: &Aggregate) -> Vec<(&Reference, bool)> {
    let mut found = Vec::new();
    for part in &aggregate.parts {
        let is_fallback = aggregate.parts.iter().any(
            |other| matches!(other.on_failure, OnFailure::Part(index) if std::ptr::eq(&aggregate.parts[index], part)),
        );
        let required = matches!(part.on_failure, OnFailure::Fail(_)) && part.when.is_none() && !is_fallback;
        for reference in part.references() {
            // Where there are no items, nothing else is read.
            let is_read = part.for_each.as_ref().is_none_or(|each| std::ptr::eq(&each.items, reference));
            found.push((reference, required && is_read && reference.absent == Absent::Fails));
        }
    }
    if let Layout::Template(template) = &aggregate.layout {
        // What it misses is null.
        found.extend(template.references().into_iter().map(|reference| (reference, false)));
    }
    found
}
