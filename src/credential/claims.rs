//! What a JWT access token says of itself, for a person: its signature is the API's affair (RFC 9068).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::reflection::Reflections;

/// The claims that explain why an API takes a token or does not, in the order in which one asks: RFC 7519 section 4.1, RFC 9068
/// section 2.2, and what Microsoft, Okta and Auth0 call the same; of a proof, RFC 9449 section 4.2, what it is for.
const CLAIMS: [&str; 21] = [
    "iss",
    "aud",
    "sub",
    "client_id",
    "azp",
    "appid",
    "cid",
    "tid",
    "scope",
    "scp",
    "roles",
    "permissions",
    "groups",
    "act",
    "cnf",
    "htm",
    "htu",
    "nonce",
    "iat",
    "nbf",
    "exp",
];
const SHOWN_BYTES_MAX: usize = 300;

/// The telling claims of a token with their values as text; `None`: it is no JWT, or one that only its API can read.
/// `now` is the wall clock's.
pub(super) fn claims(token: &str, now: SystemTime) -> Option<Vec<(&'static str, String)>> {
    let claims = claims_of(token)?;
    let shown = |name: &&'static str| {
        let value = claims.get(*name)?;
        let moment = matches!(*name, "iat" | "nbf" | "exp").then(|| moment(value, now)).flatten();
        Some((*name, moment.or_else(|| text(value))?))
    };
    Some(CLAIMS.iter().filter_map(shown).collect())
}

/// Who issued a token and whose it is, as it says itself; `None`: it is no JWT that says so.
pub(super) fn issuer_and_subject(token: &str) -> Option<[Value; 2]> {
    let claims = claims_of(token)?;
    let said = ["iss", "sub"].map(|name| claims.get(name).cloned().unwrap_or_default());
    said.iter().any(|claim| !claim.is_null()).then_some(said)
}

fn claims_of(token: &str) -> Option<serde_json::Map<String, Value>> {
    let parts: Vec<&str> = token.split('.').collect();
    let [_header, claims, _signature] = parts.as_slice() else { return None };
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&claims).ok()
}

/// A value on one line.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().filter_map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    Reflections::of(&[]).quotable(&text, SHOWN_BYTES_MAX)
}

/// A `NumericDate` of RFC 7519 section 2, and how far it is from now.
fn moment(value: &Value, now: SystemTime) -> Option<String> {
    let seconds = value.as_f64().filter(|seconds| (0.0..1e11).contains(seconds))?;
    let then = UNIX_EPOCH + Duration::from_secs_f64(seconds);
    let date = httpdate::fmt_http_date(then);
    Some(match then.duration_since(now) {
        Ok(ahead) => format!("{date} (in {} s)", ahead.as_secs()),
        Err(ago) => format!("{date} ({} s ago)", ago.duration().as_secs()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("eyJhbGciOiJub25lIn0.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn the_telling_claims_are_shown_in_order() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let token = jwt(
            r#"{"exp":1700003599,"iat":1699999990,"aud":["api://a","b"],"iss":"https://i.example","jti":"x","roles":["r1","r2"]}"#,
        );
        let shown = claims(&token, now).unwrap();
        let shown: Vec<String> = shown.iter().map(|(name, value)| format!("{name} {value}")).collect();
        assert_eq!(
            shown,
            [
                "iss https://i.example",
                "aud api://a, b",
                "roles r1, r2",
                "iat Tue, 14 Nov 2023 22:13:10 GMT (10 s ago)",
                "exp Tue, 14 Nov 2023 23:13:19 GMT (in 3599 s)",
            ]
        );
    }

    #[test]
    fn what_is_no_jwt_has_no_claims_and_no_claim_breaks_the_terminal() {
        let now = UNIX_EPOCH;
        for token in ["", "opaque", "a.b.c", "a.b.c.d.e", &jwt("[]"), &jwt("7")] {
            assert_eq!(claims(token, now), None, "{token}");
        }
        let nasty = jwt("{\"sub\":\"a\\u001b[31m\\nb\",\"exp\":-1,\"nbf\":1e300,\"iat\":\"soon\"}");
        let shown = claims(&nasty, now).unwrap();
        assert!(shown.iter().all(|(_, text)| !text.contains(char::is_control)), "{shown:?}");
    }
}
