//! What it costs to remove from a request's headers all that is not for the upstream (SEC-10).

use std::hint::black_box;

use attache::proxy::clean_request_headers;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn clean(c: &mut Criterion) {
    let few = map(&[("host", "127.0.0.1:8080"), ("accept", "*/*"), ("user-agent", "load/1.0")]);
    let sdk = map(&[
        ("host", "127.0.0.1:8080"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate"),
        ("authorization", "Bearer attache-key-of-the-client"),
        ("connection", "keep-alive"),
        ("content-length", "128"),
        ("content-type", "application/json"),
        ("idempotency-key", "7b1f3f2a-6f0c-4d0e-9a52-4b8a1c9d2e3f"),
        ("user-agent", "python-requests/2.32"),
        ("x-request-id", "7b1f3f2a-6f0c-4d0e-9a52-4b8a1c9d2e3f"),
    ]);
    for (name, headers) in [("few", few), ("sdk", sdk)] {
        c.bench_function(&format!("clean_{name}"), |b| {
            b.iter_batched_ref(
                || headers.clone(),
                |headers| clean_request_headers(black_box(headers), false, &[AUTHORIZATION]),
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, clean);
criterion_main!(benches);
