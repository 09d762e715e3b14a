//! Keys, as AWS's servers give them, and why they give none.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::super::answer::{check_token, date, retry_after};
use super::super::endpoint::Reply;
use super::super::failure::{Failure, Step, kind};
use super::super::reflection::Reflections;
use super::super::sign::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use super::failure;
use crate::config::{AnswerPlace, AnswerShape, AwsKeyPlace};
use crate::secret::Secret;
use crate::token::lifetime::lifetime;
use crate::token::{FetchErrorKind, Granted};

/// Where the end of keys stands.
const EXPIRATION: &str = "Expiration";
/// What STS wraps keys in.
const WRAPPED: [&str; 3] = ["AssumeRoleWithWebIdentityResponse", "AssumeRoleWithWebIdentityResult", "Credentials"];

const SAID_BYTES_MAX: usize = 200;
const CODE_BYTES_MAX: usize = 64;

/// When the metadata server cannot renew the keys it goes on giving those that are over, which services then take, too.
/// AWS's own clients extend them by about as much (`_evaluate_expiration` of botocore).
const EXTENDED: Duration = Duration::from_secs(10 * 60);

/// Instances and containers are answered alike. `sent`: what must not be repeated in a failure's text.
pub(in crate::credential) fn keys(
    reply: &Reply,
    host: &str,
    sent: Option<&Secret>,
    wall: SystemTime,
) -> Result<Granted, Failure> {
    let members = members(reply, host)?;
    refuse_unsuccessful(&members, host, sent)?;
    granted(members, "Token", reply, host, wall)
}

/// STS wraps them.
pub(in crate::credential) fn keys_of_sts(reply: &Reply, host: &str, wall: SystemTime) -> Result<Granted, Failure> {
    let mut members = members(reply, host)?;
    for name in WRAPPED {
        let Some(Value::Object(inner)) = members.remove(name) else { return Err(keyless(host, missing(name))) };
        members = inner;
    }
    granted(members, "SessionToken", reply, host, wall)
}

/// Where session token and end stand, for whoever shows an answer.
pub(in crate::credential) fn shape(place: &AwsKeyPlace) -> AnswerShape {
    let (below, session_token) = match place {
        AwsKeyPlace::Instance { .. } | AwsKeyPlace::Container { .. } => (String::new(), "Token"),
        AwsKeyPlace::WebIdentity { .. } => (format!("{}.", WRAPPED.join(".")), "SessionToken"),
    };
    let at = |name: &str| Some(AnswerPlace::Path(format!("{below}{name}")));
    AnswerShape { token: at(session_token), lifetime: at(EXPIRATION), ..AnswerShape::default() }
}

/// An end that is over becomes one that is near.
pub(super) fn with_static_stability(granted: Granted) -> Granted {
    let over = granted.lifetime == Some(Duration::ZERO);
    Granted { lifetime: if over { Some(EXTENDED) } else { granted.lifetime }, ..granted }
}

/// An answer that is no success. `passes`: whatever its status says.
pub(in crate::credential) fn refusal(
    reply: &Reply,
    host: &str,
    sent: Option<&Secret>,
    passes: bool,
    wall: SystemTime,
) -> Failure {
    let secrets: Vec<&Secret> = sent.into_iter().collect();
    let reflections = Reflections::of(&secrets);
    let said = reply.body.as_ref().ok().and_then(|body| std::str::from_utf8(body).ok()).map(str::trim);
    let code = said.and_then(|said| serde_json::from_str::<Value>(said).ok()).and_then(|said| {
        let code = said.pointer("/Error/Code").or_else(|| said.get("code"))?.as_str()?;
        reflections.quotable(code, CODE_BYTES_MAX)
    });
    let said = said.filter(|said| !said.is_empty()).and_then(|said| reflections.quotable(said, SAID_BYTES_MAX));
    let said = said.map(|said| format!(" and says \"{said}\"")).unwrap_or_default();
    let kind = match passes {
        true => FetchErrorKind::Transient,
        false => kind(reply.status, None, retry_after(&reply.headers, wall)),
    };
    let cause = format!("it answered {}{said}", reply.status);
    Failure { status: Some(reply.status), code, ..Failure::new(kind, Step::Token, host, cause) }
}

fn members(reply: &Reply, host: &str) -> Result<Map<String, Value>, Failure> {
    let body = reply.body.as_ref().map_err(|why| keyless(host, why.clone()))?;
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(keyless(host, "it is no JSON object".to_owned())),
    }
}

/// The metadata server says in a 200 why there are no keys, such as `AssumeRoleUnauthorizedAccess`.
fn refuse_unsuccessful(members: &Map<String, Value>, host: &str, sent: Option<&Secret>) -> Result<(), Failure> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let Some(code) = text("Code").filter(|code| *code != "Success") else { return Ok(()) };
    let secrets: Vec<&Secret> = sent.into_iter().collect();
    let quoted = |text: &str| Reflections::of(&secrets).quotable(text, SAID_BYTES_MAX).unwrap_or_default();
    let says = text("Message").map(quoted).filter(|says| !says.is_empty());
    let says = says.map(|says| format!(" and says \"{says}\"")).unwrap_or_default();
    let cause = format!("it gives no keys, with the error {}{says}", quoted(code));
    let failure = Failure::new(FetchErrorKind::Refused, Step::Token, host, cause);
    Err(failure.with_hint("check the role's trust policy: the instance has to be able to take it"))
}

/// Moves the keys out, so that no copy of them is left behind.
fn granted(
    mut members: Map<String, Value>,
    session_token: &str,
    reply: &Reply,
    host: &str,
    wall: SystemTime,
) -> Result<Granted, Failure> {
    let mut take = |name: &str| match members.remove(name) {
        Some(Value::String(text)) => {
            let text = Secret::new(text);
            check_token(text.expose()).map_err(|_| keyless(host, format!("`{name}` cannot be sent")))?;
            Ok(text)
        }
        _ => Err(keyless(host, missing(name))),
    };
    let further = BTreeMap::from([
        (ACCESS_KEY_ID.to_owned(), take("AccessKeyId")?),
        (SECRET_ACCESS_KEY.to_owned(), take("SecretAccessKey")?),
    ]);
    let value = take(session_token)?;
    let shape = AnswerShape { lifetime: Some(AnswerPlace::from(EXPIRATION)), ..AnswerShape::default() };
    let lifetime = lifetime(&Value::Object(members), &shape, "", date(&reply.headers), wall);
    Ok(Granted { value, further, lifetime, refresh_in: None, last: false })
}

fn keyless(host: &str, what: String) -> Failure {
    failure(host, format!("its answer has no keys: {what}"))
}

fn missing(name: &str) -> String {
    format!("`{name}` is missing")
}
