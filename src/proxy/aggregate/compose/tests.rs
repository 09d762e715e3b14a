use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::proxy::aggregate::shape::tests::{documents, random_edits};
use crate::route::Matched;
use crate::snapshot::MemoryBudget;
use crate::snapshot::plan::testing::{aggregate, part};
use crate::snapshot::plan::{Absent, Collision, Part, Reference, TextPiece, ValueSource};

fn json(text: &str) -> Json {
    Json::check(Bytes::copy_from_slice(text.as_bytes())).expect(text)
}

/// `-`: absent.
fn content(text: &str) -> Option<Content> {
    Some(if text == "-" { Content::Absent } else { Content::Json(json(text)) })
}

fn names(dotted: &str) -> Vec<String> {
    dotted.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// `a.b`: there; `+a.b`: merged there; `#`: hidden.
fn at(written: &str) -> Place {
    match written.strip_prefix('+') {
        Some(path) => Place::Merged(names(path)),
        None if written == "#" => Place::Hidden,
        None => Place::At(names(written)),
    }
}

fn placed_at(places: &[&str], collision: Option<Collision>) -> Aggregate {
    let parts =
        places.iter().enumerate().map(|(index, written)| Part { place: at(written), ..part(&format!("p{index}")) });
    Aggregate { collision, ..aggregate(parts.collect()) }
}

fn answer(aggregate: &Aggregate, contents: &[Option<Content>], report: Option<&str>) -> String {
    let matched = Matched { route: 0, parameters: Vec::new(), rest: None };
    let known = Known {
        matched: &matched,
        path: "/",
        query: None,
        headers: &HeaderMap::new(),
        request: None,
        client: Some("billing"),
        parts: contents,
        item: None,
        seen: None,
    };
    let report = report.map(json);
    let memory = MemoryBudget::new(1 << 30);
    let bytes = composed(aggregate, &known, report.as_ref(), memory.hold()).expect("room");
    assert_eq!(memory.used(), bytes.len());
    String::from_utf8(bytes.into()).expect("UTF-8")
}

#[track_caller]
fn gives(rule: Option<Collision>, parts: &[(&str, &str)], expected: &str) {
    let (places, texts): (Vec<_>, Vec<_>) = parts.iter().copied().unzip();
    let contents: Vec<_> = texts.into_iter().map(content).collect();
    assert_eq!(answer(&placed_at(&places, rule), &contents, None), expected, "{rule:?} {parts:?}");
}

#[test]
fn parts_stand_at_their_places_as_they_came() {
    for (parts, expected) in [
        (&[("b", "[ 1 , 2.0 ]"), ("a", r#"{ "x" : 1e400 }"#)][..], r#"{"b":[ 1 , 2.0 ],"a":{ "x" : 1e400 }}"#),
        (&[("a", "-"), ("b", "null")], r#"{"b":null}"#),
        (&[("a", "-")], "{}"),
        (&[("#", "1"), ("b", "2")], r#"{"b":2}"#),
        (&[("x.a", "1"), ("b", "2"), ("x.c.d", "3")], r#"{"x":{"a":1,"c":{"d":3}},"b":2}"#),
        (&[("x.a", "-"), ("b", "2")], r#"{"b":2}"#),
        (&[("\"\n\u{e9}", "1")], "{\"\\\"\\n\u{e9}\":1}"),
        (&[("a", r#""\ud800""#)], r#"{"a":"\ud800"}"#),
    ] {
        gives(None, parts, expected);
    }
}

#[test]
fn collisions_follow_the_rule_and_the_declared_order() {
    use Collision::{Concat, Deep, First, Last};
    let objects = [("a", r#"{"x":1,"o":{"p":1,"l":[1]}}"#), ("a", r#"{"y":2,"o":{"p":2.0,"l":[ 2 ]},"x":null}"#)];
    let lists = [("a", "[ 1 ]"), ("a", "[]"), ("a", "[2, 3]")];
    for (rule, parts, expected) in [
        (First, &objects[..], r#"{"a":{"x":1,"o":{"p":1,"l":[1]}}}"#),
        (Last, &objects, r#"{"a":{"y":2,"o":{"p":2.0,"l":[ 2 ]},"x":null}}"#),
        (Deep, &objects, r#"{"a":{"x":null,"o":{"p":2.0,"l":[ 2 ]},"y":2}}"#),
        (Concat, &objects, r#"{"a":{"x":null,"o":{"p":2.0,"l":[1,2]},"y":2}}"#),
        (First, &lists, r#"{"a":[ 1 ]}"#),
        (Last, &lists, r#"{"a":[2, 3]}"#),
        (Deep, &lists, r#"{"a":[2, 3]}"#),
        (Concat, &lists, r#"{"a":[1,2, 3]}"#),
        (Concat, &[("a", "[]"), ("a", "[ ]")], r#"{"a":[]}"#),
        (Concat, &[("a", "[1]"), ("a", "2")], r#"{"a":2}"#),
        (Concat, &[("a", "[1]"), ("a", "[2]"), ("a", "{}")], r#"{"a":{}}"#),
        (Concat, &[("a", "[1]"), ("a", "[2]"), ("a", "null")], r#"{"a":null}"#),
        (First, &[("a", "null"), ("a", "1")], r#"{"a":null}"#),
        (First, &[("a", "-"), ("a", "1")], r#"{"a":1}"#),
        (Last, &[("a", "1"), ("a", "-")], r#"{"a":1}"#),
        (Deep, &[("a", "{}"), ("a", "null")], r#"{"a":null}"#),
        // One inside the other: the outer one's members and the inner part are of one object.
        (First, &[("a", r#"{"b":1,"c":2}"#), ("a.b", "3"), ("a.d", "4")], r#"{"a":{"b":1,"c":2,"d":4}}"#),
        (Last, &[("a", r#"{"b":1,"c":2}"#), ("a.b", "3"), ("a.d", "4")], r#"{"a":{"b":3,"c":2,"d":4}}"#),
        (First, &[("a.b", "3"), ("a", r#"{"b":1,"c":2}"#)], r#"{"a":{"b":3,"c":2}}"#),
        (Last, &[("a.b", "3"), ("a", r#"{"b":1,"c":2}"#)], r#"{"a":{"b":1,"c":2}}"#),
        (First, &[("a", "null"), ("a.b", "3")], r#"{"a":null}"#),
        (Last, &[("a", "null"), ("a.b", "3")], r#"{"a":{"b":3}}"#),
        (Last, &[("a.b", "3"), ("a", "null")], r#"{"a":null}"#),
        (Deep, &[("a.b", r#"{"x":1}"#), ("a", r#"{"b":{"y":2}}"#)], r#"{"a":{"b":{"x":1,"y":2}}}"#),
        // Merged at the top, or below.
        (First, &[("+", r#"{"x":1,"y":2}"#), ("+", r#"{"y":3,"z":4}"#)], r#"{"x":1,"y":2,"z":4}"#),
        (Last, &[("+", r#"{"x":1,"y":2}"#), ("+", r#"{"y":3,"z":4}"#)], r#"{"x":1,"y":3,"z":4}"#),
        (Deep, &[("+", r#"{"y":{"a":1}}"#), ("+", r#"{"y":{"b":2}}"#)], r#"{"y":{"a":1,"b":2}}"#),
        (Concat, &[("+", r#"{"y":[1]}"#), ("+", r#"{"y":[2]}"#)], r#"{"y":[1,2]}"#),
        (First, &[("p", "1"), ("+", r#"{"p":2,"q":3}"#)], r#"{"p":1,"q":3}"#),
        (Last, &[("p", "1"), ("+", r#"{"p":2,"q":3}"#)], r#"{"p":2,"q":3}"#),
        (Last, &[("+", r#"{"p":2}"#), ("p", "1")], r#"{"p":1}"#),
        (Last, &[("+x", r#"{"p":2}"#), ("x.q", "1"), ("+x", "null")], r#"{"x":{"p":2,"q":1}}"#),
        (Last, &[("+x", "{}")], r#"{"x":{}}"#),
        (Last, &[("+x", "null")], "{}"),
        (Last, &[("+", "-")], "{}"),
        // Names are what they say; of one that occurs twice in a part, the last counts.
        (First, &[("+", r#"{"\u0061":1,"b":1,"b":2}"#), ("+", r#"{"a":3,"b":4}"#)], r#"{"\u0061":1,"b":2}"#),
        (Last, &[("+", r#"{"\ud800":1}"#), ("+", r#"{"\ud801":2,"\uD800":3}"#)], r#"{"\ud800":3,"\ud801":2}"#),
    ] {
        gives(Some(rule), parts, expected);
    }
}

#[test]
fn the_report_is_the_last_member_and_nobodys_else() {
    let one = |place: &str, text: &str| {
        answer(&placed_at(&[place], Some(Collision::Last)), &[content(text)], Some(r#"{"e":1}"#))
    };
    assert_eq!(one("a", "1"), r#"{"a":1,"_parts":{"e":1}}"#);
    assert_eq!(one("a", "-"), r#"{"_parts":{"e":1}}"#);
    assert_eq!(one("+", r#"{"_parts":"forged","\u005fparts":2,"b":1}"#), r#"{"b":1,"_parts":{"e":1}}"#);
    assert_eq!(one("+a", r#"{"_parts":"data"}"#), r#"{"a":{"_parts":"data"},"_parts":{"e":1}}"#);
}

#[test]
fn only_what_has_members_is_merged() {
    for (text, merged) in
        [("{}", true), ("null", true), ("[]", false), ("1", false), (r#""x""#, false), ("true", false)]
    {
        assert_eq!(fits(&at("+"), &json(text)), merged, "{text}");
        assert!(fits(&at("a"), &json(text)) && fits(&Place::Hidden, &json(text)));
    }
}

/// Two objects with as many members as fit 1 MiB: what is quadratic would not end.
#[test]
fn merging_many_members_is_not_quadratic() {
    let object = |from: usize| {
        let members: Vec<_> = (from..from + 100_000).map(|name| format!("\"{name}\":{from}")).collect();
        format!("{{{}}}", members.join(","))
    };
    let contents = [content(&object(0)), content(&object(50_000))];
    let merged = answer(&placed_at(&["+", "+"], Some(Collision::First)), &contents, None);
    let tree: BTreeMap<String, u32> = serde_json::from_str(&merged).unwrap();
    assert_eq!(tree.len(), 150_000);
    assert_eq!((tree["49999"], tree["50000"], tree["100000"]), (0, 0, 50_000));
}

/// As real as it gets: with a byte less than what was allocated at most there is no room.
#[test]
fn merging_takes_no_more_than_was_counted() {
    let some = |members: usize, from: usize, value: &str| {
        let members: Vec<_> = (from..from + members).map(|name| format!("\"n{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    };
    let members = |from: usize, value: &str| some(3000, from, value);
    let escaped = |text: String| text.replace("\"n", "\"\\u006e");
    let mut merged = 0;
    // Just after tables have grown they take the most.
    let grown = [1, 15, 17, 29, 1793, 2049, 3585, 4097].map(|members| vec![some(members, 0, "1")]);
    for parts in grown.into_iter().chain([
        vec![members(0, "1"), members(0, "2")],
        vec![members(0, "1"), members(3000, "1"), members(1000, "{}")],
        vec![members(0, "{}"), members(0, "{}")],
        vec![members(0, "[1]"), members(0, "[2]"), members(0, "[3]"), members(0, "[4]"), members(0, "[5]")],
        vec![escaped(members(0, "1")), escaped(members(1500, "1"))],
        vec![members(0, r#"{"a":{"b":1}}"#), members(0, r#"{"a":{"c":2},"d":3}"#)],
        (0..32).map(|part| members(part * 3000, "1")).collect(),
        (0..32).map(|part| some(17, part * 17, "1")).collect(),
    ]) {
        let contents: Vec<_> = parts.iter().map(|text| content(text)).collect();
        for rule in [Collision::Last, Collision::Deep, Collision::Concat] {
            let plan = placed_at(&vec!["+"; parts.len()], Some(rule));
            let merge = |bytes_max| placed(&plan, &contents, None, &mut MemoryBudget::new(bytes_max).hold());
            let counted = allocation_counter::measure(|| assert!(merge(usize::MAX).is_some()));
            let taken = usize::try_from(counted.bytes_max).unwrap();
            let text = parts.iter().map(String::len).sum::<usize>();
            assert!(merge(taken - 1).is_none(), "{} parts, {text} bytes, {rule:?} take {taken}", parts.len());
            merged += 1;
        }
    }
    assert_eq!(merged, 48);
}

#[test]
fn the_deepest_documents_merge_on_a_small_stack() {
    let deep = r#"{"a":"#.repeat(126) + "{}" + &"}".repeat(126);
    let merge = move || gives(Some(Collision::Deep), &[("+", &deep), ("+", &deep)], &deep);
    std::thread::Builder::new().stack_size(1 << 20).spawn(merge).unwrap().join().unwrap();
}

fn placeholder(written: &str, source: ValueSource, path: &str, absent: Absent) -> Reference {
    Reference { text: written.to_owned(), source, path: names(path), absent }
}

#[test]
fn a_template_reads_the_parts_as_they_are_shown() {
    let mut plan = placed_at(&["a", "#", "c"], None);
    plan.parts[0].edits.drop = vec![names("secret")];
    plan.parts[0].edits.rename = vec![(names("id"), "number".to_owned())];
    let value = |written: &str, part, path: &str, absent| {
        JsonValue::Value(placeholder(written, ValueSource::Part(part), path, absent))
    };
    plan.layout = Layout::Template(JsonValue::Object(vec![
        ("z".to_owned(), value("a", 0, "", Absent::Fails)),
        ("n".to_owned(), value("a.number", 0, "number", Absent::Fails)),
        ("c".to_owned(), value("c?", 2, "", Absent::LeavesOut)),
        ("l".to_owned(), JsonValue::List(vec![value("b", 1, "", Absent::Fails), JsonValue::Other(Value::Null)])),
        (
            "t".to_owned(),
            JsonValue::Text(vec![
                TextPiece::Text("for ".to_owned()),
                TextPiece::Value(placeholder("client", ValueSource::Client, "", Absent::Fails)),
            ]),
        ),
    ]));
    let contents = [content(r#"{"id": 1.0, "secret": 2}"#), content("[ 1 ]"), content("-")];
    let expected = r#"{"z":{"number":1.0},"n":1.0,"l":[[ 1 ],null],"t":"for billing""#;
    assert_eq!(answer(&plan, &contents, None), format!("{expected}}}"));
    assert_eq!(answer(&plan, &contents, Some("{}")), format!("{expected},\"_parts\":{{}}}}"));
    // The shape is the same whatever is missing.
    let failed = [content("1"), content("-"), content("1")];
    assert_eq!(answer(&plan, &failed, None), r#"{"z":1,"n":null,"c":1,"l":[null,null],"t":"for billing"}"#);
    plan.layout = Layout::Template(value("b", 1, "", Absent::Fails));
    assert_eq!(answer(&plan, &contents, Some("{}")), "[ 1 ]");
}

/// Three parts cost four allocations: what is shown, the object and its members, the answer, whose size is known.
#[test]
fn composing_copies_each_part_once() {
    let plan = placed_at(&["a", "b", "c"], None);
    let contents = [content("[1]"), content("[2]"), content("[3]")];
    let mut bytes = Bytes::new();
    let mut held = MemoryBudget::new(1 << 20).hold();
    let counted = allocation_counter::measure(|| bytes = placed(&plan, &contents, None, &mut held).unwrap());
    assert_eq!(bytes, r#"{"a":[1],"b":[2],"c":[3]}"#);
    assert!(counted.count_total <= 4, "{counted:?}");
}

fn streamed(plan: &Arc<Aggregate>, contents: &[Option<Content>], report: Option<&Json>) -> String {
    let (mut stream, memory) = (Stream::new(plan.clone()), MemoryBudget::new(1 << 20));
    let mut out = Vec::new();
    for (index, content) in contents.iter().enumerate() {
        let Some(content) = content else { continue };
        let pieces = stream.part(index, content, &memory).expect("room");
        pieces.iter().for_each(|piece| out.extend_from_slice(piece));
    }
    out.extend_from_slice(&stream.finish(report));
    String::from_utf8(out).unwrap()
}

#[test]
fn a_stream_is_what_would_be_composed() {
    let mut plan = placed_at(&["a", "x.b", "x.y.c", "x.y.d", "x.e", "z", "#", "l"], None);
    plan.parts[7].edits.pick = vec![names("k")];
    let plan = Arc::new(plan);
    let all = ["{ }", "1.0", "[1,2]", "null", "\"e\"", "-0", "9", r#"[{"k":1,"s":2},{"k":3}]"#];
    let whole = r#"{"a":{ },"x":{"b":1.0,"y":{"c":[1,2],"d":null},"e":"e"},"z":-0,"l":[{"k":1},{"k":3}]}"#;
    assert_eq!(streamed(&plan, &all.map(content), None), whole);
    for absent in 0..256_u32 {
        let contents: Vec<_> =
            (0..8).map(|index| content(if absent >> index & 1 == 1 { "-" } else { all[index] })).collect();
        assert_eq!(streamed(&plan, &contents, None), answer(&plan, &contents, None));
        let report = json(r#"{"a":{}}"#);
        assert_eq!(streamed(&plan, &contents, Some(&report)), answer(&plan, &contents, Some(r#"{"a":{}}"#)));
    }
    let empty = ["-", "-", "[]", "-", "-", "-", "-", "[]"].map(content);
    assert_eq!(streamed(&plan, &empty, None), r#"{"x":{"y":{"c":[]}},"l":[]}"#);
}

#[test]
fn what_a_stream_makes_of_a_part_is_counted_before() {
    let mut plan = placed_at(&["a", "b"], None);
    plan.parts[0].edits.drop = vec![names("x")];
    let (mut stream, text) = (Stream::new(Arc::new(plan)), format!("{{\"y\":\"{}\"}}", "y".repeat(20_000)));
    let content = content(&text).unwrap();
    let small = MemoryBudget::new(text.len() - 1);
    let counted = allocation_counter::measure(|| assert!(stream.part(0, &content, &small).is_none()));
    assert!(counted.bytes_max < 1000, "{counted:?}");
    let memory = MemoryBudget::new(2 * text.len());
    let edited = stream.part(0, &content, &memory).unwrap();
    assert_eq!(memory.used(), edited[0].len() + edited[1].len());
    let as_it_came = stream.part(1, &content, &memory).unwrap();
    assert_eq!(memory.used(), edited[0].len() + edited[1].len() + as_it_came[0].len());
}

/// The same over trees: a place for several parts is told from a part's own object.
#[derive(Debug, Clone)]
enum Tree {
    Shared(BTreeMap<String, Tree>),
    Own(Value),
}

impl Tree {
    fn around(path: &[String], inner: Tree) -> Tree {
        path.iter().rev().fold(inner, |inner, name| Tree::Shared(BTreeMap::from([(name.clone(), inner)])))
    }

    fn combine(self, later: Tree, rule: Collision) -> Tree {
        let opened = |value: Value| match value {
            Value::Object(members) => Ok(members.into_iter().map(|(name, value)| (name, Tree::Own(value))).collect()),
            other => Err(other),
        };
        let (one, other) = match (self, later) {
            (Tree::Own(one), Tree::Own(other)) => return Tree::Own(combined(one, other, rule)),
            (Tree::Shared(one), Tree::Shared(other)) => (one, other),
            (Tree::Shared(one), Tree::Own(value)) => match opened(value) {
                Ok(other) => (one, other),
                Err(_) if rule == Collision::First => return Tree::Shared(one),
                Err(value) => return Tree::Own(value),
            },
            (Tree::Own(value), Tree::Shared(other)) => match opened(value) {
                Ok(one) => (one, other),
                Err(value) if rule == Collision::First => return Tree::Own(value),
                Err(_) => return Tree::Shared(other),
            },
        };
        let mut members: BTreeMap<String, Tree> = one;
        for (name, tree) in other {
            let combined = match members.remove(&name) {
                None => tree,
                Some(earlier) => earlier.combine(tree, rule),
            };
            members.insert(name, combined);
        }
        Tree::Shared(members)
    }

    fn value(self) -> Value {
        match self {
            Tree::Own(value) => value,
            Tree::Shared(members) => {
                Value::Object(members.into_iter().map(|(name, tree)| (name, tree.value())).collect())
            }
        }
    }
}

fn combined(one: Value, other: Value, rule: Collision) -> Value {
    match (rule, one, other) {
        (Collision::First, one, _) => one,
        (Collision::Deep | Collision::Concat, Value::Object(mut one), Value::Object(other)) => {
            for (name, value) in other {
                let value = match one.remove(&name) {
                    None => value,
                    Some(earlier) => combined(earlier, value, rule),
                };
                one.insert(name, value);
            }
            Value::Object(one)
        }
        (Collision::Concat, Value::Array(one), Value::Array(other)) => Value::Array([one, other].concat()),
        (_, _, other) => other,
    }
}

fn places() -> impl Strategy<Value = Place> {
    let path = |least| proptest::collection::vec("[a-c]", least..3);
    prop_oneof![6 => path(1).prop_map(Place::At), 3 => path(0).prop_map(Place::Merged), 1 => Just(Place::Hidden)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2048)))]

    /// Whatever the parts are and wherever they stand: the answer is JSON, and what a plain composition of trees gives.
    #[test]
    fn places_do_what_they_say(
        parts in proptest::collection::vec((places(), proptest::option::weighted(0.9, documents())), 1..5),
        rule in proptest::sample::select(vec![Collision::First, Collision::Last, Collision::Deep, Collision::Concat]),
    ) {
        let mut expected = Tree::Shared(BTreeMap::new());
        for (place, text) in &parts {
            let Some(text) = text else { continue };
            let value: Value = serde_json::from_str(text).unwrap();
            let tree = match (place, value) {
                (Place::At(path), value) => Tree::around(path, Tree::Own(value)),
                (Place::Merged(path), Value::Object(members)) => {
                    let members = members.into_iter().map(|(name, value)| (name, Tree::Own(value))).collect();
                    Tree::around(path, Tree::Shared(members))
                }
                _ => continue,
            };
            expected = expected.combine(tree, rule);
        }
        let contents: Vec<_> = parts.iter().map(|(_, text)| content(text.as_deref().unwrap_or("-"))).collect();
        let shown = parts.into_iter().map(|(place, _)| Part { place, ..part("p") });
        let plan = Aggregate { collision: Some(rule), ..aggregate(shown.collect()) };
        let text = answer(&plan, &contents, None);
        let tree: Value = serde_json::from_str(&text).expect(&text);
        prop_assert_eq!(tree, expected.value(), "{}", text);
    }

    /// What nothing is said about stands in the answer byte for byte; what is edited, as the edits alone give it.
    #[test]
    fn untouched_parts_are_copied(
        parts in proptest::collection::vec((documents(), proptest::option::weighted(0.3, random_edits())), 1..5),
    ) {
        let shown: Vec<_> = parts.iter().enumerate().map(|(index, (text, edits))| match edits {
            None => format!("\"p{index}\":{text}"),
            Some(edits) => format!("\"p{index}\":{}", edited(&json(text), edits).as_str()),
        }).collect();
        let plan = parts.iter().enumerate().map(|(index, (_, edits))| {
            Part { edits: edits.clone().unwrap_or_default(), ..part(&format!("p{index}")) }
        });
        let plan = Arc::new(aggregate(plan.collect()));
        let contents: Vec<_> = parts.iter().map(|(text, _)| content(text)).collect();
        let whole = answer(&plan, &contents, None);
        prop_assert_eq!(&whole, &format!("{{{}}}", shown.join(",")));
        prop_assert_eq!(streamed(&plan, &contents, None), whole);
    }
}
