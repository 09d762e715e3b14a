//! What we ourselves say to an upstream, besides the credential.

use http::header::{ACCEPT_ENCODING, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::failure::Failure;
use super::present::Present;
use crate::snapshot::Via;

static IDENTITY: HeaderValue = HeaderValue::from_static("identity");
static GZIP: HeaderValue = HeaderValue::from_static("gzip");

/// Fields that most requests get, and in place of which nothing of the client's is left. They are written to the upstream
/// beside the request's map, since putting them into it costs more than writing them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own<'a> {
    via: Option<&'a HeaderValue>,
    accept_encoding: Option<&'a HeaderValue>,
}

impl<'a> Own<'a> {
    /// Adds our pseudonym to `Via`; a request that carries it already has been here before (RFC 9110 section 7.6.3).
    pub(super) fn stamp(
        headers: &mut HeaderMap,
        present: Present,
        via: &'a Via,
        version: Version,
    ) -> Result<Self, Failure> {
        let value = if version >= Version::HTTP_2 { &via.http2 } else { &via.http1 };
        if !present.has(Present::VIA) {
            return Ok(Own { via: Some(value), accept_encoding: None });
        }
        let ours = via.pseudonym.as_bytes();
        let passed = |value: &HeaderValue| value.as_bytes().windows(ours.len()).any(|part| part == ours);
        if headers.get_all(VIA).iter().any(passed) {
            return Err(Failure::Loop);
        }
        headers.append(VIA, value.clone());
        Ok(Own { via: None, accept_encoding: None })
    }

    /// Asks for an answer that can be scanned.
    pub(super) fn ask_for_identity(&mut self) {
        self.accept_encoding = Some(&IDENTITY);
    }

    /// Asks for an answer that is short on its way, and can be read here.
    pub(super) fn ask_for_gzip(&mut self) {
        self.accept_encoding = Some(&GZIP);
    }

    /// Puts them into the map after all, for what is to be seen or edited there. Nothing is left to be written beside it.
    pub(super) fn settle(&mut self, headers: &mut HeaderMap) {
        for (name, value) in self.fields().into_iter().flatten() {
            headers.insert(name, value.clone());
        }
        *self = Own { via: None, accept_encoding: None };
    }

    /// What is to be written.
    pub(super) fn fields(&self) -> [Option<(&'static HeaderName, &'a HeaderValue)>; 2] {
        [self.via.map(|value| (&VIA, value)), self.accept_encoding.map(|value| (&ACCEPT_ENCODING, value))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via() -> Via {
        Via {
            pseudonym: "attache-0123".to_owned(),
            http1: HeaderValue::from_static("1.1 attache-0123"),
            http2: HeaderValue::from_static("2 attache-0123"),
        }
    }

    fn lines(headers: &HeaderMap) -> Vec<&HeaderValue> {
        headers.get_all(VIA).iter().collect()
    }

    /// SEC-10: `Via` carries a pseudonym, and meeting it again is a loop.
    #[test]
    fn a_request_that_comes_back_is_a_loop() {
        let (via, mut headers) = (via(), HeaderMap::new());
        headers.append(VIA, HeaderValue::from_static("1.0 fred, 1.1 other"));
        let own = Own::stamp(&mut headers, Present::VIA, &via, Version::HTTP_2).unwrap();
        assert_eq!(lines(&headers), ["1.0 fred, 1.1 other", "2 attache-0123"]);
        assert_eq!(own.fields(), [None, None]);
        let again = Own::stamp(&mut headers, Present::VIA, &via, Version::HTTP_11).map_err(|failure| failure.meaning());
        assert_eq!(again.map(drop).map_err(|meaning| meaning.status.as_u16()), Err(508));
    }

    /// SEC-10, SEC-13: what is written beside the map is what would stand in it.
    #[test]
    fn our_own_fields_are_written_or_put_into_the_map() {
        let (via, mut headers) = (via(), HeaderMap::new());
        headers.append(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        headers.append(ACCEPT_ENCODING, HeaderValue::from_static("br"));
        let present = Present::among(headers.keys());
        let mut own = Own::stamp(&mut headers, present, &via, Version::HTTP_11).unwrap();
        own.ask_for_identity();
        assert_eq!(own.fields(), [Some((&VIA, &via.http1)), Some((&ACCEPT_ENCODING, &IDENTITY))]);
        own.settle(&mut headers);
        assert_eq!(lines(&headers), ["1.1 attache-0123"]);
        assert_eq!(own.fields(), [None, None]);
        assert_eq!(headers.get_all(ACCEPT_ENCODING).iter().collect::<Vec<_>>(), ["identity"]);
    }
}
