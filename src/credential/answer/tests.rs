use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;
use serde_json::Value;
use zeroize::Zeroizing;

use super::*;
use crate::config::{Grant, TokenEndpointAuthMethod};
use crate::credential::failure::hint;

const SECRET: &str = "s3cret+/=:x";
/// Tue, 14 Nov 2023 22:13:20 GMT.
const WALL_S: u64 = 1_700_000_000;

pub(super) fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Reply {
    Reply {
        status: StatusCode::from_u16(status).unwrap(),
        headers: headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect(),
        body: Ok(Zeroizing::new(body.into())),
    }
}

fn read_with(reply: &Reply, shape: &AnswerShape) -> Result<Granted, Failure> {
    read(
        reply,
        &Asked {
            host: "login.example.com",
            hint: &|status, code| {
                hint(status, code, TokenEndpointAuthMethod::ClientSecretBasic, &Grant::ClientCredentials)
            },
            secrets: vec![&Secret::new(SECRET)],
            shape,
            bound: false,
            wall: UNIX_EPOCH + Duration::from_secs(WALL_S),
        },
    )
}

fn read_plain(reply: &Reply) -> Result<Granted, Failure> {
    read_with(reply, &AnswerShape::default())
}

fn json(status: u16, body: &str) -> Result<Granted, Failure> {
    read_plain(&reply(status, &[("content-type", "application/json")], body))
}

fn kind_of(result: Result<Granted, Failure>) -> FetchErrorKind {
    result.expect_err("no token").kind
}

fn refresh_token_with(reply: &Reply, shape: &AnswerShape) -> Option<Secret> {
    let asked = Asked {
        host: "login.example.com",
        hint: &|_, _| None,
        secrets: Vec::new(),
        shape,
        bound: false,
        wall: UNIX_EPOCH,
    };
    refresh_token(reply, &asked)
}

/// TL-53: the refresh token is found beside the token or at the top, whatever is wrong with the rest of the answer.
#[test]
fn a_refresh_token_is_found_beside_whatever_there_is() {
    let slack = AnswerShape { token: Some("authed_user.access_token".into()), ..AnswerShape::default() };
    let plain = AnswerShape::default();
    for (shape, body, expected) in [
        (&plain, r#"{"access_token":"T","refresh_token":"R"}"#, Some("R")),
        (&plain, r#"{"access_token":"no\nheader","refresh_token":"R"}"#, Some("R")),
        (&plain, r#"{"access_token":"T","token_type":"mac","refresh_token":"R"}"#, Some("R")),
        (&plain, r#"{"refresh_token":"R"}"#, Some("R")),
        (&plain, "access_token=T&refresh_token=R", Some("R")),
        (
            &slack,
            r#"{"ok":true,"authed_user":{"access_token":"T","refresh_token":"R"},"refresh_token":"bot"}"#,
            Some("R"),
        ),
        (&slack, r#"{"ok":true,"refresh_token":"R"}"#, Some("R")),
        (&plain, r#"{"access_token":"T","refresh_token":""}"#, None),
        (&plain, r#"{"access_token":"T","refresh_token":7}"#, None),
        (&plain, "<html></html>", None),
    ] {
        let found = refresh_token_with(&reply(200, &[("content-type", "text/plain")], body), shape);
        assert_eq!(found.as_ref().map(Secret::expose), expected, "{body}");
    }
    let refused = reply(400, &[], r#"{"error":"invalid_grant","refresh_token":"R"}"#);
    assert!(refresh_token_with(&refused, &plain).is_none(), "an error gives nothing");
}

/// TL-27: only what says that the refresh token itself is refused needs another one.
#[test]
fn a_refused_refresh_token_is_told_from_other_failures() {
    let failure = |status, body: &str| json(status, body).expect_err("no token").of_refresh_token();
    for (status, body, expected) in [
        (400, r#"{"error":"invalid_grant"}"#, FetchErrorKind::NeedsReauthorization),
        (401, r#"{"error":"invalid_grant"}"#, FetchErrorKind::NeedsReauthorization),
        (200, r#"{"ok":false,"error":"invalid_refresh_token"}"#, FetchErrorKind::NeedsReauthorization),
        (400, r#"{"error":"invalid_client"}"#, FetchErrorKind::Refused),
        (400, "", FetchErrorKind::Refused),
        (503, r#"{"error":"invalid_grant"}"#, FetchErrorKind::Transient),
        (429, r#"{"error":"invalid_grant"}"#, FetchErrorKind::RateLimited { retry_after: None }),
    ] {
        let failure = failure(status, body);
        assert_eq!(failure.kind, expected, "{status} {body}");
        let told = failure.text().contains("authorize again");
        assert_eq!(told, expected == FetchErrorKind::NeedsReauthorization, "{}", failure.text());
    }
}

/// TL-37, and the attack K06: whatever a server calls its tokens is Bearer, but for the two that need a proof with each request.
#[test]
fn token_types_are_read_generously_but_for_mac_and_dpop() {
    for token_type in
        ["\"Bearer\"", "\"bearer\"", "\"BEARER\"", "\"Application Access Token\"", "\"N_A\"", "\"\"", "null", "7"]
    {
        let body = format!("{{\"access_token\":\"T\",\"token_type\":{token_type}}}");
        assert_eq!(json(200, &body).unwrap().value.expose(), "T", "{token_type}");
    }
    for token_type in ["mac", "MAC", "DPoP", "dpop"] {
        let body = format!("{{\"access_token\":\"T\",\"token_type\":\"{token_type}\"}}");
        let failure = json(200, &body).unwrap_err();
        assert_eq!(failure.kind, FetchErrorKind::Refused, "{token_type}");
        assert!(failure.cause.to_lowercase().contains(&token_type.to_lowercase()), "{}", failure.cause);
    }
}

/// TL-37, and the attack K07: header injection by way of a token.
#[test]
fn a_token_that_is_no_header_value_is_refused() {
    let too_long = "t".repeat(TOKEN_BYTES_MAX + 1);
    for token in ["", "a\r\nX-Inj: 1", "a\nb", "a\0b", "a\tb", "\u{7f}", "é", " a", "a ", " ", &too_long] {
        let failure = json(200, &serde_json::json!({ "access_token": token }).to_string()).unwrap_err();
        assert_eq!(failure.kind, FetchErrorKind::Transient, "{token:?}");
        assert!(!failure.text().contains("X-Inj"), "{}", failure.text());
    }
    let longest = "t".repeat(TOKEN_BYTES_MAX);
    for token in ["v^1.1#i^1#p^1", "a b", "Atza|T", &longest] {
        assert_eq!(json(200, &serde_json::json!({ "access_token": token }).to_string()).unwrap().value.expose(), token);
    }
    for token in ["7", "null", "[\"a\"]", "{\"a\":1}"] {
        assert_eq!(kind_of(json(200, &format!("{{\"access_token\":{token}}}"))), FetchErrorKind::Transient);
    }
}

/// TL-32: an empty or unreadable 200 passes by itself.
#[test]
fn an_unreadable_success_is_transient_and_says_what_it_is() {
    let html = "<!doctype html><title>x</title>";
    for (body, says) in [
        ("", "empty"),
        (" \r\n", "empty"),
        ("\u{feff}", "empty"),
        ("null", "neither"),
        ("[1]", "neither"),
        ("\"access_token=x\"", "neither"),
        ("{\"access_token\":\"T\"", "neither"),
        ("hello", "neither"),
        ("{}", "no text at `access_token`"),
        ("{\"id_token\":\"x\"}", "only id_token"),
        (html, "HTML"),
        ("<a/>", "XML"),
    ] {
        for status in [200, 201, 204] {
            let failure = json(status, body).unwrap_err();
            assert_eq!(failure.kind, FetchErrorKind::Transient, "{body}");
            assert!(failure.text().contains(says), "{body}: {}", failure.text());
        }
    }
    let broken = Reply { body: Err("the body cannot be decompressed".to_owned()), ..reply(200, &[], "") };
    let failure = read_plain(&broken).unwrap_err();
    assert_eq!(failure.kind, FetchErrorKind::Transient);
    assert!(failure.text().contains("decompressed"));
}

/// TL-26, TL-32: the error that is named decides, wherever it is named and whatever the content type says.
#[test]
fn an_error_is_read_in_every_form_it_comes_in() {
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let plain = [("content-type", "text/plain")];
    for (status, headers, body, code) in [
        (400, &plain, r#"{"error":"invalid_client"}"#, Some("invalid_client")),
        (200, &plain, r#"{"error":"invalid_client","access_token":"T"}"#, Some("invalid_client")),
        (400, &form, "error=invalid_client&error_description=no", Some("invalid_client")),
        (400, &plain, "error=invalid_client", Some("invalid_client")),
        (400, &plain, r#"{"errorCode":"invalid_client","errorSummary":"no"}"#, Some("invalid_client")),
        (403, &plain, r#"{"error":{"code":403,"message":"no","status":"DENIED"}}"#, Some("403")),
        (400, &plain, r#"{"error":{"message":"no","type":"OAuthException"}}"#, Some("OAuthException")),
        (401, &plain, "go away", None),
        (400, &plain, "", None),
        (400, &plain, r#"{"error":null}"#, None),
    ] {
        let failure = read_plain(&reply(status, headers, body)).unwrap_err();
        assert_eq!((failure.kind, failure.code.as_deref()), (FetchErrorKind::Refused, code), "{status} {body}");
        assert_eq!(failure.status.map(|status| status.as_u16()), Some(status));
    }
    assert_eq!(kind_of(json(400, r#"{"error":"temporarily_unavailable"}"#)), FetchErrorKind::Transient);
    assert_eq!(kind_of(json(200, r#"{"error":"server_error"}"#)), FetchErrorKind::Transient);
    assert_eq!(kind_of(json(500, r#"{"error":"invalid_client"}"#)), FetchErrorKind::Transient);
    assert!(json(200, r#"{"error":"","access_token":"T"}"#).is_ok());
    assert!(json(200, r#"{"error":null,"error_description":"","access_token":"T"}"#).is_ok());
}

/// TL-26: an error that a 200 names in words of its own is a refusal where there is no token, but for codes that pass.
#[test]
fn a_success_that_names_an_error_is_a_refusal() {
    use FetchErrorKind::{Refused, Transient};
    for (body, kind, says) in [
        (
            r#"{"code":4,"message":"wrong password"}"#,
            Refused,
            "with the error 4 and says \"wrong password\", and it holds no",
        ),
        (r#"{"errcode":40013,"errmsg":"invalid appid"}"#, Refused, "40013"),
        (r#"{"errcode":"40013"}"#, Refused, "40013"),
        (r#"{"message":"wrong password"}"#, Refused, "wrong password"),
        (r#"{"errcode":-1,"errmsg":"system error"}"#, Transient, "-1"),
        (r#"{"errcode":45009,"errmsg":"reach max api daily quota limit"}"#, Transient, "45009"),
        // This is a wrong path, or a bad day.
        (r#"{"code":0,"message":"ok","data":{}}"#, Transient, "only code, data, message"),
    ] {
        let failure = json(200, body).unwrap_err();
        assert_eq!(failure.kind, kind, "{body}");
        assert!(failure.text().contains(says), "{body}: {}", failure.text());
    }
    assert!(json(200, r#"{"errcode":40013,"message":"hello","access_token":"T"}"#).is_ok());
}

/// TL-26, and the attack K09: the text says step, host, status, error and description, and what to do.
#[test]
fn the_text_of_a_failure_says_what_happened_and_what_to_do() {
    let failure =
        json(401, r#"{"error":"invalid_client","error_description":"Client\r\nauthentication\u001b failed"}"#);
    assert_eq!(
        failure.unwrap_err().text(),
        "the token request to login.example.com failed: it answered 401 Unauthorized with the error invalid_client and \
         says \"Client  authentication failed\"; check client_id and client_secret, and whether the server wants another \
         token_endpoint_auth_method than `client_secret_basic`"
    );
    assert!(json(403, "your address is blocked").unwrap_err().text().contains("\"your address is blocked\""));
    let redirect = reply(302, &[("location", "https://sso.example.com/login?client_secret=x")], "");
    let failure = read_plain(&redirect).unwrap_err();
    assert_eq!(failure.kind, FetchErrorKind::Refused);
    assert!(failure.text().contains("302 Found, a redirect to https://sso.example.com; redirects are not followed"));
}

/// The attack K14: a server that repeats our secret makes us repeat nothing.
#[test]
fn a_reflected_secret_is_in_no_text() {
    let pair = "YXR0YWNoZTpzM2NyZXQrLz06eA=="; // attache:s3cret+/=:x
    for spelling in [SECRET, "s3cret%2B%2F%3D%3Ax", "s3cret%2b%2f%3d%3ax", "7333637265742b2f3d3a78", pair] {
        let bodies = [
            serde_json::json!({ "error": "invalid_client", "error_description": format!("got {spelling}") })
                .to_string(),
            serde_json::json!({ "error": spelling }).to_string(),
            serde_json::json!({ "error": { "code": spelling, "message": spelling } }).to_string(),
            serde_json::json!({ "errcode": spelling, "errmsg": spelling }).to_string(),
            serde_json::json!({ spelling: 1 }).to_string(),
            format!("you sent {spelling}"),
            format!("error={spelling}&error_description={spelling}"),
        ];
        for status in [200, 302, 400, 401, 429, 500] {
            for body in &bodies {
                let location = HeaderValue::from_str(&format!("https://x.example/{spelling}")).unwrap();
                let mut reply = reply(status, &[], body.as_str());
                reply.headers.insert(LOCATION, location);
                let failure = read_plain(&reply).unwrap_err();
                let shown = format!("{} {failure:?}", failure.text());
                assert!(!shown.contains(spelling) && !shown.contains("s3cret"), "{shown}");
            }
        }
    }
}

/// TL-33: how long to hold back, in seconds or as a date by the server's own clock.
#[test]
fn retry_after_is_read_as_seconds_and_as_a_date() {
    let wall = UNIX_EPOCH + Duration::from_secs(WALL_S);
    let headers = |retry: &str, date: Option<&str>| {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(retry).unwrap());
        date.map(|date| headers.insert(DATE, HeaderValue::from_str(date).unwrap()));
        headers
    };
    let seconds = |retry, date| retry_after(&headers(retry, date), wall).map(|after| after.as_secs());
    assert_eq!(seconds("7", None), Some(7));
    assert_eq!(seconds(" 0 ", None), Some(0));
    assert_eq!(seconds("99999999999999", None), Some(u64::from(u32::MAX)));
    assert_eq!(seconds("Tue, 14 Nov 2023 22:13:30 GMT", None), Some(10));
    assert_eq!(seconds("Tue, 14 Nov 2023 22:13:10 GMT", None), Some(0), "a date that is over");
    assert_eq!(
        seconds("Tue, 14 Nov 2023 23:13:30 GMT", Some("Tue, 14 Nov 2023 23:13:20 GMT")),
        Some(10),
        "an hour off"
    );
    assert_eq!(seconds("Tue, 14 Nov 2023 22:13:30 GMT", Some("Tue, 14 Nov 2000 22:13:20 GMT")), Some(10), "years off");
    for nonsense in ["", "-1", "+1", "soon", "7, 8", "1e9", "99999999999999999999999"] {
        assert_eq!(seconds(nonsense, None), None, "{nonsense}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), wall), None);

    let limited = |status, retry: &str| kind_of(read_plain(&reply(status, &[("retry-after", retry)], "")));
    let ten = FetchErrorKind::RateLimited { retry_after: Some(Duration::from_secs(10)) };
    assert_eq!((limited(429, "10"), limited(503, "10")), (ten, ten));
    assert_eq!(limited(429, "soon"), FetchErrorKind::RateLimited { retry_after: None });
    assert_eq!(limited(503, "soon"), FetchErrorKind::Transient);
}

#[test]
fn the_servers_wish_when_to_refresh_is_passed_on() {
    let granted = json(200, r#"{"access_token":"T","expires_in":3600,"refresh_in":"1800"}"#).unwrap();
    assert_eq!(granted.refresh_in, Some(Duration::from_secs(1800)));
}

/// Bodies that look like answers more often than chance would have it.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let texts = prop_oneof![any::<String>(), "[ -~]{0,40}", Just(String::new()), Just(SECRET.to_owned())];
    let values = texts.clone().prop_map(Value::from).boxed();
    let values = prop_oneof![
        values,
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(Value::Null),
        texts.prop_map(|text| serde_json::json!({ "code": text, "message": [text] })),
    ];
    let names = prop_oneof![
        Just("access_token"),
        Just("error"),
        Just("error_description"),
        Just("token_type"),
        Just("expires_in"),
        Just("expires_at"),
        Just("refresh_in"),
        Just("errcode"),
    ];
    let object = proptest::collection::hash_map(names, values, 0..6)
        .prop_map(|members| serde_json::to_vec(&members).expect("members are JSON"));
    let form = "(access_token|error)=[ -~]{0,30}(&expires_in=[-0-9e.]{0,20})?".prop_map(String::into_bytes);
    prop_oneof![4 => object, 1 => form, 1 => proptest::collection::vec(any::<u8>(), 0..200)]
}

/// What may be declared of an answer; most often nothing.
fn shapes() -> impl Strategy<Value = AnswerShape> {
    let places = prop_oneof![
        3 => Just(None),
        1 => Just(Some("expires_in.0".into())),
        1 => Just(Some(AnswerPlace::Header(HeaderName::from_static("x-token")))),
        1 => Just(Some(AnswerPlace::Cookie("a".into()))),
        1 => Just(Some(AnswerPlace::Body)),
    ];
    let success = proptest::option::weighted(
        0.2,
        Just(Success { path: "error".into(), equals: Value::from(0), or_absent: false }),
    );
    (places.clone(), places, success, any::<bool>()).prop_map(|(token, lifetime, success, declares_error)| {
        AnswerShape {
            values: token.iter().map(|place: &AnswerPlace| ("value".to_owned(), place.clone())).collect(),
            token,
            lifetime,
            success,
            error: declares_error.then(|| "error_description".to_owned()),
            ..AnswerShape::default()
        }
    })
}

proptest! {
    /// TL-37: no answer makes us panic, send an illegal header, or tell the secret.
    #[test]
    fn no_answer_yields_an_illegal_header_or_a_panic(
        body in bodies(), status in 100_u16..600, retry in any::<Option<u64>>(), date in any::<Option<u32>>(),
        shape in shapes(), cookie in "[ -~]{0,40}",
    ) {
        let mut reply = reply(status, &[("set-cookie", &cookie), ("x-token", &cookie)], body);
        retry.map(|retry| reply.headers.insert(RETRY_AFTER, HeaderValue::from(retry)));
        date.map(|date| {
            let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(date.into()));
            reply.headers.insert(DATE, HeaderValue::from_str(&date).expect("a date is legal"))
        });
        match read_with(&reply, &shape) {
            Ok(granted) => {
                prop_assert!(reply.status.is_success());
                let token = granted.value.expose();
                prop_assert!(!token.is_empty() && token.len() <= TOKEN_BYTES_MAX && token.trim() == token);
                let header = HeaderValue::from_str(&["Bearer ", token].concat());
                prop_assert!(header.is_ok_and(|value| value.to_str().is_ok()));
                prop_assert!(granted.lifetime.is_none_or(|life| life <= crate::token::lifetime::LIFETIME_MAX));
            }
            Err(failure) => {
                let text = failure.text();
                prop_assert!(!text.contains(SECRET) && !text.chars().any(char::is_control));
                prop_assert!(text.len() < 1000);
            }
        }
    }
}
