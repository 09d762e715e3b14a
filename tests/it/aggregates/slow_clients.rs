//! `stream = true`, and how much a client that takes its time costs: the real program, and what memory it has.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::sync::Arc;

use serde_json::Value;

use super::Overview;
use crate::support::{Child, Client, Reply, Upstream, Watched, free_address};

const PARTS: usize = 16;
const PART_BYTES: usize = 4_000_000;
const BUDGET_BYTES: usize = 16_000_000;
/// What else a request and the allocator take.
const SLACK_BYTES: usize = 8_000_000;

/// An answer of 64 MB, of parts of which each is asked for when the one before is there.
struct Stage {
    upstream: Upstream,
    child: Child,
    client: Client,
    /// How many parts were answered, and how many bytes of the answer the client has.
    seen: Arc<Watched<(usize, usize)>>,
    resident_before: usize,
}

impl Stage {
    /// `waits`: whether the upstream answers a part when the client has all that stands before it.
    fn begin(keys: &str, waits: bool) -> Stage {
        let upstream = Upstream::open();
        let names: Vec<_> = (0..PARTS).map(|part| format!("p{part:02}")).collect();
        let keys: Vec<_> = (0..PARTS)
            .map(|part| match part {
                0 => format!("path = \"/0\"\n{keys}"),
                part => format!("path = \"/{{{}.next|{part}}}\"\n{keys}", names[part - 1]),
            })
            .collect();
        let parts: Vec<_> = names.iter().zip(&keys).map(|(name, keys)| (&**name, &upstream, &**keys)).collect();
        let head = format!("[server]\nlimits.aggregate_memory_bytes_max = {BUDGET_BYTES}\n");
        let address = free_address();
        let toml = Overview { head: &head, ..Overview::of(&parts) }.with("stream = true").toml();
        let child = Child::run(&toml.replace("127.0.0.1:0", &address.to_string()), &[]);
        let seen = Arc::new(Watched::new((0, 0)));
        upstream.script((0..PARTS).map(|part| {
            let seen = seen.clone();
            Reply::custom(move |_, connection| {
                let is_time = |(_, taken): &mut (usize, usize)| (!waits || *taken >= part * PART_BYTES).then_some(());
                seen.wait("what stands before it", is_time);
                let body = format!("{{\"next\":{},\"fill\":\"{}\"}}", part + 1, "x".repeat(PART_BYTES));
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                let written = connection.stream().write_all((head + &body).as_bytes());
                seen.update(|(answered, _)| *answered += 1);
                written
            })
        }));
        let resident_before = resident(&child);
        let mut client = Client::connect(address);
        client.write_request("GET", "/overview/1", &[], b"");
        Stage { upstream, child, client, seen, resident_before }
    }

    fn assert_little_memory(&self) {
        let grown = resident(&self.child).saturating_sub(self.resident_before);
        assert!(grown < BUDGET_BYTES + SLACK_BYTES, "it grew by {grown} bytes");
    }

    /// The rest of the answer, which is complete.
    fn answer(&mut self) -> Value {
        let mut answer = Vec::new();
        assert_eq!(self.client.read_answer_head().unwrap().status, 200);
        while let Some(chunk) = self.client.read_chunk().unwrap() {
            answer.extend(chunk);
            let is_further = self.seen.update(|(_, taken)| {
                let is_further = answer.len() / PART_BYTES > *taken / PART_BYTES;
                *taken = answer.len();
                is_further
            });
            if is_further {
                self.assert_little_memory();
            }
        }
        serde_json::from_slice(&answer).unwrap()
    }
}

/// Without the program's own pages, which come in as they are first used.
fn resident(child: &Child) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("there is a process table");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("it is resident");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number of KiB") * 1024
}

/// An answer may be four times as large as the memory for all of them, if its client takes what is there.
#[test]
fn a_large_answer_passes_through_little_memory() {
    let mut stage = Stage::begin("", true);
    let answer = stage.answer();
    for part in 0..PARTS {
        assert_eq!(answer[&*format!("p{part:02}")]["next"], part + 1);
    }
    assert_eq!(answer["_parts"], serde_json::json!({}));
    assert_eq!(stage.upstream.asked(), PARTS);
}

/// What a client does not take counts, too: once there is no room, parts fail as their `on_failure` says.
#[test]
fn what_a_client_does_not_take_fails_parts() {
    let mut stage = Stage::begin("on_failure = \"null\"", false);
    stage.seen.wait("all parts", |(answered, _)| (*answered == PARTS).then_some(()));
    stage.assert_little_memory();
    let answer = stage.answer();
    let (mut there, mut failed) = (0, String::new());
    for part in 0..PARTS {
        let name = format!("p{part:02}");
        match answer[&*name].is_null() {
            true => {
                assert_eq!(answer["_parts"][&*name]["error"], "no_memory", "{name}");
                write!(failed, " {name}").unwrap();
            }
            false => {
                assert_eq!(answer[&*name]["next"], part + 1);
                there += 1;
            }
        }
    }
    assert!(there > 0 && !failed.is_empty(), "{there} are there, and failed have{failed}");
}
