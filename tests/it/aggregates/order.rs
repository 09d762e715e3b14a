//! The answer depends on the order in which parts are declared, never on the order in which they answer.

use std::io::Write as _;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::Overview;
use crate::support::{Reply, Upstream, Watched};

/// What each part does when it fails; none is required.
const PARTS: [(&str, &str, Option<&str>); 5] = [
    ("p0", "merge = true\non_failure = \"omit\"", None),
    ("p1", "on_failure = \"null\"\ninto = \"same\"", Some("null")),
    ("p2", "on_failure = { value = {\"x\" = 9} }\ninto = \"same\"", Some("{\"x\":9}")),
    ("p3", "merge = true\non_failure = \"omit\"", None),
    ("p4", "on_failure = { value = 4 }\ninto = \"own\"", Some("4")),
];

/// Answers when its turn has come.
fn at_turn(turns: &Arc<Watched<usize>>, turn: usize, fails: bool, part: usize) -> Reply {
    let turns = turns.clone();
    Reply::custom(move |_, connection| {
        turns.wait("its turn", |now| (*now == turn).then_some(()));
        let (status, body) =
            if fails { (500, String::new()) } else { (200, format!("{{\"x\":{part},\"y{part}\":0}}")) };
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
        let written = connection.stream().write_all((head + &body).as_bytes());
        turns.update(|now| *now += 1);
        written
    })
}

/// The answer as the documentation says it is, made in the simplest way.
fn expected(fails: &[bool]) -> serde_json::Value {
    let mut whole = serde_json::Map::new();
    for (part, (_, keys, instead)) in PARTS.iter().enumerate() {
        let content =
            if fails[part] { instead.map(str::to_owned) } else { Some(format!("{{\"x\":{part},\"y{part}\":0}}")) };
        let Some(content) = content else { continue };
        let content: serde_json::Value = serde_json::from_str(&content).unwrap();
        if keys.contains("merge") {
            whole.extend(content.as_object().unwrap().clone());
        } else {
            let place = if keys.contains("same") { "same" } else { "own" };
            whole.insert(place.to_owned(), content);
        }
    }
    whole.into()
}

/// For random failures and any order of the answers, the answer is the one that the declared order makes.
#[test]
fn whoever_answers_first_the_answer_is_the_same() {
    let upstreams: Vec<Upstream> = PARTS.iter().map(|_| Upstream::open()).collect();
    let parts: Vec<_> =
        PARTS.iter().zip(&upstreams).map(|((name, keys, _), upstream)| (*name, upstream, *keys)).collect();
    let proxy = Overview::of(&parts).with("collision = \"last\"").start();
    let order = Just((0..PARTS.len()).collect::<Vec<_>>()).prop_shuffle();
    let cases = (order, proptest::collection::vec(any::<bool>(), PARTS.len()));
    let mut runner =
        TestRunner::new(Config { cases: 48, max_shrink_iters: 0, failure_persistence: None, ..Config::default() });
    let seen = std::cell::RefCell::new(std::collections::BTreeMap::new());
    let ran = runner.run(&cases, |(order, fails)| {
        let turns = Arc::new(Watched::new(0));
        for (turn, part) in order.iter().enumerate() {
            upstreams[*part].script([at_turn(&turns, turn, fails[*part], *part)]);
        }
        let answer = proxy.get("/overview/1");
        prop_assert_eq!(answer.status, 200, "{:?}", answer);
        prop_assert_eq!(answer.json(), expected(&fails));
        let report = answer.headers.get("attache-parts").map(str::to_owned);
        let failed: Vec<_> = (0..PARTS.len())
            .filter(|part| fails[*part])
            .map(|part| format!("p{part};status=500;error=\"upstream_status\""))
            .collect();
        prop_assert_eq!(report.unwrap_or_default(), failed.join(", "));
        // Not only the same document: the same bytes.
        let mut seen = seen.borrow_mut();
        let first = seen.entry(fails).or_insert_with(|| answer.text());
        prop_assert_eq!(first.as_str(), answer.text());
        Ok(())
    });
    ran.unwrap();
}
