use proptest::prelude::*;

use super::*;

fn decode_all(text: &str, answers_head: bool) -> Result<Option<Head>, BadAnswer> {
    decode(&mut BytesMut::from(text), &mut Scan::default(), answers_head, &mut HeaderMap::new())
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
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x\r\nConnection: y, close\r\n\r\n", Persistence::Close),
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
    let (mut input, mut scan, mut headers) = (BytesMut::new(), Scan::default(), HeaderMap::new());
    let mut found = None;
    for byte in text.bytes() {
        input.extend_from_slice(&[byte]);
        if found.is_none() {
            found = decode(&mut input, &mut scan, false, &mut headers).unwrap();
        }
    }
    let head = found.unwrap();
    assert_eq!((head.status, head.framing), (StatusCode::CREATED, Framing::Length(2)));
    assert_eq!(headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(&input[..], b"ok");
}

/// Heads are the same however large they are: large ones are decoded another way.
#[test]
fn a_large_head_is_decoded_like_a_small_one() {
    for bytes in [AT_ONCE_BYTES_MAX - 100, AT_ONCE_BYTES_MAX, AT_ONCE_BYTES_MAX + 1, HEAD_BYTES_MAX - 100] {
        let value = "y".repeat(bytes);
        let text = format!("HTTP/1.1 200 OK\r\nX: {value}\r\nContent-Length: 2\r\n\r\nok");
        let (mut input, mut headers) = (BytesMut::from(&text[..]), HeaderMap::new());
        let head = decode(&mut input, &mut Scan::default(), false, &mut headers).unwrap().unwrap();
        assert_eq!((head.framing, headers.len(), &input[..]), (Framing::Length(2), 2, &b"ok"[..]), "{bytes}");
        assert_eq!(headers["x"], value);
    }
}

/// What decoding comes to: status, fields, bytes left over.
type Decoded = Result<Option<(StatusCode, HeaderMap, usize)>, BadAnswer>;

fn decoded(bytes: &[u8]) -> Decoded {
    decoded_in_pieces([bytes])
}

/// As they come: what is behind the head may not have come when it is decoded, and is added then.
fn decoded_in_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let (mut input, mut scan, mut headers) = (BytesMut::new(), Scan::default(), HeaderMap::new());
    let mut pieces = pieces.into_iter();
    while let Some(piece) = pieces.next() {
        input.extend_from_slice(piece);
        if let Some(head) = decode(&mut input, &mut scan, false, &mut headers)? {
            let behind = pieces.map(<[u8]>::len).sum::<usize>();
            return Ok(Some((head.status, headers, input.len() + behind)));
        }
        assert!(headers.is_empty(), "no field of a head that is not complete");
    }
    Ok(None)
}

/// The same by httparse, which is another's work. It takes bare LFs for line ends, and skips empty lines.
fn decoded_by_httparse(bytes: &[u8]) -> Decoded {
    let other = BadAnswer("by httparse");
    let bare = |at: usize| bytes[at] == b'\n' && (at == 0 || bytes[at - 1] != b'\r');
    let end = memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4);
    if bytes.first().is_some_and(|first| *first != b'H') || (0..end.unwrap_or(bytes.len())).any(bare) {
        return Err(other);
    }
    let Some(end) = end else { return Ok(None) };
    let mut space = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut space);
    match response.parse(&bytes[..end]) {
        Ok(httparse::Status::Complete(length)) if length == end => {}
        _ => return Err(other),
    }
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(other)?;
    let mut headers = HeaderMap::new();
    for field in response.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| other)?;
        headers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| other)?);
    }
    Ok(Some((status, headers, bytes.len() - end)))
}

/// Whether both come to the same, but for what we refuse beyond syntax, and whether the head is the same to us where it
/// comes byte by byte, which is decoded another way.
fn agree(bytes: &[u8]) -> bool {
    let beyond_syntax =
        |bad: BadAnswer| ["Content-Length", "Transfer-Encoding"].iter().any(|field| bad.0.contains(field));
    let whole = decoded(bytes);
    let as_it_comes = decoded_in_pieces(bytes.chunks(1));
    let same = whole.as_ref().map_err(drop) == as_it_comes.as_ref().map_err(drop);
    same && match (whole, decoded_by_httparse(bytes)) {
        (Err(bad), Ok(Some(_))) => beyond_syntax(bad),
        (Err(_), Err(_)) => true,
        (ours, theirs) => ours == theirs,
    }
}

#[test]
fn a_head_with_any_one_byte_changed_is_what_httparse_takes_it_for() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx-a:b \r\nY:\t c\td \r\nZ:\r\n\r\nok";
    let mut accepted = 0;
    for at in 0..head.len() {
        for byte in 0..=u8::MAX {
            for changed in
                [[&head[..at], &[byte], &head[at + 1..]].concat(), [&head[..at], &[byte], &head[at..]].concat()]
            {
                assert!(agree(&changed), "{:?}", changed.escape_ascii().to_string());
                accepted += usize::from(matches!(decoded(&changed), Ok(Some(_))));
            }
        }
    }
    assert!(accepted > 1000, "{accepted}");
}

/// Bytes that look like a head, so that more than the first line is reached.
fn nearly_a_head() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Just(b"Content-Length: 2\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"Connection: close\r\n".to_vec()),
        Just(b"X-A: b\r\n".to_vec()),
        Just(b"X: ".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    (any::<bool>(), prop::collection::vec(token, 0..8)).prop_map(|(begun, tokens)| {
        let begin = if begun { &b"HTTP/1.1 200 OK\r\n"[..] } else { b"" };
        [begin, &tokens.concat()].concat()
    })
}

/// As servers send them.
const REAL_HEADS: [&str; 4] = [
    "HTTP/1.1 200 OK\r\nServer: nginx/1.24.0\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Type: application/json; \
     charset=utf-8\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\nVary: Accept-Encoding\r\nETag: \
     W/\"7f3a\"\r\nX-RateLimit-Remaining: 4999\r\nLink: <https://api.test/a?page=2>; rel=\"next\"\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "HTTP/1.1 404 \r\nContent-Length: 9\r\nKeep-Alive: timeout=5, max=100\r\nX-Powered-By: PHP/8.1\r\nSet-Cookie: a=b; \
     Path=/; HttpOnly\r\nSet-Cookie: c=d\r\nX-Empty:\r\n\r\nnot found",
    "HTTP/1.0 301 Moved Permanently\r\nLocation:\t/elsewhere \r\nContent-Length:0\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 204 é\r\nx-amz-id-2: a/b+c=\r\n\r\n",
];

/// What differs between parsers, and pieces of it.
const NASTY: [&str; 20] = [
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    "\n\n",
    "\r\n ",
    "\r\n\t",
    "\0",
    "\x0b",
    "\x0c",
    "\x7f",
    "\u{85}",
    " ",
    "\t",
    ":",
    " :",
    ": ",
    ",",
    ";",
    "HTTP/1.1 200 OK\r\n",
];

#[derive(Debug, Clone)]
enum Change {
    Insert(&'static str),
    Replace(u8),
    Remove(usize),
    Repeat(usize),
}

fn change() -> impl Strategy<Value = (usize, Change)> {
    let change = prop_oneof![
        4 => prop::sample::select(&NASTY[..]).prop_map(Change::Insert),
        2 => any::<u8>().prop_map(Change::Replace),
        1 => (1usize..30).prop_map(Change::Remove),
        1 => (1usize..60).prop_map(Change::Repeat),
    ];
    (any::<usize>(), change)
}

fn changed(head: &str, changes: &[(usize, Change)]) -> Vec<u8> {
    let mut bytes = head.as_bytes().to_vec();
    for (at, change) in changes {
        let at = at % (bytes.len() + 1);
        let to = |length: &usize| (at + length).min(bytes.len());
        match change {
            Change::Insert(text) => drop(bytes.splice(at..at, text.bytes())),
            Change::Replace(byte) => drop(bytes.splice(at..to(&1), [*byte])),
            Change::Remove(length) => drop(bytes.drain(at..to(length))),
            Change::Repeat(length) => {
                let again = bytes[at..to(length)].to_vec();
                drop(bytes.splice(at..at, again));
            }
        }
    }
    bytes
}

#[test]
fn real_heads_are_what_httparse_takes_them_for() {
    for head in REAL_HEADS {
        assert!(agree(head.as_bytes()) && matches!(decoded(head.as_bytes()), Ok(Some(_))), "{head:?}");
    }
}

/// What is just within a bound is an answer; one more is in the table of what is none.
#[test]
fn bounds_are_where_they_are_said_to_be() {
    let fields = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(count));
    assert_eq!(decoded(fields(FIELDS_MAX).as_bytes()).unwrap().unwrap().1.len(), FIELDS_MAX);
    assert!(decoded(fields(FIELDS_MAX + 1).as_bytes()).is_err());
    let bytes = |count: usize| {
        let around = "HTTP/1.1 200 OK\r\nX: \r\n\r\n".len();
        format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(count - around))
    };
    for length in [1, HEAD_BYTES_MAX] {
        let large = bytes(HEAD_BYTES_MAX);
        assert!(decoded_in_pieces(large.as_bytes().chunks(length)).unwrap().is_some());
        assert!(decoded_in_pieces(bytes(HEAD_BYTES_MAX + 1).as_bytes().chunks(length)).is_err());
    }
    let length = |digits: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {digits}\r\n\r\n");
    for (digits, framing) in [
        ("9999999999999999999", Some(Framing::Length(9_999_999_999_999_999_999))),
        ("0000000000000000002", Some(Framing::Length(2))),
        ("00000000000000000002", None),
        ("10000000000000000000", None),
    ] {
        let decoded = decode_all(&length(digits), false).ok().flatten();
        assert_eq!(decoded.map(|head| head.framing), framing, "{digits}");
    }
}

proptest! {
    #[test]
    fn real_heads_however_changed_are_what_httparse_takes_them_for(
        head in prop::sample::select(&REAL_HEADS[..]),
        changes in prop::collection::vec(change(), 1..5),
    ) {
        let bytes = changed(head, &changes);
        prop_assert!(agree(&bytes), "{}", bytes.escape_ascii());
    }

    #[test]
    fn any_bytes_are_what_httparse_takes_them_for(bytes in nearly_a_head()) {
        prop_assert!(agree(&bytes));
    }

    #[test]
    fn any_bytes_are_the_same_head_however_they_are_cut(bytes in nearly_a_head(), at in any::<usize>()) {
        let at = at % (bytes.len() + 1);
        let describe = |head: Result<Option<Head>, BadAnswer>, headers: &HeaderMap| {
            head.map_err(drop).map(|head| head.map(|head| (head.status, headers.clone(), head.framing)))
        };
        let mut headers = HeaderMap::new();
        let whole = decode(&mut BytesMut::from(&bytes[..]), &mut Scan::default(), false, &mut headers);
        let whole = describe(whole, &headers);
        let (mut input, mut scan, mut headers) = (BytesMut::from(&bytes[..at]), Scan::default(), HeaderMap::new());
        let mut cut = decode(&mut input, &mut scan, false, &mut headers);
        if matches!(cut, Ok(None)) {
            prop_assert!(headers.is_empty());
            input.extend_from_slice(&bytes[at..]);
            cut = decode(&mut input, &mut scan, false, &mut headers);
        }
        prop_assert_eq!(whole, describe(cut, &headers));
    }
}
