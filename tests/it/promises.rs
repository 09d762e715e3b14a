//! The numbered promises of docs/token-lifecycle.md and docs/security.md, each with the tests that show it.
//!
//! A test shows a promise by naming its id at the beginning of its doc comment: `/// TL-22, TL-23: a soft token …`; a
//! Python test or a shell script likewise, in a comment or docstring (`# TL-32: …`). What no test shows stands in
//! [`OPEN`] with the reason. An id stands for several clauses: those that no test shows, though others of the same id are
//! shown, stand in [`PARTLY`]. `cargo test --test it promises -- --nocapture` prints the list.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::{Source, below, file};

/// Promises that no test shows, and why.
const OPEN: &[(&str, &str)] = &[
    ("TL-60", "a fleet needs a shared store; those so far are for one process"),
    ("TL-62", "a fleet needs a shared store; those so far are for one process"),
];

/// Clauses that no test shows of promises that are shown otherwise: id, clause, and why.
const PARTLY: &[(&str, &str, &str)] = &[
    (
        "TL-03",
        "a token bound to a vanished certificate (`cnf`) dies at once",
        "of a certificate that changes it is the upstream that knows",
    ),
    ("TL-27", "a subject's own account: 403 with its `connect_url`", "credentials of users do not exist yet"),
    ("TL-61", "the store is read before any fetch", "it is for one process, which knows what is in it"),
    (
        "TL-70",
        "users' keys: reading an evicted one from the store",
        "those so far come with requests, and are not stored",
    ),
];

#[test]
fn every_promise_is_shown_or_open() {
    let promised = promised(&[file("docs/token-lifecycle.md"), file("docs/security.md")]);
    assert_eq!(promised.len(), 74, "the number of promises changed: is that meant?");
    let mut tests: Vec<Test> = Vec::new();
    // This file's own tests hold examples of doc comments.
    let rust =
        below("src", "rs").into_iter().chain(below("tests", "rs")).filter(|source| !source.path.ends_with(file!()));
    for source in rust {
        tests.extend(rust_tests(&source));
    }
    for source in below("tests", "py").iter().chain(&below("tests", "sh")) {
        tests.extend(script(source));
    }
    print(&promised, &tests);
    let problems = problems(&promised, &tests, OPEN, PARTLY);
    assert!(problems.is_empty(), "{} problems with promises:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn a_missing_promise_is_found() {
    let docs = Source {
        path: "docs/x.md".to_owned(),
        text: "- TL-01 One.\n- TL-02 Two, as TL-09 says.\n| SEC-03 | state |\n| id | x |\n".to_owned(),
    };
    let promised = promised(&[docs]);
    assert_eq!(promised, BTreeSet::from(["TL-01", "TL-02", "SEC-03"].map(str::to_owned)));
    let test = |ids: &[&str]| Test { name: "a::test".to_owned(), ids: ids.iter().map(|id| (*id).to_owned()).collect() };
    type Case<'a> = (&'a [Test], &'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: [Case<'_>; 5] = [
        (&[test(&["TL-01", "SEC-03"])], &[("TL-02", "later")], &[]),
        (&[test(&["TL-01", "SEC-03"])], &[], &["TL-02 is neither shown"]),
        (&[test(&["TL-01", "TL-02", "SEC-03"])], &[("TL-02", "later")], &["TL-02 is open"]),
        (&[test(&["TL-01", "TL-02", "SEC-03", "TL-09"])], &[], &["a::test names TL-09"]),
        (&[test(&["TL-01", "TL-02", "SEC-03"])], &[("TL-77", "x")], &["OPEN names TL-77"]),
    ];
    for (tests, open, expected) in cases {
        let found = problems(&promised, tests, open, &[]);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected)), "{found:?}");
    }
    let shown = [test(&["TL-01", "SEC-03"])];
    let partly = [("TL-01", "a clause", "x"), ("TL-02", "a clause", "x"), ("TL-77", "a clause", "x")];
    let found = problems(&promised, &shown, &[("TL-02", "later")], &partly);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("PARTLY names TL-02, of which no test"), "{found:?}");
    assert!(found[1].starts_with("PARTLY names TL-77, which is promised nowhere"), "{found:?}");
}

#[test]
fn only_tests_show_promises() {
    let source = Source {
        path: "src/token/cell.rs".to_owned(),
        text: "
/// TL-01: documents a function, which shows nothing.
fn helper() {}

/// TL-02, TL-03 and SEC-04: a property,
/// which goes on, and mentions TL-05: as an aside.
#[tokio::test(start_paused = true)]
#[expect(
    clippy::unwrap_used,
    reason = \"a test\"
)]
async fn waits_for_nothing() {}

/// It mentions TL-06: only.
#[test]
fn other() {}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    /// TL-07, and the attack K01: in a property test.
    #[test]
    fn random(x in 0..3) {
        fn inner() {}
    }

    /// TL-08: without the attribute, which newer versions add.
    fn bare(x in 0..3) {}
}
"
        .to_owned(),
    };
    let tests: Vec<(String, Vec<String>)> = rust_tests(&source).into_iter().map(|test| (test.name, test.ids)).collect();
    let expected = [
        ("src/token/cell.rs waits_for_nothing", vec!["TL-02", "TL-03", "SEC-04"]),
        ("src/token/cell.rs random", vec!["TL-07"]),
        ("src/token/cell.rs bare", vec!["TL-08"]),
    ];
    let expected =
        expected.map(|(name, ids)| (name.to_owned(), ids.into_iter().map(str::to_owned).collect::<Vec<_>>()));
    assert_eq!(tests, expected);
    let text =
        "#!/bin/sh\n# SEC-40: streams end.\necho TL-99: no comment\n\"\"\"TL-32: attempts end.\"\"\"\n".to_owned();
    let shown = script(&Source { path: "tests/x.sh".to_owned(), text }).expect("it shows promises");
    assert_eq!(shown.ids, ["SEC-40", "TL-32"]);
}

/// A test, and the promises that it names.
struct Test {
    name: String,
    ids: Vec<String>,
}

/// What a document promises: the ids that stand first in an item of a list or a row of a table.
fn promised(documents: &[Source]) -> BTreeSet<String> {
    let lines = documents.iter().flat_map(|document| document.text.lines());
    lines
        .filter_map(|line| line.strip_prefix("- ").or_else(|| line.strip_prefix("| ")))
        .filter_map(|line| line.split(' ').next())
        .filter(|word| is_id(word))
        .map(str::to_owned)
        .collect()
}

fn problems(
    promised: &BTreeSet<String>,
    tests: &[Test],
    open: &[(&str, &str)],
    partly: &[(&str, &str, &str)],
) -> Vec<String> {
    let mut problems = Vec::new();
    let shown: BTreeSet<&String> = tests.iter().flat_map(|test| &test.ids).collect();
    for id in promised {
        match (shown.contains(id), open.iter().any(|(other, _)| other == id)) {
            (false, false) => problems.push(format!("{id} is neither shown by a test nor open with a reason")),
            (true, true) => problems.push(format!("{id} is open, but a test shows it: remove it from OPEN")),
            _ => {}
        }
    }
    for test in tests {
        let unknown = test.ids.iter().filter(|id| !promised.contains(*id));
        problems.extend(unknown.map(|id| format!("{} names {id}, which is promised nowhere", test.name)));
    }
    let unknown = open.iter().filter(|(id, _)| !promised.contains(*id));
    problems.extend(unknown.map(|(id, _)| format!("OPEN names {id}, which is promised nowhere")));
    for (id, clause, _) in partly {
        if !promised.contains(*id) {
            problems.push(format!("PARTLY names {id}, which is promised nowhere"));
        } else if !shown.contains(&(*id).to_owned()) {
            problems.push(format!("PARTLY names {id}, of which no test shows anything: move it to OPEN ({clause})"));
        }
    }
    problems
}

#[expect(clippy::print_stdout, reason = "the list is what a person runs this test for")]
fn print(promised: &BTreeSet<String>, tests: &[Test]) {
    let mut shown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for test in tests {
        test.ids.iter().for_each(|id| shown.entry(id).or_default().push(&test.name));
    }
    for id in promised {
        let reason = OPEN.iter().find(|(open, _)| open == id).map(|(_, reason)| format!("open: {reason}"));
        let tests = shown.get(id.as_str()).map(|tests| tests.join("\n       "));
        println!("{id:6} {}", tests.or(reason).unwrap_or_else(|| "MISSING".to_owned()));
        for (_, clause, reason) in PARTLY.iter().filter(|(partly, ..)| partly == id) {
            println!("       open: {clause}: {reason}");
        }
    }
    let partly: BTreeSet<&str> = PARTLY.iter().map(|(id, ..)| *id).collect();
    let whole = promised.iter().filter(|id| shown.contains_key(id.as_str()) && !partly.contains(id.as_str())).count();
    println!(
        "{} promises: {whole} shown, {} shown but for {} clauses, {} open",
        promised.len(),
        partly.len(),
        PARTLY.len(),
        OPEN.len()
    );
}

/// The tests of a Rust file whose doc comment begins with ids.
fn rust_tests(source: &Source) -> Vec<Test> {
    let tests = documented_tests(source).into_iter().map(|(name, document)| Test { name, ids: leading_ids(document) });
    tests.filter(|test| !test.ids.is_empty()).collect()
}

/// The tests of a Rust file that have a doc comment, each with the first line of it.
pub fn documented_tests(source: &Source) -> Vec<(String, &str)> {
    let mut tests = Vec::new();
    let mut document: Option<&str> = None;
    let mut is_test = false;
    let mut in_attribute = false;
    let mut proptest_end: Option<String> = None;
    for line in source.text.lines() {
        let code = line.trim_start();
        if code == "proptest! {" {
            proptest_end = Some(line.replace("proptest! {", "}"));
        } else if proptest_end.as_deref() == Some(line) {
            proptest_end = None;
        }
        if let Some(comment) = code.strip_prefix("///") {
            document = document.or(Some(comment));
        } else if in_attribute || code.starts_with("#[") {
            is_test |= code.starts_with("#[test]") || code.starts_with("#[tokio::test");
            in_attribute = !code.ends_with(']');
        } else {
            let name = code.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.split('(').next());
            if let (Some(name), Some(document)) = (name, document)
                && (is_test || proptest_end.is_some())
            {
                tests.push((format!("{} {name}", source.path), document));
            }
            document = None;
            is_test = false;
        }
    }
    tests
}

/// Ids that a script shows, as a whole.
fn script(source: &Source) -> Option<Test> {
    let comments = source.text.lines().map(str::trim_start);
    let comments = comments.filter_map(|line| line.strip_prefix("# ").or_else(|| line.strip_prefix("\"\"\"")));
    let ids: Vec<String> = comments.flat_map(leading_ids).collect();
    (!ids.is_empty()).then(|| Test { name: source.path.clone(), ids })
}

/// The ids at the beginning, if a colon says that what follows is what the test shows.
fn leading_ids(comment: &str) -> Vec<String> {
    let Some((ids, _)) = comment.split_once(':') else { return Vec::new() };
    let words = ids.split([' ', ',']).filter(|word| !word.is_empty() && *word != "and");
    words.take_while(|word| is_id(word)).map(str::to_owned).collect()
}

fn is_id(word: &str) -> bool {
    let digits = word.strip_prefix("TL-").or_else(|| word.strip_prefix("SEC-"));
    digits.is_some_and(|digits| digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}
