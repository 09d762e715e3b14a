//! One credential: a preset's template, filled in with what the credential says, and what it says itself over it.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::{LISTED, Writing, Written};
use crate::config::file::{Format, Value};
use crate::config::preset::place;
use crate::config::problem::{closest, did_you_mean};
use crate::config::resolve::fields::{Text, text};
use crate::config::{Preset, Problem};

/// Keys of a preset that give way to what a credential says in their place: of these only one can be.
const GIVES_WAY: &[(&str, &[&str])] = &[
    ("token_url", &["issuer"]),
    ("issuer", &["token_url"]),
    ("client_secret", &["private_key", "token_endpoint_auth_method"]),
    ("private_key", &["client_secret", "token_endpoint_auth_method"]),
    ("header", &["query", "cookie"]),
    ("query", &["header", "cookie"]),
    ("lifetime_unit", &["lifetime_format"]),
    ("lifetime_format", &["lifetime_unit"]),
];

/// A preset and the credential that it is filled in with.
pub(super) struct Filling<'a, 'e, 'k, 't> {
    table: Written<'a, 'e>,
    preset: &'static Preset,
    entries: &'k DeTable<'t>,
    /// Where what is only the preset's counts as written.
    at: Range<usize>,
    missing: BTreeSet<&'static str>,
    sound: bool,
}

impl<'a, 'e, 'k, 't> Filling<'a, 'e, 'k, 't> {
    pub(super) fn new(
        table: Written<'a, 'e>,
        preset: &'static Preset,
        entries: &'k DeTable<'t>,
        at: Range<usize>,
    ) -> Self {
        Filling { table, preset, entries, at, missing: BTreeSet::new(), sound: true }
    }

    /// The kind, and the table or tables of it; nothing if something is wrong, which was reported.
    pub(super) fn fill(mut self) -> Option<(Spanned<DeString<'t>>, DeValue<'t>)> {
        let (preset, entries) = (self.preset, self.entries);
        let own: DeTable<'t> = entries
            .iter()
            .filter(|(key, _)| key.get_ref() != "provider" && !preset.has_place(key.get_ref()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let kind = match preset.template.get_ref() {
            DeValue::Table(template) => DeValue::Table(self.merged(template, own)),
            template => {
                self.refuse_overriding(&own);
                self.filled(preset.kind, template).0
            }
        };
        for (name, _) in &preset.asks {
            if preset.table().key(name).is_some() && !entries.contains_key(*name) && !gives_way(name, entries) {
                self.missing.insert(name);
            }
        }
        self.report_missing();
        self.table.writings.push(Writing { preset: preset.name, at: self.at.clone(), renamed: None });
        self.sound.then(|| (Spanned::new(self.at, preset.kind.into()), kind))
    }

    /// The template with the user's own keys over it.
    fn merged(&mut self, template: &DeTable<'static>, mut own: DeTable<'t>) -> DeTable<'t> {
        let mut merged = DeTable::new();
        let kept: Vec<_> = template.iter().filter(|(key, _)| !gives_way(key.get_ref(), &own)).collect();
        for (key, value) in kept {
            let name = key.get_ref().as_ref();
            let said = own.keys().find(|said| said.get_ref() == name).cloned();
            let (key, value) = match (said, own.remove(name), value.get_ref()) {
                (Some(key), Some(said), DeValue::Table(template)) if said.get_ref().is_table() => {
                    let span = said.span();
                    let DeValue::Table(own) = said.into_inner() else { unreachable!("it is a table") };
                    (key, Spanned::new(span, DeValue::Table(self.merged(template, own))))
                }
                (Some(key), Some(said), _) => (key, said),
                (_, _, template) => {
                    let (value, span) = self.filled(name, template);
                    (Spanned::new(self.at.clone(), key.get_ref().clone()), Spanned::new(span, value))
                }
            };
            merged.insert(key, value);
        }
        merged.extend(own);
        merged
    }

    /// A value of the template with its places filled in, and where it counts as written.
    fn filled(&mut self, key: &str, template: &DeValue<'static>) -> (DeValue<'t>, Range<usize>) {
        let at = self.at.clone();
        match template {
            DeValue::String(text) => self.filled_text(key, text),
            DeValue::Array(items) => {
                let items = items.iter().map(|item| {
                    let (value, span) = self.filled(key, item.get_ref());
                    Spanned::new(span, value)
                });
                (DeValue::Array(items.collect()), at)
            }
            DeValue::Table(entries) => (DeValue::Table(self.merged(entries, DeTable::new())), at),
            other => (other.clone(), at),
        }
    }

    fn filled_text(&mut self, key: &str, template: &str) -> (DeValue<'t>, Range<usize>) {
        let mut filled = template.to_owned();
        let mut at = None;
        for (name, _) in &self.preset.asks {
            let place = place(name);
            if !template.contains(&place) {
                continue;
            }
            let Some(said) = self.entries.get(*name) else {
                self.missing.insert(name);
                continue;
            };
            let is_whole = template == place;
            let renamed = is_whole.then(|| (key.to_owned(), *name));
            self.table.writings.push(Writing { preset: self.preset.name, at: said.span(), renamed });
            // A place that is all there is takes whatever fits the key: a secret, say.
            if is_whole {
                return (said.get_ref().clone(), said.span());
            }
            if let Some(text) = self.text(name, said, template.starts_with("https://")) {
                filled = filled.replace(&place, &text.value);
            }
            at = at.or(Some(said.span()));
        }
        (DeValue::String(filled.into()), at.unwrap_or(self.at.clone()))
    }

    /// What stands in the middle of a text.
    fn text(&mut self, name: &'static str, said: &Value<'_>, in_url: bool) -> Option<Text> {
        let before = self.table.reading.problems.len();
        let found = text(self.table.reading, said, Format::Plain);
        let problem = match &found {
            None if self.table.reading.problems.len() > before => None,
            None => Some(format!("`{name}` wants a string")),
            Some(text) if text.value.is_empty() => Some(format!("`{name}` is empty")),
            Some(text) if in_url && !text.value.bytes().all(is_plain) => {
                Some(format!("`{name}` is made of letters, digits, `.`, `_` and `-`"))
            }
            Some(_) => return found,
        };
        if let Some(message) = problem {
            let hint = self.asked(name);
            self.table.reading.problem(Problem::new(message, said.span()).hint(hint));
        }
        self.sound = false;
        None
    }

    /// What the preset says of a name that it asks for.
    fn asked(&self, name: &str) -> String {
        let what = self.preset.asks.iter().find(|(asked, _)| *asked == name).map_or("", |(_, what)| what);
        format!("the preset `{}` asks for it: {what}", self.preset.name)
    }

    /// Reports names that are asked for and are not there, and those under which they probably are.
    fn report_missing(&mut self) {
        let missing = std::mem::take(&mut self.missing);
        if missing.is_empty() {
            return;
        }
        self.sound = false;
        let asked: Vec<&str> = missing.iter().copied().collect();
        let known = |key: &str| self.preset.table().key(key).is_some() || self.preset.has_place(key);
        let mut misspelt = BTreeSet::new();
        for key in self.entries.keys().filter(|key| key.get_ref() != "provider" && !known(key.get_ref())) {
            if let Some(meant) = closest(key.get_ref(), &asked) {
                let message = format!("unknown key `{}` in {}", key.get_ref(), self.title());
                let hint = format!("did you mean `{meant}`?");
                self.table.reading.problem(Problem::new(message, key.span()).hint(hint));
                misspelt.insert(meant);
            }
        }
        for name in asked.into_iter().filter(|name| !misspelt.contains(name)) {
            let message = format!("`{name}` is missing in {}", self.title());
            self.table.reading.problem(Problem::new(message, self.table.span.clone()).hint(self.asked(name)));
        }
    }

    /// Of several keys that are sent together none can be meant.
    fn refuse_overriding(&mut self, own: &DeTable<'_>) {
        for key in own.keys() {
            let message = format!("unknown key `{}` in {}", key.get_ref(), self.title());
            let asked: Vec<&str> = self.preset.asks.iter().map(|(name, _)| *name).collect();
            let hint = did_you_mean(key.get_ref(), asked).unwrap_or_else(|| LISTED.to_owned());
            self.table.reading.problem(Problem::new(message, key.span()).hint(hint));
            self.sound = false;
        }
    }

    fn title(&self) -> String {
        format!("`{}`", self.table.title)
    }
}

/// Whether a key of a preset gives way to one that is written beside it.
fn gives_way(key: &str, own: &DeTable<'_>) -> bool {
    let others = GIVES_WAY.iter().filter(|(name, _)| *name == key).flat_map(|(_, others)| *others);
    others.into_iter().any(|other| own.contains_key(*other))
}

/// Whether a byte may be filled into a URL: a host name, an id.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}
