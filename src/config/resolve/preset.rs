//! `provider = "NAME"` in a credential: the preset's table takes its place, with what the credential says itself over it.
//! What stands behind is checked and resolved as if the file had said it.

mod filling;

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::filling::Filling;
use super::fields::Text;
use super::{Environment, Load, Reading};
use crate::config::file::{CREDENTIAL, is_header};
use crate::config::problem::did_you_mean;
use crate::config::{Problem, presets};

/// What became of the presets of a file.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    /// The names of credentials that could not be expanded, which was reported.
    pub failed: Vec<Text>,
    writings: Vec<Writing>,
}

/// Something that a preset wrote.
#[derive(Debug)]
struct Writing {
    preset: &'static str,
    /// Where it counts as written: at the value of `provider`, or at what was filled in.
    at: Range<usize>,
    /// The key that takes what was filled in as it is, and the name that the file has for it.
    renamed: Option<(String, &'static str)>,
}

impl Expanded {
    /// Says of problems with what a preset wrote that it did. To be used on what was found after it had been written.
    pub(super) fn name_in(&self, problems: &mut [Problem]) {
        for problem in problems {
            let Some(writing) = self.writings.iter().find(|writing| problem.span.as_ref() == Some(&writing.at)) else {
                continue;
            };
            match &writing.renamed {
                Some((key, name)) => {
                    for text in std::iter::once(&mut problem.message).chain(&mut problem.hint) {
                        *text = text.replace(&format!("`{key}"), &format!("`{name}"));
                    }
                }
                None => problem.message = format!("{}, as the preset `{}` has it", problem.message, writing.preset),
            }
        }
    }
}

/// Puts the presets in place of the credentials that name one. Those that it cannot be done for are taken out of the file.
pub(super) fn expand(reading: &mut Reading<'_>, file: &str, tree: &mut DeTable<'_>) -> Expanded {
    let mut expanded = Expanded::default();
    let Some(DeValue::Table(credentials)) = tree.get_mut("credentials").map(Spanned::get_mut) else { return expanded };
    let mut failed = Vec::new();
    for (name, value) in credentials.iter_mut() {
        let span = value.span();
        let DeValue::Table(entries) = value.get_mut() else { continue };
        let title = if is_header(file, &span) {
            file[span.clone()].to_owned()
        } else {
            format!("credentials.{}", name.get_ref())
        };
        let table = Written { reading, title, span, writings: &mut expanded.writings };
        match table.expand(entries) {
            Outcome::Nothing => {}
            Outcome::Expanded(new) => *entries = new,
            Outcome::Failed => {
                hide(reading, entries);
                failed.push(name.clone());
            }
        }
    }
    for name in failed {
        credentials.remove(name.get_ref().as_ref());
        let span = name.span();
        expanded.failed.push(Text { value: name.into_inner().into_owned(), span, in_file: true });
    }
    expanded
}

/// What a credential's table stands for, if it is text of a file with nothing else in it: the table of its kind.
pub(in crate::config) fn expansion(credential: &str) -> Option<DeValue<'_>> {
    let environment = Environment::default();
    let mut reading = Reading::new(Path::new("."), &environment, Load::WithoutSecrets);
    let mut tree = DeTable::parse(credential).ok()?.into_inner();
    expand(&mut reading, credential, &mut tree);
    let DeValue::Table(credentials) = tree.remove("credentials")?.into_inner() else { return None };
    let (_, value) = credentials.into_iter().next()?;
    Some(value.into_inner())
}

/// Keeps out of all reports what may be a secret of a table that is not looked at any further.
fn hide(reading: &mut Reading<'_>, entries: &DeTable<'_>) {
    let provider = entries.get("provider").and_then(|value| value.get_ref().as_str());
    let preset = presets().iter().find(|preset| Some(preset.name) == provider);
    for (key, value) in entries {
        let is_plain = key.get_ref() == "provider" || preset.is_some_and(|preset| preset.is_plain(key.get_ref()));
        if !is_plain {
            reading.hide_value(value);
        }
    }
}

enum Outcome<'t> {
    /// It names no preset.
    Nothing,
    Expanded(DeTable<'t>),
    /// What is wrong was reported.
    Failed,
}

/// A credential's table as it stands in the file.
struct Written<'a, 'e> {
    reading: &'a mut Reading<'e>,
    title: String,
    span: Range<usize>,
    writings: &'a mut Vec<Writing>,
}

impl Written<'_, '_> {
    fn expand<'t>(self, entries: &DeTable<'t>) -> Outcome<'t> {
        let Some((_, provider)) = entries.iter().find(|(key, _)| key.get_ref() == "provider") else {
            return self.refuse_below(entries);
        };
        let Some(name) = provider.get_ref().as_str() else {
            return self.refuse("`provider` wants the name of a preset", provider.span(), LISTED);
        };
        let Some(preset) = presets().iter().find(|preset| preset.name == name) else {
            let names: Vec<&str> = presets().iter().map(|preset| preset.name).collect();
            let hint = did_you_mean(name, names).unwrap_or_else(|| LISTED.to_owned());
            return self.refuse(&format!("there is no preset `{}`", name.escape_debug()), provider.span(), &hint);
        };
        // `password` is a kind, and a key of another one.
        let is_known = |key: &str| preset.table().key(key).is_some() || preset.has_place(key);
        let is_kind = |key: &str| CREDENTIAL.key(key).is_some() && !is_known(key);
        if let Some((kind, _)) = entries.iter().find(|(key, _)| is_kind(key.get_ref())) {
            let message = format!("`{}` does not stand beside `provider`", kind.get_ref());
            let hint = format!(
                "the preset `{name}` is of the kind `{}`: write the keys of that kind directly below `provider`",
                preset.kind
            );
            return self.refuse(&message, kind.span(), &hint);
        }
        let header = self.span.clone();
        match Filling::new(self, preset, entries, provider.span()).fill() {
            Some((kind, table)) => Outcome::Expanded(DeTable::from_iter([(kind, Spanned::new(header, table))])),
            None => Outcome::Failed,
        }
    }

    /// A `provider` that stands in the table of a kind.
    fn refuse_below<'t>(self, entries: &DeTable<'_>) -> Outcome<'t> {
        let tables = entries.iter().filter_map(|(key, value)| Some((key, value.get_ref().as_table()?)));
        // A metadata server has a provider of its own.
        let has_its_own = |kind: &str| {
            CREDENTIAL
                .key(kind)
                .and_then(|kind| kind.shape.table())
                .is_some_and(|table| table.key("provider").is_some())
        };
        let below = tables
            .filter(|(kind, _)| !has_its_own(kind.get_ref()))
            .filter_map(|(kind, table)| Some((kind, table.get_key_value("provider")?.0)));
        let Some((kind, key)) = below.min_by_key(|(_, key)| key.span().start) else { return Outcome::Nothing };
        let message = format!("`provider` does not stand in `{}`", kind.get_ref());
        let hint =
            "a preset knows its kind: write `[credentials.NAME]`, and `provider` with the other keys directly below";
        self.refuse(&message, key.span(), hint)
    }

    fn refuse<'t>(self, message: &str, span: Range<usize>, hint: &str) -> Outcome<'t> {
        self.reading.problem(Problem::new(message, span).hint(hint));
        Outcome::Failed
    }
}

const LISTED: &str = "`attache providers` lists them";
