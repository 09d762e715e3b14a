//! The head of an answer: parsing, and what frames the body that follows.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};
use memchr::memmem;

use super::BadAnswer;
use super::fields::{self, Lines};
use super::piece::Piece;

/// The longest head of an answer.
pub(in crate::upstream) const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most fields that an answer's head may hold.
pub(in crate::upstream) const FIELDS_MAX: usize = 256;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// An answer's head, but for its fields.
#[derive(Debug)]
pub(in crate::upstream) struct Head {
    pub(in crate::upstream) status: StatusCode,
    /// What was copied with the head of the input that is behind it, and is still there.
    pub(super) behind: Bytes,
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

/// Takes a complete head off the front of `input`; `None` if there is none yet. Its fields are added to `map`, which
/// must be empty, and is empty again where there is none yet.
pub(super) fn decode(
    input: &mut BytesMut,
    scan: &mut Scan,
    answers_head: bool,
    map: &mut HeaderMap,
) -> Result<Option<Head>, BadAnswer> {
    // Most answers are small and come whole: those need not be searched for the head's end first. What is no head, or not
    // a whole one, is judged below.
    if scan.searched == 0 && input.len() <= AT_ONCE_BYTES_MAX {
        let mut copy = Piece::copy(input);
        if let Ok(Some((head, end))) = parse(&copy, answers_head, map) {
            input.advance(end);
            copy.advance(end);
            return Ok(Some(Head { behind: copy, ..head }));
        }
        map.clear();
    }
    let Some(end) = find_end(input, scan)? else {
        return if input.len() > HEAD_BYTES_MAX { Err(TOO_LARGE) } else { Ok(None) };
    };
    if end > HEAD_BYTES_MAX {
        return Err(TOO_LARGE);
    }
    *scan = Scan::default();
    let head = parse(&input.split_to(end).freeze(), answers_head, map)?;
    Ok(head.map(|(head, _)| head))
}

/// Up to here what has arrived is decoded without looking for the head's end first.
const AT_ONCE_BYTES_MAX: usize = Piece::BYTES_MAX;
const TOO_LARGE: BadAnswer = BadAnswer("the head is larger than 64 KiB");

/// The end of the head: behind its first empty line. A bare LF is not waited behind.
fn find_end(input: &[u8], scan: &mut Scan) -> Result<Option<usize>, BadAnswer> {
    if input.first().is_some_and(|&first| first != b'H') {
        return Err(BadAnswer("it does not begin with a status line"));
    }
    // What is at the border is looked at again, with what has come behind it.
    let from = scan.searched.saturating_sub(END.len() - 1);
    let end = FIND_END.find(&input[from..]).map(|at| from + at + END.len());
    if has_bare_newline(&input[from..end.unwrap_or(input.len())]) {
        return Err(BadAnswer("a line ends in a bare LF"));
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

/// The head at the front of `section`, and its length; `None` if it is not complete.
fn parse(section: &Bytes, answers_head: bool, map: &mut HeaderMap) -> Result<Option<(Head, usize)>, BadAnswer> {
    let mut lines = Lines::new(section);
    let Some(first) = lines.next()? else { return Ok(None) };
    let (is_1_1, status) = status_line(&section[first])?;
    let mut facts = Facts { is_1_1, ..Facts::default() };
    loop {
        let Some(line) = lines.next()? else { return Ok(None) };
        if line.is_empty() {
            break;
        }
        if map.len() == FIELDS_MAX {
            return Err(BadAnswer("the head has more than 256 fields"));
        }
        let (name, value) = fields::parse(section, line)?;
        match name {
            CONTENT_LENGTH => facts.content_length(&value)?,
            TRANSFER_ENCODING => facts.transfer_encoding(&value)?,
            CONNECTION => facts.connection(&value),
            _ if name == KEEP_ALIVE => facts.keep_alive(&value),
            _ => {}
        }
        map.append(name, value);
    }
    let framing = facts.framing(status, answers_head)?;
    let head = Head { status, behind: Bytes::new(), framing, persistence: facts.persistence(framing) };
    Ok(Some((head, lines.at())))
}

/// RFC 9112 section 4. Whether it is HTTP/1.1, and the status; the reason may be missing, and the space before it too.
fn status_line(line: &[u8]) -> Result<(bool, StatusCode), BadAnswer> {
    let (is_1_1, rest) = match line.split_at_checked(9) {
        Some((b"HTTP/1.1 ", rest)) => (true, rest),
        Some((b"HTTP/1.0 ", rest)) => (false, rest),
        _ => return Err(BadAnswer("it is neither HTTP/1.0 nor HTTP/1.1")),
    };
    let malformed = BadAnswer("the status line is malformed");
    let (code, reason) = rest.split_at_checked(3).ok_or(malformed)?;
    let is_bad = |bad, byte: &u8| bad | (*byte < b' ' && *byte != b'\t') | (*byte == 0x7f);
    if !matches!(reason, [] | [b' ', ..]) || reason.iter().fold(false, is_bad) {
        return Err(malformed);
    }
    StatusCode::from_bytes(code).map(|status| (is_1_1, status)).map_err(|_| BadAnswer("the status code is invalid"))
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
mod tests;
