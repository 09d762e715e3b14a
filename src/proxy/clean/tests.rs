use super::*;

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    fields.iter().map(field).collect()
}

fn left(fields: &[(&str, &str)], cookies: bool, sets: &[HeaderName]) -> Vec<String> {
    let mut headers = map(fields);
    let present = Present::among(headers.keys());
    clean(&mut headers, present, cookies, sets);
    let mut left: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    left.sort();
    left
}

/// SEC-10: what is between the client and us is removed on every route. `Host` is what the codec leaves out (SEC-11).
#[test]
fn hop_by_hop_credential_and_forwarding_fields_are_removed() {
    let removed = [
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Upgrade",
        "HTTP2-Settings",
        "Expect",
        "Authorization",
        "Proxy-Authorization",
        "Proxy-Authenticate",
        "Proxy-Anything",
        "X-Api-Key",
        "DPoP",
        "Cookie",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Uri",
        "X-Forwarded-Prefix",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Envoy-Original-Path",
        "X-Real-IP",
        "X_Api_Key",
        "Authorization_",
        "Transfer_Encoding",
        "_",
    ];
    assert_eq!(removed.len(), 30);
    for name in removed {
        assert_eq!(left(&[(name, "1"), ("Accept", "a")], false, &[]), ["accept: a"], "{name}");
    }
}

#[test]
fn end_to_end_fields_stay() {
    let kept = [
        "accept",
        "accept-encoding",
        "content-type",
        "content-encoding",
        "range",
        "if-none-match",
        "user-agent",
        "origin",
        "x-request-id",
        "x-api-version",
        "x.api.key",
        "idempotency-key",
        "traceparent",
        "x-forward",
        "priority",
        "prefer",
    ];
    assert_eq!(kept.len(), 16);
    for name in kept {
        assert_eq!(left(&[(name, "1")], false, &[]), [format!("{name}: 1")]);
    }
}

/// SEC-10: all `Connection` lines count, also after an empty one (CVE-2021-33197).
#[test]
fn what_any_connection_line_names_is_removed() {
    let lines = [
        ("Connection", ""),
        ("Connection", "close, X-One ,"),
        ("Connection", "\t x-two,not a name"),
        ("X-One", "1"),
        ("X-Two", "2"),
        ("X-Three", "3"),
    ];
    assert_eq!(left(&lines, false, &[]), ["x-three: 3"]);
}

/// SEC-10: every line of a header that the credential sets, and cookies unless the route passes them.
#[test]
fn the_credentials_own_names_and_cookies_go() {
    let lines = [("X-Vendor-Key", "a"), ("X-Vendor-Key", "b"), ("Cookie", "c=1"), ("Accept", "*/*")];
    let sets = [HeaderName::from_static("x-vendor-key")];
    assert_eq!(left(&lines, false, &sets), ["accept: */*"]);
    assert_eq!(left(&lines, true, &sets), ["accept: */*", "cookie: c=1"]);
}

/// SEC-10: `TE: trailers` is known, whatever stands beside it; the field itself never passes.
#[test]
fn a_client_that_takes_trailers_is_recognised() {
    for (te, wants) in [("trailers", true), ("gzip;q=0.5, Trailers ;q=1", true), ("gzip", false), ("trailersx", false)]
    {
        assert_eq!(clean(&mut map(&[("TE", te)]), Present::TE, false, &[]), wants, "{te}");
    }
    assert!(!clean(&mut map(&[]), Present::among([].into_iter()), false, &[]));
}

/// RFC 9112 section 6.1: hyper passes `gzip, chunked` as if it were plain.
#[test]
fn only_chunked_alone_is_a_known_coding() {
    let check = |fields: &[(&str, &str)]| {
        let headers = map(fields);
        let present = Present::among(headers.keys());
        check_framing(Version::HTTP_11, &headers, present).map_err(|f| f.meaning().name)
    };
    assert_eq!(check(&[]), Ok(()));
    assert_eq!(check(&[("Transfer-Encoding", "Chunked")]), Ok(()));
    for coding in ["gzip, chunked", "chunked, chunked", "identity", "chunked;q=1", "\"chunked\"", ""] {
        assert_eq!(check(&[("Transfer-Encoding", coding)]), Err("unknown_transfer_coding"), "{coding}");
    }
    let two = [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")];
    assert_eq!(check(&two), Err("unknown_transfer_coding"));
}

/// RFC 9110 section 10.1.1.
#[test]
fn unknown_expectations_are_refused() {
    let check = |version, value| {
        check_framing(version, &map(&[("Expect", value)]), Present::EXPECT).map_err(|f| f.meaning().name)
    };
    assert_eq!(check(Version::HTTP_11, "100-Continue"), Ok(()));
    assert_eq!(check(Version::HTTP_11, "y 100-continue"), Err("unknown_expectation"));
    assert_eq!(check(Version::HTTP_2, "200-ok"), Err("unknown_expectation"));
    assert_eq!(check(Version::HTTP_10, "200-ok"), Ok(()));
}

/// SEC-10: `forwarded = true` sends our own words, never the client's.
#[test]
fn forwarding_fields_are_our_own() {
    let client = |address: &str| Client {
        address: address.parse().unwrap(),
        tls: true,
        local: "127.0.0.1:8443".parse().unwrap(),
    };
    let authority = Authority::Field(HeaderValue::from_static("p.test:8443"));
    let mut headers = map(&[("X-Forwarded-For", "6.6.6.6")]);
    add_forwarded(&mut headers, &client("[2001:db8::7]:999"), &authority);
    assert_eq!(headers["x-forwarded-for"], "2001:db8::7");
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert_eq!(headers["x-forwarded-host"], "p.test:8443");
    assert_eq!(headers["forwarded"], "for=\"[2001:db8::7]\";proto=https;host=\"p.test:8443\"");
    add_forwarded(&mut headers, &client("[::ffff:10.0.0.1]:999"), &authority);
    assert_eq!(headers["x-forwarded-for"], "10.0.0.1", "an IPv4 client of a dual-stack socket is an IPv4 client");
}

#[test]
fn edits_remove_first_and_then_set() {
    let mut headers = map(&[("X-A", "1"), ("X-B", "2"), ("X-B", "3")]);
    let (a, b) = (HeaderName::from_static("x-a"), HeaderName::from_static("x-b"));
    edit(&mut headers, &[(b.clone(), HeaderValue::from_static("9"))], &[a, b.clone()]);
    assert_eq!(headers.get_all(&b).iter().collect::<Vec<_>>(), ["9"]);
    assert_eq!(headers.len(), 1);
}

/// SEC-10: cookies that pass are one field, as HTTP/1 wants them, in the order in which they came (RFC 9113 section 8.2.3).
#[test]
fn cookie_crumbs_are_joined() {
    let crumbs = [("Cookie", "a=1"), ("X-A", "b"), ("Cookie", "c=\"2\"; d=3"), ("Cookie", "e=4")];
    for (cookies, fields, left) in [
        (true, &crumbs[..], &["a=1; c=\"2\"; d=3; e=4"][..]),
        (true, &crumbs[..1], &["a=1"]),
        (true, &crumbs[1..2], &[]),
        (false, &crumbs[..], &[]),
    ] {
        let mut headers = map(fields);
        clean_request_headers(&mut headers, cookies, &[]);
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), left);
    }
}
