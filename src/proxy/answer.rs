//! Checking an upstream's status, and cleaning its answer (SEC-12).

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};

use super::present::{Present, has_repeated};
use super::{announcement, challenge, clean};

/// An interim status ends nothing, and beyond 599 there is no status (RFC 9110 section 15), though three digits may say so.
pub(super) fn check_status(status: StatusCode) -> Result<(), String> {
    match status.as_u16() {
        ..200 => Err(format!("the upstream answered {} as if it were final", status.as_u16())),
        200..600 => Ok(()),
        600.. => Err(format!("the upstream answered {}, which is no status", status.as_u16())),
    }
}

/// Removes all that is between the upstream and us, and what the client must not take for ours. Masking, rewriting of
/// URLs and the route's own edits come after it.
pub(super) fn clean(status: StatusCode, headers: &mut HeaderMap, present: Present, cookies: bool) {
    let mut doomed = Vec::new();
    if present.has(Present::CONNECTION) {
        clean::connection_names(headers, &mut doomed);
    }
    // With both, the coding frames the body, and the length is a lie (RFC 9112 section 6.3).
    let lengthless = present.has(Present::TRANSFER_ENCODING) || has_no_content(status);
    let mut dooms = Present::BETWEEN;
    if !cookies {
        dooms = dooms.and(Present::SET_COOKIE);
    }
    if lengthless {
        dooms = dooms.and(Present::CONTENT_LENGTH);
    }
    // Most answers have nothing of the kind.
    if present.has(dooms) {
        doomed.extend(headers.keys().filter(|name| dooms.has(Present::of(name))).cloned());
    }
    for name in &doomed {
        headers.remove(name);
    }
    if present.has(Present::CONTENT_LENGTH) && has_repeated(headers) {
        single_length(headers);
    }
    if present.has(Present::TRAILER) {
        announcement::clean(headers);
    }
    if status == StatusCode::UNAUTHORIZED || present.has(Present::WWW_AUTHENTICATE) {
        challenge::clean(status, headers);
    }
}

/// 204 has no length (RFC 9110 section 8.6); a 304's is that of another answer, which hyper would warn of; a 205's is ours
/// to say, since it may not have content.
fn has_no_content(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Equal lengths twice are one length (the codec refuses different ones).
fn single_length(headers: &mut HeaderMap) {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let (Some(first), Some(_)) = (lengths.next(), lengths.next()) {
        let first = first.clone();
        headers.insert(CONTENT_LENGTH, first);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn left(status: u16, fields: &[(&'static str, &'static str)], cookies: bool) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_static(value));
        }
        let present = Present::among(headers.keys());
        clean(StatusCode::from_u16(status).unwrap(), &mut headers, present, cookies);
        let mut left: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        left.sort();
        left
    }

    /// SEC-12: hop-by-hop fields go, and all that any `Connection` line names.
    #[test]
    fn hop_by_hop_fields_are_removed() {
        let fields = [
            ("Connection", "x-foo, keep-alive"),
            ("Connection", "X-Bar"),
            ("X-Foo", "1"),
            ("X-Bar", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Authenticate", "Basic"),
            ("Proxy-Connection", "keep-alive"),
            ("Proxy-Status", "other; error=x"),
            ("Upgrade", "h2c"),
            ("TE", "trailers"),
            ("Alt-Svc", "h3=\":443\""),
            ("Content-Type", "text/plain"),
            ("ETag", "\"e\""),
        ];
        assert_eq!(left(200, &fields, false), ["content-type: text/plain", "etag: \"e\""]);
    }

    /// SEC-12: each of them goes also where there is no other.
    #[test]
    fn a_hop_by_hop_field_is_removed_wherever_it_stands() {
        let names = [
            "connection",
            "transfer-encoding",
            "upgrade",
            "te",
            "proxy-authenticate",
            "proxy-authorization",
            "proxy-anything",
            "alt-svc",
            "keep-alive",
        ];
        for name in names {
            assert_eq!(left(200, &[(name, "x"), ("Server", "s")], false), ["server: s"], "{name}");
        }
    }

    /// SEC-12: a session of the upstream belongs to the attached identity.
    #[test]
    fn cookies_are_set_only_if_the_route_says_so() {
        let fields = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")];
        assert!(left(200, &fields, false).is_empty());
        assert_eq!(left(200, &fields, true), ["set-cookie: a=1", "set-cookie: b=2"]);
    }

    /// SEC-12; RFC 9112 section 6.3: an answer is framed in one way.
    #[test]
    fn a_length_beside_chunks_or_without_content_is_removed() {
        assert!(left(200, &[("Content-Length", "3"), ("Transfer-Encoding", "chunked")], false).is_empty());
        assert!(left(204, &[("Content-Length", "3")], false).is_empty());
        assert!(left(205, &[("Content-Length", "3")], false).is_empty());
        assert!(left(304, &[("Content-Length", "3")], false).is_empty());
        let twice = [("Content-Length", "3"), ("Content-Length", "3")];
        assert_eq!(left(200, &twice, false), ["content-length: 3"]);
    }

    /// TL-46: an upstream's 401 does not make the client blame its key.
    #[test]
    fn a_401_keeps_no_foreign_login() {
        let fields = [("WWW-Authenticate", "Basic realm=\"x\"")];
        assert_eq!(left(401, &fields, false), ["www-authenticate: Bearer error=\"upstream_rejected\""]);
    }

    #[test]
    fn announced_trailers_are_cleaned() {
        assert_eq!(left(200, &[("Trailer", "Grpc-Status, Set-Cookie")], false), ["trailer: Grpc-Status"]);
    }
}
