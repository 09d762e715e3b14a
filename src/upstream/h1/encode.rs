//! Writing a request: its head, the chunked coding, trailers.

use std::borrow::Cow;

use http::{HeaderMap, Method};

use super::exchange::Outgoing;

/// How the request's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestFraming {
    /// No body, and the method expects none: no field says so (RFC 9110 section 8.6).
    Nothing,
    Length(u64),
    Chunked,
}

impl RequestFraming {
    /// A body of unknown length is chunked whatever the method: a `GET` may have one, too, and must not lose it.
    pub(super) fn choose(method: &Method, body_is_empty: bool, length: Option<u64>) -> Self {
        match length {
            _ if !body_is_empty && length.is_none() => RequestFraming::Chunked,
            Some(length) if !body_is_empty => RequestFraming::Length(length),
            _ if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => RequestFraming::Length(0),
            _ => RequestFraming::Nothing,
        }
    }
}

/// Appends a request's head. `Host` is the configured authority (SEC-11); framing and connection fields in the map are
/// left out, and written anew.
pub(super) fn head(out: &mut Vec<u8>, request: &Outgoing<'_>, framing: RequestFraming) {
    out.reserve(256 + request.head.target.len() + request.head.headers.len() * 48);
    out.extend_from_slice(request.head.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(safe_target(request.head.target).as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(request.authority.as_bytes());
    out.extend_from_slice(b"\r\n");
    request.head.each_field(|name, value| field(out, name.as_str(), value.as_bytes()));
    match framing {
        RequestFraming::Nothing => {}
        RequestFraming::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        RequestFraming::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// The target as it is. What could end the request line is encoded, so that no caller can split a request (RFC 9112
/// section 11.1); targets that were checked hold no such byte.
pub(in crate::upstream) fn safe_target(target: &str) -> Cow<'_, str> {
    let is_harmless = |byte: u8| byte > b' ' && byte != 0x7f;
    let is_complete = target.starts_with('/') || target == "*";
    if is_complete && target.bytes().all(is_harmless) {
        return Cow::Borrowed(target);
    }
    let mut safe = String::from(if is_complete { "" } else { "/" });
    for char in target.chars() {
        match u8::try_from(char) {
            Ok(byte) if !is_harmless(byte) => safe.push_str(&format!("%{byte:02X}")),
            _ => safe.push(char),
        }
    }
    Cow::Owned(safe)
}

/// Fields that describe this connection and this message, not the request: never copied. `Expect` is not forwarded
/// either (RFC 9110 section 10.1.1): an early answer stops the upload anyway.
pub(in crate::upstream) fn is_ours_to_write(name: &str) -> bool {
    matches!(
        name,
        "te" | "host"
            | "expect"
            | "upgrade"
            | "connection"
            | "keep-alive"
            | "content-length"
            | "proxy-connection"
            | "transfer-encoding"
    )
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The line in front of a chunk; an empty chunk would end the body, so the caller sends none.
pub(super) fn chunk_size(out: &mut Vec<u8>, size: usize) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4);
    out.extend((0..digits).rev().map(|digit| b"0123456789abcdef"[size >> (digit * 4) & 15]));
    out.extend_from_slice(b"\r\n");
}

/// The last chunk and the trailer section.
pub(super) fn end_of_chunks(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        field(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut begin = digits.len();
    loop {
        begin -= 1;
        digits[begin] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[begin..]);
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::upstream::OutgoingHead;

    fn encoded(method: &Method, target: &str, fields: &[(&'static str, &str)], framing: RequestFraming) -> String {
        encoded_with(method, target, fields, [None; 3], framing)
    }

    fn encoded_with(
        method: &Method,
        target: &str,
        fields: &[(&'static str, &str)],
        over: [Option<(&HeaderName, &HeaderValue)>; 3],
        framing: RequestFraming,
    ) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let head = OutgoingHead { method, target, headers: &headers, over, wants_trailers: true };
        let mut out = Vec::new();
        super::head(&mut out, &Outgoing { head: &head, authority: "api.example" }, framing);
        String::from_utf8(out).unwrap()
    }

    /// SEC-11: the configured authority, whatever the map says; framing and hop-by-hop fields are the codec's.
    #[test]
    fn host_framing_and_connection_fields_are_written_and_never_copied() {
        let fields = [
            ("host", "evil.example"),
            ("te", "trailers"),
            ("transfer-encoding", "gzip, chunked"),
            ("content-length", "7"),
            ("connection", "x-a"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("x-a", "1"),
            ("x-a", "2"),
        ];
        assert_eq!(
            encoded(&Method::GET, "/a?b=c", &fields, RequestFraming::Nothing),
            "GET /a?b=c HTTP/1.1\r\nhost: api.example\r\nx-a: 1\r\nx-a: 2\r\n\r\n"
        );
    }

    /// SEC-10: what is attached is sent alone, whatever the map holds of its name.
    #[test]
    fn fields_over_the_map_replace_what_has_their_name() {
        let token = HeaderValue::from_static("Bearer t");
        let fields = [("authorization", "Basic a"), ("x-a", "1"), ("authorization", "Basic b")];
        let over = [None, Some((&AUTHORIZATION, &token)), None];
        assert_eq!(
            encoded_with(&Method::GET, "/", &fields, over, RequestFraming::Nothing),
            "GET / HTTP/1.1\r\nhost: api.example\r\nauthorization: Bearer t\r\nx-a: 1\r\n\r\n"
        );
    }

    #[test]
    fn a_target_cannot_end_the_request_line() {
        let text = encoded(&Method::GET, "/a b\r\nX: y\0\u{7f}é", &[], RequestFraming::Nothing);
        assert!(text.starts_with("GET /a%20b%0D%0AX:%20y%00%7Fé HTTP/1.1\r\n"), "{text}");
        assert!(encoded(&Method::GET, "?q", &[], RequestFraming::Nothing).starts_with("GET /?q HTTP"));
        assert!(encoded(&Method::OPTIONS, "*", &[], RequestFraming::Nothing).starts_with("OPTIONS * HTTP"));
    }

    #[test]
    fn every_body_has_its_framing() {
        use RequestFraming::{Chunked, Length, Nothing};
        let table = [
            (Method::GET, true, Some(0), Nothing),
            (Method::DELETE, true, Some(0), Nothing),
            (Method::POST, true, Some(0), Length(0)),
            (Method::PUT, true, None, Length(0)),
            (Method::PATCH, true, Some(0), Length(0)),
            (Method::GET, false, None, Chunked),
            (Method::GET, false, Some(3), Length(3)),
            (Method::POST, false, None, Chunked),
            (Method::POST, false, Some(3), Length(3)),
        ];
        for (method, empty, length, framing) in table {
            assert_eq!(RequestFraming::choose(&method, empty, length), framing, "{method} {empty} {length:?}");
        }
        let text = encoded(&Method::POST, "/", &[], Length(18446744073709551615));
        assert!(text.ends_with("content-length: 18446744073709551615\r\n\r\n"), "{text}");
        assert!(encoded(&Method::POST, "/", &[], Chunked).ends_with("transfer-encoding: chunked\r\n\r\n"));
    }

    #[test]
    fn chunk_sizes_are_hexadecimal() {
        for size in [1, 15, 16, 255, 256, 0x1000, 0xabcdef, usize::MAX] {
            let mut out = Vec::new();
            chunk_size(&mut out, size);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{size:x}\r\n"));
        }
    }
}
