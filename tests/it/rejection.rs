//! Tokens that cannot be had, and tokens that an upstream no longer takes: promises of docs/token-lifecycle.md as a client
//! sees them. The state machine's own tests go through the rest.

use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::{Grant, Proxy, Reply, SECRET, TokenEndpoint, Upstream, assert_problem, one_route};

fn setup(more: &str) -> (TokenEndpoint, Upstream, Proxy) {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let proxy = Proxy::start(&one_route(&endpoint, &upstream, more));
    (endpoint, upstream, proxy)
}

/// A token that is old enough to be replaced when it is rejected (TL-43), and was revoked.
fn revoke_an_old_token(endpoint: &TokenEndpoint, proxy: &Proxy) {
    endpoint.set_lifetime(Some(Duration::from_secs(10)));
    assert_eq!(proxy.get("/api/first").status, 200);
    endpoint.grants().wait_until_older_than(Duration::from_millis(1_100));
    endpoint.grants().revoke_all();
}

/// TL-01, TL-20, TL-30, TL-31: whoever comes while there is no token joins the one fetch.
#[test]
fn requests_that_come_together_share_one_fetch() {
    let (endpoint, upstream, proxy) = setup("");
    endpoint.set_latency(Duration::from_millis(300));
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..32).map(|_| scope.spawn(|| proxy.get("/api/x").status)).collect();
        for request in waiting {
            assert_eq!(request.join().unwrap(), 200);
        }
    });
    assert_eq!(endpoint.requests().len(), 1);
    assert_eq!(upstream.requests().len(), 32);
}

/// TL-20, TL-32, TL-71: what passes is a 503 with `Retry-After` that names the token endpoint.
#[test]
fn an_endpoint_that_is_down_is_a_503_that_names_it() {
    let (mut endpoint, upstream, proxy) = setup("");
    endpoint.refuse_connections();
    let answer = proxy.get("/api/x");
    let problem = assert_problem(&answer, 503);
    assert_eq!(problem["fault"], "token_endpoint");
    assert!(answer.headers.get("retry-after").is_some_and(|seconds| seconds.parse::<u64>().is_ok()), "{answer:?}");
    assert!(upstream.requests().is_empty());
}

/// SEC-30, TL-25, TL-32, TL-37: whatever the endpoint says that is no token is a failed attempt; after three of them the
/// request still waits for the next try, since that is due soon.
#[test]
fn a_request_waits_through_an_endpoints_nonsense() {
    let raw = |body: Vec<u8>| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        Grant::Raw([head.into_bytes(), body].concat())
    };
    let token = |value: &str| Grant::Token { value: value.to_owned(), expires_in: Some(3600) };
    let nonsense = [
        Grant::Json(500, json!({})),
        raw(b"<html>".to_vec()),
        raw(Vec::new()),
        raw(vec![b' '; 1_000_000]),
        Grant::Raw(b"HTTP/1.1 nonsense\r\n\r\n".to_vec()),
        token(""),
        token("a\r\nX-Injected: yes"),
        token(&"x".repeat(20_000)),
    ];
    thread::scope(|scope| {
        for grant in nonsense {
            scope.spawn(move || {
                let (endpoint, upstream, proxy) = setup("");
                endpoint.script(vec![grant.clone(); 3]);
                let answer = proxy.get("/api/x");
                assert_eq!(answer.status, 200, "{grant:?}: {answer:?}");
                assert_eq!(endpoint.requests().len(), 4, "{grant:?}");
                assert_eq!(upstream.requests().len(), 1, "{grant:?}");
            });
        }
    });
}

/// SEC-30, TL-25, TL-32: an endpoint that goes on like that is a 503 as soon as the next try is too far away.
#[test]
fn an_endpoint_that_goes_on_failing_is_a_503_that_names_it() {
    let (endpoint, upstream, proxy) = setup("");
    endpoint.script(vec![Grant::Json(500, json!({})); 100]);
    let problem = assert_problem(&proxy.get("/api/x"), 503);
    assert_eq!(problem["fault"], "token_endpoint");
    assert_eq!(problem["credential"], "api");
    assert!(upstream.requests().is_empty());
}

/// TL-33: an endpoint that asks to wait is not asked again meanwhile, and clients learn how long.
#[test]
fn an_endpoint_that_asks_to_wait_is_left_alone() {
    let (endpoint, _upstream, proxy) = setup("");
    endpoint.script([Grant::RetryAfter(429, 30)]);
    for _ in 0..5 {
        let answer = proxy.get("/api/x");
        assert_problem(&answer, 503);
        let seconds = answer.headers.get("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
        assert!(seconds.is_some_and(|seconds| (25..=30).contains(&seconds)), "{answer:?}");
    }
    assert_eq!(endpoint.requests().len(), 1);
}

/// TL-26, TL-71: what needs an operator is a 502, and the endpoint is not asked again for every request.
#[test]
fn a_refused_client_is_a_502_and_is_not_asked_for_again_and_again() {
    let (endpoint, _upstream, proxy) = setup("");
    endpoint.script(vec![Grant::Json(401, json!({ "error": "invalid_client" })); 3]);
    for _ in 0..5 {
        let answer = proxy.get("/api/x");
        let problem = assert_problem(&answer, 502);
        assert_eq!(problem["fault"], "token_endpoint");
        assert!(!answer.text().contains(SECRET), "{answer:?}");
    }
    assert_eq!(endpoint.requests().len(), 1);
}

/// TL-40, TL-41, TL-42, TL-44: a revoked token costs no request anything but time, whatever its method.
#[test]
fn a_revoked_token_is_replaced_and_requests_are_replayed() {
    let (endpoint, upstream, proxy) = setup("");
    revoke_an_old_token(&endpoint, &proxy);
    thread::scope(|scope| {
        let requests: Vec<_> = (0..16)
            .map(|number| {
                let proxy = &proxy;
                scope.spawn(move || match number % 2 {
                    0 => proxy.get("/api/x"),
                    _ => proxy.send("POST", "/api/x", &[], b"the body is sent again"),
                })
            })
            .collect();
        for request in requests {
            assert_eq!(request.join().unwrap().status, 200);
        }
    });
    assert_eq!(endpoint.grants().count(), 2);
    let accepted = upstream.requests().into_iter().filter(|it| it.bearer() == Some("demo-access-token-000002"));
    let posts: Vec<_> = accepted.filter(|request| request.method == "POST").collect();
    assert_eq!(posts.len(), 8);
    assert!(posts.iter().all(|request| request.body == b"the body is sent again"));
}

/// TL-40, TL-44: a body that was too long to keep cannot be sent again: its client gets the upstream's answer, and the
/// next request a new token.
#[test]
fn a_long_body_is_not_replayed_but_its_rejection_counts() {
    let (endpoint, upstream, proxy) = setup("");
    revoke_an_old_token(&endpoint, &proxy);
    let answer = proxy.send("POST", "/api/x", &[], &vec![b'x'; 200_000]);
    assert_eq!(answer.status, 401);
    endpoint.grants().wait_for(2);
    assert_eq!(proxy.get("/api/x").status, 200);
    let long = upstream.requests().into_iter().filter(|request| request.method == "POST");
    assert_eq!(long.count(), 1);
}

/// TL-44: `grpc-status: 16` in an answer that is not gRPC's is a rejection as others are: only an idempotent request is sent
/// again for it.
#[test]
fn a_grpc_status_outside_of_grpc_does_not_send_a_post_twice() {
    for (method, content_type, sent) in [
        ("POST", "application/json", 1),
        ("POST", "text/application/grpc", 1),
        ("GET", "application/json", 2),
        ("POST", "Application/gRPC+proto", 2),
    ] {
        let (endpoint, upstream, proxy) = setup("");
        endpoint.set_lifetime(Some(Duration::from_secs(10)));
        assert_eq!(proxy.get("/api/first").status, 200);
        endpoint.grants().wait_until_older_than(Duration::from_millis(1_100));
        upstream.script([Reply::answer(200, &[("Content-Type", content_type), ("grpc-status", "16")], b"done")]);
        assert_eq!(proxy.send(method, "/api/x", &[], b"").status, 200);
        // Rejected it was all the same, and the token is replaced.
        endpoint.grants().wait_for(2);
        assert_eq!(upstream.requests().len(), 1 + sent, "{method} {content_type}");
    }
}

/// TL-43: a token that was fetched just now is not replaced because it was rejected, so a broken upstream cannot make the
/// proxy hammer the token endpoint.
#[test]
fn a_young_token_is_not_replaced() {
    let (endpoint, upstream, proxy) = setup("");
    upstream.script((0..20).map(|_| Reply::answer(401, &[("WWW-Authenticate", "Bearer")], b"no")));
    for _ in 0..20 {
        let answer = proxy.get("/api/x");
        assert_eq!((answer.status, answer.text().as_str()), (401, "no"));
    }
    assert_eq!(endpoint.requests().len(), 1);
}

/// TL-46: a client must not take the upstream's challenge for its own.
#[test]
fn challenges_that_are_not_the_clients_are_replaced() {
    let (_endpoint, upstream, proxy) = setup("");
    upstream.script([
        Reply::answer(401, &[("WWW-Authenticate", "Basic realm=\"upstream\"")], b""),
        Reply::answer(401, &[("WWW-Authenticate", "Bearer error=\"invalid_token\"")], b""),
    ]);
    let challenge = || proxy.get("/api/x").headers.get("www-authenticate").map(str::to_owned);
    assert_eq!(challenge().as_deref(), Some("Bearer error=\"upstream_rejected\""));
    assert_eq!(challenge().as_deref(), Some("Bearer error=\"invalid_token\""));
}

/// TL-22, TL-29: a token is renewed before it expires, and nobody sees it happen.
#[test]
fn a_token_is_renewed_without_traffic() {
    let (endpoint, _upstream, proxy) = setup("");
    endpoint.set_lifetime(Some(Duration::from_secs(4)));
    assert_eq!(proxy.get("/api/x").status, 200);
    endpoint.grants().wait_for(3);
    assert_eq!(proxy.get("/api/x").status, 200);
}

/// TL-04: what a reload leaves as it was keeps its token.
#[test]
fn a_reload_keeps_the_token() {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let toml = one_route(&endpoint, &upstream, "");
    let proxy = Proxy::start(&toml);
    assert_eq!(proxy.get("/api/x").status, 200);
    proxy.reload(&toml.replace("/api/", "/moved/")).unwrap();
    assert_eq!(proxy.get("/moved/x").status, 200);
    assert_eq!(proxy.get("/api/x").status, 404);
    assert_eq!(endpoint.requests().len(), 1);
}

/// TL-45: claims that the upstream misses are asked for by the next fetch, and by that one only. A server that does not grant
/// them is asked without, since the token has to be renewed anyway.
#[test]
fn lacking_claims_are_asked_for_once() {
    let (endpoint, upstream, proxy) = setup("");
    endpoint.set_lifetime(Some(Duration::from_secs(10)));
    assert_eq!(proxy.get("/api/first").status, 200);
    let claims = |number: usize| format!("{{\"access_token\":{{\"nbf\":{{\"value\":\"{number}\"}}}}}}");
    let lacks = |number: usize| {
        let encoded = STANDARD.encode(claims(number));
        let challenge = format!("Bearer realm=\"\", error=\"insufficient_claims\", claims=\"{encoded}\"");
        Reply::answer(401, &[("WWW-Authenticate", &challenge)], b"")
    };
    let invalid = || Reply::answer(401, &[("WWW-Authenticate", "Bearer error=\"invalid_token\"")], b"");
    for (reply, grants) in [
        (lacks(1), vec![]),
        (invalid(), vec![]),
        (lacks(2), vec![Grant::Json(400, json!({ "error": "interaction_required" }))]),
    ] {
        endpoint.grants().wait_until_older_than(Duration::from_millis(1_100));
        upstream.script([reply]);
        endpoint.script(grants);
        assert_eq!(proxy.get("/api/x").status, 200);
    }
    let asked: Vec<_> = endpoint.requests().iter().map(|request| request.form("claims")).collect();
    assert_eq!(asked, [None, Some(claims(1)), None, Some(claims(2)), None]);
}

/// TL-41, TL-45: a fetch that fails loses none of the claims; the next ones ask for them again, until one brings a token.
#[test]
fn lacking_claims_outlive_a_fetch_that_fails() {
    let (endpoint, upstream, proxy) = setup("");
    endpoint.set_lifetime(Some(Duration::from_secs(10)));
    assert_eq!(proxy.get("/api/first").status, 200);
    endpoint.grants().wait_until_older_than(Duration::from_millis(1_100));
    let claims = "{\"access_token\":{\"nbf\":{\"value\":\"1\"}}}";
    let challenge = format!("Bearer error=\"insufficient_claims\", claims=\"{}\"", STANDARD.encode(claims));
    upstream.script([Reply::answer(401, &[("WWW-Authenticate", &challenge)], b"")]);
    endpoint.script((0..3).map(|_| Grant::Json(500, json!({}))));
    assert_eq!(proxy.get("/api/x").status, 401);
    endpoint.wait_for_requests(5);
    let asked: Vec<_> = endpoint.requests().iter().map(|request| request.form("claims")).collect();
    let claims = || Some(claims.to_owned());
    assert_eq!(asked, [None, claims(), claims(), claims(), claims()]);
}
