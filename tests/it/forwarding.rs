//! Requests and answers as they pass, asked by curl and by a client that sees every byte.

use std::fs;

use crate::support::{Client, Proxy, Reply, TokenEndpoint, Tool, Upstream, assert_problem, one_route, run};

/// What stands between an application and its API in most of these tests.
fn setup(more: &str) -> (TokenEndpoint, Upstream, Proxy) {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let proxy = Proxy::start(&one_route(&endpoint, &upstream, more));
    (endpoint, upstream, proxy)
}

/// SEC-03, SEC-10, SEC-11: the target passes as it came, the Host is the upstream's own, the client's credential is gone.
#[test]
fn curl_reaches_the_api_without_a_credential() {
    let (_endpoint, upstream, proxy) = setup("");
    let url = format!("http://{}/api/a%2Fb//c;x=1?q=%20&r", proxy.address());
    let printed = run(
        Tool::CURL,
        &["-sSi", "--path-as-is", "-H", "Authorization: Bearer mine", "-H", "Cookie: a=b", "-H", "X-Mine: kept", &url],
    );
    assert!(printed.starts_with("HTTP/1.1 200 ") && printed.ends_with("\r\n\r\nok"), "{printed}");
    let request = upstream.request();
    assert_eq!(request.target, "/a%2Fb//c;x=1?q=%20&r");
    assert_eq!(request.headers.get("host"), Some(upstream.address().to_string().as_str()));
    assert_eq!(request.bearer(), Some("demo-access-token-000001"));
    assert_eq!(request.headers.get("x-mine"), Some("kept"));
    assert_eq!(request.headers.get("cookie"), None);
    assert_eq!(request.headers.get("accept-encoding"), Some("identity"));
    assert!(request.headers.get("via").is_some());
}

/// Longer than the copy for replays, longer than a socket's buffers, with a length and without, behind 100-continue.
#[test]
fn curl_uploads_and_downloads_pass_whole() {
    let (_endpoint, upstream, proxy) = setup("");
    let folder = tempfile::tempdir().unwrap();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let (file, received) = (folder.path().join("sent"), folder.path().join("received"));
    fs::write(&file, &sent).unwrap();
    let (data, output) = (format!("@{}", file.display()), received.display().to_string());
    let url = format!("http://{}/api/upload", proxy.address());
    let framings: [&[&str]; 3] = [&[], &["-H", "Transfer-Encoding: chunked"], &["-H", "Expect: 100-continue"]];
    for framing in framings {
        let body = sent.clone();
        upstream.script([Reply::answer(200, &[("Content-Type", "application/octet-stream")], &body)]);
        let arguments = [&["-sS", "-f", "--data-binary", &data, "-o", &output], framing, &[&url]].concat();
        run(Tool::CURL, &arguments);
        assert!(fs::read(&received).unwrap() == sent, "{framing:?}: the download differs");
        let request = upstream.requests().pop().unwrap();
        assert!(request.body == sent, "{framing:?}: the upload differs");
        assert_eq!(request.headers.get("expect"), None, "{framing:?}");
    }
    assert_eq!(upstream.requests().len(), 3);
}

#[test]
fn answers_without_a_body_have_none_and_the_connection_goes_on() {
    let (_endpoint, upstream, proxy) = setup("");
    let mut client = proxy.connect();
    upstream.script([
        Reply::Raw(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        Reply::Raw(b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 500\r\n\r\n".to_vec()),
        Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n".to_vec()),
    ]);
    assert_eq!(client.send("GET", "/api/a", &[], b"").status, 204);
    let unchanged = client.send("GET", "/api/b", &[], b"");
    assert_eq!((unchanged.status, unchanged.headers.get("etag")), (304, Some("\"a\"")));
    let head = client.send("HEAD", "/api/c", &[], b"");
    assert_eq!((head.status, head.headers.get("content-length")), (200, Some("500")));
    assert_eq!(client.send("GET", "/api/d", &[], b"").text(), "ok");
    assert_eq!(upstream.connections(), 1);
}

/// RFC 9110 section 15.3.6: nobody takes the content that a 205 must not have for the next answer.
#[test]
fn a_205_has_no_content_whatever_the_upstream_sends() {
    let (_endpoint, upstream, proxy) = setup("");
    let mut client = proxy.connect();
    upstream.script([
        Reply::answer(205, &[("Content-Type", "text/plain")], b"stray"),
        Reply::Raw(b"HTTP/1.1 205 Reset Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstray\r\n0\r\n\r\n".to_vec()),
        Reply::Raw(b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n".to_vec()),
    ]);
    for _ in 0..3 {
        let reset = client.send("GET", "/api/reset", &[], b"");
        assert_eq!((reset.status, reset.headers.get("content-length"), &*reset.text()), (205, Some("0"), ""));
    }
    assert_eq!(client.send("GET", "/api/d", &[], b"").text(), "ok");
}

#[test]
fn trailers_reach_a_client_that_asks_for_them() {
    let (_endpoint, upstream, proxy) = setup("");
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Authorization\r\n\r\n\
                    2\r\nok\r\n0\r\nX-Sum: 2\r\nAuthorization: Bearer no\r\nX-Unnamed: no\r\n\r\n";
    upstream.script([Reply::Raw(chunked.to_vec()), Reply::Raw(chunked.to_vec())]);
    let asked = proxy.send("GET", "/api/x", &[("TE", "trailers"), ("Connection", "TE")], b"");
    assert_eq!(asked.text(), "ok");
    assert_eq!(asked.trailers.get("x-sum"), Some("2"));
    assert_eq!(asked.trailers.0.len(), 1, "{:?}", asked.trailers);
    let unasked = proxy.get("/api/x");
    assert_eq!(unasked.text(), "ok");
    assert!(unasked.trailers.0.is_empty(), "{:?}", unasked.trailers);
}

/// SEC-12: cookies stay with the upstream, and a page's successor is asked through the proxy.
#[test]
fn answers_are_cleaned() {
    let (_endpoint, upstream, proxy) = setup("");
    let next = format!("<{}/things?page=2>; rel=\"next\"", upstream.url());
    let headers = [
        ("Set-Cookie", "session=1"),
        ("Connection", "X-Hop"),
        ("X-Hop", "1"),
        ("Location", "/things/7"),
        ("Link", &next),
        ("X-Kept", "yes"),
    ];
    upstream.script([Reply::answer(201, &headers, b"made")]);
    let answer = proxy.send("POST", "/api/things", &[("Host", "proxy.test:81")], b"{}");
    assert_eq!(answer.status, 201);
    assert_eq!(answer.headers.get("set-cookie"), None);
    assert_eq!(answer.headers.get("x-hop"), None);
    assert_eq!(answer.headers.get("x-kept"), Some("yes"));
    assert_eq!(answer.headers.get("location"), Some("http://proxy.test:81/api/things/7"));
    assert_eq!(answer.headers.get("link"), Some("<http://proxy.test:81/api/things?page=2>; rel=\"next\""));
}

/// SEC-31: nothing was sent, so nothing is lost; the answer names the upstream.
#[test]
fn an_upstream_that_refuses_connections_is_a_502_that_names_it() {
    let (_endpoint, mut upstream, proxy) = setup("");
    upstream.refuse_connections();
    let problem = assert_problem(&proxy.get("/api/x"), 502);
    assert_eq!(problem["fault"], "upstream");
    upstream.resume();
    assert_eq!(proxy.get("/api/x").status, 200);
}

/// SEC-32: a connection that the upstream closed while it was idle costs nobody an error.
#[test]
fn a_request_on_a_connection_that_was_closed_meanwhile_is_sent_again() {
    let (_endpoint, upstream, proxy) = setup("");
    for _ in 0..20 {
        upstream.script([Reply::RawThenClose(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())]);
        assert_eq!(proxy.get("/api/x").status, 200);
    }
    assert_eq!(upstream.requests().len(), 20);
}

#[test]
fn what_no_route_matches_is_not_found_and_goes_nowhere() {
    let (endpoint, upstream, proxy) = setup("");
    assert_problem(&proxy.get("/elsewhere"), 404);
    assert!(upstream.requests().is_empty());
    assert!(endpoint.requests().is_empty());
}

/// SEC-10, SEC-36 (TL-71): without a known key nothing is fetched and nothing is sent; the key itself goes nowhere.
#[test]
fn a_key_opens_a_route_in_each_of_its_three_spellings() {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    // Of "demo-key".
    let key =
        "[clients.billing.key]\nsha256 = [\"c48a01f49fd0f2cc404bc3cbbc80e91457a3d41bb429a695243de4c61794155c\"]\n";
    let toml = one_route(&endpoint, &upstream, "").replace("clients = \"anyone\"", "clients = [\"billing\"]") + key;
    let proxy = Proxy::start(&toml);
    let presented: [&[(&str, &str)]; 4] = [
        &[],
        &[("Authorization", "Bearer wrong-key")],
        &[("X-Api-Key", "")],
        &[("Authorization", "Basic YmlsbGluZzp3cm9uZw==")],
    ];
    for headers in presented {
        assert!(matches!(proxy.send("GET", "/api/x", headers, b"").status, 400 | 401), "{headers:?}");
    }
    let two = [("Authorization", "Bearer demo-key"), ("X-Api-Key", "another")];
    assert_problem(&proxy.send("GET", "/api/x", &two, b""), 400);
    assert!(upstream.requests().is_empty());
    assert!(endpoint.requests().is_empty());
    let known = [
        ("Authorization", "Bearer demo-key"),
        ("X-Api-Key", "demo-key"),
        // any:demo-key
        ("Authorization", "Basic YW55OmRlbW8ta2V5"),
    ];
    for header in known {
        assert_eq!(proxy.send("GET", "/api/x", &[header], b"").status, 200, "{header:?}");
    }
    for request in upstream.requests() {
        assert!(!format!("{request:?}").contains("demo-key"), "{request:?}");
        assert_eq!(request.bearer(), Some("demo-access-token-000001"));
    }
}

/// RFC 9110 section 15: three digits beyond 599 are no status, and fewer than 200 end nothing.
#[test]
fn what_is_no_final_status_is_an_invalid_answer() {
    let (_endpoint, upstream, proxy) = setup("");
    for status in ["000", "099", "101", "600", "999"] {
        upstream.script([Reply::Raw(format!("HTTP/1.1 {status} Odd\r\nContent-Length: 2\r\n\r\nok").into_bytes())]);
        assert_problem(&proxy.get("/api/x"), 502);
    }
    assert_eq!(upstream.asked(), 5, "none is asked twice");
    for status in [200, 299, 418, 599] {
        upstream.script([Reply::answer(status, &[], b"ok")]);
        assert_eq!(proxy.get("/api/x").status, status);
    }
}

/// SEC-32: two requests in one packet get two answers, in order.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let (_endpoint, upstream, proxy) = setup("");
    upstream.script([Reply::text("first"), Reply::text("second")]);
    let mut client = Client::connect(proxy.address());
    client.write(b"GET /api/1 HTTP/1.1\r\nHost: a\r\n\r\nGET /api/2 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.read_answer("GET").unwrap().text(), "first");
    assert_eq!(client.read_answer("GET").unwrap().text(), "second");
}
