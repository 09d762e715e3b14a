//! `stream = true`: parts are sent as they are complete, in declared order.

use std::io::{ErrorKind, Write as _};
use std::sync::Arc;

use super::{Overview, json};
use crate::support::{Client, DEADLINE, HyperClient, Proxy, Reply, Speaks, Upstream, Watched, assert_problem, roots};

/// Answers so when it is told to.
fn held(go: &Arc<Watched<bool>>, answer: &'static [u8]) -> Reply {
    let go = go.clone();
    Reply::custom(move |_, connection| {
        go.wait_at_most(DEADLINE, |go| go.then_some(()));
        connection.stream().write_all(answer)
    })
}

/// All that comes as chunks, until there is none or the answer is cut.
fn rest(client: &mut Client) -> (String, bool) {
    let mut text = String::new();
    loop {
        match client.read_chunk() {
            Ok(Some(chunk)) => text += &String::from_utf8(chunk).unwrap(),
            Ok(None) => return (text, true),
            Err(error) => {
                assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                return (text, false);
            }
        }
    }
}

fn start(a: &Upstream, b: &Upstream, c: &Upstream) -> Proxy {
    Overview::of(&[("a", a, ""), ("b", b, ""), ("c", c, "on_failure = \"null\"")]).with("stream = true").start()
}

fn begin(proxy: &Proxy) -> Client {
    let mut client = proxy.connect();
    client.write_request("GET", "/overview/1", &[], b"");
    let head = client.read_answer_head().unwrap();
    assert_eq!((head.status, head.headers.get("content-type")), (200, Some("application/json")), "{head:?}");
    client
}

#[test]
fn parts_are_sent_as_they_are_complete() {
    let (a, b, c) = (Upstream::open(), Upstream::open(), Upstream::open());
    let proxy = start(&a, &b, &c);
    let go = Arc::new(Watched::new(false));
    a.script([json("1")]);
    b.script([held(&go, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2")]);
    c.script([Reply::answer(500, &[], b"")]);
    let mut client = begin(&proxy);
    assert_eq!(client.read_chunk().unwrap().as_deref(), Some(&b"{\"a\":1"[..]));
    go.update(|go| *go = true);
    let expected = ",\"b\":2,\"c\":null,\"_parts\":{\"c\":{\"error\":\"upstream_status\",\"status\":500}}}";
    assert_eq!(rest(&mut client), (expected.to_owned(), true));
    // A HEAD is not streamed, and has a length.
    a.script([json("1")]);
    b.script([json("2")]);
    c.script([json("3")]);
    let head = proxy.send("HEAD", "/overview/1", &[], b"");
    let length = "{\"a\":1,\"b\":2,\"c\":3,\"_parts\":{}}".len().to_string();
    assert_eq!(head.headers.get("content-length"), Some(&*length));
}

/// A failure after the first byte aborts the connection; before it, it is a failure as any other.
#[test]
fn a_failure_never_looks_like_the_end() {
    let (a, b, c) = (Upstream::open(), Upstream::open(), Upstream::open());
    let proxy = start(&a, &b, &c);
    let go = Arc::new(Watched::new(false));
    a.script([json("1"), Reply::answer(500, &[], b"")]);
    b.script([held(&go, b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), json("2")]);
    c.script([json("3"), json("3")]);
    let mut client = begin(&proxy);
    assert_eq!(client.read_chunk().unwrap().as_deref(), Some(&b"{\"a\":1"[..]));
    go.update(|go| *go = true);
    assert_eq!(rest(&mut client), (String::new(), false));
    assert_eq!(assert_problem(&proxy.get("/overview/1"), 502)["part"], "a");
}

/// Over HTTP/2 the stream is reset, and the connection goes on.
#[test]
fn a_failure_resets_the_stream_of_http_2() {
    let (a, b) = (Upstream::open(), Upstream::open());
    let proxy = Overview::of(&[("a", &a, ""), ("b", &b, "path = \"/{a}\"")]).with("stream = true").start();
    a.script([json("1"), json("2")]);
    // Is asked when `a` was sent.
    b.script([Reply::answer(500, &[], b""), json("3")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = HyperClient::connect(proxy.address(), Speaks::Http2, &roots([])).await;
        let error = client.get("/overview/1").await.unwrap_err();
        assert!(format!("{error:?}").contains("Reset"), "{error:?}");
        let (status, body) = client.get("/overview/1").await.unwrap();
        assert_eq!((status.as_u16(), &body[..]), (200, &b"{\"a\":2,\"b\":3,\"_parts\":{}}"[..]));
    });
}

/// SEC-39: a reload that removes the route, or a part's upstream, ends it after `drain_timeout`.
#[test]
fn a_reload_that_removes_it_ends_it() {
    let (a, b, c) = (Upstream::open(), Upstream::open(), Upstream::open());
    let head = "[server]\ndrain_timeout = \"200ms\"";
    let toml = Overview { head, ..Overview::of(&[("a", &a, ""), ("b", &b, "")]) }.with("stream = true").toml();
    let proxy = Proxy::start(&toml);
    let go = Arc::new(Watched::new(false));
    a.script([json("1")]);
    b.script([held(&go, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2")]);
    let mut client = begin(&proxy);
    assert_eq!(client.read_chunk().unwrap().as_deref(), Some(&b"{\"a\":1"[..]));
    let other = Overview { head, ..Overview::of(&[("a", &a, ""), ("c", &c, "")]) }.with("stream = true").toml();
    proxy.reload(&other).unwrap();
    assert_eq!(rest(&mut client), (String::new(), false));
    go.update(|go| *go = true);
}

/// What was sent and no part needs any more is let go of: an answer may be larger than the memory for all answers.
#[test]
fn what_was_sent_is_let_go_of() {
    const PART_BYTES: usize = 2_000_000;
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let upstreams = NAMES.map(|_| Upstream::open());
    let paths: Vec<_> = (0..6).map(|part| format!("path = \"/{{{}.id}}\"", NAMES[usize::max(part, 1) - 1])).collect();
    // One after the other because each needs the one before, or only because they answer so.
    for chained in [true, false] {
        let keys = |part: usize| if chained && part > 0 { &*paths[part] } else { "" };
        let parts: Vec<_> = (0..6).map(|part| (NAMES[part], &upstreams[part], keys(part))).collect();
        let head = "[server]\nlimits.aggregate_memory_bytes_max = 9000000";
        let proxy = Proxy::start(&Overview { head, ..Overview::of(&parts) }.with("stream = true").toml());
        let read = Arc::new(Watched::new(0));
        for (part, upstream) in upstreams.iter().enumerate() {
            let read = read.clone();
            upstream.script([Reply::custom(move |_, connection| {
                read.wait("what stands before it", |read| (*read >= part * PART_BYTES).then_some(()));
                let body = format!("{{\"id\":{part},\"fill\":\"{}\"}}", "x".repeat(PART_BYTES));
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                connection.stream().write_all((head + &body).as_bytes())
            })]);
        }
        let mut client = begin(&proxy);
        let mut answer = Vec::new();
        while let Some(chunk) = client.read_chunk().unwrap() {
            answer.extend(chunk);
            read.update(|read| *read = answer.len());
        }
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        for (part, name) in NAMES.iter().enumerate() {
            assert_eq!(answer[name]["id"], part, "chained: {chained}");
        }
    }
}
