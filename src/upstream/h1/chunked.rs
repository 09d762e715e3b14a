//! The chunked coding, RFC 9112 section 7.1, as strictly as it is written.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::{BadAnswer, fields};

/// The longest line that gives a chunk's size, its extensions included.
const SIZE_LINE_BYTES_MAX: usize = 1024;
/// What all extensions of one body may add up to: they are overhead that buys the sender nothing (CVE-2023-39326).
const EXTENSIONS_BYTES_MAX: usize = 16 * 1024;
/// The trailer section's bounds.
const TRAILER_BYTES_MAX: usize = 16 * 1024;
const TRAILER_FIELDS_MAX: usize = 64;
/// 15 hexadecimal digits cannot overflow, and are a petabyte.
const SIZE_DIGITS_MAX: usize = 15;

/// Where in the coding we are.
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    extensions: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a line with a size.
    Size,
    /// Within a chunk, this many bytes before its end.
    Data(u64),
    /// Before the CRLF that ends a chunk.
    DataEnd,
    /// Before the trailer section or the empty line.
    Trailer,
    End,
}

/// What the front of the input held.
#[derive(Debug)]
pub(super) enum Step {
    Data(Bytes),
    /// The end, with the trailer section if it has a field.
    End(Option<HeaderMap>),
    /// More has to be read.
    Incomplete,
}

impl Chunked {
    pub(super) fn new() -> Self {
        Chunked { state: State::Size, extensions: 0 }
    }

    /// How many bytes can be expected: for the size of the next read.
    pub(super) fn expected_bytes(&self) -> u64 {
        if let State::Data(left) = self.state { left } else { 0 }
    }

    /// Takes the next piece off the front of `input`.
    pub(super) fn decode(&mut self, input: &mut BytesMut) -> Result<Step, BadAnswer> {
        loop {
            match self.state {
                State::Size => match self.size(input)? {
                    Some(0) => self.state = State::Trailer,
                    Some(size) => self.state = State::Data(size),
                    None => return Ok(Step::Incomplete),
                },
                State::Data(left) => {
                    if input.is_empty() {
                        return Ok(Step::Incomplete);
                    }
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let left = left - here as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok(Step::Data(input.split_to(here).freeze()));
                }
                State::DataEnd => match input.as_ref() {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        self.state = State::Size;
                    }
                    [] | [b'\r'] => return Ok(Step::Incomplete),
                    _ => return Err(BadAnswer("a chunk is longer than its size")),
                },
                State::Trailer => return self.trailer(input),
                State::End => return Ok(Step::End(None)),
            }
        }
    }

    /// After a chunk: takes the end of the body without trailers, if it is here already, so that the connection is
    /// free at once and the client's answer needs no further turn.
    pub(super) fn take_plain_end(&mut self, input: &mut BytesMut) -> bool {
        let end = match self.state {
            State::DataEnd => &b"\r\n0\r\n\r\n"[..],
            State::Size => &b"0\r\n\r\n"[..],
            _ => return false,
        };
        let here = input.starts_with(end);
        if here {
            input.advance(end.len());
            self.state = State::End;
        }
        here
    }

    /// The line that gives a size: digits, then nothing or an extension, which is discarded. White space, signs, `0x`
    /// and bare LF are refused.
    fn size(&mut self, input: &mut BytesMut) -> Result<Option<u64>, BadAnswer> {
        let Some(newline) = memchr::memchr(b'\n', &input[..input.len().min(SIZE_LINE_BYTES_MAX)]) else {
            check_incomplete_size(input)?;
            return Ok(None);
        };
        let Some(line) = input[..newline].strip_suffix(b"\r") else {
            return Err(BadAnswer("the line of a chunk's size ends in a bare LF"));
        };
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, extension) = line.split_at(digits);
        if digits.is_empty() || digits.len() > SIZE_DIGITS_MAX {
            return Err(BadAnswer("a chunk's size is no number"));
        }
        if !extension.is_empty() && (extension[0] != b';' || extension.iter().any(|byte| is_control(*byte))) {
            return Err(BadAnswer("a chunk's size is followed by something else than an extension"));
        }
        self.extensions += extension.len();
        if self.extensions > EXTENSIONS_BYTES_MAX {
            return Err(BadAnswer("its chunks have more than 16 KiB of extensions"));
        }
        let size = digits.iter().fold(0, |size, digit| size << 4 | u64::from(hex(*digit)));
        input.advance(newline + 1);
        Ok(Some(size))
    }

    fn trailer(&mut self, input: &mut BytesMut) -> Result<Step, BadAnswer> {
        if input.starts_with(b"\r\n") {
            input.advance(2);
            self.state = State::End;
            return Ok(Step::End(None));
        }
        let within = &input[..input.len().min(TRAILER_BYTES_MAX)];
        let Some(end) = memchr::memmem::find(within, b"\r\n\r\n") else {
            return match input.len() {
                TRAILER_BYTES_MAX.. => Err(BadAnswer("the trailer section is larger than 16 KiB")),
                _ => Ok(Step::Incomplete),
            };
        };
        let section = input.split_to(end + 4).freeze();
        let mut lines = fields::Lines::new(&section[..end + 2]);
        let mut map = HeaderMap::new();
        while let Some(line) = lines.next()? {
            if map.len() == TRAILER_FIELDS_MAX {
                return Err(BadAnswer("the trailer section has more than 64 fields"));
            }
            let (name, value) = fields::parse(&section, line)?;
            map.append(name, value);
        }
        self.state = State::End;
        Ok(Step::End(Some(map)))
    }
}

/// What could not become a size line is refused at once and not waited for.
fn check_incomplete_size(input: &[u8]) -> Result<(), BadAnswer> {
    if input.len() >= SIZE_LINE_BYTES_MAX {
        return Err(BadAnswer("the line of a chunk's size is longer than 1 KiB"));
    }
    let digits = input.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    match input.get(digits) {
        _ if digits > SIZE_DIGITS_MAX => Err(BadAnswer("a chunk's size is no number")),
        Some(_) if digits == 0 => Err(BadAnswer("a chunk's size is no number")),
        Some(byte) if !matches!(byte, b';' | b'\r') => {
            Err(BadAnswer("a chunk's size is followed by something else than an extension"))
        }
        _ => Ok(()),
    }
}

fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests;
