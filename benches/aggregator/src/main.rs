//! What a team would write by hand: three calls at once, and one document of them. Twice: as one writes it first, with
//! trees of values, and as somebody writes it who measures: the bytes of answers are passed on as they are, and what is
//! picked is read into types.
//!
//! `aggregator ADDRESS UPSTREAM`

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use futures_util::future::try_join3;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

#[derive(Clone)]
struct Shared {
    client: reqwest::Client,
    upstream: String,
}

#[derive(Deserialize)]
struct Wish {
    bytes: usize,
    ms: u64,
}

/// The answer of three parts.
#[derive(Serialize)]
struct Overview<P> {
    profile: P,
    orders: P,
    invoices: P,
}

/// What is picked of a part.
#[derive(Deserialize, Serialize)]
struct Picked {
    id: Box<RawValue>,
    lines: Vec<Line>,
}

#[derive(Deserialize, Serialize)]
struct Line {
    sku: String,
    qty: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (address, upstream) = (arguments.next().expect("an address"), arguments.next().expect("an upstream's URL"));
    let listener = tokio::net::TcpListener::bind(&address).await.expect("the address is free");
    let listener = listener.tap_io(|tcp| tcp.set_nodelay(true).expect("TCP_NODELAY can be set"));
    let shared = Shared { client: reqwest::Client::new(), upstream };
    let router = Router::new()
        .route("/first/overview", get(overview))
        .route("/first/picked", get(picked))
        .route("/tuned/overview", get(tuned_overview))
        .route("/tuned/picked", get(tuned_picked))
        .with_state(shared);
    axum::serve(listener, router).await.expect("serving does not fail");
}

async fn overview(State(shared): State<Shared>, Query(wish): Query<Wish>) -> Result<Response, StatusCode> {
    let part = || async { tree(&shared, &wish).await };
    three(try_join3(part(), part(), part()).await?)
}

/// The same, but only some members of each line are kept.
async fn picked(State(shared): State<Shared>, Query(wish): Query<Wish>) -> Result<Response, StatusCode> {
    let part = || async {
        let mut document = tree(&shared, &wish).await?;
        for line in document["lines"].as_array_mut().into_iter().flatten() {
            if let Some(line) = line.as_object_mut() {
                line.retain(|name, _| name == "sku" || name == "qty");
            }
        }
        Ok::<_, StatusCode>(json!({ "id": document["id"], "lines": document["lines"] }))
    };
    three(try_join3(part(), part(), part()).await?)
}

async fn tuned_overview(State(shared): State<Shared>, Query(wish): Query<Wish>) -> Result<Response, StatusCode> {
    let part = || async {
        let bytes = ask(&shared, &wish).await?.bytes().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        serde_json::from_slice::<Box<RawValue>>(&bytes).map_err(|_| StatusCode::BAD_GATEWAY)
    };
    three(try_join3(part(), part(), part()).await?)
}

async fn tuned_picked(State(shared): State<Shared>, Query(wish): Query<Wish>) -> Result<Response, StatusCode> {
    let part = || async {
        let bytes = ask(&shared, &wish).await?.bytes().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        serde_json::from_slice::<Picked>(&bytes).map_err(|_| StatusCode::BAD_GATEWAY)
    };
    three(try_join3(part(), part(), part()).await?)
}

fn three<P: Serialize>((profile, orders, invoices): (P, P, P)) -> Result<Response, StatusCode> {
    let bytes = serde_json::to_vec(&Overview { profile, orders, invoices });
    let bytes = bytes.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(CONTENT_TYPE, "application/json")], bytes).into_response())
}

async fn tree(shared: &Shared, wish: &Wish) -> Result<Value, StatusCode> {
    ask(shared, wish).await?.json().await.map_err(|_| StatusCode::BAD_GATEWAY)
}

async fn ask(shared: &Shared, wish: &Wish) -> Result<reqwest::Response, StatusCode> {
    let url = format!("{}/part?bytes={}&ms={}", shared.upstream, wish.bytes, wish.ms);
    let answer = shared.client.get(url).bearer_auth("TOKEN").send().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    answer.error_for_status().map_err(|_| StatusCode::BAD_GATEWAY)
}
