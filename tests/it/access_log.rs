//! The line that a request leaves in the log, as programs read it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use attache::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::support::{Answer, Child, Client, Reply, SECRET, TokenEndpoint, Upstream, one_route};

struct Rig {
    endpoint: TokenEndpoint,
    upstream: Upstream,
    proxy: Child,
    client: Client,
}

impl Rig {
    /// One worker, so that the upstream's connection is found again; a route `reports` for a client `billing`.
    fn start() -> Rig {
        let endpoint = TokenEndpoint::start();
        let upstream = Upstream::guarded(endpoint.grants());
        // Of "demo-key".
        let more = "name = \"reports\"\n[log]\nformat = \"json\"\n[clients.billing.key]\n\
                    sha256 = [\"c48a01f49fd0f2cc404bc3cbbc80e91457a3d41bb429a695243de4c61794155c\"]\n";
        let toml = one_route(&endpoint, &upstream, more).replace("clients = \"anyone\"", "clients = [\"billing\"]");
        let proxy = Child::run(&toml.replace("workers = 2", "workers = 1"), &[("SECRET", SECRET)]);
        let line = parsed(&proxy.wait_for_line("the start", |line| line.contains("listening on")));
        let address = line["message"].as_str().and_then(|text| text.strip_prefix("listening on ")?.parse().ok());
        let address: SocketAddr = address.unwrap_or_else(|| panic!("{line}"));
        Rig { endpoint, upstream, proxy, client: Client::connect(address) }
    }

    /// Asks, and waits for the line that this leaves.
    fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> (Answer, Value) {
        let answer = self.client.send(method, path, &[("X-Api-Key", "demo-key")], body);
        let quoted = format!("\"path\":\"{path}\"");
        (answer, parsed(&self.proxy.wait_for_line(path, |line| line.contains(&quoted))))
    }
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// What a line says in milliseconds, with microseconds behind the point.
fn time(line: &Value, key: &str) -> Duration {
    let milliseconds = line[key].as_f64().unwrap_or_else(|| panic!("{key} in {line}"));
    Duration::from_micros((milliseconds * 1000.0).round() as u64)
}

fn assert_says(line: &Value, expected: &Value) {
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(line[key], *value, "{key} in {line}");
    }
}

/// Who, where to, how much, how often.
#[test]
fn a_line_says_what_became_of_its_request() {
    let mut rig = Rig::start();
    rig.upstream.script([Reply::answer(201, &[], b"seven b")]);
    let (answer, line) = rig.ask("POST", "/api/first", b"five!");
    let common = json!({ "level": "info", "target": "attache::access", "client": "billing", "route": "reports",
        "upstream": "api", "replayed": false, "aborted": false, "fault": null, "upstream_request_id": null });
    assert_says(&line, &common);
    let first = json!({ "method": "POST", "status": 201, "bytes_in": 5, "bytes_out": 7, "retries": 0,
        "request_id": answer.headers.get("x-request-id").expect("it has one") });
    assert_says(&line, &first);
    // The connection that was kept turns out to be closed.
    rig.upstream.script([Reply::RawThenClose(Vec::new())]);
    let (_, line) = rig.ask("GET", "/api/again", b"");
    assert_says(&line, &common);
    assert_says(&line, &json!({ "method": "GET", "status": 200, "bytes_in": 0, "bytes_out": 2, "retries": 1 }));
    let (_, line) = rig.ask("GET", "/other", b"");
    let nowhere = json!({ "route": null, "upstream": null, "client": null, "status": 404, "retries": 0,
        "fault": "client", "problem": "no_route" });
    assert_says(&line, &nowhere);
}

/// Where the time of a request went.
#[test]
fn a_line_says_what_took_how_long() {
    const TOKEN: Duration = Duration::from_millis(80);
    const HEAD: Duration = Duration::from_millis(60);
    const BODY: Duration = Duration::from_millis(40);
    let mut rig = Rig::start();
    rig.endpoint.set_latency(TOKEN);
    rig.upstream.script([Reply::custom(|_, connection| {
        connection.pause(HEAD);
        connection.stream().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")?;
        connection.pause(BODY);
        connection.stream().write_all(b"other")
    })]);
    let begun = SystemClock.now();
    let (_, line) = rig.ask("GET", "/api/slow", b"");
    let took = SystemClock.now().since(begun);
    let [matched, token, connect] = ["match_ms", "token_ms", "connect_ms"].map(|key| time(&line, key));
    let [first_byte, total] = ["first_byte_ms", "total_ms"].map(|key| time(&line, key));
    assert!(!matched.is_zero() && !connect.is_zero(), "{line}");
    assert!(token >= TOKEN, "{line}");
    assert!(first_byte >= matched + token + connect + HEAD, "{line}");
    // The pauses are the upstream's: a head that is read late shortens what is seen of the second one.
    let least = (matched + token + connect + HEAD + BODY).max(first_byte);
    assert!((least..=took).contains(&total), "{line} after {took:?}");
    // Now there is a token, and a connection.
    let (_, line) = rig.ask("GET", "/api/quick", b"");
    assert_eq!((time(&line, "token_ms"), time(&line, "connect_ms")), (Duration::ZERO, Duration::ZERO), "{line}");
    assert!(time(&line, "total_ms") >= time(&line, "first_byte_ms"), "{line}");
    assert!(time(&line, "first_byte_ms") >= time(&line, "match_ms"), "{line}");
}

/// Whatever the client got as the upstream's id is what its people will be asked about.
#[test]
fn the_upstreams_ids_are_logged_all_and_legible_or_not() {
    let mut rig = Rig::start();
    let head = b"HTTP/1.1 200 OK\r\nX-Request-Id: caf\xe9\r\nX-Request-Id: two\r\nContent-Length: 0\r\n\r\n";
    rig.upstream.script([Reply::Raw(head.to_vec())]);
    let (answer, line) = rig.ask("GET", "/api/x", b"");
    assert_eq!(answer.headers.all("x-request-id"), ["caf\u{e9}", "two"]);
    assert_says(&line, &json!({ "upstream_request_id": "caf\u{fffd}, two" }));
    assert_ne!(line["request_id"], line["upstream_request_id"]);
}
