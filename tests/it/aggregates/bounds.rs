//! Failures that take keys of their own to come about: bounds, lists, pages, members, a connection that closes.

use super::failing::{INSTEAD, Stage, assert_came_out};
use super::{Overview, json};
use crate::support::{DEADLINE, Proxy, Reply, Upstream, assert_problem};

/// How the failure is called, the keys of the aggregate and of the part, what is answered, and the status that it comes to.
type Kind = (&'static str, &'static str, &'static str, fn() -> Vec<Reply>, u16);

fn never() -> Vec<Reply> {
    vec![Reply::custom(|_, connection| {
        connection.pause(DEADLINE);
        Ok(())
    })]
}

const KINDS: [Kind; 6] = [
    // A connection that was kept is tried once more.
    ("upstream_closed", "", "", || vec![Reply::RawThenClose(Vec::new()), Reply::RawThenClose(Vec::new())], 502),
    ("deadline", "deadline = \"100ms\"", "", never, 504),
    ("no_memory", "", "", || vec![json(&format!("{{\"data\":\"{}\"}}", "x".repeat(70_000)))], 503),
    ("too_many_items", "", "for_each = \"{request_lines}\"\nitems_max = 1", Vec::new, 502),
    ("unfilled", "", "for_each = \"{fine}\"", Vec::new, 502),
    (
        "next_page",
        "",
        "pages = { link = true }",
        || vec![Reply::answer(200, &[("Link", "<http://other.example/x>; rel=\"next\"")], b"{\"data\":[1]}")],
        502,
    ),
];

#[test]
fn they_come_out_as_on_failure_says() {
    for (error, more, keys, replies, status) in KINDS {
        for (on_failure, instead) in INSTEAD {
            // The deadline is that of what would stand in for it, too.
            if error == "deadline" && on_failure.contains("spare") {
                continue;
            }
            // What stands for an item does not stand for all of them: those are an empty list.
            let instead = instead
                .map(|body| if keys.contains("for_each") { body.replace("null", "[]") } else { body.to_owned() });
            let stage = Stage::set();
            let lines = Upstream::open();
            let mut toml = stage.toml(on_failure, more, &keys.replace("request_lines", "lines"));
            if keys.contains("request_lines") {
                let upstream = format!("[upstreams.lines]\nurl = \"{}\"\n[[routes]]", lines.url());
                toml = toml.replace("[[routes]]", &upstream)
                    + "[routes.aggregate.parts.lines]\nupstream = \"lines\"\npath = \"/\"\nhidden = true\n";
                lines.script([json("[1,2]")]);
            }
            if error == "no_memory" {
                let large = toml.replace("bytes_max = 1000", "bytes_max = 100_000");
                toml = format!("[server]\nlimits.aggregate_memory_bytes_max = 65536\n{large}");
            }
            let proxy = Proxy::start(&toml);
            stage.script(on_failure.contains("spare"));
            stage.broken.script(replies());
            let answer = proxy.get("/overview/1");
            assert_came_out(&answer, on_failure, instead.as_deref(), "header", (error, None), status);
        }
    }
}

/// What is merged has to have members.
#[test]
fn what_has_no_members_cannot_be_merged() {
    let (a, b) = (Upstream::open(), Upstream::open());
    let start = |keys: &str| {
        Overview::of(&[("a", &a, ""), ("b", &b, &format!("merge = true\n{keys}"))]).with("collision = \"last\"").start()
    };
    let required = start("");
    a.script([json("1"), json("2")]);
    b.script([json("[1]"), json("[1]")]);
    let problem = assert_problem(&required.get("/overview/1"), 502);
    assert_eq!((&problem["type"], &problem["part"]), (&"urn:attache:problem:no_object".into(), &"b".into()));
    let answer = start("on_failure = { value = { b = 3 } }").get("/overview/1");
    assert_eq!(answer.text(), "{\"a\":2,\"b\":3}");
    assert_eq!(answer.headers.get("attache-parts"), Some("b;error=\"no_object\""));
}

/// Objects are merged member by member, lists joined only where that is asked for.
#[test]
fn two_parts_in_one_place_are_merged() {
    let (a, b) = (Upstream::open(), Upstream::open());
    for (collision, merged) in
        [("deep", r#"{"m":{"x":1,"l":[2],"y":2},"k":2}"#), ("concat", r#"{"m":{"x":1,"l":[1,2],"y":2},"k":2}"#)]
    {
        let collision = format!("collision = \"{collision}\"");
        let proxy = Overview::of(&[("a", &a, "merge = true"), ("b", &b, "merge = true")]).with(&collision).start();
        a.script([json(r#"{"m":{"x":1,"l":[1]},"k":1}"#)]);
        b.script([json(r#"{"m":{"y":2,"l":[2]},"k":2}"#)]);
        assert_eq!(proxy.get("/overview/1").text(), merged);
    }
}

/// Opened, an object of many members takes many times its text: that counts before it is made.
#[test]
fn what_is_merged_counts_as_what_it_takes() {
    let (a, b) = (Upstream::open(), Upstream::open());
    let start = |megabytes: usize| {
        let head = format!("[server]\nlimits.aggregate_memory_bytes_max = {}", megabytes << 20);
        let overview =
            Overview::of(&[("a", &a, "merge = true"), ("b", &b, "merge = true")]).with("collision = \"last\"");
        Overview { head: &head, ..overview }.start()
    };
    let members: Vec<String> = (0..10_000).map(|name| format!("\"n{name}\":{name}")).collect();
    let members = members.join(",");
    for (megabytes, fits) in [(2, false), (16, true)] {
        let proxy = start(megabytes);
        a.script([json(&format!("{{{members}}}"))]);
        b.script([json("{\"n0\":\"b\"}")]);
        let answer = proxy.get("/overview/1");
        if fits {
            assert_eq!(answer.text(), format!("{{{}}}", members.replacen("\"n0\":0", "\"n0\":\"b\"", 1)));
        } else {
            assert_eq!(assert_problem(&answer, 503)["type"], "urn:attache:problem:no_memory");
        }
    }
}

/// Whoever sent what makes a part's target or headers too long is told so, and nobody is asked with it.
#[test]
fn what_is_too_long_to_be_asked_is_a_failure_of_its_own() {
    let b = Upstream::open();
    let large = "x".repeat(40_000);
    for keys in [
        "path = \"/b/{VALUE}\"",
        "path = \"/b?q={VALUE}\"",
        "query = { q = \"of {VALUE}\" }",
        "headers = { x-a = \"{VALUE}\", x-b = \"{VALUE}\" }",
    ] {
        for (value, status, kind, fault) in
            [("a", 502, "values_too_long", "upstream"), ("request.v", 400, "request_values_too_long", "client")]
        {
            let keys = keys.replace("VALUE", value);
            // The other one is cancelled, or not even asked.
            let a = Upstream::open();
            a.script([json(&format!("\"{large}\""))]);
            let proxy =
                Overview { route: "methods = [\"POST\"]", ..Overview::of(&[("a", &a, ""), ("b", &b, &keys)]) }.start();
            let body = format!("{{\"v\":\"{large}\"}}");
            let answer = proxy.send("POST", "/overview/1", &[("Content-Type", "application/json")], body.as_bytes());
            let problem = assert_problem(&answer, status);
            assert_eq!(problem["type"], format!("urn:attache:problem:{kind}"), "{keys}");
            assert_eq!((&problem["part"], &problem["fault"]), (&"b".into(), &fault.into()), "{keys}");
        }
    }
    assert!(b.requests().is_empty());
}

/// A cursor can have any length.
#[test]
fn a_next_page_that_is_too_long_to_be_asked_for_is_not() {
    let list = Upstream::open();
    let keys = "target = \"items\"\npages = { cursor = \"next\", parameter = \"c\" }";
    let proxy = Overview::of(&[("list", &list, keys)]).start();
    for length in [20_000, 40_000] {
        // Percent-encoded, the shorter is too long as well.
        list.script([json(&format!("{{\"items\":[1],\"next\":\"{}\"}}", "/".repeat(length)))]);
        let problem = assert_problem(&proxy.get("/overview/1"), 502);
        assert_eq!(problem["type"], "urn:attache:problem:next_page");
    }
}

/// A template that says a part sixty times is sixty times as long: that counts before it is made.
#[test]
fn what_a_template_makes_counts_before_it_is_made() {
    let a = Upstream::open();
    let overview = Overview::of(&[("a", &a, "")]);
    let template = format!("answer = {{ all = \"{}\" }}", "{a}".repeat(60));
    let head = "[server]\nlimits.aggregate_memory_bytes_max = 4194304";
    let proxy = Overview { head, more: &template, ..overview }.start();
    for (length, fits) in [(100_000, false), (60_000, true)] {
        a.script([json(&format!("\"{}\"", "x".repeat(length)))]);
        let answer = proxy.get("/overview/1");
        if fits {
            assert_eq!(answer.text(), format!("{{\"all\":\"{}\"}}", "x".repeat(60 * length)));
        } else {
            assert_eq!(assert_problem(&answer, 503)["type"], "urn:attache:problem:no_memory");
        }
    }
}

/// What a query of a large answer finds is made beside the worker; when it does not come in time is the deadline's affair.
#[test]
fn a_large_answer_is_asked_beside_the_worker() {
    let list = Upstream::open();
    let proxy = Overview::of(&[("list", &list, "target = \"$[?@.n >= 9998].n\"")]).start();
    let items: Vec<String> = (0..10_000).map(|n| format!("{{\"n\":{n}}}")).collect();
    list.script([json(&format!("[{}]", items.join(",")))]);
    assert_eq!(proxy.get("/overview/1").text(), "{\"list\":[9998,9999]}");
}

/// Work for requests that were given up takes the threads beside the worker. An answer that waits behind it is not later than its
/// deadline.
#[test]
fn an_answer_that_is_not_made_in_time_fails() {
    let (list, object) = (Upstream::open(), Upstream::open());
    let parts = [("list", &list, "target = \"$[?match(@, 'x+y')]\""), ("object", &object, "merge = true")];
    let head = "[server]\nworkers = 1";
    let proxy = Overview { head, ..Overview::of(&parts) }.with("deadline = \"300ms\"\ncollision = \"last\"").start();
    let late = || assert_problem(&proxy.get("/overview/1"), 504);
    for _ in 0..2 {
        list.script([json(&format!("[{}]", vec!["\"xxxxxxxx\""; 5000].join(",")))]);
        object.script([json("{}")]);
        assert_eq!(late()["part"], "list");
    }
    list.script([json("[]")]);
    object.script([json(&format!("{{\"a\":\"{}\"}}", "x".repeat(40_000)))]);
    assert_eq!(late().get("part"), None, "all parts were there");
}
