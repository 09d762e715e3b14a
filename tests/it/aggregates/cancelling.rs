//! What is no longer needed is cancelled: its upstream sees the connection close.

use std::io::Read as _;
use std::sync::Arc;

use super::{Overview, json};
use crate::support::{Child, Client, Proxy, Reply, Upstream, Watched, assert_problem, free_address};

/// An answer that never comes, and how often its connection was closed instead.
fn never(closed: &Arc<Watched<usize>>, begun: &Arc<Watched<usize>>) -> Reply {
    let (closed, begun) = (closed.clone(), begun.clone());
    Reply::custom(move |_, connection| {
        begun.update(|begun| *begun += 1);
        let mut more = [0];
        let end = connection.reader.read(&mut more);
        assert!(matches!(end, Ok(0) | Err(_)), "nothing else is asked on this connection");
        closed.update(|closed| *closed += 1);
        Ok(())
    })
}

fn counters() -> [Arc<Watched<usize>>; 2] {
    [Arc::default(), Arc::default()]
}

fn wait_for(count: usize, watched: &Watched<usize>, what: &str) {
    watched.wait(what, |value| (*value >= count).then_some(()));
}

/// The first failure of a required part ends the whole, and drops the rest.
#[test]
fn a_required_part_that_fails_cancels_the_others() {
    let [closed, begun] = counters();
    let (a, b, c) = (Upstream::open(), Upstream::open(), Upstream::open());
    let proxy = Overview {
        head: "[admin]\naddress = \"127.0.0.1:0\"",
        ..Overview::of(&[("a", &a, ""), ("b", &b, "on_failure = \"null\""), ("c", &c, "")])
    }
    .start();
    a.script([never(&closed, &begun)]);
    b.script([never(&closed, &begun)]);
    let wait = begun.clone();
    c.script([Reply::custom(move |_, connection| {
        wait_for(2, &wait, "both calls");
        std::io::Write::write_all(connection.stream(), b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
    })]);
    let problem = assert_problem(&proxy.get("/overview/1"), 502);
    assert_eq!(problem["part"], "c");
    wait_for(2, &closed, "both connections' ends");
    let metrics = proxy.admin("/metrics").text();
    for part in ["a", "b"] {
        assert!(metrics.contains(&format!("part=\"{part}\",outcome=\"cancelled\"}} 1")), "{metrics}");
    }
}

/// A client that hangs up cancels all, also where the answer is streamed.
#[test]
fn a_client_that_leaves_cancels_all() {
    for more in ["", "stream = true"] {
        let [closed, begun] = counters();
        let (a, b) = (Upstream::open(), Upstream::open());
        let proxy = Overview::of(&[("a", &a, ""), ("b", &b, "")]).with(more).start();
        a.script([never(&closed, &begun)]);
        b.script([never(&closed, &begun)]);
        let mut client = proxy.connect();
        client.write_request("GET", "/overview/1", &[], b"");
        wait_for(2, &begun, "both calls");
        drop(client);
        wait_for(2, &closed, "both connections' ends");
    }
}

/// The log of an answer that was being streamed to a client that left has what was under way.
#[test]
fn what_was_cancelled_while_streaming_is_logged() {
    let [closed, begun] = counters();
    let (a, b) = (Upstream::open(), Upstream::open());
    let head = "[log]\nformat = \"json\"";
    let toml = Overview { head, ..Overview::of(&[("a", &a, ""), ("b", &b, "")]) }.with("stream = true").toml();
    let address = free_address();
    let child = Child::run(&toml.replacen("127.0.0.1:0", &address.to_string(), 1), &[]);
    child.wait_for_line("it listens", |line| line.contains("listening"));
    a.script([json("1")]);
    b.script([never(&closed, &begun)]);
    let mut client = Client::connect(address);
    client.write_request("GET", "/overview/1", &[], b"");
    client.read_answer_head().unwrap();
    client.read_chunk().unwrap();
    wait_for(1, &begun, "the call");
    drop(client);
    let line = child.wait_for_line("its access line", |line| line.contains("attache::access"));
    assert!(line.contains("a;status=200;ms=") && line.contains(", b;cancelled;ms="), "{line}");
    wait_for(1, &closed, "its connection's end");
}

/// Of required parts that fail in the same turn the one that is declared first is named, although it began later.
#[test]
fn of_failures_at_once_the_first_in_declared_order_counts() {
    let [closed, begun] = counters();
    let (a, b, c) = (Upstream::open(), Upstream::open(), Upstream::open());
    let proxy = Overview::of(&[("a", &a, "path = \"/{c.x}\""), ("b", &b, ""), ("c", &c, "")])
        .with("deadline = \"300ms\"")
        .start();
    a.script([never(&closed, &begun)]);
    b.script([never(&closed, &begun)]);
    c.script([json("{\"x\":1}")]);
    assert_eq!(assert_problem(&proxy.get("/overview/1"), 504)["part"], "a");
    wait_for(2, &closed, "both connections' ends");
}

/// At the deadline what is not there has failed: a required part fails the whole, the answer does without others.
#[test]
fn the_deadline_ends_what_is_under_way() {
    let [closed, begun] = counters();
    let (a, b, c) = (Upstream::open(), Upstream::open(), Upstream::open());
    let start = |b_keys: &str| -> Proxy {
        Overview::of(&[("a", &a, ""), ("b", &b, b_keys), ("c", &c, "path = \"/{b.x}\"\non_failure = \"omit\"")])
            .with("deadline = \"200ms\"")
            .start()
    };
    let required = start("");
    a.script([json("1"), json("2")]);
    b.script([never(&closed, &begun), never(&closed, &begun)]);
    let problem = assert_problem(&required.get("/overview/1"), 504);
    assert_eq!((&problem["type"], &problem["part"]), (&"urn:attache:problem:deadline".into(), &"b".into()));
    let optional = start("on_failure = { value = { x = 1 } }");
    let answer = optional.get("/overview/1");
    assert_eq!(answer.text(), "{\"a\":2,\"b\":{\"x\":1}}");
    assert_eq!(answer.headers.get("attache-parts"), Some("b;error=\"deadline\", c;error=\"deadline\""));
    wait_for(2, &closed, "both connections' ends");
}

/// How an aggregate comes to its end, of which one part has answered and another one has not yet.
#[derive(Debug, Clone, Copy)]
enum End {
    ClientLeaves,
    PartFails,
    Deadline,
    Complete,
}

/// However it ends, the memory for its answers is free again.
#[test]
fn no_memory_stays_taken() {
    for more in ["deadline = \"2s\"", "deadline = \"2s\"\nstream = true"] {
        for end in [End::ClientLeaves, End::PartFails, End::Deadline, End::Complete] {
            let [closed, begun] = counters();
            let (a, b) = (Upstream::open(), Upstream::open());
            let head = "[admin]\naddress = \"127.0.0.1:0\"";
            let proxy = Overview { head, ..Overview::of(&[("a", &a, ""), ("b", &b, "")]) }.with(more).start();
            a.script([json(&format!("\"{}\"", "x".repeat(1_000_000)))]);
            let go = Arc::new(Watched::new(false));
            let wait = go.clone();
            let answers = move |answer: &'static [u8]| {
                Reply::custom(move |_, connection| {
                    wait.wait("the memory", |go| go.then_some(()));
                    std::io::Write::write_all(connection.stream(), answer)
                })
            };
            b.script([match end {
                End::ClientLeaves | End::Deadline => never(&closed, &begun),
                End::PartFails => answers(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
                End::Complete => answers(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2"),
            }]);
            let mut client = proxy.connect();
            client.write_request("GET", "/overview/1", &[("Connection", "close")], b"");
            wait_for_memory(&proxy, |bytes| bytes >= 1_000_000);
            go.update(|go| *go = true);
            if !matches!(end, End::ClientLeaves) {
                client.read_to_end();
            }
            drop(client);
            wait_for_memory(&proxy, |bytes| bytes == 0);
        }
    }
}

/// Asks for the metrics until they say so: they are all that tells.
fn wait_for_memory(proxy: &Proxy, is_so: impl Fn(usize) -> bool) {
    let mut bytes = 0;
    for _ in 0..20_000 {
        let metrics = proxy.admin("/metrics").text();
        let mut lines = metrics.lines();
        let value = lines.find_map(|line| line.strip_prefix("attache_aggregate_memory_bytes ")).unwrap();
        bytes = value.parse::<f64>().unwrap() as usize;
        if is_so(bytes) {
            return;
        }
    }
    panic!("{bytes} bytes");
}
