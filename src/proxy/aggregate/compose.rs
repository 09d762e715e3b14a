//! The parts become one document. What it looks like depends on the declared order only.

mod place;
mod stream;
#[cfg(test)]
mod tests;

pub use stream::Stream;

use std::borrow::Cow;

use bytes::Bytes;

use super::json::{Json, Kind};
use super::shape::edited;
use super::value::{self, Content, Known, Unfilled};
use crate::snapshot::plan::{Aggregate, Edits, JsonValue, Layout, Part, Place};
use place::Node;

/// The member that says which parts failed.
const REPORT: &str = "_parts";

/// Whether a part's answer can stand at its place: what is merged has to have members, or be null.
pub fn fits(place: &Place, answer: &Json) -> bool {
    !matches!(place, Place::Merged(_)) || matches!(answer.kind(), Kind::Object | Kind::Null)
}

/// The whole answer. `known.parts` holds what stands for each part; `report` is its last member, `_parts`.
///
/// - Without a template each part stands at its place, in declared order; one that is absent is not there, and nothing of the
///   objects that only lead to it.
/// - A template reads the parts as they are shown, after `pick`, `drop` and `rename`.
///
/// # Errors
/// If a placeholder of the template has no value.
pub fn composed(aggregate: &Aggregate, known: &Known<'_>, report: Option<&Json>) -> Result<Bytes, Unfilled> {
    match &aggregate.layout {
        Layout::Places => Ok(placed(aggregate, known.parts, report)),
        Layout::Template(template) => filled(aggregate, template, known, report),
    }
}

fn placed(aggregate: &Aggregate, contents: &[Option<Content>], report: Option<&Json>) -> Bytes {
    let shown: Vec<_> =
        aggregate.parts.iter().zip(contents).filter_map(|(part, content)| shown(part, content)).collect();
    let mut answer = Node::root(shown.len() + 1);
    for (part, json) in &shown {
        answer.add(&part.place, json.as_str(), aggregate.collision);
    }
    finished(answer, report)
}

/// What of a part is shown, if it is there.
fn shown<'a>(part: &'a Part, content: &'a Option<Content>) -> Option<(&'a Part, Cow<'a, Json>)> {
    match content {
        Some(Content::Json(json)) if part.place != Place::Hidden => Some((part, edit(json, &part.edits))),
        _ => None,
    }
}

fn edit<'a>(json: &'a Json, edits: &Edits) -> Cow<'a, Json> {
    if edits.is_empty() { Cow::Borrowed(json) } else { Cow::Owned(edited(json, edits)) }
}

fn filled(
    aggregate: &Aggregate,
    template: &JsonValue,
    known: &Known<'_>,
    report: Option<&Json>,
) -> Result<Bytes, Unfilled> {
    let edits = |(part, content): (&Part, &Option<Content>)| match content {
        Some(Content::Json(json)) => Some(Content::Json(edit(json, &part.edits).into_owned())),
        other => other.clone(),
    };
    let parts: Vec<_> = aggregate.parts.iter().zip(known.parts).map(edits).collect();
    let known = Known { parts: &parts, ..*known };
    let answer = Json::composed(value::json(&known, template)?.unwrap_or_else(|| b"null".to_vec()));
    match report {
        Some(_) if answer.kind() == Kind::Object => Ok(finished(Node::opened(answer.as_str()), report)),
        _ => Ok(answer.into_bytes()),
    }
}

/// Written down, with the report, which nothing that a part says can take the place of.
fn finished<'a>(mut answer: Node<'a>, report: Option<&'a Json>) -> Bytes {
    if let Some(report) = report {
        answer.set(REPORT, report.as_str());
    }
    let bytes = answer.bytes();
    let mut out = Vec::with_capacity(bytes);
    answer.write(&mut out);
    debug_assert_eq!(out.len(), bytes);
    Bytes::from(out)
}
