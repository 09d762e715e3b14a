//! What the request path does besides the usual: limits, refusals, retries, scanning, and the end of streams.

use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use crate::support::{
    Client, DEADLINE, Proxy, Reply, TokenEndpoint, Upstream, assert_problem, one_route, one_route_of,
};

fn setup(more: &str) -> (TokenEndpoint, Upstream, Proxy) {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let proxy = Proxy::start(&one_route(&endpoint, &upstream, more));
    (endpoint, upstream, proxy)
}

const SERVER: &str = "[server]";

/// A proxy whose upstream table has these further keys.
fn setup_upstream(keys: &str) -> (TokenEndpoint, Upstream, Proxy) {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let toml = one_route(&endpoint, &upstream, "").replace("[upstreams.api]\n", &format!("[upstreams.api]\n{keys}\n"));
    let proxy = Proxy::start(&toml);
    (endpoint, upstream, proxy)
}

/// SEC-11: nothing that is not for an upstream reaches one.
#[test]
fn what_is_not_for_an_upstream_is_answered_here() {
    let (endpoint, upstream, proxy) = setup("");
    let long = format!("/api/{}", "x".repeat(33_000));
    let many: Vec<_> = (0..70).map(|_| ("X-Many", "y".repeat(1000))).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(proxy.send("OPTIONS", "*", &[], b"").status, 204);
    type Refused<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16);
    let refused: [Refused<'_>; 9] = [
        ("TRACE", "/api/x", &[], 405),
        ("GET", "*", &[], 400),
        ("GET", "/api/..;/x", &[], 400),
        ("GET", &long, &[], 414),
        ("GET", "/api/x", &many, 431),
        ("GET", "/api/x", &[("Expect", "a-miracle")], 417),
        ("POST", "/api/x", &[("Transfer-Encoding", "gzip, chunked")], 501),
        ("GET", "/api/x", &[("Host", "a, b")], 400),
        ("GET", "/other", &[], 404),
    ];
    for (method, target, headers, status) in refused {
        let problem = assert_problem(&proxy.send(method, target, headers, b""), status);
        assert_eq!(problem["fault"], "client");
    }
    assert!(upstream.requests().is_empty() && endpoint.requests().is_empty());
}

/// SEC-10: a request that comes back to the proxy that sent it is a loop.
#[test]
fn a_loop_is_found_by_via() {
    let (endpoint, upstream, proxy) = setup("");
    proxy.get("/api/x");
    let via = upstream.request().headers.get("via").unwrap().to_owned();
    let problem = assert_problem(&proxy.send("GET", "/api/x", &[("Via", &via)], b""), 508);
    assert_eq!(problem["fault"], "proxy");
    proxy.reload(&one_route(&endpoint, &upstream, "redact_bodies = false")).unwrap();
    assert_problem(&proxy.send("GET", "/api/x", &[("Via", &via)], b""), 508);
    assert_eq!(proxy.send("GET", "/api/x", &[("Via", "1.1 another")], b"").status, 200);
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn every_answer_has_a_request_id() {
    let (_endpoint, upstream, proxy) = setup("");
    upstream.script([Reply::text("a"), Reply::answer(200, &[("X-Request-Id", "theirs")], b"b")]);
    let ours = proxy.send("GET", "/api/x", &[("X-Request-Id", "the client's")], b"");
    assert_eq!(ours.headers.get("x-request-id").map(str::len), Some(16));
    assert_eq!(proxy.get("/api/x").headers.get("x-request-id"), Some("theirs"), "the id their support will ask for");
    let failed = proxy.get("/other");
    assert_eq!(failed.headers.get("x-request-id"), failed.json()["request_id"].as_str());
}

/// SEC-13: a part of a text is not passed on; the whole is asked for, and scanned.
#[test]
fn a_part_of_a_text_is_asked_for_whole() {
    let (_endpoint, upstream, proxy) = setup("");
    let part = [("Content-Type", "text/plain"), ("Content-Range", "bytes 0-3/20")];
    upstream.script([
        Reply::answer(206, &part, b"demo"),
        Reply::custom(|request, connection| {
            let text = format!("it is {}", request.bearer().unwrap());
            write!(
                connection.stream(),
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            )
        }),
    ]);
    let answer = proxy.send("GET", "/api/x", &[("Range", "bytes=0-3"), ("If-Range", "\"a\"")], b"");
    assert_eq!((answer.status, answer.text().as_str()), (200, "it is ************************"));
    let [first, second] = &upstream.requests()[..] else { panic!("asked twice: {:?}", upstream.requests()) };
    assert_eq!(first.headers.get("range"), Some("bytes=0-3"));
    assert_eq!((second.headers.get("range"), second.headers.get("if-range")), (None, None));
    let image = [("Content-Type", "image/png"), ("Content-Range", "bytes 0-3/20")];
    upstream.script([
        Reply::answer(206, &image, b"demo"),
        Reply::answer(206, &part, b"demo"),
        Reply::answer(206, &part, b"demo"),
    ]);
    assert_eq!(proxy.send("GET", "/api/x", &[("Range", "bytes=0-3")], b"").status, 206, "nothing to scan in an image");
    let stubborn = proxy.send("GET", "/api/x", &[("Range", "bytes=0-3")], b"");
    assert!(assert_problem(&stubborn, 502)["detail"].as_str().unwrap().contains("redact_bodies = false"));
}

/// SEC-13: an encoded text cannot be scanned, so it passes only where the route says so.
#[test]
fn an_encoded_text_is_refused_unless_the_route_lets_it_pass() {
    let encoded =
        || Reply::answer(200, &[("Content-Type", "application/json"), ("Content-Encoding", "gzip")], b"\x1f\x8b");
    let (_endpoint, upstream, proxy) = setup("");
    upstream.script([encoded(), encoded()]);
    assert_eq!(proxy.send("HEAD", "/api/x", &[], b"").status, 200, "there is nothing to scan");
    let problem = assert_problem(&proxy.get("/api/x"), 502);
    assert!(problem["detail"].as_str().unwrap().contains("redact_bodies = false"), "{problem}");
    let (_endpoint, upstream, proxy) = setup("redact_bodies = false");
    upstream.script([encoded()]);
    let answer = proxy.send("GET", "/api/x", &[("Accept-Encoding", "gzip")], b"");
    assert_eq!(answer.body, b"\x1f\x8b");
    assert_eq!(upstream.request().headers.get("accept-encoding"), Some("gzip"));
}

/// SEC-13, SEC-33: a text that turns out to be UTF-16 is refused; one that has begun already is cut off.
#[test]
fn a_text_with_a_wide_byte_order_mark_does_not_pass() {
    let (_endpoint, upstream, proxy) = setup("");
    let fields = [("Content-Type", "text/xml; charset=utf-8")];
    upstream.script([
        Reply::answer(200, &fields, b"\xff\xfe<\0a\0/\0>\0"),
        Reply::custom(|_, connection| {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            write!(connection.stream(), "{head}1\r\n")?;
            connection.stream().write_all(b"\xfe\r\n7\r\n\xff\0a\0b\0c\r\n0\r\n\r\n")
        }),
    ]);
    let problem = assert_problem(&proxy.get("/api/x"), 502);
    assert_eq!(problem["type"], "urn:attache:problem:encoded_answer");
    let mut client = proxy.connect();
    client.write_request("GET", "/api/x", &[], b"");
    let broken = client.read_answer("GET").expect_err("it has no end");
    assert!(!matches!(broken.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "it goes on: {broken}");
}

/// SEC-13: an echoed token is masked across chunk borders, in headers and in trailers, and in their names; lengths hold,
/// digests go.
#[test]
fn an_echoed_token_is_masked_wherever_it_stands() {
    let (_endpoint, upstream, proxy) = setup("");
    upstream.script([Reply::custom(|request, connection| {
        let token = request.bearer().unwrap().to_owned();
        let (begin, end) = token.split_at(7);
        write!(
            connection.stream(),
            "HTTP/1.1 200 OK\r\nX-Echo: <{token}>\r\nX-{token}: 1\r\nDigest: sha-256=x\r\nETag: \"e\"\r\n\
             Trailer: X-End, {token}, Repr-Digest\r\nTransfer-Encoding: chunked\r\n\r\n\
             8\r\n[{begin}\r\n{:x}\r\n{end}]\r\n0\r\nX-End: {token}\r\n{token}: 2\r\nRepr-Digest: x\r\n\r\n",
            end.len() + 1
        )
    })]);
    let answer = proxy.send("GET", "/api/x", &[("TE", "trailers"), ("Connection", "TE")], b"");
    let stars = "*".repeat("demo-access-token-000001".len());
    assert_eq!(answer.text(), format!("[{stars}]"));
    assert_eq!(answer.headers.get("x-echo"), Some(format!("<{stars}>").as_str()));
    assert_eq!(answer.headers.get(&format!("x-{stars}")), Some("1"));
    assert_eq!(answer.trailers.get("x-end"), Some(stars.as_str()));
    assert_eq!(answer.trailers.get(&stars), Some("2"));
    assert_eq!(answer.trailers.get("repr-digest"), None);
    assert_eq!((answer.headers.get("digest"), answer.headers.get("etag")), (None, Some("\"e\"")));
}

/// TL-45: a token that is good but not for this is not replaced.
#[test]
fn insufficient_scope_fetches_nothing() {
    let (endpoint, upstream, proxy) = setup("");
    proxy.get("/api/x");
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"more\"";
    upstream.script([Reply::answer(401, &[("WWW-Authenticate", challenge)], b"")]);
    let answer = proxy.get("/api/x");
    assert_eq!((answer.status, answer.headers.get("www-authenticate")), (401, Some(challenge)));
    assert_eq!(upstream.requests().len(), 2);
    assert_eq!(endpoint.grants().count(), 1);
}

/// TL-40, TL-44: a configured rejection is read from complete small answers only, and replayed where that is safe, or
/// where the configuration says that it is.
#[test]
fn a_configured_rejection_is_replayed_where_it_is_safe() {
    const MATCHER: &str = "reject_on = [401, { status = 400, body_contains = \"token expired\" }]";
    const EXPIRED: &str = "{\"error\":\"token expired\"}";
    let cases = [("GET", "safe", 200), ("PUT", "safe", 200), ("POST", "safe", 400), ("POST", "any", 200)];
    std::thread::scope(|scope| {
        for (method, replay, status) in cases {
            scope.spawn(move || {
                let (endpoint, upstream, proxy) = setup_upstream(&format!("{MATCHER}\nreplay = \"{replay}\""));
                endpoint.set_lifetime(Some(Duration::from_secs(10)));
                assert_eq!(proxy.get("/api/first").status, 200);
                // A younger token is not replaced (TL-43).
                endpoint.grants().wait_until_older_than(Duration::from_millis(1100));
                upstream.script([
                    Reply::answer(400, &[], b"another complaint"),
                    Reply::answer(400, &[], EXPIRED.as_bytes()),
                ]);
                let complaint = proxy.send(method, "/api/x", &[], b"sent");
                assert_eq!((complaint.status, complaint.text().as_str()), (400, "another complaint"));
                let answer = proxy.send(method, "/api/x", &[], b"sent");
                let text = if status == 200 { "ok" } else { EXPIRED };
                assert_eq!((answer.status, answer.text().as_str()), (status, text), "{method} {replay}");
                endpoint.grants().wait_for(2);
                let requests = upstream.requests();
                assert_eq!(requests.len(), if status == 200 { 4 } else { 3 });
                assert!(requests[1..].iter().all(|request| request.body == b"sent"));
            });
        }
    });
}

/// SEC-34: an upstream that does not answer is a 504, and one that stalls within its answer aborts it.
#[test]
fn an_upstream_that_stalls_is_given_up() {
    let (_endpoint, upstream, proxy) = setup("timeouts = { first_byte = \"300ms\", idle = \"300ms\" }");
    let stall = |bytes: &'static [u8]| {
        Reply::custom(move |_, connection| {
            connection.stream().write_all(bytes)?;
            connection.pause(Duration::from_secs(20));
            Ok(())
        })
    };
    upstream.script([stall(b""), stall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")]);
    let problem = assert_problem(&proxy.get("/api/x"), 504);
    assert_eq!(problem["fault"], "upstream");
    let mut client = proxy.connect();
    client.write_request("GET", "/api/x", &[], b"");
    assert!(client.read_answer("GET").is_err());
}

/// SEC-35: an answer that comes before the body was read is relayed, and the connection ends with it.
#[test]
fn an_early_answer_stops_the_upload() {
    let (_endpoint, upstream, proxy) = setup("");
    proxy.get("/api/x");
    upstream.answer_early();
    upstream.script([Reply::answer(413, &[("Content-Type", "text/plain")], b"too much")]);
    let mut client = proxy.connect();
    client.write(b"POST /api/x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000\r\n\r\nbegin").unwrap();
    let answer = client.read_answer("POST").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (413, "too much"));
    assert_eq!(answer.headers.get("connection"), Some("close"));
    assert!(client.read_to_end().is_empty());
}

/// SEC-10: what the proxy says of the client is its own word, and only where the upstream's table asks for it.
#[test]
fn forwarding_fields_are_sent_where_they_are_asked_for() {
    let lies = [("Host", "app.test"), ("X-Forwarded-For", "6.6.6.6"), ("Forwarded", "for=6.6.6.6")];
    let (_endpoint, upstream, proxy) = setup("");
    proxy.send("GET", "/api/x", &lies, b"");
    assert_eq!(upstream.request().headers.get("x-forwarded-for"), None);
    let (_endpoint, upstream, proxy) = setup_upstream("forwarded = true");
    proxy.send("GET", "/api/x", &lies, b"");
    let headers = upstream.request().headers;
    assert_eq!(headers.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(headers.get("forwarded"), Some("for=127.0.0.1;proto=http;host=\"app.test\""));
}

/// SEC-10: edits come after the cleaning, so that they can set what clients may not.
#[test]
fn a_route_edits_headers_in_both_directions() {
    let edits = "request_headers = { set = { X-Added = \"1\", X-Forwarded-For = \"gateway\" }, remove = [\"X-Gone\"] }\n\
                 response_headers = { set = { X-Shown = \"2\" }, remove = [\"Server\"] }";
    let (_endpoint, upstream, proxy) = setup(edits);
    upstream.script([Reply::answer(200, &[("Server", "x"), ("X-Shown", "1")], b"")]);
    let answer = proxy.send("GET", "/api/x", &[("X-Gone", "1"), ("X-Added", "0")], b"");
    assert_eq!((answer.headers.get("server"), answer.headers.get("x-shown")), (None, Some("2")));
    let headers = upstream.request().headers;
    assert_eq!((headers.get("x-added"), headers.get("x-gone")), (Some("1"), None));
    assert_eq!(headers.get("x-forwarded-for"), Some("gateway"));
    assert_eq!(upstream.request().bearer(), Some("demo-access-token-000001"));
}

/// A proxy.toml with a key that is attached in the query.
fn key_in_query(upstream: &Upstream) -> String {
    let credential = "[credentials.api.api_key]\nquery = \"key\"\nvalue = { env = \"SECRET\" }\n";
    one_route_of(credential, &format!("url = \"{}\"", upstream.url()), "")
}

/// SEC-13: an unencoded answer is asked for only where the secret is long enough to be looked for in it.
#[test]
fn encodings_are_the_clients_where_nothing_is_scanned() {
    let upstream = Upstream::open();
    for (secret, asked) in [("of fifteen byte", "gzip"), ("of sixteen bytes", "identity")] {
        let proxy = Proxy::start_with(&key_in_query(&upstream), &[("SECRET", secret)]);
        assert_eq!(proxy.send("GET", "/api/a", &[("Accept-Encoding", "gzip")], b"").status, 200);
        let request = upstream.requests().pop().unwrap();
        assert_eq!(request.headers.all("accept-encoding"), [asked], "{secret}");
    }
}

/// SEC-10, SEC-12: a key in the query replaces the client's own in every spelling, and is masked where it comes back.
#[test]
fn a_key_in_the_query_is_attached_once_and_masked() {
    let upstream = Upstream::open();
    let proxy = Proxy::start(&key_in_query(&upstream));
    upstream.script([Reply::custom(|request, connection| {
        write!(connection.stream(), "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", request.target)
    })]);
    let answer = proxy.send("GET", "/api/a?q=1&k%65y=evil&key=evil&r=%2B", &[("Host", "app.test")], b"");
    let target = upstream.request().target;
    assert!(target.starts_with("/a?q=1&r=%2B&key=s3cret") && !target.contains("evil"), "{target}");
    let location = answer.headers.get("location").unwrap();
    assert!(
        location.starts_with("http://app.test/api/a?q=1&r=%2B&key=***") && !location.contains("s3cret"),
        "{location}"
    );
}

/// SEC-39: a stream of a route that a reload removed ends after `drain_timeout`, and one whose route stayed goes on.
#[test]
fn streams_of_a_removed_route_end() {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let kept = one_route(&endpoint, &upstream, "").replace(SERVER, "[server]\ndrain_timeout = \"200ms\"");
    let removed = format!("{kept}\n[[routes]]\npath = \"/old/{{*rest}}\"\nupstream = \"api\"\nclients = \"anyone\"\n");
    let proxy = Proxy::start(&removed);
    let (go_on, going_on) = std::sync::mpsc::channel::<()>();
    let begin =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n";
    let stream = |target: &str| {
        let mut client = proxy.connect();
        client.write_request("GET", target, &[], b"");
        assert_eq!(client.read_answer_head().unwrap().status, 200);
        assert_eq!(client.read_chunk().unwrap().as_deref(), Some(&b"begin"[..]));
        client
    };
    upstream.script([Reply::custom(move |_, connection| {
        connection.stream().write_all(begin.as_bytes())?;
        connection.pause(DEADLINE * 2);
        Ok(())
    })]);
    let mut old = stream("/old/x");
    upstream.script([Reply::custom(move |_, connection| {
        connection.stream().write_all(begin.as_bytes())?;
        let _ = going_on.recv();
        connection.stream().write_all(b"3\r\nend\r\n0\r\n\r\n")
    })]);
    let mut current = stream("/api/x");
    proxy.reload(&kept).unwrap();
    let aborted = old.read_chunk().expect_err("there is neither another chunk nor a last one");
    assert!(!matches!(aborted.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "the stream went on: {aborted}");
    go_on.send(()).unwrap();
    let mut end = Vec::new();
    while let Some(chunk) = current.read_chunk().unwrap() {
        end.extend(chunk);
    }
    assert_eq!(end, b"end");
    assert_problem(&proxy.get("/old/x"), 404);
}

/// SEC-39: a stream whose route comes back before its time was over goes on; the one whose route stays away ends.
#[test]
fn a_route_that_comes_back_keeps_its_streams() {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let none = one_route(&endpoint, &upstream, "").replace(SERVER, "[server]\ndrain_timeout = \"500ms\"");
    let route = |name: &str| format!("[[routes]]\npath = \"/{name}/x\"\nupstream = \"api\"\nclients = \"anyone\"\n");
    let one = format!("{none}\n{}", route("returns"));
    let proxy = Proxy::start(&format!("{one}{}", route("leaves")));
    let begin =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n";
    let (go_on, going_on) = std::sync::mpsc::channel::<()>();
    upstream.script([Reply::custom(move |_, connection| {
        connection.stream().write_all(begin.as_bytes())?;
        let _ = going_on.recv();
        connection.stream().write_all(b"3\r\nend\r\n0\r\n\r\n")
    })]);
    let stream = |target: &str| {
        let mut client = proxy.connect();
        client.write_request("GET", target, &[], b"");
        assert_eq!(client.read_answer_head().unwrap().status, 200);
        assert_eq!(client.read_chunk().unwrap().as_deref(), Some(&b"begin"[..]));
        client
    };
    let mut returns = stream("/returns/x");
    upstream.script([Reply::custom(move |_, connection| {
        connection.stream().write_all(begin.as_bytes())?;
        connection.pause(DEADLINE * 2);
        Ok(())
    })]);
    let mut leaves = stream("/leaves/x");
    proxy.reload(&none).unwrap();
    proxy.reload(&one).unwrap();
    leaves.read_chunk().expect_err("its route is gone");
    go_on.send(()).unwrap();
    let mut end = Vec::new();
    while let Some(chunk) = returns.read_chunk().unwrap() {
        end.extend(chunk);
    }
    assert_eq!(end, b"end");
}

/// SEC-39: a connection that came in by a listener that a reload removed is not served any more: what the new
/// configuration allows was not meant for that address.
#[test]
fn connections_of_a_removed_listener_close() {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let one = one_route(&endpoint, &upstream, "");
    let proxy = Proxy::start(&one.replace(SERVER, "[[listeners]]\naddress = \"127.0.0.2:0\"\n\n[server]"));
    let (mut stays, mut leaves) = (proxy.connect(), Client::connect(proxy.addresses()[1]));
    assert_eq!(stays.send("GET", "/api/x", &[], b"").status, 200);
    assert_eq!(leaves.send("GET", "/api/x", &[], b"").status, 200);
    proxy.reload(&one).unwrap();
    assert_eq!(leaves.read_to_end(), b"", "closed without another word");
    assert_eq!(stays.send("GET", "/api/x", &[], b"").status, 200);
}

/// SEC-13: several parts are no better than one. What may not be asked for twice is refused at once.
#[test]
fn parts_of_a_text_are_asked_for_whole_only_where_that_is_safe() {
    let (_endpoint, upstream, proxy) = setup("");
    let parts =
        || Reply::answer(206, &[("Content-Type", "multipart/byteranges; boundary=b")], b"--b\r\n\r\ndemo\r\n--b--");
    upstream.script([parts(), Reply::text("the whole")]);
    let range = [("Range", "bytes=0-3,8-9")];
    let answer = proxy.send("GET", "/api/x", &range, b"");
    assert_eq!((answer.status, answer.text().as_str()), (200, "the whole"));
    upstream.script([parts()]);
    let problem = assert_problem(&proxy.send("POST", "/api/x", &range, b"once"), 502);
    assert_eq!(problem["type"], "urn:attache:problem:partial_answer");
    assert_eq!(upstream.requests().iter().filter(|request| request.method == "POST").count(), 1);
}

/// TL-40: a rejection of the whole that was asked for passes to the client, and the next request gets a new token.
#[test]
fn a_rejection_of_the_whole_is_reported() {
    let (endpoint, upstream, proxy) = setup("");
    endpoint.set_lifetime(Some(Duration::from_secs(10)));
    assert_eq!(proxy.get("/api/first").status, 200);
    // A younger token is not replaced (TL-43).
    endpoint.grants().wait_until_older_than(Duration::from_millis(1_100));
    upstream.script([
        Reply::answer(206, &[("Content-Type", "text/plain")], b"demo"),
        Reply::answer(401, &[("WWW-Authenticate", "Bearer error=\"invalid_token\"")], b""),
    ]);
    assert_eq!(proxy.send("GET", "/api/x", &[("Range", "bytes=0-3")], b"").status, 401);
    endpoint.grants().wait_for(2);
    assert_eq!(upstream.requests().len(), 3);
}
