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
    match input.iter().position(|byte| !byte.is_ascii_hexdigit()) {
        None if input.len() > SIZE_DIGITS_MAX => Err(BadAnswer("a chunk's size is no number")),
        Some(0) => Err(BadAnswer("a chunk's size is no number")),
        Some(at) if !matches!(input[at], b';' | b'\r') => {
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The data, the trailers, whether the end was reached, and what is left over.
    type Decoded = (Vec<u8>, Option<HeaderMap>, bool, Vec<u8>);

    /// Decodes input that arrives in pieces.
    fn decode_in_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Decoded, BadAnswer> {
        let (mut chunked, mut input) = (Chunked::new(), BytesMut::new());
        let (mut data, mut trailers) = (Vec::new(), None);
        for piece in pieces {
            input.extend_from_slice(piece);
            while chunked.state != State::End {
                match chunked.decode(&mut input)? {
                    Step::Data(bytes) => data.extend_from_slice(&bytes),
                    Step::End(map) => trailers = map,
                    Step::Incomplete => break,
                }
            }
        }
        Ok((data, trailers, chunked.state == State::End, input.to_vec()))
    }

    #[test]
    fn what_the_rfc_allows_is_decoded() {
        let table: [(&str, &str); 7] = [
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world"),
            ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
            ("a\r\n0123456789\r\n00000\r\n\r\n", "0123456789"),
            ("5;name=value;other=\"quoted\"\r\nhello\r\n0;last\r\n\r\n", "hello"),
            ("0\r\n\r\n", ""),
            ("2\r\n\r\n\r\n0\r\nX-A: 1\r\n\r\n", "\r\n"),
        ];
        for (text, data) in table {
            let decoded = decode_in_pieces([text.as_bytes()]).unwrap();
            assert_eq!((decoded.0.as_slice(), decoded.2, decoded.3.len()), (data.as_bytes(), true, 0), "{text:?}");
        }
    }

    /// SEC-33: attack R18 and its relatives are errors, never ends.
    #[test]
    fn what_the_rfc_does_not_allow_is_refused() {
        let long_extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(2000));
        let many_extensions = format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(17));
        let long_trailer = format!("0\r\nX: {}", "y".repeat(TRAILER_BYTES_MAX));
        let many_trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(65));
        let table = [
            "ZZ\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "-5\r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "5\t;x\r\nhello\r\n0\r\n\r\n",
            "\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5;x\nhello\r\n0\r\n\r\n",
            "5;x\ry\r\nhello\r\n0\r\n\r\n",
            "5;\0\r\nhello\r\n0\r\n\r\n",
            "5\rhello\r\n0\r\n\r\n",
            "5\r\nhelloX\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "10000000000000005\r\nhello\r\n0\r\n\r\n",
            "0000000000000005\r\nhello\r\n0\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\nX: a\r\n b\r\n\r\n",
            "0\r\nX: a\nY: b\r\n\r\n",
            "0\r\nX: a\0\r\n\r\n",
            &long_extension,
            &many_extensions,
            &long_trailer,
            &many_trailers,
        ];
        for text in table {
            let decoded = decode_in_pieces([text.as_bytes()]);
            assert!(decoded.is_err(), "{text:?}: {decoded:?}");
        }
    }

    #[test]
    fn an_incomplete_body_never_ends() {
        let text = "5\r\nhello\r\n0\r\nX: y\r\n\r\n";
        for length in 0..text.len() {
            let (_, _, ended, _) = decode_in_pieces([&text.as_bytes()[..length]]).unwrap();
            assert!(!ended, "{:?}", &text[..length]);
        }
    }

    #[test]
    fn trailers_are_parsed_and_bytes_behind_the_end_stay() {
        let (_, trailers, _, left) =
            decode_in_pieces([&b"0\r\nGrpc-Status: 0\r\nX: y\r\n\r\nHTTP/1.1 200"[..]]).unwrap();
        assert_eq!(trailers.unwrap().get("grpc-status").unwrap(), "0");
        assert_eq!(left, b"HTTP/1.1 200");
    }

    #[test]
    fn a_plain_end_is_taken_with_the_last_chunk() {
        let (mut chunked, mut input) = (Chunked::new(), BytesMut::from("2\r\nok\r\n0\r\n\r\n"));
        assert!(matches!(chunked.decode(&mut input), Ok(Step::Data(_))));
        assert!(chunked.take_plain_end(&mut input) && chunked.state == State::End && input.is_empty());
    }

    fn cut(bytes: &[u8], mut at: Vec<usize>) -> Vec<&[u8]> {
        at.iter_mut().for_each(|at| *at %= bytes.len() + 1);
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
    }

    /// Bytes that look like the coding, so that the deeper states are reached.
    fn nearly_chunked() -> impl Strategy<Value = Vec<u8>> {
        let token = prop_oneof![
            Just(b"\r\n".to_vec()),
            Just(b"0\r\n".to_vec()),
            Just(b"5\r\nhello\r\n".to_vec()),
            Just(b"3;ext\r\nabc\r\n".to_vec()),
            Just(b"X: y\r\n".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"\r".to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_the_same_however_they_are_cut(
            bytes in nearly_chunked(),
            at in prop::collection::vec(any::<usize>(), 0..8),
        ) {
            let whole = decode_in_pieces([bytes.as_slice()]);
            let cut = decode_in_pieces(cut(&bytes, at));
            match (whole, cut) {
                (Ok(whole), Ok(cut)) => prop_assert_eq!(whole, cut),
                (Err(_), Err(_)) => {}
                (whole, cut) => prop_assert!(false, "whole {:?}, cut {:?}", whole, cut),
            }
        }

        #[test]
        fn a_body_that_was_encoded_comes_back(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..6),
            at in prop::collection::vec(any::<usize>(), 0..8),
        ) {
            let mut coded = Vec::new();
            for chunk in &chunks {
                coded.extend(format!("{:x}\r\n", chunk.len()).bytes());
                coded.extend_from_slice(chunk);
                coded.extend(b"\r\n");
            }
            coded.extend(b"0\r\n\r\n");
            let (data, _, ended, left) = decode_in_pieces(cut(&coded, at)).unwrap();
            prop_assert!(ended && left.is_empty());
            prop_assert_eq!(data, chunks.concat());
        }
    }
}
