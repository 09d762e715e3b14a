//! `[credentials.NAME.jwt_bearer]`: what signs the assertion, and what it says.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Reading;
use super::client_proof::{algorithm, assertion_audience, require};
use super::fields::{Fields, text};
use super::key_file::ServiceAccount;
use crate::config::file::Format;
use crate::config::{JwtBearer, Problem, TokenEndpoint};
use crate::jws::SigningKey;

/// What the assertion says anew each time, and what has a key of its own.
const OWN_CLAIMS: [(&str, Option<&str>); 8] = [
    ("iss", Some("issuer_claim")),
    ("sub", Some("subject")),
    ("aud", Some("assertion_audience")),
    ("scope", Some("scope")),
    ("exp", None),
    ("iat", None),
    ("jti", None),
    ("nbf", None),
];

/// The grant, at this endpoint. `account`: what the key file says, if there is one.
pub(super) fn jwt_bearer(
    reading: &mut Reading<'_>,
    fields: &Fields<'_>,
    endpoint: Option<&TokenEndpoint>,
    account: Option<&ServiceAccount>,
) -> Option<JwtBearer> {
    let algorithm = algorithm(reading, fields);
    let has_key_file = fields.value("key_file").is_some();
    let mut key_id = fields.text(reading, "key_id").map(|text| text.value);
    let key = if has_key_file {
        refuse_second_key(reading, fields);
        key_id = key_id.or_else(|| account.map(|account| account.key_id.clone()));
        account.and_then(|account| account.signing_key(reading, fields, algorithm))
    } else {
        require(reading, fields, "private_key");
        fields.signing_key(reading, "private_key", algorithm)
    };
    let issuer = issuer(reading, fields, account);
    let subject = fields.text(reading, "subject").map(|text| text.value);
    let audience = assertion_audience(reading, fields, endpoint.and_then(TokenEndpoint::issuer));
    let mut claims = claims(reading, fields);
    // RFC 7521 section 4.1 has the scope in the form; Google and others look for it among the claims.
    let scope = super::credential::scope(reading, fields);
    if !scope.is_empty() {
        claims.insert("scope".to_owned(), scope.join(" "));
    }
    let issuer = issuer?;
    let subject = subject.or_else(|| (!has_key_file).then(|| issuer.clone()));
    Some(JwtBearer { key: key.map(Arc::<SigningKey>::new)?, key_id, issuer, subject, audience: audience?, claims })
}

fn refuse_second_key(reading: &mut Reading<'_>, fields: &Fields<'_>) {
    if let Some(second) = fields.value("private_key") {
        let problem = Problem::new("`key_file` and `private_key` exclude each other", second.span());
        reading.problem(problem.hint("the key is in the key file: remove `private_key`"));
    }
}

fn issuer(reading: &mut Reading<'_>, fields: &Fields<'_>, account: Option<&ServiceAccount>) -> Option<String> {
    if let Some(text) = fields.text(reading, "issuer_claim") {
        return Some(text.value);
    }
    if fields.value("key_file").is_some() {
        return account.map(|account| account.email.clone());
    }
    if let Some(text) = fields.text(reading, "client_id") {
        return Some(text.value);
    }
    let absent = |key: &str| fields.value(key).is_none() && !fields.is_misspelt(key) && !fields.is_misplaced(key);
    if absent("issuer_claim") && absent("client_id") {
        let problem = Problem::new("neither `issuer_claim` nor `client_id` says who signs", fields.span.clone());
        reading.problem(problem.hint("write `issuer_claim = \"…\"`: the id that the server knows the key's owner by"));
    }
    None
}

fn claims(reading: &mut Reading<'_>, fields: &Fields<'_>) -> BTreeMap<String, String> {
    let mut claims = BTreeMap::new();
    for (name, value) in fields.entries("claims") {
        match OWN_CLAIMS.iter().find(|(own, _)| *own == name.value) {
            Some((own, key)) => {
                let hint = match key {
                    Some(key) => format!("write `{key} = \"…\"` beside `claims`"),
                    None => "attache sets it anew for each assertion".to_owned(),
                };
                reading.problem(Problem::new(format!("`{own}` is no further claim"), name.span).hint(hint));
            }
            None => {
                if let Some(text) = text(reading, value, Format::Plain) {
                    claims.insert(name.value, text.value);
                }
            }
        }
    }
    claims
}
