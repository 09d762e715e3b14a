use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, Method};
use serde::Deserialize;

use super::*;
use crate::upstream::{OutgoingBody, OutgoingHead};

#[derive(Deserialize)]
struct Suite {
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    req: String,
    creq: String,
    sts: String,
    authz: String,
    session_token: Option<String>,
}

fn aws(service: &str, session_token: Option<&str>) -> AwsSigV4 {
    AwsSigV4::new(&config::AwsSigV4 {
        keys: config::AwsKeys::Fixed(AwsKey {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: session_token.map(Secret::new),
        }),
        region: "us-east-1".to_owned(),
        service: service.to_owned(),
    })
}

/// The fields of a head, the lines of one folded value together.
fn fields(head: &str) -> Vec<(&str, String)> {
    let mut fields: Vec<(&str, String)> = Vec::new();
    for line in head.lines() {
        match (line.strip_prefix(' '), fields.last_mut()) {
            (Some(folded), Some((_, value))) => value.push_str(&format!("\n{folded}")),
            _ => {
                let (name, value) = line.split_once(':').expect("a field");
                fields.push((name, value.to_owned()));
            }
        }
    }
    fields
}

/// AWS's own suite, in botocore's edition. Every field of its requests is signed, which is more than we do.
#[test]
fn signatures_are_those_of_the_suite_of_aws() {
    let suite = std::fs::read_to_string("tests/aws4_testsuite.json").unwrap();
    let suite: Suite = serde_json::from_str(&suite).unwrap();
    assert_eq!(suite.cases.len(), 34);
    for (name, case) in &suite.cases {
        let aws = aws("service", case.session_token.as_deref());
        let (head, body) = case.req.split_once("\n\n").unwrap_or((&case.req, ""));
        let (start, head) = head.split_once('\n').unwrap();
        let (method, target) = start.split_once(' ').unwrap();
        let target = target.strip_suffix(" HTTP/1.1").unwrap();
        let mut signed = Fields::default();
        fields(head).iter().for_each(|(name, value)| signed.add(name, value.as_bytes()));
        if let Some(token) = &case.session_token {
            signed.add("x-amz-security-token", token.as_bytes());
        }
        let payload = hex(digest(&SHA256, body.as_bytes()).as_ref());
        let canonical = aws_canonical::request(method, target, aws.paths(), &signed, &payload);
        assert_eq!(String::from_utf8_lossy(&canonical), case.creq, "{name}");
        let time = "20150830T123600Z";
        assert_eq!(string_to_sign(&canonical, time, "20150830/us-east-1/service/aws4_request"), case.sts, "{name}");
        assert_eq!(aws.authorization(aws.keys(None), &canonical, &signed, time.to_owned()).0, case.authz, "{name}");
    }
}

fn sign(
    aws: &AwsSigV4,
    https: bool,
    fields: &[(&'static str, &str)],
    body: &OutgoingBody,
) -> Result<Signed, Unsignable> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let head =
        OutgoingHead { method: &Method::GET, target: "/", headers: &headers, over: [None; 3], wants_trailers: false };
    let request = Unsigned { https, authority: "example.amazonaws.com", head: &head, body };
    aws.sign(&request, None, UNIX_EPOCH + Duration::from_secs(1_440_938_160))
}

fn value<'a>(signed: &'a Signed, name: &str) -> Option<&'a str> {
    let (_, value) = signed.attachment.attached()?.headers().find(|(set, _)| *set == name)?;
    Some(value.to_str().unwrap())
}

/// Only what AWS asks for is signed. The signature is the one that botocore makes.
#[test]
fn a_request_is_signed_whatever_else_it_carries() {
    let others = [("via", "1.1 x"), ("user-agent", "y"), ("x-amzn-trace-id", "Root=1"), ("accept", "*/*")];
    let signed = sign(&aws("service", None), true, &others, &OutgoingBody::empty()).unwrap();
    let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                    SignedHeaders=host;x-amz-content-sha256;x-amz-date, \
                    Signature=726c5c4879a6b4ccbbd3b24edbd6b8826d34f87450fbbf4e85546fc7ba9c1642";
    assert_eq!(value(&signed, "authorization"), Some(expected));
    assert_eq!(value(&signed, "x-amz-date"), Some("20150830T123600Z"));
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(value(&signed, "x-amz-content-sha256"), Some(empty));
    assert!(signed.attachment.attached().and_then(Attached::first_header).unwrap().1.is_sensitive());
}

/// SEC-13: the signature and the session token are found where an upstream repeats them.
#[test]
fn what_is_sent_is_masked() {
    let signed =
        sign(&aws("service", Some("a-session-token-of-some-length")), true, &[], &OutgoingBody::empty()).unwrap();
    assert_eq!(value(&signed, "x-amz-security-token"), Some("a-session-token-of-some-length"));
    let authorization = value(&signed, "authorization").unwrap();
    let echo = format!("{authorization} a-session-token-of-some-length");
    let mut headers =
        HeaderMap::from_iter([(HeaderName::from_static("x-echo"), HeaderValue::from_str(&echo).unwrap())]);
    signed.attachment.attached().unwrap().masks().mask_headers(&mut headers);
    let masked = headers["x-echo"].to_str().unwrap();
    let signature = authorization.split_once("Signature=").unwrap().1;
    assert!(!masked.contains(&signature[..8]) && !masked.contains("session-token"), "{masked}");
    assert!(masked.contains("Credential=AKIDEXAMPLE/"), "whose key it is, is no secret: {masked}");
}

/// What an AWS client says of its body to S3 stands, but for signatures of its own.
#[test]
fn what_the_client_says_of_its_body_stands() {
    let aws = aws("s3", None);
    let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (said, expected) in [
        ("UNSIGNED-PAYLOAD", Ok("UNSIGNED-PAYLOAD")),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", Ok("STREAMING-UNSIGNED-PAYLOAD-TRAILER")),
        (
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            Ok("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
        ),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", Err(Unsignable::SignedByClient)),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER", Err(Unsignable::SignedByClient)),
        ("nonsense", Ok(hash)),
    ] {
        let signed = sign(&aws, true, &[("x-amz-content-sha256", said)], &OutgoingBody::empty());
        let said = signed.as_ref().map(|signed| value(signed, "x-amz-content-sha256").unwrap());
        assert_eq!(said.map_err(|error| *error), expected);
    }
}

/// What TLS protects may go unsigned. In cleartext the signature covers the body, whatever the client says of its own way to us.
#[test]
fn no_body_goes_unsigned_in_cleartext() {
    let aws = aws("s3", None);
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (said, expected) in [
        ("UNSIGNED-PAYLOAD", Ok(empty)),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", Err(Unsignable::UnsignedChunks)),
        (
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            Ok("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
        ),
    ] {
        let signed = sign(&aws, false, &[("x-amz-content-sha256", said)], &OutgoingBody::empty());
        let said = signed.as_ref().map(|signed| value(signed, "x-amz-content-sha256").unwrap());
        assert_eq!(said.map_err(|error| *error), expected);
    }
}
