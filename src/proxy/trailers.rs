//! Trailers pass, but for fields that frame, route, authenticate or say how to read the body (RFC 9110 section 6.5.1):
//! a recipient that merges them into the head must find nothing there that decides anything.

use http::header::{
    ALT_SVC, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_RANGE, CONTENT_TYPE, COOKIE, EXPECT, EXPIRES, FORWARDED, HOST, HeaderName, LOCATION, MAX_FORWARDS, PRAGMA,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RANGE, RETRY_AFTER, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    VARY, VIA, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue};

/// Whether a field may stand in a trailer section.
pub(super) fn is_allowed(name: &HeaderName) -> bool {
    match *name {
        CONTENT_LENGTH | TRANSFER_ENCODING | TRAILER | CONNECTION | TE | UPGRADE => false,
        HOST | LOCATION | CONTENT_LOCATION | MAX_FORWARDS | VIA | FORWARDED | ALT_SVC => false,
        AUTHORIZATION | PROXY_AUTHORIZATION | PROXY_AUTHENTICATE | WWW_AUTHENTICATE | COOKIE | SET_COOKIE => false,
        CONTENT_TYPE | CONTENT_ENCODING | CONTENT_RANGE | RANGE | EXPECT => false,
        CACHE_CONTROL | EXPIRES | PRAGMA | VARY | RETRY_AFTER => false,
        _ => {
            let name = name.as_str();
            !name.starts_with("proxy-")
                && !name.starts_with("x-forwarded-")
                && !name.contains('_')
                && !matches!(name, "keep-alive" | "http2-settings" | "x-api-key" | "x-original-url" | "x-rewrite-url")
        }
    }
}

/// Removes the fields that may not stand in a trailer section.
pub(super) fn clean(trailers: &mut HeaderMap) {
    let doomed: Vec<_> = trailers.keys().filter(|name| !is_allowed(name)).cloned().collect();
    for name in doomed {
        trailers.remove(name);
    }
}

/// Leaves in `Trailer` only what may come. hyper sends to HTTP/1 clients exactly the trailers that it names.
pub(super) fn clean_announcement(headers: &mut HeaderMap) {
    let mut names: Vec<&str> = Vec::new();
    for value in headers.get_all(TRAILER) {
        let tokens = value.to_str().unwrap_or_default().split(',').map(str::trim);
        names.extend(tokens.filter(|token| HeaderName::try_from(*token).is_ok_and(|name| is_allowed(&name))));
    }
    let announced = (!names.is_empty()).then(|| HeaderValue::try_from(names.join(", ")).ok()).flatten();
    match announced {
        Some(value) => drop(headers.insert(TRAILER, value)),
        None => drop(headers.remove(TRAILER)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    /// RFC 9110 section 6.5.1: nothing that frames, routes or authenticates arrives in a trailer.
    #[test]
    fn trailers_carry_neither_framing_nor_routing_nor_credentials() {
        let mut trailers = map(&[
            ("authorization", "Bearer evil"),
            ("host", "evil.test"),
            ("content-length", "0"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "a=b"),
            ("x-api-key", "evil"),
            ("x_ok", "1"),
            ("grpc-status", "0"),
            ("grpc-message", "fine"),
            ("x-ok", "1"),
        ]);
        clean(&mut trailers);
        let mut left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["grpc-message", "grpc-status", "x-ok"]);
    }

    #[test]
    fn only_what_may_come_is_announced() {
        let mut headers = map(&[("trailer", "Authorization, Host ,X-Ok"), ("trailer", "Content-Length,X-Too")]);
        clean_announcement(&mut headers);
        assert_eq!(headers["trailer"], "X-Ok, X-Too");
        let mut headers = map(&[("trailer", "Authorization")]);
        clean_announcement(&mut headers);
        assert!(headers.is_empty());
    }
}
