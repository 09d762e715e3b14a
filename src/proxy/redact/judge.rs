//! Which answers' bodies are scanned, and which cannot be, so that they do not pass (SEC-13).

use std::cell::RefCell;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use memchr::memchr;

use crate::proxy::present::{Present, only};

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

/// What is to be done with an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Judgement {
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
pub(in crate::proxy) struct Judge {
    last: RefCell<Option<(Box<[u8]>, Kind)>>,
}

impl Judge {
    /// Judges an answer by its head as received.
    pub(in crate::proxy) fn judge(&self, status: StatusCode, headers: &HeaderMap, present: Present) -> Judgement {
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

#[cfg(test)]
mod tests {
    use http::HeaderName;

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
}
