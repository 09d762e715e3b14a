mod bounds;

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::json as tree;

use super::*;
use crate::snapshot::MemoryBudget;
use crate::snapshot::plan::{JsonValue, TextPiece};

/// With room for all.
fn path(known: &Known<'_>, pieces: &[TextPiece]) -> Result<String, Unfilled> {
    super::path(known, pieces, &mut Room::new(1 << 20))
}

fn query(known: &Known<'_>, parameters: &[(String, JsonValue)]) -> Result<String, Unfilled> {
    super::query(known, parameters, &mut Room::new(1 << 20))
}

fn header(known: &Known<'_>, pieces: &[TextPiece]) -> Result<Option<HeaderValue>, Unfilled> {
    super::header(known, pieces, &mut Room::new(1 << 20))
}

fn json(known: &Known<'_>, value: &JsonValue) -> Result<Option<Vec<u8>>, Unfilled> {
    super::json(known, value, &mut MemoryBudget::new(1 << 20).hold()).map_err(|none| match none {
        NoJson::Unfilled(unfilled) => unfilled,
        NoJson::NoMemory => panic!("there is room"),
    })
}

fn template(known: &Known<'_>, value: &JsonValue) -> Vec<u8> {
    super::template(known, value, &mut MemoryBudget::new(1 << 20).hold()).expect("room")
}

fn json_of(text: &str) -> Json {
    Json::check(bytes::Bytes::copy_from_slice(text.as_bytes())).expect(text)
}

/// A placeholder as it would be parsed: `{part...}` is part 0, `{gone...}` part 1, `{id}` the second segment.
fn reference(written: &str) -> Reference {
    let (path, absent) = match (written.strip_suffix('?'), written.split_once('|')) {
        (Some(path), _) => (path, Absent::LeavesOut),
        (None, Some((path, text))) => (path, Absent::Default(text.to_owned())),
        (None, None) => (written, Absent::Fails),
    };
    let mut path = path.split('.').map(str::to_owned);
    let source = match path.next().unwrap().as_str() {
        "id" => ValueSource::Segment(1),
        "rest" => ValueSource::Rest,
        "query" => ValueSource::Query(path.next().unwrap()),
        "header" => ValueSource::Header(path.next().unwrap().parse::<HeaderName>().unwrap()),
        "request" => ValueSource::Request,
        "client" => ValueSource::Client,
        "item" => ValueSource::Item,
        "index" => ValueSource::Index,
        "part" => ValueSource::Part(0),
        "gone" => ValueSource::Part(1),
        other => panic!("{other}"),
    };
    Reference { text: written.to_owned(), source, path: path.collect(), absent }
}

/// `a{id}b` as its pieces.
fn pieces(text: &str) -> Vec<TextPiece> {
    let mut pieces = Vec::new();
    for (number, piece) in text.split(['{', '}']).enumerate() {
        match number % 2 {
            0 if piece.is_empty() => {}
            0 => pieces.push(TextPiece::Text(piece.to_owned())),
            _ => pieces.push(TextPiece::Value(reference(piece))),
        }
    }
    pieces
}

/// JSON as it would be parsed.
fn parsed(value: &Value) -> JsonValue {
    match value {
        Value::String(text) => match &pieces(text)[..] {
            [TextPiece::Value(reference)] => JsonValue::Value(reference.clone()),
            _ => JsonValue::Text(pieces(text)),
        },
        Value::Array(items) => JsonValue::List(items.iter().map(parsed).collect()),
        Value::Object(members) => {
            JsonValue::Object(members.iter().map(|(name, value)| (name.clone(), parsed(value))).collect())
        }
        other => JsonValue::Other(other.clone()),
    }
}

/// Knows this as `{part}`, and all else that there is to know, of a route `/a/{id}/{*rest}`.
fn knowing<T>(part: &str, path: &str, read: impl FnOnce(&Known<'_>) -> T) -> T {
    let id_end = path[3..].find('/').map_or(path.len(), |slash| slash + 3);
    let matched =
        Matched { route: 0, parameters: std::iter::once(3..id_end).collect(), rest: Some(id_end..path.len()) };
    let mut headers = HeaderMap::new();
    headers.insert("x-one", HeaderValue::from_static("1"));
    headers.append("x-one", HeaderValue::from_static("2"));
    headers.insert("x-utf8", HeaderValue::from_bytes("é".as_bytes()).unwrap());
    headers.insert("x-latin", HeaderValue::from_bytes(b"\xe9").unwrap());
    let (request, item) = (json_of(r#"{"lines":[1.0,"x"]}"#), json_of(r#"{"id":1e2}"#));
    read(&Known {
        matched: &matched,
        path,
        query: Some("page=2&page=3&e=&n&plus=a+b%2B&uml=%C3%A9&bad=%ff&%71=7&&"),
        headers: &headers,
        request: Some(&request),
        client: Some("billing"),
        parts: &[Some(Content::Json(json_of(part))), Some(Content::Absent), None],
        item: Some((&item, 3)),
        seen: None,
    })
}

fn why<T>(result: Result<T, Unfilled>) -> Result<T, Why> {
    result.map_err(|unfilled| unfilled.why)
}

#[test]
fn placeholders_read_what_they_name() {
    for (written, found) in [
        ("id", Ok(Some(r#""7/x""#))),
        ("rest", Ok(Some(r#""b/c d""#))),
        ("query.page", Ok(Some(r#""2""#))),
        ("query.q", Ok(Some(r#""7""#))),
        ("query.e", Ok(Some(r#""""#))),
        ("query.n", Ok(Some(r#""""#))),
        ("query.plus", Ok(Some(r#""a b+""#))),
        ("query.uml", Ok(Some(r#""é""#))),
        ("query.bad", Err(Why::NotUnicode)),
        ("query.absent", Err(Why::Absent)),
        ("query.absent?", Ok(None)),
        ("query.absent|50", Ok(Some(r#""50""#))),
        ("header.x-one", Ok(Some(r#""1""#))),
        ("header.x-utf8", Ok(Some(r#""é""#))),
        ("header.x-latin", Err(Why::NotUnicode)),
        ("header.x-absent?", Ok(None)),
        ("request", Ok(Some(r#"{"lines":[1.0,"x"]}"#))),
        ("request.lines.0", Ok(Some("1.0"))),
        ("request.lines.2", Err(Why::Absent)),
        ("client", Ok(Some(r#""billing""#))),
        ("item.id", Ok(Some("1e2"))),
        ("index", Ok(Some("3"))),
        ("part", Ok(Some(r#"{"n":null,"d":12345678901234567890123}"#))),
        ("part.d", Ok(Some("12345678901234567890123"))),
        ("part.n", Ok(Some("null"))),
        ("part.n?", Ok(Some("null"))),
        ("part.n|none", Ok(Some(r#""none""#))),
        ("part.n.x", Err(Why::Absent)),
        ("gone", Err(Why::Absent)),
        ("gone.x?", Ok(None)),
    ] {
        let got = knowing(r#"{"n":null,"d":12345678901234567890123}"#, "/a/7%2Fx/b/c%20d", |known| {
            why(value(known, &reference(written))).map(|json| json.map(|json| json.as_str().to_owned()))
        });
        assert_eq!(got, found.map(|found| found.map(str::to_owned)), "{written}");
    }
    let unknown = |written: &str| {
        knowing("1", "/a/7", |known| {
            let known = Known { query: None, request: None, client: None, item: None, parts: &[None], ..*known };
            why(value(&known, &reference(written)))
        })
    };
    for written in ["query.page", "request", "client", "item", "index", "part", "rest"] {
        assert_eq!(unknown(written), Err(Why::Absent), "{written}");
    }
}

#[test]
fn a_report_names_the_placeholder_and_never_the_value() {
    let unfilled =
        knowing(r#"{"secret":["s3cret"]}"#, "/a/7", |known| path(known, &pieces("/x/{part.secret}"))).unwrap_err();
    assert_eq!(unfilled.to_string(), "{part.secret} is an object or a list, which cannot stand in a text");
    assert!(!format!("{unfilled:?}").contains("s3cret"));
}

/// A path with `{part}`, whose value is the JSON beside it.
#[test]
fn a_value_stands_within_one_segment() {
    for (template, part, expected) in [
        ("/x/{part}", r#""plain-._~09""#, Ok("/x/plain-._~09")),
        ("/x/{part}", r#""a/b""#, Ok("/x/a%2Fb")),
        ("/x/{part}/y", r##""?#%&=+;:@$,!*'()[]""##, Ok("/x/%3F%23%25%26%3D%2B%3B%3A%40%24%2C%21%2A%27%28%29%5B%5D/y")),
        ("/x/{part}", r#""%2e%2e""#, Ok("/x/%252e%252e")),
        ("/x/{part}", r#""é 😀""#, Ok("/x/%C3%A9%20%F0%9F%98%80")),
        ("/x/{part}", r#""\ud83d\ude00""#, Ok("/x/%F0%9F%98%80")),
        ("/x/{part}", r#""a{b}\"<>`^|""#, Ok("/x/a%7Bb%7D%22%3C%3E%60%5E%7C")),
        ("/x/{part}", "12345678901234567890123", Ok("/x/12345678901234567890123")),
        ("/x/{part}", "1.0", Ok("/x/1.0")),
        ("/x/{part}", "1E+400", Ok("/x/1E%2B400")),
        ("/x/{part}", "-0", Ok("/x/-0")),
        ("/x/{part}", "true", Ok("/x/true")),
        ("/x/v{part}.json", "1", Ok("/x/v1.json")),
        ("/x/{part}{part}", r#""...""#, Ok("/x/......")),
        ("/x/.{part}", r#""git""#, Ok("/x/.git")),
        ("/x/{part}git", r#"".""#, Ok("/x/.git")),
        ("/x/v1..{part}", r#"".""#, Ok("/x/v1...")),
        ("/x/{part}", r#""""#, Err(Why::Empty)),
        ("/x/a{part}b", r#""""#, Err(Why::Empty)),
        ("/x/{part}", r#"".""#, Err(Why::UnsafePath)),
        ("/x/{part}/y", r#""..""#, Err(Why::UnsafePath)),
        ("/x/.{part}/y", r#"".""#, Err(Why::UnsafePath)),
        ("/x/{part}.", r#"".""#, Err(Why::UnsafePath)),
        ("/x/{part}{part}", r#"".""#, Err(Why::UnsafePath)),
        ("/x/{part}", r#""../admin""#, Err(Why::UnsafePath)),
        ("/x/{part}", r#""a/..""#, Err(Why::UnsafePath)),
        ("/x/{part}", r#""..;a=b""#, Err(Why::UnsafePath)),
        ("/x/{part}", r#""..\\admin""#, Err(Why::UnsafePath)),
        ("/x/{part}", r#""a\nb""#, Err(Why::UnsafePath)),
        ("/x/{part}", r#""a\u0000""#, Err(Why::UnsafePath)),
        ("/x/{part}", r#""\u007f""#, Err(Why::UnsafePath)),
        ("/x/{part}", r#""\ud83d""#, Err(Why::NotUnicode)),
        ("/x/{part}", "null", Err(Why::Null)),
        ("/x/{part?}", "null", Err(Why::Absent)),
        ("/x/{part|none}", "null", Ok("/x/none")),
        ("/x/{part}", "[]", Err(Why::NotText)),
        ("/x/{part}", r#"{"a":1}"#, Err(Why::NotText)),
        ("/x/{gone}", "1", Err(Why::Absent)),
        ("/x/{id}/{index}", "1", Ok("/x/7%2Fx%3B/3")),
        ("/x/{rest}", "1", Ok("/x/b;v=1/%2f%ff/")),
        ("/plain/../literal", "1", Ok("/plain/../literal")),
    ] {
        let got = knowing(part, "/a/7%2fx;/b;v=1/%2f%ff/", |known| why(path(known, &pieces(template))));
        assert_eq!(got, expected.map(str::to_owned), "{template} {part}");
    }
    let blamed =
        knowing(r#"["..", "fine"]"#, "/a/7", |known| path(known, &pieces("/{part.1}/{part.0}/{id}"))).unwrap_err();
    assert_eq!(blamed.to_string(), "{part.0} would make a dot segment or a control character of the path");
    let nothing = knowing("1", "/a/7/", |known| why(path(known, &pieces("/x/{rest}"))));
    assert_eq!(nothing, Err(Why::Absent));
}

#[test]
fn a_value_stands_within_one_parameter() {
    for (value, part, expected) in [
        (tree!("{part}"), r#""a&b=c#d é+%""#, Ok("p%20q=a%26b%3Dc%23d%20%C3%A9%2B%25")),
        (tree!("{part}"), r#""\r\n\u0000""#, Ok("p%20q=%0D%0A%00")),
        (tree!("{part}"), r#""""#, Ok("p%20q=")),
        (tree!("{part}"), "1.0", Ok("p%20q=1.0")),
        (tree!("{part}"), "12345678901234567890123", Ok("p%20q=12345678901234567890123")),
        (tree!("{part}"), "false", Ok("p%20q=false")),
        (tree!("{part}"), r#"[ 1.0,"a b",true]"#, Ok("p%20q=1.0&p%20q=a%20b&p%20q=true")),
        (tree!("{part}"), "[]", Ok("")),
        (tree!("{part}"), "[[1]]", Err(Why::NotText)),
        (tree!("{part}"), "[null]", Err(Why::Null)),
        (tree!("{part}"), r#"{"a":1}"#, Err(Why::NotText)),
        (tree!("{part}"), "null", Err(Why::Null)),
        (tree!("{part?}"), "null", Ok("")),
        (tree!("{gone?}"), "1", Ok("")),
        (tree!("{gone|a&b}"), "1", Ok("p%20q=a%26b")),
        (tree!("{gone}"), "1", Err(Why::Absent)),
        (tree!("in:{part}"), r#""x&y""#, Ok("p%20q=in%3Ax%26y")),
        (tree!("in:{part}"), "[1]", Err(Why::NotText)),
        (tree!("in:{gone?}"), "1", Err(Why::Absent)),
        (tree!("open"), "1", Ok("p%20q=open")),
        (tree!(12), "1", Ok("p%20q=12")),
        (tree!(true), "1", Ok("p%20q=true")),
    ] {
        let got = knowing(part, "/a/7", |known| why(query(known, &[("p q".to_owned(), parsed(&value))])));
        assert_eq!(got, expected.map(str::to_owned), "{value} {part}");
    }
    let several = [("a", "{gone?}"), ("b", "{index}"), ("c", "{query.page}")];
    let several: Vec<_> = several.map(|(name, text)| (name.to_owned(), parsed(&tree!(text)))).into();
    assert_eq!(knowing("1", "/a/7", |known| query(known, &several)).unwrap(), "b=3&c=2");
}

#[test]
fn a_value_stands_within_one_header() {
    for (template, part, expected) in [
        ("{part}", r#""plain \t value""#, Ok(Some("plain \t value"))),
        ("{part}", r#""é""#, Ok(Some("é"))),
        ("{part}", r#""""#, Ok(Some(""))),
        ("{part}", "12345678901234567890123", Ok(Some("12345678901234567890123"))),
        ("Tenant {part}, {index}", "true", Ok(Some("Tenant true, 3"))),
        ("{part}", r#""a\r\nX-Injected: 1""#, Err(Why::NotHeader)),
        ("{part}", r#""a\nb""#, Err(Why::NotHeader)),
        ("{part}", r#""a\rb""#, Err(Why::NotHeader)),
        ("{part}", r#""a\u0000""#, Err(Why::NotHeader)),
        ("{part}", r#""\u007f""#, Err(Why::NotHeader)),
        ("{part}", r#"" a""#, Err(Why::NotHeader)),
        ("{part}", r#""a\t""#, Err(Why::NotHeader)),
        ("x{part}y", r#"" a ""#, Ok(Some("x a y"))),
        ("x {part}", r#""""#, Err(Why::NotHeader)),
        ("{part}", "null", Err(Why::Null)),
        ("{part?}", "null", Ok(None)),
        ("{gone?}", "1", Ok(None)),
        ("x{gone?}", "1", Err(Why::Absent)),
        ("{part}", "[1]", Err(Why::NotText)),
        ("fixed", "1", Ok(Some("fixed"))),
    ] {
        let got = knowing(part, "/a/7", |known| why(header(known, &pieces(template))));
        let expected = expected.map(|value| value.map(|value| HeaderValue::from_bytes(value.as_bytes()).unwrap()));
        assert_eq!(got, expected, "{template} {part}");
    }
    let blamed =
        |text: &str| knowing(r#"" a ""#, "/a/7", |known| header(known, &pieces(text))).unwrap_err().placeholder;
    assert_eq!(blamed("{part}{index}"), "part");
    assert_eq!(blamed("{index}{part}"), "part");
}

#[test]
fn json_keeps_types_and_spelling() {
    for (value, part, expected) in [
        (tree!("{part}"), "12345678901234567890123", Ok(Some("12345678901234567890123"))),
        (tree!("{part}"), "1.0", Ok(Some("1.0"))),
        (tree!("{part}"), "1e400", Ok(Some("1e400"))),
        (tree!("{part}"), "-0", Ok(Some("-0"))),
        (tree!("{part}"), r#"{ "a" : [ 1, "\u0061" ] }"#, Ok(Some(r#"{ "a" : [ 1, "\u0061" ] }"#))),
        (tree!("{part}"), "null", Ok(Some("null"))),
        (tree!("{part}"), r#""\ud800""#, Ok(Some(r#""\ud800""#))),
        (tree!("n{part}"), r#""\ud800""#, Err(Why::NotUnicode)),
        (tree!("n{part}"), "1.0", Ok(Some(r#""n1.0""#))),
        (tree!("n{part}"), r#""\"\\\n\u0000</script>é""#, Ok(Some(r#""n\"\\\n\u0000</script>é""#))),
        (tree!("n{part}"), "null", Err(Why::Null)),
        (tree!("n{part}"), "[]", Err(Why::NotText)),
        (tree!("{id}"), "1", Ok(Some(r#""7""#))),
        (tree!("{index}"), "1", Ok(Some("3"))),
        (tree!("{gone}"), "1", Err(Why::Absent)),
        (tree!("{gone?}"), "1", Ok(None)),
        (tree!("{gone|a\"b}"), "1", Ok(Some(r#""a\"b""#))),
        (
            tree!({"a": "{part}", "b": "{gone?}", "c\"": [1, "{gone?}", "{index}"], "d": {}}),
            "1.0",
            Ok(Some(r#"{"a":1.0,"c\"":[1,3],"d":{}}"#)),
        ),
        (tree!({"a": "{gone?}"}), "1", Ok(Some("{}"))),
        (tree!(["{gone?}"]), "1", Ok(Some("[]"))),
        (tree!({"a": ["{gone}"]}), "1", Err(Why::Absent)),
        (tree!({"a": null, "b": 1.5}), "1", Ok(Some(r#"{"a":null,"b":1.5}"#))),
    ] {
        let got = knowing(part, "/a/7", |known| why(json(known, &parsed(&value))));
        assert_eq!(got, expected.map(|json| json.map(|json| json.as_bytes().to_vec())), "{value} {part}");
    }
}

#[test]
fn a_condition_knows_types() {
    for (written, part, values, holds_, one_of) in [
        ("part", "true", tree!([true]), true, true),
        ("part", "false", tree!([true]), false, false),
        ("part", "null", tree!([null]), false, true),
        ("part", "0", tree!([0]), true, true),
        ("part", r#""""#, tree!([""]), true, true),
        ("part", r#""company""#, tree!(["person", "company"]), true, true),
        ("part", r#""c\u006fmpany""#, tree!(["company"]), true, true),
        ("part", "1", tree!(["1"]), true, false),
        ("part", r#""1""#, tree!([1]), true, false),
        ("part", "1.0", tree!([1]), true, true),
        ("part", "100", tree!([1e2]), true, true),
        ("part", "-0", tree!([0]), true, true),
        ("part", "9007199254740993", tree!([9007199254740992u64]), true, false),
        ("part", "1e400", tree!([1]), true, false),
        ("part", r#""\ud800""#, tree!(["x"]), true, false),
        ("part", "[1]", tree!([1, "[1]", null, true]), true, false),
        ("part", r#"{"a":1}"#, tree!([1]), true, false),
        ("gone", "1", tree!([null]), false, false),
        ("gone?", "1", tree!([null]), false, false),
        ("query.page", "1", tree!(["2"]), true, true),
        ("query.page", "1", tree!([2]), true, false),
        ("index", "1", tree!([3]), true, true),
        ("index", "1", tree!(["3"]), true, false),
    ] {
        let values = values.as_array().unwrap().clone();
        let (there, one, none) = knowing(part, "/a/7", |known| {
            let asked = |condition: Condition| holds(known, &condition).unwrap();
            let reference = reference(written);
            (
                asked(Condition::Holds(reference.clone())),
                asked(Condition::OneOf(reference.clone(), values.clone())),
                asked(Condition::NoneOf(reference, values)),
            )
        });
        assert_eq!((there, one, none), (holds_, one_of, !one_of), "{written} {part}");
    }
}

/// What is no item's is looked for once, not once for each item; what is an item's for each.
#[test]
fn what_was_seen_is_not_looked_for_again() {
    let seen = Seen::default();
    let (first, second) = (reference("part.a"), reference("item.id"));
    let read = |part: &str, item: &str| {
        let item = json_of(item);
        knowing(part, "/a/7", |known| {
            let known = Known { seen: Some(&seen), item: Some((&item, 0)), ..*known };
            [&first, &second].map(|reference| value(&known, reference).unwrap().unwrap().as_str().to_owned())
        })
    };
    assert_eq!(read(r#"{"a":1}"#, r#"{"id":1}"#), ["1", "1"]);
    // A part's content never changes; here it does, to show that it was not looked at.
    assert_eq!(read(r#"{"a":2}"#, r#"{"id":2}"#), ["1", "2"]);
}

/// What a template makes of parts that failed: the shape stays.
#[test]
fn a_template_is_null_where_there_is_nothing() {
    for (value, part, expected) in [
        (tree!("{gone}"), "1", "null"),
        (tree!("{gone?}"), "1", "null"),
        (tree!("{gone.a|x}"), "1", r#""x""#),
        (tree!("n{gone}"), "1", "null"),
        (tree!("n{gone|x}"), "1", r#""nx""#),
        (tree!("{part|x}"), "null", r#""x""#),
        (tree!("n{part|x}"), "null", r#""nx""#),
        (tree!("n{part}"), "null", "null"),
        (tree!("n{part}"), "{}", "null"),
        (tree!("n{part.a.b}"), "null", "null"),
        (
            tree!({"a": "{gone.a}", "b": "{query.absent}", "c": "{part.x?}", "d": ["{gone}"]}),
            "null",
            r#"{"a":null,"b":null,"d":[null]}"#,
        ),
    ] {
        let got = knowing(part, "/a/7", |known| template(known, &parsed(&value)));
        assert_eq!(String::from_utf8(got).unwrap(), expected, "{value} {part}");
    }
}

#[test]
fn the_items_of_a_list_are_gone_over() {
    for (written, part, expected) in [
        ("part", "[ 1.0 , {\"a\":1}, null ]", Ok(vec!["1.0", "{\"a\":1}", "null"])),
        ("part", "[]", Ok(vec![])),
        ("part.a", r#"{"a":["x"]}"#, Ok(vec!["\"x\""])),
        ("part", r#"{"a":1}"#, Err(Why::NotList)),
        ("part", r#""x""#, Err(Why::NotList)),
        ("part", "[1,2,3,4,5]", Ok(vec!["1", "2", "3", "4"])),
        ("part", "null", Ok(vec![])),
        ("part?", "null", Ok(vec![])),
        ("gone?", "1", Ok(vec![])),
        ("gone", "1", Err(Why::Absent)),
        ("id", "1", Err(Why::NotList)),
        ("part.a", r#"{"b":[1]}"#, Err(Why::Absent)),
        ("part.a?", r#"{"b":[1]}"#, Ok(vec![])),
        ("part.1", "[[1],[2]]", Ok(vec!["2"])),
        ("part.9", "[[1]]", Err(Why::Absent)),
        ("part.a", r#"[{"a":[1,[2]]},{"a":[]},{"a":null},{},3,{"a":[4]}]"#, Ok(vec!["1", "[2]", "4"])),
        ("part.a.b", r#"{"a":[[{"b":[1]}],[[{"b":[2]}]]]}"#, Ok(vec!["1", "2"])),
        ("part.a.b", r#"[{"a":[{"b":[1]},{"b":[2]}]},{"a":{"b":[3]}}]"#, Ok(vec!["1", "2", "3"])),
        ("part.a", r#"[{"a":1},{"a":{"b":2}},{"a":[3]}]"#, Ok(vec!["1", r#"{"b":2}"#, "3"])),
        ("part.a", "[]", Ok(vec![])),
        ("part.a", r#"[{"b":1}]"#, Ok(vec![])),
        ("part.a", r#"[{"a":[1,2]},{"a":[3,4]},{"a":[5]}]"#, Ok(vec!["1", "2", "3", "4"])),
    ] {
        let got = knowing(part, "/a/7", |known| why(items(known, &reference(written), 3)));
        assert_eq!(got, expected.map(|items| items.into_iter().map(json_of).collect()), "{written} {part}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(1024)))]

    /// SEC-02: whatever a value holds, its path has the segments that were written, none of them a dot segment, and says the
    /// value when it is decoded.
    #[test]
    fn no_value_leaves_its_segment(text in "([a./;%?#\\\\\u{0}\n\u{e9}\u{1f600}]|\\.\\.|%2e|%2f){0,6}") {
        let part = serde_json::to_string(&text).unwrap();
        let got = knowing(&part, "/a/7", |known| path(known, &pieces("/x/{part}/y")));
        if let Ok(path) = got {
            let segments: Vec<_> = path.split('/').collect();
            prop_assert_eq!(segments.len(), 4, "{}", path);
            prop_assert_eq!(percent_decode(segments[2].as_bytes()).decode_utf8().unwrap(), text.as_str());
            prop_assert!(path.is_ascii() && crate::route::check_path(&path).is_ok(), "{}", path);
        } else {
            prop_assert!(text.is_empty() || text.contains(['.', '\n', '\0']), "{:?}", text);
        }
    }

    /// Whatever a value holds, every reader of the query gets it back, in the one parameter.
    #[test]
    fn no_value_leaves_its_parameter(text in any::<String>()) {
        let part = serde_json::to_string(&text).unwrap();
        let query = knowing(&part, "/a/7", |known| query(known, &[("a".to_owned(), parsed(&tree!("{part}")))])).unwrap();
        let read: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        prop_assert_eq!(read, vec![("a".into(), text.as_str().into())]);
        prop_assert!(query.bytes().all(|byte| byte.is_ascii_graphic()));
    }

    /// A body is JSON whatever stands in it, and says the same.
    #[test]
    fn a_body_is_json(text in any::<String>()) {
        let part = serde_json::to_string(&text).unwrap();
        let body = knowing(&part, "/a/7", |known| json(known, &parsed(&tree!({"a": "{part}", "b": "x{part}"})))).unwrap();
        let read: Value = serde_json::from_slice(&body.unwrap()).unwrap();
        prop_assert_eq!(read, tree!({"a": text, "b": format!("x{text}")}));
    }
}
