//! A scripted peer that does not do what it says would make every other test worthless.

use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde_json::json;

use crate::support::{Client, Grant, Reply, TokenEndpoint, Upstream, get, send};

#[test]
fn an_upstream_refuses_what_its_token_endpoint_did_not_grant() {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let address = endpoint.url()["http://".len()..].trim_end_matches("/token").parse().unwrap();
    let granted = send(address, "POST", "/token", &[], b"grant_type=client_credentials").json();
    let bearer = format!("Bearer {}", granted["access_token"].as_str().unwrap());
    assert_eq!(get(upstream.address(), "/").status, 401);
    assert_eq!(send(upstream.address(), "GET", "/", &[("Authorization", &bearer)], b"").status, 200);
    endpoint.grants().revoke_all();
    assert_eq!(send(upstream.address(), "GET", "/", &[("Authorization", &bearer)], b"").status, 401);
    assert_eq!(upstream.requests().len(), 3);
    assert_eq!(endpoint.requests()[0].form("grant_type").as_deref(), Some("client_credentials"));
}

#[test]
fn a_token_endpoint_plays_its_script_and_then_grants() {
    let endpoint = TokenEndpoint::start();
    endpoint.set_lifetime(Some(Duration::from_secs(7)));
    endpoint.script([Grant::Json(400, json!({ "error": "invalid_client" })), Grant::RetryAfter(429, 3)]);
    let address = endpoint.url()["http://".len()..].trim_end_matches("/token").parse().unwrap();
    let mut client = Client::connect(address);
    let mut ask = || client.send("POST", "/token", &[], b"x=y");
    assert_eq!(ask().json(), json!({ "error": "invalid_client" }));
    assert_eq!(ask().headers.get("retry-after"), Some("3"));
    assert_eq!(ask().json()["expires_in"], 7);
    assert_eq!(endpoint.grants().count(), 1);
}

#[test]
fn a_peer_that_refuses_can_resume_on_its_port() {
    let mut upstream = Upstream::open();
    let mut kept = Client::connect(upstream.address());
    assert_eq!(kept.send("GET", "/", &[], b"").text(), "ok");
    for _ in 0..3 {
        upstream.refuse_connections();
        assert!(TcpStream::connect(upstream.address()).is_err());
        assert!(kept.read_to_end().is_empty());
        upstream.resume();
        assert_eq!(get(upstream.address(), "/").text(), "ok");
    }
}

#[test]
fn a_silent_peer_takes_requests_and_drops_them_when_it_resumes() {
    let mut endpoint = TokenEndpoint::start();
    let address = endpoint.url()["http://".len()..].trim_end_matches("/token").parse().unwrap();
    endpoint.stop_answering();
    let mut client = Client::connect(address);
    client.write_request("POST", "/token", &[], b"x=y");
    endpoint.wait_for_requests(1);
    endpoint.resume();
    assert!(client.read_to_end().is_empty());
    assert_eq!(endpoint.grants().count(), 0);
    assert_eq!(send(address, "POST", "/token", &[], b"x=y").status, 200);
}

#[test]
fn a_peers_panic_fails_the_test() {
    let upstream = Upstream::open();
    upstream.script([Reply::custom(|_, _| panic!("on purpose"))]);
    let mut client = Client::connect(upstream.address());
    client.write_request("GET", "/", &[], b"");
    assert!(client.read_to_end().is_empty());
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(upstream)));
    assert!(dropped.is_err());
}

#[test]
fn bodies_and_trailers_are_read_as_they_are_framed() {
    let upstream = Upstream::open();
    upstream.script([Reply::Raw(
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
          3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n"
            .to_vec(),
    )]);
    let mut client = Client::connect(upstream.address());
    client.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n").unwrap();
    let answer = client.read_answer("POST").unwrap();
    assert_eq!(answer.text(), "abcde");
    assert_eq!(answer.trailers.get("x-sum"), Some("5"));
    assert_eq!(upstream.request().body, b"body");
    assert_eq!(client.send("HEAD", "/", &[], b"").headers.get("content-length"), Some("2"));
    assert_eq!(upstream.connections(), 1);
}
