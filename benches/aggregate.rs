//! What it costs to make one answer of three parts of 10 KiB each, as it is done, and by way of trees.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use attache::config::{Aggregate, Answers, Environment, Load, load_text};
use attache::proxy::aggregate::compose::composed;
use attache::proxy::aggregate::json::Json;
use attache::proxy::aggregate::value::{Content, Known};
use attache::route::Matched;
use attache::snapshot::MemoryBudget;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::HeaderMap;
use serde_json::{Map, Value};

const PART_BYTES: usize = 10 * 1024;
const NAMES: [&str; 3] = ["profile", "orders", "invoices"];

const CONFIG: &str = r#"
[[listeners]]
address = "127.0.0.1:0"

[upstreams.api]
url = "http://127.0.0.1:1"

[[routes]]
path = "/whole"
clients = "anyone"

"#;

/// A list as APIs answer with, of 10 KiB.
fn answer() -> Bytes {
    let item = r#"{"id": 4711, "name": "Ana", "email": "ana@example.com", "total": 12.50, "lines": [{"sku": "a-1", "qty": 2}]}"#;
    let items = vec![item; PART_BYTES / (item.len() + 1)];
    Bytes::from(format!("[{}]", items.join(",")))
}

/// One that shows the three at their names, with this beside each.
fn aggregate(shape: &str) -> Arc<Aggregate> {
    let parts =
        NAMES.map(|name| format!("[routes.aggregate.parts.{name}]\nupstream = \"api\"\npath = \"/{name}\"\n{shape}\n"));
    let text = format!("{CONFIG}{}", parts.concat());
    let loaded = load_text(Path::new("proxy.toml"), &text, &Environment::default(), Load::Full).expect("it is valid");
    match &loaded.config.routes[0].answers {
        Answers::Aggregate(aggregate) => aggregate.clone(),
        Answers::Upstream(_) => panic!("the route has parts"),
    }
}

/// From the bytes that three upstreams answered to those that the client gets.
fn compose(c: &mut Criterion) {
    let budget = MemoryBudget::new(1 << 30);
    let mut group = c.benchmark_group("compose_3_parts_of_10_kib");
    let answers = [answer(), answer(), answer()];
    group.throughput(Throughput::Bytes(answers.iter().map(|answer| answer.len() as u64).sum()));
    for (kind, shape) in [("spliced", ""), ("picked", "pick = [\"id\", \"lines.sku\"]")] {
        let plan = aggregate(shape);
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
