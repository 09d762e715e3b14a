//! The demo's other API: it wants a key, and knows customers.

use std::sync::Arc;

use http::StatusCode;
use serde_json::json;

use super::serve::{Answer, Asked, json};

pub(super) async fn handle(key: Arc<str>, asked: Asked) -> Answer {
    if asked.headers().get("x-api-key").is_none_or(|shown| shown.as_bytes() != key.as_bytes()) {
        return json(StatusCode::UNAUTHORIZED, &json!({ "error": "this API wants its key as X-Api-Key" }));
    }
    match asked.uri().path().strip_prefix("/customers/").and_then(|id| id.parse::<u32>().ok()) {
        Some(id) => json(StatusCode::OK, &json!({ "id": id, "number": format!("C-{id:04}"), "name": "Ada" })),
        None => json(StatusCode::NOT_FOUND, &json!({ "error": "there is /customers/NUMBER" })),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;

    use super::*;

    async fn ask(path: &str, key: &str) -> StatusCode {
        let request = Request::get(path).header("x-api-key", key).body(Bytes::new()).unwrap();
        handle(Arc::from("right"), request).await.status()
    }

    #[tokio::test]
    async fn only_its_key_opens_it() {
        assert_eq!(ask("/customers/7", "right").await, StatusCode::OK);
        assert_eq!(ask("/customers/7", "wrong").await, StatusCode::UNAUTHORIZED);
        assert_eq!(ask("/customers/seven", "right").await, StatusCode::NOT_FOUND);
    }
}
