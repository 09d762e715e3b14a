//! Masking secrets in bodies as they stream (SEC-13): the scanning itself. `judge`: which bodies are scanned.

mod judge;

pub(super) use judge::{Judge, Judgement};

use bytes::Bytes;
use http::HeaderMap;
use http::header::HeaderName;

use super::access_log::RequestName;
use crate::secret::Scanner;

/// Digests of the unmasked bytes: wrong once a byte is masked, and an oracle for the secret.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// What a text in UTF-16 or UTF-32 begins with, if it says so. Readers believe it whatever `charset` says.
const WIDE_MARKS: [&[u8]; 3] = [b"\xfe\xff", b"\xff\xfe", b"\0\0\xfe\xff"];
const MARK_BYTES_MAX: usize = 4;

/// Removes the digests of an answer that is scanned. `ETag` stays: it is opaque.
pub(super) fn remove_digests(headers: &mut HeaderMap) {
    for name in &DIGESTS {
        headers.remove(name);
    }
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
    use http::HeaderValue;

    use super::*;

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
