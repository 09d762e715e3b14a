use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body::Frame;

use super::*;
use crate::clock::Ticker;
use crate::config::KeyEncoding;
use crate::upstream::{OutgoingBody, OutgoingHead, ReplayBudget};

/// A credential as its documentation writes it.
struct Scheme {
    key: (KeyEncoding, &'static str),
    string_to_sign: &'static str,
    encoding: SignatureEncoding,
    timestamp: TimestampFormat,
    secrets: &'static [(&'static str, &'static str)],
    headers: &'static [(&'static str, &'static str)],
    query: &'static [(&'static str, &'static str)],
}

const PLAIN: Scheme = Scheme {
    key: (KeyEncoding::Text, "planted-key-of-the-tests"),
    string_to_sign: "",
    encoding: SignatureEncoding::Hex,
    timestamp: TimestampFormat::Seconds,
    secrets: &[],
    headers: &[],
    query: &[],
};

impl Scheme {
    fn hmac(&self) -> Hmac {
        let secrets: Vec<_> =
            self.secrets.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
        let template = |text: &str| RequestTemplate::parse(text, &secrets).unwrap();
        Hmac::new(&config::Hmac {
            algorithm: HmacAlgorithm::Sha256,
            key: Secret::new(self.key.1),
            key_encoding: self.key.0,
            string_to_sign: template(self.string_to_sign),
            signature_encoding: self.encoding,
            timestamp: self.timestamp,
            headers: self.headers.iter().map(|(name, text)| (HeaderName::from_static(name), template(text))).collect(),
            query: self.query.iter().map(|(name, text)| ((*name).to_owned(), template(text))).collect(),
            secrets,
        })
    }
}

/// What is set for a request: headers, and the query.
#[derive(Debug)]
struct Set {
    headers: Vec<(String, String)>,
    query: Option<String>,
    masks: Arc<Masks>,
}

impl Set {
    fn header(&self, name: &str) -> &str {
        &self.headers.iter().find(|(set, _)| set == name).expect("it is set").1
    }
}

async fn sign(hmac: &Hmac, method: Method, target: &str, body: &'static str, time_ms: u64) -> Set {
    let headers = HeaderMap::from_iter(
        [("x-a", "one"), ("x-a", "two")]
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))),
    );
    let head = OutgoingHead { method: &method, target, headers: &headers, over: [None; 3], wants_trailers: false };
    let (sender, frames) = tokio::sync::mpsc::channel(1);
    sender.try_send(Frame::data(Bytes::from_static(body.as_bytes()))).unwrap();
    drop(sender);
    let (budget, idle) = (ReplayBudget::new(1 << 20), Duration::from_secs(30));
    let mut body = OutgoingBody::scripted(frames, None, budget, &Ticker::default(), idle);
    if let Some(bytes_max) = hmac.holds() {
        body.hold(bytes_max).await.unwrap();
    }
    let request = Unsigned { https: true, authority: "api.example", head: &head, body: &body };
    let signed = hmac.sign(&request, UNIX_EPOCH + Duration::from_millis(time_ms)).unwrap();
    let attached = signed.attachment.attached().unwrap();
    let text = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.to_str().unwrap().to_owned());
    Set {
        headers: attached.headers().map(text).collect(),
        query: attached.query().map(str::to_owned),
        masks: attached.masks().clone(),
    }
}

/// <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/endpoint-security-type>, "Example 1".
#[tokio::test]
async fn binances_example_is_signed_in_the_query() {
    let scheme = Scheme {
        key: (KeyEncoding::Text, "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"),
        string_to_sign: "{query}{body}",
        timestamp: TimestampFormat::Milliseconds,
        secrets: &[("key_id", "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A")],
        headers: &[("x-mbx-apikey", "{key_id}")],
        query: &[("timestamp", "{timestamp}"), ("signature", "{signature}")],
        ..PLAIN
    };
    let target = "/api/v3/order?symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000";
    let set = sign(&scheme.hmac(), Method::POST, target, "", 1_499_827_319_559).await;
    let expected = "timestamp=1499827319559&signature=c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71";
    assert_eq!(set.query.as_deref(), Some(expected));
    assert_eq!(set.header("x-mbx-apikey"), "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A");
}

/// <https://api.slack.com/authentication/verifying-requests-from-slack>: requests as Slack makes them.
#[tokio::test]
async fn slacks_example_is_signed_with_its_body() {
    let scheme = Scheme {
        key: (KeyEncoding::Text, "8f742231b10e8888abcd99yyyzzz85a5"),
        string_to_sign: "v0:{timestamp}:{body}",
        headers: &[("x-slack-signature", "v0={signature}"), ("x-slack-request-timestamp", "{timestamp}")],
        ..PLAIN
    };
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
                &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
                &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
                &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let set = sign(&scheme.hmac(), Method::POST, "/", body, 1_531_420_618_000).await;
    assert_eq!(set.header("x-slack-signature"), "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503");
    assert_eq!(set.header("x-slack-request-timestamp"), "1531420618");
}

/// <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>, "Testing the webhook payload
/// validation".
#[tokio::test]
async fn githubs_example_is_signed_over_the_body_alone() {
    let scheme = Scheme {
        key: (KeyEncoding::Text, "It's a Secret to Everybody"),
        string_to_sign: "{body}",
        headers: &[("x-hub-signature-256", "sha256={signature}")],
        ..PLAIN
    };
    let set = sign(&scheme.hmac(), Method::POST, "/", "Hello, World!", 0).await;
    assert_eq!(
        set.header("x-hub-signature-256"),
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
}

/// Every placeholder, in a text that is signed with it and in one that carries it.
#[tokio::test]
async fn every_placeholder_is_filled_in() {
    const EVERYTHING: &str = "{method} {host} {path} {query} {target} {timestamp} {header:x-a} {header:x-b} {header:date} \
                      {body_sha256} {body_sha256_base64} {passphrase}";
    let scheme = Scheme {
        key: (KeyEncoding::Base64, "cGxhbnRlZC1rZXktb2YtdGhlLXRlc3Rz"),
        string_to_sign: EVERYTHING,
        encoding: SignatureEncoding::Base64,
        timestamp: TimestampFormat::Iso8601,
        secrets: &[("passphrase", "planted phrase")],
        headers: &[
            ("x-all", EVERYTHING),
            ("date", "{timestamp}"),
            ("authorization", "HMAC id:{signature}"),
            ("x-nonce", "{nonce}"),
        ],
        query: &[("t m", "{timestamp}"), ("s", "{signature}")],
    };
    let hmac = scheme.hmac();
    let set = sign(&hmac, Method::PUT, "/a?", "body", 1_607_418_537_715).await;
    let query = "t%20m=2020-12-08T09%3A08%3A57.715Z";
    let sha256 = "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5";
    let sha256_base64 = "Iw2DWNyOiJC0xY3utikS7i8gNXrpKlzIYbmOaP4xrLU=";
    // `Date` comes after `X-All`, and is no field of the request's own.
    let all = |date: &str| {
        format!(
            "PUT api.example /a {query} /a?{query} 2020-12-08T09:08:57.715Z one, two  {date} {sha256} {sha256_base64} planted phrase"
        )
    };
    assert_eq!(set.header("x-all"), all(""));
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"planted-key-of-the-tests");
    let signature = STANDARD.encode(hmac::sign(&key, all("2020-12-08T09:08:57.715Z").as_bytes()));
    assert_eq!(set.header("authorization"), format!("HMAC id:{signature}"));
    let encoded = percent_encode(signature.as_bytes(), NOT_UNRESERVED);
    assert_eq!(set.query.as_deref(), Some(&*format!("{query}&s={encoded}")));
    let again = sign(&hmac, Method::PUT, "/a?", "body", 1_607_418_537_715).await;
    assert_eq!((set.header("x-nonce").len(), again.header("x-nonce").len()), (32, 32));
    assert_ne!(set.header("x-nonce"), again.header("x-nonce"));
    assert!(!format!("{hmac:?}").contains("planted"));
    // SEC-13: what was sent, and the key, are found in an answer.
    let echo = format!("cGxhbnRlZC1rZXktb2YtdGhlLXRlc3Rz {encoded} {signature} planted phrase");
    let mut headers = HeaderMap::from_iter([(HeaderName::from_static("x-echo"), echo.parse().unwrap())]);
    set.masks.mask_headers(&mut headers);
    let masked = headers["x-echo"].to_str().unwrap();
    assert!(masked.bytes().all(|byte| byte == b'*' || byte == b' ') && masked.contains('*'), "{masked}");
}

#[test]
fn timestamps_are_written_as_asked_for() {
    let now = UNIX_EPOCH + Duration::from_millis(1_607_418_537_005);
    for (format, expected) in [
        (TimestampFormat::Seconds, "1607418537"),
        (TimestampFormat::Milliseconds, "1607418537005"),
        (TimestampFormat::Iso8601, "2020-12-08T09:08:57.005Z"),
        (TimestampFormat::HttpDate, "Tue, 08 Dec 2020 09:08:57 GMT"),
    ] {
        assert_eq!(timestamp(now, format), expected);
    }
}

/// A body may be large: wherever its hash is put, it is made once for an attempt.
#[tokio::test]
async fn a_body_is_hashed_once() {
    let scheme = Scheme {
        string_to_sign: "{body_sha256}",
        headers: &[("x-hash", "{body_sha256}"), ("x-other", "{body_sha256_base64}"), ("x-signature", "{signature}")],
        ..PLAIN
    };
    let hashed = || super::super::BODIES_HASHED.with(std::cell::Cell::get);
    let before = hashed();
    let set = sign(&scheme.hmac(), Method::POST, "/", "body", 0).await;
    assert_eq!(hashed() - before, 1);
    let hash = "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5";
    assert_eq!((set.header("x-hash"), set.header("x-other").len()), (hash, 44));
    let none = Scheme { headers: &[("x-signature", "{signature}")], ..PLAIN };
    sign(&none.hmac(), Method::POST, "/", "body", 0).await;
    assert_eq!(hashed() - before, 1, "one that nobody asks for is not made");
}
