//! Which statuses are a success, and what a part's failure means.

use http::StatusCode;
use toml::de::DeValue;

use super::super::Reading;
use super::super::fields::{Fields, integer, text};
use super::scope::{Scope, fixed};
use crate::config::file::{Format, unknown_choice};
use crate::config::problem::did_you_mean;
use crate::config::{FailStatus, OnFailure, StatusRange};

const WORDS: [&str; 3] = ["fail", "null", "omit"];
const SUCCESS: StatusRange = StatusRange { first: 200, last: 299 };

pub(super) fn success(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<Vec<StatusRange>> {
    let Some(value) = fields.value("success") else { return Some(vec![SUCCESS]) };
    if fields.list("success").is_empty() {
        let why = ("no answer would be a success".to_owned(), "leave `success` out for [\"2xx\"]".to_owned());
        return reading.refuse(why, &value.span());
    }
    let range = |item| {
        if let Some(status) = integer(item) {
            let status = u16::try_from(status).ok().filter(|status| (200..=599).contains(status))?;
            return Some(StatusRange { first: status, last: status });
        }
        let text = text(reading, item, Format::Plain)?;
        let class = text.value.to_ascii_lowercase().strip_suffix("xx").and_then(|class| class.parse::<u16>().ok());
        if let Some(class @ 2..=5) = class {
            return Some(StatusRange { first: class * 100, last: class * 100 + 99 });
        }
        if let Ok(status @ 200..=599) = text.value.parse() {
            return Some(StatusRange { first: status, last: status });
        }
        let why = format!("`{}` is no status", text.value.escape_debug());
        reading.refuse((why, "write such as \"2xx\" or 404".to_owned()), &text.span)
    };
    let ranges: Vec<_> = fields.list("success").into_iter().map(range).collect();
    ranges.into_iter().collect()
}

/// `own`: the part's name.
pub(super) fn on_failure(
    reading: &mut Reading<'_>,
    scope: &Scope<'_>,
    own: &str,
    fields: &Fields<'_>,
) -> Option<OnFailure> {
    let Some(value) = fields.value("on_failure") else { return Some(OnFailure::Fail(FailStatus::Default)) };
    if let Some(table) = fields.table("on_failure") {
        return in_table(reading, scope, own, &table);
    }
    let text = fields.text(reading, "on_failure")?;
    match text.value.as_str() {
        "fail" => Some(OnFailure::Fail(FailStatus::Default)),
        "null" => Some(OnFailure::Null),
        "omit" => Some(OnFailure::Omit),
        other => {
            // What the file says itself was checked before.
            if !text.in_file {
                reading.problem(unknown_choice("on_failure", other, &WORDS, "or a table", value.span()));
            }
            None
        }
    }
}

fn in_table(reading: &mut Reading<'_>, scope: &Scope<'_>, own: &str, fields: &Fields<'_>) -> Option<OnFailure> {
    let given: Vec<&str> = ["value", "part", "status"].into_iter().filter(|key| fields.value(key).is_some()).collect();
    let [key] = given[..] else {
        let why = "`on_failure` says one thing".to_owned();
        let hint =
            "write `{ value = … }`, `{ part = \"NAME\" }` or `{ status = … }`, or \"fail\", \"null\" or \"omit\"";
        return reading.refuse((why, hint.to_owned()), &fields.span);
    };
    let value = fields.value(key)?;
    match (key, value.get_ref()) {
        ("value", _) => fixed(reading, "value", value).map(OnFailure::Value),
        ("part", _) => {
            let text = fields.text(reading, "part")?;
            let part = scope.part(&text.value).map(OnFailure::Part);
            part.or_else(|| {
                let others = scope.parts.iter().map(|part| part.value.as_str()).filter(|name| *name != own);
                let hint = did_you_mean(&text.value, others);
                let why = format!("there is no part `{}`", text.value.escape_debug());
                let hint = hint.unwrap_or_else(|| "write a part of this name".to_owned());
                reading.refuse((why, hint), &text.span)
            })
        }
        (_, DeValue::Integer(_)) => {
            // What lies outside of 400 to 599 was reported before.
            let status = integer(value).and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok())?;
            if FailStatus::may_be(status) {
                return Some(OnFailure::Fail(FailStatus::Fixed(status)));
            }
            let what = match status {
                StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED => "its own credential is refused",
                StatusCode::METHOD_NOT_ALLOWED => "the route does not take its method",
                StatusCode::UPGRADE_REQUIRED => "it has to speak another protocol",
                _ => return None,
            };
            let why = format!("{} would tell the client that {what}", status.as_u16());
            reading.refuse((why, "write such as 403, 404, 502 or 503".to_owned()), &value.span())
        }
        _ => {
            let text = fields.text(reading, "status")?;
            if text.value == "own" {
                return Some(OnFailure::Fail(FailStatus::Own));
            }
            let why = "`status` is a number from 400 to 599, or \"own\"".to_owned();
            reading.refuse((why, "\"own\" is the status of the part's answer".to_owned()), &text.span)
        }
    }
}
