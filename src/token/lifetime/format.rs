//! Times in words: ISO 8601, and the formats that a configuration declares.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::Says;
use crate::config::{LifetimeFormat, TimeField, TimePiece};

/// The fields of a declared format as they were read from a text.
#[derive(Debug, Default)]
struct Fields {
    years: i64,
    months: i64,
    days: i64,
    hours: i64,
    minutes: i64,
    seconds: i64,
    afternoon: Option<bool>,
    offset_seconds: i64,
}

/// Seconds since 1970 of an ISO 8601 date and time; without an offset it is UTC.
pub(super) fn iso_8601(text: &str) -> Option<f64> {
    let timestamp = match text.parse::<jiff::Timestamp>() {
        Ok(timestamp) => timestamp,
        Err(_) => text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    Some(timestamp.as_millisecond() as f64 / 1000.0)
}

/// Reads a text in a declared format. `None` if it does not match: it may then still be a plain number.
pub(super) fn parse(format: &LifetimeFormat, text: &str) -> Option<Says> {
    let fields = fields(format, text)?;
    if format.is_duration {
        let minutes = (fields.days * 24 + fields.hours).checked_mul(60)?.checked_add(fields.minutes)?;
        return Some(Says::Relative(minutes.checked_mul(60)?.checked_add(fields.seconds)? as f64));
    }
    date(&fields).map(Says::Absolute)
}

/// Walks format and text side by side.
fn fields(format: &LifetimeFormat, text: &str) -> Option<Fields> {
    let mut fields = Fields::default();
    let mut text = text;
    for piece in &format.pieces {
        text = match piece {
            TimePiece::Field(field) => {
                let (value, rest) = digits(text, digits_max(*field, format.is_duration))?;
                *fields.of(*field) = value;
                rest
            }
            TimePiece::HalfDay => half_day(text, &mut fields),
            TimePiece::Offset => offset(text, &mut fields)?,
            TimePiece::Spaces => text.trim_start(),
            TimePiece::Literal(letter) => text.strip_prefix(*letter)?,
        };
    }
    text.is_empty().then_some(fields)
}

fn digits_max(field: TimeField, is_duration: bool) -> usize {
    match field {
        _ if is_duration => 9,
        TimeField::Years => 4,
        _ => 2,
    }
}

impl Fields {
    fn of(&mut self, field: TimeField) -> &mut i64 {
        match field {
            TimeField::Years => &mut self.years,
            TimeField::Months => &mut self.months,
            TimeField::Days => &mut self.days,
            TimeField::Hours => &mut self.hours,
            TimeField::Minutes => &mut self.minutes,
            TimeField::Seconds => &mut self.seconds,
        }
    }
}

fn digits(text: &str, digits_max: usize) -> Option<(i64, &str)> {
    let length = text.bytes().take(digits_max).take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(length);
    Some((digits.parse().ok()?, rest))
}

/// `AM` or `PM` in any case, if it is there.
fn half_day<'a>(text: &'a str, fields: &mut Fields) -> &'a str {
    let Some((half, rest)) = text.split_at_checked(2) else { return text };
    if half.eq_ignore_ascii_case("AM") || half.eq_ignore_ascii_case("PM") {
        fields.afternoon = Some(half.eq_ignore_ascii_case("PM"));
        return rest;
    }
    text
}

fn offset<'a>(text: &'a str, fields: &mut Fields) -> Option<&'a str> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Some(rest);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let (hours, rest) = digits(rest, 2)?;
    let (minutes, rest) = digits(rest.strip_prefix(':').unwrap_or(rest), 2)?;
    fields.offset_seconds = sign * (hours * 3600 + minutes * 60);
    Some(rest)
}

fn date(fields: &Fields) -> Option<f64> {
    let hour = match fields.afternoon {
        // Twelve is the zeroth hour of its half.
        Some(afternoon) if (1..=12).contains(&fields.hours) => fields.hours % 12 + if afternoon { 12 } else { 0 },
        Some(_) => return None,
        None => fields.hours,
    };
    let date = DateTime::new(
        i16::try_from(fields.years).ok()?,
        i8::try_from(fields.months).ok()?,
        i8::try_from(fields.days).ok()?,
        i8::try_from(hour).ok()?,
        i8::try_from(fields.minutes).ok()?,
        i8::try_from(fields.seconds).ok()?,
        0,
    )
    .ok()?;
    let offset = Offset::from_seconds(i32::try_from(fields.offset_seconds).ok()?).ok()?;
    Some(date.to_zoned(TimeZone::fixed(offset)).ok()?.timestamp().as_second() as f64)
}
