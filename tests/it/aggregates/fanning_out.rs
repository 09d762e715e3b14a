//! `for_each`: one call for each item of a list.

use std::io::Write as _;
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
