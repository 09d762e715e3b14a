//! Presets: what is known of a provider, so that a credential says only what is its own. They are data, in providers.toml.

mod shown;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use toml::de::{DeTable, DeValue};

use super::file::{CREDENTIAL, Table, Value};

/// What is known of a provider.
#[derive(Debug)]
pub struct Preset {
    /// What `provider` says.
    pub name: &'static str,
    /// What it is for: the API, and the kind of account.
    pub purpose: &'static str,
    /// The page of the provider's own documentation that it follows.
    pub documentation: &'static str,
    /// What a user has to write, with what it is: keys of the kind, and names that stand as `{name}` in the template.
    pub asks: Vec<(&'static str, &'static str)>,
    /// What else a request to the API needs.
    pub note: Option<&'static str>,
    /// The kind of the credential.
    pub kind: &'static str,
    /// A table of that kind, or a list of them, with places to fill in.
    pub(super) template: Value<'static>,
}

/// All of them, by name.
pub fn presets() -> &'static [Preset] {
    static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| {
        let providers = DeTable::parse(include_str!("providers.toml")).expect("providers.toml is TOML");
        providers.into_inner().into_iter().map(|(name, value)| preset(taken(name.into_inner()), value)).collect()
    });
    &PRESETS
}

impl Preset {
    /// Whether this name stands as a place to fill in somewhere in the template.
    pub(super) fn has_place(&self, name: &str) -> bool {
        has_place(self.template.get_ref(), &place(name))
    }

    /// Whether what a credential says of this name is surely no secret.
    pub(super) fn is_plain(&self, name: &str) -> bool {
        let is_alone = is_alone(self.template.get_ref(), &place(name));
        match self.table().key(name) {
            Some(key) => !key.shape.holds_secrets() && !is_alone,
            None => self.has_place(name) && !is_alone,
        }
    }

    /// The declaration of the kind's table.
    pub(super) fn table(&self) -> &'static Table {
        let kind = CREDENTIAL.key(self.kind).and_then(|key| key.shape.table());
        kind.expect("a preset is of a kind that is a table, which a test holds")
    }
}

/// How a place to fill in is written.
pub(super) fn place(name: &str) -> String {
    format!("{{{name}}}")
}

fn has_place(value: &DeValue<'_>, place: &str) -> bool {
    match value {
        DeValue::String(text) => text.contains(place),
        DeValue::Array(items) => items.iter().any(|item| has_place(item.get_ref(), place)),
        DeValue::Table(entries) => entries.values().any(|value| has_place(value.get_ref(), place)),
        _ => false,
    }
}

/// Whether a place is somewhere all that a text consists of: what is filled in there may be a secret.
fn is_alone(value: &DeValue<'_>, place: &str) -> bool {
    match value {
        DeValue::String(text) => text == place,
        DeValue::Array(items) => items.iter().any(|item| is_alone(item.get_ref(), place)),
        DeValue::Table(entries) => entries.values().any(|value| is_alone(value.get_ref(), place)),
        _ => false,
    }
}

/// # Panics
/// If it lacks something: providers.toml is part of the program.
fn preset(name: &'static str, value: Value<'static>) -> Preset {
    let DeValue::Table(mut entries) = value.into_inner() else { panic!("`{name}` is a table") };
    let mut word = |key: &str| match entries.remove(key).map(toml::Spanned::into_inner) {
        Some(DeValue::String(text)) => taken(text),
        _ => panic!("`{name}` has no `{key}`"),
    };
    let (purpose, documentation) = (word("for"), word("documentation"));
    let Some(DeValue::Table(asks)) = entries.remove("asks").map(toml::Spanned::into_inner) else {
        panic!("`{name}` asks for nothing")
    };
    let mut asks: Vec<_> = asks.into_iter().collect();
    asks.sort_by_key(|(key, _)| key.span().start);
    let text = |value: Value<'static>| match value.into_inner() {
        DeValue::String(text) => taken(text),
        _ => panic!("`{name}` asks in words"),
    };
    let asks = asks.into_iter().map(|(key, value)| (taken(key.into_inner()), text(value))).collect();
    let note = entries.remove("note").map(text);
    let mut kinds = entries.into_iter();
    let (Some((kind, template)), None) = (kinds.next(), kinds.next()) else { panic!("`{name}` has one kind") };
    Preset { name, purpose, documentation, asks, note, kind: taken(kind.into_inner()), template }
}

/// A text of the program's own file. What TOML had to unescape is kept for as long as the program runs, too.
fn taken(text: std::borrow::Cow<'static, str>) -> &'static str {
    match text {
        std::borrow::Cow::Borrowed(text) => text,
        std::borrow::Cow::Owned(text) => text.leak(),
    }
}
