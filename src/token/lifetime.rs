//! How long a token lives, read from whatever the answer says (TL-10 to TL-13). Pure: time is an argument.

mod format;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::config::{AnswerPlace, AnswerShape, LifetimeUnit};

/// No lifetime is longer: what a server calls more is "for ever", and arithmetic on it stays far from overflow.
pub const LIFETIME_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A `Date` header further than this from the local clock says more about the server than about the time.
const DATE_SKEW_MAX: Duration = Duration::from_secs(24 * 3600);

/// Where a lifetime is looked for unasked. `ext_*`, `refresh_*` and `issued_at` are about something else.
const MEMBERS: [&str; 8] = [
    "expires_in",
    "expires_on",
    "expires_at",
    "expires",
    "expire",
    "expiresIn",
    "expiresAt",
    "access_token_expiration",
];

/// What one place in the answer says, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Says {
    /// From the answer on.
    Relative(f64),
    /// Since 1970.
    Absolute(f64),
}

/// The lifetime that a token answer names: L of the docs, counted from the instant before the request was sent.
///
/// `answer` is the answer's JSON (members of a form-encoded one as strings), `token` the access token itself, whose
/// `exp` counts if it is a JWT (RFC 7519 section 4.1.4; the signature is the resource server's affair), `date` the
/// answer's `Date` header, `wall` the local clock (TL-12).
///
/// `None`: the answer names none (TL-13). `Some(ZERO)`: it names only times that are over, so the token cannot be cached
/// (TL-14). At most [`LIFETIME_MAX`].
pub fn lifetime(
    answer: &Value,
    shape: &AnswerShape,
    token: &str,
    date: Option<SystemTime>,
    wall: SystemTime,
) -> Option<Duration> {
    decisive(answer, shape, token, date, wall).map(|(_, life)| life)
}

/// The same, with the name of the member that decided it; `exp` is the token's own.
pub fn decisive<'a>(
    answer: &Value,
    shape: &'a AnswerShape,
    token: &str,
    date: Option<SystemTime>,
    wall: SystemTime,
) -> Option<(&'a str, Duration)> {
    let reference = seconds_since_epoch(reference(date, wall));
    let mut said = declared(answer, shape);
    if said.is_empty() {
        said = unasked(answer, shape);
    }
    said.extend(jwt_exp(token).map(|says| ("exp", says)));
    let remaining = said.into_iter().map(|(name, says)| match says {
        Says::Relative(seconds) => (name, seconds),
        Says::Absolute(seconds) => (name, seconds - reference),
    });
    smallest_positive(remaining)
}

/// The server's wish when to refresh, relative to the answer (`refresh_in`, as Microsoft's endpoints send it).
pub fn refresh_in(answer: &Value) -> Option<Duration> {
    let seconds = number(answer.get("refresh_in")?)?;
    (seconds > 0.0).then(|| duration(seconds))
}

/// The moment that absolute times are measured against: the answer's own `Date`, so that a local clock that is off
/// shortens no token (TL-12).
fn reference(date: Option<SystemTime>, wall: SystemTime) -> SystemTime {
    let Some(date) = date else { return wall };
    let skew = date.duration_since(wall).unwrap_or_else(|earlier| earlier.duration());
    if skew > DATE_SKEW_MAX { wall } else { date }
}

/// What the declared place says. It stands in place of the unasked members, which may use other units.
fn declared<'a>(answer: &Value, shape: &'a AnswerShape) -> Vec<(&'a str, Says)> {
    let Some(AnswerPlace::Path(path)) = &shape.lifetime else { return Vec::new() };
    let relative = path == "expires_in" || path.ends_with(".expires_in");
    let says = at_path(answer, path).and_then(|value| read(value, shape, relative));
    says.map(|says| (path.as_str(), says)).into_iter().collect()
}

/// What the members beside the token say, and if there are none, those at the top.
fn unasked(answer: &Value, shape: &AnswerShape) -> Vec<(&'static str, Says)> {
    let beside = match &shape.token {
        Some(AnswerPlace::Path(path)) => path.rsplit_once('.').map(|(parent, _)| parent),
        _ => None,
    };
    let read_in = |object: &Value| -> Vec<(&'static str, Says)> {
        let member = |name: &&'static str| Some((*name, read(object.get(*name)?, shape, *name == "expires_in")?));
        MEMBERS.iter().filter_map(member).collect()
    };
    let said = beside.and_then(|path| at_path(answer, path)).map(read_in).unwrap_or_default();
    if said.is_empty() { read_in(answer) } else { said }
}

/// What stands at a path of dotted member names and indices.
pub fn at_path<'a>(answer: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(answer, |value, name| match value {
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => value.get(name),
    })
}

/// What one member says (TL-11). `relative`: it is `expires_in`, whose number is never an absolute time.
fn read(value: &Value, shape: &AnswerShape, relative: bool) -> Option<Says> {
    if let Some(format) = &shape.lifetime_format
        && let Value::String(text) = value
        && let Some(says) = format::parse(format, text.trim())
    {
        return Some(says);
    }
    if let Some(number) = number(value) {
        return Some(match shape.lifetime_unit {
            Some(unit) => Says::Relative(number * seconds_per(unit)),
            None if relative => Says::Relative(number),
            None => by_magnitude(number),
        });
    }
    format::iso_8601(value.as_str()?.trim()).map(Says::Absolute)
}

/// A number whose meaning nobody declared: seconds from now, epoch seconds or epoch milliseconds, by its size (TL-11).
fn by_magnitude(number: f64) -> Says {
    if number < 1e9 {
        Says::Relative(number)
    } else if number < 1e11 {
        Says::Absolute(number)
    } else {
        Says::Absolute(number / 1000.0)
    }
}

/// A number, a numeric string or a float. NaN and infinity are none.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

fn jwt_exp(token: &str) -> Option<Says> {
    jwt_exp_number(token).map(by_magnitude)
}

/// The `exp` of a token that is a JWT. An encrypted one (five parts) shows none.
fn jwt_exp_number(token: &str) -> Option<f64> {
    let mut parts = token.split('.');
    let (_header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    number(claims.get("exp")?)
}

/// How long a token that is a JWT lives on by its own `exp`, which is an absolute time (RFC 7519 section 4.1.4); zero if it
/// is over. `date` and `wall` as in [`lifetime`].
pub fn jwt_life(token: &str, date: Option<SystemTime>, wall: SystemTime) -> Option<Duration> {
    let exp = jwt_exp_number(token)?;
    // Milliseconds are what some write, though they should not.
    let exp = if exp < 1e11 { exp } else { exp / 1000.0 };
    Some(duration((exp - seconds_since_epoch(reference(date, wall))).max(0.0)))
}

/// The smallest positive of these remaining times; zero if there are only others; none if there are none.
fn smallest_positive<'a>(remaining: impl Iterator<Item = (&'a str, f64)>) -> Option<(&'a str, Duration)> {
    remaining
        .map(|(name, seconds)| (name, if seconds > 0.0 { duration(seconds) } else { Duration::ZERO }))
        .min_by_key(|(_, life)| (life.is_zero(), *life))
}

/// Rounded to milliseconds, so that the float's last digits do not show.
fn duration(seconds: f64) -> Duration {
    let capped = seconds.min(LIFETIME_MAX.as_secs_f64());
    Duration::from_millis((capped * 1000.0).round() as u64)
}

fn seconds_since_epoch(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

fn seconds_per(unit: LifetimeUnit) -> f64 {
    match unit {
        LifetimeUnit::Milliseconds => 0.001,
        LifetimeUnit::Seconds => 1.0,
        LifetimeUnit::Minutes => 60.0,
        LifetimeUnit::Hours => 3600.0,
    }
}
