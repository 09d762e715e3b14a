//! Lifetimes as providers really send them, and the rules one by one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::{LIFETIME_MAX, jwt_life, lifetime, refresh_in};
use crate::config::{AnswerShape, LifetimeFormat, LifetimeUnit};

/// The wall clock of most tests; a Tuesday in August 2017.
const NOW: u64 = 1_503_391_304;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn plain(answer: &Value) -> Option<Duration> {
    lifetime(answer, &AnswerShape::default(), "T", None, at(NOW))
}

fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

fn jwt(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(&json!({"alg": "HS256"})), part(claims))
}

fn shape(lifetime: Option<&str>, unit: Option<LifetimeUnit>, format: Option<&str>) -> AnswerShape {
    AnswerShape {
        lifetime: lifetime.map(Into::into),
        lifetime_unit: unit,
        lifetime_format: format.map(|format| LifetimeFormat::parse(format).unwrap()),
        ..AnswerShape::default()
    }
}

/// A provider's answer, the shape that is declared for it, its clock, and the lifetime to read.
struct Case {
    provider: &'static str,
    body: &'static str,
    shape: AnswerShape,
    now: u64,
    life: Option<Duration>,
}

#[rustfmt::skip]
fn providers() -> Vec<Case> {
    let none = || shape(None, None, None);
    let case = |provider, body, shape, now, life| Case { provider, body, shape, now, life };
    vec![
        case("Azure AD v1", r#"{"token_type":"Bearer","expires_in":"3599","ext_expires_in":"0","expires_on":"1503394903","not_before":"1503390703","access_token":"T"}"#, none(), 1_503_391_304, seconds(3599)),
        case("Azure App Service", r#"{"access_token":"T","expires_on":"1/16/2020 5:24:12 AM +00:00","token_type":"Bearer"}"#, shape(None, None, Some("M/d/yyyy h:mm:ss [AM|PM] ±zz:zz")), 1_579_148_652, seconds(3600)),
        case("Azure App Service on Linux", r#"{"access_token":"T","expires_on":"01/16/2020 05:24:12 +00:00","token_type":"Bearer"}"#, shape(None, None, Some("M/d/yyyy h:mm:ss [AM|PM] ±zz:zz")), 1_579_148_652, seconds(3600)),
        case("Google metadata server", r#"{"access_token":"T","expires_in":210,"token_type":"Bearer"}"#, none(), NOW, seconds(210)),
        case("UPS", r#"{"token_type":"Bearer","issued_at":"1706710921672","client_id":"c","access_token":"T","expires_in":"14399","status":"approved"}"#, none(), NOW, seconds(14399)),
        case("PayPal", r#"{"scope":"a b","access_token":"T","token_type":"Bearer","expires_in":31349,"nonce":"n"}"#, none(), NOW, seconds(31349)),
        case("GitHub OAuth without Accept", r#"{"access_token":"T","scope":"repo,gist","token_type":"bearer"}"#, none(), NOW, None),
        case("GitHub App installation", r#"{"token":"ghs_T","expires_at":"2026-07-11T22:14:10Z","permissions":{"issues":"write"}}"#, shape(Some("expires_at"), None, None), 1_783_804_450, seconds(3600)),
        case("Slack user token", r#"{"ok":true,"authed_user":{"id":"U1","access_token":"T","expires_in":43200,"refresh_token":"R"}}"#, AnswerShape { token: Some("authed_user.access_token".into()), ..none() }, NOW, seconds(43200)),
        case("Salesforce", r#"{"access_token":"T","instance_url":"https://acme.my.salesforce.com","token_type":"Bearer","issued_at":"1700000000000"}"#, none(), NOW, None),
        case("Twitch", r#"{"access_token":"T","expires_in":5011271,"token_type":"bearer","scope":["chat:read"]}"#, none(), NOW, seconds(5011271)),
        case("Feishu", r#"{"code":0,"msg":"ok","tenant_access_token":"t-T","expire":7200}"#, shape(Some("expire"), None, None), NOW, seconds(7200)),
        case("Jamf", r#"{"token":"T","expires":"2026-07-11T22:14:10.123Z"}"#, none(), 1_783_804_450, Some(Duration::from_millis(3_600_123))),
        case("Tableau", r#"{"credentials":{"token":"T","estimatedTimeToExpiration":"177:05:38"}}"#, shape(Some("credentials.estimatedTimeToExpiration"), None, Some("H:MM:SS")), NOW, seconds(637_538)),
        case("SAP Business One", r#"{"SessionId":"S","Version":"10","SessionTimeout":30}"#, shape(Some("SessionTimeout"), Some(LifetimeUnit::Minutes), None), NOW, seconds(1800)),
        case("Figma", r#"{"access_token":"T","expires_in":7776000}"#, none(), NOW, seconds(7_776_000)),
    ]
}

/// TL-10, TL-11: what providers send is read as they mean it.
#[test]
fn answers_of_real_providers_are_understood() {
    let cases = providers();
    assert_eq!(cases.len(), 16);
    for case in cases {
        let answer = serde_json::from_str(case.body).unwrap();
        assert_eq!(lifetime(&answer, &case.shape, "T", None, at(case.now)), case.life, "{}", case.provider);
    }
}

/// TL-10: each member is read unasked; those about something else are not.
#[test]
fn members_are_read_unasked() {
    let read = ["expires_in", "expires_on", "expires_at", "expires", "expire", "expiresIn", "expiresAt"];
    for name in read.into_iter().chain(["access_token_expiration"]) {
        for value in [json!(120), json!("120"), json!(120.0), json!(" 120 "), json!("1.2e2")] {
            assert_eq!(plain(&json!({ name: value })), seconds(120), "{name}: {value}");
        }
    }
    for name in ["ext_expires_in", "refresh_expires_in", "refresh_token_expires_in", "issued_at", "refresh_in", "exp"] {
        assert_eq!(plain(&json!({ name: 120 })), None, "{name}");
    }
}

/// TL-10: a JWT's `exp` counts, beside what the answer says and alone; other tokens that hold dots do not disturb.
#[test]
fn the_exp_of_a_jwt_counts() {
    let token = jwt(&json!({"exp": NOW + 60}));
    let read = |answer: Value, token: &str| lifetime(&answer, &AnswerShape::default(), token, None, at(NOW));
    assert_eq!(read(json!({}), &token), seconds(60));
    assert_eq!(read(json!({"expires_in": 3600}), &token), seconds(60));
    assert_eq!(read(json!({"expires_in": 30}), &token), seconds(30));
    assert_eq!(read(json!({"expires_in": 30}), &jwt(&json!({"exp": NOW - 1}))), seconds(30));
    for token in ["a.b.c", "..", "a.b.c.d.e", &jwt(&json!([])), &jwt(&json!({"exp": null})), "v^1.1#i^1"] {
        assert_eq!(read(json!({}), token), None, "{token}");
    }
}

/// TL-11: `expires_in` is relative whatever its size, other numbers go by magnitude.
#[test]
fn numbers_mean_what_their_size_says() {
    assert_eq!(plain(&json!({"expires_in": 2_000_000_000u64})), Some(LIFETIME_MAX));
    assert_eq!(plain(&json!({"expires_at": 999_999_999u64})), Some(LIFETIME_MAX));
    assert_eq!(plain(&json!({"expires_at": 1_000_000_000u64})), Some(Duration::ZERO));
    assert_eq!(plain(&json!({"expires_at": NOW + 90})), seconds(90));
    assert_eq!(plain(&json!({"expires_at": (NOW + 90) * 1000})), seconds(90));
    assert_eq!(plain(&json!({"expires_at": ((NOW + 90) * 1000).to_string()})), seconds(90));
    assert_eq!(plain(&json!({"expires": "2017-08-22T08:51:44Z"})), seconds(600));
    assert_eq!(plain(&json!({"expires": "2017-08-22T10:51:44+02:00"})), seconds(600));
    assert_eq!(plain(&json!({"expires": "2017-08-22 08:51:44"})), seconds(600));
    assert_eq!(plain(&json!({"expires_in": 0.0004})), Some(Duration::ZERO));
    assert_eq!(plain(&json!({"expires_in": 0.5})), Some(Duration::from_millis(500)));
}

/// TL-11: the smallest positive answer wins; only those that are over mean that nothing can be cached.
#[test]
fn the_smallest_positive_answer_wins() {
    assert_eq!(plain(&json!({"expires_in": 3600, "expires_at": NOW + 60})), seconds(60));
    assert_eq!(plain(&json!({"expires_in": -5, "expires_at": NOW + 60})), seconds(60));
    assert_eq!(plain(&json!({"expires_in": 0})), Some(Duration::ZERO));
    assert_eq!(plain(&json!({"expires_in": -1, "expires_at": NOW - 60})), Some(Duration::ZERO));
}

/// TL-11: what is no number is no lifetime, and nothing panics.
#[test]
fn what_is_no_number_is_no_lifetime() {
    for value in
        [json!("NaN"), json!("inf"), json!("-Infinity"), json!(null), json!(true), json!(""), json!("soon"), json!([1])]
    {
        assert_eq!(plain(&json!({"expires_in": value})), None, "{value}");
        assert_eq!(plain(&json!({"expires_in": value, "expires_at": NOW + 5})), seconds(5), "{value}");
    }
    assert_eq!(plain(&json!({"expires_in": 1e300})), Some(LIFETIME_MAX));
    assert_eq!(plain(&json!({"expires_in": -1e300})), Some(Duration::ZERO));
    assert_eq!(plain(&json!("a string")), None);
}

/// TL-12: absolute times are measured against the answer's own clock, unless that is far off.
#[test]
fn absolute_times_use_the_servers_clock() {
    let answer = json!({"expires_at": NOW + 600});
    let read = |date| lifetime(&answer, &AnswerShape::default(), "T", date, at(NOW));
    assert_eq!(read(None), seconds(600));
    assert_eq!(read(Some(at(NOW + 100))), seconds(500));
    assert_eq!(read(Some(at(NOW - 100))), seconds(700));
    assert_eq!(read(Some(at(NOW - 24 * 3600))), seconds(600 + 24 * 3600));
    assert_eq!(read(Some(at(NOW - 24 * 3600 - 1))), seconds(600));
    assert_eq!(read(Some(at(NOW + 24 * 3600 + 1))), seconds(600));
    let relative = json!({"expires_in": 600});
    assert_eq!(lifetime(&relative, &AnswerShape::default(), "T", Some(at(NOW + 100)), at(NOW)), seconds(600));
}

/// TL-10, TL-11: declared places, units and formats.
#[test]
fn declared_places_units_and_formats() {
    let read = |answer: Value, shape: &AnswerShape| lifetime(&answer, shape, "T", None, at(NOW));
    let minutes = shape(Some("life.left"), Some(LifetimeUnit::Minutes), None);
    assert_eq!(read(json!({"life": {"left": "2"}}), &minutes), seconds(120));
    assert_eq!(read(json!({"life": {"left": 2}, "expires_in": 5}), &minutes), seconds(120));
    assert_eq!(read(json!({"expires_in": 5}), &minutes), seconds(300), "a missing declared place falls back");
    let milliseconds = shape(None, Some(LifetimeUnit::Milliseconds), None);
    assert_eq!(read(json!({"expires_in": 5000}), &milliseconds), seconds(5));
    assert_eq!(read(json!({"t": 1}), &shape(Some("t"), Some(LifetimeUnit::Hours), None)), seconds(3600));
    assert_eq!(read(json!({"t": 7}), &shape(Some("t"), Some(LifetimeUnit::Seconds), None)), seconds(7));
    let date = "M/d/yyyy h:mm:ss [AM|PM] ±zz:zz";
    for (text, life) in [
        ("8/22/2017 8:51:44 AM +00:00", seconds(600)),
        ("8/22/2017 8:51:44 PM +12:00", seconds(600)),
        ("8/22/2017 12:00:00 PM +00:00", seconds(11896)),
        ("8/22/2017 20:51:44 +12:00", seconds(600)),
        ("8/22/2017 20:51:44 PM +12:00", None),
        ("13/22/2017 8:51:44 AM +00:00", None),
        ("8/22/2017", None),
        ("", None),
    ] {
        assert_eq!(read(json!({"expires": text}), &shape(None, None, Some(date))), life, "{text}");
    }
    for (text, life) in
        [("1:00:00", seconds(3600)), ("0:00:00", Some(Duration::ZERO)), ("1:00", None), ("60", seconds(60))]
    {
        assert_eq!(read(json!({"expires": text}), &shape(None, None, Some("H:MM:SS"))), life, "{text}");
    }
    assert_eq!(read(json!({"expires": "2/1:00:00"}), &shape(None, None, Some("D/H:MM:SS"))), seconds(49 * 3600));
}

/// TL-20: the server's wish when to refresh is read in the same spellings.
#[test]
fn refresh_in_is_read() {
    assert_eq!(refresh_in(&json!({"refresh_in": 43200})), seconds(43200));
    assert_eq!(refresh_in(&json!({"refresh_in": "43200"})), seconds(43200));
    for value in [json!(0), json!(-1), json!("NaN"), json!(null)] {
        assert_eq!(refresh_in(&json!({"refresh_in": value})), None);
    }
    assert_eq!(refresh_in(&json!({})), None);
}

const FORMATS: [&str; 6] =
    ["H:MM:SS", "D/H:MM:SS", "S", "M/d/yyyy h:mm:ss [AM|PM] ±zz:zz", "yyyyMMddHHmmss", "d. M. yyyy"];

proptest! {
    /// TL-11: arithmetic never panics, and L is capped, whatever the numbers, texts, formats and clocks.
    #[test]
    fn nothing_panics(
        number in any::<f64>(),
        text in "\\PC{0,40}|[0-9:/ TZ+-]{0,24}(AM|PM)?",
        format in select(FORMATS.as_slice()),
        date in proptest::option::of(0u64..253_402_300_799),
        wall in 0u64..253_402_300_799,
    ) {
        let answer = json!({"expires_in": number, "expires_at": number, "expires": text, "expire": number.to_string()});
        for format in [None, Some(LifetimeFormat::parse(format).unwrap())] {
            let shape = AnswerShape { lifetime_format: format, ..AnswerShape::default() };
            let life = lifetime(&answer, &shape, &jwt(&json!({"exp": number})), date.map(at), at(wall));
            prop_assert!(life.is_none_or(|life| life <= LIFETIME_MAX));
        }
    }
}

/// TL-12: when a subject token is over is measured as any absolute time is; a small `exp` is long ago, and no duration.
#[test]
fn a_subject_lives_until_its_exp() {
    let wall = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let at = |seconds: i64| {
        Some(if seconds < 0 {
            wall - Duration::from_secs(seconds.unsigned_abs())
        } else {
            wall + Duration::from_secs(seconds.unsigned_abs())
        })
    };
    let jwt = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
    for (claims, date, seconds) in [
        ("{\"exp\":1700000600}", None, Some(600)),
        ("{\"exp\":1700000600000}", None, Some(600)),
        ("{\"exp\":1700000600}", at(300), Some(300)),
        ("{\"exp\":1700000600}", at(-300), Some(900)),
        ("{\"exp\":1700000600}", at(25 * 3600), Some(600)),
        ("{\"exp\":1699999999}", None, Some(0)),
        ("{\"exp\":60}", None, Some(0)),
        ("{\"exp\":-1e300}", None, Some(0)),
        ("{\"exp\":\"soon\"}", None, None),
        ("{}", None, None),
    ] {
        assert_eq!(jwt_life(&jwt(claims), date, wall), seconds.map(Duration::from_secs), "{claims} {date:?}");
    }
    assert_eq!(jwt_life("opaque", None, wall), None);
}
