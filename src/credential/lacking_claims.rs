//! Claims that an upstream misses in a token (TL-45): Microsoft's continuous access evaluation names them in a challenge, and
//! the token request asks for them in the parameter `claims` of OpenID Connect Core section 5.5.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;
use serde_json::map::Entry;

use crate::config::KeyEncoding;
use crate::secret::Secret;

/// Microsoft's have some hundred bytes.
const ENCODED_BYTES_MAX: usize = 8 * 1024;

/// The JSON object in a challenge, which has it in base64.
pub(super) fn decoded(encoded: &str) -> Option<Arc<str>> {
    if encoded.len() > ENCODED_BYTES_MAX {
        return None;
    }
    let bytes = KeyEncoding::Base64.decode(&Secret::new(encoded))?;
    let text = std::str::from_utf8(&bytes).ok()?;
    serde_json::from_str::<Value>(text).is_ok_and(|claims| claims.is_object()).then(|| text.into())
}

/// What is asked for: what `parameters` says anyway, and beside it what an upstream misses.
pub(super) fn asked_for<'a>(configured: Option<&'a str>, lacking: Option<&'a str>) -> Option<Cow<'a, str>> {
    let (Some(configured), Some(lacking)) = (configured, lacking) else {
        return configured.or(lacking).map(Cow::Borrowed);
    };
    let parsed = |text| serde_json::from_str::<Value>(text).ok();
    let (Some(mut all), Some(more)) = (parsed(configured), parsed(lacking)) else { return Some(configured.into()) };
    add(&mut all, more);
    Some(all.to_string().into())
}

/// Adds the members of objects within objects; what is there already stays as it is.
fn add(all: &mut Value, more: Value) {
    let (Value::Object(all), Value::Object(more)) = (all, more) else { return };
    for (name, value) in more {
        match all.entry(name) {
            Entry::Vacant(vacant) => drop(vacant.insert(value)),
            Entry::Occupied(mut occupied) => add(occupied.get_mut(), value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Microsoft's documentation of claims challenges has it.
    #[test]
    fn claims_are_read_from_a_challenge() {
        let microsofts = "eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxNjA0MTA2NjUxIn19fQ==";
        let claims = r#"{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}"#;
        assert_eq!(decoded(microsofts).as_deref(), Some(claims));
        assert_eq!(decoded(microsofts.trim_end_matches('=')).as_deref(), Some(claims));
        for nonsense in ["", "e30!", "W10=", "eyJ", &"A".repeat(ENCODED_BYTES_MAX + 4)] {
            assert_eq!(decoded(nonsense), None, "{nonsense}");
        }
    }

    /// TL-45: the client's capabilities, which are configured, stand beside what is missed, and an upstream changes nothing of
    /// them.
    #[test]
    fn claims_are_added_to_those_that_are_configured() {
        let configured = r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#;
        let lacking = r#"{"access_token":{"nbf":{"essential":true}}}"#;
        let evil = r#"{"access_token":{"nbf":{"essential":true},"xms_cc":{"values":["evil"]}}}"#;
        let both = r#"{"access_token":{"nbf":{"essential":true},"xms_cc":{"values":["cp1"]}}}"#;
        for (configured, lacking, expected) in [
            (None, None, None),
            (Some("no JSON"), None, Some("no JSON")),
            (None, Some(lacking), Some(lacking)),
            (Some("no JSON"), Some(lacking), Some("no JSON")),
            (Some("[1]"), Some(lacking), Some("[1]")),
            (Some(configured), Some(lacking), Some(both)),
            (Some(configured), Some(evil), Some(both)),
            (Some(r#"{"access_token":null}"#), Some(lacking), Some(r#"{"access_token":null}"#)),
        ] {
            let asked_for = asked_for(configured, lacking);
            let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| text.into());
            assert_eq!(asked_for.as_deref().map(parsed), expected.map(parsed));
        }
    }
}
