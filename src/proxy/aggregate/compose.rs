//! The parts become one document. What it looks like depends on the declared order only.

mod node;
mod stream;
#[cfg(test)]
mod tests;

pub use stream::Stream;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::aside::{AT_ONCE_BYTES_MAX, aside};
use super::json::{Json, Kind};
use super::shape::edited;
use super::value::{self, Content, Known, Seen};
use crate::snapshot::Held;
use crate::snapshot::plan::{Aggregate, Edits, JsonValue, Layout, Part, Place};
use node::Node;

/// The member that says which parts failed.
const REPORT: &str = "_parts";

/// Whether a part's answer can stand at its place: what is merged has to have members, or be null.
pub fn fits(place: &Place, answer: &Json) -> bool {
    !matches!(place, Place::Merged(_)) || matches!(answer.kind(), Kind::Object | Kind::Null)
}

/// The whole answer, as [`composed`] makes it; what takes its time beside the worker.
pub(super) async fn compose(
    aggregate: &Arc<Aggregate>,
    known: &Known<'_>,
    report: Option<&Json>,
    mut held: Held,
) -> Option<Bytes> {
    if !takes_long(aggregate, known.parts) {
        return composed(aggregate, known, report, held);
    }
    let (plan, contents) = (aggregate.clone(), known.parts.to_vec());
    match &aggregate.layout {
        Layout::Places => {
            let report = report.cloned();
            aside(move || {
                let answer = placed(&plan, &contents, report.as_ref(), &mut held)?;
                held.count(answer)
            })
            .await
        }
        Layout::Template(template) => {
            let (parts, mut held) = aside(move || Some((shown(&plan, &contents, &mut held)?, held))).await?;
            let answer = filled(template, &Known { parts: &parts, ..*known }, report, &mut held)?;
            held.count(answer)
        }
    }
}

/// Whether others should not wait for it: large parts are opened, rather than copied as they are.
fn takes_long(aggregate: &Aggregate, contents: &[Option<Content>]) -> bool {
    let opens = |part: &Part| !part.edits.is_empty() || matches!(part.place, Place::Merged(_));
    let bytes = contents.iter().flatten().map(|content| match content {
        Content::Json(json) => json.as_bytes().len(),
        Content::Absent => 0,
    });
    (aggregate.collision.is_some() || aggregate.parts.iter().any(opens)) && bytes.sum::<usize>() > AT_ONCE_BYTES_MAX
}

/// The whole answer. `known.parts` holds what stands for each part; `report` is its last member, `_parts`.
///
/// - Without a template each part stands at its place, in declared order; one that is absent is not there, and nothing of the
///   objects that only lead to it.
/// - A template reads the parts as they are shown, after `pick`, `drop` and `rename`.
///
/// It is counted by `held`, and so is what it takes to make it. `None`: there is no room for it.
pub fn composed(aggregate: &Aggregate, known: &Known<'_>, report: Option<&Json>, mut held: Held) -> Option<Bytes> {
    let answer = match &aggregate.layout {
        Layout::Places => placed(aggregate, known.parts, report, &mut held)?,
        Layout::Template(template) => {
            let parts = shown(aggregate, known.parts, &mut held)?;
            filled(template, &Known { parts: &parts, ..*known }, report, &mut held)?
        }
    };
    held.count(answer)
}

fn placed(
    aggregate: &Aggregate,
    contents: &[Option<Content>],
    report: Option<&Json>,
    held: &mut Held,
) -> Option<Bytes> {
    let mut shown = Vec::with_capacity(contents.len());
    for (part, content) in aggregate.parts.iter().zip(contents) {
        match content {
            Some(Content::Json(json)) if part.place != Place::Hidden => {
                shown.push((part, edit_counted(json, &part.edits, held)?));
            }
            _ => {}
        }
    }
    let mut answer = Node::root(shown.len() + 1);
    for (part, json) in &shown {
        answer.add(&part.place, json.as_str(), aggregate.collision, held)?;
    }
    finished(answer, report, held)
}

/// What is made of a part is counted. `None`: there is no room for it.
fn edit_counted<'a>(json: &'a Json, edits: &Edits, held: &mut Held) -> Option<Cow<'a, Json>> {
    if edits.is_empty() {
        return Some(Cow::Borrowed(json));
    }
    let bytes = json.as_bytes().len();
    if !held.grow(bytes) {
        return None;
    }
    let edited = edited(json, edits);
    // New names may be longer.
    held.grow(edited.as_bytes().len().saturating_sub(bytes)).then_some(Cow::Owned(edited))
}

/// The parts as a template reads them.
fn shown(aggregate: &Aggregate, contents: &[Option<Content>], held: &mut Held) -> Option<Vec<Option<Content>>> {
    let mut parts = Vec::with_capacity(contents.len());
    for (part, content) in aggregate.parts.iter().zip(contents) {
        parts.push(match content {
            Some(Content::Json(json)) => Some(Content::Json(edit_counted(json, &part.edits, held)?.into_owned())),
            other => other.clone(),
        });
    }
    Some(parts)
}

fn filled(template: &JsonValue, known: &Known<'_>, report: Option<&Json>, held: &mut Held) -> Option<Bytes> {
    let seen = Seen::default();
    let known = &Known { seen: Some(&seen), ..*known };
    let answer = Json::composed(value::template(known, template, held)?);
    match report {
        Some(_) if answer.kind() == Kind::Object => finished(Node::opened(answer.as_str(), held)?, report, held),
        _ => Some(answer.into_bytes()),
    }
}

/// Written down, with the report, which nothing that a part says can take the place of.
fn finished<'a>(mut answer: Node<'a>, report: Option<&'a Json>, held: &mut Held) -> Option<Bytes> {
    if let Some(report) = report {
        answer.set(REPORT, report.as_str(), held)?;
    }
    let bytes = answer.bytes();
    if !held.grow(bytes) {
        return None;
    }
    let mut out = Vec::with_capacity(bytes);
    answer.write(&mut out);
    debug_assert_eq!(out.len(), bytes);
    Some(Bytes::from(out))
}
