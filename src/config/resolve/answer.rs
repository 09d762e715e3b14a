//! `answer` of a credential whose token is fetched: where things are in it.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value as Json;
use toml::de::DeValue;

use super::Reading;
use super::base_url::base_urls;
use super::credential::exactly_one;
use super::fields::{Fields, Text, text};
use super::headers::header_name;
use super::known::is_value_name;
use crate::config::file::{Format, Value};
use crate::config::{AnswerPlace, AnswerShape, LifetimeFormat, LifetimeUnit, Problem, Success};

pub(super) fn answer(reading: &mut Reading<'_>, fields: &Fields<'_>) -> AnswerShape {
    let Some(answer) = fields.table("answer") else { return AnswerShape::default() };
    let [token, lifetime, refresh_token] = ["token", "lifetime", "refresh_token"].map(|key| {
        let value = answer.value(key)?;
        place(reading, key, value, answer.table(key))
    });
    let lifetime_unit = answer.choice(reading, "lifetime_unit").map(|unit| match unit {
        "milliseconds" => LifetimeUnit::Milliseconds,
        "minutes" => LifetimeUnit::Minutes,
        "hours" => LifetimeUnit::Hours,
        _ => LifetimeUnit::Seconds,
    });
    let lifetime_format = answer.text(reading, "lifetime_format");
    if let (Some(_), Some(text)) = (lifetime_unit, &lifetime_format) {
        let problem = Problem::new("`lifetime_unit` and `lifetime_format` exclude each other", text.span.clone());
        reading.problem(problem.hint("a unit is for numbers, a format for dates and H:MM:SS"));
    }
    let lifetime_format = lifetime_format.and_then(|text| match LifetimeFormat::parse(&text.value) {
        Ok(format) => Some(format),
        Err(why) => {
            let why = (format!("`lifetime_format`: {why}"), LifetimeFormat::UNDERSTOOD.to_owned());
            reading.refuse(why, &text.span)
        }
    });
    AnswerShape {
        token,
        lifetime,
        lifetime_unit,
        lifetime_format,
        lifetime_default: answer.duration(reading, "lifetime_default"),
        refresh_token,
        values: values(reading, &answer),
        values_may_lack: false,
        base_urls: base_urls(reading, &answer),
        success: answer.table("success").and_then(|fields| success(reading, &fields)),
        error: answer.text(reading, "error").and_then(|text| path(reading, "error", text)),
    }
}

/// A place for what nothing asks with.
pub(super) fn refuse_refresh_token(reading: &mut Reading<'_>, fields: &Fields<'_>, hint: &str) {
    let value = fields.table("answer").and_then(|answer| answer.value("refresh_token"));
    if let Some(value) = value {
        let problem = Problem::new("nothing is asked for with the refresh token of this answer", value.span());
        reading.problem(problem.hint(hint));
    }
}

fn values(reading: &mut Reading<'_>, answer: &Fields<'_>) -> BTreeMap<String, AnswerPlace> {
    let entries = answer.entries("values").into_iter().zip(answer.named("values"));
    let mut values = BTreeMap::new();
    for ((name, value), (_, fields)) in entries {
        if is_value_name(reading, &name)
            && let Some(place) = place(reading, &name.value, value, fields)
        {
            values.insert(name.value, place);
        }
    }
    values
}

/// A path, or a table that names another place.
fn place(reading: &mut Reading<'_>, key: &str, value: &Value<'_>, fields: Option<Fields<'_>>) -> Option<AnswerPlace> {
    let Some(fields) = fields else {
        let text = text(reading, value, Format::Plain)?;
        return path(reading, key, text).map(AnswerPlace::Path);
    };
    exactly_one(reading, &fields, &["header", "cookie", "body"])?;
    if let Some(text) = fields.text(reading, "header") {
        return header_name(reading, &text).map(AnswerPlace::Header);
    }
    if let Some(text) = fields.text(reading, "cookie") {
        return Some(AnswerPlace::Cookie(text.value));
    }
    fields.choice(reading, "body").map(|_| AnswerPlace::Body)
}

fn path(reading: &mut Reading<'_>, key: &str, text: Text) -> Option<String> {
    if text.value.split('.').any(str::is_empty) {
        let why = format!("`{key}` is a path of member names with dots between");
        return reading.refuse((why, "such as \"credentials.token\"".to_owned()), &text.span);
    }
    if text.value.contains('[') {
        let why = format!("`{key}` has its index in brackets");
        return reading.refuse((why, "write it between dots, such as \"accounts.0.token\"".to_owned()), &text.span);
    }
    Some(text.value)
}

fn success(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<Success> {
    let text = fields.text(reading, "path");
    let path = text.and_then(|text| path(reading, "path", text));
    let value = fields.value("equals")?;
    let or_absent = fields.boolean("or_absent").unwrap_or(false);
    match scalar(value) {
        Some(equals) => Some(Success { path: path?, equals, or_absent }),
        None => refuse_other(reading, &value.span()),
    }
}

fn refuse_other<T>(reading: &mut Reading<'_>, span: &Range<usize>) -> Option<T> {
    let why = ("`equals` is a text, a number, or true or false".to_owned(), "such as `equals = 0`".to_owned());
    reading.refuse(why, span)
}

/// A text, number or boolean as JSON.
pub(super) fn scalar(value: &Value<'_>) -> Option<Json> {
    match value.get_ref() {
        DeValue::String(text) => Some(Json::from(text.as_ref())),
        DeValue::Boolean(truth) => Some(Json::from(*truth)),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(Json::from),
        DeValue::Float(number) => {
            number.as_str().parse::<f64>().ok().filter(|number| number.is_finite()).map(Json::from)
        }
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
