//! What it costs to make one answer of three parts of 10 KiB each, as it is done, and by way of trees.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use attache::config::{
    Aggregate, Edits, FailStatus, HttpUrl, HttpVersion, Layout, OnFailure, Part, PartRequest, Place, Replay, Report,
    Upstream, UpstreamTimeouts, UpstreamUrl,
};
use attache::proxy::aggregate::compose::composed;
use attache::proxy::aggregate::json::Json;
use attache::proxy::aggregate::value::{Content, Known};
use attache::route::Matched;
use attache::snapshot::MemoryBudget;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, Method};
use serde_json::{Map, Value};

const PART_BYTES: usize = 10 * 1024;
const NAMES: [&str; 3] = ["profile", "orders", "invoices"];

/// A list as APIs answer with, of 10 KiB.
fn answer() -> Bytes {
    let item = r#"{"id": 4711, "name": "Ana", "email": "ana@example.com", "total": 12.50, "lines": [{"sku": "a-1", "qty": 2}]}"#;
    let items = vec![item; PART_BYTES / (item.len() + 1)];
    Bytes::from(format!("[{}]", items.join(",")))
}

fn part(name: &str, upstream: &Arc<Upstream>, edits: Edits) -> Part {
    Part {
        name: name.into(),
        upstream: upstream.clone(),
        request: PartRequest {
            method: Method::GET,
            path: Vec::new(),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
        },
        needs: Vec::new(),
        when: None,
        for_each: None,
        pages: None,
        timeout: Duration::from_secs(10),
        retries: 0,
        success: Vec::new(),
        bytes_max: 4 << 20,
        on_failure: OnFailure::Fail(FailStatus::Default),
        target: None,
        edits,
        place: Place::At(vec![name.to_owned()]),
    }
}

fn aggregate(edits: &Edits) -> Aggregate {
    let timeout = Duration::from_secs(10);
    let upstream = Arc::new(Upstream {
        name: "upstream".into(),
        url: UpstreamUrl::Fixed(HttpUrl::parse("http://127.0.0.1:1").expect("a URL")),
        openapi: None,
        credential: None,
        ca: Vec::new(),
        client_certificate: None,
        private: true,
        http: HttpVersion::Auto,
        timeouts: UpstreamTimeouts { connect: timeout, first_byte: timeout, idle: timeout },
        reject_on: Vec::new(),
        replay: Replay::Safe,
        forwarded: false,
    });
    Aggregate {
        parts: NAMES.map(|name| part(name, &upstream, edits.clone())).into(),
        layout: Layout::Places,
        collision: None,
        deadline: Duration::from_secs(30),
        report: Report::Header,
        stream: false,
        reads_request: false,
    }
}

/// From the bytes that three upstreams answered to those that the client gets.
fn compose(c: &mut Criterion) {
    let budget = MemoryBudget::new(1 << 30);
    let mut group = c.benchmark_group("compose_3_parts_of_10_kib");
    let answers = [answer(), answer(), answer()];
    group.throughput(Throughput::Bytes(answers.iter().map(|answer| answer.len() as u64).sum()));
    let picked =
        Edits { pick: vec![vec!["id".to_owned()], vec!["lines".to_owned(), "sku".to_owned()]], ..Edits::default() };
    for (kind, edits) in [("spliced", Edits::default()), ("picked", picked)] {
        let plan = aggregate(&edits);
        let (matched, headers) = (Matched { route: 0, parameters: Vec::new(), rest: None }, HeaderMap::new());
        group.bench_function(kind, |b| {
            b.iter(|| {
                let check = |answer: &Bytes| Json::check(black_box(answer).clone()).expect("it is JSON");
                let contents = answers.each_ref().map(|answer| Some(Content::Json(check(answer))));
                let known = Known {
                    matched: &matched,
                    path: "/",
                    query: None,
                    headers: &headers,
                    request: None,
                    client: None,
                    parts: &contents,
                    item: None,
                    seen: None,
                };
                composed(&plan, &known, None, budget.hold()).expect("there is room")
            });
        });
    }
    group.bench_function("parsed", |b| {
        b.iter(|| {
            let mut whole = Map::new();
            for (name, answer) in NAMES.iter().zip(&answers) {
                let tree: Value = serde_json::from_slice(black_box(answer)).expect("it is JSON");
                whole.insert((*name).to_owned(), tree);
            }
            serde_json::to_vec(&Value::Object(whole)).expect("a value is JSON")
        });
    });
    group.finish();
}

criterion_group!(benches, compose);
criterion_main!(benches);
