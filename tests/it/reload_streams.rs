//! What a reload ends: streams of which a part was removed.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::sync::Arc;

use attache::client_auth::digest_of;

use crate::support::{Client, DEADLINE, Proxy, Reply, TokenEndpoint, Upstream, Watched, one_route};

const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n";

/// The end of a client's table: its keys.
fn keys(keys: &[&str]) -> String {
    let hex = |key: &&str| {
        digest_of(key.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a string can be written to");
            hex
        })
    };
    format!("sha256 = {:?}", keys.iter().map(hex).collect::<Vec<_>>())
}

/// A stream that has begun; it goes on when `go_on` says so.
fn stream(proxy: &Proxy, upstream: &Upstream, key: &str, go_on: &Arc<Watched<bool>>) -> Client {
    let go_on = go_on.clone();
    upstream.script([Reply::custom(move |_, connection| {
        connection.stream().write_all(HEAD.as_bytes())?;
        go_on.wait_at_most(DEADLINE * 2, |go_on| go_on.then_some(()));
        connection.stream().write_all(b"3\r\n!!!\r\n0\r\n\r\n")
    })]);
    let mut client = proxy.connect();
    client.write_request("GET", "/api/x", &[("X-Api-Key", key)], b"");
    assert_eq!(client.read_answer_head().unwrap().status, 200);
    assert_eq!(client.read_chunk().unwrap().as_deref(), Some(&b"begin"[..]));
    client
}

fn assert_cut(mut client: Client, whose: &str) {
    let aborted = client.read_chunk().expect_err("there is neither another chunk nor a last one");
    assert!(!matches!(aborted.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{whose} went on: {aborted}");
}

/// SEC-39: after `drain_timeout` the streams of a removed client, and of a revoked key, have ended; those of the client's
/// other keys go on. A route that has another credential ends its streams too.
#[test]
fn streams_of_a_removed_client_key_or_credential_end() {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let app = format!("[clients.app.key]\n{}", keys(&["app-key-one-0123456789", "app-key-two-0123456789"]));
    let other = format!("[clients.other.key]\n{}", keys(&["other-key-0123456789"]));
    let both = one_route(&endpoint, &upstream, &format!("{app}\n{other}"))
        .replace("[server]", "[server]\ndrain_timeout = \"200ms\"")
        .replace("clients = \"anyone\"", "clients = [\"app\", \"other\"]");
    let proxy = Proxy::start(&both);
    let go_on = Arc::new(Watched::new(false));
    let begin = |key| stream(&proxy, &upstream, key, &go_on);
    let (revoked, mut kept, removed) =
        (begin("app-key-one-0123456789"), begin("app-key-two-0123456789"), begin("other-key-0123456789"));
    let fewer = both
        .replace(&app, &format!("[clients.app.key]\n{}", keys(&["app-key-two-0123456789"])))
        .replace(&other, "")
        .replace("[\"app\", \"other\"]", "[\"app\"]");
    proxy.reload(&fewer).unwrap();
    assert_cut(revoked, "the revoked key's stream");
    assert_cut(removed, "the removed client's stream");

    let changed =
        fewer.replace("credentials.api.", "credentials.new.").replace("credential = \"api\"", "credential = \"new\"");
    go_on.update(|go_on| *go_on = true);
    assert_eq!(kept.read_chunk().unwrap().as_deref(), Some(&b"!!!"[..]));
    assert_eq!(kept.read_chunk().unwrap(), None);

    let never = Arc::new(Watched::new(false));
    let before = stream(&proxy, &upstream, "app-key-two-0123456789", &never);
    proxy.reload(&changed).unwrap();
    assert_cut(before, "the stream with the old credential");
    never.update(|go_on| *go_on = true);
}
