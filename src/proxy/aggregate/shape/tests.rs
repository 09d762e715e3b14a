use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::snapshot::plan::JsonPath;

/// With room for all.
fn target(answer: &Json, target: &Target) -> Result<Json, NoTarget> {
    super::target(answer, target, &MemoryBudget::new(1 << 30))
}

fn json(text: &str) -> Json {
    Json::check(Bytes::copy_from_slice(text.as_bytes())).expect(text)
}

fn path(dotted: &str) -> Vec<String> {
    dotted.split('.').map(str::to_owned).collect()
}

fn edits(pick: &[&str], drop: &[&str], rename: &[(&str, &str)]) -> Edits {
    Edits {
        pick: pick.iter().map(|dotted| path(dotted)).collect(),
        drop: drop.iter().map(|dotted| path(dotted)).collect(),
        rename: rename.iter().map(|(dotted, name)| (path(dotted), (*name).to_owned())).collect(),
    }
}

#[track_caller]
fn shows(value: &str, edits: &Edits, shown: &str) {
    assert_eq!(edited(&json(value), edits).as_str(), shown, "{edits:?}");
}

const ORDER: &str =
    r#"{"id": 1.0, "lines": [{"sku":"a", "qty":1e2, "x":{"y":[ 1 ]}}, {"sku":"b"}], "note": null, "total": -0}"#;

#[test]
fn what_is_picked_is_all_that_stays() {
    for (pick, shown) in [
        (&["id"][..], r#"{"id":1.0}"#),
        (&["lines.sku"], r#"{"lines":[{"sku":"a"},{"sku":"b"}]}"#),
        (&["total", "lines.x.y", "id"], r#"{"id":1.0,"lines":[{"x":{"y":[ 1 ]}},{}],"total":-0}"#),
        (&["lines", "lines.sku"], r#"{"lines":[{"sku":"a", "qty":1e2, "x":{"y":[ 1 ]}}, {"sku":"b"}]}"#),
        (&["lines.sku", "lines"], r#"{"lines":[{"sku":"a", "qty":1e2, "x":{"y":[ 1 ]}}, {"sku":"b"}]}"#),
        (&["id.a"], "{}"),
        (&["note.a"], r#"{"note":null}"#),
        (&["absent"], "{}"),
        (&["lines.0"], r#"{"lines":[{},{}]}"#),
    ] {
        shows(ORDER, &edits(pick, &[], &[]), shown);
    }
    let a = edits(&["a"], &[], &[]);
    for (value, shown) in [
        ("[]", "[]"),
        ("[[ ] , [[]]]", "[[],[[]]]"),
        (r#"[{"a":1,"b":2},[{"a":{"b":[]}},{"b":1}]]"#, r#"[{"a":1},[{"a":{"b":[]}},{}]]"#),
        (r#"[1,"x",null,true,{"a":1}]"#, r#"[null,{"a":1}]"#),
        ("5", "null"),
        (r#""a""#, "null"),
        ("null", "null"),
        (r#"{"\u0061":1,"b":2}"#, r#"{"\u0061":1}"#),
        (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":1,"a":3}"#),
        (r#"{"\ud800":1,"a":2}"#, r#"{"a":2}"#),
    ] {
        shows(value, &a, shown);
    }
}

#[test]
fn what_is_dropped_goes() {
    for (drop, shown) in [
        (&["lines"][..], r#"{"id":1.0,"note":null,"total":-0}"#),
        (&["lines.x", "note"], r#"{"id":1.0,"lines":[{"sku":"a","qty":1e2},{"sku":"b"}],"total":-0}"#),
        (&["lines", "lines.x"], r#"{"id":1.0,"note":null,"total":-0}"#),
        (
            &["lines.x.y.z"],
            r#"{"id":1.0,"lines":[{"sku":"a","qty":1e2,"x":{"y":[1]}},{"sku":"b"}],"note":null,"total":-0}"#,
        ),
        (
            &["id.a"],
            r#"{"id":1.0,"lines":[{"sku":"a", "qty":1e2, "x":{"y":[ 1 ]}}, {"sku":"b"}],"note":null,"total":-0}"#,
        ),
    ] {
        shows(ORDER, &edits(&[], drop, &[]), shown);
    }
    shows(r#"[[1,{"a":1,"b":2}],3]"#, &edits(&[], &["a"], &[]), r#"[[1,{"b":2}],3]"#);
    shows(r#"{"\ud800":1,"\ud801":2,"a":3}"#, &edits(&[], &["a"], &[]), r#"{"\ud800":1,"\ud801":2}"#);
    shows("7", &edits(&[], &["a"], &[]), "7");
}

#[test]
fn a_drop_is_stronger_than_a_pick() {
    shows(r#"{"a":{"b":1,"c":2},"d":3}"#, &edits(&["a"], &["a.b"], &[]), r#"{"a":{"c":2}}"#);
    shows(r#"{"a":{"b":1,"c":2},"d":3}"#, &edits(&["a.b"], &["a"], &[]), "{}");
}

#[test]
fn a_renamed_member_stands_where_it_stood_and_wins() {
    for (value, rename, shown) in [
        (r#"{"x":0,"a":1.0,"y":2}"#, &[("a", "b")][..], r#"{"x":0,"b":1.0,"y":2}"#),
        (r#"{"a":1,"b":2}"#, &[("a", "b")], r#"{"b":1}"#),
        (r#"{"b":2,"a":1}"#, &[("a", "b")], r#"{"b":1}"#),
        (r#"{"b":2}"#, &[("a", "b")], r#"{"b":2}"#),
        (r#"{"a":1,"b":2}"#, &[("a", "b"), ("b", "a")], r#"{"b":1,"a":2}"#),
        (r#"{"a":1,"b":2,"c":3}"#, &[("a", "c"), ("b", "c")], r#"{"c":2}"#),
        (r#"{"a":1,"c":3}"#, &[("a", "c"), ("b", "c")], r#"{"c":1}"#),
        (r#"{"a":[{"b":1},[{"b":2}]]}"#, &[("a.b", "c")], r#"{"a":[{"c":1},[{"c":2}]]}"#),
        (r#"{"a":{"b":1}}"#, &[("a", "x"), ("a.b", "y")], r#"{"x":{"y":1}}"#),
        (r#"{"a":1}"#, &[("a", "\"\n")], r#"{"\"\n":1}"#),
        (r#"{"\u0061":1,"\u0062":2}"#, &[("a", "b")], r#"{"b":1}"#),
        (r#"{"a":1}"#, &[("a", "a")], r#"{"a":1}"#),
    ] {
        shows(value, &edits(&[], &[], rename), shown);
    }
    // What is not shown takes nobody's name.
    shows(r#"{"a":1,"b":2}"#, &edits(&["b"], &[], &[("a", "b")]), r#"{"b":2}"#);
    shows(r#"{"a":1,"b":2}"#, &edits(&[], &["a"], &[("a", "b")]), r#"{"b":2}"#);
    shows(r#"{"a":1,"b":2}"#, &edits(&["a"], &[], &[("a", "z")]), r#"{"z":1}"#);
}

/// An upstream that says a name again and again: each member is looked up among the renames, not among the other members.
#[test]
fn a_name_that_comes_again_and_again_is_renamed_at_once() {
    let many = format!("{{{}}}", vec![r#""a":1,"b":2,"x":3"#; 1000].join(","));
    let edits = edits(&[], &[], &[("a", "x"), ("b", "x")]);
    let names = Step::tree(&edits).new_names(&many, true);
    assert_eq!(names, HashMap::from([(&b"x"[..], 1)]));
    shows(&many, &edits, &format!("{{{}}}", vec![r#""x":2"#; 1000].join(",")));
}

#[test]
fn what_is_not_edited_is_not_copied() {
    let value = json(r#"{"a": 1}"#);
    assert_eq!(edited(&value, &Edits::default()).as_bytes().as_ptr(), value.as_bytes().as_ptr());
}

#[test]
fn the_deepest_document_is_edited_on_a_small_stack() {
    let deep = "[".repeat(126) + r#"{"a":1,"b":2}"# + &"]".repeat(126);
    std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(move || shows(&deep, &edits(&["a"], &[], &[]), &deep.replace(",\"b\":2", "")))
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn a_target_keeps_its_digits() {
    let answer = json(
        r#"{"data": {"items": [{"id": 12345678901234567890123, "p": 1.0}, {"id": 2e2, "p": 20}]}, "b": 1, "a": -0, "n": null}"#,
    );
    let at = |text: &str| target(&answer, &Target::Path(path(text))).map(|found| found.as_str().to_owned());
    assert_eq!(at("data.items.0.id").as_deref(), Ok("12345678901234567890123"));
    assert_eq!(at("n").as_deref(), Ok("null"));
    assert_eq!(at("data.items.2"), Err(NoTarget::Absent));
    let query = |text: &str| {
        target(&answer, &Target::JsonPath(JsonPath::parse(text).unwrap())).map(|found| found.as_str().to_owned())
    };
    for (text, found) in [
        ("$.data.items[0].id", Ok("12345678901234567890123")),
        ("$.data.items[-1]", Ok(r#"{"id": 2e2, "p": 20}"#)),
        ("$.data.items[*].p", Ok("[1.0,20]")),
        ("$..id", Ok("[12345678901234567890123,2e2]")),
        ("$.data.items[?@.p > 1].id", Ok("[2e2]")),
        ("$['a','a','b']", Ok("[-0,-0,1]")),
        ("$.n", Ok("null")),
        ("$.data.items[?@.p > 100]", Ok("[]")),
        ("$.data.absent", Err(NoTarget::Absent)),
        ("$.data.items[7].id", Err(NoTarget::Absent)),
    ] {
        assert_eq!(query(text), found.map(str::to_owned), "{text}");
    }
    assert_eq!(query("$").as_deref(), Ok(answer.as_str()));
}

#[test]
fn a_json_path_sees_the_last_of_two_names() {
    let path = Target::JsonPath(JsonPath::parse("$.a.b").unwrap());
    for (answer, found) in [
        (r#"{"a":{"b":1},"a":{"b":2.0}}"#, Ok("2.0")),
        (r#"{"a":[1],"a":{"b":2}}"#, Ok("2")),
        (r#"{"a":{"b":1},"a":[1]}"#, Err(NoTarget::Absent)),
        (r#"{"a":{"c":{"b":1}},"a":{"b":{"b":3}}}"#, Ok(r#"{"b":3}"#)),
        (r#"{"a":{"c":1},"a":{"b":3}}"#, Ok("3")),
        (r#"{"a":{"b":1},"x":1e400}"#, Ok("1")),
    ] {
        let got = target(&json(answer), &path).map(|found| found.as_str().to_owned());
        assert_eq!(got, found.map(str::to_owned), "{answer}");
    }
    let compared = Target::JsonPath(JsonPath::parse("$[?@.b == 1]").unwrap());
    for answer in [r#"{"a":{"b":1},"x":1e400}"#, r#"{"a":{"b":1},"x":"\ud800"}"#] {
        assert_eq!(target(&json(answer), &compared), Err(NoTarget::Unreadable), "{answer}");
    }
}

/// What overlaps is found again and again, so that a small answer could become a large one.
#[test]
fn a_json_path_finds_no_more_than_memory_takes() {
    let nested = |depth: usize| format!("{}\"{}\"{}", r#"{"a":"#.repeat(depth), "x".repeat(1000), "}".repeat(depth));
    let found = |depth| target(&json(&nested(depth)), &Target::JsonPath(JsonPath::parse("$..a").unwrap()));
    assert_eq!(found(3).unwrap().items().unwrap().len(), 3);
    assert_eq!(found(100), Err(NoTarget::TooMuch));
}

/// The same without any cunning: over a tree, path by path.
fn literally(value: &Value, path: &mut Vec<String>, edits: &Edits) -> Value {
    let whole = edits.pick.is_empty() || edits.pick.iter().any(|pick| path.starts_with(pick));
    let is_scalar = |value: &Value| !value.is_object() && !value.is_array() && !value.is_null();
    match value {
        Value::Array(items) => {
            let kept = items.iter().filter(|item| whole || !is_scalar(item));
            Value::Array(kept.map(|item| literally(item, path, edits)).collect())
        }
        Value::Object(members) => {
            let mut kept: Vec<(usize, String, Value)> = Vec::new();
            for (name, member) in members {
                path.push(name.clone());
                let picked = edits.pick.is_empty() || edits.pick.iter().any(|pick| path.starts_with(pick));
                let on_the_way = edits.pick.iter().any(|pick| pick.starts_with(path)) && !is_scalar(member);
                if (picked || on_the_way) && !edits.drop.contains(path) {
                    let renamed = edits.rename.iter().rposition(|(from, _)| from == path);
                    let name = renamed.map_or(name.clone(), |at| edits.rename[at].1.clone());
                    kept.push((renamed.map_or(0, |at| at + 1), name, literally(member, path, edits)));
                }
                path.pop();
            }
            kept.sort_by_key(|(number, _, _)| *number);
            Value::Object(kept.into_iter().map(|(_, name, member)| (name, member)).collect())
        }
        scalar if whole || scalar.is_null() => scalar.clone(),
        _ => Value::Null,
    }
}

/// Documents with spaces, escaped names and numbers of all spellings.
pub(in crate::proxy::aggregate) fn documents() -> impl Strategy<Value = String> {
    let scalars =
        ["null", "true", "-0", "1.0", "1E+2", "12345678901234567890123", r#""x\u0061\"""#, "\"\"", "[ ]", "{ }"];
    let scalar = proptest::sample::select(scalars.to_vec()).prop_map(str::to_owned);
    scalar.prop_recursive(5, 60, 5, |inner| {
        let list =
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[ {} ]", items.join(" ,\n")));
        let members = proptest::collection::btree_map(0..4_u8, (inner, any::<bool>()), 0..5);
        let object = members.prop_map(|members| {
            let member = |(name, (value, escaped)): (u8, (String, bool))| match escaped {
                true => format!(r#""\u{:04x}" :{value}"#, b'a' + name),
                false => format!("\"{}\": {value}", char::from(b'a' + name)),
            };
            format!("{{{} }}", members.into_iter().map(member).collect::<Vec<_>>().join(","))
        });
        prop_oneof![list, object]
    })
}

pub(in crate::proxy::aggregate) fn random_edits() -> impl Strategy<Value = Edits> {
    let path = || proptest::collection::vec("[a-d]", 1..4);
    let paths = || proptest::collection::vec(path(), 0..3);
    let renames = proptest::collection::vec((path(), "[a-e]"), 0..4);
    (paths(), paths(), renames).prop_map(|(pick, drop, rename)| Edits { pick, drop, rename })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2048)))]

    #[test]
    fn edits_do_what_they_say(text in documents(), edits in random_edits()) {
        let value: Value = serde_json::from_str(&text).unwrap();
        let shown = edited(&json(&text), &edits);
        let tree: Value = serde_json::from_str(shown.as_str()).unwrap();
        prop_assert_eq!(tree, literally(&value, &mut Vec::new(), &edits), "{}", shown.as_str());
    }

    /// What a JSONPath finds is what its library finds in the tree.
    #[test]
    fn json_paths_find_what_they_find(text in documents(), query in r"\$((\.|\.\.)[a-d]|\[[0-2]\]|\[\*\]){0,3}") {
        // Whoever descends twice is refused.
        let Ok(path) = JsonPath::parse(&query) else { return Ok(()) };
        let tree: Value = serde_json::from_str(&text).unwrap();
        let expected: Vec<Value> = path.query.query(&tree).iter().map(|node| (*node).clone()).collect();
        match target(&json(&text), &Target::JsonPath(path.clone())) {
            Ok(found) if path.singular => {
                prop_assert_eq!(vec![serde_json::from_str::<Value>(found.as_str()).unwrap()], expected);
            }
            Ok(found) => prop_assert_eq!(serde_json::from_str::<Value>(found.as_str()).unwrap(), Value::Array(expected)),
            Err(NoTarget::TooMuch) => prop_assert!(!path.singular && !expected.is_empty()),
            Err(_) => prop_assert!(path.singular && expected.is_empty()),
        }
    }
}
