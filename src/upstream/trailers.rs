//! What may stand in a trailer section, in both directions: nothing that frames, routes, authenticates, controls, or says
//! how to read the body (RFC 9110 section 6.5.1). A recipient that merges trailers into the head must find nothing there
//! that decides anything.

use http::HeaderMap;
use http::header::{
    AGE, ALT_SVC, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_RANGE, CONTENT_TYPE, COOKIE, DATE, EXPECT, EXPIRES, FORWARDED, HOST, HeaderName, LOCATION, MAX_FORWARDS,
    PRAGMA, RANGE, RETRY_AFTER, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VARY, VIA, WWW_AUTHENTICATE,
};

/// Whether a field may stand there. Names with `_` may not: some servers read it as `-`.
pub fn is_trailer_allowed(name: &HeaderName) -> bool {
    match *name {
        CONTENT_LENGTH | TRANSFER_ENCODING | TRAILER | CONNECTION | TE | UPGRADE => false,
        HOST | LOCATION | CONTENT_LOCATION | MAX_FORWARDS | VIA | FORWARDED | ALT_SVC => false,
        AUTHORIZATION | WWW_AUTHENTICATE | COOKIE | SET_COOKIE => false,
        CONTENT_TYPE | CONTENT_ENCODING | CONTENT_RANGE | RANGE | EXPECT => false,
        CACHE_CONTROL | EXPIRES | PRAGMA | VARY | RETRY_AFTER | AGE | DATE => false,
        _ => {
            let name = name.as_str();
            let begins = ["if-", "proxy-", "x-forwarded-"].iter().any(|begin| name.starts_with(begin));
            let others = [
                "authentication-info",
                "dpop",
                "http2-settings",
                "keep-alive",
                "x-api-key",
                "x-original-url",
                "x-rewrite-url",
            ];
            !begins && !name.contains('_') && !others.contains(&name)
        }
    }
}

/// Removes what may not stand there. `None`: nothing is left.
pub(super) fn strip(mut trailers: HeaderMap) -> Option<HeaderMap> {
    let forbidden: Vec<_> = trailers.keys().filter(|name| !is_trailer_allowed(name)).cloned().collect();
    for name in forbidden {
        trailers.remove(name);
    }
    (!trailers.is_empty()).then_some(trailers)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// RFC 9110 section 6.5.1: nothing that frames, routes or authenticates arrives in a trailer.
    #[test]
    fn trailers_carry_neither_framing_nor_routing_nor_credentials() {
        let forbidden = [
            "authentication-info",
            "authorization",
            "cache-control",
            "content-encoding",
            "content-length",
            "content-location",
            "content-range",
            "content-type",
            "cookie",
            "date",
            "dpop",
            "expect",
            "forwarded",
            "host",
            "http2-settings",
            "if-match",
            "keep-alive",
            "location",
            "max-forwards",
            "proxy-authenticate",
            "proxy-authentication-info",
            "proxy-authorization",
            "range",
            "retry-after",
            "set-cookie",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "vary",
            "via",
            "www-authenticate",
            "x-api-key",
            "x-forwarded-for",
            "x-original-url",
            "x-rewrite-url",
            "x_ok",
        ];
        let map = |names: &[&'static str]| -> HeaderMap {
            names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("x"))).collect()
        };
        assert_eq!(strip(map(&forbidden)), None);
        let allowed = ["grpc-status", "grpc-message", "server-timing", "x-ok"];
        assert_eq!(strip(map(&[&forbidden[..], &allowed].concat())), Some(map(&allowed)));
    }
}
