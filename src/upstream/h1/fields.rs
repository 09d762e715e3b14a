//! Header and trailer fields, read line by line.

use std::ops::Range;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, SERVER, TRANSFER_ENCODING, VARY,
};
use http::{HeaderName, HeaderValue};

use super::BadAnswer;

/// The lines of a head or of a trailer section.
pub(super) struct Lines<'a> {
    section: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(section: &'a [u8]) -> Self {
        Lines { section, at: 0 }
    }

    /// Where the next line begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Where the next line is, without its CRLF; `None`: it has no end yet. A line that ends in a bare LF is refused,
    /// although RFC 9112 section 2.2 allows to accept it: it is what response splitting looks like.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Range<usize>>, BadAnswer> {
        let Some(length) = memchr::memchr(b'\n', &self.section[self.at..]) else { return Ok(None) };
        let begin = self.at;
        self.at += length + 1;
        match self.section[begin..][..length] {
            [.., b'\r'] => Ok(Some(begin..begin + length - 1)),
            _ => Err(BadAnswer("a line ends in a bare LF")),
        }
    }
}

/// The field that a line of `section` is, RFC 9112 section 5: a name, at once a colon, a value, and white space around
/// the value only. A folded line begins with white space, which no name has. The value shares the section's memory.
#[inline]
pub(super) fn parse(section: &Bytes, line: Range<usize>) -> Result<(HeaderName, HeaderValue), BadAnswer> {
    let text = &section[line.clone()];
    let colon = memchr::memchr(b':', text).ok_or(BadAnswer("a field has no colon"))?;
    let name = &text[..colon];
    let name = match usual(name) {
        Some(name) => name,
        None => HeaderName::from_bytes(name).map_err(|_| BadAnswer("a field name is invalid"))?,
    };
    let mut value = line.start + colon + 1..line.end;
    while let [b' ' | b'\t', ..] = section[value.clone()] {
        value.start += 1;
    }
    while let [.., b' ' | b'\t'] = section[value.clone()] {
        value.end -= 1;
    }
    let value =
        HeaderValue::from_maybe_shared(section.slice(value)).map_err(|_| BadAnswer("a field value is invalid"))?;
    Ok((name, value))
}

/// The names that nearly every answer has, in the usual spellings: to recognise them is many times faster than to read
/// them. By length first, since that tells most of them apart.
fn usual(name: &[u8]) -> Option<HeaderName> {
    const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    match name.len() {
        4 => match name {
            b"Date" | b"date" => Some(DATE),
            b"ETag" | b"etag" => Some(ETAG),
            b"Vary" | b"vary" => Some(VARY),
            _ => None,
        },
        6 => matches!(name, b"Server" | b"server").then_some(SERVER),
        10 => matches!(name, b"Connection" | b"connection").then_some(CONNECTION),
        12 => match name {
            b"Content-Type" | b"content-type" => Some(CONTENT_TYPE),
            b"X-Request-Id" | b"X-Request-ID" | b"x-request-id" => Some(X_REQUEST_ID),
            _ => None,
        },
        13 => matches!(name, b"Cache-Control" | b"cache-control").then_some(CACHE_CONTROL),
        14 => matches!(name, b"Content-Length" | b"content-length").then_some(CONTENT_LENGTH),
        17 => matches!(name, b"Transfer-Encoding" | b"transfer-encoding").then_some(TRANSFER_ENCODING),
        _ => None,
    }
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
            assert_eq!(usual(name.as_bytes()), Some(read.clone()));
            assert_eq!(usual(read.as_str().as_bytes()), Some(read));
        }
        assert_eq!(usual(b"X-Other"), None);
    }
}
