//! What a signature costs each request, by scheme: the figures are signed requests per second on one core. The request has no
//! body; of one that is signed, its hash comes on top.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use attache::clock::{Clock, SystemClock};
use attache::config::{Environment, Load, load_text};
use attache::credential::sign::Unsigned;
use attache::credential::{Credential, Declared};
use attache::snapshot::{Living, Snapshot};
use attache::token::Attached;
use attache::upstream::{OutgoingBody, OutgoingHead};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

const CREDENTIALS: &str = r#"
[[listeners]]
address = "127.0.0.1:0"

[credentials.aws_sigv4.aws_sigv4]
access_key_id = "AKIAIOSFODNN7EXAMPLE"
secret_access_key = { env = "SECRET" }
session_token = { env = "SECRET" }
region = "eu-central-1"
service = "execute-api"

[credentials.hmac.hmac]
key = { env = "SECRET" }
string_to_sign = "{timestamp}{method}{target}"
headers = { X-Signature = "{signature}", X-Timestamp = "{timestamp}" }

[credentials.jwt_hs256.jwt]
secret = { env = "SECRET" }
issuer = "attache"
per_request = true

[credentials.jwt_es256.jwt]
private_key = { env = "P256" }
issuer = "attache"
per_request = true

[credentials.jwt_rs256.jwt]
private_key = { env = "RSA" }
issuer = "attache"
per_request = true

[credentials.jwt_shared.jwt]
private_key = { env = "RSA" }
issuer = "attache"
"#;

fn environment() -> Environment {
    let variables = [
        ("SECRET", "a-secret-of-a-usual-length-0123456789abcdef"),
        ("P256", include_str!("../src/jws/keys/p256.pem")),
        ("RSA", include_str!("../src/jws/keys/rsa.pem")),
    ];
    Environment(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
}

fn sign(c: &mut Criterion) {
    let control = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let config = load_text(Path::new("proxy.toml"), CREDENTIALS, &environment(), Load::Full).expect("it is valid");
    let clock = Arc::new(SystemClock);
    let snapshot =
        Snapshot::compile(&config.config, &Living::new(&config.config, clock.clone(), control.handle().clone()));
    let headers = HeaderMap::from_iter([
        (HeaderName::from_static("accept"), HeaderValue::from_static("application/json")),
        (HeaderName::from_static("user-agent"), HeaderValue::from_static("python-requests/2.32")),
        (HeaderName::from_static("x-amz-meta-note"), HeaderValue::from_static("one")),
    ]);
    let head = OutgoingHead {
        method: &Method::GET,
        target: "/v1/orders/17?expand=lines&limit=50",
        headers: &headers,
        over: [None; 3],
        wants_trailers: false,
    };
    let body = OutgoingBody::empty();
    let request = Unsigned { https: true, authority: "api.example.com", head: &head, body: &body };
    let mut group = c.benchmark_group("sign");
    group.throughput(Throughput::Elements(1));
    for (config, credential) in config.config.credentials.iter().zip(&snapshot.credentials) {
        let Declared::Shared(credential) = credential else { panic!("it is for all requests") };
        group.bench_function(&*config.name, |b| b.iter(|| signed(credential, &*clock, black_box(&request))));
    }
    group.finish();
}

fn signed(credential: &Credential, clock: &dyn Clock, request: &Unsigned<'_>) -> usize {
    let attachment = credential.ready(clock.now()).expect("it needs no token");
    let signing = attachment.signs().expect("it signs");
    let signed = signing.sign(request, clock).expect("it can be signed");
    signed.attachment.attached().and_then(Attached::first_header).expect("a header is set").1.len()
}

criterion_group!(benches, sign);
criterion_main!(benches);
