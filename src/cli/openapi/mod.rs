//! `attache openapi`: what the aggregates of a configuration answer, as a document of OpenAPI 3.1.

mod answer;
mod part;
mod request;
mod schema;

use http::Method;
use serde_json::{Map, Value, json};

use crate::config::{Access, Aggregate, Answers, Config, PathPattern, Report, Route, Segment};
use schema::Components;

/// What a path item can have.
const METHODS: [&str; 8] = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"];

/// How a client presents its key: the names of the schemes, and what they are.
const KEY_SCHEMES: [&str; 3] = ["bearer", "apiKey", "basic"];

pub(super) fn document(config: &Config) -> String {
    let mut components = Components::default();
    let mut paths: Vec<(&PathPattern, Map<String, Value>)> = Vec::new();
    for route in &config.routes {
        let Answers::Aggregate(aggregate) = &route.answers else { continue };
        // Paths that differ in the names of their parameters alone are one path for OpenAPI.
        let position = paths.iter().position(|(path, _)| path.same_shape(&route.path));
        let position = position.unwrap_or_else(|| {
            paths.push((&route.path, Map::new()));
            paths.len() - 1
        });
        let (path, item) = &mut paths[position];
        for method in route.methods.iter().filter(|method| METHODS.contains(&method.as_str())) {
            let operation = operation(route, aggregate, path, method, &mut components);
            // The same path for another host has no place of its own in the document.
            item.entry(method.as_str().to_ascii_lowercase()).or_insert(operation);
        }
    }
    let any_key = config.routes.iter().any(|route| needs_key(route));
    let paths: Map<String, Value> =
        paths.into_iter().map(|(path, item)| (written(path), Value::Object(item))).collect();
    let mut document = json!({
        "openapi": "3.1.0",
        "info": { "title": "Aggregates of attache", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": { "schemas": components.0, "responses": { "Problem": problem() } },
    });
    document["components"]["schemas"]["Problem"] = problem_schema();
    if any_key {
        document["components"]["securitySchemes"] = json!({
            "bearer": { "type": "http", "scheme": "bearer", "description": "The client's key." },
            "apiKey": { "type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "The client's key." },
            "basic": { "type": "http", "scheme": "basic", "description": "The client's key as the password." },
        });
    }
    let mut text = serde_json::to_string_pretty(&document).expect("it has no value that JSON has not");
    text.push('\n');
    text
}

fn needs_key(route: &Route) -> bool {
    matches!((&route.access, &route.answers), (Access::Clients(_), Answers::Aggregate(_)))
}

/// A path as OpenAPI writes it.
fn written(path: &PathPattern) -> String {
    let segment = |segment: &Segment| match segment {
        Segment::Literal(text) => format!("/{text}"),
        Segment::Parameter(name) | Segment::Rest(name) => format!("/{{{name}}}"),
    };
    path.segments.iter().map(segment).collect()
}

fn operation(
    route: &Route,
    aggregate: &Aggregate,
    path: &PathPattern,
    method: &Method,
    components: &mut Components,
) -> Value {
    let mut parameters: Vec<Value> = path.segments.iter().filter_map(of_path).collect();
    parameters.extend(request::parameters(aggregate));
    let words = written(path);
    let words = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let id: Vec<String> =
        std::iter::once(method.as_str().to_ascii_lowercase()).chain(words.map(str::to_owned)).collect();
    let mut answer = json!({
        "description": "What the parts answered.",
        "content": { "application/json": { "schema": answer::schema(aggregate, components) } },
    });
    if aggregate.report == Report::Header {
        answer["headers"] = json!({ "Attache-Parts": {
            "description": "The parts that failed, were skipped or cut, and why: a list of RFC 9651.",
            "schema": { "type": "string" },
        } });
    }
    let mut responses = json!({ "200": answer, "default": { "$ref": "#/components/responses/Problem" } });
    for status in answer::failures(aggregate) {
        responses[status.to_string()] = json!({ "$ref": "#/components/responses/Problem" });
    }
    let mut operation = json!({ "operationId": id.join("_"), "summary": &*route.name, "responses": responses });
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if aggregate.reads_request {
        operation["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": request::body(aggregate) } },
        });
    }
    if needs_key(route) {
        operation["security"] = KEY_SCHEMES.iter().map(|scheme| json!({ *scheme: [] })).collect();
    }
    operation
}

fn of_path(segment: &Segment) -> Option<Value> {
    let parameter =
        |name: &str| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } });
    match segment {
        Segment::Literal(_) => None,
        Segment::Parameter(name) => Some(parameter(name)),
        Segment::Rest(name) => {
            let mut parameter = parameter(name);
            parameter["description"] = "All that follows, with its slashes; may be empty.".into();
            Some(parameter)
        }
    }
}

fn problem() -> Value {
    json!({
        "description": "There is no answer: a problem document of RFC 9457 says why.",
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
    })
}

fn problem_schema() -> Value {
    let text = || json!({ "type": "string" });
    json!({
        "type": "object",
        "properties": {
            "type": text(),
            "title": text(),
            "status": { "type": "integer" },
            "detail": text(),
            "fault": text(),
            "request_id": text(),
            "part": { "type": "string", "description": "The part that failed." },
        },
        "required": ["type", "title", "status", "detail"],
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, Load, load};

    /// Written anew with `ATTACHE_BLESS` in the environment; a test of its own holds it to OpenAPI.
    #[test]
    fn the_document_describes_the_aggregates() {
        let file = Path::new("src/cli/openapi/aggregates.toml");
        let loaded =
            load(file, &Environment::default(), Load::WithoutSecrets).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(loaded.watched.iter().any(|file| file.ends_with("crm.openapi.json")), "{:?}", loaded.watched);
        let document = document(&loaded.config);
        let expected = "src/cli/openapi/aggregates.openapi.json";
        if std::env::var_os("ATTACHE_BLESS").is_some() {
            std::fs::write(expected, &document).unwrap();
        }
        assert!(document == std::fs::read_to_string(expected).unwrap_or_default(), "{document}");
    }
}
