//! Where parts stand in the answer: collisions, what can be streamed, and what nobody gets to see.

use toml::de::DeValue;

use super::super::Reading;
use super::super::fields::Fields;
use super::order::Read;
use crate::config::{Collision, JsonValue, OnFailure, Place, Problem, Report};

/// The member that the report stands in.
const REPORT: &str = "_parts";

/// Refuses two parts in one place without a rule, and a rule for nothing.
pub(super) fn collisions(
    reading: &mut Reading<'_>,
    aggregate: &Fields<'_>,
    parts: &[Read<'_>],
    collision: Option<Collision>,
) -> Option<Collision> {
    let mut found = false;
    for (index, second) in parts.iter().enumerate() {
        let Some((at, _)) = place(second) else { continue };
        let meets =
            |first: &&Read<'_>| place(first).is_some_and(|(other, _)| at.starts_with(other) || other.starts_with(at));
        let Some(first) = parts[..index].iter().find(meets) else { continue };
        found = true;
        if collision.is_none() && aggregate.value("collision").is_none() {
            let span = second.fields.value("into").or(second.fields.value("merge")).map(|value| value.span());
            let hint = "let `into` differ, or say which one wins: `collision = \"first\"`, \"last\", \"deep\" or \
                        \"concat\" in `[routes.aggregate]`";
            let problem = Problem::new(meeting(first, second), span.unwrap_or(second.name.span.clone()));
            reading.problem(problem.hint(hint));
        }
    }
    let complete = parts.iter().all(|read| read.part.is_some());
    if let Some(value) = aggregate.value("collision").filter(|_| !found && complete) {
        let problem = Problem::new("`collision` says nothing: no two parts stand in one place", value.span());
        reading.warning(problem.hint("remove it"));
    }
    collision.filter(|_| found)
}

/// Where a part's answer begins, and whether its members stand there in place of itself.
fn place<'r>(read: &'r Read<'_>) -> Option<(&'r [String], bool)> {
    match &read.part.as_ref()?.place {
        Place::At(path) => Some((path, false)),
        Place::Merged(path) => Some((path, true)),
        Place::Hidden => None,
    }
}

fn meeting(first: &Read<'_>, second: &Read<'_>) -> String {
    let [one, two] = [first, second].map(|read| (&read.name.value, place(read).expect("both have one")));
    match [one, two] {
        [(_, (_, merged)), (_, (_, also))] if merged || also => {
            let (merged, other) = if also { (two, one) } else { (one, two) };
            format!("`{}` is merged, and a member of it may be where `{}` stands", merged.0, other.0)
        }
        [(one, (at, _)), (two, (same, _))] if at == same => {
            format!("`{one}` and `{two}` both stand at `{}`", at.join("."))
        }
        [(one, (outer, _)), (two, (inner, _))] => {
            let ((one, outer), (two, inner)) =
                if outer.len() < inner.len() { ((one, outer), (two, inner)) } else { ((two, inner), (one, outer)) };
            format!("`{two}` stands at `{}`, within `{one}` at `{}`", inner.join("."), outer.join("."))
        }
    }
}

/// What is merged has members: a list has none, whoever gives it.
pub(super) fn refuse_unmergeable(reading: &mut Reading<'_>, parts: &[Read<'_>]) {
    for read in parts.iter().filter(|read| place(read).is_some_and(|(_, merged)| merged)) {
        let merged = &read.name.value;
        let mut next = Some(read);
        // Parts may fall back on each other in a circle, which was reported.
        for _ in 0..parts.len() {
            let Some(Read { fields, part: Some(part), .. }) = next else { break };
            let list = ["for_each", "pages"].into_iter().find(|key| fields.value(key).is_some());
            let fixed = matches!(&part.on_failure, OnFailure::Value(value) if !value.is_object() && !value.is_null());
            let wrong = [list.map(|key| (key, "is a list")), fixed.then_some(("on_failure", "is no object"))];
            for (key, what) in wrong.into_iter().flatten() {
                let message = format!("`{merged}` is merged, and what `{key}` gives {what}, which has no members");
                let problem = Problem::new(message, fields.value(key).map(|value| value.span()));
                reading.problem(problem.hint(format!("remove `merge` of `{merged}`, and let `into` say its place")));
            }
            next = match part.on_failure {
                OnFailure::Part(stand_in) => parts.get(stand_in),
                _ => None,
            };
        }
    }
}

/// The report has its own place, and needs an object to stand in.
pub(super) fn refuse_place_of_report(
    reading: &mut Reading<'_>,
    aggregate: &Fields<'_>,
    parts: &[Read<'_>],
    report: Report,
) {
    let template = aggregate.value("answer").filter(|_| report == Report::Body);
    if let Some(template) = template.filter(|template| !template.get_ref().is_table()) {
        let problem =
            Problem::new(format!("the report is the member `{REPORT}`, and this is no object"), template.span());
        reading.problem(problem.hint("let the template be a table, or let `report` be \"header\""));
    }
    for read in parts.iter().filter(|_| report == Report::Body) {
        if place(read).is_some_and(|(path, _)| path.first().is_some_and(|first| first == REPORT)) {
            let span = read.fields.value("into").map_or(read.name.span.clone(), |value| value.span());
            let problem = Problem::new(format!("`{REPORT}` is where the report stands"), span);
            reading.problem(problem.hint("let `into` say another place, or let `report` be \"header\""));
        }
    }
}

/// Parts are streamed one after the other: nothing that was sent can be changed.
pub(super) fn refuse_unstreamable(
    reading: &mut Reading<'_>,
    aggregate: &Fields<'_>,
    parts: &[Read<'_>],
    report: Report,
) {
    let span = |key: &str| aggregate.value(key).map(|value| value.span());
    if let Some(answer) = span("answer") {
        let problem = Problem::new("a template cannot be streamed", answer);
        reading.problem(problem.hint("remove `stream`, or let parts stand at places of their own"));
    }
    if report == Report::Header {
        let problem = Problem::new("a header is sent before it is known which parts fail", span("report"));
        reading.problem(problem.hint("with `stream` the report stands in the body: write `report = \"body\"`"));
    }
    // The objects that the part before this one stands in: the others are closed, and cannot be opened again.
    let mut shown: Vec<&Read<'_>> = Vec::new();
    for read in parts {
        let Some((path, merged)) = place(read) else { continue };
        let open = shown.last().and_then(|last| place(last)).map_or(0, |(last, _)| common(path, last));
        let closed =
            shown.iter().copied().find(|other| place(other).is_some_and(|(other, _)| common(path, other) > open));
        shown.push(read);
        let why = match (merged, closed) {
            (true, _) => format!("`{}` is merged, which cannot be streamed", read.name.value),
            (false, Some(other)) => {
                let [one, other] = [&read.name.value, &other.name.value];
                format!(
                    "`{one}` stands in one object with `{other}`, and another part between them: that cannot be streamed"
                )
            }
            (false, None) => continue,
        };
        let at = read.fields.value("merge").or(read.fields.value("into"));
        let problem = Problem::new(why, at.map_or(read.name.span.clone(), |value| value.span()));
        reading.problem(problem.hint("remove `stream`, or let parts of one object stand one after the other"));
    }
}

/// How many names two paths have in common from their beginning on.
fn common(one: &[String], other: &[String]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// Warns of parts that are called for nothing.
pub(super) fn warn_of_unread(reading: &mut Reading<'_>, parts: &[Read<'_>], template: Option<&JsonValue>) {
    let of_template = template.map(JsonValue::references).unwrap_or_default();
    let reads = |index: usize| {
        let by_parts = parts
            .iter()
            .filter_map(|read| read.part.as_ref())
            .any(|part| part.needs.contains(&index) || part.on_failure == OnFailure::Part(index));
        by_parts || of_template.iter().any(|reference| reference.part() == Some(index))
    };
    for (index, read) in parts.iter().enumerate() {
        let shown = template.is_none() && place(read).is_some();
        if read.part.is_none() || shown || reads(index) {
            continue;
        }
        let (what, hint) = match read.fields.value("hidden").map(|value| value.get_ref()) {
            Some(DeValue::Boolean(true)) => {
                ("is hidden, and no part reads it", "remove `hidden`, or read it in another part")
            }
            _ => ("is called, but nothing reads it", "write it into `answer`, or remove it"),
        };
        let problem = Problem::new(format!("the part `{}` {what}", read.name.value), read.name.span.clone());
        reading.warning(problem.hint(hint));
    }
}
