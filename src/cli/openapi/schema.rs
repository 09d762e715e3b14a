//! Schemas of an upstream's document: what `target`, `pick`, `drop` and `rename` leave of one, and how it moves into another
//! document.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::config::{Edits, OpenApi, Target};

/// The schemas of all documents that are referred to, under the names that they get in the new one.
#[derive(Debug, Default)]
pub(super) struct Components(pub BTreeMap<String, Value>);

/// A schema of an upstream's document, which may refer to others there. `None`: nothing is known.
#[derive(Debug, Clone)]
pub(super) struct Schema<'d> {
    pub api: &'d OpenApi,
    pub value: Value,
}

impl<'d> Schema<'d> {
    fn of(&self, value: &Value) -> Schema<'d> {
        Schema { api: self.api, value: self.api.resolved(value).clone() }
    }

    /// What stands behind references.
    fn resolved(&self) -> Value {
        self.api.resolved(&self.value).clone()
    }

    /// What `target` leaves of it.
    pub(super) fn at_target(self, target: Option<&Target>) -> Option<Schema<'d>> {
        match target {
            None => Some(self),
            Some(Target::Path(path)) => self.at(path),
            Some(Target::JsonPath(path)) if path.singular => None,
            Some(Target::JsonPath(_)) => Some(Schema { value: json!({ "type": "array" }), api: self.api }),
        }
    }

    /// A member of it, by names of members and indices of lists.
    pub(super) fn at(self, path: &[String]) -> Option<Schema<'d>> {
        path.iter().try_fold(self, |schema, name| schema.member(name))
    }

    fn member(&self, name: &str) -> Option<Schema<'d>> {
        self.member_behind(name, &[])
    }

    /// `met`: the references that were followed to get here.
    fn member_behind(&self, name: &str, met: &[&str]) -> Option<Schema<'d>> {
        let met = with_reference(met, &self.value)?;
        let value = self.resolved();
        if let Some(member) = value.get("properties").and_then(|members| members.get(name)) {
            return Some(self.of(member));
        }
        if let Some(items) = value.get("items").filter(|_| name.parse::<usize>().is_ok()) {
            return Some(self.of(items));
        }
        let branches = value.get("allOf").and_then(Value::as_array)?;
        branches.iter().find_map(|branch| Schema { api: self.api, value: branch.clone() }.member_behind(name, &met))
    }

    /// What `pick`, `drop` and `rename` leave of it.
    pub(super) fn edited(&self, edits: &Edits) -> Schema<'d> {
        let paths = |paths: &[Vec<String>]| paths.iter().map(|path| path.to_vec()).collect::<Vec<_>>();
        let below = Below {
            pick: (!edits.pick.is_empty()).then(|| paths(&edits.pick)),
            drop: paths(&edits.drop),
            rename: edits.rename.clone(),
        };
        Schema { value: self.edit(&self.value, &below, &[]), api: self.api }
    }

    /// `met`: the references that were followed to get here, with nothing less to be edited since.
    fn edit(&self, value: &Value, below: &Below, met: &[&str]) -> Value {
        if below.is_empty() {
            return value.clone();
        }
        // It would be written within itself, for ever.
        let Some(met) = with_reference(met, value) else { return json!({}) };
        let mut value = self.api.resolved(value).clone();
        let Some(object) = value.as_object_mut() else { return value };
        // They show what is not there any more.
        ["example", "examples", "default"].iter().for_each(|key| drop(object.remove(*key)));
        if let Some(items) = object.get_mut("items") {
            *items = self.edit(items, below, &met);
        }
        for key in ["allOf", "anyOf", "oneOf"] {
            for branch in object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
                *branch = self.edit(branch, below, &met);
            }
        }
        if let Some(properties) = object.get("properties").and_then(Value::as_object) {
            let shown = |(name, value): (&String, &Value)| {
                let new = below.name_of(name)?;
                Some((new, self.edit(value, &below.of(name), &[])))
            };
            let properties: Map<String, Value> = properties.iter().filter_map(shown).collect();
            object.insert("properties".to_owned(), Value::Object(properties));
        }
        if let Some(required) = object.get("required").and_then(Value::as_array) {
            let required = required.iter().filter_map(Value::as_str).filter_map(|name| below.name_of(name));
            let required: Vec<String> = required.collect();
            object.insert("required".to_owned(), json!(required));
        }
        value
    }

    /// As it stands in the new document: what it refers to goes there, too.
    pub(super) fn finished(&self, upstream: &str, components: &mut Components) -> Value {
        self.moved(&self.value, upstream, components)
    }

    fn moved(&self, value: &Value, upstream: &str, components: &mut Components) -> Value {
        match value {
            Value::Array(items) => items.iter().map(|item| self.moved(item, upstream, components)).collect(),
            Value::Object(object) => match object.get("$ref").and_then(Value::as_str) {
                Some(to) => self.reference(to, upstream, components),
                None => self.members(object, upstream, components),
            },
            other => other.clone(),
        }
    }

    fn reference(&self, to: &str, upstream: &str, components: &mut Components) -> Value {
        let Some(name) = to.strip_prefix("#/components/schemas/").filter(|name| !name.contains('/')) else {
            return json!({});
        };
        let new = format!("{upstream}.{name}");
        if !components.0.contains_key(&new) {
            // There before it is filled, since it may refer to itself.
            components.0.insert(new.clone(), json!({}));
            let schema = self.api.document["components"]["schemas"].get(name).cloned().unwrap_or(json!({}));
            let moved = self.moved(&schema, upstream, components);
            components.0.insert(new.clone(), moved);
        }
        json!({ "$ref": format!("#/components/schemas/{new}") })
    }

    fn members(&self, object: &Map<String, Value>, upstream: &str, components: &mut Components) -> Value {
        let mut new = Map::new();
        for (name, value) in object.iter().filter(|(name, _)| *name != "discriminator") {
            let value = match name.as_str() {
                // What stands there is no schema, or a map of schemas whose names are free.
                "example" | "examples" | "default" | "enum" | "const" => value.clone(),
                "properties" | "patternProperties" | "$defs" => {
                    let members = value.as_object().into_iter().flatten();
                    let members = members.map(|(name, value)| (name.clone(), self.moved(value, upstream, components)));
                    Value::Object(members.collect())
                }
                _ => self.moved(value, upstream, components),
            };
            new.insert(name.clone(), value);
        }
        if self.api.is_3_0() { of_3_1(new) } else { Value::Object(new) }
    }
}

/// The references that were followed, with that of this schema, if it is one. `None`: it was followed before.
pub(super) fn with_reference<'v>(met: &[&'v str], schema: &'v Value) -> Option<Vec<&'v str>> {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(to) if met.contains(&to) => None,
        to => Some(met.iter().copied().chain(to).collect()),
    }
}

/// A schema of OpenAPI 3.0 in the words of JSON Schema.
fn of_3_1(mut schema: Map<String, Value>) -> Value {
    for (flag, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if let Some(exclusive) = schema.get(flag).and_then(Value::as_bool) {
            schema.remove(flag);
            if let Some(limit) = schema.remove(bound) {
                schema.insert(if exclusive { flag } else { bound }.to_owned(), limit);
            }
        }
    }
    match schema.remove("nullable").and_then(|nullable| nullable.as_bool()) {
        Some(true) => or(Value::Object(schema), json!({ "type": "null" })),
        _ => Value::Object(schema),
    }
}

/// One schema or the other. What is not known stays so.
pub(super) fn or(one: Value, other: Value) -> Value {
    if one == other {
        return one;
    }
    match (one.as_object().is_some_and(Map::is_empty), other.as_object().is_some_and(Map::is_empty)) {
        (false, false) => json!({ "anyOf": [one, other] }),
        _ => json!({}),
    }
}

/// What remains of edits below a member.
struct Below {
    /// `None`: all.
    pick: Option<Vec<Vec<String>>>,
    drop: Vec<Vec<String>>,
    rename: Vec<(Vec<String>, String)>,
}

impl Below {
    fn is_empty(&self) -> bool {
        self.pick.is_none() && self.drop.is_empty() && self.rename.is_empty()
    }

    /// The name that a member is shown by, if it is.
    fn name_of(&self, name: &str) -> Option<String> {
        let picked = |paths: &Vec<Vec<String>>| paths.iter().any(|path| path[0] == name);
        if !self.pick.as_ref().is_none_or(picked) || self.drop.iter().any(|path| path[..] == [name.to_owned()]) {
            return None;
        }
        let new = self.rename.iter().rev().find(|(path, _)| path[..] == [name.to_owned()]);
        Some(new.map_or(name, |(_, new)| new).to_owned())
    }

    fn of(&self, name: &str) -> Below {
        let tail = |path: &Vec<String>| (path[0] == name && path.len() > 1).then(|| path[1..].to_vec());
        let pick = self.pick.as_ref().filter(|paths| !paths.iter().any(|path| path[..] == [name.to_owned()]));
        Below {
            pick: pick.map(|paths| paths.iter().filter_map(tail).collect()),
            drop: self.drop.iter().filter_map(tail).collect(),
            rename: self.rename.iter().filter_map(|(path, new)| Some((tail(path)?, new.clone()))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api() -> OpenApi {
        let document = json!({
            "openapi": "3.1.0",
            "paths": {},
            "components": { "schemas": {
                "Itself": { "allOf": [{ "$ref": "#/components/schemas/Itself" }, { "properties": { "a": { "type": "string" } } }] },
                "List": { "type": "array", "items": { "$ref": "#/components/schemas/List" } },
                "Either": { "anyOf": [{ "$ref": "#/components/schemas/Other" }, { "properties": { "b": {}, "c": {} } }] },
                "Other": { "oneOf": [{ "$ref": "#/components/schemas/Either" }] },
                "Tree": { "properties": { "id": {}, "secret": {}, "children": { "type": "array", "items": { "$ref": "#/components/schemas/Tree" } } } },
            } },
        });
        OpenApi::parse(document.to_string().as_bytes()).unwrap()
    }

    fn edited(api: &OpenApi, name: &str, drop: &[&str]) -> Value {
        let value = json!({ "$ref": format!("#/components/schemas/{name}") });
        let drop = vec![drop.iter().map(|name| (*name).to_owned()).collect()];
        Schema { api, value }.edited(&Edits { drop, ..Edits::default() }).value
    }

    #[test]
    fn what_refers_to_itself_is_edited_once() {
        let api = api();
        assert_eq!(edited(&api, "Itself", &["a"]), json!({ "allOf": [{}, { "properties": {} }] }));
        assert_eq!(edited(&api, "List", &["a"]), json!({ "type": "array", "items": {} }));
        let either = json!({ "anyOf": [{ "oneOf": [{}] }, { "properties": { "c": {} } }] });
        assert_eq!(edited(&api, "Either", &["b"]), either);
        // A path that goes round ends, and so does what is edited.
        let tree = json!({ "$ref": "#/components/schemas/Tree" });
        let children = json!({ "type": "array", "items": { "properties": {
            "id": {}, "children": { "type": "array", "items": tree },
        } } });
        let tree = json!({ "properties": { "id": {}, "secret": {}, "children": children } });
        assert_eq!(edited(&api, "Tree", &["children", "secret"]), tree);
    }

    #[test]
    fn a_member_of_what_refers_to_itself_is_found_or_not() {
        let api = api();
        let itself = Schema { api: &api, value: json!({ "$ref": "#/components/schemas/Itself" }) };
        assert_eq!(itself.member("a").map(|found| found.value), Some(json!({ "type": "string" })));
        assert!(itself.member("b").is_none());
    }
}
