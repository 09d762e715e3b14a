//! What texts with `{name}` in them can name.

use std::collections::BTreeMap;

use super::Reading;
use super::fields::{Fields, Text};
use crate::config::problem::did_you_mean;
use crate::config::template::TemplateFlaw;
use crate::config::{Piece, Template};

#[derive(Debug, Clone, Default)]
pub(super) struct Known(BTreeMap<String, Piece>);

impl Known {
    /// The token, and the further values that the answer of a credential has.
    pub(super) fn of_answer(credential: &Fields<'_>) -> Self {
        let values = credential.table("answer").map(|answer| answer.entries("values")).unwrap_or_default();
        let names = values.iter().map(|(name, _)| name.value.as_str());
        Known::default().with_answered(names.chain(["token"]))
    }

    /// These too, which are known once a server has answered them.
    pub(super) fn with_answered<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.0.extend(names.into_iter().map(|name| (name.to_owned(), Piece::Value(name.to_owned()))));
        self
    }

    pub(super) fn insert(&mut self, name: String, piece: Piece) {
        self.0.insert(name, piece);
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Only the texts that the file itself holds.
    pub(super) fn texts(&self) -> Self {
        let is_text = |piece: &Piece| matches!(piece, Piece::Text(_));
        Known(
            self.0
                .iter()
                .filter(|(_, piece)| is_text(piece))
                .map(|(name, piece)| (name.clone(), piece.clone()))
                .collect(),
        )
    }

    /// Whether everything that a text names is among them.
    pub(super) fn is_understood(&self, text: &Text) -> bool {
        Template::parse(&text.value, |name| self.0.get(name).cloned()).is_ok()
    }

    /// The template of a key.
    pub(super) fn template(&self, reading: &mut Reading<'_>, key: &str, text: &Text) -> Option<Template> {
        let why = match Template::parse(&text.value, |name| self.0.get(name).cloned()) {
            Ok(template) => return Some(template),
            Err(TemplateFlaw::Brace) => {
                let hint = "`{name}` stands for a value; a brace itself is written twice: `{{` or `}}`";
                (format!("`{key}` has a brace that belongs to no value"), hint.to_owned())
            }
            Err(TemplateFlaw::Unknown(name)) => {
                let hint = did_you_mean(&name, self.0.keys().map(String::as_str));
                let hint = hint.unwrap_or_else(|| "there is no value to write here: name it in `values`".to_owned());
                (format!("`{key}`: nothing is called `{}`", name.escape_debug()), hint)
            }
        };
        reading.refuse(why, &text.span)
    }
}

/// Refuses what cannot be the name of a value.
pub(super) fn is_value_name(reading: &mut Reading<'_>, name: &Text) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let (message, hint) = match name.value.as_str() {
        "token" => ("`token` is the token itself", "give this value another name"),
        other if other.is_empty() || !other.bytes().all(legal) => {
            ("this is no name for a value", "it is made of letters, digits, `_` and `-`")
        }
        _ => return true,
    };
    reading.refuse::<()>((message.to_owned(), hint.to_owned()), &name.span);
    false
}
