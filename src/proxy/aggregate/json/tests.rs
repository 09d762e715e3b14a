use proptest::prelude::*;

use super::*;

fn json(text: &str) -> Json {
    Json::check(Bytes::copy_from_slice(text.as_bytes())).expect(text)
}

fn path(dotted: &str) -> Vec<String> {
    dotted.split('.').filter(|step| !step.is_empty()).map(str::to_owned).collect()
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[test]
fn only_json_is_json() {
    for text in ["null", " 1 ", "\r\n\t{}", r#"{"a":1,"a":2}"#, r#""\ud800""#, "1e400", "-0", r#""\/\u0000""#] {
        assert_eq!(json(text).as_bytes(), text.trim().as_bytes());
    }
    let refused: [&[u8]; 26] = [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"{\"a\":1,}",
        b"{a:1}",
        b"{'a':1}",
        b"01",
        b"+1",
        b"1.",
        b".5",
        b"0x1",
        b"NaN",
        b"Infinity",
        b"nul",
        b"True",
        b"1 2",
        b"[1] x",
        b"\"a\nb\"",
        b"\"\\x\"",
        b"\"\\u12\"",
        b"\"\xff\"",
        b"\xef\xbb\xbf1",
        b"// a\n1",
        b"{\"a\" 1}",
        b"<html>",
    ];
    for bytes in refused {
        let refused = Json::check(Bytes::from_static(bytes));
        assert!(matches!(refused, Err(NotJson::Invalid { .. })), "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_no_json_is_said_without_showing_it() {
    let refused = Json::check(Bytes::from_static(b"{\"a\":\n secret}")).unwrap_err();
    assert_eq!(refused.to_string(), "it is no JSON: see line 2, column 2");
    assert_eq!(format!("{:?}", json(r#"{"a":"secret"}"#)), "Json(Object, 14 bytes)");
}

/// What is refused here for its depth would be refused as a tree, and nothing else is; no depth overflows the stack.
#[test]
fn depth_is_bounded() {
    for (depth, deep) in [(127, false), (128, true), (1_000_000, true)] {
        let text = nested(depth);
        let refused = Json::check(Bytes::from(text.clone())).err();
        assert_eq!(refused, deep.then_some(NotJson::TooDeep), "{depth}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).is_err(), deep, "{depth}");
    }
    assert_eq!(NotJson::TooDeep.to_string(), "its lists and objects are nested deeper than 127");
    let brackets = format!("[{:?},{}]", "[{".repeat(200) + "\\\"[", nested(126));
    json(&brackets);
    json(&format!("[{}]", vec!["{\"[\":[]}"; 1000].join(",")));
}

/// What stands in a string nests nothing, wherever in it, and what stands behind it does.
#[test]
fn strings_have_no_depth() {
    for filler in 0..40 {
        for inside in [r"[{[{", r#"\"[\"{"#, r"\\", r"[\\\\\\", r#"\\\"[{"#] {
            let string = format!("\"{}{inside}\"", "x".repeat(filler));
            for (text, depth) in [(string.clone(), 0), (format!("[{string},{{{string}:[{string}]}},{string}]"), 3)] {
                assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
                let deepest = (0..9).find(|depth_max| !is_deeper_than(*depth_max, text.as_bytes()));
                assert_eq!(deepest, Some(depth), "{text}");
            }
        }
    }
}

#[test]
fn values_are_found_as_they_are_written() {
    let text = r#" { "n" : 12345678901234567890123, "one": 1.0, "big": 1e400, "zero": -0, "null": null,
        "\u0061": "x", "é": 2, "list": [ [1, 2.50], {"0": "name", "a.b": true} ], "": 0, "dup": 1, "dup": { "k" : [] } } "#;
    let whole = json(text);
    for (at, found) in [
        ("n", Some("12345678901234567890123")),
        ("one", Some("1.0")),
        ("big", Some("1e400")),
        ("zero", Some("-0")),
        ("null", Some("null")),
        ("a", Some(r#""x""#)),
        ("é", Some("2")),
        ("list.0.1", Some("2.50")),
        ("list.1", Some(r#"{"0": "name", "a.b": true}"#)),
        ("list.1.0", Some(r#""name""#)),
        ("dup", Some(r#"{ "k" : [] }"#)),
        ("dup.k", Some("[]")),
        ("list.2", None),
        ("list.00", None),
        ("list.-1", None),
        ("list.+1", None),
        ("list.x", None),
        ("list.99999999999999999999", None),
        ("n.a", None),
        ("null.a", None),
        ("A", None),
        ("absent", None),
    ] {
        let found_json = whole.at(&path(at));
        assert_eq!(found_json.as_ref().map(Json::as_str), found, "{at}");
    }
    assert_eq!(whole.at(&[]).as_ref(), Some(&whole));
    assert_eq!(whole.at(&["".to_owned()]).unwrap().as_str(), "0");
    assert_eq!(whole.at(&path("list.1")).unwrap().get("a.b").unwrap().as_str(), "true");
    assert_eq!(json("[1]").get("0"), None);
    assert_eq!(json("1").members(), None);
    assert_eq!(json("{}").items(), None);
    assert_eq!(json("[]").items(), Some(Vec::new()));
    assert_eq!(
        json(r#"{"\u0061":1,"b":[]}"#).members(),
        Some(vec![("a".to_owned(), json("1")), ("b".to_owned(), json("[]"))])
    );
}

#[test]
fn a_value_shares_the_bytes_that_it_lies_in() {
    let bytes = Bytes::from_static(br#"{"a":[10,20]}"#);
    let item = Json::check(bytes.clone()).unwrap().at(&path("a.1")).unwrap();
    assert_eq!(item.as_bytes().as_ptr(), bytes[9..].as_ptr());
}

/// Names and strings are compared and shown by what they say, not by how they are written.
#[test]
fn strings_say_what_their_escapes_mean() {
    for (text, says) in [
        (r#""plain""#, Some("plain")),
        (r#""\u0061\n\"\/\\""#, Some("a\n\"/\\")),
        (r#""\ud83d\ude00""#, Some("\u{1f600}")),
        (r#""😀\u0000""#, Some("\u{1f600}\0")),
        (r#""""#, Some("")),
        (r#""\ud83d""#, None),
        (r#""\ude00\ud83d""#, None),
        ("1", None),
        ("null", None),
    ] {
        assert_eq!(json(text).text().as_deref(), says, "{text}");
    }
    assert_eq!(json(r#"{"\ud83d\ude00":1}"#).get("\u{1f600}").unwrap().as_str(), "1");
    assert_eq!(json(r#"{"\ud83d":1}"#).members().unwrap()[0].0, "\u{fffd}".repeat(3));
}

#[test]
fn lists_are_made_of_values_and_of_lists() {
    assert_eq!(Json::list(&[]).as_str(), "[]");
    assert_eq!(Json::list(&[json("1.0"), json("[ ]"), Json::null()]).as_str(), "[1.0,[ ],null]");
    let lists = [json("[ 1.0 , 2 ]"), json("[]"), json("[ \n ]"), json("[{}]")];
    assert_eq!(Json::joined(&lists).unwrap().as_str(), "[1.0 , 2,{}]");
    assert_eq!(Json::joined(&[]).unwrap().as_str(), "[]");
    assert_eq!(Json::joined(&[json("[1]"), json("{}")]), None);
    assert_eq!(Json::string("\"\n\u{7f}é").as_str(), "\"\\\"\\n\u{7f}é\"");
}

proptest! {
    /// Whatever bytes come, they are taken if and only if they are JSON, and then everything in them can be opened.
    #[test]
    fn all_that_is_checked_can_be_opened(text in r#"([\[\]{},:"\\ 0-9eE.+-]|"a":|"\\u[0-9d][89a-f]0[0-9]"|true|null|é){0,12}"#) {
        let checked = Json::check(Bytes::from(text.clone()));
        prop_assert_eq!(checked.is_ok(), serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok());
        if let Ok(json) = checked {
            json.text();
            for (_, member) in json.members().unwrap_or_default() {
                prop_assert_eq!(Json::check(member.clone().into_bytes()), Ok(member));
            }
            for item in json.items().unwrap_or_default() {
                prop_assert_eq!(Json::check(item.clone().into_bytes()), Ok(item));
            }
        }
    }
}
