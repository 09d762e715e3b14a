//! Holds a parsed file to the declared tables: unknown keys, missing ones, keys at the wrong place, wrong types.

use std::collections::HashSet;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::literals::leaves;
use super::{Key, ROOT, Shape, Table, Value, hints, is_header, line_of};
use crate::config::problem::{Problem, closest, did_you_mean, either};

/// Where a secret comes from.
#[derive(Debug)]
pub(in crate::config) enum SecretSource<'t> {
    Env(&'t str),
    File(&'t str),
    /// A credential that systemd has put at the service's disposal.
    Credential(&'t str),
    Command(Vec<&'t str>),
}

/// What is wrong with the shape of a file, and where secrets stand in it that should not.
#[derive(Debug, Default)]
pub(in crate::config) struct Checked {
    pub problems: Vec<Problem>,
    pub literals: Vec<Range<usize>>,
}

/// Checks the whole file.
pub(in crate::config) fn check(text: &str, file: &DeTable<'_>) -> Checked {
    let root = Place { table: Some(&ROOT), title: String::new(), span: None, parent: None };
    let mut headers = Vec::new();
    find_headers(text, file, &mut headers);
    headers.sort_by_key(|header| header.start);
    let mut checker = Checker { text, checked: Checked::default(), misplaced: HashSet::new(), headers };
    checker.table(&root, &ROOT, file);
    checker.checked
}

impl<'t> SecretSource<'t> {
    /// Reads `{ env = … }`, `{ file = … }`, `{ credential = … }` or `{ command = … }`, or nothing else.
    pub(in crate::config) fn of(value: &'t Value<'_>) -> Option<SecretSource<'t>> {
        let entries = value.get_ref().as_table().filter(|entries| entries.len() == 1)?;
        let (key, value) = entries.iter().next()?;
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("env", DeValue::String(name)) if is_variable(name) => Some(SecretSource::Env(name)),
            ("file", DeValue::String(path)) if !path.is_empty() => Some(SecretSource::File(path)),
            ("credential", DeValue::String(name)) if is_credential(name) => Some(SecretSource::Credential(name)),
            ("command", DeValue::Array(words)) if !words.is_empty() => {
                words.iter().map(|word| word.get_ref().as_str()).collect::<Option<_>>().map(SecretSource::Command)
            }
            _ => None,
        }
    }
}

/// The name of an environment variable: POSIX, section 8.1, and lower case, too.
pub(in crate::config) fn is_variable(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(legal) && !name.as_bytes()[0].is_ascii_digit()
}

/// The name of a systemd credential: that of a file, and here of nothing that could be taken for a secret.
fn is_credential(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && name.bytes().all(legal) && !matches!(name, "." | "..")
}

/// A table of the file and the tables around it.
struct Place<'p> {
    /// `None`: a table whose keys the file chooses.
    table: Option<&'static Table>,
    /// The dotted path; empty at the top level.
    title: String,
    span: Option<Range<usize>>,
    parent: Option<&'p Place<'p>>,
}

impl<'p> Place<'p> {
    fn below(&'p self, name: &str, table: Option<&'static Table>, span: Range<usize>) -> Place<'p> {
        let title = if self.title.is_empty() { name.to_owned() } else { format!("{}.{name}", self.title) };
        Place { table, title, span: Some(span), parent: Some(self) }
    }

    /// What a key of it is for; of a key that the file chose, what all of them are for.
    fn doc(&self, name: &str) -> &'static str {
        let holder = self.parent.and_then(|parent| parent.table?.key(self.title.rsplit('.').next()?));
        self.table.and_then(|table| table.key(name)).or(holder).map_or("", |key| key.doc)
    }

    /// This table and those around it, inside out.
    fn outwards(&'p self) -> impl Iterator<Item = &'p Place<'p>> {
        std::iter::successors(Some(self), |place| place.parent)
    }

    /// Whether what stands at the wrong place here may be a secret.
    fn near_secrets(&self) -> bool {
        let secrets = |place: &Place<'_>| place.table.is_some_and(|table| Shape::Table(table).holds_secrets());
        self.parent.is_none() || self.outwards().filter(|place| place.parent.is_some()).any(secrets)
    }

    /// The table as its header would be written.
    fn header(&self, text: &str) -> String {
        match &self.span {
            None => "the top level".to_owned(),
            Some(span) if is_header(text, span) => format!("`{}`", &text[span.clone()]),
            Some(_) => format!("`{}`", self.title),
        }
    }
}

struct Checker<'a> {
    text: &'a str,
    checked: Checked,
    /// Keys that were found below the table that they belong to: where that begins, and their name.
    misplaced: HashSet<(Option<usize>, &'static str)>,
    /// Every `[header]`, in the order of the file.
    headers: Vec<Range<usize>>,
}

fn find_headers(text: &str, entries: &DeTable<'_>, found: &mut Vec<Range<usize>>) {
    for value in entries.values() {
        let items = value.get_ref().as_array().map(|items| items.iter().collect()).unwrap_or_else(|| vec![value]);
        for item in items {
            let Some(below) = item.get_ref().as_table() else { continue };
            found.extend(Some(item.span()).filter(|span| is_header(text, span)));
            find_headers(text, below, found);
        }
    }
}

impl Checker<'_> {
    fn table(&mut self, place: &Place<'_>, table: &'static Table, entries: &DeTable<'_>) {
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in &entries {
            match table.key(key.get_ref()) {
                Some(known) => self.shape(place, known.name, &known.shape, value),
                None => self.unknown(place, table, key.get_ref(), key.span(), value),
            }
        }
        let present = |name: &str| entries.iter().any(|(key, _)| key.get_ref() == name);
        for key in table.keys.iter().filter(|key| key.required && !present(key.name)) {
            self.missing(place, key);
        }
        if table.one_kind {
            let kinds: Vec<_> = entries.iter().filter(|(key, _)| table.key(key.get_ref()).is_some()).collect();
            self.one_kind(place, table, entries.len(), kinds.get(1).map(|(key, _)| key.span()));
        }
    }

    fn missing(&mut self, place: &Place<'_>, key: &'static Key) {
        let start = place.span.as_ref().map(|span| span.start);
        if self.misplaced.contains(&(start, key.name)) {
            return;
        }
        let message = format!("`{}` is missing in {}", key.name, place.header(self.text));
        let hint = hints::about(key.name, hints::first_sentence(key.doc));
        self.report(Problem::new(message, place.span.clone()).hint(hint));
    }

    fn one_kind(&mut self, place: &Place<'_>, table: &Table, keys: usize, second: Option<Range<usize>>) {
        let names: Vec<String> = table.names().map(|name| format!("`[{}.{name}]`", place.title)).collect();
        if let Some(second) = second {
            let message = format!("`{}` has two kinds, and can have one", place.title);
            self.report(Problem::new(message, second).hint("give one of them another name"));
        } else if keys == 0 {
            let message = format!("`{}` says nothing of its kind", place.title);
            self.report(Problem::new(message, place.span.clone()).hint(format!("write {}", either(&names))));
        }
    }

    fn shape(&mut self, place: &Place<'_>, name: &str, shape: &Shape, value: &Value<'_>) {
        match (shape, value.get_ref()) {
            (Shape::Later(what), _) => self.later(place, name, what, value),
            (Shape::SecretOr(table), DeValue::Table(entries)) if table.is_begun(entries) => {
                self.shape(place, name, &Shape::Table(table), value);
            }
            (Shape::Secret | Shape::SecretOr(_), _) => self.secret(name, value),
            (Shape::Text(_) | Shape::Duration { .. }, DeValue::String(_)) => {}
            (Shape::Text(_) | Shape::Duration { .. }, DeValue::Table(entries)) if has_env(entries) => {
                if !matches!(SecretSource::of(value), Some(SecretSource::Env(_))) {
                    let message = format!("`{name}` is not taken from the environment in this way");
                    self.report(
                        Problem::new(message, value.span()).hint("write `{ env = \"NAME\" }`, and nothing else"),
                    );
                }
            }
            (Shape::Integer { min, max }, DeValue::Integer(number)) => {
                let number = u64::from_str_radix(number.as_str(), number.radix()).ok();
                if !number.is_some_and(|number| (*min..=*max).contains(&number)) {
                    let problem = Problem::new(format!("`{name}` is a number from {min} to {max}"), value.span());
                    self.report(problem.hint(hints::about(name, place.doc(name))));
                }
            }
            (Shape::Boolean, DeValue::Boolean(_)) | (Shape::Any, _) => {}
            (Shape::Choice(choices), _) => self.choice(place, name, choices, value),
            (Shape::List(of) | Shape::OneOrMore(of), DeValue::Array(items)) => {
                for item in items.iter() {
                    self.shape(place, name, of, item);
                }
            }
            (Shape::OneOrMore(of), _) => self.shape(place, name, of, value),
            (Shape::Table(table), DeValue::Table(entries)) => {
                self.table(&place.below(name, Some(table), value.span()), table, entries);
            }
            (Shape::Tables(table), DeValue::Array(items)) => {
                for item in items.iter() {
                    self.shape(place, name, &Shape::Table(table), item);
                }
            }
            (Shape::Map { of, .. }, DeValue::Table(entries)) => {
                self.map(&place.below(name, None, value.span()), of, entries);
            }
            (Shape::Either(shapes), found) => match shapes.iter().find(|shape| takes(shape, found)) {
                Some(shape) => self.shape(place, name, shape, value),
                None => self.wrong_type(place, name, shape, value),
            },
            _ => self.wrong_type(place, name, shape, value),
        }
    }

    fn map(&mut self, place: &Place<'_>, of: &Shape, entries: &DeTable<'_>) {
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            // A header or parameter of this name is possible, but a key of the table around was more likely meant.
            let leaf = matches!(of, Shape::Text(_));
            if leaf && self.is_misplaced(place, key.get_ref(), &key.span()) {
                continue;
            }
            self.shape(place, key.get_ref(), of, value);
        }
    }

    fn choice(&mut self, place: &Place<'_>, name: &str, choices: &[&'static str], value: &Value<'_>) {
        let word = match value.get_ref() {
            DeValue::String(word) => word.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Boolean(truth) => truth.to_string(),
            DeValue::Table(entries) if has_env(entries) => return,
            _ => String::new(),
        };
        if !choices.contains(&word.as_str()) {
            self.report(unknown_choice(name, &word, choices, place.doc(name), value.span()));
        }
    }

    fn secret(&mut self, name: &str, value: &Value<'_>) {
        if SecretSource::of(value).is_some() {
            return;
        }
        leaves(value, &mut self.checked.literals);
        let message = match value.get_ref() {
            DeValue::Table(_) => format!("`{name}` is no secret in one of its four forms"),
            _ => format!("`{name}` is a secret, and is never written into the file"),
        };
        self.report(Problem::new(message, value.span()).hint(hints::secret(name, value.get_ref())));
    }

    fn later(&mut self, place: &Place<'_>, name: &str, what: &str, value: &Value<'_>) {
        if place.near_secrets() {
            leaves(value, &mut self.checked.literals);
        }
        let message = format!("`{name}`: {what}: not yet in this version");
        self.report(Problem::new(message, value.span()).hint("it comes in a later version; remove it until then"));
    }

    fn wrong_type(&mut self, place: &Place<'_>, name: &str, shape: &Shape, value: &Value<'_>) {
        if place.near_secrets() {
            leaves(value, &mut self.checked.literals);
        }
        let found = value.get_ref().type_str();
        let article = if found.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        let message = format!("`{name}` wants {}, not {article} {found}", wanted(shape));
        let hint = hints::wrong_type(name, &place.title, place.doc(name), shape, value.get_ref());
        self.report(Problem::new(message, value.span()).hint(hint));
    }

    fn unknown(&mut self, place: &Place<'_>, table: &'static Table, name: &str, span: Range<usize>, value: &Value<'_>) {
        // Who knows what it is: a secret under a misspelt name, or a URL with a key in it.
        leaves(value, &mut self.checked.literals);
        if self.is_misplaced(place, name, &span) {
            return;
        }
        let what = if table.one_kind { "kind" } else { "key" };
        let message = match place.parent {
            Some(_) => format!("unknown {what} `{name}` in {}", place.header(self.text)),
            None => format!("unknown {what} `{name}`"),
        };
        let known: Vec<&str> = table.names().collect();
        let kind = table.keys.iter().find(|key| key.shape.table().is_some_and(|kind| kind.key(name).is_some()));
        let hint = match kind {
            Some(kind) if table.one_kind && closest(name, &known).is_none() => {
                Some(format!("it is a key of a kind: write it below `[{}.{}]`", place.title, kind.name))
            }
            _ => did_you_mean(name, known),
        };
        self.report(Problem { message, span: Some(span), hint });
    }

    /// Whether a key belongs to a table further out, and stands here because TOML gives a key to the header above it.
    fn is_misplaced(&mut self, place: &Place<'_>, name: &str, span: &Range<usize>) -> bool {
        let Some(header) = place.span.clone().filter(|header| is_header(self.text, header)) else { return false };
        let owner = place.outwards().skip(1).find_map(|outer| Some((outer, outer.table?.key(name)?)));
        let Some((owner, key)) = owner else { return false };
        let (inner, outer) = (place.header(self.text), owner.header(self.text));
        let message = format!("`{name}` is a key of {outer}, but stands in {inner}");
        let told = |header: &Range<usize>| {
            format!("above `{}` in line {}", &self.text[header.clone()], line_of(self.text, header.start))
        };
        let owners = owner.span.clone().unwrap_or(0..0);
        let hint = match self.headers.iter().find(|header| header.contains(&owners.start)) {
            Some(below) if below.start < owners.start => {
                let there = told(below);
                format!(
                    "a key belongs to the header above it: write `[{}]` {there}, and this line below it",
                    owner.title
                )
            }
            _ if owners.start > span.start && is_header(self.text, &owners) => {
                let line = line_of(self.text, owners.start);
                format!("a key belongs to the header above it: move this line down, below {outer} in line {line}")
            }
            // Below the owner's own header, before the next one, whose table it would belong to otherwise.
            _ => {
                let next = self.headers.iter().find(|next| next.start >= owners.end).unwrap_or(&header);
                format!("a key belongs to the header above it: move this line up, {}", told(next))
            }
        };
        self.misplaced.insert((owner.span.as_ref().map(|span| span.start), key.name));
        self.report(Problem::new(message, span.clone()).hint(hint));
        true
    }

    fn report(&mut self, problem: Problem) {
        self.checked.problems.push(problem);
    }
}

/// What is wrong with a word that is none of the choices of a key that is described so.
pub(in crate::config) fn unknown_choice(
    name: &str,
    word: &str,
    choices: &[&str],
    doc: &str,
    span: Range<usize>,
) -> Problem {
    let problem = Problem::new(format!("`{name}` is {}", either(choices)), span);
    match closest(word, choices) {
        Some(meant) if !word.is_empty() => problem.hint(format!("did you mean `{meant}`?")),
        _ => problem.hint(hints::about(name, doc)),
    }
}

/// Whether a table is meant as `{ env = "NAME" }`.
fn has_env(entries: &DeTable<'_>) -> bool {
    entries.contains_key("env")
}

/// Whether a value's type is one that the shape is written in.
fn takes(shape: &Shape, found: &DeValue<'_>) -> bool {
    match (shape, found) {
        (Shape::Text(_) | Shape::Choice(_), DeValue::Table(entries)) => has_env(entries),
        (Shape::Table(_) | Shape::Secret | Shape::SecretOr(_), DeValue::Table(entries)) => !has_env(entries),
        (Shape::Text(_) | Shape::Choice(_), DeValue::String(_))
        | (Shape::Integer { .. }, DeValue::Integer(_))
        | (Shape::Boolean, DeValue::Boolean(_))
        | (Shape::List(_) | Shape::Later(_), DeValue::Array(_)) => true,
        _ => false,
    }
}

fn wanted(shape: &Shape) -> String {
    match shape {
        Shape::Text(_) | Shape::Secret | Shape::SecretOr(_) => "a string".into(),
        Shape::Duration { .. } => "a duration such as \"5s\"".into(),
        Shape::Integer { .. } => "a number".into(),
        Shape::Boolean => "true or false".into(),
        Shape::Any => "a value".into(),
        Shape::Choice(choices) => either(choices),
        Shape::List(_) => "a list".into(),
        Shape::OneOrMore(of) => format!("{} or a list", wanted(of)),
        Shape::Table(_) | Shape::Map { .. } => "a table".into(),
        Shape::Tables(_) => "a list of tables".into(),
        Shape::Either(shapes) => {
            let shapes: Vec<String> =
                shapes.iter().filter(|shape| !matches!(shape, Shape::Later(_))).map(wanted).collect();
            either(&shapes)
        }
        Shape::Later(_) => "nothing yet".into(),
    }
}
