//! Fixed keys in cookies, and several of them at once.

use std::io::Write as _;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, Version};
use hyper::body::Frame;

use crate::support::{Frames, Identity, Proxy, Reply, TlsPeer, TlsRequest, Tool, Upstream, one_route_of, run};

const ENVIRONMENT: &[(&str, &str)] = &[
    ("COOKIE", "a-planted-cookie"),
    ("FIRST", "the-first-planted-header"),
    ("SECOND", "the-second-planted-header"),
    ("KEY", "the+first/planted=parameter"),
    ("TOKEN", "the second planted parameter"),
];

/// Two keys in headers, two in the query and one in a cookie.
fn credential() -> String {
    let keys = [("header = \"X-First\"", "FIRST"), ("query = \"key\"", "KEY"), ("cookie = \"sid\"", "COOKIE")];
    let more = [("query = \"token\"", "TOKEN"), ("header = \"X-Second\"", "SECOND")];
    let table = |(place, variable): (&str, &str)| {
        format!("[[credentials.api.api_key]]\n{place}\nvalue = {{ env = \"{variable}\" }}\n")
    };
    keys.into_iter().chain(more).map(table).collect()
}

fn proxy(url: &str, keys: &str, more: &str) -> Proxy {
    Proxy::start_with(&one_route_of(&credential(), &format!("url = \"{url}\"\n{keys}"), more), ENVIRONMENT)
}

/// What of the client's would stand in for the keys, or beside them, and what is its own affair.
const CLIENTS_OWN: [(&str, &str); 5] = [
    ("Cookie", "a=1; sid=evil; s%69d=evil"),
    ("X-First", "evil"),
    ("X-Second", "evil"),
    ("X-Third", "kept"),
    ("Cookie", "b=\"2; sid=evil"),
];

const TARGET: &str = "/api/x?key=evil&q=1&t%6Fken=evil";
const SENT_TARGET: &str = "/x?q=1&key=the%2Bfirst%2Fplanted%3Dparameter&token=the%20second%20planted%20parameter";

/// SEC-10: all keys are attached together, each in place of the client's own; the client's other cookies pass where the
/// route says so, behind ours.
#[test]
fn several_keys_are_attached_together_over_http_1() {
    for (route, cookie) in [("cookies = true", "sid=a-planted-cookie; a=1; b=\"2"), ("", "sid=a-planted-cookie")] {
        let upstream = Upstream::open();
        let proxy = proxy(&upstream.url(), "", route);
        for _ in 0..2 {
            assert_eq!(proxy.send("GET", TARGET, &CLIENTS_OWN, b"").status, 200);
        }
        for request in upstream.requests() {
            assert_eq!(request.target, SENT_TARGET);
            assert_eq!(request.headers.all("cookie"), [cookie]);
            assert_eq!(request.headers.all("x-first"), ["the-first-planted-header"]);
            assert_eq!(request.headers.all("x-second"), ["the-second-planted-header"]);
            assert_eq!(request.headers.all("x-third"), ["kept"]);
        }
        assert_eq!(upstream.requests().len(), 2);
        // Without any of the client's own.
        assert_eq!(proxy.get("/api/x").status, 200);
        assert_eq!(upstream.requests().pop().unwrap().headers.all("cookie"), ["sid=a-planted-cookie"]);
    }
}

/// SEC-13: an upstream that repeats all that it was sent, in a header, the body and a trailer, gives nothing away.
#[test]
fn every_key_is_masked_where_it_comes_back() {
    let upstream = Upstream::open();
    let proxy = proxy(&upstream.url(), "", "cookies = true");
    upstream.script([Reply::custom(|request, connection| {
        let fields = ["cookie", "x-first", "x-second"].map(|name| request.headers.get(name).unwrap_or_default());
        let all = format!("{} {}", fields.join(" "), request.target);
        let plain = format!("the+first/planted=parameter the second planted parameter {all}");
        write!(
            connection.stream(),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Seen: {plain}\r\nTrailer: X-Seen-Too\r\n\
             Set-Cookie: sid=a-planted-cookie\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{plain}\r\n0\r\n\
             X-Seen-Too: {plain}\r\n\r\n",
            plain.len()
        )
    })]);
    let headers = [("TE", "trailers"), ("Connection", "TE"), ("Cookie", "a=1")];
    let answer = proxy.send("GET", "/api/x", &headers, b"");
    let (header, body) = (answer.headers.get("x-seen").unwrap(), answer.text());
    for shown in [header, &body, answer.trailers.get("x-seen-too").unwrap()] {
        assert!(shown.contains("sid=****************; a=1 ") && shown.contains("&token=****"), "{shown}");
        assert!(!shown.contains("planted"), "{shown}");
    }
    assert_eq!(answer.headers.get("set-cookie"), Some("sid=****************"));
}

/// SEC-10: what is cleaned and attached holds for trailers, too, in which there is no place for keys.
#[test]
fn a_clients_trailers_set_no_key() {
    let upstream = Upstream::open();
    let proxy = proxy(&upstream.url(), "", "cookies = true");
    let mut client = proxy.connect();
    let request = "POST /api/x HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\
                   Trailer: Cookie, X-First, X-Second, X-Sum\r\n\r\n2\r\nab\r\n0\r\nCookie: sid=evil\r\n\
                   X-First: evil\r\nX-Second: evil\r\nX-Sum: 2\r\n\r\n";
    client.write(request.as_bytes()).unwrap();
    assert_eq!(client.read_answer("POST").unwrap().status, 200);
    let received = upstream.request();
    assert_eq!(received.body, b"ab");
    assert!(!format!("{received:?}").contains("evil"), "{received:?}");
    assert_eq!(received.headers.all("cookie"), ["sid=a-planted-cookie"]);
}

/// Repeats what it was sent in a header, the body and a trailer.
fn repeated(request: &TlsRequest) -> Response<Frames> {
    let cookie = request.headers["cookie"].clone();
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-seen-too"), cookie.clone())]);
    let body = vec![Frame::data(Bytes::copy_from_slice(cookie.as_bytes())), Frame::trailers(trailers)];
    let head = Response::builder().header("content-type", "text/plain").header("trailer", "x-seen-too");
    head.header("x-seen", cookie).body(body).expect("it is an answer")
}

/// SEC-10, SEC-13: the same over HTTP/2 on both sides, where cookies may come in crumbs (RFC 9113 section 8.2.3).
#[test]
fn several_keys_are_attached_and_masked_over_http_2() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::new(folder.path(), "upstream", &["127.0.0.1"]);
    let upstream = TlsPeer::start(&identity, &identity, repeated);
    let keys = format!("ca = {:?}\nhttp = \"2\"", identity.cert_file);
    let proxy = proxy(&format!("https://127.0.0.1:{}", upstream.address.port()), &keys, "cookies = true");
    let url = format!("http://{}{TARGET}", proxy.address());
    let fields = CLIENTS_OWN.map(|(name, value)| format!("{name}: {value}"));
    let mut arguments = vec!["-sSif", "--http2-prior-knowledge", "-H", "TE: trailers"];
    fields.iter().for_each(|field| arguments.extend(["-H", field]));
    arguments.push(&url);
    let printed = run(Tool::CURL, &arguments);
    assert_eq!(printed.matches("sid=****************; a=1; b=\"2").count(), 3, "{printed}");
    assert!(!printed.contains("planted"), "{printed}");
    let [request] = &upstream.requests()[..] else { panic!("one request") };
    assert_eq!((request.version, request.target.as_str()), (Version::HTTP_2, SENT_TARGET));
    let all = |name: &str| request.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    assert_eq!(all("cookie"), [b"sid=a-planted-cookie; a=1; b=\"2"]);
    assert_eq!(all("x-first"), [b"the-first-planted-header"]);
    assert_eq!(all("x-second"), [b"the-second-planted-header"]);
    assert_eq!(all("x-third"), [b"kept"]);
}
