//! Cookies pass as the route says, but for those that the credential sets (SEC-10).

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode;

use crate::credential::Rest;

/// Puts what a credential sets beside its first header and the query into the map, in place of what has its names. Doing it
/// again changes nothing.
pub(super) fn put(rest: &Rest, headers: &mut HeaderMap) {
    for (name, value) in &rest.headers {
        headers.insert(name.clone(), value.clone());
    }
    if let Some(cookies) = &rest.cookies {
        let field = before_the_others(headers, &cookies.names, &cookies.pairs);
        headers.insert(COOKIE, field);
    }
}

/// The field with these cookies before those in the map, of which none has one of their names. First, since most servers
/// take the first of two that they read as one name, and nothing that a client leaves open, such as a quote, stands before.
pub(super) fn before_the_others(headers: &HeaderMap, names: &[String], pairs: &HeaderValue) -> HeaderValue {
    let mut field = pairs.as_bytes().to_vec();
    for others in headers.get_all(COOKIE) {
        let others = without(others.as_bytes(), names);
        if !others.is_empty() {
            field.extend_from_slice(b"; ");
            field.extend(others);
        }
    }
    let mut field = HeaderValue::try_from(field).expect("legal values, joined, are a legal value");
    field.set_sensitive(true);
    field
}

/// The cookies without those that any reader could take for one of `names`: some servers decode names, and some separate
/// cookies at `,` too, as RFC 2109 section 4.4 has it. The others stay byte for byte.
fn without(cookies: &[u8], names: &[String]) -> Vec<u8> {
    let is_one = |piece: &&[u8]| names.iter().any(|name| is_named(piece, name));
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for cookie in cookies.split(|byte| *byte == b';') {
        let pieces: Vec<&[u8]> = cookie.split(|byte| *byte == b',').filter(|piece| !is_one(piece)).collect();
        let left = pieces.join(&b","[..]).trim_ascii().to_vec();
        if !left.is_empty() {
            kept.push(left);
        }
    }
    kept.join(&b"; "[..])
}

fn is_named(cookie: &[u8], name: &str) -> bool {
    let raw = cookie.split(|byte| *byte == b'=').next().unwrap_or_default();
    percent_decode(raw.trim_ascii()).eq(percent_decode(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::credential::Cookies;

    fn left(cookies: &str, name: &str) -> String {
        String::from_utf8(without(cookies.as_bytes(), &[name.to_owned()])).unwrap()
    }

    /// SEC-10: the client's own cookie of the credential's name goes in every spelling; the others stay as they are.
    #[test]
    fn the_credentials_cookie_goes_in_every_spelling() {
        for (cookies, kept) in [
            ("a=1; sid=evil; b=2", "a=1; b=2"),
            ("sid=evil", ""),
            ("sid", ""),
            ("sid =evil;\tsid\t= evil ;a", "a"),
            ("s%69d=evil; %73%69%64=evil; z", "z"),
            ("a=1,sid=evil; b=2", "a=1; b=2"),
            ("sid=x=y; sid=\"quoted\"; a=\"b c\"", "a=\"b c\""),
            ("a=\"x; sid=evil\"", "a=\"x"),
            ("SID=1; sids=2; a=sid; xsid=3", "SID=1; sids=2; a=sid; xsid=3"),
            ("a=%7E~%zz,b=+; c==", "a=%7E~%zz,b=+; c=="),
            ("; ;", ""),
            ("", ""),
        ] {
            assert_eq!(left(cookies, "sid"), kept, "{cookies}");
        }
        assert_eq!(left("a%20b=evil; A%20B=1; c", "a%20b"), "A%20B=1; c");
    }

    #[test]
    fn what_is_put_comes_first_and_only_once() {
        let value = HeaderValue::from_static;
        let rest = Rest {
            headers: vec![(HeaderName::from_static("x-second"), value("two"))],
            cookies: Some(Cookies { names: vec!["sid".into(), "t".into()], pairs: value("sid=s3cret; t=two") }),
        };
        let mut headers = HeaderMap::new();
        put(&rest, &mut headers);
        assert_eq!(headers[COOKIE], "sid=s3cret; t=two");
        headers.insert(COOKIE, value("t=evil; a=\"open; sid=evil"));
        headers.append(COOKIE, value("b=2"));
        headers.append("x-second", value("evil"));
        for _ in 0..2 {
            put(&rest, &mut headers);
            let cookies: Vec<_> = headers.get_all(COOKIE).iter().collect();
            assert_eq!(cookies, ["sid=s3cret; t=two; a=\"open; b=2"]);
            assert!(cookies[0].is_sensitive());
            assert_eq!(headers.get_all("x-second").iter().collect::<Vec<_>>(), ["two"]);
        }
    }
}
