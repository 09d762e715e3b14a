//! The demo's API: it answers nobody without a valid token.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::serve::{Answer, Asked, json};
use super::tokens::Tokens;

pub(super) async fn handle(tokens: Arc<Tokens>, asked: Asked) -> Answer {
    let authorization = asked.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = authorization.and_then(|value| value.strip_prefix("Bearer ")) else {
        return unauthorized("Bearer", "there is no token in this request");
    };
    if !tokens.accepts(token) {
        return unauthorized(
            "Bearer error=\"invalid_token\"",
            "this token has expired, was revoked, or was never issued",
        );
    }
    match asked.uri().path() {
        "/hello" => json(StatusCode::OK, &json!({ "message": "Hello from an API that wants a token." })),
        "/echo" => json(StatusCode::OK, &json!({ "your headers": headers(&asked) })),
        "/orders" => orders(asked.uri().query().unwrap_or_default()),
        _ => json(StatusCode::NOT_FOUND, &json!({ "error": "there are /hello, /echo and /orders" })),
    }
}

/// The orders of a customer, who is known here by a number.
fn orders(query: &str) -> Answer {
    match form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "customer") {
        Some((_, number)) => json(StatusCode::OK, &json!([{ "order": 1, "customer": number, "total": 12.50 }])),
        None => json(StatusCode::BAD_REQUEST, &json!({ "error": "say whose: ?customer=NUMBER" })),
    }
}

/// RFC 6750 section 3.
fn unauthorized(challenge: &'static str, why: &str) -> Answer {
    let mut answer = json(StatusCode::UNAUTHORIZED, &json!({ "error": why }));
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    answer
}

fn headers(asked: &Asked) -> Value {
    let pairs = asked.headers().iter();
    Value::Object(
        pairs
            .map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes()))))
            .collect::<Map<_, _>>(),
    )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::clock::SystemClock;

    async fn ask(tokens: &Arc<Tokens>, path: &str, authorization: Option<String>) -> (StatusCode, String) {
        let mut request = Request::get(path);
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let answer = handle(tokens.clone(), request.body(Bytes::new()).unwrap()).await;
        let status = answer.status();
        (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn only_an_issued_token_opens_it() {
        let tokens = Tokens::new(Arc::new(SystemClock));
        let token = tokens.issue().unwrap();
        assert_eq!(ask(&tokens, "/hello", None).await.0, StatusCode::UNAUTHORIZED);
        assert_eq!(ask(&tokens, "/hello", Some("Bearer guessed".into())).await.0, StatusCode::UNAUTHORIZED);
        assert_eq!(ask(&tokens, "/hello", Some(format!("Bearer {token}"))).await.0, StatusCode::OK);
    }

    /// Otherwise the demo's third line would show a mask where nothing was to be masked.
    #[tokio::test]
    async fn the_echo_repeats_the_token() {
        let tokens = Tokens::new(Arc::new(SystemClock));
        let token = tokens.issue().unwrap();
        let (status, body) = ask(&tokens, "/echo", Some(format!("Bearer {token}"))).await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains(&format!("Bearer {token}")));
    }
}
