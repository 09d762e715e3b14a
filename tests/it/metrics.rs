//! The admin listener's `/metrics` as operators rely on it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use attache::clock::{Clock as _, SystemClock};

use crate::support::{Answer, DEADLINE, Grant, Proxy, Reply, TokenEndpoint, Upstream, one_route};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n[server]";

fn setup(server: &str) -> (TokenEndpoint, Upstream, Proxy) {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let toml = one_route(&endpoint, &upstream, "").replace("[server]", &format!("{ADMIN}\n{server}"));
    (endpoint, upstream, Proxy::start(&toml))
}

/// What a counter without labels says.
fn count(scrape: &Answer, name: &str) -> u64 {
    let line = scrape.text().lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("{name} is not in {}", scrape.text()))
}

#[test]
fn every_metric_that_the_documentation_names_is_scraped() {
    let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
    // A token for each subject, and an aggregate, which have metrics of their own.
    let more = format!(
        "[clients.portal.key]\nsha256 = [\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"]\n\
         [credentials.people.token_exchange]\ntoken_url = \"{}\"\n\
         subject_token = {{ header = \"X-Subject-Token\", clients = [\"portal\"] }}\n\
         [[routes]]\npath = \"/overview\"\nclients = \"anyone\"\n\
         aggregate.parts.a = {{ upstream = \"api\", path = \"/a\" }}\n",
        endpoint.url()
    );
    let proxy = Proxy::start(&one_route(&endpoint, &upstream, &more).replace("[server]", ADMIN));
    assert_eq!(proxy.get("/api/x").status, 200);
    let scrape = proxy.admin("/metrics").text();
    let scraped: Vec<_> = scrape.lines().filter_map(|line| line.split([' ', '{']).next()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut named = 0;
    for page in pages.chain([root.join("README.md")]) {
        let text = fs::read_to_string(&page).unwrap();
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.strip_prefix("attache_").is_some_and(|rest| !rest.is_empty()) {
                named += 1;
                assert!(scraped.contains(&word), "{} names {word}, which is not in\n{scrape}", page.display());
            }
        }
    }
    assert!(named > 0, "the documentation names metrics");
}

/// TL-40, TL-44: where no memory is left to keep a body, its request is not replayed: the rejection passes, is counted, and
/// brings the next request a new token.
#[test]
fn a_rejected_request_that_could_not_be_kept_passes_through() {
    let (endpoint, upstream, proxy) = setup("limits = { replay_memory_bytes_max = 0 }");
    endpoint.set_lifetime(Some(Duration::from_secs(10)));
    assert_eq!(proxy.get("/api/first").status, 200);
    // A younger token is not replaced (TL-43).
    endpoint.grants().wait_until_older_than(Duration::from_millis(1_100));
    endpoint.grants().revoke_all();
    assert_eq!(count(&proxy.admin("/metrics"), "attache_replay_copies_refused_total"), 0);
    assert_eq!(proxy.send("POST", "/api/x", &[], b"too much to keep").status, 401);
    assert_eq!(count(&proxy.admin("/metrics"), "attache_replay_copies_refused_total"), 1);
    endpoint.grants().wait_for(2);
    assert_eq!(proxy.get("/api/x").status, 200);
    assert_eq!(upstream.requests().iter().filter(|request| request.method == "POST").count(), 1);
}

/// TL-23: a token that is late is counted, once, where operators see it.
#[test]
fn a_late_token_is_counted() {
    let (mut endpoint, _upstream, proxy) = setup("");
    endpoint.set_lifetime(Some(Duration::from_secs(2)));
    assert_eq!(proxy.get("/api/x").status, 200);
    endpoint.refuse_connections();
    let late = || count(&proxy.admin("/metrics"), r#"attache_token_late_total{credential="api"}"#);
    assert_eq!(late(), 0);
    // It is late 1.8 s after it was asked for. How much later that is noticed depends on the machine.
    let mut age = Duration::from_millis(1_800);
    while late() == 0 {
        assert!(age < DEADLINE, "it is never late");
        endpoint.grants().wait_until_older_than(age);
        age += Duration::from_millis(20);
    }
    endpoint.grants().wait_until_older_than(age + Duration::from_millis(500));
    assert_eq!(late(), 1);
    assert_eq!(proxy.admin("/status").json()["credentials"][0]["late"], 1);
}

/// S04: what a token endpoint says, and where it is, is not for clients.
#[test]
fn clients_learn_nothing_of_what_a_token_endpoint_says() {
    let (endpoint, _upstream, proxy) = setup("");
    let said = json!({ "error": "invalid_scope", "error_description": "backend 10.1.2.3 says no" });
    endpoint.script(vec![Grant::Json(400, said); 3]);
    let answer = proxy.get("/api/x");
    let text = answer.text();
    assert!(
        text.contains("token endpoint of credential `api` gives this proxy no token") && text.contains("invalid_scope"),
        "{text}"
    );
    assert!(!text.contains("10.1.2.3") && !text.contains("127.0.0.1"), "{text}");
    let status = proxy.admin("/status").text();
    assert!(status.contains("10.1.2.3"), "operators learn it: {status}");
}

/// A connection counts once it is opened, whether it brings an answer or not. The count is a moment behind.
#[test]
fn connections_that_brought_no_answer_are_counted_too() {
    let (_endpoint, upstream, proxy) = setup("");
    upstream.script((0..3).map(|_| Reply::RawThenClose(Vec::new())));
    for _ in 0..3 {
        assert_eq!(proxy.send("POST", "/api/x", &[], b"once").status, 502);
    }
    assert_eq!(upstream.connections(), 3);
    let deadline = SystemClock.now().after(DEADLINE);
    while count(&proxy.admin("/metrics"), "attache_upstream_connections_opened_total") < 3 {
        assert!(SystemClock.now() < deadline, "{}", proxy.admin("/metrics").text());
    }
}
