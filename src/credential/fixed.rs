//! Credentials that do not change: bearer, API key, Basic.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;

use crate::config::{ApiKey, ApiKeyPlace};
use crate::secret::Secret;
use crate::token::Attached;

/// `Authorization: Bearer TOKEN`.
pub(super) fn bearer(token: &Secret) -> Attached {
    let value = Secret::new(format!("Bearer {}", token.expose()));
    attached(&[(ApiKeyPlace::Header(AUTHORIZATION), value)], &[token])
}

/// The values as they are, each where it is configured to go.
pub(super) fn api_keys(keys: &[ApiKey]) -> Attached {
    let sent = |key: &ApiKey| Secret::new([key.scheme.as_str(), key.value.expose()].concat());
    let parts: Vec<_> = keys.iter().map(|key| (key.place.clone(), sent(key))).collect();
    // An upstream may echo what is within a value by itself, too.
    let within: Vec<_> = keys.iter().filter_map(|key| key.place.within(key.value.expose())).map(Secret::new).collect();
    let masked: Vec<_> = keys.iter().map(|key| &key.value).chain(&within).collect();
    attached(&parts, &masked)
}

/// `Authorization: Basic …` (RFC 7617). An upstream may echo the password or the whole pair: both are masked.
pub(super) fn basic(username: &str, password: &Secret) -> Attached {
    let pair = Secret::new(format!("{username}:{}", password.expose()));
    let encoded = Secret::new(STANDARD.encode(pair.expose()));
    let value = Secret::new(format!("Basic {}", encoded.expose()));
    attached(&[(ApiKeyPlace::Header(AUTHORIZATION), value)], &[password, &encoded])
}

/// The same with a key in place of the user name, and no password.
pub(super) fn basic_key(key: &Secret) -> Attached {
    let encoded = Secret::new(STANDARD.encode(Secret::new(format!("{}:", key.expose())).expose()));
    let value = Secret::new(format!("Basic {}", encoded.expose()));
    attached(&[(ApiKeyPlace::Header(AUTHORIZATION), value)], &[key, &encoded])
}

fn attached(parts: &[(ApiKeyPlace, Secret)], masked: &[&Secret]) -> Attached {
    Attached::new(parts, masked.iter().copied()).expect("the configuration refuses what cannot stand in its place")
}

#[cfg(test)]
mod tests {
    use http::header::LOCATION;
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::config::ApiKeyPlace;
    use crate::token::Rest;

    fn header_of(fixed: &Attached) -> (&str, &[u8]) {
        let (name, value) = fixed.first_header().expect("it sets a header");
        assert!(value.is_sensitive(), "hyper's HPACK and every Debug have to know");
        assert_eq!(fixed.names().headers, std::slice::from_ref(name));
        assert!(fixed.names().query.is_empty() && fixed.query().is_none() && fixed.rest().is_none());
        (name.as_str(), value.as_bytes())
    }

    fn api_keys<const N: usize>(keys: [(ApiKeyPlace, &str); N]) -> Attached {
        super::api_keys(&keys.map(|(place, value)| ApiKey { place, scheme: String::new(), value: Secret::new(value) }))
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

    /// SEC-13: a key is sent behind its scheme, and masked where an upstream repeats it with that or without.
    #[test]
    fn a_scheme_stands_before_the_key() {
        let key = |scheme: &str| ApiKey {
            place: ApiKeyPlace::Header(AUTHORIZATION),
            scheme: scheme.to_owned(),
            value: Secret::new("y_NbAkKc66ryYTWUXYEu"),
        };
        for (scheme, sent) in [
            ("Token token=", "Token token=y_NbAkKc66ryYTWUXYEu"),
            ("Klaviyo-API-Key ", "Klaviyo-API-Key y_NbAkKc66ryYTWUXYEu"),
        ] {
            let fixed = super::api_keys(&[key(scheme)]);
            assert_eq!(header_of(&fixed), ("authorization", sent.as_bytes()));
            for echoed in [sent, "y_NbAkKc66ryYTWUXYEu"] {
                assert!(is_masked(&fixed, echoed), "{echoed}");
            }
        }
    }

    fn is_masked(fixed: &Attached, echoed: &str) -> bool {
        let mut headers = http::HeaderMap::new();
        headers.insert("x-echo", HeaderValue::from_str(echoed).unwrap());
        fixed.masks().mask_headers(&mut headers) == 1
    }

    #[test]
    fn bearer_and_basic_are_sent_as_their_standards_say() {
        let bearer = bearer(&Secret::new("tok~1"));
        assert_eq!(header_of(&bearer), ("authorization", b"Bearer tok~1".as_slice()));
        // The example of RFC 7617 section 2.
        let pair = basic("Aladdin", &Secret::new("open sesame"));
        assert_eq!(header_of(&pair), ("authorization", b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".as_slice()));
        let unicode = basic("test", &Secret::new("123£"));
        assert_eq!(header_of(&unicode), ("authorization", b"Basic dGVzdDoxMjPCow==".as_slice()));
        // As `curl -u sk_test_4eC39HqLyjWDarjtT1zdp7dc:` sends it.
        let key = basic_key(&Secret::new("sk_test_4eC39HqLyjWDarjtT1zdp7dc"));
        let value = b"Basic c2tfdGVzdF80ZUMzOUhxTHlqV0Rhcmp0VDF6ZHA3ZGM6".as_slice();
        assert_eq!(header_of(&key), ("authorization", value));
    }

    #[test]
    fn an_api_key_goes_where_it_is_configured_to() {
        let header = api_keys([(in_header("x-shop-key"), "k 1/é")]);
        assert_eq!(header_of(&header), ("x-shop-key", "k 1/é".as_bytes()));

        let query = api_keys([(in_query("api key"), "a+b/c=d&e f-._~é#")]);
        assert_eq!(query.names().query, ["api key"]);
        assert_eq!(query.query(), Some("api%20key=a%2Bb%2Fc%3Dd%26e%20f-._~%C3%A9%23"));
        assert!(query.names().headers.is_empty() && query.first_header().is_none() && query.rest().is_none());

        let cookie = api_keys([(in_cookie("sid"), "a=b")]);
        let cookies = cookie.rest().unwrap().cookies.as_ref().unwrap();
        assert_eq!(
            (cookies.names.as_slice(), cookies.pairs.as_bytes()),
            (["sid".to_owned()].as_slice(), &b"sid=a=b"[..])
        );
        assert!(cookies.pairs.is_sensitive() && cookie.names().headers.is_empty() && cookie.query().is_none());
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
        assert_eq!(fixed.names().headers, ["dd-api-key", "dd-application-key"]);
        let (name, value) = fixed.first_header().unwrap();
        assert_eq!((name.as_str(), value.as_bytes()), ("dd-api-key", &b"header-1"[..]));
        let Rest { headers, cookies } = fixed.rest().unwrap();
        let [(name, value)] = &headers[..] else { panic!("{headers:?}") };
        assert_eq!((name.as_str(), value.as_bytes()), ("dd-application-key", &b"header-2"[..]));
        assert!(value.is_sensitive());
        assert_eq!(cookies.as_ref().unwrap().names, ["b", "a"]);
        assert_eq!(cookies.as_ref().unwrap().pairs, "b=cookie-2; a=cookie-1");
        assert_eq!(
            (&fixed.names().query, fixed.query()),
            (&["key", "token"].map(str::to_owned).to_vec(), Some("key=query-1&token=query-2"))
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
        let basic = basic("user", &Secret::new(password));
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
