//! What it costs to look for secrets in what an upstream answers: on bodies that hold none, which is nearly all of
//! them, per 16 KiB; on headers, per answer.

use std::hint::black_box;
use std::sync::Arc;

use attache::secret::{Masks, Secret};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue};

const BODY_BYTES: usize = 16 * 1024;

/// An opaque token, and a JWT as long as they usually are.
fn secrets() -> [(&'static str, Secret); 2] {
    let jwt = format!("eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.{}", noise(900));
    [("opaque", Secret::new("tok-7f3a91c2e4b85d60af13")), ("jwt", Secret::new(jwt))]
}

/// Letters that repeat nothing.
fn noise(length: usize) -> String {
    let mut random = fastrand::Rng::with_seed(7);
    (0..length).map(|_| random.alphanumeric()).collect()
}

fn repeated(line: &str) -> Bytes {
    let mut body = line.repeat(BODY_BYTES / line.len() + 1);
    body.truncate(BODY_BYTES);
    Bytes::from(body)
}

fn bodies() -> [(&'static str, Bytes); 4] {
    [
        (
            "json",
            repeated(r#"{"id": 4711, "name": "Ana", "email": "ana@example.com", "created": "2024-05-01T10:00:00Z"}, "#),
        ),
        // As PHP writes it, and JSON within JSON.
        (
            "escaped",
            repeated(r#"{"url": "https:\/\/api.example\/v1\/customers\/4711?a=%20b", "raw": "{\"a\":\n\"b\"}"}, "#),
        ),
        ("base64", Bytes::from(noise(BODY_BYTES))),
        ("jwts", repeated(&format!("\"eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.{}\", ", noise(100)))),
    ]
}

fn scan(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan_16_kib");
    group.throughput(Throughput::Bytes(BODY_BYTES as u64));
    for (kind, secret) in secrets() {
        let masks = Arc::new(Masks::new([&secret]));
        for (content, body) in bodies() {
            group.bench_function(format!("{kind}_in_{content}"), |b| {
                let mut scanner = masks.scanner().expect("long enough for bodies");
                b.iter(|| (scanner.push(black_box(body.clone())), scanner.finish()));
            });
        }
        let echo = Bytes::from([&bodies()[0].1[..8000], secret.expose().as_bytes(), &bodies()[0].1[..8000]].concat());
        group.bench_function(format!("{kind}_masked"), |b| {
            let mut scanner = masks.scanner().expect("long enough for bodies");
            b.iter(|| (scanner.push(black_box(echo.clone())), scanner.finish()));
        });
    }
    group.finish();
}

fn headers(c: &mut Criterion) {
    let fields = [
        ("content-type", "application/json; charset=utf-8"),
        ("content-length", "128"),
        ("date", "Tue, 15 Nov 1994 08:12:31 GMT"),
        ("etag", "\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
        ("server", "nginx"),
        ("x-request-id", "7b1f3f2a-6f0c-4d0e-9a52-4b8a1c9d2e3f"),
    ];
    let mut headers: HeaderMap =
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
    for (kind, secret) in secrets() {
        let masks = Masks::new([&secret]);
        c.bench_function(&format!("headers_{kind}"), |b| b.iter(|| masks.mask_headers(black_box(&mut headers))));
    }
    let short = Masks::new([&Secret::new("hunter2")]);
    c.bench_function("headers_short", |b| b.iter(|| short.mask_headers(black_box(&mut headers))));
}

fn make(c: &mut Criterion) {
    for (kind, secret) in secrets() {
        c.bench_function(&format!("make_{kind}"), |b| {
            b.iter_batched(|| &secret, |secret| Masks::new([secret]), BatchSize::SmallInput);
        });
    }
}

criterion_group!(benches, scan, headers, make);
criterion_main!(benches);
