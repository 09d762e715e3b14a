//! `[routes.aggregate]`: several upstreams are called, and one JSON document is composed of their answers.

mod failure;
mod order;
mod part;
mod places;
mod request;
mod scope;
mod shape;
mod written;

use std::time::Duration;

use super::Reading;
use super::fields::{Fields, Text};
use super::named::Named;
use crate::config::{Aggregate, Collision, Layout, PathPattern, Problem, Report, Upstream, ValueSource};
use order::Read;
use part::Common;
use scope::{Here, Needed, RESERVED, Scope};

const DEADLINE: Duration = Duration::from_secs(30);
const PARTS_MAX: usize = 32;
const PART_NAME_BYTES_MAX: usize = 64;

/// Keys of a route that say nothing of an aggregate, and what does.
const KEYS_OF_FORWARDING: [(&str, &str); 5] = [
    ("upstream_path", "each part has its own `path`"),
    ("request_headers", "parts have `headers`, and send nothing of the client's by themselves"),
    ("cookies", "parts send none of the client's cookies"),
    ("redact_bodies", "the answers of parts are always scanned for the secret"),
    ("timeouts", "parts have `timeout`, and upstreams have `timeouts`"),
];

/// `anyone`: no client is known. `None`: it has a problem, which was reported.
pub(super) fn aggregate(
    reading: &mut Reading<'_>,
    route: &Fields<'_>,
    path: Option<&PathPattern>,
    anyone: bool,
    upstreams: &Named<Upstream>,
) -> Option<Aggregate> {
    refuse_keys_of_forwarding(reading, route);
    let fields = route.table("aggregate")?;
    let named = fields.named("parts");
    let credentials = upstreams.iter().filter_map(|(_, upstream)| upstream.credential.as_ref());
    let subject_headers = credentials.filter_map(|credential| Some(&credential.subject_header()?.name)).collect();
    let scope = Scope { path, anyone, subject_headers, parts: named.iter().map(|(name, _)| name).collect() };
    refuse_names(reading, &scope, &fields);
    let deadline = fields.duration(reading, "deadline").unwrap_or(DEADLINE);
    let here = Here { scope: &scope, each: false };
    let template = match fields.value("answer") {
        None => Some(None),
        Some(value) => here.json(reading, "answer", value, Needed::Always).map(Some),
    };
    let has_template = fields.value("answer").is_some();
    let common = Common { scope: &scope, upstreams, deadline, has_template };
    let mut parts = Vec::with_capacity(named.len());
    for (name, fields) in named.iter().filter_map(|(name, fields)| Some((name, fields.as_ref()?))) {
        parts.push(Read { name, fields, part: part::part(reading, common, name, fields) });
    }
    // A part that is no table was reported, and shifts the indices of the others.
    if parts.len() < named.len() {
        return None;
    }
    let template_read = template.as_ref().and_then(Option::as_ref);
    order::order(reading, &mut parts, template_read);
    let stream = fields.boolean("stream").unwrap_or(false);
    let report = match fields.choice(reading, "report") {
        Some("body") => Report::Body,
        Some(_) => Report::Header,
        None if stream => Report::Body,
        None => Report::Header,
    };
    places::refuse_place_of_report(reading, &fields, &parts, report);
    if stream {
        places::refuse_unstreamable(reading, &fields, &parts, report);
    }
    places::refuse_unmergeable(reading, &parts);
    let collision = collision(reading, &fields, &parts);
    places::warn_of_unread(reading, &parts, template_read);
    let layout = template?.map_or(Layout::Places, Layout::Template);
    let parts = parts.into_iter().map(|read| read.part).collect::<Option<Vec<_>>>()?;
    let mut aggregate = Aggregate { parts, layout, collision, deadline, report, stream, reads_request: false };
    aggregate.reads_request = aggregate.references().iter().any(|reference| reference.source == ValueSource::Request);
    (!aggregate.parts.is_empty()).then_some(aggregate)
}

/// Warns of parts that may have larger answers than there is room for.
pub(super) fn warn_of_memory(reading: &mut Reading<'_>, root: &Fields<'_>, memory: usize) {
    for aggregate in root.tables("routes").iter().filter_map(|route| route.table("aggregate")) {
        for fields in aggregate.named("parts").into_iter().filter_map(|(_, fields)| fields) {
            if let Some(value) = fields.value("bytes_max").filter(|_| fields.size("bytes_max", 0) > memory) {
                let message = format!("all aggregates together may hold {memory} bytes, and this part's answer more");
                let problem = Problem::new(message, value.span());
                reading.warning(problem.hint("lower it, or raise `server.limits.aggregate_memory_bytes_max`"));
            }
        }
    }
}

fn refuse_keys_of_forwarding(reading: &mut Reading<'_>, route: &Fields<'_>) {
    for (key, hint) in KEYS_OF_FORWARDING {
        if let Some(value) = route.value(key) {
            let problem = Problem::new(format!("`{key}` says nothing of an aggregate"), value.span());
            reading.problem(problem.hint(format!("remove it: {hint}")));
        }
    }
}

/// Parts are named in placeholders, logs, metrics and a header of the answer.
fn refuse_names(reading: &mut Reading<'_>, scope: &Scope<'_>, aggregate: &Fields<'_>) {
    if let Some(value) = aggregate.value("parts").filter(|_| scope.parts.is_empty()) {
        let problem = Problem::new("an aggregate has at least one part", value.span());
        reading.problem(problem.hint("write `[routes.aggregate.parts.NAME]` with `upstream` and `path`"));
    }
    if let Some(name) = scope.parts.get(PARTS_MAX) {
        let problem = Problem::new(format!("an aggregate has at most {PARTS_MAX} parts"), name.span.clone());
        reading.problem(problem.hint("let several routes share them, or use `for_each`"));
    }
    for Text { value: name, span, .. } in &scope.parts {
        let (why, hint) = match name.as_str() {
            name if !is_part_name(name) => (
                "the name of a part begins with a letter, and is made of letters, digits, `_` and `-`".to_owned(),
                format!("and is at most {PART_NAME_BYTES_MAX} bytes long; `into` says how it is called in the answer"),
            ),
            name if RESERVED.contains(&name) => {
                (format!("`{{{name}}}` means something else already"), "give the part another name".to_owned())
            }
            name if scope.is_parameter(name) => (
                format!("`{name}` is the name of a part and of a placeholder of the route's path"),
                "give one of them another name".to_owned(),
            ),
            _ => continue,
        };
        reading.problem(Problem::new(why, span.clone()).hint(hint));
    }
}

fn is_part_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    name.len() <= PART_NAME_BYTES_MAX
        && name.bytes().all(legal)
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
}

fn collision(reading: &mut Reading<'_>, fields: &Fields<'_>, parts: &[Read<'_>]) -> Option<Collision> {
    let rule = fields.choice(reading, "collision").map(|word| match word {
        "first" => Collision::First,
        "deep" => Collision::Deep,
        "concat" => Collision::Concat,
        _ => Collision::Last,
    });
    if fields.value("answer").is_none() {
        return places::collisions(reading, fields, parts, rule);
    }
    if let Some(value) = fields.value("collision") {
        let problem = Problem::new("`collision` says nothing beside the template `answer`", value.span());
        reading.problem(problem.hint("remove it: the template says where every part stands"));
    }
    None
}
