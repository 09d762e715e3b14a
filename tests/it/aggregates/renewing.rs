//! Tokens that an upstream rejects while an aggregate is answered.

use std::time::Duration;

use super::{Overview, json};
use crate::support::{Proxy, Reply, SECRET, TokenEndpoint, Upstream, client_credentials};

const AGE: Duration = Duration::from_millis(1_100);

/// With a credential of its own for each part, `api` for `a` and `other` for `b`.
fn start(endpoints: [&TokenEndpoint; 2], a: &Upstream, b: &Upstream) -> Proxy {
    endpoints.iter().for_each(|endpoint| endpoint.set_lifetime(Some(Duration::from_secs(10))));
    let [api, other] = endpoints.map(|endpoint| client_credentials(&endpoint.url()));
    let head = api + &other.replace("[credentials.api.", "[credentials.other.");
    let toml = Overview { head: &head, ..Overview::of(&[("a", a, ""), ("b", b, "on_failure = \"null\"")]) }
        .toml()
        .replace("[upstreams.a]", "[upstreams.a]\ncredential = \"api\"")
        .replace("[upstreams.b]", "[upstreams.b]\ncredential = \"other\"");
    Proxy::start_with(&toml, &[("SECRET", SECRET)])
}

#[test]
fn two_credentials_are_renewed_at_once() {
    let endpoints = [TokenEndpoint::named("one"), TokenEndpoint::named("two")];
    let [a, b] = endpoints.each_ref().map(|endpoint| Upstream::guarded(endpoint.grants()));
    let proxy = start(endpoints.each_ref(), &a, &b);
    a.script([json("1"), json("2")]);
    b.script([json("3"), json("4")]);
    assert_eq!(proxy.get("/overview/1").text(), "{\"a\":1,\"b\":3}");
    for endpoint in &endpoints {
        endpoint.grants().wait_until_older_than(AGE);
        endpoint.grants().revoke_all();
    }
    let answer = proxy.get("/overview/1");
    assert_eq!((answer.text(), answer.headers.get("attache-parts")), ("{\"a\":2,\"b\":4}".into(), None));
    assert_eq!(endpoints.map(|endpoint| endpoint.grants().tokens().len()), [2, 2]);
}

/// A replay that is rejected as well is the part's failure.
#[test]
fn a_second_rejection_fails_the_part() {
    let endpoints = [TokenEndpoint::named("one"), TokenEndpoint::named("two")];
    let (a, b) = (Upstream::open(), Upstream::open());
    let proxy = start(endpoints.each_ref(), &a, &b);
    let refused = || Reply::answer(401, &[("WWW-Authenticate", "Bearer error=\"invalid_token\"")], b"");
    a.script([json("1"), json("2")]);
    b.script([json("3"), refused(), refused()]);
    assert_eq!(proxy.get("/overview/1").text(), "{\"a\":1,\"b\":3}");
    endpoints[1].grants().wait_until_older_than(AGE);
    let answer = proxy.get("/overview/1");
    assert_eq!(answer.text(), "{\"a\":2,\"b\":null}");
    assert_eq!(answer.headers.get("attache-parts"), Some("b;status=401;error=\"upstream_status\""));
    assert_eq!((b.asked(), endpoints[1].grants().tokens().len()), (3, 2));
}
