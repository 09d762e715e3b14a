//! Which of the fields that decide something a message has.
//!
//! Most of them are absent most of the time, and to ask a map for an absent field costs as much as for one that is
//! there: its name is hashed. One walk over the names tells of all of them.

use http::header::{
    ALT_SVC, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, EXPECT, LINK, LOCATION,
    PROXY_AUTHENTICATE, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// A set of fields. That one is in it does not mean that it is still there: it was when the message was looked at.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Present(u32);

impl Present {
    pub(super) const CONNECTION: Present = Present(1);
    pub(super) const CONTENT_ENCODING: Present = Present(1 << 1);
    pub(super) const CONTENT_LENGTH: Present = Present(1 << 2);
    pub(super) const CONTENT_TYPE: Present = Present(1 << 3);
    /// A digest of the body.
    pub(super) const DIGEST: Present = Present(1 << 12);
    pub(super) const EXPECT: Present = Present(1 << 4);
    pub(super) const GRPC_STATUS: Present = Present(1 << 5);
    /// `Location`, `Content-Location` or `Link`.
    pub(super) const REFERENCE: Present = Present(1 << 6);
    pub(super) const TE: Present = Present(1 << 7);
    pub(super) const TRAILER: Present = Present(1 << 8);
    pub(super) const TRANSFER_ENCODING: Present = Present(1 << 9);
    pub(super) const VIA: Present = Present(1 << 10);
    pub(super) const WWW_AUTHENTICATE: Present = Present(1 << 11);
    pub(super) const SET_COOKIE: Present = Present(1 << 13);
    /// What an answer has for us and not for the client: it is about the connection to the upstream, or would lead the
    /// client around us.
    pub(super) const BETWEEN: Present =
        Present(Present::BETWEEN_ONLY.0 | Present::CONNECTION.0 | Present::TE.0 | Present::TRANSFER_ENCODING.0);
    const BETWEEN_ONLY: Present = Present(1 << 14);
    const OTHER: Present = Present(0);

    pub(super) fn among<'a>(names: impl Iterator<Item = &'a HeaderName>) -> Present {
        names.fold(Present::default(), Present::with)
    }

    /// The set with one more field.
    pub(super) fn with(self, name: &HeaderName) -> Present {
        self.and(Present::of(name))
    }

    /// Both sets.
    pub(super) fn and(self, more: Present) -> Present {
        Present(self.0 | more.0)
    }

    /// Whether any of these fields is in it.
    pub(super) fn has(self, field: Present) -> bool {
        self.0 & field.0 != 0
    }

    /// The set of this field alone; empty for one that decides nothing.
    pub(super) fn of(name: &HeaderName) -> Present {
        match *name {
            CONNECTION => Present::CONNECTION,
            CONTENT_ENCODING => Present::CONTENT_ENCODING,
            CONTENT_LENGTH => Present::CONTENT_LENGTH,
            CONTENT_TYPE => Present::CONTENT_TYPE,
            EXPECT => Present::EXPECT,
            LOCATION | CONTENT_LOCATION | LINK => Present::REFERENCE,
            SET_COOKIE => Present::SET_COOKIE,
            TE => Present::TE,
            TRAILER => Present::TRAILER,
            TRANSFER_ENCODING => Present::TRANSFER_ENCODING,
            VIA => Present::VIA,
            WWW_AUTHENTICATE => Present::WWW_AUTHENTICATE,
            ALT_SVC | PROXY_AUTHENTICATE | UPGRADE => Present::BETWEEN_ONLY,
            _ => match name.as_str() {
                "content-digest" | "content-md5" | "digest" | "repr-digest" => Present::DIGEST,
                "grpc-status" => Present::GRPC_STATUS,
                "keep-alive" => Present::BETWEEN_ONLY,
                name if name.starts_with("proxy-") => Present::BETWEEN_ONLY,
                _ => Present::OTHER,
            },
        }
    }
}

/// Whether any field stands there more than once.
pub(super) fn has_repeated(headers: &HeaderMap) -> bool {
    headers.len() > headers.keys_len()
}

/// The value of a field that stands there exactly once.
pub(super) fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let value = headers.get(&name)?;
    let once = !has_repeated(headers) || headers.get_all(name).iter().nth(1).is_none();
    once.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_repeated_is_not_the_only_one() {
        let mut headers = HeaderMap::new();
        for (name, value) in [(LINK, "a"), (TE, "b"), (LINK, "c")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        assert_eq!(
            (only(&headers, TE).unwrap(), only(&headers, LINK), only(&headers, VIA)),
            (&"b".parse().unwrap(), None, None)
        );
        headers.remove(LINK);
        assert!(!has_repeated(&headers) && only(&headers, TE).is_some());
    }

    #[test]
    fn each_field_is_seen_among_others_and_only_if_it_is_there() {
        let fields = [
            ("connection", Present::CONNECTION),
            ("content-encoding", Present::CONTENT_ENCODING),
            ("content-length", Present::CONTENT_LENGTH),
            ("content-type", Present::CONTENT_TYPE),
            ("repr-digest", Present::DIGEST),
            ("digest", Present::DIGEST),
            ("expect", Present::EXPECT),
            ("grpc-status", Present::GRPC_STATUS),
            ("location", Present::REFERENCE),
            ("content-location", Present::REFERENCE),
            ("link", Present::REFERENCE),
            ("set-cookie", Present::SET_COOKIE),
            ("te", Present::TE),
            ("trailer", Present::TRAILER),
            ("transfer-encoding", Present::TRANSFER_ENCODING),
            ("via", Present::VIA),
            ("www-authenticate", Present::WWW_AUTHENTICATE),
        ];
        let (host, other) = (HeaderName::from_static("host"), HeaderName::from_static("x-other"));
        for (name, field) in fields {
            let name = HeaderName::from_static(name);
            assert_eq!(Present::among([&host, &name, &other].into_iter()), field, "{name}");
            assert!(Present::among([&name].into_iter()).has(field), "{name}");
        }
        assert!(fields.iter().all(|(_, field)| !Present::among([&host, &other].into_iter()).has(*field)));
    }
}
