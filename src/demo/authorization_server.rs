//! The demo's authorization server: the client credentials grant, revocation, and two switches that a person can pull
//! to see what attache does about it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::sync::watch;

use super::serve::{Answer, Asked, json};
use super::tokens::{LIFETIME, Tokens};

/// A token younger than a tenth of its life is not fetched anew because it was rejected (TL-43), so `/revoke-all`
/// waits until the newest one is older than that.
const REVOKED_AGE_MIN: Duration = Duration::from_millis(3_100);

/// A token that is about to be renewed might be replaced before anyone sees the rejection, so `/revoke-all` rather
/// waits for its successor.
const REVOKED_AGE_MAX: Duration = Duration::from_secs(20);

/// Nobody renews a token that nobody uses: then `/revoke-all` has nothing to wait for.
const REVOKE_WAIT_MAX: Duration = Duration::from_secs(15);

const REVOKE_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What the server knows.
#[derive(Debug)]
pub(super) struct AuthorizationServer {
    pub client_id: &'static str,
    /// Made anew whenever the demo starts.
    pub client_secret: String,
    pub tokens: Arc<Tokens>,
    /// Set to true by `POST /stop`.
    pub stop: watch::Sender<bool>,
}

impl AuthorizationServer {
    pub(super) async fn handle(self: Arc<Self>, asked: Asked) -> Answer {
        match (asked.method(), asked.uri().path()) {
            (&Method::POST, "/token") => self.token(&asked),
            (&Method::POST, "/revoke") => self.revoke(&asked),
            (&Method::POST, "/revoke-all") => self.revoke_all().await,
            (&Method::POST, "/stop") => self.stop(),
            _ => json(
                StatusCode::NOT_FOUND,
                &json!({ "error": "there are POST /token, POST /revoke, POST /revoke-all and POST /stop" }),
            ),
        }
    }

    /// RFC 6749 section 4.4.
    fn token(&self, asked: &Asked) -> Answer {
        let form = form(asked.body());
        if !self.is_our_client(asked, &form) {
            return invalid_client();
        }
        if form.get("grant_type").map(String::as_str) != Some("client_credentials") {
            return json(StatusCode::BAD_REQUEST, &json!({ "error": "unsupported_grant_type" }));
        }
        let Some(token) = self.tokens.issue() else {
            return json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": "temporarily_unavailable" }));
        };
        tracing::info!("demo authorization server: a token was issued; it lives {} s", LIFETIME.as_secs());
        let scope = form.get("scope").map_or("", String::as_str);
        let granted = json!({
            "access_token": token, "token_type": "Bearer", "expires_in": LIFETIME.as_secs(), "scope": scope,
        });
        json(StatusCode::OK, &granted)
    }

    /// RFC 7009: whoever holds a token and is its client can end it.
    fn revoke(&self, asked: &Asked) -> Answer {
        let form = form(asked.body());
        if !self.is_our_client(asked, &form) {
            return invalid_client();
        }
        let Some(token) = form.get("token") else {
            return json(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_request" }));
        };
        self.tokens.revoke(token);
        json(StatusCode::OK, &json!({}))
    }

    /// What an administrator does in a provider's console, with nothing but the demo's loopback to guard it.
    async fn revoke_all(&self) -> Answer {
        let mut waited = Duration::ZERO;
        while waited < REVOKE_WAIT_MAX {
            match self.tokens.newest_age() {
                Some(age) if (REVOKED_AGE_MIN..REVOKED_AGE_MAX).contains(&age) => break,
                // It has expired, so nobody is renewing it.
                Some(age) if age > LIFETIME => break,
                None => break,
                Some(_) => {}
            }
            tokio::time::sleep(REVOKE_POLL_INTERVAL).await;
            waited += REVOKE_POLL_INTERVAL;
        }
        let revoked = self.tokens.revoke_all();
        tracing::info!("demo authorization server: {revoked} tokens revoked");
        json(StatusCode::OK, &json!({ "revoked": revoked }))
    }

    fn stop(&self) -> Answer {
        tracing::info!("demo authorization server: stopped");
        self.stop.send_replace(true);
        json(StatusCode::OK, &json!({ "stopped": true }))
    }

    /// By `client_secret_basic` or `client_secret_post` (RFC 6749 section 2.3.1).
    fn is_our_client(&self, asked: &Asked, form: &HashMap<String, String>) -> bool {
        let presented =
            basic(asked).or_else(|| Some((form.get("client_id")?.clone(), form.get("client_secret")?.clone())));
        presented.is_some_and(|(id, secret)| {
            id == self.client_id
                && bool::from(subtle::ConstantTimeEq::ct_eq(secret.as_bytes(), self.client_secret.as_bytes()))
        })
    }
}

fn invalid_client() -> Answer {
    let mut answer = json(StatusCode::UNAUTHORIZED, &json!({ "error": "invalid_client" }));
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"demo\""));
    answer
}

/// Id and secret of an `Authorization: Basic` header, each form-decoded.
fn basic(asked: &Asked) -> Option<(String, String)> {
    let value = asked.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let pair = STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
    let (id, secret) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

fn form(body: &[u8]) -> HashMap<String, String> {
    form_urlencoded::parse(body).into_owned().collect()
}

fn form_decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use http_body_util::BodyExt as _;
    use serde_json::Value;

    use super::*;
    use crate::clock::SystemClock;

    fn server() -> Arc<AuthorizationServer> {
        Arc::new(AuthorizationServer {
            client_id: "attache",
            client_secret: "s3cret+/=:x".into(),
            tokens: Tokens::new(Arc::new(SystemClock)),
            stop: watch::Sender::new(false),
        })
    }

    async fn ask(
        server: &Arc<AuthorizationServer>,
        path: &str,
        basic: Option<&str>,
        form: &str,
    ) -> (StatusCode, Value) {
        let mut request = Request::post(path);
        if let Some(pair) = basic {
            request = request.header("authorization", format!("Basic {}", STANDARD.encode(pair)));
        }
        let answer = server.clone().handle(request.body(Bytes::from(form.to_owned())).unwrap()).await;
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn the_client_is_known_by_basic_and_by_post() {
        let server = server();
        let cases = [
            (Some("attache:s3cret%2B%2F%3D%3Ax"), "grant_type=client_credentials", StatusCode::OK),
            (None, "grant_type=client_credentials&client_id=attache&client_secret=s3cret%2B%2F%3D%3Ax", StatusCode::OK),
            (Some("attache:wrong"), "grant_type=client_credentials", StatusCode::UNAUTHORIZED),
            (Some("someone:s3cret%2B%2F%3D%3Ax"), "grant_type=client_credentials", StatusCode::UNAUTHORIZED),
            (None, "grant_type=client_credentials", StatusCode::UNAUTHORIZED),
            (Some("attache:s3cret%2B%2F%3D%3Ax"), "grant_type=password", StatusCode::BAD_REQUEST),
        ];
        for (basic, form, expected) in cases {
            assert_eq!(ask(&server, "/token", basic, form).await.0, expected, "{basic:?} {form}");
        }
    }

    #[tokio::test]
    async fn what_is_granted_is_accepted_until_it_is_revoked() {
        let server = server();
        let basic = Some("attache:s3cret%2B%2F%3D%3Ax");
        let (_, granted) = ask(&server, "/token", basic, "grant_type=client_credentials&scope=a+b").await;
        assert_eq!(granted["expires_in"], 30);
        assert_eq!(granted["scope"], "a b");
        let token = granted["access_token"].as_str().unwrap();
        assert!(server.tokens.accepts(token));
        let (status, _) = ask(&server, "/revoke", None, &format!("token={token}")).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert!(server.tokens.accepts(token));
        let (status, _) = ask(&server, "/revoke", basic, &format!("token={token}")).await;
        assert_eq!(status, StatusCode::OK);
        assert!(!server.tokens.accepts(token));
    }

    /// Under a clock of its own the waiting is as long as the poll says, however fast the test runs.
    #[tokio::test(start_paused = true)]
    async fn revoking_all_waits_until_the_newest_token_is_old_enough() {
        use crate::clock::ManualClock;
        let clock = Arc::new(ManualClock::at(std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
        let tokens = Tokens::new(clock.clone());
        let server = Arc::new(AuthorizationServer {
            client_id: "attache",
            client_secret: "secret".into(),
            tokens: tokens.clone(),
            stop: watch::Sender::new(false),
        });
        let token = tokens.issue().unwrap();
        clock.advance(REVOKED_AGE_MIN - Duration::from_millis(1));
        let mut revoking = std::pin::pin!(server.revoke_all());
        tokio::select! {
            biased;
            _ = &mut revoking => panic!("the token was too young"),
            () = tokio::time::sleep(REVOKE_POLL_INTERVAL * 2) => {}
        }
        assert!(tokens.accepts(&token));
        clock.advance(Duration::from_millis(1));
        revoking.await;
        assert!(!tokens.accepts(&token));
    }
}
