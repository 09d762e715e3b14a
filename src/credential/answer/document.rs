//! What the body of a token answer is: JSON by rule, a form with some servers, a web page on a bad day.

use serde_json::{Map, Value};

/// A body, read without trust in its content type.
pub(in crate::credential) enum Document {
    /// A JSON object or list, or a form as an object of texts.
    Members(Value),
    Empty,
    Html,
    Xml,
    /// Something else that is text.
    Text(String),
    /// It could not be received or decoded; says why.
    Unreadable(String),
}

/// What a server says of a failure.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::credential) struct Named {
    pub code: Option<String>,
    pub description: Option<String>,
}

impl Document {
    pub(in crate::credential) fn parse(body: &[u8], content_type: &str) -> Document {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
        if body.is_empty() {
            return Document::Empty;
        }
        if let Ok(members @ (Value::Object(_) | Value::Array(_))) = serde_json::from_slice(body) {
            return Document::Members(members);
        }
        let Ok(text) = std::str::from_utf8(body) else {
            return Document::Unreadable("the body is neither a JSON object nor a form".to_owned());
        };
        if text.starts_with('<') {
            return markup(text, content_type);
        }
        if content_type.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") || looks_like_form(text) {
            return Document::Members(form(text));
        }
        Document::Text(text.to_owned())
    }
}

fn markup(text: &str, content_type: &str) -> Document {
    let start: String = text.chars().take(512).collect::<String>().to_ascii_lowercase();
    let html = content_type.to_ascii_lowercase().contains("html")
        || start.contains("<html")
        || start.contains("<!doctype html");
    if html { Document::Html } else { Document::Xml }
}

/// Servers send forms as `text/plain`, too: they are known by the two members that matter.
fn looks_like_form(text: &str) -> bool {
    !text.starts_with(['{', '[', '"'])
        && text.split('&').any(|pair| pair.starts_with("access_token=") || pair.starts_with("error="))
}

fn form(text: &str) -> Value {
    let members: Map<String, Value> = form_urlencoded::parse(text.as_bytes())
        .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
        .collect();
    Value::Object(members)
}

/// The error of RFC 6749 section 5.2, or the object that some make of it.
pub(in crate::credential) fn error(members: &Value) -> Option<Named> {
    match members.get("error")? {
        Value::String(code) if !code.trim().is_empty() => Some(Named {
            code: Some(code.trim().to_owned()),
            description: text(members, &["error_description", "error_message", "message", "reason"]),
        }),
        object @ Value::Object(_) => Some(Named {
            code: text(object, &["code", "status", "type", "error"]),
            description: text(object, &["message", "error_description", "description"]),
        }),
        _ => None,
    }
}

/// Where WeChat, Okta and others put an error's code.
const CODES: [&str; 4] = ["errcode", "error_code", "errorCode", "code"];
/// What they put there if there is none.
const NO_ERROR: &str = "0";

/// What WeChat, Okta and others call an error.
pub(super) fn error_in_other_words(members: &Value) -> Option<Named> {
    let code = text(members, &CODES).filter(|code| code != NO_ERROR);
    let description =
        ["errmsg", "errorSummary", "errorMessage", "error_description", "message", "detail", "msg", "title"];
    let description = text(members, &description);
    (code.is_some() || description.is_some()).then_some(Named { code, description })
}

/// Whether it says in those words that there is none.
pub(super) fn says_success(members: &Value) -> bool {
    text(members, &CODES).is_some_and(|code| code == NO_ERROR)
}

/// The text or number at a place.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The first of these members that holds a text or a number.
fn text(members: &Value, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| scalar(members.get(name)?))
}
