//! Credentials that do not change: bearer, API key, Basic.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::{ApiKey, ApiKeyPlace};
use crate::secret::{Masks, Secret};

/// RFC 3986 section 2.3: what no server reads as anything else.
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A credential that is the same for every request: made once, then only handed out.
#[derive(Debug)]
pub struct Fixed {
    /// Of all headers that it sets.
    header_names: Vec<HeaderName>,
    /// The first of its headers: nearly every credential has just that one.
    header: Option<(HeaderName, HeaderValue)>,
    /// Decoded.
    query_names: Vec<String>,
    /// `name=value`, encoded, with `&` between several.
    query: Option<Secret>,
    rest: Option<Box<Rest>>,
    masks: Arc<Masks>,
}

/// What few credentials set: cookies, and headers beside the first one.
#[derive(Debug)]
pub struct Rest {
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub cookies: Option<Cookies>,
}

/// The cookies that a credential sets.
#[derive(Debug)]
pub struct Cookies {
    pub names: Vec<String>,
    /// `name=value`, with `; ` between several.
    pub pairs: HeaderValue,
}

impl Fixed {
    /// `Authorization: Bearer TOKEN`.
    pub(super) fn bearer(token: &Secret) -> Self {
        let value = Secret::new(format!("Bearer {}", token.expose()));
        Fixed::header(AUTHORIZATION, &value, &[token])
    }

    /// The values as they are, each where it is configured to go.
    ///
    /// # Panics
    /// If a value cannot stand in its place. The configuration refuses such a secret, with its place.
    pub(super) fn api_keys(keys: &[ApiKey]) -> Self {
        let (mut headers, mut query_names, mut parameters) = (Vec::new(), Vec::new(), Vec::new());
        let (mut cookie_names, mut cookies) = (Vec::new(), Vec::new());
        for ApiKey { place, value } in keys {
            match place {
                ApiKeyPlace::Header(name) => headers.push((name.clone(), sensitive(value.expose()))),
                ApiKeyPlace::Query(name) => {
                    let encoded = |text| utf8_percent_encode(text, NOT_UNRESERVED);
                    parameters.push(Secret::new(format!("{}={}", encoded(name), encoded(value.expose()))));
                    query_names.push(name.clone());
                }
                ApiKeyPlace::Cookie(name) => {
                    cookies.push(Secret::new(format!("{name}={}", value.expose())));
                    cookie_names.push(name.clone());
                }
            }
        }
        let header_names = headers.iter().map(|(name, _)| name.clone()).collect();
        let mut headers = headers.into_iter();
        let header = headers.next();
        let cookies =
            joined(&cookies, "; ").map(|pairs| Cookies { names: cookie_names, pairs: sensitive(pairs.expose()) });
        let rest = Rest { headers: headers.collect(), cookies };
        let is_empty = rest.headers.is_empty() && rest.cookies.is_none();
        // An upstream may echo what is within a value by itself, too.
        let within: Vec<_> =
            keys.iter().filter_map(|key| key.place.within(key.value.expose())).map(Secret::new).collect();
        Fixed {
            header_names,
            header,
            query_names,
            query: joined(&parameters, "&"),
            rest: (!is_empty).then(|| Box::new(rest)),
            masks: Arc::new(Masks::new(keys.iter().map(|key| &key.value).chain(&within))),
        }
    }

    /// `Authorization: Basic …` (RFC 7617). An upstream may echo the password or the whole pair: both are masked.
    pub(super) fn basic(username: &str, password: &Secret) -> Self {
        let pair = Secret::new(format!("{username}:{}", password.expose()));
        let encoded = Secret::new(STANDARD.encode(pair.expose()));
        let value = Secret::new(format!("Basic {}", encoded.expose()));
        Fixed::header(AUTHORIZATION, &value, &[password, &encoded])
    }

    /// The same with a key in place of the user name, and no password.
    pub(super) fn basic_key(key: &Secret) -> Self {
        let encoded = Secret::new(STANDARD.encode(Secret::new(format!("{}:", key.expose())).expose()));
        let value = Secret::new(format!("Basic {}", encoded.expose()));
        Fixed::header(AUTHORIZATION, &value, &[key, &encoded])
    }

    /// # Panics
    /// If the value is no legal header value. The configuration refuses such a secret, with its place.
    fn header(name: HeaderName, value: &Secret, secrets: &[&Secret]) -> Self {
        Fixed {
            header_names: vec![name.clone()],
            header: Some((name, sensitive(value.expose()))),
            query_names: Vec::new(),
            query: None,
            rest: None,
            masks: Arc::new(Masks::new(secrets.iter().copied())),
        }
    }

    pub(super) fn header_names(&self) -> &[HeaderName] {
        &self.header_names
    }

    /// The first header that it sets.
    pub(super) fn first_header(&self) -> Option<(&HeaderName, &HeaderValue)> {
        self.header.as_ref().map(|(name, value)| (name, value))
    }

    /// What it sets beside its first header and the query.
    pub(super) fn rest(&self) -> Option<&Rest> {
        self.rest.as_deref()
    }

    pub(super) fn query_names(&self) -> &[String] {
        &self.query_names
    }

    pub(super) fn query(&self) -> Option<&str> {
        self.query.as_ref().map(Secret::expose)
    }

    pub(super) fn masks(&self) -> &Arc<Masks> {
        &self.masks
    }
}

/// A header's value that hyper's HPACK keeps out of its tables, and that no Debug shows.
fn sensitive(value: &str) -> HeaderValue {
    let mut value = HeaderValue::from_bytes(value.as_bytes())
        .expect("the configuration refuses a secret that is no legal header value");
    value.set_sensitive(true);
    value
}

fn joined(secrets: &[Secret], separator: &str) -> Option<Secret> {
    let texts: Vec<&str> = secrets.iter().map(Secret::expose).collect();
    (!texts.is_empty()).then(|| Secret::new(texts.join(separator)))
}

#[cfg(test)]
mod tests {
    use http::header::LOCATION;

    use super::*;

    fn header_of(fixed: &Fixed) -> (&str, &[u8]) {
        let (name, value) = fixed.first_header().expect("it sets a header");
        assert!(value.is_sensitive(), "hyper's HPACK and every Debug have to know");
        assert_eq!(fixed.header_names(), std::slice::from_ref(name));
        assert!(fixed.query_names().is_empty() && fixed.query().is_none() && fixed.rest().is_none());
        (name.as_str(), value.as_bytes())
    }

    fn api_keys<const N: usize>(keys: [(ApiKeyPlace, &str); N]) -> Fixed {
        Fixed::api_keys(&keys.map(|(place, value)| ApiKey { place, value: Secret::new(value) }))
    }

    fn in_header(name: &'static str) -> ApiKeyPlace {
        ApiKeyPlace::Header(HeaderName::from_static(name))
    }

    fn in_query(name: &str) -> ApiKeyPlace {
        ApiKeyPlace::Query(name.into())
    }

    fn in_cookie(name: &str) -> ApiKeyPlace {
        ApiKeyPlace::Cookie(name.into())
    }

    fn is_masked(fixed: &Fixed, echoed: &str) -> bool {
        let mut headers = http::HeaderMap::new();
        headers.insert("x-echo", HeaderValue::from_str(echoed).unwrap());
        fixed.masks().mask_headers(&mut headers) == 1
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
        // As `curl -u sk_test_4eC39HqLyjWDarjtT1zdp7dc:` sends it.
        let key = Fixed::basic_key(&Secret::new("sk_test_4eC39HqLyjWDarjtT1zdp7dc"));
        let value = b"Basic c2tfdGVzdF80ZUMzOUhxTHlqV0Rhcmp0VDF6ZHA3ZGM6".as_slice();
        assert_eq!(header_of(&key), ("authorization", value));
    }

    #[test]
    fn an_api_key_goes_where_it_is_configured_to() {
        let header = api_keys([(in_header("x-shop-key"), "k 1/é")]);
        assert_eq!(header_of(&header), ("x-shop-key", "k 1/é".as_bytes()));

        let query = api_keys([(in_query("api key"), "a+b/c=d&e f-._~é#")]);
        assert_eq!(query.query_names(), ["api key"]);
        assert_eq!(query.query(), Some("api%20key=a%2Bb%2Fc%3Dd%26e%20f-._~%C3%A9%23"));
        assert!(query.header_names().is_empty() && query.first_header().is_none() && query.rest().is_none());

        let cookie = api_keys([(in_cookie("sid"), "a=b")]);
        let cookies = cookie.rest().unwrap().cookies.as_ref().unwrap();
        assert_eq!(
            (cookies.names.as_slice(), cookies.pairs.as_bytes()),
            (["sid".to_owned()].as_slice(), &b"sid=a=b"[..])
        );
        assert!(cookies.pairs.is_sensitive() && cookie.header_names().is_empty() && cookie.query().is_none());
    }

    #[test]
    fn several_keys_go_each_to_its_place() {
        let fixed = api_keys([
            (in_cookie("b"), "cookie-2"),
            (in_header("dd-api-key"), "header-1"),
            (in_query("key"), "query-1"),
            (in_header("dd-application-key"), "header-2"),
            (in_query("token"), "query-2"),
            (in_cookie("a"), "cookie-1"),
        ]);
        assert_eq!(fixed.header_names(), ["dd-api-key", "dd-application-key"]);
        let (name, value) = fixed.first_header().unwrap();
        assert_eq!((name.as_str(), value.as_bytes()), ("dd-api-key", &b"header-1"[..]));
        let Rest { headers, cookies } = fixed.rest().unwrap();
        let [(name, value)] = &headers[..] else { panic!("{headers:?}") };
        assert_eq!((name.as_str(), value.as_bytes()), ("dd-application-key", &b"header-2"[..]));
        assert!(value.is_sensitive());
        assert_eq!(cookies.as_ref().unwrap().names, ["b", "a"]);
        assert_eq!(cookies.as_ref().unwrap().pairs, "b=cookie-2; a=cookie-1");
        assert_eq!(
            (fixed.query_names(), fixed.query()),
            (["key", "token"].map(str::to_owned).as_slice(), Some("key=query-1&token=query-2"))
        );
        for value in ["cookie-1", "cookie-2", "header-1", "header-2", "query-1", "query-2"] {
            assert!(is_masked(&fixed, value), "{value}");
            assert!(!format!("{fixed:?}").contains(value), "{fixed:?}");
        }
    }

    #[test]
    fn what_is_attached_can_be_recognised_and_is_not_printed() {
        let password = "a-password-of-20-byt";
        let pair = STANDARD.encode(format!("user:{password}"));
        let basic = Fixed::basic("user", &Secret::new(password));
        for echoed in [password, pair.as_str()] {
            assert!(is_masked(&basic, echoed), "{echoed}");
        }
        let query = api_keys([(in_query("key"), password)]);
        let printed = format!("{basic:?} {query:?}");
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
            (HeaderName::from_static("x-shop-key"), format!("{whole} v2"), "/api/v2/items", false),
        ];
        for (name, value, echoed, masked) in cases {
            let key = api_keys([(ApiKeyPlace::Header(name), &value)]);
            let mut headers = http::HeaderMap::new();
            headers.insert(LOCATION, HeaderValue::from_static(echoed));
            assert_eq!(key.masks().mask_headers(&mut headers), usize::from(masked), "{echoed} of {value}");
            headers.insert(LOCATION, HeaderValue::from_str(&value).unwrap());
            assert_eq!(key.masks().mask_headers(&mut headers), 1, "{value}");
            assert_eq!(headers[LOCATION], "*".repeat(value.len()));
        }
    }

    /// RFC 6265 section 4.1.1: a cookie's value may be quoted, and some servers read it without the quotes.
    #[test]
    fn a_quoted_cookie_is_masked_without_its_quotes() {
        let key = api_keys([(in_cookie("sid"), "\"0123456789abcdef\"")]);
        assert!(is_masked(&key, "0123456789abcdef"));
        assert!(!is_masked(&key, "0123456789abcde"));
    }
}
