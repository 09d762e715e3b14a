//! Installation tokens of a GitHub App: a JWT of the App's own as the Bearer token of a request with a JSON body. As
//! GitHub's "Generating an installation access token for a GitHub App" says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use ring::error::Unspecified;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::config::GithubApp;
use crate::secret::Secret;
use crate::token;

/// GitHub's advice, for clocks that are ahead of its own.
const ISSUED_BEFORE: Duration = Duration::from_secs(60);
/// GitHub takes 10 minutes from its own clock.
const LIFETIME: Duration = Duration::from_secs(540);

/// What says that this is the App. `now` is the wall clock's.
///
/// # Errors
/// The system gave no random bytes.
pub(super) fn assertion(app: &GithubApp, app_id: &str, now: SystemTime) -> Result<Secret, Unspecified> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let claims = json!({
        "iss": app_id,
        "iat": now.saturating_sub(ISSUED_BEFORE).as_secs(),
        "exp": (now + LIFETIME).as_secs(),
    });
    app.key.sign(None, &claims)
}

/// What the token may do, if that is less than the installation.
pub(super) fn body(app: &GithubApp) -> String {
    let mut body = json!({});
    if !app.repositories.is_empty() {
        body["repositories"] = json!(app.repositories);
    }
    if !app.permissions.is_empty() {
        body["permissions"] = json!(app.permissions);
    }
    match body {
        Value::Object(members) if members.is_empty() => String::new(),
        body => body.to_string(),
    }
}

pub(super) fn request(target: Uri, body: &str, assertion: &Secret) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target;
    let bearer = Zeroizing::new(format!("Bearer {}", assertion.expose()));
    let bearer = token::sensitive(&bearer).expect("a JWT is a legal header value");
    request.headers_mut().insert(AUTHORIZATION, bearer);
    if !body.is_empty() {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    request
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::jws::SigningKey;
    use crate::jws::tests::{RSA, verified};

    fn app(repositories: &[&str], permissions: &[(&str, &str)]) -> GithubApp {
        GithubApp {
            key: Arc::new(SigningKey::from_pem(RSA, None).unwrap()),
            repositories: repositories.iter().map(ToString::to_string).collect(),
            permissions: permissions.iter().map(|(name, level)| (name.to_string(), level.to_string())).collect(),
        }
    }

    #[test]
    fn an_app_says_who_it_is_for_less_than_ten_minutes() {
        let app = app(&[], &[]);
        let token = assertion(&app, "Iv1.7", UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
        let (header, claims) = verified(token.expose(), &app.key);
        assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT" }));
        assert_eq!(claims, json!({ "iss": "Iv1.7", "iat": 1_699_999_940, "exp": 1_700_000_540 }));
        assert!(assertion(&app, "Iv1.7", UNIX_EPOCH).is_ok(), "a clock that was never set ends in no panic");
    }

    #[test]
    fn a_token_is_asked_for_as_narrow_as_configured() {
        assert_eq!(body(&app(&[], &[])), "");
        let narrow = body(&app(&["hello"], &[("contents", "read")]));
        let narrow: BTreeMap<String, Value> = serde_json::from_str(&narrow).unwrap();
        assert_eq!(json!(narrow), json!({ "repositories": ["hello"], "permissions": { "contents": "read" } }));
    }
}
