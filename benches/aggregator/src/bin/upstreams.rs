//! The APIs that both aggregators ask: JSON of a given size after a given time.
//!
//! `upstreams ADDRESS`: /part?bytes=N&ms=M answers with an object of about N bytes, M milliseconds later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use serde::Deserialize;

#[derive(Deserialize)]
struct Wish {
    bytes: usize,
    ms: u64,
}

type Documents = Arc<Mutex<HashMap<usize, Bytes>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let address = std::env::args().nth(1).expect("an address such as 127.0.0.1:7001");
    let listener = tokio::net::TcpListener::bind(&address).await.expect("the address is free");
    let router = Router::new().route("/part", get(part)).with_state(Documents::default());
    axum::serve(listener, router).await.expect("serving does not fail");
}

async fn part(
    State(documents): State<Documents>,
    Query(wish): Query<Wish>,
) -> ([(axum::http::HeaderName, &'static str); 1], Bytes) {
    let document = documents.lock().unwrap().entry(wish.bytes).or_insert_with(|| document(wish.bytes)).clone();
    if wish.ms > 0 {
        tokio::time::sleep(Duration::from_millis(wish.ms)).await;
    }
    ([(CONTENT_TYPE, "application/json")], document)
}

/// An object with an id and a list of lines, as APIs have them.
fn document(bytes: usize) -> Bytes {
    let mut text = String::from(r#"{"id":7,"name":"Ada Lovelace","lines":["#);
    let mut line = 0;
    while text.len() + 70 < bytes {
        if line > 0 {
            text.push(',');
        }
        text.push_str(&format!(
            r#"{{"sku":"A-{line:05}","qty":{},"price":{}.50,"internal":"x"}}"#,
            line % 9,
            line % 100
        ));
        line += 1;
    }
    text.push_str("]}");
    text.into()
}
