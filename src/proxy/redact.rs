//! Masking secrets in bodies as they stream (SEC-13): which bodies are scanned, and the scanning itself.

use std::cell::RefCell;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use memchr::memchr;

use super::access_log::RequestName;
use super::present::{Present, only};
use crate::secret::Scanner;

/// Digests of the unmasked bytes: wrong once a byte is masked, and an oracle for the secret.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// How the textual types begin that have relatives: AWS, for one, speaks `application/x-amz-json-1.1`.
const SCANNED_BEGINNINGS: [&str; 6] =
    ["text/", "multipart/", "application/json", "application/x-json", "application/x-amz-json", "application/xml"];

/// How they end. RFC 8091 has `+json-seq`, RFC 9512 `+yaml`.
const SCANNED_ENDINGS: [&str; 4] = ["+json", "+xml", "+json-seq", "+yaml"];

/// The other ones.
const SCANNED: [&str; 15] = [
    "application/x-www-form-urlencoded",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/http",
    "application/graphql",
    "application/sql",
    "application/toml",
    "application/yaml",
    "application/x-yaml",
    "application/javascript",
    "application/x-javascript",
    "application/ecmascript",
    "message/http",
];

/// How the names of charsets begin in which ASCII is not spelled as ASCII, so that a secret would not be recognised.
const CHARSETS_UNSCANNABLE: [&str; 16] = [
    "utf-16",
    "utf16",
    "utf-32",
    "utf32",
    "utf-7",
    "utf7",
    "ucs-2",
    "ucs-4",
    "iso-10646-ucs",
    "unicode",
    "csunicode",
    "csutf",
    "csucs",
    "ebcdic",
    "ibm037",
    "ibm1047",
];

/// What a text in UTF-16 or UTF-32 begins with, if it says so. Readers believe it whatever `charset` says.
const WIDE_MARKS: [&[u8]; 3] = [b"\xfe\xff", b"\xff\xfe", b"\0\0\xfe\xff"];
const MARK_BYTES_MAX: usize = 4;

/// What is to be done with an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Not of a scanned type.
    Pass,
    Scan,
    /// A part of a text, or several: a secret may be cut at its border. To be asked for whole.
    Partial,
    /// Of a scanned type, but encoded although `identity` was asked for, or in a charset that hides ASCII.
    Encoded,
}

/// What may be in a body, as its `Content-Type` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Not of a scanned type.
    Opaque,
    Text,
    /// In a charset that hides ASCII.
    HiddenText,
}

/// Judges answers. An API's answers are of one type nearly always, so the last type is remembered with what it means.
#[derive(Debug, Default)]
pub(super) struct Judge {
    last: RefCell<Option<(Box<[u8]>, Kind)>>,
}

impl Judge {
    /// Judges an answer by its head as received.
    pub(super) fn judge(&self, status: StatusCode, headers: &HeaderMap, present: Present) -> Judgement {
        let kind = match only(headers, CONTENT_TYPE) {
            Some(one) => self.kind(one),
            // Where it has none at all, or several, anything may be in it.
            None if headers.get_all(CONTENT_TYPE).iter().any(hides_ascii) => Kind::HiddenText,
            None => Kind::Text,
        };
        let encoded = |value: &HeaderValue| !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
        match kind {
            Kind::Opaque => Judgement::Pass,
            _ if status == StatusCode::PARTIAL_CONTENT => Judgement::Partial,
            Kind::HiddenText => Judgement::Encoded,
            Kind::Text if !present.has(Present::CONTENT_ENCODING) => Judgement::Scan,
            Kind::Text if headers.get_all(CONTENT_ENCODING).iter().any(encoded) => Judgement::Encoded,
            Kind::Text => Judgement::Scan,
        }
    }

    fn kind(&self, content_type: &HeaderValue) -> Kind {
        let mut last = self.last.borrow_mut();
        match &*last {
            Some((bytes, kind)) if **bytes == *content_type.as_bytes() => *kind,
            _ => {
                let kind = Kind::of(content_type);
                *last = Some((content_type.as_bytes().into(), kind));
                kind
            }
        }
    }
}

impl Kind {
    fn of(content_type: &HeaderValue) -> Kind {
        // In what cannot be read, anything may be.
        match media_type(content_type).is_none_or(is_scanned) {
            false => Kind::Opaque,
            true if hides_ascii(content_type) => Kind::HiddenText,
            true => Kind::Text,
        }
    }
}

/// Removes the digests of an answer that is scanned. `ETag` stays: it is opaque.
pub(super) fn remove_digests(headers: &mut HeaderMap) {
    for name in &DIGESTS {
        headers.remove(name);
    }
}

/// Type and subtype, in whatever case; `None` if there is none to speak of, or if more than one may be meant (RFC 9110
/// section 8.3.1: two tokens; a comma joins lines that should have been one).
fn media_type(value: &HeaderValue) -> Option<&[u8]> {
    let text = value.as_bytes();
    let (essence, parameters) = text.split_at(memchr(b';', text).unwrap_or(text.len()));
    let essence = essence.trim_ascii();
    let slash = memchr(b'/', essence)?;
    let joined = || parameters.split(|byte| *byte == b'"').step_by(2).any(|unquoted| unquoted.contains(&b','));
    let legible = is_token(&essence[..slash]) && is_token(&essence[slash + 1..]) && !joined();
    legible.then_some(essence)
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &[u8]) -> bool {
    let is_token_byte = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            )
    };
    !text.is_empty() && text.iter().all(is_token_byte)
}

/// Whether a content type names a charset in which a secret would not be recognised.
fn hides_ascii(content_type: &HeaderValue) -> bool {
    let parameters = content_type.as_bytes().split(|byte| *byte == b';').skip(1);
    parameters.into_iter().any(|parameter| {
        let mut halves = parameter.splitn(2, |byte| *byte == b'=');
        let (name, value) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
        let value = value.trim_ascii();
        let value = value.strip_prefix(b"\"").unwrap_or(value);
        let begins = |with: &&str| value.get(..with.len()).is_some_and(|it| it.eq_ignore_ascii_case(with.as_bytes()));
        name.trim_ascii().eq_ignore_ascii_case(b"charset") && CHARSETS_UNSCANNABLE.iter().any(begins)
    })
}

fn is_scanned(media_type: &[u8]) -> bool {
    let begins = |with: &&str| media_type.get(..with.len()).is_some_and(|it| it.eq_ignore_ascii_case(with.as_bytes()));
    let ends = |with: &&str| {
        let end = media_type.len().checked_sub(with.len()).map(|at| &media_type[at..]);
        end.is_some_and(|end| end.eq_ignore_ascii_case(with.as_bytes()))
    };
    SCANNED_BEGINNINGS.iter().any(begins)
        || SCANNED_ENDINGS.iter().any(ends)
        || SCANNED.iter().any(|scanned| media_type.eq_ignore_ascii_case(scanned.as_bytes()))
}

/// Scans one body. What it holds back is counted, so that the body's length stays known.
#[derive(Debug)]
pub(super) struct Redactor {
    scanner: Scanner,
    held: u64,
    beginning: Beginning,
    /// Whose answer it is.
    request: RequestName,
}

/// What a body begins with, as far as it has come.
#[derive(Debug, Default)]
struct Beginning {
    bytes: [u8; MARK_BYTES_MAX],
    come: usize,
}

/// The body turned out to be one in which a secret would not be recognised.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unscannable;

impl Redactor {
    pub(super) fn new(scanner: Scanner, request: RequestName) -> Self {
        Redactor { scanner, held: 0, beginning: Beginning::default(), request }
    }

    /// The next bytes that can be passed on, masked; possibly none yet.
    pub(super) fn pass(&mut self, bytes: Bytes) -> Result<Bytes, Unscannable> {
        self.beginning.add(&bytes)?;
        let taken = bytes.len() as u64;
        let passed = self.scanner.push(bytes);
        self.held = (self.held + taken).saturating_sub(passed.len() as u64);
        Ok(passed)
    }

    /// A whole body, masked.
    pub(super) fn whole(mut self, bytes: Bytes) -> Result<Bytes, Unscannable> {
        let passed = self.pass(bytes)?;
        let last = self.finish();
        Ok(if last.is_empty() { passed } else { [passed, last].concat().into() })
    }

    /// What was held back, at the body's end.
    pub(super) fn finish(&mut self) -> Bytes {
        self.held = 0;
        let last = self.scanner.finish();
        if self.scanner.masked() > 0 {
            self.request.masked(self.scanner.masked());
        }
        last
    }

    /// Bytes that it holds back.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held
    }
}

impl Beginning {
    fn add(&mut self, bytes: &[u8]) -> Result<(), Unscannable> {
        if self.come == MARK_BYTES_MAX {
            return Ok(());
        }
        let more = bytes.len().min(MARK_BYTES_MAX - self.come);
        self.bytes[self.come..self.come + more].copy_from_slice(&bytes[..more]);
        self.come += more;
        let begun = &self.bytes[..self.come];
        if WIDE_MARKS.iter().any(|mark| begun.starts_with(mark)) { Err(Unscannable) } else { Ok(()) }
    }
}

impl std::fmt::Display for Unscannable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the credential cannot be masked in UTF-16 or UTF-32 (redact_bodies = false lets it pass)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, fields: &[(&str, &str)]) -> Judgement {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        Judge::default().judge(StatusCode::from_u16(status).unwrap(), &headers, Present::among(headers.keys()))
    }

    /// SEC-13: textual types are scanned, and what does not say its type.
    #[test]
    fn textual_bodies_are_scanned() {
        let scanned = [
            "text/plain",
            "TEXT/HTML; charset=utf-8",
            "text/event-stream",
            "application/json",
            "application/xml",
            "application/Problem+JSON",
            "image/svg+xml",
            "application/x-www-form-urlencoded",
            "application/x-ndjson",
            "application/json-seq",
            "application/x-amz-json-1.1",
            "Application/Geo+JSON-Seq",
            "application/xml-dtd",
            "multipart/mixed; boundary=x",
            "multipart/related; type=\"application/dicom\"",
            "multipart/form-data",
            "application/http",
            "message/http",
            "application/yaml",
            "application/x-yaml",
            "application/openapi+yaml",
            "application/javascript",
            "application/toml",
            "application/sql",
            "application/graphql",
            "garbage",
            "",
            // What cannot be read may mean anything.
            "application/json, x",
            "image/png, text/html",
            "image/png; x=y, text/html",
            "image/png x",
            "/png",
            "image/",
        ];
        assert_eq!(scanned.len(), 33);
        for media_type in scanned {
            assert_eq!(judged(200, &[("content-type", media_type)]), Judgement::Scan, "{media_type}");
        }
        assert_eq!(judged(200, &[]), Judgement::Scan);
        assert_eq!(judged(200, &[("content-type", "image/png"), ("content-type", "text/html")]), Judgement::Scan);
        for media_type in ["image/png", "application/octet-stream", "application/grpc", "application/pdf", "video/mp4"]
        {
            assert_eq!(judged(200, &[("content-type", media_type)]), Judgement::Pass, "{media_type}");
            let encoded = [("content-type", media_type), ("content-encoding", "gzip")];
            assert_eq!(judged(206, &encoded), Judgement::Pass, "{media_type}");
        }
    }

    /// SEC-13: a text that cannot be scanned does not pass.
    #[test]
    fn partial_and_encoded_texts_are_told_apart() {
        assert_eq!(judged(206, &[("content-type", "text/plain")]), Judgement::Partial);
        assert_eq!(judged(206, &[]), Judgement::Partial);
        assert_eq!(judged(206, &[("content-type", "multipart/byteranges; boundary=x")]), Judgement::Partial);
        assert_eq!(judged(200, &[("content-type", "text/css"), ("content-encoding", "br")]), Judgement::Encoded);
        assert_eq!(judged(200, &[("content-encoding", "identity, gzip")]), Judgement::Encoded);
        assert_eq!(judged(200, &[("content-encoding", " Identity")]), Judgement::Scan);
    }

    /// SEC-13: in some charsets a secret would not be recognised: they count as an encoding.
    #[test]
    fn charsets_that_hide_ascii_are_not_scanned() {
        for charset in ["utf-16", "UTF-16LE", "\"utf-16be\"", " utf-32", "utf-7", "UCS-2", "csUnicode", "ebcdic-us"] {
            for media_type in ["text/plain", "application/json", "garbage"] {
                let named = format!("{media_type}; x=y; Charset={charset}");
                assert_eq!(judged(200, &[("content-type", &named)]), Judgement::Encoded, "{named}");
            }
            let binary = format!("image/png; charset={charset}");
            assert_eq!(judged(200, &[("content-type", &binary)]), Judgement::Pass, "{binary}");
        }
        for charset in ["utf-8", "UTF8", "us-ascii", "iso-8859-1", "windows-1252", "shift_jis", "gb18030", "none", ""] {
            let named = format!("text/plain; charset={charset}");
            assert_eq!(judged(200, &[("content-type", &named)]), Judgement::Scan, "{named}");
        }
        let twice = [("content-type", "text/html"), ("content-type", "text/html; charset=utf-16")];
        assert_eq!(judged(200, &twice), Judgement::Encoded);
        // Not a charset of its own.
        assert_eq!(judged(200, &[("content-type", "text/plain; x-charset=utf-16")]), Judgement::Scan);
        assert_eq!(judged(200, &[("content-type", "image/png; x=\"a,b\"")]), Judgement::Pass);
    }

    /// SEC-13: a text that says by its first bytes that it hides ASCII is recognised, wherever it is cut.
    #[test]
    fn byte_order_marks_are_recognised() {
        let table: [(&[u8], bool); 9] = [
            (b"\xfe\xff\0{\0}", true),
            (b"\xff\xfe{\0}\0", true),
            (b"\xff\xfe\0\0{\0\0\0", true),
            (b"\0\0\xfe\xff\0\0\0{", true),
            (b"\xef\xbb\xbf{}", false),
            (b"{\"\xfe\xff\": 1}", false),
            (b"\xff", false),
            (b"\0\0\xfe", false),
            (b"", false),
        ];
        for (text, marked) in table {
            for at in 0..=text.len() {
                let mut beginning = Beginning::default();
                let found = [&text[..at], &text[at..]].iter().any(|piece| beginning.add(piece).is_err());
                assert_eq!(found, marked, "{} cut at {at}", text.escape_ascii());
            }
        }
    }

    /// SEC-13: digests go, ETag stays.
    #[test]
    fn digests_of_scanned_answers_are_removed() {
        let mut headers = HeaderMap::new();
        for name in ["Content-MD5", "Digest", "Content-Digest", "Repr-Digest", "ETag", "Want-Digest"] {
            headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::from_static("x"));
        }
        remove_digests(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["etag", "want-digest"]);
    }
}
