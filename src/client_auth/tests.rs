use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::presented::X_API_KEY;
use super::*;

const KEY: &str = "attache_k3y-of-billing";
const OLD_KEY: &str = "attache_0ld-k3y-of-billing";
const OTHER_KEY: &str = "attache_k3y-of-shop";

fn clients() -> ClientAuth {
    let client = |name: &str, keys: &[&str]| {
        Arc::new(config::Client {
            name: name.into(),
            authentication: ClientAuthentication::Key {
                sha256: keys.iter().map(|key| digest_of(key.as_bytes())).collect(),
            },
        })
    };
    ClientAuth::new(&[client("billing", &[KEY, OLD_KEY]), client("shop", &[OTHER_KEY])])
}

fn recognise(headers: &[(HeaderName, &str)]) -> Result<String, Unrecognised> {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect();
    clients().recognise(&headers).map(|(client, _)| client.name.to_string())
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

#[test]
fn a_key_is_recognised_in_each_of_its_three_places() {
    for (name, value) in [
        (AUTHORIZATION, format!("Bearer {KEY}")),
        (AUTHORIZATION, format!("bEARER {KEY}")),
        (AUTHORIZATION, format!("Bearer {OLD_KEY}")),
        (X_API_KEY, KEY.to_owned()),
        (AUTHORIZATION, basic(&format!("anybody:{KEY}"))),
        (AUTHORIZATION, basic(&format!(":{KEY}"))),
        (AUTHORIZATION, format!("basic {}", STANDARD_NO_PAD.encode(format!("x:{KEY}")))),
    ] {
        assert_eq!(recognise(&[(name.clone(), &value)]), Ok("billing".to_owned()), "{name}: {value}");
    }
    assert_eq!(recognise(&[(X_API_KEY, OTHER_KEY)]), Ok("shop".to_owned()));
}

#[test]
fn no_key_and_a_wrong_key_are_told_apart() {
    assert_eq!(recognise(&[]), Err(Unrecognised::Missing));
    assert_eq!(recognise(&[(AUTHORIZATION, "Digest username=\"x\"")]), Err(Unrecognised::Missing));
    for value in
        [format!("Bearer {KEY}x"), format!("Bearer {}", &KEY[1..]), basic("x:wrong"), basic(&format!("{KEY}:x"))]
    {
        assert_eq!(recognise(&[(AUTHORIZATION, &value)]), Err(Unrecognised::Unknown), "{value}");
    }
    assert_eq!(recognise(&[(X_API_KEY, &KEY.to_uppercase())]), Err(Unrecognised::Unknown));
}

#[test]
fn the_same_key_twice_is_one_key_and_two_keys_are_none() {
    let bearer = format!("Bearer {KEY}");
    assert_eq!(recognise(&[(AUTHORIZATION, &bearer), (X_API_KEY, KEY)]), Ok("billing".to_owned()));
    assert_eq!(recognise(&[(AUTHORIZATION, &bearer), (X_API_KEY, OLD_KEY)]), Err(Unrecognised::Ambiguous));
    assert_eq!(
        recognise(&[(AUTHORIZATION, &basic(&format!("x:{KEY}"))), (X_API_KEY, OTHER_KEY)]),
        Err(Unrecognised::Ambiguous)
    );
}

/// The attack J09: two lines of a field that holds one credential, and `Bearer` with two spaces.
#[test]
fn repeated_lines_and_odd_spellings_are_refused() {
    let bearer = format!("Bearer {KEY}");
    assert_eq!(recognise(&[(AUTHORIZATION, &bearer), (AUTHORIZATION, &bearer)]), Err(Unrecognised::Ambiguous));
    assert_eq!(recognise(&[(AUTHORIZATION, &bearer), (AUTHORIZATION, "Digest x")]), Err(Unrecognised::Ambiguous));
    assert_eq!(recognise(&[(X_API_KEY, KEY), (X_API_KEY, KEY)]), Err(Unrecognised::Ambiguous));
    for value in [
        format!("Bearer  {KEY}"),
        format!("Bearer \t{KEY}"),
        format!("Bearer {KEY} "),
        format!("Bearer {KEY}, Bearer {KEY}"),
        format!("Bearer {KEY} x"),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        "Basic".to_owned(),
        "Basic !!!".to_owned(),
        format!("Basic  {}", STANDARD.encode(format!("x:{KEY}"))),
        format!("Basic {}", STANDARD.encode("no colon")),
        format!("Basic {}", STANDARD.encode("empty password:")),
        format!("Basic {}", STANDARD.encode(format!("x:{KEY}\n"))),
        format!("Basic {}", STANDARD.encode("a".repeat(4000) + ":x")),
    ] {
        assert_eq!(recognise(&[(AUTHORIZATION, &value)]), Err(Unrecognised::Malformed), "{value:?}");
    }
    for value in ["", "two keys", "\u{e9}"] {
        assert_eq!(recognise(&[(X_API_KEY, value)]), Err(Unrecognised::Malformed), "{value:?}");
    }
}

#[test]
fn a_scheme_that_is_not_ours_does_not_hide_a_key() {
    assert_eq!(recognise(&[(AUTHORIZATION, "AWS4-HMAC-SHA256 x"), (X_API_KEY, KEY)]), Ok("billing".to_owned()));
}
