//! HMACs over parts of requests, as a peer receives and verifies them.

use std::io::ErrorKind;

use ring::hmac;

use crate::support::{Proxy, Reply, Upstream, one_route_of};

const KEY: &str = "planted-key-of-the-tests";

const CREDENTIAL: &str = r#"
[credentials.api.hmac]
key = { env = "KEY" }
string_to_sign = "{timestamp}\n{nonce}\n{method}\n{host}\n{target}\n{header:content-type}\n{body_sha256}\n{body}"
secrets = { key_id = { env = "KEY_ID" } }
headers = { Authorization = "HMAC {key_id}:{nonce}:{signature}", X-Time = "{timestamp}" }
query = { id = "{key_id}", sig = "{signature}" }
"#;

fn proxy(upstream: &Upstream, more: &str) -> Proxy {
    let toml = one_route_of(CREDENTIAL, &format!("url = \"{}/v1\"", upstream.url()), more);
    Proxy::start_with(&toml, &[("KEY", KEY), ("KEY_ID", "planted id/of the key")])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SEC-10: what arrives verifies, for bodies of every kind, and nothing of the client's stands beside what was set.
#[test]
fn what_arrives_verifies() {
    let upstream = Upstream::open();
    let proxy = proxy(&upstream, "");
    let own = [("Authorization", "HMAC evil"), ("X-Time", "evil"), ("Content-Type", "text/plain")];
    for body in [vec![], b"a body".to_vec(), vec![b'x'; 300_000]] {
        let answer = proxy.send("POST", "/api/a%2Fb?q=1&sig=evil&i%64=evil", &own, &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        let sent = upstream.requests().pop().unwrap();
        assert!(!format!("{:?} {}", sent.headers, sent.target).contains("evil"), "{sent:?}");
        assert!(sent.body == body);
        let authorization = sent.headers.get("authorization").unwrap();
        let parts: Vec<&str> = authorization.split(':').collect();
        let ["HMAC planted id/of the key", nonce, signature] = parts[..] else { panic!("{authorization}") };
        let (target, in_query) = sent.target.split_once("&sig=").unwrap();
        assert_eq!(target, "/v1/a%2Fb?q=1&id=planted%20id%2Fof%20the%20key");
        assert_eq!(in_query, signature);
        let time = sent.headers.get("x-time").unwrap();
        let hash = hex(ring::digest::digest(&ring::digest::SHA256, &body).as_ref());
        let head = format!("{time}\n{nonce}\nPOST\n{}\n{target}\ntext/plain\n{hash}\n", upstream.address());
        let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
        assert_eq!(signature, hex(hmac::sign(&key, &[head.as_bytes(), &body].concat()).as_ref()));
    }
}

/// A retry has a nonce and a signature of its own.
#[test]
fn a_retry_is_another_request_to_whoever_counts_nonces() {
    let upstream = Upstream::open();
    let proxy = proxy(&upstream, "");
    // One worker, and so one connection to the upstream, that is used again.
    let mut client = proxy.connect();
    assert_eq!(client.send("GET", "/api/warm", &[], b"").status, 200);
    upstream.script([Reply::custom(|_, _| Err(ErrorKind::ConnectionReset.into()))]);
    assert_eq!(client.send("PUT", "/api/x", &[], b"body").status, 200);
    let requests = upstream.requests();
    let [_, first, second] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!((&first.body, &second.body), (&b"body".to_vec(), &b"body".to_vec()));
    assert_ne!(first.headers.get("authorization"), second.headers.get("authorization"));
    assert_ne!(first.target, second.target);
}

/// SEC-13: an upstream that repeats what it was sent gives nothing away.
#[test]
fn signatures_and_secrets_are_masked() {
    let upstream = Upstream::open();
    let proxy = proxy(&upstream, "");
    upstream.script([Reply::custom(|request, connection| {
        use std::io::Write as _;
        let plain = format!("{} {} {KEY}", request.target, request.headers.get("authorization").unwrap());
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain";
        write!(connection.stream(), "{head}\r\nX-Seen: {plain}\r\nContent-Length: {}\r\n\r\n{plain}", plain.len())
    })]);
    let answer = proxy.get("/api/x");
    let sent = upstream.request();
    let signature = sent.target.split_once("&sig=").unwrap().1;
    for shown in [answer.headers.get("x-seen").unwrap(), &answer.text()] {
        assert!(!shown.contains("planted") && !shown.contains(signature), "{shown}");
        assert!(shown.contains("HMAC ****"), "{shown}");
    }
}
