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
    let (name, length) = match usual(text) {
        Some(usual) => usual,
        None => {
            let length = memchr::memchr(b':', text).ok_or(BadAnswer("a field has no colon"))?;
            let name = HeaderName::from_bytes(&text[..length]).map_err(|_| BadAnswer("a field name is invalid"))?;
            (name, length)
        }
    };
    let mut value = line.start + length + 1..line.end;
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

/// The name that a line begins with, and its length, if it is one that nearly every answer has, in its usual spelling: to
/// recognise those is many times faster than to read them.
#[inline]
fn usual(line: &[u8]) -> Option<(HeaderName, usize)> {
    const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    match line {
        [b'D' | b'd', rest @ ..] if rest.starts_with(b"ate:") => Some((DATE, 4)),
        [b'S' | b's', rest @ ..] if rest.starts_with(b"erver:") => Some((SERVER, 6)),
        [b'V' | b'v', rest @ ..] if rest.starts_with(b"ary:") => Some((VARY, 4)),
        [b'E', rest @ ..] if rest.starts_with(b"Tag:") => Some((ETAG, 4)),
        [b'e', rest @ ..] if rest.starts_with(b"tag:") => Some((ETAG, 4)),
        [b'C', rest @ ..] if rest.starts_with(b"ontent-Type:") => Some((CONTENT_TYPE, 12)),
        [b'C', rest @ ..] if rest.starts_with(b"ontent-Length:") => Some((CONTENT_LENGTH, 14)),
        [b'C', rest @ ..] if rest.starts_with(b"ache-Control:") => Some((CACHE_CONTROL, 13)),
        [b'c', rest @ ..] if rest.starts_with(b"ontent-type:") => Some((CONTENT_TYPE, 12)),
        [b'c', rest @ ..] if rest.starts_with(b"ontent-length:") => Some((CONTENT_LENGTH, 14)),
        [b'c', rest @ ..] if rest.starts_with(b"ache-control:") => Some((CACHE_CONTROL, 13)),
        [b'C' | b'c', rest @ ..] if rest.starts_with(b"onnection:") => Some((CONNECTION, 10)),
        [b'T', rest @ ..] if rest.starts_with(b"ransfer-Encoding:") => Some((TRANSFER_ENCODING, 17)),
        [b't', rest @ ..] if rest.starts_with(b"ransfer-encoding:") => Some((TRANSFER_ENCODING, 17)),
        [b'X', rest @ ..] if rest.starts_with(b"-Request-Id:") => Some((X_REQUEST_ID, 12)),
        [b'X', rest @ ..] if rest.starts_with(b"-Request-ID:") => Some((X_REQUEST_ID, 12)),
        [b'x', rest @ ..] if rest.starts_with(b"-request-id:") => Some((X_REQUEST_ID, 12)),
        _ => None,
    }
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
            for spelled in [name, read.as_str()] {
                let line = |behind: &str| [spelled, behind].concat().into_bytes();
                assert_eq!(usual(&line(": x")), Some((read.clone(), name.len())));
                assert_eq!((usual(&line("")), usual(&line(" :")), usual(&line("s: x"))), (None, None, None));
            }
        }
        assert_eq!((usual(b"X-Other: x"), usual(b"")), (None, None));
    }
}
