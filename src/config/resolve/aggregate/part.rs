//! `[routes.aggregate.parts.NAME]`: one call.

use std::time::Duration;

use super::super::fields::{Fields, Text};
use super::super::named::Named;
use super::super::{Reading, upstream};
use super::scope::{Here, Needed, Scope, fixed};
use super::{failure, request, shape};
use crate::config::file::Value;
use crate::config::{Condition, ForEach, NoOperation, Part, PartRequest, Problem, Reference, Upstream};

const BYTES_MAX: usize = 4 * 1024 * 1024;
const CONCURRENCY: usize = 8;
const ITEMS_MAX: usize = 100;

/// What the parts of an aggregate have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Common<'a> {
    pub scope: &'a Scope<'a>,
    pub upstreams: &'a Named<Upstream>,
    pub deadline: Duration,
    pub has_template: bool,
}

/// A part whose `needs` are not known yet.
pub(super) fn part(reading: &mut Reading<'_>, common: Common<'_>, name: &Text, fields: &Fields<'_>) -> Option<Part> {
    let upstream = fields.text(reading, "upstream").and_then(|name| common.upstreams.find(reading, &name));
    let all = Here { scope: common.scope, each: false };
    let here = Here { scope: common.scope, each: fields.value("for_each").is_some() };
    let request = request::request(reading, here, fields, upstream.as_deref());
    if let (Some(request), Some(upstream)) = (&request, &upstream) {
        hold_to_openapi(reading, fields, request, upstream);
    }
    let when = when(reading, all, fields);
    let for_each = for_each(reading, all, fields);
    let pages = shape::pages(reading, fields, request.as_ref(), upstream.as_deref());
    let timeout = timeout(reading, fields, upstream.as_deref(), common.deadline);
    let retries = fields.size("retries", 0) as u32;
    if let (Some(value), Some(request)) = (fields.value("retries"), &request)
        && retries > 0
        && !request.method.is_idempotent()
    {
        let problem = Problem::new(format!("{} is not repeated: it might be done twice", request.method), value.span());
        reading.problem(problem.hint("remove `retries`; an idempotent method can have them"));
    }
    let success = failure::success(reading, fields);
    let on_failure = failure::on_failure(reading, common.scope, &name.value, fields);
    let target = shape::target(reading, fields);
    let edits = shape::edits(reading, fields);
    let place = shape::place(reading, fields, &name.value, common.has_template);
    Some(Part {
        name: name.value.as_str().into(),
        upstream: upstream?,
        request: request?,
        needs: Vec::new(),
        when: when?,
        for_each: for_each?,
        pages: pages?,
        timeout,
        retries,
        success: success?,
        bytes_max: fields.size("bytes_max", BYTES_MAX),
        on_failure: on_failure?,
        target: target?,
        edits: edits?,
        place: place?,
    })
}

/// What an upstream does not have cannot be called, if it says what it has.
fn hold_to_openapi(reading: &mut Reading<'_>, fields: &Fields<'_>, request: &PartRequest, upstream: &Upstream) {
    let Some(openapi) = &upstream.openapi else { return };
    if let Err(NoOperation { message, hint }) = openapi.operation(&request.method, upstream.url.path(), &request.path) {
        let span = fields.value("path").map(|path| path.span());
        reading.problem(Problem::new(format!("{message} (`openapi` of `{}`)", upstream.name), span).hint(hint));
    }
}

/// Never longer than all may take.
fn timeout(
    reading: &mut Reading<'_>,
    fields: &Fields<'_>,
    upstream: Option<&Upstream>,
    deadline: Duration,
) -> Duration {
    let given = fields.duration(reading, "timeout");
    if let (Some(given), Some(value)) = (given, fields.value("timeout"))
        && given > deadline
    {
        let message = format!("this `timeout` is longer than the aggregate's `deadline`, {deadline:?}");
        reading.warning(Problem::new(message, value.span()).hint("let one be shorter, or the other longer"));
    }
    let default = upstream.map_or(upstream::DEFAULT_TIMEOUTS.first_byte, |upstream| upstream.timeouts.first_byte);
    given.unwrap_or(default).min(deadline)
}

/// `None` within: it is called always.
fn when(reading: &mut Reading<'_>, here: Here<'_>, part: &Fields<'_>) -> Option<Option<Condition>> {
    let Some(value) = part.value("when") else { return Some(None) };
    let Some(fields) = part.table("when") else {
        let text = part.text(reading, "when")?;
        return here.alone(reading, "when", &text, Needed::Always).map(|reference| Some(Condition::Holds(reference)));
    };
    let reference = fields.text(reading, "value").and_then(|text| here.alone(reading, "value", &text, Needed::Always));
    let condition = match (fields.value("equals"), fields.value("not_equals")) {
        (Some(equals), None) => {
            let wanted = one_or_more(reading, "equals", equals)?;
            let reference = reference?;
            refuse_other_types(reading, "equals", &reference, &wanted, equals);
            Condition::OneOf(reference, wanted)
        }
        (None, Some(differs)) => {
            let unwanted = one_or_more(reading, "not_equals", differs)?;
            let reference = reference?;
            refuse_other_types(reading, "not_equals", &reference, &unwanted, differs);
            Condition::NoneOf(reference, unwanted)
        }
        (None, None) => {
            let hint = "write `equals = …`; whether a value is there at all is `when = \"{profile.id}\"`".to_owned();
            return reading.refuse(("`when` compares with nothing".to_owned(), hint), &value.span());
        }
        (Some(_), Some(second)) => {
            let why = "`equals` and `not_equals` exclude each other".to_owned();
            return reading.refuse((why, "remove one of them".to_owned()), &second.span());
        }
    };
    Some(Some(condition))
}

/// What comes from a path, a query, a header or a client's name is a text, and equals nothing else.
fn refuse_other_types(
    reading: &mut Reading<'_>,
    key: &str,
    reference: &Reference,
    values: &[serde_json::Value],
    value: &Value<'_>,
) {
    let other = values.iter().find(|value| !value.is_string()).filter(|_| !reference.source.may_hold_lists());
    if let Some(other) = other {
        let message = format!("`{key}`: `{{{}}}` is always a text, and {other} is none", reference.text);
        reading.problem(Problem::new(message, value.span()).hint("write it in quotes"));
    }
}

/// Values to compare with: a list holds several.
fn one_or_more(reading: &mut Reading<'_>, key: &str, value: &Value<'_>) -> Option<Vec<serde_json::Value>> {
    let values = match fixed(reading, key, value)? {
        serde_json::Value::Array(values) => values,
        value => vec![value],
    };
    if values.is_empty() || values.iter().any(|value| value.is_array() || value.is_object()) {
        let why = format!("`{key}` is a text, a number, true or false, or a list of them");
        return reading
            .refuse((why, "write such as \"company\" or [\"company\", \"person\"]".to_owned()), &value.span());
    }
    Some(values)
}

/// `None` within: there is one call.
fn for_each(reading: &mut Reading<'_>, here: Here<'_>, fields: &Fields<'_>) -> Option<Option<ForEach>> {
    if fields.value("for_each").is_none() {
        for key in ["concurrency", "items_max"] {
            if let Some(value) = fields.value(key) {
                let problem = Problem::new(format!("`{key}` says nothing without `for_each`"), value.span());
                reading.problem(problem.hint("remove it: one part is one call"));
            }
        }
        return Some(None);
    }
    let text = fields.text(reading, "for_each")?;
    let items = here.alone(reading, "for_each", &text, Needed::Maybe)?;
    if !items.source.may_hold_lists() {
        let why = format!("`for_each`: `{}` is a text, and no list", text.value);
        return reading.refuse((why, "lists come from parts and from `request`".to_owned()), &text.span);
    }
    Some(Some(ForEach {
        items,
        concurrency: fields.size("concurrency", CONCURRENCY),
        items_max: fields.size("items_max", ITEMS_MAX),
    }))
}
