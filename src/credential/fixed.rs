//! Credentials that do not change: bearer, API key, Basic.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::ApiKeyPlace;
use crate::secret::{Masks, Secret};

/// RFC 3986 section 2.3: what no server reads as anything else.
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A credential that is the same for every request: made once, then only handed out.
#[derive(Debug)]
pub struct Fixed {
    place: Place,
    masks: Arc<Masks>,
}

enum Place {
    Header {
        /// One; an array, so that it is a list of names as it stands.
        name: [HeaderName; 1],
        value: HeaderValue,
    },
    Query {
        /// Decoded.
        name: String,
        /// `name=value`, encoded.
        pair: Secret,
    },
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Header { name: [name], .. } => write!(f, "header {name}"),
            Place::Query { name, .. } => write!(f, "query {name}"),
        }
    }
}

impl Fixed {
    /// `Authorization: Bearer TOKEN`.
    pub(super) fn bearer(token: &Secret) -> Self {
        let value = Secret::new(format!("Bearer {}", token.expose()));
        Fixed::header(AUTHORIZATION, &value, &[token])
    }

    /// The value as it is, in a header or in the query.
    pub(super) fn api_key(place: &ApiKeyPlace, value: &Secret) -> Self {
        match place {
            ApiKeyPlace::Header(name) => {
                let key = place.without_scheme(value.expose()).map(Secret::new);
                let secrets: Vec<_> = [Some(value), key.as_ref()].into_iter().flatten().collect();
                Fixed::header(name.clone(), value, &secrets)
            }
            ApiKeyPlace::Query(name) => {
                let encoded = |text| utf8_percent_encode(text, NOT_UNRESERVED);
                let pair = Secret::new(format!("{}={}", encoded(name), encoded(value.expose())));
                let place = Place::Query { name: name.clone(), pair };
                Fixed { place, masks: Arc::new(Masks::new([value])) }
            }
        }
    }

    /// `Authorization: Basic …` (RFC 7617). An upstream may echo the password or the whole pair: both are masked.
    pub(super) fn basic(username: &str, password: &Secret) -> Self {
        let pair = Secret::new(format!("{username}:{}", password.expose()));
        let encoded = Secret::new(STANDARD.encode(pair.expose()));
        let value = Secret::new(format!("Basic {}", encoded.expose()));
        Fixed::header(AUTHORIZATION, &value, &[password, &encoded])
    }

    /// # Panics
    /// If the value is no legal header value. The configuration refuses such a secret, with its place.
    fn header(name: HeaderName, value: &Secret, secrets: &[&Secret]) -> Self {
        let mut value = HeaderValue::from_bytes(value.expose().as_bytes())
            .expect("the configuration refuses a secret that is no legal header value");
        value.set_sensitive(true);
        let masks = Arc::new(Masks::new(secrets.iter().copied()));
        Fixed { place: Place::Header { name: [name], value }, masks }
    }

    pub(super) fn header_names(&self) -> &[HeaderName] {
        match &self.place {
            Place::Header { name, .. } => name,
            Place::Query { .. } => &[],
        }
    }

    pub(super) fn header_value(&self) -> Option<(&HeaderName, &HeaderValue)> {
        match &self.place {
            Place::Header { name: [name], value } => Some((name, value)),
            Place::Query { .. } => None,
        }
    }

    pub(super) fn query_name(&self) -> Option<&str> {
        match &self.place {
            Place::Header { .. } => None,
            Place::Query { name, .. } => Some(name),
        }
    }

    pub(super) fn query_pair(&self) -> Option<&str> {
        match &self.place {
            Place::Header { .. } => None,
            Place::Query { pair, .. } => Some(pair.expose()),
        }
    }

    pub(super) fn masks(&self) -> &Arc<Masks> {
        &self.masks
    }
}

#[cfg(test)]
mod tests {
    use http::header::{COOKIE, LOCATION};

    use super::*;

    fn header_of(fixed: &Fixed) -> (&str, &[u8]) {
        let (name, value) = fixed.header_value().expect("it sets a header");
        assert!(value.is_sensitive(), "hyper's HPACK and every Debug have to know");
        assert_eq!(fixed.header_names(), std::slice::from_ref(name));
        assert_eq!((fixed.query_name(), fixed.query_pair()), (None, None));
        (name.as_str(), value.as_bytes())
    }

    #[test]
    fn bearer_and_basic_are_sent_as_their_standards_say() {
        let bearer = Fixed::bearer(&Secret::new("tok~1"));
        assert_eq!(header_of(&bearer), ("authorization", b"Bearer tok~1".as_slice()));
        // The example of RFC 7617 section 2.
        let basic = Fixed::basic("Aladdin", &Secret::new("open sesame"));
        assert_eq!(header_of(&basic), ("authorization", b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".as_slice()));
        let unicode = Fixed::basic("test", &Secret::new("123£"));
        assert_eq!(header_of(&unicode), ("authorization", b"Basic dGVzdDoxMjPCow==".as_slice()));
    }

    #[test]
    fn an_api_key_goes_where_it_is_configured_to() {
        let header = ApiKeyPlace::Header(HeaderName::from_static("x-shop-key"));
        assert_eq!(header_of(&Fixed::api_key(&header, &Secret::new("k 1/é"))), ("x-shop-key", "k 1/é".as_bytes()));

        let query = Fixed::api_key(&ApiKeyPlace::Query("api key".into()), &Secret::new("a+b/c=d&e f-._~é#"));
        assert_eq!(query.query_name(), Some("api key"));
        assert_eq!(query.query_pair(), Some("api%20key=a%2Bb%2Fc%3Dd%26e%20f-._~%C3%A9%23"));
        assert_eq!((query.header_names(), query.header_value()), ([].as_slice(), None));
    }

    #[test]
    fn what_is_attached_can_be_recognised_and_is_not_printed() {
        let password = "a-password-of-20-byt";
        let pair = STANDARD.encode(format!("user:{password}"));
        let basic = Fixed::basic("user", &Secret::new(password));
        for echoed in [password, pair.as_str()] {
            let mut headers = http::HeaderMap::new();
            headers.insert("x-echo", HeaderValue::from_str(echoed).unwrap());
            assert_eq!(basic.masks().mask_headers(&mut headers), 1, "{echoed}");
        }
        let query = Fixed::api_key(&ApiKeyPlace::Query("key".into()), &Secret::new(password));
        let printed = format!("{:?} {:?}", basic.place, query.place);
        assert!(!printed.contains(password) && !printed.contains(&pair), "{printed}");
    }

    /// An upstream may echo a key without its scheme; what follows a blank elsewhere is no secret of its own.
    #[test]
    fn only_a_scheme_is_cut_off() {
        let whole = "0123456789abcdef0123";
        let cases = [
            (AUTHORIZATION, format!("Token {whole}"), whole, true),
            (AUTHORIZATION, "Token  abcdefghij".to_owned(), "abcdefghij", true),
            (AUTHORIZATION, format!("Digest username={whole}, qop=auth"), "qop=auth", false),
            (COOKIE, format!("sid={whole}; a=1"), "a=1", false),
            (HeaderName::from_static("x-shop-key"), format!("{whole} v2"), "/api/v2/items", false),
        ];
        for (name, value, echoed, masked) in cases {
            let key = Fixed::api_key(&ApiKeyPlace::Header(name), &Secret::new(&value));
            let mut headers = http::HeaderMap::new();
            headers.insert(LOCATION, HeaderValue::from_static(echoed));
            assert_eq!(key.masks().mask_headers(&mut headers), usize::from(masked), "{echoed} of {value}");
            headers.insert(LOCATION, HeaderValue::from_str(&value).unwrap());
            assert_eq!(key.masks().mask_headers(&mut headers), 1, "{value}");
            assert_eq!(headers[LOCATION], "*".repeat(value.len()));
        }
    }
}
