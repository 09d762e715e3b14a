//! Real gRPC on both sides, Python's grpcio: a client without a credential, a server that wants a token.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Identity, Process, Proxy, TokenEndpoint, client_credentials, one_route_of};

const INSTALL: &str = "./test.sh makes its virtual environment";

fn python(script: &str) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/grpc/bin/python"));
    command.arg(format!("{}/tests/peers/grpc/{script}", env!("CARGO_MANIFEST_DIR")));
    command
}

/// The server, once it accepts this token and no other.
fn server(token: &str, arguments: &[&str]) -> (Process, u16) {
    let mut command = python("server.py");
    command.args(arguments);
    let mut server = Process::spawn(command, INSTALL);
    let port = server.wait_for_line("the port", |line| line.parse::<u16>().is_ok());
    accept(&mut server, token);
    (server, port.parse().expect("it was one before"))
}

fn accept(server: &mut Process, token: &str) {
    server.write_line(token);
    server.wait_for_line("the token's acceptance", |line| line == format!("accepts {token}"));
}

/// What the client says of its calls through attache.
fn results(proxy: &Proxy, arguments: &[&str]) -> Value {
    let mut client = python("client.py");
    client.arg(proxy.address().to_string()).args(arguments);
    let mut client = Process::spawn(client, INSTALL);
    let status = client.wait();
    assert!(status.success(), "{}", client.output());
    let line = client.wait_for_line("the results", |line| line.starts_with('{'));
    serde_json::from_str(&line).expect("the client prints JSON")
}

fn proxy(endpoint: &TokenEndpoint, port: u16) -> Proxy {
    Proxy::start(&toml(endpoint, port))
}

fn toml(endpoint: &TokenEndpoint, port: u16) -> String {
    let upstream = format!("url = \"http://127.0.0.1:{port}\"\nhttp = \"2\"");
    one_route_of(&client_credentials(&endpoint.url()), &upstream, "").replace("/api/{*rest}", "/attache.Test/{method}")
}

fn assert_results(results: &Value) {
    assert_eq!(
        results["unary"],
        json!({ "answer": "fedcba", "code": "OK", "details": "", "trailers": { "x-seen": "6" } })
    );
    assert_eq!(results["large"], 3_000_000);
    let messages: Vec<_> = (0..100).map(|number| format!("message {number}")).collect();
    assert_eq!(results["stream"]["messages"], json!(messages));
    assert_eq!(results["stream"]["trailers"]["x-sent"], "100");
    assert_eq!(results["late failure"]["messages"], json!(["before it failed"]));
    assert_eq!(results["late failure"]["code"], "DATA_LOSS");
    assert_eq!(results["fail"]["code"], "NOT_FOUND");
    assert_eq!(results["fail"]["details"], "no such thing");
}

#[test]
fn unary_and_server_streaming_calls_work_with_their_status_in_trailers() {
    let endpoint = TokenEndpoint::start();
    let (_server, port) = server("demo-access-token-000001", &[]);
    assert_results(&results(&proxy(&endpoint, port), &[]));
    assert_eq!(endpoint.grants().count(), 1);
}

/// HTTP/2 is what ALPN agrees on, on both sides: nothing says so but `http = "auto"`.
#[test]
fn calls_work_over_tls_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::new(folder.path(), "both", &["127.0.0.1"]);
    let [cert, key] = [&identity.cert_file, &identity.key_file].map(|file| file.to_str().unwrap());
    let endpoint = TokenEndpoint::start();
    let (_server, port) = server("demo-access-token-000001", &[cert, key]);
    let listener = format!(":0\"\ntls.certificates = [{{ cert = {cert:?}, key = {key:?} }}]");
    let upstream = format!("https://127.0.0.1:{port}\"\nca = {cert:?}");
    let toml = toml(&endpoint, port)
        .replace(":0\"", &listener)
        .replace(&format!("http://127.0.0.1:{port}\""), &upstream)
        .replace("http = \"2\"", "http = \"auto\"");
    assert_results(&results(&Proxy::start(&toml), &[cert]));
    assert_eq!(endpoint.grants().count(), 1);
}

/// TL-40, TL-41, TL-44: `grpc-status: 16` in the head of a gRPC answer is its 401: the token is replaced, and the call, though
/// a POST, is sent again.
#[test]
fn an_unauthenticated_call_is_replayed_with_a_new_token() {
    let endpoint = TokenEndpoint::start();
    endpoint.set_lifetime(Some(Duration::from_secs(20)));
    let (mut server, port) = server("demo-access-token-000001", &[]);
    let proxy = proxy(&endpoint, port);
    assert_results(&results(&proxy, &[]));
    // A younger token would not be replaced for a rejection (TL-43).
    endpoint.grants().wait_until_older_than(Duration::from_millis(2_100));
    accept(&mut server, "demo-access-token-000002");
    assert_results(&results(&proxy, &[]));
    assert_eq!(endpoint.grants().count(), 2);
}
