//! What is not needed, or no longer, is not called: conditions and values that are absent are seen as soon as what they read is
//! there.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use super::Overview;
use crate::support::{Answer, Proxy, Reply, Upstream, Watched, assert_problem};

/// What a part's upstream does.
#[derive(Debug, Clone, Copy)]
enum Does {
    Answers(&'static str),
    Fails,
    /// Until its connection is closed, which the test waits for.
    NeverAnswers,
    /// It is not asked at all.
    Nothing,
}

use Does::{Answers, Fails, NeverAnswers, Nothing};

/// What this is about, parts with their keys and what they do, the answer, and what it says of its parts.
type Case = (&'static str, &'static [(&'static str, &'static str, Does)], &'static str, Option<&'static str>);

const HIDDEN: &str = "hidden = true";

const CASES: [Case; 14] = [
    (
        "a condition that the request does not meet",
        &[("a", HIDDEN, Nothing), ("b", "path = \"/{a.x}\"\nwhen = \"{query.b}\"", Nothing)],
        r#"{"b":null}"#,
        Some("b;skipped"),
    ),
    (
        "all that leads to such a part",
        &[
            ("a", HIDDEN, Nothing),
            ("m", "hidden = true\npath = \"/{a.x}\"", Nothing),
            ("b", "path = \"/{m.x}\"\nwhen = \"{query.b}\"", Nothing),
            ("c", "", Answers("1")),
        ],
        r#"{"b":null,"c":1}"#,
        Some("b;skipped"),
    ),
    (
        "what another part reads is called all the same",
        &[
            ("a", HIDDEN, Answers("{\"x\":1}")),
            ("b", "path = \"/{a.x}\"\nwhen = \"{query.b}\"", Nothing),
            ("c", "path = \"/{a.x}\"", Answers("2")),
        ],
        r#"{"b":null,"c":2}"#,
        Some("b;skipped"),
    ),
    (
        "what is shown is called all the same",
        &[("a", "", Answers("{\"x\":1}")), ("b", "path = \"/{a.x}\"\nwhen = \"{query.b}\"", Nothing)],
        r#"{"a":{"x":1},"b":null}"#,
        Some("b;skipped"),
    ),
    (
        "what nobody reads is called for what it does",
        &[("a", HIDDEN, Answers("1")), ("b", "", Answers("2"))],
        r#"{"b":2}"#,
        None,
    ),
    (
        "a condition that a part's answer does not meet",
        &[
            ("a", HIDDEN, NeverAnswers),
            ("b", "path = \"/{a.x}\"\nwhen = { value = \"{c.kind}\", equals = \"company\" }", Nothing),
            ("c", "", Answers("{\"kind\":\"person\"}")),
        ],
        r#"{"b":null,"c":{"kind":"person"}}"#,
        Some("b;skipped"),
    ),
    (
        "a value that is absent",
        &[
            ("a", HIDDEN, NeverAnswers),
            ("b", "path = \"/{a.x}/{c.x}\"\non_failure = \"omit\"", Nothing),
            ("c", "on_failure = \"omit\"", Fails),
        ],
        "{}",
        Some("b;error=\"unfilled\", c;status=500;error=\"upstream_status\""),
    ),
    (
        "a value of a hidden part that is absent",
        &[
            ("a", HIDDEN, NeverAnswers),
            ("b", "path = \"/{a.x}/{c.x}\"\non_failure = \"null\"", Nothing),
            ("c", "hidden = true\non_failure = \"omit\"", Fails),
        ],
        r#"{"b":null}"#,
        Some("b;error=\"unfilled\", c;status=500;error=\"upstream_status\""),
    ),
    (
        "what may be absent is waited for",
        &[
            ("a", HIDDEN, Answers("{\"x\":1}")),
            ("b", "path = \"/{a.x}\"\nquery = { c = \"{c.x?}\", d = \"{c.x|7}\" }", Answers("2")),
            ("c", "on_failure = \"omit\"", Fails),
        ],
        r#"{"b":2}"#,
        Some("c;status=500;error=\"upstream_status\""),
    ),
    (
        "a list that is empty",
        &[
            ("a", HIDDEN, NeverAnswers),
            ("b", "path = \"/{a.x}/{item}\"\nfor_each = \"{c}\"", Nothing),
            ("c", "", Answers("[]")),
        ],
        r#"{"b":[],"c":[]}"#,
        None,
    ),
    (
        "a list that is none",
        &[
            ("a", HIDDEN, NeverAnswers),
            ("b", "path = \"/{a.x}/{item}\"\nfor_each = \"{c}\"\non_failure = \"omit\"", Nothing),
            ("c", "", Answers("{}")),
        ],
        r#"{"c":{}}"#,
        Some("b;error=\"unfilled\""),
    ),
    (
        "what only a fallback reads, if that is not called",
        &[
            ("a", HIDDEN, Nothing),
            ("b", "on_failure = { part = \"f\" }", Answers("1")),
            ("f", "path = \"/{a.x}\"", Nothing),
        ],
        r#"{"b":1}"#,
        None,
    ),
    (
        "what only a fallback reads, if that is called",
        &[
            ("a", HIDDEN, Answers("{\"x\":1}")),
            ("b", "on_failure = { part = \"f\" }", Fails),
            ("f", "path = \"/{a.x}\"", Answers("2")),
        ],
        r#"{"b":2}"#,
        Some("b;status=500;error=\"upstream_status\""),
    ),
    (
        "a part that another one falls back for has what its fallback has",
        &[
            ("a", HIDDEN, NeverAnswers),
            ("b", "path = \"/{a.x}/{c.x}\"\non_failure = { part = \"f\" }", Nothing),
            ("c", "on_failure = \"omit\"", Fails),
            ("f", "", Answers("3")),
        ],
        r#"{"b":3}"#,
        Some("b;error=\"unfilled\", c;status=500;error=\"upstream_status\""),
    ),
];

/// The answer waits for nothing that it does not need: what never answers is cancelled.
#[test]
fn what_nobody_needs_is_not_waited_for() {
    for (what, parts, body, told) in CASES {
        let stage = Stage::set(parts);
        let answer = stage.get();
        assert_eq!((answer.status, &*answer.text()), (200, body), "{what}");
        assert_eq!(answer.headers.get("attache-parts"), told, "{what}");
        let never = stage.never;
        stage.closed.wait("the end of its connection", |closed| (*closed == never).then_some(()));
        for ((name, _, does), upstream) in parts.iter().zip(&stage.upstreams) {
            let asked = usize::from(!matches!(does, Nothing));
            assert_eq!(upstream.asked(), asked, "{what}: {name}");
        }
    }
}

/// Whether a hidden part that is required fails the whole does not depend on who answers first: it does if a part that reads
/// it would be called.
#[test]
fn a_hidden_part_that_fails_counts_if_it_is_needed() {
    let b = |keys: &'static str| ("b", keys, Nothing);
    let cases = [
        ("path = \"/{a.x}/{c.x}\"\non_failure = \"null\"", "{}", Some(r#"{"b":null,"c":{}}"#)),
        ("path = \"/{a.x}/{c.x}\"\non_failure = \"null\"", "{\"x\":1}", None),
        ("path = \"/{a.x}\"\nwhen = \"{c.x}\"", "{\"x\":false}", Some(r#"{"b":null,"c":{"x":false}}"#)),
        ("path = \"/{a.x}\"\nwhen = \"{c.x}\"", "{\"x\":true}", None),
        ("path = \"/{a.x}/{item}\"\nfor_each = \"{c.x}\"", "{\"x\":[]}", Some(r#"{"b":[],"c":{"x":[]}}"#)),
        ("path = \"/{a.x}/{item}\"\nfor_each = \"{c.x}\"", "{\"x\":[1]}", None),
    ];
    for (keys, c, body) in cases {
        for first in ["a", "c"] {
            let stage = Stage::set(&[("a", HIDDEN, Fails), b(keys), ("c", "", Answers(c))]);
            stage.first(first);
            let answer = stage.get();
            match body {
                Some(body) => assert_eq!((answer.status, &*answer.text()), (200, body), "{keys}, {first} first"),
                None => assert_eq!(assert_problem(&answer, 502)["part"], "a", "{keys}, {first} first"),
            }
        }
    }
}

/// A hidden part that fails and that no part was called with is none that the answer has anything to say of.
#[test]
fn what_nobody_was_called_with_is_not_told() {
    for first in ["a", "c"] {
        let keys = "path = \"/{a.x}\"\nwhen = \"{c.x}\"";
        let a = "hidden = true\non_failure = \"null\"";
        let stage = Stage::set(&[("a", a, Fails), ("b", keys, Nothing), ("c", "", Answers("{\"x\":false}"))]);
        stage.first(first);
        let answer = stage.get();
        assert_eq!(answer.text(), r#"{"b":null,"c":{"x":false}}"#);
        assert_eq!(answer.headers.get("attache-parts"), Some("b;skipped"), "{first} first");
    }
}

/// What the client does not say is known before any call.
#[test]
fn a_request_that_lacks_a_value_is_refused_at_once() {
    let keys = "path = \"/{a.x}?q={query.q}\"";
    let stage = Stage::set(&[("a", "", NeverAnswers), ("b", keys, Nothing)]);
    let problem = assert_problem(&stage.get(), 400);
    assert_eq!((&problem["type"], &problem["part"]), (&"urn:attache:problem:request_incomplete".into(), &"b".into()));
    assert_eq!(stage.upstreams[0].asked(), 0);
}

struct Stage {
    proxy: Proxy,
    upstreams: Vec<Upstream>,
    names: Vec<&'static str>,
    /// How many never answer.
    never: usize,
    closed: Arc<Watched<usize>>,
    /// Who has been answered, and who is to be before the others.
    turns: Arc<Watched<Turns>>,
}

#[derive(Debug, Default)]
struct Turns {
    begun: usize,
    first: Option<String>,
    answered: usize,
}

impl Stage {
    fn set(parts: &[(&'static str, &'static str, Does)]) -> Stage {
        let never = parts.iter().filter(|(_, _, does)| matches!(does, NeverAnswers)).count();
        let (closed, turns) = (Arc::new(Watched::new(0)), Arc::new(Watched::new(Turns::default())));
        let upstreams: Vec<_> = parts.iter().map(|_| Upstream::open()).collect();
        for ((name, _, does), upstream) in parts.iter().zip(&upstreams) {
            match *does {
                Answers(body) => upstream.script([answers(name, 200, body, never, &turns)]),
                Fails => upstream.script([answers(name, 500, "", never, &turns)]),
                NeverAnswers => upstream.script([never_answers(&turns, &closed)]),
                Nothing => {}
            }
        }
        let named: Vec<_> =
            parts.iter().zip(&upstreams).map(|((name, keys, _), upstream)| (*name, upstream, *keys)).collect();
        let proxy = Overview::of(&named).start();
        let names = parts.iter().map(|(name, _, _)| *name).collect();
        Stage { proxy, upstreams, names, never, closed, turns }
    }

    /// Lets one part be answered before the others are.
    fn first(&self, name: &str) {
        assert!(self.names.contains(&name));
        self.turns.update(|turns| turns.first = Some(name.to_owned()));
    }

    fn get(&self) -> Answer {
        self.proxy.get("/overview/1")
    }
}

/// Answers once all that never do were asked, so that their end is to be seen.
fn answers(name: &'static str, status: u16, body: &'static str, never: usize, turns: &Arc<Watched<Turns>>) -> Reply {
    let turns = turns.clone();
    Reply::custom(move |_, connection| {
        turns.wait("its turn", |turns| {
            let is_first = turns.first.as_ref().is_none_or(|first| first == name);
            (turns.begun == never && (is_first || turns.answered > 0)).then_some(())
        });
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
        let written = connection.stream().write_all((head + body).as_bytes());
        turns.update(|turns| turns.answered += 1);
        written
    })
}

fn never_answers(turns: &Arc<Watched<Turns>>, closed: &Arc<Watched<usize>>) -> Reply {
    let (turns, closed) = (turns.clone(), closed.clone());
    Reply::custom(move |_, connection| {
        turns.update(|turns| turns.begun += 1);
        let end = connection.reader.read(&mut [0]);
        assert!(matches!(end, Ok(0) | Err(_)), "nothing else is asked on this connection");
        closed.update(|closed| *closed += 1);
        Ok(())
    })
}
