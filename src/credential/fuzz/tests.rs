//! The bounded run: mutations of what real servers answer, for whoever has no nightly compiler.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::*;

const CASES: usize = 100_000;
const KEY_CASES: usize = 20_000;
/// A proof is signed each time.
const PROVEN_EVERY: usize = 20;
/// Showing takes longer than reading, and is done by a person.
const SHOWN_EVERY: usize = 5;
/// The largest body is 256 KiB, and the tree of its smallest members many times that.
const MEMORY_BYTES_MAX: u64 = 32 << 20;

/// What breaks readers, and what ours look for.
const MORSELS: [&[u8]; 38] = [
    b"\r\n",
    b"\0",
    b"\x7f",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\\u0000",
    b"\\r\\nX-Injected: 1",
    b"\\ud800",
    b"\"",
    b"{",
    b"}",
    b"[",
    b"1e999",
    b"-1",
    b"0",
    b"18446744073709551616",
    b"99999999999999999999",
    b"NaN",
    b"null",
    b"\"access_token\":\"T\",",
    b"\"expires_in\":\"1e308\",",
    b"\"expires_at\":9e99,",
    b"\"error\":{\"code\":1},",
    b"\"token_type\":\"mac\",",
    b"&access_token=T",
    b"error=x",
    b"<html>",
    b"s3cret+/=:x",
    b"\"refresh_in\":-5,",
    b"eyJhbGciOiJub25lIn0.eyJleHAiOjF9.c2ln",
    b"\"token_type\":\"DPoP\",",
    b"\"api\":\"https://a.example.com\",",
    b"https://a.example.com@evil.test",
    b"https://evil.test\\\\.example.com",
    b".example.com",
    b":443",
    b"\"Code\":\"x\",",
    b"\"Expiration\":\"9999-99-99T99:99:99Z\",",
];

const AWS_KEYS: [&str; 2] = [
    r#"{"Code":"Success","AccessKeyId":"ASIAX","SecretAccessKey":"S+/=","#,
    r#""Token":"T","Expiration":"2023-11-14T23:13:20Z"}"#,
];
const OF_STS: &str = r#"{"AssumeRoleWithWebIdentityResponse":{"AssumeRoleWithWebIdentityResult":{"Credentials":"#;

fn corpus() -> Vec<Vec<u8>> {
    let quirks: Vec<Value> = serde_json::from_str(include_str!("../../../tests/token-endpoint-quirks.json")).unwrap();
    let mut corpus: Vec<Vec<u8>> = quirks.iter().map(|quirk| quirk["body"].as_str().unwrap().into()).collect();
    corpus.push(br#"{"credentials":{"token":"T","life":"5"},"t":"T","l":"1:00:00","refresh_in":9}"#.to_vec());
    corpus.push(b"access_token=T&expires_in=300&error_description=x".to_vec());
    corpus.push(br#"{"access_token":"T","token_type":"DPoP","api":"https://a.example.com","expires_in":9}"#.to_vec());
    corpus.push(AWS_KEYS.concat().into_bytes());
    corpus.push(format!("{OF_STS}{}}}}}}}", AWS_KEYS.concat().replace("Token", "SessionToken")).into_bytes());
    corpus.push(br#"{"Error":{"Code":"AccessDenied","Message":"s3cret+/=:x may not"}}"#.to_vec());
    corpus.push(br#"{"error":{"code":401,"message":"no"},"errcode":1,"errmsg":"s3cret+/=:x"}"#.to_vec());
    corpus
}

/// Values that stand where others are expected.
fn odd_value(random: &mut fastrand::Rng) -> Value {
    match random.u8(0..8) {
        0 => Value::Null,
        1 => serde_json::json!([[], { "a": 1 }]),
        2 => serde_json::json!({ "code": 7, "message": ["x"] }),
        3 => Value::from(f64::from_bits(random.u64(..))),
        4 => Value::from(random.i64(..)),
        5 => Value::from(""),
        6 => Value::from(String::from_utf8_lossy(MORSELS[random.usize(..MORSELS.len())]).into_owned()),
        _ => Value::from("\u{0}\r\n\u{202e}é\u{1b}[2J".repeat(random.usize(1..4))),
    }
}

/// A document of the corpus, one member of which says something else.
fn document(random: &mut fastrand::Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    const NAMES: [&str; 15] = [
        "access_token",
        "error",
        "error_description",
        "token_type",
        "expires_in",
        "expires_at",
        "refresh_in",
        "errcode",
        "t",
        "l",
        "api",
        "AccessKeyId",
        "Token",
        "Code",
        "Expiration",
    ];
    let body = &corpus[random.usize(..corpus.len())];
    let Ok(Value::Object(mut members)) = serde_json::from_slice(body) else { return body.clone() };
    if !members.contains_key("access_token") && random.bool() {
        members.insert("access_token".to_owned(), Value::from("T"));
    }
    members.insert(NAMES[random.usize(..NAMES.len())].to_owned(), odd_value(random));
    serde_json::to_vec(&members).expect("it is JSON")
}

/// One body that differs from the corpus in a few places.
fn mutated(random: &mut fastrand::Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let any = |random: &mut fastrand::Rng| corpus[random.usize(..corpus.len())].clone();
    let mut body = any(random);
    for _ in 0..random.usize(0..5) {
        let at = random.usize(..=body.len());
        match random.u8(0..7) {
            0 => drop(body.splice(at..at, MORSELS[random.usize(..MORSELS.len())].iter().copied())),
            1 => drop(body.splice(at..at, any(random))),
            2 => drop(body.drain(at..body.len().min(at + random.usize(0..20)))),
            3 => body.truncate(at),
            4 => {
                let part = body[at..body.len().min(at + 10)].to_vec();
                let times = if random.u8(..) == 0 { 5000 } else { random.usize(1..4) };
                drop(body.splice(at..at, part.repeat(times)));
            }
            5 => body.extend(std::iter::repeat_n(random.u8(..), random.usize(0..50))),
            _ => {
                if let Some(byte) = body.get_mut(at) {
                    *byte ^= 1 << random.u8(0..8);
                }
            }
        }
    }
    body
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("memory takes it")
}

/// TL-35, TL-37, and the attacks K07 and K09: no answer panics, needs memory without bound, brings a header of its own or our
/// secret into a text.
#[test]
fn mutations_of_real_answers_do_no_harm() {
    let mut random = fastrand::Rng::with_seed(7);
    let corpus = corpus();
    let (mut granted, mut failed, mut memory) = (0, 0, 0);
    for case in 0..CASES {
        let mut body = match random.bool() {
            true => document(&mut random, &corpus),
            false => mutated(&mut random, &corpus),
        };
        // Mostly JSON, as it is; the rest is for the other ways.
        let mut choices = if random.bool() { [0; 5] } else { [(); 5].map(|()| random.u8(..)) };
        if random.u8(..) < 10 {
            body = gzipped(&body);
            choices[2] = 2;
        }
        let data = [&choices[..], &body].concat();
        let mut end = End::Nothing;
        let used = allocation_counter::measure(|| end = token_answer(&data));
        memory = memory.max(used.bytes_max);
        if case % SHOWN_EVERY == 0 {
            let used = allocation_counter::measure(|| shown_answer(&data));
            memory = memory.max(used.bytes_max);
        }
        match end {
            End::Granted => granted += 1,
            End::Failed => failed += 1,
            End::Nothing => panic!("case {case} is an answer"),
        }
    }
    assert_eq!(granted + failed, CASES);
    assert!(granted > CASES / 20 && failed > CASES / 20, "{granted} granted, {failed} failed: they test one side only");
    assert!(memory <= MEMORY_BYTES_MAX, "{memory} bytes");
}

/// The same for AWS keys, for nonces and for the claims of challenges.
#[test]
fn mutations_of_keys_nonces_and_claims_do_no_harm() {
    let mut random = fastrand::Rng::with_seed(7);
    let corpus = corpus();
    let keys = &corpus[corpus.len() - 5..];
    let challenges = [b"eyJhIjp7ImIiOjF9fQ==".to_vec(), b"e30".to_vec(), b"a-nonce.1".to_vec(), vec![b'n'; 1020]];
    let (mut granted, mut failed) = (0, 0);
    for case in 0..KEY_CASES {
        let body = match random.u8(0..3) {
            0 => mutated(&mut random, keys),
            _ => document(&mut random, keys),
        };
        match aws_keys_answer(&[&[0; 5], &body[..]].concat()) {
            End::Granted => granted += 1,
            End::Failed => failed += 1,
            End::Nothing => panic!("case {case} is an answer"),
        }
        if case % PROVEN_EVERY == 0 {
            nonce_and_claims(&mutated(&mut random, &challenges));
        }
    }
    assert!(granted > KEY_CASES / 20 && failed > KEY_CASES / 20, "{granted} granted, {failed} failed");
}

/// What is a few hundred bytes on the way and a gigabyte when unpacked, or as deep as it is long.
#[test]
fn bombs_do_not_go_off() {
    let zeros = gzipped(&vec![b' '; 50 << 20]);
    let deep = "[".repeat(200_000);
    let deep_members = "{\"a\":".repeat(40_000);
    let many = format!("{{\"access_token\":\"T\",\"a\":[{}0]}}", "0,".repeat(120_000));
    for (choices, body) in [
        ([0, 0, 2, 0, 0], zeros),
        ([0; 5], deep.into_bytes()),
        ([0; 5], deep_members.into_bytes()),
        ([0; 5], many.into_bytes()),
    ] {
        let data = [&choices[..], &body].concat();
        let used = allocation_counter::measure(|| {
            token_answer(&data);
            shown_answer(&data);
        });
        assert!(used.bytes_max <= MEMORY_BYTES_MAX, "{} bytes", used.bytes_max);
    }
    assert_eq!(token_answer(b"1234"), End::Nothing);
}
