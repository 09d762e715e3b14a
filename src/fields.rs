//! Which header fields are between a client and us: about the connection, the client's own credential, or what only a
//! proxy may say (SEC-10). The request path removes them, and no configuration can name them as something to pass on.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};

/// Whether a field is removed from a request before anybody reads it, whatever the route. `cookies`: whether they pass.
pub fn is_between(name: &HeaderName, cookies: bool) -> bool {
    match *name {
        // The codec towards the upstream writes these itself, and copies none. `Host`, which nearly every request has, may
        // stay until then: many have nothing else to remove.
        HOST => false,
        CONTENT_LENGTH | TRANSFER_ENCODING | CONNECTION => true,
        TE | UPGRADE | EXPECT => true,
        AUTHORIZATION | PROXY_AUTHORIZATION | PROXY_AUTHENTICATE | FORWARDED => true,
        COOKIE => !cookies,
        _ => is_between_by_spelling(name.as_str()),
    }
}

/// Fields that have no constant. The path-override and address headers beyond SEC-10's own list are what Envoy, IIS,
/// CDNs and their back ends understand: a client must not speak for us, nor be told of.
fn is_between_by_spelling(name: &str) -> bool {
    // Many servers read `_` as `-`, so `X_Api_Key` would stand beside what is attached (nginx drops these, too).
    if name.as_bytes().contains(&b'_') {
        return true;
    }
    match name.as_bytes()[0] {
        b'x' => {
            name.starts_with("x-forwarded-")
                || matches!(
                    name,
                    "x-api-key"
                        | "x-original-url"
                        | "x-original-uri"
                        | "x-rewrite-url"
                        | "x-envoy-original-path"
                        | "x-real-ip"
                        | "x-client-ip"
                        | "x-cluster-client-ip"
                )
        }
        b'p' => name.starts_with("proxy-"),
        b'k' => name == "keep-alive",
        b'h' => name == "http2-settings",
        b'c' => name == "cf-connecting-ip",
        // A proof that belongs to the client's own token (RFC 9449).
        b'd' => name == "dpop",
        b't' => name == "true-client-ip",
        _ => false,
    }
}
