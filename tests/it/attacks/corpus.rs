//! The cases of tests/corpus.json: what to send, and what a correct proxy does.

use std::net::SocketAddr;

use fancy_regex::Regex;
use serde::Deserialize;
use serde_json::Value;

pub(super) const TOKEN: &str = "tok-SECRET-API-7f3a";
const CLIENT_KEY_LINE: &str = "X-Api-Key: ck-SECRET-ADMIN-51e2\r\n";

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Case {
    pub id: String,
    pub title: String,
    #[serde(default)]
    pub send: Option<String>,
    #[serde(default)]
    pub steps: Vec<Step>,
    /// First or final status; 0: closed without an answer, -1: open and silent, -2: bytes that are not HTTP.
    pub accept_status: Option<Vec<i32>>,
    pub upstream_must_not_see: Vec<String>,
    pub client_must_not_see: Vec<String>,
    #[serde(default)]
    pub trap_must_not_see: Vec<String>,
    #[serde(default)]
    pub upstream_must_see_if_200: Vec<String>,
    #[serde(default)]
    upstream_reply: Option<Value>,
    #[serde(default)]
    upstream_when: Option<String>,
    #[serde(default)]
    upstream_then: Option<String>,
    #[serde(default)]
    pub then_repeat: bool,
    #[serde(default)]
    pub must_close: bool,
    #[serde(default)]
    pub max_client_responses: Option<usize>,
    #[serde(default)]
    pub min_client_responses: Option<usize>,
    #[serde(default)]
    pub max_upstream_requests: Option<usize>,
    #[serde(default)]
    pub upstream_completes: Option<bool>,
    #[serde(default)]
    pub timeout_s: Option<u64>,
}

/// One of them is set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Step {
    pub send: Option<String>,
    pub wait_ms: Option<u64>,
    pub shutdown: Option<String>,
    pub recv: Option<bool>,
    pub wait_close_s: Option<u64>,
    pub stop_reading_s: Option<u64>,
    pub drip: Option<String>,
    pub every_ms: Option<u64>,
    pub until_closed_s: Option<u64>,
}

impl Case {
    /// The cases that are a script; the steps of the others are prose.
    pub(super) fn scripted() -> Vec<Case> {
        let all: Vec<Value> = serde_json::from_str(include_str!("../../corpus.json")).expect("the corpus is a list");
        let scripted = all.into_iter().filter(|case| case["scriptable"] == true);
        scripted.map(|case| serde_json::from_value(case).expect("a case is what it was")).collect()
    }

    /// The ids of the cases whose steps are prose.
    pub(super) fn unscripted() -> Vec<String> {
        let all: Vec<Value> = serde_json::from_str(include_str!("../../corpus.json")).expect("the corpus is a list");
        let prose = all.iter().filter(|case| case["scriptable"] != true);
        prose.map(|case| case["id"].as_str().expect("a case has an id").to_owned()).collect()
    }

    pub(super) fn reply(&self, trap: SocketAddr) -> Option<Vec<u8>> {
        self.upstream_reply.as_ref()?.as_str().map(|reply| bytes(reply, trap))
    }

    pub(super) fn idle_bytes(&self, trap: SocketAddr) -> Option<Vec<u8>> {
        self.upstream_reply.as_ref()?["idle_inject"].as_str().map(|reply| bytes(reply, trap))
    }

    /// Whether it tries the proxy's patience, of which the proxy is then given less.
    pub(super) fn is_slow(&self) -> bool {
        self.timeout_s.is_some()
    }

    /// Whether the proxy must have lost patience. With a client that does not read it has 120 s, which nobody can change.
    pub(super) fn must_be_given_up(&self) -> bool {
        self.is_slow() && self.steps.iter().all(|step| step.stop_reading_s.is_none())
    }

    pub(super) fn answers_early(&self) -> bool {
        self.upstream_when.as_deref() == Some("headers")
    }

    pub(super) fn closes_after_reply(&self) -> bool {
        self.upstream_then.as_deref() == Some("close")
    }

    pub(super) fn is_head(&self) -> bool {
        self.send.as_deref().is_some_and(|send| send.starts_with("HEAD"))
    }
}

/// Bytes to send: macros replaced, characters as Latin-1. `trap` is where nobody may be led.
pub(super) fn bytes(text: &str, trap: SocketAddr) -> Vec<u8> {
    let trap = trap.port().to_string();
    let text = text.replace("{{AKEY}}", CLIENT_KEY_LINE).replace("{{TOKEN}}", TOKEN).replace("{{TRAP_PORT}}", &trap);
    let repeated = Regex::new(r"(?s)\{\{rep:(.*?):(\d+)\}\}").expect("a pattern of ours");
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some(found) = repeated.captures(rest).expect("a pattern without backtracking") {
        let whole = found.get(0).expect("group 0 is the match");
        plain += &rest[..whole.start()];
        plain += &found[1].repeat(found[2].parse().expect("digits"));
        rest = &rest[whole.end()..];
    }
    plain += rest;
    if let Some((head, body)) = plain.strip_suffix("}}").and_then(|text| text.split_once("{{BODY:")) {
        plain = head.replace("{{LEN}}", &latin1(body).len().to_string()) + body;
    }
    latin1(&plain)
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).expect("the corpus is Latin-1")).collect()
}
