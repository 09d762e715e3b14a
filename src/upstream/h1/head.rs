//! The head of an answer: parsing, and what frames the body that follows.

use std::mem::MaybeUninit;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use memchr::memmem;

use super::{BadAnswer, fields};

/// The longest head of an answer.
pub(in crate::upstream) const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most fields that an answer's head may hold.
pub(in crate::upstream) const FIELDS_MAX: usize = 256;

/// An answer's head.
#[derive(Debug)]
pub(in crate::upstream) struct Head {
    pub(in crate::upstream) status: StatusCode,
    pub(in crate::upstream) headers: HeaderMap,
    pub(super) framing: Framing,
    pub(super) persistence: Persistence,
}

/// How the end of the body is found, RFC 9112 section 6.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Empty,
    Length(u64),
    Chunked,
    UntilClose,
}

/// Whether the connection may be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Persistence {
    Close,
    /// With what `Keep-Alive: timeout` promises, if it does.
    Keep(Option<Duration>),
}

/// How far an incomplete head has been searched for its end, so that slow bytes are not searched again.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Scan {
    searched: usize,
}

/// Takes a complete head off the front of `input`; `None` if there is none yet. `map` makes the map that is filled and
/// becomes the head's; it must be empty.
pub(super) fn decode(
    input: &mut BytesMut,
    scan: &mut Scan,
    answers_head: bool,
    map: impl FnOnce() -> HeaderMap,
) -> Result<Option<Head>, BadAnswer> {
    let Some(end) = find_end(input, scan)? else {
        return if input.len() > HEAD_BYTES_MAX { Err(TOO_LARGE) } else { Ok(None) };
    };
    if end > HEAD_BYTES_MAX {
        return Err(TOO_LARGE);
    }
    *scan = Scan::default();
    parse(&input.split_to(end).freeze(), answers_head, map()).map(Some)
}

const TOO_LARGE: BadAnswer = BadAnswer("the head is larger than 64 KiB");

/// The end of the head: behind its first empty line. A line that ends in a bare LF is refused, although RFC 9112
/// section 2.2 allows to accept it: it is what response splitting looks like.
fn find_end(input: &[u8], scan: &mut Scan) -> Result<Option<usize>, BadAnswer> {
    if input.first().is_some_and(|&first| first != b'H') {
        return Err(BadAnswer("it does not begin with a status line"));
    }
    // What is at the border is looked at again, with what has come behind it.
    let from = scan.searched.saturating_sub(END.len() - 1);
    let end = FIND_END.find(&input[from..]).map(|at| from + at + END.len());
    if has_bare_newline(&input[from..end.unwrap_or(input.len())]) {
        return Err(BadAnswer("a line of the head ends in a bare LF"));
    }
    scan.searched = input.len();
    Ok(end)
}

const END: &[u8; 4] = b"\r\n\r\n";
static FIND_END: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(END));

/// Whether a newline follows anything but a CR. Without a branch this is a few vector instructions.
fn has_bare_newline(text: &[u8]) -> bool {
    let pairs = text.iter().zip(text.get(1..).unwrap_or_default());
    pairs.fold(false, |found, (before, byte)| found | ((*byte == b'\n') & (*before != b'\r')))
}

fn parse(section: &Bytes, answers_head: bool, mut map: HeaderMap) -> Result<Head, BadAnswer> {
    let mut space = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    // The strict configuration: no folding, no space before the colon, no control characters.
    let parsed =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, section, &mut space);
    match parsed {
        Ok(httparse::Status::Complete(length)) if length == section.len() => {}
        Ok(_) => return Err(BadAnswer("the head is malformed")),
        Err(httparse::Error::TooManyHeaders) => return Err(BadAnswer("the head has more than 256 fields")),
        Err(httparse::Error::Version) => return Err(BadAnswer("it is neither HTTP/1.0 nor HTTP/1.1")),
        Err(httparse::Error::HeaderName) => return Err(BadAnswer("a field name is invalid")),
        Err(httparse::Error::HeaderValue) => return Err(BadAnswer("a field value is invalid")),
        Err(_) => return Err(BadAnswer("the status line is malformed")),
    }
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(BadAnswer("the status code is invalid"))?;
    let mut facts = Facts { is_1_1: response.version == Some(1), ..Facts::default() };
    map.reserve(response.headers.len());
    for field in response.headers.iter() {
        let (name, value) = fields::convert(section, field)?;
        if name == header::CONTENT_LENGTH {
            facts.content_length(&value)?;
        } else if name == header::TRANSFER_ENCODING {
            facts.transfer_encoding(&value)?;
        } else if name == header::CONNECTION {
            facts.connection(&value);
        } else if name.as_str() == "keep-alive" {
            facts.keep_alive(&value);
        }
        map.append(name, value);
    }
    let framing = facts.framing(status, answers_head)?;
    Ok(Head { status, headers: map, framing, persistence: facts.persistence(framing) })
}

/// What the fields say about framing and persistence.
#[derive(Default)]
struct Facts {
    is_1_1: bool,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep: bool,
    idle: Option<Duration>,
}

impl Facts {
    /// RFC 9112 section 6.3 (5). Repeated values are refused even where they agree: no API needs them.
    fn content_length(&mut self, value: &HeaderValue) -> Result<(), BadAnswer> {
        let length = parse_digits(value.as_bytes()).ok_or(BadAnswer("Content-Length is no single number"))?;
        if self.length.replace(length).is_some() {
            return Err(BadAnswer("there are several Content-Length fields"));
        }
        Ok(())
    }

    /// Only the one coding that we never fail to understand; we ask for no other (no `TE` is sent).
    fn transfer_encoding(&mut self, value: &HeaderValue) -> Result<(), BadAnswer> {
        if self.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(BadAnswer("Transfer-Encoding is something else than chunked"));
        }
        self.chunked = true;
        Ok(())
    }

    fn connection(&mut self, value: &HeaderValue) {
        for option in value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn keep_alive(&mut self, value: &HeaderValue) {
        for parameter in value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if let Some((name, seconds)) = parameter.split_at_checked(8)
                && name.eq_ignore_ascii_case(b"timeout=")
            {
                self.idle = parse_digits(seconds).map(Duration::from_secs);
            }
        }
    }

    /// RFC 9112 section 6.3. Length and coding together are refused whatever the status: it is how responses are
    /// smuggled, and what the proxy would have to guess.
    fn framing(&self, status: StatusCode, answers_head: bool) -> Result<Framing, BadAnswer> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(BadAnswer("it has both Content-Length and Transfer-Encoding")),
            (true, None) if !self.is_1_1 => Err(BadAnswer("Transfer-Encoding in an HTTP/1.0 answer")),
            _ if answers_head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED => {
                Ok(Framing::Empty)
            }
            (true, None) => Ok(Framing::Chunked),
            (false, Some(0)) => Ok(Framing::Empty),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::UntilClose),
        }
    }

    /// RFC 9112 section 9.3.
    fn persistence(&self, framing: Framing) -> Persistence {
        if self.close || framing == Framing::UntilClose || !(self.is_1_1 || self.keep) {
            Persistence::Close
        } else {
            Persistence::Keep(self.idle)
        }
    }
}

/// A number of 1 to 19 decimal digits; that fits without overflow.
fn parse_digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode_all(text: &str, answers_head: bool) -> Result<Option<Head>, BadAnswer> {
        decode(&mut BytesMut::from(text), &mut Scan::default(), answers_head, HeaderMap::new)
    }

    /// Attacks R01, R02, R11, R12, R14, R15 and R33, and their relatives, are no answers.
    #[test]
    fn heads_that_break_http_are_refused() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(257));
        let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(HEAD_BYTES_MAX));
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(HEAD_BYTES_MAX));
        let table = [
            ("R01", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
            ("R01 the other way", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"),
            ("R02", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\nok"),
            ("two that agree", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
            ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"),
            ("a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
            ("a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"),
            ("an empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok"),
            ("a hexadecimal length", "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok"),
            ("a length that overflows", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok"),
            ("R11", many.as_str()),
            ("too large", large.as_str()),
            ("too large already, and no end", endless.as_str()),
            ("R12", "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: evil=1\r\nContent-Length: 2\r\n\r\nok"),
            ("R14", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok"),
            ("R15", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"),
            ("space before the first name", "HTTP/1.1 200 OK\r\n X: a\r\n\r\n"),
            ("a name without a colon", "HTTP/1.1 200 OK\r\nX\r\n\r\n"),
            ("an empty name", "HTTP/1.1 200 OK\r\n: a\r\n\r\n"),
            ("NUL", "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n"),
            ("R33", "HTTP/1.1 20 OK\r\n\r\n"),
            ("four digits", "HTTP/1.1 2000 OK\r\n\r\n"),
            ("below 100", "HTTP/1.1 099 OK\r\n\r\n"),
            ("HTTP/2", "HTTP/2.0 200 OK\r\n\r\n"),
            ("HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n"),
            ("another protocol", "SSH-2.0-OpenSSH_9.6\r\n"),
            ("no status line", "\r\nHTTP/1.1 200 OK\r\n\r\n"),
            ("bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
            ("one bare LF", "HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: evil=1\r\n\r\n"),
            ("gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
            ("chunked twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
            ("identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n"),
            ("chunked in 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ];
        for (title, text) in table {
            let decoded = decode_all(text, false);
            assert!(decoded.is_err(), "{title}: {decoded:?}");
        }
    }

    #[test]
    fn framing_follows_rfc_9112_section_6_3() {
        let table = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, Framing::Length(5)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, Framing::Empty),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n", false, Framing::Chunked),
            ("HTTP/1.1 200 OK\r\n\r\n", false, Framing::UntilClose),
            ("HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", false, Framing::Length(5)),
            ("HTTP/1.0 200 OK\r\n\r\n", false, Framing::UntilClose),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, Framing::Empty),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true, Framing::Empty),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false, Framing::Empty),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, Framing::Empty),
        ];
        for (text, answers_head, framing) in table {
            assert_eq!(decode_all(text, answers_head).unwrap().unwrap().framing, framing, "{text:?}");
        }
    }

    #[test]
    fn connections_persist_as_the_head_says() {
        let keep = Persistence::Keep(None);
        let table = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", keep),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n", Persistence::Close),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x\r\nConnection: y, close\r\n\r\n",
                Persistence::Close,
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", Persistence::Close),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", keep),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", Persistence::Close),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: max=9, Timeout=5\r\n\r\n",
                Persistence::Keep(Some(Duration::from_secs(5))),
            ),
        ];
        for (text, persistence) in table {
            assert_eq!(decode_all(text, false).unwrap().unwrap().persistence, persistence, "{text:?}");
        }
    }

    #[test]
    fn a_head_that_arrives_byte_by_byte_is_the_same_head() {
        let text = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\nX-A: 1\r\nX-A: 2\r\n\r\nok";
        let (mut input, mut scan) = (BytesMut::new(), Scan::default());
        let mut found = None;
        for byte in text.bytes() {
            input.extend_from_slice(&[byte]);
            if found.is_none() {
                found = decode(&mut input, &mut scan, false, HeaderMap::new).unwrap();
            }
        }
        let head = found.unwrap();
        assert_eq!((head.status, head.framing), (StatusCode::CREATED, Framing::Length(2)));
        assert_eq!(head.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(&input[..], b"ok");
    }

    /// Bytes that look like a head, so that more than the first line is reached.
    fn nearly_a_head() -> impl Strategy<Value = Vec<u8>> {
        let token = prop_oneof![
            Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
            Just(b"Content-Length: 2\r\n".to_vec()),
            Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
            Just(b"Connection: close\r\n".to_vec()),
            Just(b"X-A: b\r\n".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\n".to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(token, 0..8).prop_map(|tokens| tokens.concat())
    }

    proptest! {
        #[test]
        fn any_bytes_are_the_same_head_however_they_are_cut(bytes in nearly_a_head(), at in any::<usize>()) {
            let at = at % (bytes.len() + 1);
            let describe = |decoded: Result<Option<Head>, BadAnswer>| {
                decoded.map_err(drop).map(|head| head.map(|head| (head.status, head.headers, head.framing)))
            };
            let whole = decode(&mut BytesMut::from(&bytes[..]), &mut Scan::default(), false, HeaderMap::new);
            let (mut input, mut scan) = (BytesMut::from(&bytes[..at]), Scan::default());
            let mut cut = decode(&mut input, &mut scan, false, HeaderMap::new);
            if matches!(cut, Ok(None)) {
                input.extend_from_slice(&bytes[at..]);
                cut = decode(&mut input, &mut scan, false, HeaderMap::new);
            }
            prop_assert_eq!(describe(whole), describe(cut));
        }
    }
}
