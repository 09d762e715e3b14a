//! What an answer looks like, and what the upstreams are asked.

use std::io::Write as _;

use attache::client_auth::digest_of;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Version;
use hyper::body::Frame;
use serde_json::json;

use super::{Overview, json};
use crate::support::{
    Child, HyperClient, Identity, Proxy, Reply, Speaks, TlsPeer, TokenEndpoint, Upstream, assert_problem,
    client_credentials, roots,
};

/// The common case: a part that waits for another, its placeholder escaped for where it stands, bytes as they came.
#[test]
fn two_apis_become_one_document() {
    let (profile, orders) = (Upstream::open(), Upstream::open());
    let proxy = Overview::of(&[
        ("profile", &profile, "path = \"/customers/{id}\""),
        ("orders", &orders, "path = \"/orders?customer={profile.number}\"\nheaders = { X-Id = \"{profile.id}\" }"),
    ])
    .start();
    profile.script([json(r#" { "id": 1.0, "number": "a/b &c", "e": 1e400 } "#)]);
    orders.script([json("[12345678901234567890123,\n -0]")]);
    let answer =
        proxy.send("GET", "/overview/x%2Fy?z=1", &[("X-Other", "1"), ("Cookie", "a=b"), ("Authorization", "x")], b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    let expected = "{\"profile\":{ \"id\": 1.0, \"number\": \"a/b &c\", \"e\": 1e400 },\"orders\":[12345678901234567890123,\n -0]}";
    assert_eq!(answer.text(), expected);
    for (name, value) in [
        ("content-type", Some("application/json")),
        ("cache-control", Some("no-store")),
        ("content-length", Some(&*expected.len().to_string())),
        ("attache-parts", None),
    ] {
        assert_eq!(answer.headers.get(name), value, "{answer:?}");
    }
    assert!(answer.headers.get("x-request-id").is_some());
    let (profile, orders) = (profile.request(), orders.request());
    assert_eq!((&*profile.method, &*profile.target), ("GET", "/v1/customers/x%2Fy"));
    assert_eq!((&*orders.target, orders.headers.get("x-id")), ("/v1/orders?customer=a%2Fb%20%26c", Some("1.0")));
    for request in [profile, orders] {
        let headers = &request.headers;
        assert_eq!((headers.get("x-other"), headers.get("cookie"), headers.get("authorization")), (None, None, None));
        assert_eq!((headers.get("accept-encoding"), headers.get("accept")), (Some("gzip"), Some("application/json")));
        assert!(headers.get("via").is_some_and(|via| via.starts_with("1.1 attache-")), "{headers:?}");
        assert!(headers.get("user-agent").is_some_and(|agent| agent.starts_with("attache/")), "{headers:?}");
    }
}

#[test]
fn head_has_the_length_and_no_body() {
    let a = Upstream::open();
    let proxy =
        Overview { route: "response_headers.set.cache-control = \"max-age=5\"", ..Overview::of(&[("a", &a, "")]) }
            .start();
    a.script([json("[1]")]);
    let answer = proxy.send("HEAD", "/overview/1", &[], b"");
    assert_eq!((answer.status, answer.headers.get("content-length"), answer.text()), (200, Some("9"), String::new()));
    assert_eq!(answer.headers.get("cache-control"), Some("max-age=5"));
}

#[test]
fn an_answer_may_be_encoded_or_empty() {
    let (a, b) = (Upstream::open(), Upstream::open());
    let proxy = Overview::of(&[("a", &a, ""), ("b", &b, "")]).start();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(b"{\"packed\":true}").unwrap();
    let packed = encoder.finish().unwrap();
    for status in [201, 202, 204, 205] {
        a.script([Reply::answer(200, &[("Content-Encoding", "gzip")], &packed)]);
        b.script([Reply::answer(status, &[], b"")]);
        assert_eq!(proxy.get("/overview/1").text(), "{\"a\":{\"packed\":true},\"b\":null}", "{status}");
    }
}

/// The request's JSON is read where a placeholder asks for it, within bounds; elsewhere its body is not for us.
#[test]
fn the_request_is_read_where_a_part_needs_it() {
    let (a, b) = (Upstream::open(), Upstream::open());
    let keys = "path = \"/a\"\nmethod = \"POST\"\nbody = { lines = \"{request.lines}\", note = \"{request.note?}\" }";
    let reading = Overview::of(&[("a", &a, keys)]).start();
    let typed = [("Content-Type", "application/json")];
    a.script([json("1")]);
    let answer = reading.send("POST", "/overview/1", &typed, b"{\"lines\": [1.0, {\"x\": 2}]}");
    assert_eq!((answer.status, answer.text()), (200, "{\"a\":1}".to_owned()));
    let request = a.request();
    assert_eq!(String::from_utf8_lossy(&request.body), "{\"lines\":[1.0, {\"x\": 2}]}");
    assert_eq!(request.headers.get("content-type"), Some("application/json"));

    let large = [b"\"".as_slice(), &vec![b'x'; 1 << 20], b"\""].concat();
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [u8], u16, &'a str);
    let cases: [Case<'_>; 6] = [
        (&[("Content-Type", "text/plain")], b"{}", 415, "request_not_json_type"),
        (&[], b"{}", 415, "request_not_json_type"),
        (&typed, b"{", 400, "request_not_json"),
        (&typed, b"", 400, "request_not_json"),
        (&typed, &large, 413, "request_too_large"),
        (&typed, b"{}", 400, "request_incomplete"),
    ];
    for (headers, body, status, name) in cases {
        let problem = assert_problem(&reading.send("POST", "/overview/1", headers, body), status);
        assert_eq!(problem["type"], format!("urn:attache:problem:{name}"));
        assert_eq!(problem["fault"], "client");
    }
    assert_eq!(a.asked(), 1);

    let other = Overview::of(&[("b", &b, "")]).start();
    b.script([json("1"), json("2")]);
    let mut client = other.connect();
    assert_eq!(client.send("GET", "/overview/1", &typed, b"{}").text(), "{\"b\":1}");
    assert_eq!(other.get("/overview/1").text(), "{\"b\":2}");
    assert!(b.requests().iter().all(|request| request.body.is_empty()));
}

/// Each part has its own credential: attached, masked if it comes back (SEC-13), renewed and replayed if it is rejected.
#[test]
fn every_part_has_its_own_credential() {
    let endpoint = TokenEndpoint::start();
    endpoint.set_lifetime(Some(std::time::Duration::from_secs(10)));
    let (a, b) = (Upstream::guarded(endpoint.grants()), Upstream::open());
    let credentials = client_credentials(&endpoint.url())
        + "[credentials.key.api_key]\nquery = \"k\"\nvalue = { env = \"SECRET\" }\n";
    let toml = Overview { head: &credentials, ..Overview::of(&[("a", &a, ""), ("b", &b, "path = \"/b?x=2\"")]) }
        .toml()
        .replace("[upstreams.a]", "[upstreams.a]\ncredential = \"api\"")
        .replace("[upstreams.b]", "[upstreams.b]\ncredential = \"key\"");
    let long = "long-secret-0123456789";
    let proxy = Proxy::start_with(&toml, &[("SECRET", long)]);
    let echo = || {
        Reply::custom(|request, connection| {
            let body = format!("{{\"asked\":\"{}\"}}", request.target);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            connection.stream().write_all((head + &body).as_bytes())
        })
    };
    a.script([json("1"), json("2")]);
    b.script([echo(), echo()]);
    let masked = format!("{{\"asked\":\"/v1/b?x=2&k={}\"}}", "*".repeat(long.len()));
    assert_eq!(proxy.get("/overview/1").text(), format!("{{\"a\":1,\"b\":{masked}}}"));
    endpoint.grants().wait_until_older_than(std::time::Duration::from_millis(1_100));
    endpoint.grants().revoke_all();
    assert_eq!(proxy.get("/overview/1").text(), format!("{{\"a\":2,\"b\":{masked}}}"));
    let bearers: Vec<_> = a.requests().iter().map(|request| request.bearer().map(str::to_owned)).collect();
    let [first, second] = &endpoint.grants().tokens()[..] else { panic!("{bearers:?}") };
    assert_eq!(bearers, [first, first, second].map(|token| Some(token.clone())));
}

/// What all aggregates hold of answers is bounded.
#[test]
fn without_memory_a_part_fails() {
    let (a, b) = (Upstream::open(), Upstream::open());
    let proxy = Overview {
        head: "[server]\nlimits.aggregate_memory_bytes_max = 65536",
        // Is not asked where `a` fails.
        ..Overview::of(&[("a", &a, ""), ("b", &b, "when = \"{a}\"\non_failure = \"null\"")])
    }
    .start();
    let large = format!("\"{}\"", "x".repeat(65536));
    a.script([json(&large), json("1"), json(&format!("\"{}\"", "x".repeat(40000)))]);
    b.script([json(&large), json("3")]);
    let problem = assert_problem(&proxy.get("/overview/1"), 503);
    assert_eq!((&problem["type"], &problem["part"]), (&"urn:attache:problem:no_memory".into(), &"a".into()));
    let answer = proxy.get("/overview/1");
    assert_eq!(answer.text(), "{\"a\":1,\"b\":null}");
    assert_eq!(answer.headers.get("attache-parts"), Some("b;error=\"no_memory\""));
    // The parts fit, and the answer as well does not.
    let problem = assert_problem(&proxy.get("/overview/1"), 503);
    assert_eq!((&problem["type"], problem.get("part")), (&"urn:attache:problem:no_memory".into(), None));
}

/// One line with the parts' durations, and metrics of each part.
#[test]
fn the_log_and_the_metrics_know_the_parts() {
    let (a, b, c) = (Upstream::open(), Upstream::open(), Upstream::open());
    let toml = Overview {
        head: "[log]\nformat = \"json\"\n[admin]\naddress = \"127.0.0.1:0\"",
        ..Overview::of(&[("a", &a, ""), ("b", &b, "on_failure = \"null\""), ("c", &c, "when = \"{a.no}\"")])
    }
    .toml();
    let proxy = Proxy::start(&toml);
    let script = || {
        a.script([json("{\"no\":false}")]);
        b.script([Reply::answer(503, &[], b"")]);
    };
    script();
    assert_eq!(proxy.get("/overview/1").text(), "{\"a\":{\"no\":false},\"b\":null,\"c\":null}");
    let metrics = proxy.admin("/metrics").text();
    for line in [
        "attache_parts_total{route=\"/overview/{id}\",part=\"a\",outcome=\"answered\"} 1",
        "attache_parts_total{route=\"/overview/{id}\",part=\"b\",outcome=\"failed\"} 1",
        "attache_parts_total{route=\"/overview/{id}\",part=\"c\",outcome=\"skipped\"} 1",
        "attache_part_duration_seconds_count{route=\"/overview/{id}\",part=\"a\"} 1",
        "attache_part_duration_seconds_count{route=\"/overview/{id}\",part=\"c\"} 0",
        "attache_requests_total{route=\"/overview/{id}\",upstream=\"(aggregate)\",code=\"200\"} 1",
    ] {
        // The route's name has its methods, which are not what this is about.
        let metrics = metrics.replace("route=\"GET /overview", "route=\"/overview");
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }

    let address = crate::support::free_address();
    let child = Child::run(&toml.replacen("127.0.0.1:0", &address.to_string(), 1), &[]);
    child.wait_for_line("it listens", |line| line.contains("listening"));
    script();
    assert_eq!(crate::support::get(address, "/overview/1").status, 200);
    let line = child.wait_for_line("its access line", |line| line.contains("attache::access"));
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let parts = line.get("parts").or_else(|| line["fields"].get("parts")).and_then(|parts| parts.as_str()).unwrap();
    let shape = fancy_regex::Regex::new(
        r"^a;status=200;ms=\d+\.\d{3}, b;status=503;error=upstream_status;ms=\d+\.\d{3}, c;skipped$",
    );
    assert!(shape.unwrap().is_match(parts).unwrap(), "{line}");
    child.wait_for_line("what failed", |line| line.contains("upstream_status") && line.contains("\"part\":\"b\""));
}

/// A client's key is asked for as anywhere else, and is for no upstream; HTTP/2 is as good as HTTP/1.
#[test]
fn clients_are_recognised_and_may_speak_http_2() {
    let a = Upstream::open();
    let hex = digest_of(b"app-key-0123456789").iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let head = format!("[clients.app.key]\nsha256 = [\"{hex}\"]\n");
    let keys = "path = \"/{client}\"\nquery = { k = \"{header.x-key?}\", l = \"{query.l|none}\" }";
    let toml = Overview { head: &head, ..Overview::of(&[("a", &a, keys)]) }.toml();
    let proxy = Proxy::start(&toml.replace("clients = \"anyone\"", "clients = [\"app\"]"));
    assert_eq!(assert_problem(&proxy.get("/overview/1"), 401)["type"], json!("urn:attache:problem:key_missing"));
    a.script([json("1"), json("2")]);
    let headers = [("X-Api-Key", "app-key-0123456789"), ("X-Key", "\u{e4}b")];
    let refused = proxy.send("GET", "/overview/1", &headers[..1], b"");
    assert_eq!(refused.text(), "{\"a\":1}");
    let request = a.request();
    assert_eq!(request.target, "/v1/app?l=none");
    assert!(!format!("{request:?}").contains("app-key"), "{request:?}");

    let open = Proxy::start(&toml.replace("/{client}", "/x"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = HyperClient::connect(open.address(), Speaks::Http2, &roots([])).await;
        let (status, body) = client.get("/overview/1?l=a%20b").await.unwrap();
        assert_eq!((status.as_u16(), &body[..]), (200, &b"{\"a\":2}"[..]));
    });
    assert_eq!(a.requests()[1].target, "/v1/x?l=a%20b");
}

/// A part's own body goes out over both versions, however large it is.
#[test]
fn upstreams_may_speak_http_2() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::new(folder.path(), "upstream", &["127.0.0.1"]);
    let b = Upstream::open();
    for (version, expected) in [("1", Version::HTTP_11), ("2", Version::HTTP_2)] {
        let upstream = TlsPeer::start(&identity, &identity, |request| {
            http::Response::new(vec![Frame::data(format!("{{\"bytes\":{}}}", request.body.len()).into())])
        });
        let keys = "path = \"/b\"\nmethod = \"POST\"\nbody = \"{request}\"";
        let url = format!(
            "https://127.0.0.1:{}\"\nca = {:?}\nhttp = \"{version}",
            upstream.address.port(),
            identity.cert_file
        );
        let toml = Overview::of(&[("b", &b, keys)]).toml().replace(&format!("{}/v1", b.url()), &url);
        let proxy = Proxy::start(&toml);
        let body = format!("\"{}\"", "x".repeat(200_000));
        let answer = proxy.send("POST", "/overview/1", &[("Content-Type", "application/json")], body.as_bytes());
        assert_eq!(answer.text(), "{\"b\":{\"bytes\":200002}}");
        assert_eq!(upstream.requests().pop().unwrap().version, expected);
    }
}
