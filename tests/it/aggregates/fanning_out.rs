//! `for_each`: one call for each item of a list.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use super::{Overview, json};
use crate::support::{Proxy, Reply, Upstream, Watched, assert_problem};

/// Says what it was asked, or fails if that ends in one of these.
fn echo(fails: &'static [&'static str]) -> Reply {
    Reply::custom(move |request, connection| {
        let fails = fails.iter().any(|end| request.target.ends_with(end));
        let (status, body) = if fails { (404, String::new()) } else { (200, format!("\"{}\"", request.target)) };
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
        connection.stream().write_all((head + &body).as_bytes())
    })
}

fn start(list: &Upstream, each: &Upstream, keys: &str) -> Proxy {
    let keys = format!("for_each = \"{{list.ids}}\"\npath = \"/{{index}}/{{item.id}}\"\n{keys}");
    Overview::of(&[("list", list, "hidden = true"), ("each", each, &keys)]).start()
}

#[test]
fn answers_are_in_the_order_of_the_items() {
    let (list, each) = (Upstream::open(), Upstream::open());
    let proxy = start(&list, &each, "concurrency = 3");
    for items in [0, 1, 3, 20] {
        let ids: Vec<_> = (0..items).map(|id| format!("{{\"id\":{}}}", 100 - id)).collect();
        list.script([json(&format!("{{\"ids\":[{}]}}", ids.join(",")))]);
        each.script((0..items).map(|_| echo(&[])));
        let expected: Vec<_> = (0..items).map(|id| format!("\"/v1/{id}/{}\"", 100 - id)).collect();
        assert_eq!(proxy.get("/overview/1").text(), format!("{{\"each\":[{}]}}", expected.join(",")));
    }
    assert_eq!(each.asked(), 24);
}

/// No more calls at once than `concurrency` says, and all of those.
#[test]
fn calls_at_once_are_bounded() {
    let (list, each) = (Upstream::open(), Upstream::open());
    let proxy = start(&list, &each, "concurrency = 4");
    let at_once = Arc::new(Watched::new((0, 0)));
    list.script([json(
        "{\"ids\":[{\"id\":1},{\"id\":2},{\"id\":3},{\"id\":4},{\"id\":5},{\"id\":6},{\"id\":7},{\"id\":8}]}",
    )]);
    each.script((0..8).map(|_| {
        let at_once = at_once.clone();
        Reply::custom(move |_, connection| {
            at_once.update(|(now, most)| {
                *now += 1;
                *most = (*most).max(*now);
            });
            // All four are there before the first is answered.
            at_once.wait("four calls at once", |(_, most)| (*most >= 4).then_some(()));
            at_once.update(|(now, _)| *now -= 1);
            connection.stream().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
        })
    }));
    assert_eq!(proxy.get("/overview/1").text(), "{\"each\":[1,1,1,1,1,1,1,1]}");
    assert_eq!(at_once.look(|(_, most)| *most), 4);
}

/// What `on_failure` says stands in place of each item that fails.
#[test]
fn an_item_that_fails_is_replaced_alone() {
    let ids = "{\"ids\":[{\"id\":\"a\"},{\"id\":\"b\"},{\"id\":\"c\"}]}";
    for (keys, body, told) in [
        ("on_failure = \"null\"", "[null,\"/v1/1/b\",null]", Some("each;status=404;error=\"upstream_status\";items=2")),
        ("on_failure = \"omit\"", "[\"/v1/1/b\"]", Some("each;status=404;error=\"upstream_status\";items=2")),
        ("on_failure = { value = 0 }", "[0,\"/v1/1/b\",0]", Some("each;status=404;error=\"upstream_status\";items=2")),
    ] {
        let (list, each) = (Upstream::open(), Upstream::open());
        let proxy = start(&list, &each, keys);
        list.script([json(ids)]);
        each.script((0..3).map(|_| echo(&["/a", "/c"])));
        let answer = proxy.get("/overview/1");
        assert_eq!(answer.text(), format!("{{\"each\":{body}}}"), "{keys}");
        assert_eq!(answer.headers.get("attache-parts"), told, "{keys}");
    }
    let (list, each) = (Upstream::open(), Upstream::open());
    let proxy = start(&list, &each, "on_failure = { status = \"own\" }");
    list.script([json(ids)]);
    each.script((0..3).map(|_| echo(&["/b"])));
    assert_eq!(assert_problem(&proxy.get("/overview/1"), 404)["part"], "each");
}

#[test]
fn what_is_no_list_or_too_long_fails_the_part() {
    let (list, each) = (Upstream::open(), Upstream::open());
    let proxy = start(&list, &each, "items_max = 2\non_failure = { value = [] }");
    let cases = [("[1,2,3]", Some("too_many_items")), ("{}", Some("unfilled")), ("null", None)];
    for (ids, told) in cases {
        list.script([json(&format!("{{\"ids\":{ids}}}"))]);
        let answer = proxy.get("/overview/1");
        assert_eq!(answer.text(), "{\"each\":[]}");
        let told = told.map(|told| format!("each;error=\"{told}\""));
        assert_eq!(answer.headers.get("attache-parts"), told.as_deref(), "{ids}");
    }
    assert_eq!(each.asked(), 0);
    // What stands for an item is not what stands for the list.
    for on_failure in ["\"null\"", "{ value = 0 }"] {
        let proxy = start(&list, &each, &format!("items_max = 2\non_failure = {on_failure}"));
        list.script([json("{\"ids\":[1,2,3]}")]);
        assert_eq!(proxy.get("/overview/1").text(), "{\"each\":[]}", "{on_failure}");
    }
    let proxy = start(&list, &each, "items_max = 2\non_failure = \"omit\"");
    list.script([json("{\"ids\":[1,2,3]}")]);
    assert_eq!(proxy.get("/overview/1").text(), "{}");
}

/// With another part in its place, the part as a whole fails with an item: the report knows of no items, and no more are asked for.
#[test]
fn another_part_stands_in_the_place_of_the_list() {
    let (list, each, spare) = (Upstream::open(), Upstream::open(), Upstream::open());
    let keys = "for_each = \"{list.ids}\"\npath = \"/{item}\"\nconcurrency = 1\non_failure = { part = \"spare\" }";
    let proxy = Overview::of(&[("list", &list, "hidden = true"), ("each", &each, keys), ("spare", &spare, "")]).start();
    list.script([json("{\"ids\":[\"a\",\"b\",\"c\"]}")]);
    each.script((0..3).map(|_| echo(&["/b"])));
    spare.script([json("9")]);
    let answer = proxy.get("/overview/1");
    assert_eq!(answer.text(), "{\"each\":9}");
    assert_eq!(answer.headers.get("attache-parts"), Some("each;status=404;error=\"upstream_status\""));
    assert_eq!(each.asked(), 2);
}

/// What `when` skips is null, or what `on_failure` puts there without another part; with `for_each` a list in place of both.
#[test]
fn what_is_skipped_is_null_or_what_on_failure_says() {
    let (list, each) = (Upstream::open(), Upstream::open());
    for (on_failure, once, for_each) in [
        ("\"fail\"", "{\"each\":null}", "{\"each\":null}"),
        ("\"null\"", "{\"each\":null}", "{\"each\":[]}"),
        ("{ value = 0 }", "{\"each\":0}", "{\"each\":[]}"),
        ("\"omit\"", "{}", "{}"),
    ] {
        for (keys, expected) in [("", once), ("for_each = \"{list.ids}\"", for_each)] {
            let keys = format!("{keys}\nwhen = \"{{list.wanted}}\"\non_failure = {on_failure}");
            let proxy = Overview::of(&[("list", &list, "hidden = true"), ("each", &each, &keys)]).start();
            list.script([json("{\"ids\":[1]}")]);
            let answer = proxy.get("/overview/1");
            let told = (answer.text(), answer.headers.get("attache-parts"));
            assert_eq!(told, (expected.to_owned(), Some("each;skipped")), "{keys}");
        }
    }
    assert_eq!(each.asked(), 0);
}

/// All items together have eight times what one may have, and whether they fit is nobody's luck: the whole part fails, not the
/// item that came last.
#[test]
fn items_that_are_too_large_together_fail_the_part() {
    const ITEMS: usize = 20;
    for on_failure in ["\"null\"", "\"omit\"", "{ value = 0 }", "\"fail\""] {
        let (list, each) = (Upstream::open(), Upstream::open());
        let proxy = start(&list, &each, &format!("bytes_max = 1000\non_failure = {on_failure}"));
        let ids = vec!["{\"id\":1}"; ITEMS].join(",");
        list.script([json(&format!("{{\"ids\":[{ids}]}}"))]);
        each.script((0..ITEMS).map(|_| json(&format!("\"{}\"", "x".repeat(900)))));
        let answer = proxy.get("/overview/1");
        if on_failure == "\"fail\"" {
            assert_eq!(assert_problem(&answer, 502)["type"], "urn:attache:problem:answer_too_large");
            continue;
        }
        let expected = if on_failure == "\"omit\"" { "{}" } else { "{\"each\":[]}" };
        assert_eq!(answer.text(), expected, "{on_failure}");
        assert_eq!(answer.headers.get("attache-parts"), Some("each;error=\"answer_too_large\""), "{on_failure}");
    }
}

/// A part with a fallback fails with the first item in order that does, or with which all before it are too large, whoever
/// answers first; what comes after that item is not waited for.
#[test]
fn a_fallback_is_called_for_the_first_item_in_order_that_fails() {
    const ITEMS: usize = 12;
    for (failing, told) in
        [(Some(5), "each;status=404;error=\"upstream_status\""), (None, "each;error=\"answer_too_large\"")]
    {
        for backwards in [false, true] {
            let (list, each, other) = (Upstream::open(), Upstream::open(), Upstream::open());
            let keys = "for_each = \"{list}\"\npath = \"/{index}\"\nbytes_max = 1000\nconcurrency = 12\n\
                        on_failure = { part = \"other\" }";
            let parts = [("list", &list, "hidden = true"), ("each", &each, keys), ("other", &other, "")];
            let proxy = Overview::of(&parts).start();
            list.script([json(&format!("[{}]", ["1"; ITEMS].join(",")))]);
            let answered = Arc::new(Watched::new(0));
            each.script((0..ITEMS).map(|_| {
                let answered = answered.clone();
                Reply::custom(move |request, connection| {
                    let index: usize = request.target.rsplit('/').next().unwrap().parse().unwrap();
                    let turn = if backwards { ITEMS - 1 - index } else { index };
                    // What is cancelled is not answered, nor what would come after it.
                    answered.wait("its turn", |answered| (*answered >= turn).then_some(()));
                    let (status, body) = match failing {
                        Some(failing) if failing == index => (404, String::new()),
                        _ => (200, format!("\"{}\"", "x".repeat(900))),
                    };
                    let head =
                        format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
                    let _ = connection.stream().write_all((head + &body).as_bytes());
                    // The end of the connection says that the answer was read.
                    let _ = connection.reader.read(&mut [0]);
                    answered.update(|answered| *answered += 1);
                    Ok(())
                })
            }));
            other.script([json("7")]);
            let answer = proxy.get("/overview/1");
            assert_eq!(answer.text(), "{\"each\":7}", "{failing:?} {backwards}");
            assert_eq!(answer.headers.get("attache-parts"), Some(told), "{failing:?} {backwards}");
        }
    }
}

/// What comes after the first item that fails is cancelled, where another part stands in for all of them.
#[test]
fn items_after_one_that_fails_are_cancelled_where_there_is_a_fallback() {
    let (list, each, other) = (Upstream::open(), Upstream::open(), Upstream::open());
    let keys = "for_each = \"{list}\"\npath = \"/{index}\"\non_failure = { part = \"other\" }";
    let proxy = Overview::of(&[("list", &list, "hidden = true"), ("each", &each, keys), ("other", &other, "")]).start();
    list.script([json("[1,2,3]")]);
    let (asked, closed) = (Arc::new(Watched::new(0)), Arc::new(Watched::new(0)));
    each.script((0..3).map(|_| {
        let (asked, closed) = (asked.clone(), closed.clone());
        Reply::custom(move |request, connection| {
            asked.update(|asked| *asked += 1);
            match request.target.rsplit('/').next().unwrap() {
                "2" => {
                    let end = connection.reader.read(&mut [0]);
                    assert!(matches!(end, Ok(0) | Err(_)), "nothing else is asked on this connection");
                    closed.update(|closed| *closed += 1);
                    Ok(())
                }
                // The item before it is waited for: it may fail as well, and would be the first.
                "0" => {
                    closed.wait("the end of the last item's connection", |closed| (*closed == 1).then_some(()));
                    connection.stream().write_all(b"HTTP/1.1 410 X\r\nContent-Length: 0\r\n\r\n")
                }
                _ => {
                    asked.wait("all calls", |asked| (*asked == 3).then_some(()));
                    connection.stream().write_all(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")
                }
            }
        })
    }));
    other.script([json("7")]);
    let answer = proxy.get("/overview/1");
    assert_eq!(answer.text(), "{\"each\":7}");
    assert_eq!(answer.headers.get("attache-parts"), Some("each;status=410;error=\"upstream_status\""));
}

/// The path to the list enters lists on its way, as those of `pick` do: what is found there is one list, in order.
#[test]
fn the_path_to_a_list_enters_lists() {
    let (list, each) = (Upstream::open(), Upstream::open());
    let keys = "for_each = \"{list.orders.lines}\"\npath = \"/{index}/{item.id}\"";
    let proxy = Overview::of(&[("list", &list, "hidden = true"), ("each", &each, keys)]).start();
    list.script([json(r#"{"orders":[{"lines":[{"id":"a"},{"id":"b"}]},{"lines":null},{},{"lines":[{"id":"c"}]}]}"#)]);
    each.script((0..3).map(|_| echo(&[])));
    assert_eq!(proxy.get("/overview/1").text(), "{\"each\":[\"/v1/0/a\",\"/v1/1/b\",\"/v1/2/c\"]}");
}
