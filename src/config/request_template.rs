//! Texts with placeholders that are filled in for each request: `{timestamp}{method}{target}{body}`.

use http::HeaderName;

use super::braces::{self, LoneBrace, Piece};
use super::problem::closest;
use crate::secret::Secret;

/// A text with placeholders.
#[derive(Debug, Clone, Default)]
pub struct RequestTemplate {
    pub pieces: Vec<RequestPiece>,
}

/// What a template is made of.
#[derive(Debug, Clone)]
pub enum RequestPiece {
    Text(String),
    Value(Placeholder),
    /// The value of the request's header, empty without one.
    Header(HeaderName),
    /// One of the credential's own secrets.
    Secret {
        name: String,
        value: Secret,
    },
}

/// What is known of a request, or made for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholder {
    Method,
    Host,
    Path,
    /// Without its `?`.
    Query,
    /// The path, and the query with its `?` if there is one.
    Target,
    Timestamp,
    Nonce,
    Body,
    /// In hexadecimal digits.
    BodySha256,
    BodySha256Base64,
    Signature,
}

impl Placeholder {
    pub const ALL: [Placeholder; 11] = [
        Placeholder::Method,
        Placeholder::Host,
        Placeholder::Path,
        Placeholder::Query,
        Placeholder::Target,
        Placeholder::Timestamp,
        Placeholder::Nonce,
        Placeholder::Body,
        Placeholder::BodySha256,
        Placeholder::BodySha256Base64,
        Placeholder::Signature,
    ];

    /// As it stands between braces.
    pub fn name(self) -> &'static str {
        match self {
            Placeholder::Method => "method",
            Placeholder::Host => "host",
            Placeholder::Path => "path",
            Placeholder::Query => "query",
            Placeholder::Target => "target",
            Placeholder::Timestamp => "timestamp",
            Placeholder::Nonce => "nonce",
            Placeholder::Body => "body",
            Placeholder::BodySha256 => "body_sha256",
            Placeholder::BodySha256Base64 => "body_sha256_base64",
            Placeholder::Signature => "signature",
        }
    }
}

impl RequestTemplate {
    /// Reads a template. `secrets`: what else may stand between braces.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn parse(text: &str, secrets: &[(String, Secret)]) -> Result<RequestTemplate, (String, String)> {
        let pieces = braces::pieces(text).map_err(|LoneBrace| {
            let hint = "placeholders stand in braces, such as {method}; `{{` and `}}` are braces themselves";
            ("a brace without its other one".to_owned(), hint.to_owned())
        })?;
        let piece = |piece| match piece {
            Piece::Text(text) => Ok(RequestPiece::Text(text)),
            Piece::Inside(name) => placeholder(name, secrets),
        };
        let pieces = pieces.into_iter().map(piece).collect::<Result<_, _>>()?;
        Ok(RequestTemplate { pieces })
    }

    pub fn has(&self, wanted: Placeholder) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, RequestPiece::Value(value) if *value == wanted))
    }

    /// Whether it has to do with the body.
    pub fn needs_body(&self) -> bool {
        [Placeholder::Body, Placeholder::BodySha256, Placeholder::BodySha256Base64]
            .into_iter()
            .any(|body| self.has(body))
    }

    /// As people read it: placeholders in their braces, secrets by their names.
    pub fn shown(&self) -> String {
        let shown = |piece: &RequestPiece| match piece {
            RequestPiece::Text(text) => text.clone(),
            RequestPiece::Value(value) => format!("<{}>", value.name()),
            RequestPiece::Header(name) => format!("<header:{name}>"),
            RequestPiece::Secret { name, .. } => format!("<{name}>"),
        };
        self.pieces.iter().map(shown).collect()
    }
}

fn placeholder(name: &str, secrets: &[(String, Secret)]) -> Result<RequestPiece, (String, String)> {
    if let Some(value) = Placeholder::ALL.into_iter().find(|value| value.name() == name) {
        return Ok(RequestPiece::Value(value));
    }
    if let Some((name, value)) = secrets.iter().find(|(secret, _)| secret == name) {
        return Ok(RequestPiece::Secret { name: name.clone(), value: value.clone() });
    }
    if let Some(header) = name.strip_prefix("header:") {
        let header = HeaderName::from_bytes(header.as_bytes());
        let flaw = |_| (format!("`{{{name}}}` names no header"), "such as {header:content-type}".to_owned());
        return header.map(RequestPiece::Header).map_err(flaw);
    }
    let mut known: Vec<&str> = Placeholder::ALL.into_iter().map(Placeholder::name).collect();
    known.extend(secrets.iter().map(|(name, _)| name.as_str()));
    let hint = match closest(name, &known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("there are {}, header:NAME, and the names in `secrets`", known.join(", ")),
    };
    Err((format!("`{{{}}}` is no placeholder", name.escape_debug()), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_texts_and_placeholders() {
        let secrets = [("key_id".to_owned(), Secret::new("planted"))];
        let template = RequestTemplate::parse("v1:{timestamp}\n{header:X-A}{key_id}{body}.", &secrets).unwrap();
        assert_eq!(template.shown(), "v1:<timestamp>\n<header:x-a><key_id><body>.");
        assert!(template.needs_body() && template.has(Placeholder::Timestamp) && !template.has(Placeholder::Nonce));
        assert!(!format!("{template:?}").contains("planted"));
        let braces = RequestTemplate::parse("{{\"m\":\"{method}\"}}", &[]).unwrap();
        assert_eq!(braces.shown(), "{\"m\":\"<method>\"}");
        for (text, message, hint) in [
            ("{method", "a brace without", "{method}"),
            ("{{a}", "a brace without", "`{{`"),
            ("a}", "a brace without", "{method}"),
            ("{a{method}", "a brace without", "{method}"),
            ("{metod}", "`{metod}` is no placeholder", "did you mean `method`?"),
            ("{keyid}", "`{keyid}` is no placeholder", "did you mean `key_id`?"),
            ("{}", "`{}` is no placeholder", "there are method, "),
            ("{header:a b}", "names no header", "{header:content-type}"),
        ] {
            let (why, what) = RequestTemplate::parse(text, &secrets).unwrap_err();
            assert!(why.contains(message) && what.contains(hint), "{text}: {why}: {what}");
        }
    }
}
