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
    let (_, trailers, _, left) = decode_in_pieces([&b"0\r\nGrpc-Status: 0\r\nX: y\r\n\r\nHTTP/1.1 200"[..]]).unwrap();
    assert_eq!(trailers.unwrap().get("grpc-status").unwrap(), "0");
    assert_eq!(left, b"HTTP/1.1 200");
}

#[test]
fn a_plain_end_is_taken_with_the_last_chunk() {
    let (mut chunked, mut input) = (Chunked::new(), BytesMut::from("2\r\nok\r\n0\r\n\r\n"));
    assert!(matches!(chunked.decode(&mut input), Ok(Step::Data(_))));
    assert!(chunked.take_plain_end(&mut input) && chunked.state == State::End && input.is_empty());
}

/// The data, the number of trailers, and what is left over.
type Whole<'a> = (Vec<u8>, usize, &'a [u8]);

/// What a whole text is, by the grammar of RFC 9112 section 7.1 written down once more, with no state. `None`: it has no
/// end.
fn by_the_grammar(text: &[u8]) -> Result<Option<Whole<'_>>, ()> {
    let is_text = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
    let (mut data, mut rest) = (Vec::new(), text);
    loop {
        let Some(end) = memchr::memmem::find(rest, b"\r\n") else { return Ok(None) };
        let (line, after) = (&rest[..end], &rest[end + 2..]);
        let mut parts = line.splitn(2, |byte| *byte == b';');
        let (size, extension) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let is_size = (1..16).contains(&size.len()) && size.iter().all(u8::is_ascii_hexdigit);
        if !is_size || !extension.iter().all(is_text) {
            return Err(());
        }
        let size = usize::from_str_radix(std::str::from_utf8(size).unwrap(), 16).unwrap();
        if size == 0 {
            let Some(end) = memchr::memmem::find(&rest[end..], b"\r\n\r\n").map(|at| end + at) else {
                return Ok(None);
            };
            let mut space = [httparse::EMPTY_HEADER; TRAILER_FIELDS_MAX];
            let section = rest.get(line.len() + 2..end + 4).unwrap_or(b"\r\n");
            let bare = |at: usize| section[at] == b'\n' && (at == 0 || section[at - 1] != b'\r');
            return match httparse::parse_headers(section, &mut space) {
                Ok(httparse::Status::Complete((_, fields))) if !(0..section.len()).any(bare) => {
                    Ok(Some((data, fields.len(), &rest[end + 4..])))
                }
                _ => Err(()),
            };
        }
        let Some((chunk, after)) = after.split_at_checked(size) else { return Ok(None) };
        data.extend_from_slice(chunk);
        match after {
            [b'\r', b'\n', after @ ..] => rest = after,
            [] | [b'\r'] => return Ok(None),
            _ => return Err(()),
        }
    }
}

/// Whether the codec takes a text for what the grammar says. It may refuse at once what can come to no end.
fn is_by_the_grammar(text: &[u8]) -> bool {
    match (decode_in_pieces([text]), by_the_grammar(text)) {
        (Ok((data, trailers, true, left)), Ok(Some(expected))) => {
            (data, trailers.map_or(0, |map| map.len()), &left[..]) == expected
        }
        (Ok((_, _, ended, _)), Ok(None)) => !ended,
        (Err(_), expected) => !matches!(expected, Ok(Some(_))),
        (Ok(_), _) => false,
    }
}

#[test]
fn a_body_with_any_one_byte_changed_is_what_the_grammar_says() {
    let body = b"5;a=\"b\"\r\nhel\r\n\r\nA\r\n0123456789\r\n0;z\r\nX-a:b \r\nY: c\r\n\r\nok";
    let mut ended = 0;
    for at in 0..body.len() {
        for byte in 0..=u8::MAX {
            for changed in
                [[&body[..at], &[byte], &body[at + 1..]].concat(), [&body[..at], &[byte], &body[at..]].concat()]
            {
                assert!(is_by_the_grammar(&changed), "{}", changed.escape_ascii());
                ended += usize::from(matches!(by_the_grammar(&changed), Ok(Some(_))));
            }
        }
    }
    assert!(ended > 1000, "{ended}");
}

#[test]
fn bounds_are_where_they_are_said_to_be() {
    let size = |digits: usize| format!("{:0>digits$}\r\nhello\r\n0\r\n\r\n", 5);
    let extension = |bytes: usize| format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(bytes - "5;\r\n".len()));
    let extensions = |count: usize| format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", "x".repeat(511)).repeat(count));
    let trailers = |count: usize| format!("0\r\n{}\r\n", "X: y\r\n".repeat(count));
    let trailer = |bytes: usize| format!("0\r\nX: {}\r\n\r\n", "y".repeat(bytes - "X: \r\n\r\n".len()));
    let table = [
        (size(SIZE_DIGITS_MAX), size(SIZE_DIGITS_MAX + 1)),
        (extension(SIZE_LINE_BYTES_MAX), extension(SIZE_LINE_BYTES_MAX + 1)),
        (extensions(EXTENSIONS_BYTES_MAX / 512), extensions(EXTENSIONS_BYTES_MAX / 512 + 1)),
        (trailers(TRAILER_FIELDS_MAX), trailers(TRAILER_FIELDS_MAX + 1)),
        (trailer(TRAILER_BYTES_MAX), trailer(TRAILER_BYTES_MAX + 1)),
    ];
    for (within, beyond) in table {
        for piece in [1, usize::MAX] {
            let decode = |text: &str| decode_in_pieces(text.as_bytes().chunks(piece));
            assert!(decode(&within).is_ok_and(|decoded| decoded.2), "{:.80}", within);
            assert!(decode(&beyond).is_err(), "{:.80}", beyond);
        }
    }
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
        Just(b"0;".to_vec()),
        Just(b"fffffffff".to_vec()),
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
        let whole = decode_in_pieces([bytes.as_slice()]).map_err(drop);
        prop_assert_eq!(&decode_in_pieces(cut(&bytes, at)).map_err(drop), &whole);
        prop_assert_eq!(&decode_in_pieces(bytes.chunks(1)).map_err(drop), &whole);
    }

    #[test]
    fn any_bytes_are_what_the_grammar_says(bytes in nearly_chunked()) {
        prop_assert!(is_by_the_grammar(&bytes), "{}", bytes.escape_ascii());
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
