//! What a request pays for a fresh token (TL-21).

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use attache::clock::SystemClock;
use attache::secret::Secret;
use attache::token::{FetchFuture, FetchRequest, Granted, IdentityFields, Policy, Source, TokenCache};
use criterion::{Criterion, criterion_group, criterion_main};

/// Grants tokens of an hour.
#[derive(Debug)]
struct Hourly;

impl Source for Hourly {
    fn fetch(&self, _: FetchRequest) -> FetchFuture {
        let lifetime = Some(Duration::from_secs(3600));
        Box::pin(async move {
            Ok(Granted {
                value: Secret::new("tok-7f3a91c2e4b85d60af13"),
                further: BTreeMap::new(),
                lifetime,
                refresh_in: None,
                last: false,
            })
        })
    }

    fn origin(&self) -> std::sync::Arc<str> {
        "https://login.example".into()
    }

    fn client_id(&self) -> &str {
        "attache"
    }
}

fn ready(c: &mut Criterion) {
    let control = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let cache = TokenCache::new(Arc::new(SystemClock), control.handle().clone());
    let policy = Policy {
        name: Arc::from("crm"),
        refresh_before: None,
        keep_warm: Duration::from_secs(24 * 3600),
        single_active: false,
        warm: false,
        stale_if_error: Duration::ZERO,
        attach: Arc::default(),
        attempt_timeout: Duration::from_secs(10),
        total_timeout: Duration::from_secs(30),
    };
    let identity = cache.identity(&IdentityFields { credential: "crm", ..IdentityFields::default() });
    let cell = cache.declare(identity, cache.proof(&[b"secret"]), policy, Arc::new(Hourly));
    control.block_on(cell.take(Duration::from_secs(10))).expect("a token");
    c.bench_function("token_ready", |b| b.iter(|| black_box(&cell).ready().expect("a fresh token")));
}

criterion_group!(benches, ready);
criterion_main!(benches);
