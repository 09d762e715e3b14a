//! Following pages.

use super::{Overview, json};
use crate::support::{Proxy, Reply, Request, Upstream, assert_problem};

fn start(a: &Upstream, keys: &str) -> Proxy {
    let proxy = Overview::of(&[("a", a, &format!("path = \"/list?size=2\"\n{keys}"))]).toml();
    let credential =
        "[credentials.key.api_key]\nquery = \"k\"\nvalue = { env = \"SECRET\" }\n[upstreams.a]\ncredential = \"key\"\n";
    Proxy::start_with(&proxy.replace("[upstreams.a]\n", credential), &[("SECRET", "0123456789abcdef0123")])
}

fn targets(a: &Upstream) -> Vec<String> {
    let without_key = |target: String| target.replace("&k=0123456789abcdef0123", "");
    a.requests().into_iter().map(|request| without_key(request.target)).collect()
}

fn linked(body: &str, link: &str) -> Reply {
    Reply::answer(200, &[("Link", link)], body.as_bytes())
}

#[test]
fn links_are_followed_to_their_end() {
    let a = Upstream::open();
    let proxy = start(&a, "pages = { link = true }");
    let absolute =
        format!("<{}/v1/list?size=2&page=2&k=0123456789abcdef0123>; rel=\"next\", </x>; rel=\"last\"", a.url());
    a.script([
        linked("[1, 2]", &absolute),
        linked("[ ]", "<?size=2&page=3>; rel=next"),
        linked(" [{\"x\":1.0}] ", "</v1/list>; rel=\"prev\""),
    ]);
    assert_eq!(proxy.get("/overview/1").text(), "{\"a\":[1, 2,{\"x\":1.0}]}");
    assert_eq!(targets(&a), ["/v1/list?size=2", "/v1/list?size=2&page=2", "/v1/list?size=2&page=3"]);
    assert!(a.requests().iter().all(|request| request.target.matches("k=").count() == 1));
}

#[test]
fn urls_cursors_and_numbers_are_followed_too() {
    let a = Upstream::open();
    let url = start(&a, "target = \"items\"\npages = { next = \"next\" }");
    a.script([json("{\"items\":[1],\"next\":\"/v1/more?x=1\"}"), json("{\"items\":[2],\"next\":null}")]);
    assert_eq!(url.get("/overview/1").text(), "{\"a\":[1,2]}");
    assert_eq!(targets(&a)[1..], ["/v1/more?x=1"]);

    let a = Upstream::open();
    let cursor = start(&a, "target = \"items\"\npages = { cursor = \"meta.at\", parameter = \"from\" }");
    a.script([
        json("{\"items\":[1],\"meta\":{\"at\":\"a/b=\"}}"),
        json("{\"items\":[2],\"meta\":{\"at\":7}}"),
        json("{\"items\":null}"),
    ]);
    assert_eq!(cursor.get("/overview/1").text(), "{\"a\":[1,2]}");
    assert_eq!(targets(&a)[1..], ["/v1/list?size=2&from=a%2Fb%3D", "/v1/list?size=2&from=7"]);

    let a = Upstream::open();
    let number = start(&a, "pages = { number = \"page\", first = 0 }");
    a.script([json("[1]"), json("[2]"), json("[]")]);
    assert_eq!(number.get("/overview/1").text(), "{\"a\":[1,2]}");
    assert_eq!(targets(&a), ["/v1/list?size=2&page=0", "/v1/list?size=2&page=1", "/v1/list?size=2&page=2"]);
}

/// SEC-10: however an answer spells what the credential sets, the next page is asked for with the credential's own, once.
#[test]
fn a_next_page_has_the_credential_once() {
    const SECRET: &str = "0123456789abcdef0123";
    for (keys, says) in [
        ("pages = { link = true }", "?size=2&k=0123456789abcdef0123&page=2"),
        ("pages = { link = true }", "?k=other&size=2&page=2&k=another"),
        ("pages = { link = true }", "?size=2&%6b=other&page=2&k"),
        ("pages = { link = true }", "?%6B=other&size=2&&k=&page=2"),
        ("target = \"items\"\npages = { next = \"next\" }", "?size=2&k=0123456789abcdef0123&page=2"),
        ("target = \"items\"\npages = { next = \"next\" }", "?%6b=0123456789abcdef0123&size=2&page=2"),
    ] {
        let a = Upstream::open();
        let proxy = start(&a, keys);
        let (first, last) = match keys.contains("link") {
            true => (linked("[1]", &format!("<{says}>; rel=next")), json("[2]")),
            false => (json(&format!("{{\"items\":[1],\"next\":\"{says}\"}}")), json("{\"items\":[2]}")),
        };
        a.script([first, last]);
        assert_eq!(proxy.get("/overview/1").text(), "{\"a\":[1,2]}", "{says}");
        let asked: Vec<_> = a.requests().into_iter().map(|request| request.target.replace("&&", "&")).collect();
        let with_key = |target: &str| format!("/v1/list?{target}&k={SECRET}");
        assert_eq!(asked, [with_key("size=2"), with_key("size=2&page=2")], "{says}");
    }
}

/// A credential in a header goes with each page, once, and with none that is elsewhere.
#[test]
fn a_next_page_has_the_credentials_header_once() {
    let (a, other) = (Upstream::open(), Upstream::open());
    let credential = "[credentials.key.api_key]\nheader = \"X-Key\"\nvalue = { env = \"SECRET\" }\n[upstreams.a]\ncredential = \"key\"\n";
    let keys = "path = \"/list\"\npages = { link = true }";
    let toml = Overview::of(&[("a", &a, keys)]).toml().replace("[upstreams.a]\n", credential);
    let proxy = Proxy::start_with(&toml, &[("SECRET", "0123456789abcdef0123")]);
    let elsewhere = format!("<{}/v1/list>; rel=next", other.url());
    a.script([linked("[1]", "<?page=2>; rel=next"), linked("[2]", &elsewhere)]);
    assert_eq!(assert_problem(&proxy.get("/overview/1"), 502)["type"], "urn:attache:problem:next_page");
    let has_it_once = |request: &Request| request.headers.all("x-key") == ["0123456789abcdef0123"];
    assert!(a.requests().iter().all(has_it_once), "{:?}", a.requests());
    assert_eq!((a.asked(), other.asked()), (2, 0));
}

/// What lies beyond the bound is left out, and the answer says so.
#[test]
fn pages_are_bounded() {
    let a = Upstream::open();
    let proxy = start(&a, "pages = { number = \"page\", pages_max = 2 }");
    a.script([json("[1]"), json("[2]")]);
    let answer = proxy.get("/overview/1");
    assert_eq!((answer.text(), answer.headers.get("attache-parts")), ("{\"a\":[1,2]}".to_owned(), Some("a;truncated")));
    assert_eq!(a.asked(), 2);
}

/// The credential goes nowhere but under the upstream's own URL, and pages that go round in a circle end.
#[test]
fn a_next_page_elsewhere_is_not_asked_for() {
    let (a, other) = (Upstream::open(), Upstream::open());
    let proxy = start(&a, "pages = { link = true }");
    for link in [
        format!("<{}/v1/list>; rel=next", other.url()),
        format!("<//{}/v1/list>; rel=next", other.address()),
        format!("<{}/v1/list>; rel=next", a.url().replace("http://", "https://")),
        format!("<{}/v2/list>; rel=next", a.url()),
        "</v10/list>; rel=next".to_owned(),
        "</v1/list?size=2>; rel=next".to_owned(),
    ] {
        a.script([linked("[1]", &link)]);
        let problem = assert_problem(&proxy.get("/overview/1"), 502);
        assert_eq!((&problem["type"], &problem["part"]), (&"urn:attache:problem:next_page".into(), &"a".into()));
    }
    assert_eq!((a.asked(), other.asked()), (6, 0));
}

/// All pages together have eight times what one may have.
#[test]
fn all_pages_together_are_bounded() {
    let a = Upstream::open();
    let proxy = start(&a, "bytes_max = 100\npages = { number = \"page\", pages_max = 20 }");
    a.script((0..20).map(|_| json(&format!("[\"{}\"]", "x".repeat(90)))));
    assert_eq!(assert_problem(&proxy.get("/overview/1"), 502)["type"], "urn:attache:problem:answer_too_large");
    assert_eq!(a.asked(), 9);
}
