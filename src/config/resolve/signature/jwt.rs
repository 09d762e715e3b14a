//! `[credentials.NAME.jwt]`: tokens that are signed here.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use toml::de::DeValue;

use crate::config::file::Format;
use crate::config::resolve::Reading;
use crate::config::resolve::credential::exactly_one;
use crate::config::resolve::fields::{Fields, integer, text};
use crate::config::resolve::headers::header_name;
use crate::config::resolve::secrets::Alphabet;
use crate::config::{Problem, SelfSigned, Signature, file};
use crate::jws::{Algorithm, SigningKey};

const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);

/// Shorter ones would be over before they arrive.
const LIFETIME_MIN: Duration = Duration::from_secs(10);

/// Claims that have a key of their own, or are ours to make.
const OURS: [(&str, &str); 6] = [
    ("iss", "write `issuer` beside `claims`"),
    ("sub", "write `subject` beside `claims`"),
    ("aud", "write `audience` beside `claims`"),
    ("exp", "`lifetime` says how long a token is good for"),
    ("iat", "it is always said"),
    ("jti", "`per_request = true` makes one for each request"),
];

pub(in crate::config::resolve) fn jwt(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<Signature> {
    let key = key(reading, fields);
    let key_id = fields.text(reading, "key_id").map(|text| text.value);
    let claims = claims(reading, fields);
    let lifetime = match fields.duration(reading, "lifetime") {
        Some(lifetime) if lifetime < LIFETIME_MIN => {
            let problem = Problem::new("`lifetime` is shorter than 10s", fields.value("lifetime")?.span());
            reading.problem(problem.hint("a token has to arrive before it ends, also where clocks differ"));
            DEFAULT_LIFETIME
        }
        lifetime => lifetime.unwrap_or(DEFAULT_LIFETIME),
    };
    let header = header(reading, fields);
    let (header, scheme) = (header?, fields.text(reading, "scheme"));
    let scheme = match scheme {
        None if header == AUTHORIZATION => "Bearer".to_owned(),
        None => String::new(),
        Some(text) if HeaderValue::from_str(&text.value).is_ok() && !text.value.contains(' ') => text.value,
        Some(text) => {
            let hint = "such as \"Bearer\"; empty for none".to_owned();
            return reading.refuse(("`scheme` is one word".to_owned(), hint), &text.span);
        }
    };
    let per_request = fields.boolean("per_request").unwrap_or(false);
    Some(Signature::Jwt(SelfSigned {
        key: Arc::new(key?),
        key_id,
        claims: claims?,
        lifetime,
        per_request,
        header,
        scheme,
    }))
}

fn key(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<SigningKey> {
    let name = fields.choice(reading, "algorithm");
    let algorithm = name.and_then(|name| Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name));
    exactly_one(reading, fields, &["private_key", "secret"])?;
    if fields.value("private_key").is_some() {
        return fields.signing_key(reading, "private_key", algorithm);
    }
    let algorithm = algorithm.unwrap_or(Algorithm::Hs256);
    let secret = fields.secret(reading, "secret", Alphabet::Text)?;
    let Some(bytes_min) = algorithm.secret_bytes_min() else {
        let why = format!("a secret does not sign with {}", algorithm.name());
        let hint = "HS256, HS384 and HS512 take a secret; all others take a `private_key`".to_owned();
        return reading.refuse((why, hint), &fields.value("algorithm")?.span());
    };
    if secret.expose().len() < bytes_min && !fields.is_withheld(reading, "secret") {
        let message = format!("`secret` is shorter than the {bytes_min} bytes of {}", algorithm.name());
        let problem = Problem::new(message, fields.value("secret")?.span());
        reading.warning(problem.hint("RFC 7518 section 3.2 asks for as many, and some servers refuse fewer"));
    }
    SigningKey::shared(secret, algorithm)
}

fn header(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<HeaderName> {
    let Some(text) = fields.text(reading, "header") else { return Some(AUTHORIZATION) };
    let name = header_name(reading, &text)?;
    if name == COOKIE {
        return reading.refuse(
            ("`cookie` is no header for a token".to_owned(), "such as \"Authorization\"".to_owned()),
            &text.span,
        );
    }
    Some(name)
}

fn claims(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<Map<String, Value>> {
    let mut claims = Map::new();
    for (key, claim) in [("issuer", "iss"), ("subject", "sub")] {
        if let Some(text) = fields.text(reading, key) {
            claims.insert(claim.to_owned(), text.value.into());
        }
    }
    let mut audience: Vec<Value> =
        fields.texts(reading, "audience").into_iter().map(|text| text.value.into()).collect();
    // Many servers take no list of one.
    match audience.len() {
        0 => {}
        1 => drop(claims.insert("aud".to_owned(), audience.remove(0))),
        _ => drop(claims.insert("aud".to_owned(), audience.into())),
    }
    let mut is_whole = true;
    for (name, value) in fields.entries("claims") {
        if let Some((_, hint)) = OURS.iter().find(|(claim, _)| *claim == name.value) {
            reading.problem(Problem::new(format!("`{}` is no further claim", name.value), name.span).hint(*hint));
            is_whole = false;
        } else if let Some(value) = claim(reading, value) {
            claims.insert(name.value, value);
        } else {
            is_whole = false;
        }
    }
    is_whole.then_some(claims)
}

fn claim(reading: &mut Reading<'_>, value: &file::Value<'_>) -> Option<Value> {
    match value.get_ref() {
        DeValue::Boolean(truth) => Some((*truth).into()),
        DeValue::Integer(_) => integer(value).map(Value::from),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| text(reading, item, Format::Plain).map(|text| text.value.into()));
            texts.collect::<Option<Vec<Value>>>().map(Value::from)
        }
        _ => text(reading, value, Format::Plain).map(|text| text.value.into()),
    }
}
