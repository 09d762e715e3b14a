//! What is made of values is bounded, or counted, before it is made.

use serde_json::json as tree;

use super::super::*;
use super::{knowing, parsed, pieces};
use crate::snapshot::MemoryBudget;

/// A string of so many characters, each escaped if so wanted.
fn long(characters: usize, character: &str) -> String {
    format!("\"{}\"", character.repeat(characters))
}

/// The placeholder to blame, and the bytes that were allocated at most.
fn refused<T>(part: &str, make: impl Fn(&Known<'_>) -> Result<T, Unfilled>) -> (String, u64) {
    knowing(part, "/a/7", |known| {
        let mut blamed = String::new();
        let counted = allocation_counter::measure(|| {
            let unfilled = make(known).err().expect("it is too long");
            assert_eq!(unfilled.why, Why::TooLong);
            blamed = unfilled.placeholder;
        });
        (blamed, counted.bytes_max)
    })
}

/// Of four megabytes next to nothing is made where a kilobyte may stand.
#[test]
fn a_target_and_headers_are_bounded_while_they_are_built() {
    const LITTLE: u64 = 16 * 1024;
    let large = [long(4 << 20, "x"), long(1 << 20, "\\u0078"), long(2000, "x")];
    for part in large {
        for template in ["/{part}", "/{part}/x", "/{index}/{part}"] {
            let (blamed, bytes) = refused(&part, |known| path(known, &pieces(template), &mut Room::new(1024)));
            assert_eq!(blamed, "part");
            assert!(bytes < LITTLE, "{template}: {bytes}");
        }
        for value in [tree!("{part}"), tree!("a {part} b")] {
            let parameters = [("p".to_owned(), parsed(&value))];
            let (blamed, bytes) = refused(&part, |known| query(known, &parameters, &mut Room::new(1024)));
            assert_eq!(blamed, "part");
            assert!(bytes < LITTLE, "{value}: {bytes}");
        }
        let (_, bytes) = refused(&part, |known| header(known, &pieces("{part}"), &mut Room::new(1024)));
        assert!(bytes < LITTLE, "{bytes}");
    }
    let list = format!("[{}]", vec!["1"; 100_000].join(","));
    let parameters = [("p".to_owned(), parsed(&tree!("{part}")))];
    let (_, bytes) = refused(&list, |known| query(known, &parameters, &mut Room::new(1024)));
    assert!(bytes < 8 * LITTLE, "{bytes}");
}

/// A path, a query and all headers have one room each; what takes the most of it is to blame.
#[test]
fn the_largest_value_is_to_blame() {
    let part = format!("{{\"long\":{},\"short\":\"yy\"}}", long(20, "x"));
    for (template, room, blamed) in [
        ("/{part.long}", 20, Some("part.long")),
        ("/{part.long}", 21, None),
        ("/{part.long}{part.short}", 22, Some("part.long")),
        ("/{part.short}{part.long}", 22, Some("part.long")),
        ("/{part.short}{part.long}", 23, None),
        ("/aa{part.short}", 4, Some("part.short")),
        ("/aa{part.short}", 5, None),
    ] {
        let made = knowing(&part, "/a/7", |known| path(known, &pieces(template), &mut Room::new(room)));
        assert_eq!(made.err().map(|unfilled| unfilled.placeholder).as_deref(), blamed, "{template} {room}");
    }
    let shared = knowing(&part, "/a/7", |known| {
        let (pieces, parameters) = (pieces("/{part.long}"), [("p".to_owned(), parsed(&tree!("{part.short}")))]);
        let fits = |bytes_max| {
            let mut room = Room::new(bytes_max);
            path(known, &pieces, &mut room).is_ok() && query(known, &parameters, &mut room).is_ok()
        };
        (fits(25), fits(24))
    });
    assert_eq!(shared, (true, false), "percent-encoded, with names: /xx...p=yy");
}

/// `{part}{part}...` of a megabyte: with a byte less than it takes nothing of it is made.
#[test]
fn json_is_counted_before_it_is_made() {
    let part = long(1 << 20, "x");
    for value in [
        tree!({"a": "{part}{part}", "b": ["{part}", "{part} {part}", "{gone?}"]}),
        tree!("{part}".repeat(60)),
        tree!(["{part}", "{gone|\u{1}}", 1.5, null, {"q\"": "\u{1} {part}"}, "{gone} and {part}"]),
    ] {
        let value = parsed(&value);
        knowing(&part, "/a/7", |known| {
            let made = |bytes_max| template(known, &value, &mut MemoryBudget::new(bytes_max).hold());
            let length = made(usize::MAX).unwrap().len();
            assert!(length > 2 << 20);
            assert_eq!(made(length).unwrap().len(), length);
            let counted = allocation_counter::measure(|| assert_eq!(made(length - 1), None));
            assert!(counted.bytes_max < 4096, "{} of {length}", counted.bytes_max);
        });
    }
    let body = parsed(&tree!({"a": "{part}"}));
    let made = |bytes_max| {
        let memory = MemoryBudget::new(bytes_max);
        knowing("12345", "/a/7", |known| json(known, &body, &mut memory.hold()))
    };
    assert_eq!(made(11), Ok(Some(b"{\"a\":12345}".to_vec())));
    assert_eq!(made(10), Err(NoJson::NoMemory));
}
