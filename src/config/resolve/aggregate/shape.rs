//! What of a part's answer counts, what is changed in it, how its pages are followed, and where it goes.

use http::Method;

use super::super::Reading;
use super::super::fields::{Fields, Text, text};
use super::request::refuse_credentials_parameter;
use super::written::dotted;
use crate::config::file::Format;
use crate::config::{
    Costly, Edits, FOUND_TIMES_MAX, JsonPath, NextPage, NoJsonPath, Pages, PartRequest, Place, Problem, Target,
    Upstream,
};

const PAGES_MAX: usize = 10;

/// The path of a key.
fn path(reading: &mut Reading<'_>, key: &str, text: &Text) -> Option<Vec<String>> {
    match dotted(&text.value) {
        Ok(path) => Some(path),
        Err((message, hint)) => reading.refuse((format!("`{key}`: {message}"), hint), &text.span),
    }
}

/// `None` within: the whole answer.
pub(super) fn target(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<Option<Target>> {
    if fields.value("target").is_none() {
        return Some(None);
    }
    let text = fields.text(reading, "target")?;
    if !text.value.starts_with('$') {
        return path(reading, "target", &text).map(|path| Some(Target::Path(path)));
    }
    match JsonPath::parse(&text.value) {
        Ok(path) => Some(Some(Target::JsonPath(path))),
        Err(refused) => {
            let (why, hint) = no_json_path(refused);
            reading.refuse((why, hint.to_owned()), &text.span)
        }
    }
}

fn no_json_path(refused: NoJsonPath) -> (String, &'static str) {
    let (why, hint) = match refused {
        NoJsonPath::Invalid(position) => {
            let why = format!("`target` is no JSONPath, from character {} on", position + 1);
            return (why, "it is written as RFC 9535 says, such as \"$.orders[?@.open].id\"");
        }
        NoJsonPath::Costly(Costly::Selectors(times)) => {
            let why =
                format!("`target` could find the same value {times} times; {FOUND_TIMES_MAX} is the most that may be");
            return (why, "write fewer selectors side by side: those of all brackets are multiplied");
        }
        NoJsonPath::Costly(Costly::Descents) => (
            "`target` descends more than once, which would go through the same values again and again",
            "write `..` once, and name what lies between: \"$..lines[*].sku\" rather than \"$..lines..sku\"",
        ),
        NoJsonPath::Costly(Costly::RootInFilter) => (
            "`target` would search the whole answer for each value that its filter looks at",
            "behind a `$` in a filter write names and indices only, such as \"$.orders[?@.id == $.current.id]\"",
        ),
        NoJsonPath::Costly(Costly::Pattern) => (
            "`target` would take a regular expression from the answer",
            "write the expression itself, such as \"$[?match(@.sku, 'A-[0-9]+')]\"",
        ),
    };
    (why.to_owned(), hint)
}

pub(super) fn edits(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<Edits> {
    let pick = paths(reading, fields, "pick");
    let drop = paths(reading, fields, "drop");
    let rename: Vec<_> = fields
        .entries("rename")
        .into_iter()
        .map(|(from, to)| {
            let from = path(reading, "rename", &from);
            let to = text(reading, to, Format::Plain)?;
            if to.value.is_empty() || from.as_ref().and_then(|from| from.last()) == Some(&to.value) {
                let why = "`rename`: this is no new name".to_owned();
                return reading.refuse((why, "write the name that the member gets".to_owned()), &to.span);
            }
            Some((from?, to.value))
        })
        .collect();
    if let Some(value) = fields.value("pick").filter(|_| fields.list("pick").is_empty()) {
        let problem = Problem::new("`pick` would keep nothing", value.span());
        reading.problem(problem.hint("leave it out to keep all; `hidden = true` shows nothing of a part"));
    }
    let (pick, drop) = (pick?, drop?);
    for (path, span) in &drop {
        if pick.iter().any(|(picked, _)| picked == path) {
            let problem = Problem::new(format!("`{}` is picked and dropped", path.join(".")), span.clone());
            reading.problem(problem.hint("remove it from one of them"));
        }
    }
    let rename = rename.into_iter().collect::<Option<_>>()?;
    let paths = |paths: Vec<(Vec<String>, _)>| paths.into_iter().map(|(path, _)| path).collect();
    Some(Edits { pick: paths(pick), drop: paths(drop), rename })
}

type Spanned = (Vec<String>, std::ops::Range<usize>);

fn paths(reading: &mut Reading<'_>, fields: &Fields<'_>, key: &str) -> Option<Vec<Spanned>> {
    let texts = fields.texts(reading, key);
    let paths: Vec<_> =
        texts.iter().map(|text| path(reading, key, text).map(|path| (path, text.span.clone()))).collect();
    paths.into_iter().collect()
}

/// Where a part stands.
pub(super) fn place(reading: &mut Reading<'_>, fields: &Fields<'_>, name: &str, has_template: bool) -> Option<Place> {
    let hidden = fields.boolean("hidden").unwrap_or(false);
    let merge = fields.boolean("merge").unwrap_or(false);
    for key in ["into", "merge", "hidden"] {
        let Some(value) = fields.value(key) else { continue };
        let (why, hint) = match key {
            _ if has_template => ("the template `answer` says where every part stands", "remove it"),
            "into" | "merge" if hidden => ("a hidden part stands nowhere in the answer", "remove it, or `hidden`"),
            _ => continue,
        };
        reading.problem(Problem::new(format!("`{key}`: {why}"), value.span()).hint(hint));
    }
    let into = match fields.value("into") {
        None => None,
        Some(_) => Some(fields.text(reading, "into").and_then(|text| path(reading, "into", &text))?),
    };
    Some(match (hidden, merge) {
        (true, _) => Place::Hidden,
        (false, true) => Place::Merged(into.unwrap_or_default()),
        (false, false) => Place::At(into.unwrap_or_else(|| vec![name.to_owned()])),
    })
}

/// `None` within: there are no pages.
pub(super) fn pages(
    reading: &mut Reading<'_>,
    part: &Fields<'_>,
    request: Option<&PartRequest>,
    upstream: Option<&Upstream>,
) -> Option<Option<Pages>> {
    let Some(fields) = part.table("pages") else {
        return part.value("pages").is_none().then_some(None);
    };
    let ways: Vec<&str> =
        ["link", "next", "cursor", "number"].into_iter().filter(|key| fields.value(key).is_some()).collect();
    let [way] = ways[..] else {
        let why = "`pages` are followed in one way".to_owned();
        let hint =
            "write `link = true`, `next = \"PATH\"`, `cursor = \"PATH\"` with `parameter`, or `number = \"PARAMETER\"`";
        return reading.refuse((why, hint.to_owned()), &fields.span);
    };
    for (key, of) in [("parameter", "cursor"), ("first", "number")] {
        if let Some(value) = fields.value(key).filter(|_| way != of) {
            let problem = Problem::new(format!("`{key}` says nothing without `{of}`"), value.span());
            reading.problem(problem.hint(format!("remove it, or follow the pages by `{of}`")));
        }
    }
    if request.is_some_and(|request| request.method != Method::GET) {
        let problem = Problem::new("pages are asked for by GET", fields.span.clone());
        reading.problem(problem.hint("remove `pages`, or `method` and `body`"));
    }
    if matches!(way, "next" | "cursor") && part.value("target").is_none() {
        let problem =
            Problem::new(format!("`{way}` is a path in the answer, which is no list then"), fields.span.clone());
        reading.problem(problem.hint("say where the list of a page is, such as `target = \"items\"`"));
    }
    let next = match way {
        "link" if fields.boolean("link") == Some(false) => {
            let why = "`link = false` follows no pages".to_owned();
            return reading.refuse((why, "remove `pages`".to_owned()), &fields.span);
        }
        "link" => NextPage::Link,
        "next" => NextPage::Url(fields.text(reading, "next").and_then(|text| path(reading, "next", &text))?),
        "cursor" => {
            let cursor = fields.text(reading, "cursor").and_then(|text| path(reading, "cursor", &text));
            if fields.value("parameter").is_none() {
                let why = "`cursor` without `parameter` goes nowhere".to_owned();
                let hint = "name the query parameter that takes it: `parameter = \"cursor\"`".to_owned();
                return reading.refuse((why, hint), &fields.span);
            }
            NextPage::Cursor { path: cursor?, parameter: parameter(reading, &fields, "parameter", upstream)? }
        }
        _ => {
            let parameter = parameter(reading, &fields, "number", upstream)?;
            refuse_counted_twice(reading, &fields, request, &parameter);
            NextPage::Number { parameter, first: fields.integer("first").unwrap_or(1) }
        }
    };
    Some(Some(Pages { next, pages_max: fields.size("pages_max", PAGES_MAX) }))
}

fn parameter(reading: &mut Reading<'_>, fields: &Fields<'_>, key: &str, upstream: Option<&Upstream>) -> Option<String> {
    let text = fields.text(reading, key)?;
    if text.value.is_empty() {
        return reading.refuse((format!("`{key}` is empty"), "name a query parameter".to_owned()), &text.span);
    }
    refuse_credentials_parameter(reading, upstream, &text.value, &text.span);
    Some(text.value)
}

fn refuse_counted_twice(reading: &mut Reading<'_>, pages: &Fields<'_>, request: Option<&PartRequest>, name: &str) {
    let sets = |request: &PartRequest| request.query.iter().any(|(other, _)| other == name);
    if let Some(value) = pages.value("number").filter(|_| request.is_some_and(sets)) {
        let problem = Problem::new(format!("`pages` counts `{name}`, and the query sets it, too"), value.span());
        reading.problem(problem.hint("remove it from the query; `first` says where to begin"));
    }
}
