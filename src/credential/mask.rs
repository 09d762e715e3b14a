//! What of a token endpoint's conversation a person may see: what is known to be harmless as it is, everything else as a
//! fingerprint.

use std::borrow::Cow;

use ring::digest;
use serde_json::Value;

use super::reflection::Reflections;

/// A name that holds one of these words names a secret, whoever invented it.
const SECRET_WORDS: [&str; 14] = [
    "assertion",
    "auth",
    "cookie",
    "credential",
    "jwt",
    "key",
    "passw",
    "pin",
    "pwd",
    "secret",
    "session",
    "sid",
    "signature",
    "token",
];

/// Fields of a request that are harmless, whatever words they hold: RFC 6749, 7521, 7523, 8693, 8707, and what providers add.
const HARMLESS_SENT: [&str; 13] = [
    "account_id",
    "actor_token_type",
    "appid",
    "audience",
    "client_assertion_type",
    "client_id",
    "grant_type",
    "redirect_uri",
    "requested_token_type",
    "resource",
    "scope",
    "subject_token_type",
    "tenant",
];

/// Members of an answer that are.
const HARMLESS_RECEIVED: [&str; 54] = [
    "access_token_expiration",
    "accesskeyid",
    "api_domain",
    "api_url",
    "app_id",
    "audience",
    "client_id",
    "code",
    "correlation_id",
    "detail",
    "errcode",
    "errmsg",
    "error",
    "error_codes",
    "error_description",
    "error_message",
    "error_uri",
    "errorcode",
    "errorsummary",
    "estimatedtimetoexpiration",
    "expiration",
    "expire",
    "expires",
    "expires_at",
    "expires_in",
    "expires_on",
    "expiresat",
    "expiresin",
    "ext_expires_in",
    "instance_url",
    "issued_at",
    "issued_token_type",
    "message",
    "msg",
    "not_before",
    "reason",
    "refresh_in",
    "refresh_token_expires_in",
    "resource",
    "scope",
    "status",
    "suberror",
    "timestamp",
    "title",
    "token_type",
    "trace_id",
    "type",
    // Metadata: RFC 8414 section 2.
    "authorization_endpoint",
    "grant_types_supported",
    "issuer",
    "jwks_uri",
    "token_endpoint",
    "token_endpoint_auth_methods_supported",
    "token_endpoint_auth_signing_alg_values_supported",
];

/// Longer texts are cut where they are shown.
const SHOWN_BYTES_MAX: usize = 500;

/// A shorter secret may be a word: whoever reads the beginning of its digest could try words until one fits.
const FINGERPRINTED_BYTES_MIN: usize = 16;

/// Stands in for a secret: its length in bytes and the beginning of its SHA-256, so that two of them can be compared without
/// being shown (`printf %s "$SECRET" | sha256sum`). Of a short one, the length alone.
pub fn mask(secret: &str) -> String {
    if secret.len() < FINGERPRINTED_BYTES_MIN {
        return format!("<{} bytes>", secret.len());
    }
    let digest = digest::digest(&digest::SHA256, secret.as_bytes());
    let beginning: String = digest.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("<{} bytes, sha256 {beginning}...>", secret.len())
}

/// Whether a field of a request may be shown as it is. `configured`: names that proxy.toml gives with their values, as text
/// and not as secrets.
pub(super) fn is_harmless(name: &str, configured: &[Cow<'_, str>]) -> bool {
    let lower = name.to_ascii_lowercase();
    HARMLESS_SENT.contains(&lower.as_str())
        || (configured.iter().any(|configured| configured == name) && !sounds_secret(&lower))
}

fn sounds_secret(lower: &str) -> bool {
    SECRET_WORDS.iter().any(|word| lower.contains(word))
}

/// What of an answer is shown, and how.
pub(super) struct AnswerMask<'a> {
    /// What the request held that is no secret of the server's, and may come back.
    pub reflections: &'a Reflections<'a>,
    /// An error holds no token: there only what sounds like one is masked, for the rest is what explains it.
    pub is_error: bool,
    /// The names of the members where the token, and what goes with it, is declared to be.
    pub declared: Vec<&'a str>,
    /// The names of the members that are declared to say what is wrong, which the last line quotes, too.
    pub errors: Vec<&'a str>,
}

impl AnswerMask<'_> {
    /// A text that stands under this name.
    pub(super) fn text(&self, name: &str, text: &str) -> String {
        let lower = name.to_ascii_lowercase();
        let explains = self.is_error || self.errors.contains(&name);
        let shown = HARMLESS_RECEIVED.contains(&lower.as_str()) || (explains && !sounds_secret(&lower));
        let quoted = || self.reflections.quotable(text, SHOWN_BYTES_MAX);
        if text.is_empty() {
            return String::new();
        }
        (shown && !self.declared.contains(&name)).then(quoted).flatten().unwrap_or_else(|| mask(text))
    }

    /// The same document with its texts masked. `name`: of the member that holds it.
    pub(super) fn json(&self, name: &str, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(name, text)),
            Value::Array(items) => items.iter().map(|item| self.json(name, item)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| {
                    let shown = self.reflections.quotable(name, SHOWN_BYTES_MAX).unwrap_or_else(|| mask(name));
                    (shown, self.json(name, value))
                })
                .collect(),
            // A number under no known name may be a PIN or a session's.
            Value::Number(number) => match self.text(name, &number.to_string()) {
                shown if shown == number.to_string() => value.clone(),
                masked => Value::String(masked),
            },
            Value::Null | Value::Bool(_) => value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_mask_tells_secrets_apart_and_no_more() {
        // printf %s correct-horse-battery | sha256sum
        let secret = "correct-horse-battery";
        assert_eq!(mask(secret), "<21 bytes, sha256 62249369...>");
        assert_ne!(mask(secret), mask("correct-horse-battery\n"));
        assert_eq!((mask("hunter2"), mask("")), ("<7 bytes>".to_owned(), "<0 bytes>".to_owned()));
    }

    #[test]
    fn only_what_is_known_to_be_harmless_is_shown_of_a_request() {
        for name in ["grant_type", "client_id", "scope", "Scope", "client_assertion_type", "resource"] {
            assert!(is_harmless(name, &[]), "{name}");
        }
        for name in
            ["client_secret", "client_assertion", "assertion", "refresh_token", "password", "anything", "code_verifier"]
        {
            assert!(!is_harmless(name, &[]), "{name}");
        }
        assert!(is_harmless("region", &["region".into()]) && !is_harmless("api_key", &["api_key".into()]));
    }

    #[test]
    fn an_answer_is_shown_without_what_could_be_sent() {
        let secret = Secret::new("s3cret-of-the-client");
        let reflections = Reflections::of(&[&secret]);
        let of = |is_error, declared| AnswerMask { reflections: &reflections, is_error, declared, errors: Vec::new() };
        let granted = json!({
            "access_token": "planted-1", "nested": { "tenant_access_token": "planted-2", "jwt": "planted-3" },
            "unheard_of": "planted-4", "list": ["planted-5", 7], "expires_in": "3599", "token_type": "Bearer",
            "scope": "s3cret-of-the-client", "code": "planted-6", "sid": 123456,
        });
        let shown = of(false, vec!["code"]).json("", &granted).to_string();
        assert!(!shown.contains("planted") && !shown.contains("s3cret") && !shown.contains("123456"), "{shown}");
        assert!(
            shown.contains("\"3599\"") && shown.contains("\"Bearer\"") && shown.contains(&mask("planted-4")),
            "{shown}"
        );

        let refused = json!({
            "error": "invalid_client", "hint": "look here", "debug_token": "planted-1", "said": "got s3cret-of-the-client",
        });
        let shown = of(true, Vec::new()).json("", &refused).to_string();
        assert!(!shown.contains("planted") && !shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("invalid_client") && shown.contains("look here"), "{shown}");
    }
}
