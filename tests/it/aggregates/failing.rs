//! What a part's failure means: every kind of failure, with everything that `on_failure` may say, reported in both ways.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::{Overview, json};
use crate::support::{
    Answer, DEADLINE, Grant, Proxy, Reply, TokenEndpoint, Upstream, assert_problem, client_credentials,
};

/// What goes wrong, how it is called, the status that is reported, and the one that the whole fails with.
type Kind = (&'static str, fn() -> Reply, Option<u16>, u16);

const KINDS: [Kind; 12] = [
    ("upstream_status", || Reply::answer(503, &[], b"{}"), Some(503), 502),
    ("upstream_status", || Reply::answer(302, &[("Location", "/elsewhere")], b""), Some(302), 502),
    (
        "timeout",
        || {
            Reply::custom(|_, connection| {
                connection.pause(DEADLINE);
                Ok(())
            })
        },
        None,
        504,
    ),
    ("answer_encoding", || Reply::answer(200, &[("Content-Encoding", "br")], b"x"), None, 502),
    ("answer_broken", || Reply::RawThenClose(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1".to_vec()), None, 502),
    // Half an answer that nobody asked for.
    (
        "upstream_status",
        || Reply::answer(206, &[("Content-Range", "bytes 0-11/99")], b"{\"data\":[1]}"),
        Some(206),
        502,
    ),
    ("not_json", || json("{\"data\":[1]"), None, 502),
    ("not_json", || json(""), None, 502),
    ("not_json", || Reply::answer(200, &[("Content-Encoding", "gzip")], b""), None, 502),
    ("answer_too_large", || json(&format!("{{\"data\":\"{}\"}}", "x".repeat(2000))), None, 502),
    ("answer_too_large", || Reply::answer(200, &[("Content-Encoding", "gzip")], &bomb()), None, 502),
    ("no_target", || json("{\"date\":[1]}"), None, 502),
];

fn bomb() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![b' '; 500_000]).unwrap();
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1000);
    bomb
}

/// What `on_failure` says, and what stands in the part's place then; `None`: the whole fails.
pub(super) const INSTEAD: [(&str, Option<&str>); 7] = [
    ("", None),
    ("on_failure = { status = \"own\" }", None),
    ("on_failure = { status = 418 }", None),
    ("on_failure = \"null\"", Some(r#"{"fine":1,"broken":null,"last":2}"#)),
    ("on_failure = \"omit\"", Some(r#"{"fine":1,"last":2}"#)),
    ("on_failure = { value = [] }", Some(r#"{"fine":1,"broken":[],"last":2}"#)),
    ("on_failure = { part = \"spare\" }", Some(r#"{"fine":1,"broken":3,"last":2}"#)),
];

pub(super) struct Stage {
    fine: Upstream,
    pub(super) broken: Upstream,
    last: Upstream,
    spare: Upstream,
}

impl Stage {
    pub(super) fn set() -> Stage {
        Stage { fine: Upstream::open(), broken: Upstream::open(), last: Upstream::open(), spare: Upstream::open() }
    }

    pub(super) fn toml(&self, on_failure: &str, more: &str, keys: &str) -> String {
        let keys = format!("target = \"data\"\nbytes_max = 1000\ntimeout = \"200ms\"\n{on_failure}\n{keys}");
        let mut parts = vec![("fine", &self.fine, ""), ("broken", &self.broken, &*keys), ("last", &self.last, "")];
        if on_failure.contains("spare") {
            parts.push(("spare", &self.spare, ""));
        }
        Overview::of(&parts).with(more).toml()
    }

    pub(super) fn script(&self, spare: bool) {
        self.fine.script([json("1")]);
        self.last.script([json("2")]);
        if spare {
            self.spare.script([json("3")]);
        }
    }
}

pub(super) fn assert_came_out(
    answer: &Answer,
    on_failure: &str,
    instead: Option<&str>,
    report: &str,
    told: (&str, Option<u16>),
    status: u16,
) {
    let (error, upstream_status) = told;
    let Some(body) = instead else {
        let status = match (on_failure, upstream_status) {
            (own, Some(upstream @ 400..)) if own.contains("own") => upstream,
            (fixed, _) if fixed.contains("418") => 418,
            _ => status,
        };
        let problem = assert_problem(answer, status);
        assert_eq!(problem["type"], format!("urn:attache:problem:{error}"), "{problem}");
        assert_eq!(problem["part"], "broken", "{problem}");
        return;
    };
    assert_eq!(answer.status, 200, "{error} {on_failure}: {answer:?}");
    let code = upstream_status.map(|status| format!(";status={status}")).unwrap_or_default();
    match report {
        "header" => {
            assert_eq!(answer.text(), body, "{error} {on_failure}");
            assert_eq!(answer.headers.get("attache-parts"), Some(&*format!("broken{code};error=\"{error}\"")));
        }
        _ => {
            let mut expected: Value = serde_json::from_str(body).unwrap();
            expected["_parts"] = json!({ "broken": { "error": error } });
            if let Some(status) = upstream_status {
                expected["_parts"]["broken"]["status"] = status.into();
            }
            assert_eq!(answer.json(), expected, "{error} {on_failure}");
            assert_eq!(answer.headers.get("attache-parts"), None);
        }
    }
}

/// The shape of the answer is the same whatever goes wrong, and it says what did.
#[test]
fn every_failure_comes_out_as_on_failure_says() {
    let mut cases = 0;
    let stage = Stage::set();
    for (on_failure, instead) in INSTEAD {
        for report in ["header", "body"] {
            let proxy = Proxy::start(&stage.toml(on_failure, &format!("report = \"{report}\""), ""));
            for (error, reply, upstream_status, status) in KINDS {
                stage.script(on_failure.contains("spare"));
                stage.broken.script([reply()]);
                let answer = proxy.get("/overview/1");
                assert_came_out(&answer, on_failure, instead, report, (error, upstream_status), status);
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 12 * 7 * 2);
}

/// A placeholder whose value is absent fails its part; so do an upstream and a token endpoint that are not there.
#[test]
fn what_cannot_be_asked_fails_as_well() {
    for (on_failure, instead) in INSTEAD {
        let mut stage = Stage::set();
        let mut endpoint = TokenEndpoint::start();
        endpoint.script([Grant::Json(503, json!({}))]);
        endpoint.refuse_connections();
        stage.broken.refuse_connections();
        let unfilled = stage.toml(on_failure, "", "headers = { X-A = \"{fine.a}\" }");
        let refused = stage.toml(on_failure, "", "");
        let tokenless = refused.replace(
            "[upstreams.broken]",
            &format!("{}[upstreams.broken]\ncredential = \"api\"", client_credentials(&endpoint.url())),
        );
        for (toml, error, status) in
            [(unfilled, "unfilled", 502), (refused, "upstream_unreachable", 502), (tokenless, "token_unavailable", 503)]
        {
            let proxy = Proxy::start(&toml);
            stage.script(on_failure.contains("spare"));
            let answer = proxy.get("/overview/1");
            assert_came_out(&answer, on_failure, instead, "header", (error, None), status);
            if error == "token_unavailable" && on_failure.is_empty() {
                assert_eq!(answer.json()["credential"], "api");
                assert!(answer.headers.get("retry-after").is_some(), "{answer:?}");
            }
        }
    }
}

/// A part that depends on one that failed reads what stands in its place; one that was skipped has not failed.
#[test]
fn what_depends_on_a_failed_part_reads_what_stands_for_it() {
    let (a, b, c, d) = (Upstream::open(), Upstream::open(), Upstream::open(), Upstream::open());
    let proxy = Overview::of(&[
        ("a", &a, "on_failure = { value = { id = 7 } }"),
        ("b", &b, "path = \"/b/{a.id}\""),
        ("c", &c, "path = \"/c/{a.none}\"\non_failure = \"null\""),
        ("d", &d, "path = \"/d\"\nwhen = { value = \"{c}\", not_equals = [0, 1] }\non_failure = \"omit\""),
    ])
    .start();
    a.script([Reply::answer(500, &[], b"")]);
    b.script([json("1")]);
    d.script([json("2")]);
    let answer = proxy.get("/overview/1");
    assert_eq!(answer.text(), r#"{"a":{"id":7},"b":1,"c":null,"d":2}"#);
    assert_eq!(b.request().target, "/v1/b/7");
    assert_eq!(
        answer.headers.get("attache-parts"),
        Some("a;status=500;error=\"upstream_status\", c;error=\"unfilled\"")
    );
    assert_eq!(c.asked(), 0);
}

/// Retries are for what can be repeated, and `success` says what is none of a failure.
#[test]
fn a_call_is_made_again_where_that_helps() {
    let (a, b, c) = (Upstream::open(), Upstream::open(), Upstream::open());
    let proxy = Overview::of(&[
        ("a", &a, "retries = 3"),
        ("b", &b, "on_failure = \"null\""),
        ("c", &c, "success = [\"2xx\", 404]\nretries = 1\non_failure = \"null\""),
    ])
    .start();
    let status = |status| Reply::answer(status, &[], b"{}");
    let at_once = Reply::answer(429, &[("Retry-After", "0")], b"");
    a.script([
        status(503),
        at_once,
        Reply::RawThenClose(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1".to_vec()),
        json("1"),
    ]);
    b.script([status(503), json("1")]);
    c.script([status(404)]);
    let answer = proxy.get("/overview/1");
    assert_eq!(answer.text(), r#"{"a":1,"b":null,"c":{}}"#);
    assert_eq!((a.asked(), b.asked(), c.asked()), (4, 1, 1));
    // Longer than there is time for.
    a.script([Reply::answer(503, &[("Retry-After", "3600")], b"")]);
    assert_eq!(assert_problem(&proxy.get("/overview/1"), 502)["part"], "a");
    assert_eq!(a.asked(), 5);
}

/// 206 is a success only where `success` names it: a part that asks for a range knows why.
#[test]
fn half_an_answer_is_a_success_where_it_is_asked_for() {
    let a = Upstream::open();
    for (success, status) in [("[\"2xx\"]", 502), ("[\"2xx\", 206]", 200), ("[\"206\"]", 200)] {
        let keys = format!("headers = {{ Range = \"items=0-9\" }}\nsuccess = {success}");
        a.script([Reply::answer(206, &[], b"[1]")]);
        assert_eq!(Overview::of(&[("a", &a, &keys)]).start().get("/overview/1").status, status, "{success}");
    }
}

/// Where the answer is a 429 or 503 for a part's sake, it says when to come back if the upstream did, in whole seconds and
/// in words of our own: nothing of the field is passed on as it came.
#[test]
fn an_upstream_says_when_to_come_back() {
    let a = Upstream::open();
    let start = |keys: &str| Overview::of(&[("a", &a, keys)]).start();
    let own = start("on_failure = { status = \"own\" }");
    let (fixed, other) = (start("on_failure = { status = 503 }"), start("on_failure = { status = 424 }"));
    let default = start("");
    for (proxy, status, retry_after, expected) in [
        (&own, 429, "7", (429, Some("7"))),
        (&own, 503, " 120 ", (503, Some("120"))),
        (&own, 503, "0", (503, Some("1"))),
        (&own, 429, "soon", (429, None)),
        (&own, 503, "7, 8", (503, None)),
        (&own, 503, "+7", (503, None)),
        (&own, 503, "-7", (503, None)),
        (&own, 500, "7", (500, None)),
        (&fixed, 429, "7", (503, Some("7"))),
        (&fixed, 404, "7", (503, Some("7"))),
        (&other, 429, "7", (424, None)),
        (&default, 503, "7", (502, None)),
    ] {
        a.script([Reply::answer(status, &[("Retry-After", retry_after)], b"")]);
        let answer = proxy.get("/overview/1");
        let said = (answer.status, answer.headers.get("retry-after"));
        assert_eq!(said, expected, "{status} {retry_after:?}");
    }
    a.script([Reply::answer(503, &[("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT")], b"")]);
    let seconds: u64 = own.get("/overview/1").headers.get("retry-after").unwrap().parse().unwrap();
    assert!(seconds > 1_000_000, "{seconds}");
    // What is tried again says it for the last try.
    let retried = start("retries = 1\non_failure = { status = \"own\" }");
    a.script(["0", "9"].map(|after| Reply::answer(503, &[("Retry-After", after)], b"")));
    assert_eq!(retried.get("/overview/1").headers.get("retry-after"), Some("9"));
}

/// A status that is about our credential is none of the client's: it would take its own for refused.
#[test]
fn a_part_whose_credential_is_refused_is_our_failure() {
    let a = Upstream::open();
    let toml = Overview::of(&[("a", &a, "on_failure = { status = \"own\" }")]).toml();
    let reject = "reject_on = [401, { status = 400, body_contains = \"ExpiredToken\" }, { status = 409 }]\n[[routes]]";
    let proxy = Proxy::start(&toml.replace("[[routes]]", reject));
    let challenge = [("WWW-Authenticate", "Bearer error=\"insufficient_scope\"")];
    for (status, headers, body, expected) in [
        (401, &challenge[..], "", 502),
        (401, &[], "", 502),
        (403, &challenge, "", 502),
        (400, &[], "{\"code\":\"ExpiredToken\"}", 502),
        (409, &[], "", 502),
        (407, &[("Proxy-Authenticate", "Basic")], "", 502),
        (405, &[("Allow", "PUT")], "", 502),
        (426, &[("Upgrade", "h2c")], "", 502),
        (403, &[], "", 403),
        (400, &[], "{\"code\":\"Malformed\"}", 400),
        (404, &[], "", 404),
    ] {
        a.script([Reply::answer(status, headers, body.as_bytes())]);
        let answer = proxy.get("/overview/1");
        assert_problem(&answer, expected);
        for name in ["www-authenticate", "proxy-authenticate", "allow", "upgrade"] {
            assert_eq!(answer.headers.get(name), None, "{status}");
        }
    }
}

/// A part whose time was spent waiting for a token says so: that is the token endpoint's fault, not its upstream's.
#[test]
fn a_wait_for_a_token_counts_as_the_parts_time() {
    let stage = Stage::set();
    let mut endpoint = TokenEndpoint::start();
    endpoint.stop_answering();
    let credential = format!("{}[upstreams.broken]\ncredential = \"api\"", client_credentials(&endpoint.url()));
    for on_failure in ["", "on_failure = \"omit\""] {
        let toml = stage.toml(on_failure, "deadline = \"10s\"", "").replace("[upstreams.broken]", &credential);
        stage.script(false);
        let answer = Proxy::start(&toml).get("/overview/1");
        if on_failure.is_empty() {
            let problem = assert_problem(&answer, 503);
            assert_eq!((&problem["fault"], &problem["part"]), (&json!("token_endpoint"), &json!("broken")));
        } else {
            assert_eq!(answer.headers.get("attache-parts"), Some("broken;error=\"token_unavailable\""));
        }
    }
    assert_eq!(stage.broken.asked(), 0);
}

/// Another part is called in place of each that fails, one after the other, and of none that does not.
#[test]
fn fallbacks_follow_one_another() {
    let stage = Stage::set();
    let toml = Overview::of(&[
        ("fine", &stage.fine, "on_failure = { part = \"broken\" }"),
        ("broken", &stage.broken, "path = \"/{last}\"\non_failure = { part = \"spare\" }"),
        ("spare", &stage.spare, "on_failure = { value = 9 }"),
        ("last", &stage.last, ""),
    ])
    .toml();
    let proxy = Proxy::start(&toml);
    let fail = || Reply::answer(500, &[], b"");
    for (failing, body) in [
        (0, r#"{"fine":1,"last":2}"#),
        (1, r#"{"fine":4,"last":2}"#),
        (2, r#"{"fine":3,"last":2}"#),
        (3, r#"{"fine":9,"last":2}"#),
    ] {
        let before = [&stage.fine, &stage.broken, &stage.spare].map(|upstream| upstream.asked());
        let asked = [&stage.fine, &stage.broken, &stage.spare];
        stage.last.script([json("2")]);
        for (place, (upstream, own)) in asked.iter().zip(["1", "4", "3"]).enumerate().take(failing + 1) {
            upstream.script([if place < failing { fail() } else { json(own) }]);
        }
        assert_eq!(proxy.get("/overview/1").text(), body);
        let calls = asked.iter().zip(before).filter(|(upstream, before)| upstream.asked() > *before).count();
        assert_eq!(calls, (failing + 1).min(3));
    }
}
