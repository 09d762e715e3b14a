//! The OpenAPI document of an upstream: what can be asked for, and what is answered.

use http::Method;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::TextPiece;
use super::problem::closest;

/// Stands for a value in the path of a part. No request line can have it.
const VALUE: char = '\0';

/// A document of OpenAPI 3.0 or 3.1, JSON.
#[derive(Debug)]
pub struct OpenApi {
    /// An object with `paths`.
    pub document: Value,
    /// The paths of its servers, without a slash at the end.
    bases: Vec<String>,
}

/// Why a document has no such operation: what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoOperation {
    pub message: String,
    pub hint: String,
}

impl OpenApi {
    /// Reads a document.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn parse(bytes: &[u8]) -> Result<OpenApi, (String, String)> {
        let document: Value = serde_json::from_slice(bytes).map_err(|error| {
            let hint = "a document in YAML is converted once, such as by `yq -o json api.yaml > api.json`";
            (format!("it is no JSON: {error}"), hint.to_owned())
        })?;
        let version = document.get("openapi").and_then(Value::as_str).unwrap_or_default();
        if !version.starts_with("3.0") && !version.starts_with("3.1") || !document["paths"].is_object() {
            let hint = "it has `\"openapi\": \"3.1.0\"` and `paths`; Swagger 2.0 has to be converted";
            return Err(("it is no document of OpenAPI 3.0 or 3.1".to_owned(), hint.to_owned()));
        }
        let servers = document["servers"].as_array().cloned().unwrap_or_default();
        let bases = servers.iter().filter_map(base).collect();
        Ok(OpenApi { document, bases })
    }

    /// Whether its schemas are those of OpenAPI 3.0, which are not quite JSON Schema.
    pub fn is_3_0(&self) -> bool {
        self.document["openapi"].as_str().is_some_and(|version| version.starts_with("3.0"))
    }

    /// What a reference of this document points to, behind further references.
    pub fn resolved<'v>(&'v self, mut value: &'v Value) -> &'v Value {
        // A document may refer in circles.
        for _ in 0..32 {
            let Some(pointer) = value.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix('#')) else {
                break;
            };
            let pointer = percent_decode_str(pointer).decode_utf8_lossy();
            value = self.document.pointer(&pointer).unwrap_or(&Value::Null);
        }
        value
    }

    /// The operation that a part calls at a URL of this path.
    ///
    /// # Errors
    /// There is none: the closest one is named.
    pub fn operation(&self, method: &Method, base: &str, path: &[TextPiece]) -> Result<&Value, NoOperation> {
        let path: String = path
            .iter()
            .map(|piece| match piece {
                TextPiece::Text(text) => text.clone(),
                TextPiece::Value(_) => VALUE.to_string(),
            })
            .collect();
        let shown = path.replace(VALUE, "{}");
        let whole = format!("{base}{path}");
        // The document may be of another server than the one that is called: then its paths are taken as they are.
        let asked: Vec<&str> =
            self.bases.iter().filter_map(|base| whole.strip_prefix(base.as_str())).chain([&*path]).collect();
        let paths = self.document["paths"].as_object().expect("it was parsed as one");
        let fits = |template: &str| asked.iter().any(|asked| fits(template, asked));
        let Some((template, item)) = paths
            .iter()
            .filter(|(template, _)| fits(template))
            .min_by_key(|(template, _)| template.matches('{').count())
        else {
            // The names of parameters say nothing of how close a path is.
            let unnamed: Vec<String> = paths.keys().map(|template| without_names(template)).collect();
            let known: Vec<&str> = unnamed.iter().map(String::as_str).collect();
            let meant = closest(&shown, &known).and_then(|meant| known.iter().position(|known| *known == meant));
            let hint = match meant.and_then(|index| paths.keys().nth(index)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "a path is one of its `paths`, without what its `servers` say before them".to_owned(),
            };
            return Err(NoOperation { message: format!("the OpenAPI document has no path `{shown}`"), hint });
        };
        let item = self.resolved(item);
        let name = method.as_str().to_ascii_lowercase();
        item.get(&name).filter(|operation| operation.is_object()).ok_or_else(|| {
            let all = ["get", "put", "post", "delete", "patch", "options", "trace"];
            let has: Vec<String> =
                all.into_iter().filter(|name| item.get(name).is_some()).map(str::to_ascii_uppercase).collect();
            let hint = format!("it has {}", if has.is_empty() { "none".to_owned() } else { has.join(", ") });
            NoOperation { message: format!("the OpenAPI document has no {method} for `{template}`"), hint }
        })
    }
}

/// The path of a server's URL, with the defaults of its variables.
fn base(server: &Value) -> Option<String> {
    let mut url = server["url"].as_str()?.to_owned();
    for (name, variable) in server["variables"].as_object().into_iter().flatten() {
        url = url.replace(&format!("{{{name}}}"), variable["default"].as_str().unwrap_or_default());
    }
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]).to_owned(),
        None => url,
    };
    Some(path.trim_end_matches('/').to_owned())
}

/// A template with `{}` for each of its parameters.
fn without_names(template: &str) -> String {
    let segment = |segment: &str| if segment.contains('{') { "{}".to_owned() } else { segment.to_owned() };
    template.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// Whether a path, in which values stand for themselves, is one of a template.
fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    let segment = |(template, segment): (&&str, &&str)| match template.contains('{') {
        true => !segment.is_empty(),
        false => percent_decode_str(template).eq(percent_decode_str(segment)),
    };
    template.len() == path.len() && template.iter().zip(&path).all(segment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Absent, Reference, ValueSource};

    fn document() -> OpenApi {
        let document = serde_json::json!({
            "openapi": "3.0.3",
            "servers": [
                { "url": "https://api.example/{version}/", "variables": { "version": { "default": "v2" } } },
                { "url": "/api" },
            ],
            "paths": {
                "/customers/{id}": { "get": { "operationId": "one" } },
                "/customers/me": { "get": { "operationId": "me" } },
                "/customers": { "$ref": "#/components/pathItems/customers" },
            },
            "components": { "pathItems": { "customers": { "post": { "operationId": "search" } } } },
        });
        OpenApi::parse(document.to_string().as_bytes()).unwrap()
    }

    fn operation(method: Method, base: &str, path: &str) -> Result<String, NoOperation> {
        let value = || {
            TextPiece::Value(Reference {
                text: "id".to_owned(),
                source: ValueSource::Rest,
                path: Vec::new(),
                absent: Absent::Fails,
            })
        };
        let mut pieces: Vec<TextPiece> = Vec::new();
        for (index, text) in path.split("{}").enumerate() {
            pieces.extend((index > 0).then(value));
            pieces.push(TextPiece::Text(text.to_owned()));
        }
        document()
            .operation(&method, base, &pieces)
            .map(|operation| operation["operationId"].as_str().unwrap().to_owned())
    }

    #[test]
    fn operations_are_found_below_the_paths_of_servers() {
        for (base, path) in
            [("/v2", "/customers/{}"), ("", "/v2/customers/{}"), ("", "/api/customers/x{}"), ("/other", "/customers/7")]
        {
            assert_eq!(operation(Method::GET, base, path).as_deref(), Ok("one"), "{base} {path}");
        }
        assert_eq!(operation(Method::GET, "/v2", "/customers/me").as_deref(), Ok("me"));
        assert_eq!(operation(Method::POST, "/v2", "/customers").as_deref(), Ok("search"));
    }

    #[test]
    fn what_is_not_there_is_named_with_what_is() {
        let none = operation(Method::GET, "/v2", "/customer/{}").unwrap_err();
        assert_eq!(none.message, "the OpenAPI document has no path `/customer/{}`");
        assert_eq!(none.hint, "did you mean `/customers/{id}`?");
        let none = operation(Method::DELETE, "/v2", "/customers/{}").unwrap_err();
        assert_eq!(none.message, "the OpenAPI document has no DELETE for `/customers/{id}`");
        assert_eq!(none.hint, "it has GET");
        assert!(operation(Method::GET, "/v2", "/{}").unwrap_err().hint.contains("`paths`"));
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for text in ["", "openapi: 3.1.0", "[]", "{}", r#"{"swagger":"2.0","paths":{}}"#, r#"{"openapi":"3.1.0"}"#] {
            assert!(OpenApi::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
