//! Header and trailer fields, from bytes that httparse has accepted.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, SERVER, TRANSFER_ENCODING, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::BadAnswer;

/// Adds parsed fields to a map. Values share the buffer that they were read into.
pub(super) fn append(map: &mut HeaderMap, section: &Bytes, fields: &[httparse::Header<'_>]) -> Result<(), BadAnswer> {
    for field in fields {
        let (name, value) = convert(section, field)?;
        map.append(name, value);
    }
    Ok(())
}

/// One field. httparse has checked it already; it is checked again because only unsafe code could go without.
#[inline]
pub(super) fn convert(section: &Bytes, field: &httparse::Header<'_>) -> Result<(HeaderName, HeaderValue), BadAnswer> {
    let name = match usual(field.name) {
        Some(name) => name,
        None => HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BadAnswer("a field name is invalid"))?,
    };
    let value = HeaderValue::from_maybe_shared(section.slice_ref(field.value))
        .map_err(|_| BadAnswer("a field value is invalid"))?;
    Ok((name, value))
}

/// The names that nearly every answer has, in the usual spellings: to recognise them is many times faster than to read
/// them.
fn usual(name: &str) -> Option<HeaderName> {
    const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    Some(match name {
        "Cache-Control" | "cache-control" => CACHE_CONTROL,
        "Connection" | "connection" => CONNECTION,
        "Content-Length" | "content-length" => CONTENT_LENGTH,
        "Content-Type" | "content-type" => CONTENT_TYPE,
        "Date" | "date" => DATE,
        "ETag" | "etag" => ETAG,
        "Server" | "server" => SERVER,
        "Transfer-Encoding" | "transfer-encoding" => TRANSFER_ENCODING,
        "Vary" | "vary" => VARY,
        "X-Request-Id" | "X-Request-ID" | "x-request-id" => X_REQUEST_ID,
        _ => return None,
    })
}

/// Whether a field must not stand in a trailer section: framing, routing, credentials and control (RFC 9110 section
/// 6.5.1), and names with `_`, which some servers read as `-`.
pub(in crate::upstream) fn is_trailer_forbidden(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "transfer-encoding"
            | "content-length"
            | "trailer"
            | "te"
            | "host"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "upgrade"
            | "expect"
            | "max-forwards"
            | "forwarded"
            | "via"
            | "authorization"
            | "www-authenticate"
            | "proxy-authorization"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "authentication-info"
            | "x-api-key"
            | "cookie"
            | "set-cookie"
            | "content-encoding"
            | "content-type"
            | "content-range"
            | "cache-control"
            | "range"
            | "pragma"
            | "age"
            | "date"
            | "expires"
            | "location"
            | "retry-after"
            | "vary"
            | "x-original-url"
            | "x-rewrite-url"
    ) || name.starts_with("if-")
        || name.starts_with("x-forwarded-")
        || name.contains('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_are_what_reading_them_would_give() {
        let names = [
            "Cache-Control",
            "Connection",
            "Content-Length",
            "Content-Type",
            "Date",
            "ETag",
            "Server",
            "Transfer-Encoding",
            "Vary",
            "X-Request-Id",
            "X-Request-ID",
        ];
        for name in names {
            let read = HeaderName::from_bytes(name.as_bytes()).unwrap();
            assert_eq!(usual(name), Some(read.clone()));
            assert_eq!(usual(read.as_str()), Some(read));
        }
        assert_eq!(usual("X-Other"), None);
    }
}
