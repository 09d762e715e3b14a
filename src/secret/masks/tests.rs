//! Tests of recognition and masking. The oracle decodes what is left with decoders of its own.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::{Masks, Scanner};
use crate::secret::Secret;

const TOKEN: &str = "tok/SECRET+api.7f3a=z";

fn masks(secrets: &[&str]) -> Arc<Masks> {
    let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::new(*text)).collect();
    Arc::new(Masks::new(&secrets))
}

fn scanner(secrets: &[&str]) -> Scanner {
    masks(secrets).scanner().expect("the secret is long enough for bodies")
}

/// Masks a body that comes in these chunks.
fn mask_chunks<'a>(scanner: &mut Scanner, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut masked = Vec::new();
    for chunk in chunks {
        masked.extend_from_slice(&scanner.push(Bytes::copy_from_slice(chunk)));
    }
    masked.extend_from_slice(&scanner.finish());
    masked
}

fn mask_text(secrets: &[&str], body: &str) -> String {
    String::from_utf8(mask_chunks(&mut scanner(secrets), [body.as_bytes()])).expect("masks are ASCII")
}

/// Percent-encodes each byte whose place is in `places`.
fn percent(text: &str, places: impl Fn(usize) -> bool, upper: bool) -> String {
    let escape = |byte: u8| if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
    text.bytes()
        .enumerate()
        .map(|(at, byte)| if places(at) { escape(byte) } else { char::from(byte).to_string() })
        .collect()
}

fn unicode(text: &str, places: impl Fn(usize) -> bool, upper: bool) -> String {
    let escape = |code: &u16| if upper { format!("\\u{code:04X}") } else { format!("\\u{code:04x}") };
    text.chars()
        .enumerate()
        .map(
            |(at, c)| if places(at) { c.encode_utf16(&mut [0; 2]).iter().map(escape).collect() } else { c.to_string() },
        )
        .collect()
}

/// SEC-13: each spelling is masked with as many `*`, and what stands around it is not touched.
#[test]
fn every_spelling_is_masked_and_lengths_hold() {
    let mut spellings = vec![
        TOKEN.to_owned(),
        TOKEN.replace('/', "\\/"),
        percent(TOKEN, |at| !TOKEN.as_bytes()[at].is_ascii_alphanumeric(), true),
    ];
    for upper in [false, true] {
        for places in [|_| true, |at| at % 3 == 0, |at| at > 5, |at| at < 5] as [fn(usize) -> bool; 4] {
            spellings.push(percent(TOKEN, places, upper));
            spellings.push(unicode(TOKEN, places, upper));
        }
    }
    spellings.push(percent(&TOKEN.replace('/', "\\/"), |at| at > 9, true));
    for spelling in &spellings {
        let body = format!("{{\"authorization\": \"Bearer {spelling}\", \"x\": [1]}}");
        let stars = "*".repeat(spelling.len());
        assert_eq!(mask_text(&[TOKEN], &body), body.replace(spelling.as_str(), &stars), "{spelling}");
    }
    assert_eq!(spellings.len(), 20);
}

/// SEC-13: the base64 of a text that holds the secret is masked at each alignment, in both alphabets, padded or not.
#[test]
fn base64_of_a_longer_text_is_masked_where_the_secret_lies() {
    let secret = "s3cret??>>~~ and more";
    for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
        for before in ["", "u", "us", "user:", "Bearer ", "12"] {
            for after in ["", "!", "!!", "!!!!"] {
                let encoded = engine.encode(format!("{before}{secret}{after}"));
                for escaped in [encoded.clone(), encoded.replace('/', "\\/"), percent(&encoded, |_| true, true)] {
                    let body = format!("{{\"echo\": \"Basic {escaped}\"}}");
                    let masked = mask_text(&[secret], &body);
                    assert_eq!(masked.len(), body.len());
                    let left = masked.replace('*', "");
                    let around = before.len() * 4 / 3 + after.len() * 4 / 3 + 4;
                    let width = if escaped.starts_with('%') { 3 } else { 1 };
                    assert!(left.len() <= 18 + width * around, "{masked} of {body}");
                    assert!(masked.starts_with("{\"echo\": \"Basic ") && masked.ends_with("\"}"), "{masked}");
                }
            }
        }
    }
}

/// SEC-13: a suffix that cannot begin a spelling is passed on at once, so that events are not delayed.
#[test]
fn nothing_is_held_but_the_beginning_of_a_spelling() {
    let mut scanner = scanner(&[TOKEN]);
    let passed: Vec<Bytes> = ["data: {\"n\":1}\n\n", "data: to", "ken\n", "%7", "a", "\\u00", "41 !%", " off\n\n"]
        .into_iter()
        .map(|event| scanner.push(Bytes::from_static(event.as_bytes())))
        .collect();
    assert_eq!(passed, ["data: {\"n\":1}\n\n", "data: ", "token\n", "", "%7a", "", "\\u0041 !", "% off\n\n"]);
    assert_eq!(scanner.push(Bytes::from_static(b"data: {}\n\n")), "data: {}\n\n");
    assert!(scanner.push(Bytes::from_static(b"tok/SEC")).is_empty(), "this could be the secret");
    assert_eq!(scanner.push(Bytes::from_static(b"OND\n")), "tok/SECOND\n");
    assert_eq!(scanner.masked(), 0);
}

/// SEC-13: where nothing is found, the body's own bytes are passed on, not a copy.
#[test]
fn innocent_chunks_are_not_copied() {
    let mut scanner = scanner(&[TOKEN]);
    let chunk = Bytes::from("[\"%20\", \"\\n\"]".repeat(100));
    let passed = scanner.push(chunk.clone());
    assert_eq!((passed.as_ptr(), passed.len()), (chunk.as_ptr(), chunk.len()));
}

/// SEC-13: secrets of fewer than 16 bytes are masked in headers only.
#[test]
fn short_secrets_are_masked_in_headers_only() {
    assert!(masks(&["fifteen bytes.."]).scanner().is_none());
    assert!(masks(&["sixteen bytes..."]).scanner().is_some());
    let masks = masks(&["hunter2"]);
    let mut headers = HeaderMap::new();
    headers.insert("x-echo", HeaderValue::from_static("pw=hunter2; pw=h%75nter2"));
    headers.insert("x-basic", HeaderValue::from_static("Basic dXNlcjpodW50ZXIy"));
    headers.insert("date", HeaderValue::from_static("Tue, 15 Nov 1994 08:12:31 GMT"));
    assert_eq!(masks.mask_headers(&mut headers), 2);
    assert_eq!(headers["x-echo"], "pw=*******; pw=*********");
    assert_eq!(headers["x-basic"], "Basic dXNlcj**********");
    assert_eq!(headers["date"], "Tue, 15 Nov 1994 08:12:31 GMT");
}

/// A token that a field's name can hold.
const NAMEABLE: &str = "Tok.SECRET+api-7F3a~Z";

/// A field's name after masking, and its values.
fn masked_field(secret: &str, name: &str) -> (String, Vec<HeaderValue>) {
    let mut headers = HeaderMap::new();
    for value in ["a", "b"] {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static(value));
    }
    let changed = masks(&[secret]).mask_headers(&mut headers);
    assert_eq!((headers.keys_len(), headers.len()), (1, 2));
    let (name, masked) = (name.to_ascii_lowercase(), headers.keys().next().unwrap().as_str().to_owned());
    assert_eq!(masked.len(), name.len());
    assert_eq!(changed > 0, masked != name, "{masked}");
    (masked, headers.into_iter().map(|(_, value)| value).collect())
}

/// SEC-13: a field keeps its values, in their order, and loses the secret in its name, whatever case that is in.
#[test]
fn a_name_is_masked_in_any_case() {
    let stars = "*".repeat(NAMEABLE.len());
    for spelling in [NAMEABLE.to_owned(), NAMEABLE.to_uppercase(), NAMEABLE.to_lowercase()] {
        let (name, values) = masked_field(NAMEABLE, &format!("X-{spelling}-y"));
        assert_eq!((name, values), (format!("x-{stars}-y"), vec!["a".parse().unwrap(), "b".parse().unwrap()]));
    }
    for upper in [false, true] {
        for places in [|_| true, |at| at % 3 == 0, |at| at > 5, |at| at < 5] as [fn(usize) -> bool; 4] {
            let spelling = percent(NAMEABLE, places, upper);
            let stars = "*".repeat(spelling.len());
            assert_eq!(masked_field(NAMEABLE, &format!("{spelling}%")).0, format!("{stars}%"));
        }
    }
    for before in ["", "u", "us", "user:"] {
        let encoded = URL_SAFE_NO_PAD.encode(format!("{before}{NAMEABLE}"));
        let masked = masked_field(NAMEABLE, &encoded).0;
        assert!(masked.ends_with(&"*".repeat(NAMEABLE.len() * 4 / 3)), "{masked} of {encoded}");
        assert!(masked.replace('*', "").len() <= before.len() * 4 / 3, "{masked} of {encoded}");
    }
}

/// SEC-13: where a value names fields, it is masked as their names are; other values have a case.
#[test]
fn a_name_is_masked_where_it_is_listed() {
    let lists = [
        "trailer",
        "vary",
        "access-control-expose-headers",
        "access-control-allow-headers",
        // As in `no-cache="name"`, RFC 9111 section 5.2.2.4.
        "cache-control",
    ];
    let percent = percent(NAMEABLE, |at| at % 3 == 0, true);
    for spelling in [NAMEABLE.to_lowercase(), NAMEABLE.to_uppercase(), NAMEABLE.to_owned(), percent.to_uppercase()] {
        let (stars, value) = ("*".repeat(spelling.len()), HeaderValue::try_from(format!("X-End, {spelling}")).unwrap());
        let named = |name| (HeaderName::from_static(name), value.clone());
        let mut headers = HeaderMap::from_iter(lists.map(named));
        assert_eq!(masks(&[NAMEABLE]).mask_headers(&mut headers), lists.len());
        assert!(headers.values().all(|value| *value == format!("X-End, {stars}")), "{headers:?}");
    }
    let mut headers = HeaderMap::from_iter(
        [("etag", NAMEABLE.to_lowercase()), ("vary", "Secret, x-requests".to_owned())]
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::try_from(value).unwrap())),
    );
    assert_eq!(masks(&[NAMEABLE, "SECRETs0", "REQUEST"]).mask_headers(&mut headers), 0, "{headers:?}");
}

/// SEC-13: two names that were told apart by the secret only become one with all values.
#[test]
fn what_names_of_one_masked_name_hold_is_kept() {
    let mut headers = HeaderMap::new();
    for (name, value) in [("x-0123456789abcdef", "1"), ("x-fedcba9876543210", "2"), ("x-0123456789abcdef", "3")] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    assert_eq!(masks(&["0123456789ABCDEF", "FEDCBA9876543210"]).mask_headers(&mut headers), 3);
    let mut values: Vec<_> = headers.get_all("x-****************").iter().collect();
    values.sort();
    assert_eq!(values, ["1", "2", "3"]);
    assert_eq!(headers.keys_len(), 1);
}

/// SEC-13: ordinary names are no secrets, even where somebody's secret is an ordinary word.
#[test]
fn innocent_names_stay() {
    for (secret, name) in [("request", "x-request-id"), (NAMEABLE, "x-tok.secret+api"), ("SECRETs0", "x-secret")] {
        assert_eq!(masked_field(secret, name).0, name);
    }
    assert_eq!(masked_field("requests", "x-requests-left").0, "x-********-left");
}

/// RFC 9112 section 6.2: a length that happens to be the secret still says where the body ends.
#[test]
fn the_length_of_a_body_is_never_masked() {
    let mut headers = HeaderMap::new();
    for name in ["content-length", "x-length"] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1234"));
    }
    assert_eq!(masks(&["1234"]).mask_headers(&mut headers), 1);
    assert_eq!(
        (&headers["content-length"], &headers["x-length"]),
        (&"1234".parse().unwrap(), &"****".parse().unwrap())
    );
}

/// SEC-13: with several secrets, every byte that lies in a spelling of any of them is masked.
#[test]
fn overlapping_secrets_are_masked_together() {
    let (left, right) = ("abcdefghijklmnopqrstuvwx", "mnopqrstuvwxyz0123456789");
    for chunk in [1, 7, 100] {
        let mut scanner = scanner(&[left, right]);
        let masked = mask_chunks(&mut scanner, b"<abcdefghijklmnopqrstuvwxyz0123456789>".chunks(chunk));
        assert_eq!(masked, format!("<{}>", "*".repeat(36)).into_bytes());
        assert_eq!(scanner.masked(), 1);
    }
}

/// Nothing of a secret is printed, also not of what a scanner holds.
#[test]
fn debug_shows_no_secret() {
    let masks = masks(&[TOKEN]);
    let mut scanner = masks.scanner().expect("long enough");
    scanner.push(Bytes::from_static(b"tok/SECRET+api"));
    assert_eq!(format!("{masks:?} {scanner:?}"), "Masks(…) Scanner { held_bytes: 14, masked: 0 }");
}

#[test]
fn nothing_is_looked_for_without_secrets() {
    for empty in [masks(&[]), masks(&[""]), Arc::default()] {
        assert!(empty.is_empty() && empty.scanner().is_none());
        let mut headers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static(""))]);
        assert_eq!(empty.mask_headers(&mut headers), 0);
    }
    assert!(!masks(&["x"]).is_empty());
}

/// One spelling of a secret, chosen byte by byte.
fn spelling_of(secret: &str, choices: &[u8], base64: Option<(usize, bool)>) -> String {
    let text = match base64 {
        None => secret.to_owned(),
        Some((before, url_safe)) => {
            let text = format!("{}{secret}", "u".repeat(before));
            if url_safe { URL_SAFE_NO_PAD.encode(text) } else { STANDARD.encode(text) }
        }
    };
    let mut spelling = String::new();
    for (at, c) in text.chars().enumerate() {
        match (choices[at % choices.len()] % 8, c) {
            (0, _) => spelling.push_str(&unicode(c.encode_utf8(&mut [0; 4]), |_| true, false)),
            (1, _) => spelling.push_str(&unicode(c.encode_utf8(&mut [0; 4]), |_| true, true)),
            (2, _) => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| spelling.push_str(&format!("%{byte:02x}"))),
            (3, _) => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| spelling.push_str(&format!("%{byte:02X}"))),
            (4, '/' | '"' | '\\') => spelling.extend(['\\', c]),
            (5, ' ') => spelling.push('+'),
            _ => spelling.push(c),
        }
    }
    spelling
}

fn hex(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Undoes JSON escapes, or percent-encoding, or both, in one pass, as leniently as can be.
fn decode(text: &[u8], json: bool, percent: bool) -> Vec<u8> {
    let (mut decoded, mut at) = (Vec::new(), 0);
    while at < text.len() {
        match &text[at..] {
            [b'%', high, low, ..] if percent && hex(&[*high, *low]).is_some() => {
                decoded.push(hex(&[*high, *low]).expect("checked") as u8);
                at += 3;
            }
            [b'\\', b'u', digits @ ..] if json && digits.len() >= 4 && hex(&digits[..4]).is_some() => {
                let code = |at: usize| hex(&text[at + 2..at + 6]).expect("checked") as u16;
                let pair =
                    text.get(at + 6..at + 12).is_some_and(|next| next.starts_with(b"\\u") && hex(&next[2..]).is_some());
                let mut codes = vec![code(at)];
                at += 6;
                if pair && (0xd800..0xdc00).contains(&codes[0]) {
                    codes.push(code(at));
                    at += 6;
                }
                decoded.extend_from_slice(String::from_utf16_lossy(&codes).as_bytes());
            }
            [b'\\', c @ (b'/' | b'"' | b'\\'), ..] if json => {
                decoded.push(*c);
                at += 2;
            }
            [c, ..] => {
                decoded.push(*c);
                at += 1;
            }
            [] => unreachable!("at is before the end"),
        }
    }
    decoded
}

fn holds(text: &[u8], secret: &str) -> bool {
    memchr::memmem::find(text, secret.as_bytes()).is_some()
}

/// Whether any decoding of a text, or of the base64 in it, holds the secret.
fn reveals(text: &[u8], secret: &str) -> bool {
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
    [(false, false), (true, false), (false, true), (true, true)].into_iter().any(|(json, percent)| {
        let decoded = decode(text, json, percent);
        let spaced: Vec<u8> =
            decode(&text.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect::<Vec<_>>(), json, percent);
        let standard: Vec<u8> = decoded
            .iter()
            .map(|b| match b {
                b'-' => b'+',
                b'_' => b'/',
                other => *other,
            })
            .collect();
        let runs = standard.split(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'+' | b'/'));
        let mut encoded = runs.flat_map(|run| (0..run.len().min(4)).map(move |skip| &run[skip..]));
        holds(&decoded, secret)
            || holds(&spaced, secret)
            || encoded.any(|run| {
                let whole = &run[..run.len() - usize::from(run.len() % 4 == 1)];
                engine.decode(whole).is_ok_and(|decoded| holds(&decoded, secret))
            })
    })
}

/// Any text that is long enough for bodies: tokens, passphrases, and what is nasty to spell.
fn secret() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z0-9._~+/=-]{16,60}",
        // Without `*`: a mask before the rest of such a secret would complete it.
        "[ -)+-~]{16,40}",
        "[%\\\\25u0c/]{16,24}",
        "[ab]{16,20}",
        "[a-zéßπ😀\" ]{16,24}",
    ]
}

/// What stands between spellings: often close to one.
fn filler(secret: &str) -> impl Strategy<Value = String> + use<> {
    let pieces: Vec<String> = secret
        .char_indices()
        .map(|(at, _)| at)
        .skip(1)
        .step_by(3)
        .flat_map(|at| [secret[..at].to_owned(), secret[at..].to_owned(), STANDARD.encode(&secret[..at])])
        .chain([String::new()])
        .collect();
    prop_oneof![
        "[ -~]{0,12}",
        "(%|\\\\u00|\\\\|%2|\\\\u|%25){0,3}",
        "\\{\"[a-z]{1,8}\": [0-9]{1,4}, ",
        prop::sample::select(pieces),
    ]
}

prop_compose! {
    /// A secret, a body of fillers and spellings by turns, and lengths of chunks.
    fn planted()(secret in secret())(
        parts in prop::collection::vec(
            (filler(&secret), prop::collection::vec(any::<u8>(), 1..9), prop::option::of((0usize..4, any::<bool>()))), 0..5),
        last in filler(&secret),
        cuts in prop::collection::vec(1usize..40, 1..6),
        secret in Just(secret),
    ) -> (String, String, Vec<usize>) {
        let mut body = String::new();
        for (filler, choices, base64) in parts {
            body.push_str(&filler);
            body.push_str(&spelling_of(&secret, &choices, base64));
        }
        body.push_str(&last);
        (secret, body, cuts)
    }
}

prop_compose! {
    /// A secret, and a body of beginnings and ends of it, escapes, and other text. The secret holds nothing that begins
    /// an escape: of such a one each byte may be escaped or not, which the oracle cannot undo.
    fn near_misses()(secret in secret().prop_filter("ambiguous", |secret| !secret.contains(['%', '\\'])))(
        pieces in prop::collection::vec(filler(&secret), 0..12),
        secret in Just(secret),
    ) -> (String, String) {
        (secret, pieces.concat())
    }
}

fn chunks<'a>(mut body: &'a [u8], cuts: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    cuts.iter().cycle().map_while(move |cut| {
        let (chunk, rest) = body.split_at((*cut).min(body.len()));
        body = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(512)))]

    /// SEC-13: no decoding of what is passed on holds the secret, lengths hold, and only masks differ.
    #[test]
    fn no_decoding_of_the_output_holds_the_secret((secret, body, cuts) in planted()) {
        let masked = mask_chunks(&mut scanner(&[&secret]), chunks(body.as_bytes(), &cuts));
        prop_assert_eq!(masked.len(), body.len());
        prop_assert!(body.bytes().zip(&masked).all(|(before, &after)| before == after || after == b'*'));
        prop_assert!(!reveals(&masked, &secret), "{} of {}", String::from_utf8_lossy(&masked), body);
    }

    /// SEC-13: what is passed on does not depend on how the body was cut.
    #[test]
    fn chunk_borders_change_nothing((secret, body, cuts) in planted()) {
        let (mut whole, mut cut) = (scanner(&[&secret]), scanner(&[&secret]));
        let expected = mask_chunks(&mut whole, [body.as_bytes()]);
        prop_assert_eq!(mask_chunks(&mut cut, chunks(body.as_bytes(), &cuts)), expected);
        prop_assert_eq!(cut.masked(), whole.masked());
    }

    /// SEC-13: a header value is masked as a body is.
    #[test]
    fn headers_are_masked_like_bodies((secret, body, _) in planted()) {
        let Ok(value) = HeaderValue::from_bytes(body.as_bytes()) else { return Ok(()) };
        let expected = mask_chunks(&mut scanner(&[&secret]), [body.as_bytes()]);
        let mut headers = HeaderMap::from_iter([(http::header::ETAG, value)]);
        masks(&[&secret]).mask_headers(&mut headers);
        prop_assert_eq!(headers[http::header::ETAG].as_bytes(), expected);
    }

    /// SEC-13: no decoding of what is left of a name holds the secret, in any case.
    #[test]
    fn names_are_masked_like_bodies(
        secret in "[A-Za-z0-9._~+-]{8,60}",
        filler in "[a-zA-Z-]{0,12}",
        choices in prop::collection::vec(2u8..8, 1..9),
        base64 in prop::option::of((0usize..4, Just(true))),
    ) {
        let spelling = spelling_of(&secret, &choices, base64);
        let (masked, _) = masked_field(&secret, &format!("{filler}{spelling}{filler}"));
        let decoded = decode(masked.as_bytes(), false, true).to_ascii_lowercase();
        let looked_for = match base64 {
            None => secret.to_ascii_lowercase(),
            // Those characters that hold nothing but bits of the secret.
            Some((before, _)) => {
                let whole = URL_SAFE_NO_PAD.encode(format!("{}{secret}", "u".repeat(before))).to_ascii_lowercase();
                whole[(before * 8).div_ceil(6)..(before + secret.len()) * 8 / 6].to_owned()
            }
        };
        prop_assert!(!holds(&decoded, &looked_for), "{} of {}{}{}", masked, filler, spelling, filler);
    }

    /// SEC-13: a text in which no decoding holds the secret is not touched, however close it comes.
    #[test]
    fn innocent_text_is_unchanged((secret, body) in near_misses()) {
        prop_assume!(!reveals(body.as_bytes(), &secret));
        prop_assert_eq!(mask_text(&[&secret], &body), body);
    }

    /// The search by fragments finds what trying at each byte finds.
    #[test]
    fn fragments_miss_nothing((secret, body, _) in planted()) {
        let patterns = || super::Pattern::of_secret(&secret);
        let (mut fast, mut slow) = (
            super::Finder::new(patterns()).find(body.as_bytes()),
            super::Finder::by_trying(patterns()).find(body.as_bytes()),
        );
        fast.sort_by_key(|found| (found.start, found.end));
        slow.sort_by_key(|found| (found.start, found.end));
        fast.dedup();
        slow.dedup();
        prop_assert_eq!(fast, slow);
    }
}
