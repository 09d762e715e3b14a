//! What a JSONPath finds, each as it is written in the answer. Where it walks straight on, so do we; for the rest there is a
//! tree, which is many times as large as the answer, so that it is counted before it is made.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::NoTarget;
use crate::proxy::aggregate::aside::AT_ONCE_BYTES_MAX;
use crate::proxy::aggregate::json::walk::{for_each_item, for_each_member, item, kind, member, separate};
use crate::proxy::aggregate::json::{Json, Kind};
use crate::snapshot::MemoryBudget;
use crate::snapshot::plan::{JsonPath, PlainStep};

/// How many times the size of its answer a JSONPath may find.
const FOUND_TIMES_MAX: usize = 4;
/// What a node that is found takes, in bytes: its address, its text, both in tables that grow by doubling.
const FOUND_BYTES: usize = 224;
/// What a node takes each time it may be found, in bytes: its address, in lists that grow by doubling and are then copied
/// into longer ones.
const ASKED_BYTES: usize = 48;

/// Whether it may take so long that others should not wait for it.
pub(super) fn takes_long(answer: &Json, path: &JsonPath) -> bool {
    path.plain.is_none() && answer.as_bytes().len() > AT_ONCE_BYTES_MAX
}

/// Members of one object are visited in order of their names.
pub(super) fn found(answer: &Json, path: &JsonPath, memory: &Arc<MemoryBudget>) -> Result<Json, NoTarget> {
    let walked = path.plain.as_ref().and_then(|steps| walked(answer, steps, path.singular, memory));
    walked.unwrap_or_else(|| in_tree(answer, path, memory))
}

/// What plain steps lead to. `None`: the members of an object are to be sorted.
fn walked(
    answer: &Json,
    steps: &[PlainStep],
    singular: bool,
    memory: &Arc<MemoryBudget>,
) -> Option<Result<Json, NoTarget>> {
    let (mut bytes, mut first) = (2, None);
    walk(answer.as_str(), steps, &mut |text| {
        bytes += text.len() + 1;
        first.get_or_insert(text);
    })?;
    if singular {
        return Some(first.map(|text| answer.within(text)).ok_or(NoTarget::Absent));
    }
    let mut held = memory.hold();
    if !held.resize(bytes) {
        return Some(Err(NoTarget::NoMemory));
    }
    let mut out = Vec::with_capacity(bytes);
    out.push(b'[');
    walk(answer.as_str(), steps, &mut |text| {
        separate(&mut out);
        out.extend_from_slice(text.as_bytes());
    })?;
    out.push(b']');
    Some(Json::composed(out).counted(held).ok_or(NoTarget::NoMemory))
}

/// Calls with each value that plain steps lead to. `None`: the members of an object are to be sorted.
fn walk<'a>(text: &'a str, steps: &[PlainStep], each: &mut impl FnMut(&'a str)) -> Option<()> {
    let Some((step, rest)) = steps.split_first() else {
        each(text);
        return Some(());
    };
    let next = match (step, kind(text.as_bytes())) {
        (PlainStep::Name(name), Kind::Object) => member(text, name),
        (PlainStep::Index(index), Kind::List) => item_at(text, *index),
        (PlainStep::All, Kind::List) => {
            let mut walked = Some(());
            for_each_item(text, |item| walked = walked.and_then(|()| walk(item, rest, each)));
            return walked;
        }
        (PlainStep::All, Kind::Object) => return None,
        _ => None,
    };
    next.map_or(Some(()), |value| walk(value, rest, each))
}

fn item_at(list: &str, index: i64) -> Option<&str> {
    let at = match usize::try_from(index) {
        Ok(at) => at,
        Err(_) => {
            let mut items: usize = 0;
            for_each_item(list, |_| items += 1)?;
            items.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?
        }
    };
    item(list, at)
}

/// What the library finds in a tree of the answer.
fn in_tree(answer: &Json, path: &JsonPath, memory: &Arc<MemoryBudget>) -> Result<Json, NoTarget> {
    let size = TreeSize::of(answer.as_bytes());
    if size.values > path.values_max {
        return Err(NoTarget::TooMany(path.values_max));
    }
    let mut held = memory.hold();
    // Nobody counts while it is asked: what it can find was bounded as the query was read.
    if !held.grow(size.bytes + size.values * path.found_times * ASKED_BYTES) {
        return Err(NoTarget::NoMemory);
    }
    let tree: Value = serde_json::from_str(answer.as_str()).map_err(|_| NoTarget::Unreadable)?;
    let nodes = path.query.query(&tree);
    if !held.grow(nodes.len().saturating_mul(FOUND_BYTES)) {
        return Err(NoTarget::NoMemory);
    }
    let mut texts: HashMap<*const Value, Option<Json>> =
        nodes.iter().map(|node| (std::ptr::from_ref(*node), None)).collect();
    look_up(answer.as_str(), &tree, &mut |node, text| {
        if let Some(found) = texts.get_mut(&std::ptr::from_ref(node)) {
            *found = Some(answer.within(text));
        }
    });
    let found: Vec<_> = nodes.iter().filter_map(|node| texts[&std::ptr::from_ref(*node)].clone()).collect();
    if path.singular {
        return found.into_iter().next().ok_or(NoTarget::Absent);
    }
    let bytes: usize = found.iter().map(|json| json.as_bytes().len()).sum();
    if bytes > FOUND_TIMES_MAX * answer.as_bytes().len() {
        return Err(NoTarget::TooMuch);
    }
    if !held.grow(bytes + found.len() + 2) {
        return Err(NoTarget::NoMemory);
    }
    Json::list(&found).counted(held).ok_or(NoTarget::NoMemory)
}

/// How large the tree of a checked text is: no less than that.
struct TreeSize {
    bytes: usize,
    values: usize,
}

impl TreeSize {
    /// A list's items lie in a table that grows by doubling and is copied then, an object's members in nodes of eleven, of which
    /// five at least are taken.
    fn of(text: &[u8]) -> TreeSize {
        const LIST: usize = 160;
        const OBJECT: usize = 800;
        const ITEM: usize = 96;
        const MEMBER: usize = 160;
        const STRING: usize = 16;
        let (mut size, mut in_string, mut escaped) = (TreeSize { bytes: text.len(), values: 1 }, false, false);
        for byte in text {
            let (bytes, values) = match byte {
                _ if escaped => {
                    escaped = false;
                    (0, 0)
                }
                b'\\' => {
                    escaped = true;
                    (0, 0)
                }
                b'"' => {
                    in_string = !in_string;
                    (STRING, 0)
                }
                _ if in_string => (0, 0),
                // Each but an empty one has a value more than it has commas.
                b'[' => (LIST, 1),
                b'{' => (OBJECT, 1),
                b',' => (ITEM, 1),
                b':' => (MEMBER, 0),
                _ => (0, 0),
            };
            size.bytes += bytes;
            size.values += values;
        }
        size
    }
}

/// Calls with each node of a tree and the text that it was made of. Of a name that occurs twice the last text made the node:
/// the others are called with before it.
fn look_up<'a>(text: &'a str, tree: &Value, each: &mut impl FnMut(&Value, &'a str)) {
    each(tree, text);
    match tree {
        Value::Array(items) => {
            let mut items = items.iter();
            for_each_item(text, |text| {
                if let Some(item) = items.next() {
                    look_up(text, item, each);
                }
            });
        }
        Value::Object(members) => {
            for_each_member(text, |name, text| {
                if let Some(member) = std::str::from_utf8(&name.decoded).ok().and_then(|name| members.get(name)) {
                    look_up(text, member, each);
                }
            });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn json(text: &str) -> Json {
        Json::check(Bytes::copy_from_slice(text.as_bytes())).expect(text)
    }

    /// A tree is many times as large as its text: what it takes is no more than what was held for it.
    #[test]
    fn a_tree_is_no_larger_than_was_estimated() {
        let many = |item: &str| format!("[{}]", vec![item; 1000].join(","));
        let members = |many: usize| (0..many).map(|at| format!("\"n{at}\":{at}")).collect::<Vec<_>>().join(",");
        for text in [
            many("1"),
            many("[]"),
            many("[1]"),
            many("{}"),
            many(r#"{"a":1}"#),
            many(r#""a""#),
            many(&format!("{{{}}}", members(12))),
            format!("{{{}}}", members(1000)),
            "[".repeat(100) + &"]".repeat(100),
        ] {
            let counted = allocation_counter::measure(|| drop(serde_json::from_str::<Value>(&text).unwrap()));
            let estimated = TreeSize::of(text.as_bytes()).bytes as u64;
            assert!(counted.bytes_max <= estimated, "{}: {} > {estimated}", &text[..20], counted.bytes_max);
        }
    }

    /// As real as it gets: with a byte less than what was allocated at most there is no room.
    #[test]
    fn a_query_takes_no_more_than_was_counted() {
        let many = |item: &str, times: usize| format!("[{}]", vec![item; times].join(","));
        let nested = |depth: usize| r#"{"a":[1,"#.repeat(depth) + "1" + &"]}".repeat(depth);
        let mut asked = 0;
        for text in [
            many("1", 5000),
            many("[]", 2000),
            many(r#"{"a":1,"b":{"a":"x"}}"#, 1000),
            many(&nested(60), 40),
            format!("{{{}}}", (0..2000).map(|at| format!("\"n{at}\":{at}")).collect::<Vec<_>>().join(",")),
        ] {
            let answer = json(&text);
            let (size, tree) = (TreeSize::of(text.as_bytes()), serde_json::from_str::<Value>(&text).unwrap());
            for query in [
                "$..a",
                "$..*",
                "$..[*,*]",
                "$[*,*]",
                "$[*,*][*,*]",
                "$[0:,0:,0:,0:]",
                "$..[*,*,*,*,*,*,*,*]",
                "$[?@..a]",
                "$[?count(@..*) > 1]",
                "$..[?@.a == 1, ?@ == 1]",
                "$[?@[?@[*]] || @.b]..a",
            ] {
                let path = JsonPath::parse(query).unwrap();
                let measure =
                    |memory: &Arc<MemoryBudget>| allocation_counter::measure(|| drop(in_tree(&answer, &path, memory)));
                let taken = measure(&MemoryBudget::new(usize::MAX)).bytes_max;
                let small = MemoryBudget::new(usize::try_from(taken).unwrap() - 1);
                let found = in_tree(&answer, &path, &small);
                assert_eq!(found, Err(NoTarget::NoMemory), "{query} of {} bytes takes {taken}", text.len());
                // The query alone, without what was counted too much for the tree.
                let counted = size.values * path.found_times * ASKED_BYTES;
                let alone = allocation_counter::measure(|| drop(path.query.query(&tree))).bytes_max;
                assert!(alone <= counted as u64, "{query} of {} bytes takes {alone}, not {counted}", text.len());
                asked += 1;
            }
        }
        assert_eq!(asked, 55);
    }

    /// So many times its answer, as docs/aggregates.md has it.
    #[test]
    fn what_a_query_needs_is_as_documented() {
        const USUAL: &str = r#"{"id":4711,"name":"Ada Lovelace","mail":"ada@example.com","open":true,"total":12.50,"since":"2024-01-01T00:00:00Z"}"#;
        for (item, times) in [(USUAL, 25..=30), ("1", 70..=75), ("{}", 300..=350)] {
            let text = format!("[{}]", vec![item; 1000].join(","));
            let size = TreeSize::of(text.as_bytes());
            let needed = (size.bytes + size.values * ASKED_BYTES) / text.len();
            assert!(times.contains(&needed), "{item}: {needed}");
        }
    }

    #[test]
    fn an_answer_has_no_more_values_than_can_be_asked_about() {
        for (query, values_max) in [("$[?@ > 1]", 1_000_000), ("$[?match(@, 'a')]", 20_000)] {
            let path = JsonPath::parse(query).unwrap();
            let asked = |items: usize| {
                let answer = json(&format!("[{}]", vec!["1"; items].join(",")));
                found(&answer, &path, &MemoryBudget::new(usize::MAX)).map(|found| found.items().unwrap().len())
            };
            assert_eq!(asked(values_max - 1), Ok(0));
            assert_eq!(asked(values_max), Err(NoTarget::TooMany(values_max)));
        }
    }

    #[test]
    fn what_a_json_path_needs_is_counted_beforehand() {
        let answer = json(&format!("[{}]", vec![r#"{"a":1}"#; 1000].join(",")));
        let path = |text: &str| JsonPath::parse(text).unwrap();
        let memory = MemoryBudget::new(16 * answer.as_bytes().len());
        assert_eq!(found(&answer, &path("$[?@.a > 0]"), &memory), Err(NoTarget::NoMemory));
        assert_eq!(memory.used(), 0);
        let list = found(&answer, &path("$[*].a"), &memory).unwrap();
        assert!(memory.used() >= list.as_bytes().len(), "what was made is counted");
        drop(list);
        assert_eq!(memory.used(), 0);
        let large = MemoryBudget::new(64 << 20);
        assert_eq!(found(&answer, &path("$[?@.a > 0]"), &large).unwrap().items().unwrap().len(), 1000);
        assert_eq!(large.used(), 0);
    }
}
