//! A text with places for values: `Bearer {token}`.

use super::braces::{self, LoneBrace};
use crate::secret::Secret;

/// What is put together when it is needed. Made by `resolve`, which has put in what the configuration knows itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    /// A secret of the configuration.
    Secret(Secret),
    /// A value of this name that a token endpoint answered.
    Value(String),
}

impl Template {
    /// The value of this name, alone.
    pub fn value(name: &str) -> Self {
        Template { pieces: vec![Piece::Value(name.to_owned())] }
    }

    /// Reads a text in which `{name}` stands for a value, and `{{` and `}}` for braces.
    ///
    /// # Errors
    /// What is no text of this kind, or the name that `known` does not know.
    pub(in crate::config) fn parse(text: &str, known: impl Fn(&str) -> Option<Piece>) -> Result<Self, TemplateFlaw> {
        let mut pieces = Vec::new();
        for piece in braces::pieces(text).map_err(|LoneBrace| TemplateFlaw::Brace)? {
            let piece = match piece {
                braces::Piece::Text(text) => Piece::Text(text),
                braces::Piece::Inside(name) => known(name).ok_or_else(|| TemplateFlaw::Unknown(name.to_owned()))?,
            };
            match (pieces.last_mut(), piece) {
                (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
                (_, piece) => pieces.push(piece),
            }
        }
        Ok(Template { pieces })
    }

    /// Whether it is a text of the configuration, and nothing else.
    pub fn is_plain(&self) -> bool {
        self.pieces.iter().all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// The secrets of the configuration in it.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Secret(secret) => Some(secret),
            Piece::Text(_) | Piece::Value(_) => None,
        })
    }

    /// The text with its values in it, each as `encode` writes it.
    ///
    /// # Errors
    /// The name of a value that is not there.
    pub fn fill<'v>(
        &self,
        find: impl Fn(&str) -> Option<&'v Secret>,
        encode: impl Fn(&str) -> String,
    ) -> Result<Secret, &str> {
        let mut parts = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            parts.push(match piece {
                Piece::Text(text) => Secret::new(text.as_str()),
                Piece::Secret(secret) => Secret::new(encode(secret.expose())),
                Piece::Value(name) => Secret::new(encode(find(name).ok_or(name.as_str())?.expose())),
            });
        }
        Ok(Secret::joined(&parts, ""))
    }
}

/// What is wrong with a template.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) enum TemplateFlaw {
    /// A brace that begins or ends nothing.
    Brace,
    /// A name that stands for nothing.
    Unknown(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Template, TemplateFlaw> {
        Template::parse(text, |name| match name {
            "token" => Some(Piece::Value("token".to_owned())),
            "secret" => Some(Piece::Secret(Secret::new("s/1"))),
            "site" => Some(Piece::Text("acme".to_owned())),
            _ => None,
        })
    }

    fn fill(text: &str) -> String {
        let token = Secret::new("T");
        let filled = parse(text).unwrap().fill(|_| Some(&token), |value| value.replace('/', "%2F")).unwrap();
        filled.expose().to_owned()
    }

    #[test]
    fn values_stand_in_their_places() {
        assert_eq!(fill(""), "");
        assert_eq!(fill("Bearer {token}"), "Bearer T");
        assert_eq!(fill("{token}{secret}"), "Ts%2F1", "only values are encoded");
        assert_eq!(fill("/{site}/{secret}é"), "/acme/s%2F1é");
        assert_eq!(fill("{{\"a\":\"{token}\"}}"), "{\"a\":\"T\"}");
        assert_eq!(parse("a{site}b{site}").unwrap().pieces, [Piece::Text("aacmebacme".to_owned())]);
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in ["{", "}", "a{b", "{token}}", "{{}"] {
            assert_eq!(parse(text), Err(TemplateFlaw::Brace), "{text}");
        }
        assert_eq!(parse("{tok}"), Err(TemplateFlaw::Unknown("tok".to_owned())));
        assert_eq!(parse("{}"), Err(TemplateFlaw::Unknown(String::new())));
        let missing = parse("{token}").unwrap();
        assert_eq!(missing.fill(|_| None, str::to_owned), Err("token"));
    }
}
