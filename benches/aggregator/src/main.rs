//! What a team would write by hand: three calls at once, or one after the other where the second needs the first, and one
//! document of them.
//!
//! `aggregator ADDRESS UPSTREAM`

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use futures_util::future::try_join3;
use serde::Deserialize;
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

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (address, upstream) = (arguments.next().expect("an address"), arguments.next().expect("an upstream's URL"));
    let listener = tokio::net::TcpListener::bind(&address).await.expect("the address is free");
    let shared = Shared { client: reqwest::Client::new(), upstream };
    let router = Router::new().route("/overview", get(overview)).route("/picked", get(picked)).with_state(shared);
    axum::serve(listener, router).await.expect("serving does not fail");
}

async fn overview(State(shared): State<Shared>, Query(wish): Query<Wish>) -> Result<Json<Value>, StatusCode> {
    let part = || ask(&shared, &wish);
    let (profile, orders, invoices) = try_join3(part(), part(), part()).await?;
    Ok(Json(json!({ "profile": profile, "orders": orders, "invoices": invoices })))
}

/// The same, but only some members of each line are kept.
async fn picked(State(shared): State<Shared>, Query(wish): Query<Wish>) -> Result<Json<Value>, StatusCode> {
    let part = || async {
        let mut document = ask(&shared, &wish).await?;
        for line in document["lines"].as_array_mut().into_iter().flatten() {
            if let Some(line) = line.as_object_mut() {
                line.retain(|name, _| name == "sku" || name == "qty");
            }
        }
        Ok::<_, StatusCode>(json!({ "id": document["id"], "lines": document["lines"] }))
    };
    let (profile, orders, invoices) = try_join3(part(), part(), part()).await?;
    Ok(Json(json!({ "profile": profile, "orders": orders, "invoices": invoices })))
}

async fn ask(shared: &Shared, wish: &Wish) -> Result<Value, StatusCode> {
    let url = format!("{}/part?bytes={}&ms={}", shared.upstream, wish.bytes, wish.ms);
    let answer = shared.client.get(url).bearer_auth("TOKEN").send().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let answer = answer.error_for_status().map_err(|_| StatusCode::BAD_GATEWAY)?;
    answer.json().await.map_err(|_| StatusCode::BAD_GATEWAY)
}
