//! The attacks of the collection that are prose: each with the tests that try it, or open with the reason.
//!
//! A test names the attack before the first colon of its doc comment: `/// Attack S08: …`, or `/// TL-35, and the attack
//! K01: …`. `cargo test --test it unscripted -- --nocapture` prints the list.

use std::collections::BTreeMap;

use super::corpus::Case;
use crate::promises::documented_tests;
use crate::sources::below;

const NO_JWT_CLIENTS: &str = "clients present keys, not JWTs yet";
const NO_LOGIN: &str = "nobody logs in through the proxy yet";

/// Attacks that no test tries, and why.
const OPEN: &[(&str, &str)] = &[
    ("S12", "by construction: keys are looked up by their SHA-256 (client_auth); a measurement would be noise"),
    ("K11", "refresh tokens come with the grants that yield them"),
    ("J02", NO_JWT_CLIENTS),
    ("J03", NO_JWT_CLIENTS),
    ("J04", NO_JWT_CLIENTS),
    ("J08", NO_JWT_CLIENTS),
    ("J10", NO_LOGIN),
    ("J12", NO_LOGIN),
    ("J13", NO_LOGIN),
];

/// What of an attack that a test tries is not tried.
const PARTLY: &[(&str, &str)] = &[
    ("S03", "`gcore` as another user: a test has no other user; that the process is not dumpable is tested"),
    ("S06", "the token store: nothing is stored yet"),
    ("S09", "NTLM and Negotiate: their challenges are removed (TL-46), so that nobody authenticates a connection"),
    ("K10", "an expired certificate: rustls refuses it as it does those that are tested"),
];

#[test]
fn every_unscripted_attack_is_tried_or_open() {
    let cases = Case::unscripted();
    assert_eq!(cases.len(), 35);
    let sources = below("src", "rs").into_iter().chain(below("tests", "rs"));
    // Its own tests hold examples of doc comments.
    let sources: Vec<_> = sources.filter(|source| !source.path.ends_with("/promises.rs")).collect();
    let mut tried: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, document) in sources.iter().flat_map(documented_tests) {
        for id in attacks(document) {
            tried.entry(id.to_owned()).or_default().push(name.clone());
        }
    }
    print(&cases, &tried);
    let problems = problems(&cases, &tried, OPEN, PARTLY);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_missing_attack_is_found() {
    let cases = ["S01", "S02", "S03"].map(str::to_owned);
    let tried = BTreeMap::from([("S01".to_owned(), vec!["a test".to_owned()])]);
    assert_eq!(problems(&cases, &tried, &[("S02", "x"), ("S03", "x")], &[("S01", "x")]), [""; 0]);
    let found = problems(&cases, &tried, &[("S01", "x"), ("S02", "x"), ("S09", "x")], &[("S02", "x")]);
    let expected = ["S01 is open, but", "S03 is neither", "OPEN names S09", "PARTLY names S02"];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    assert!(found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected)), "{found:?}");
    for (document, expected) in [
        (" Attack S07: on loopback", &["S07"][..]),
        (" SEC-32, and the attacks R04, R05 and R06: never", &["R04", "R05", "R06"]),
        (" SEC-15: as the attack S06 does: never", &[]),
        (" H01: no such word", &[]),
    ] {
        assert_eq!(attacks(document), expected, "{document}");
    }
}

/// The attacks that the beginning of a doc comment names.
fn attacks(document: &str) -> Vec<&str> {
    let Some((beginning, _)) = document.split_once(':') else { return Vec::new() };
    let words = beginning.split([' ', ',']).filter(|word| !word.is_empty());
    let named = words.skip_while(|word| !matches!(word.to_ascii_lowercase().as_str(), "attack" | "attacks"));
    named.filter(|word| is_attack(word)).collect()
}

fn is_attack(word: &str) -> bool {
    matches!(word.as_bytes(), [letter, tens, ones]
        if letter.is_ascii_uppercase() && tens.is_ascii_digit() && ones.is_ascii_digit())
}

fn problems(
    cases: &[String],
    tried: &BTreeMap<String, Vec<String>>,
    open: &[(&str, &str)],
    partly: &[(&str, &str)],
) -> Vec<String> {
    let mut problems = Vec::new();
    for id in cases {
        match (tried.contains_key(id), open.iter().any(|(other, _)| other == id)) {
            (false, false) => problems.push(format!("{id} is neither tried by a test nor open with a reason")),
            (true, true) => problems.push(format!("{id} is open, but a test tries it: remove it from OPEN")),
            _ => {}
        }
    }
    let unknown = open.iter().filter(|(id, _)| !cases.iter().any(|case| case == id));
    problems.extend(unknown.map(|(id, _)| format!("OPEN names {id}, which is no attack without a script")));
    let untried = partly.iter().filter(|(id, _)| !tried.contains_key(*id));
    problems.extend(untried.map(|(id, _)| format!("PARTLY names {id}, which no test tries")));
    problems
}

#[expect(clippy::print_stdout, reason = "the list is what a person runs this test for")]
fn print(cases: &[String], tried: &BTreeMap<String, Vec<String>>) {
    for id in cases {
        let reason = OPEN.iter().find(|(open, _)| open == id).map(|(_, reason)| format!("open: {reason}"));
        let tests = tried.get(id).map(|tests| tests.join("\n    "));
        println!("{id} {}", tests.or(reason).unwrap_or_else(|| "MISSING".to_owned()));
        for (_, what) in PARTLY.iter().filter(|(partly, _)| partly == id) {
            println!("    open: {what}");
        }
    }
    let count = cases.iter().filter(|id| tried.contains_key(*id)).count();
    println!(
        "{} attacks without a script: {count} tried, {} but in part, {} open",
        cases.len(),
        PARTLY.len(),
        OPEN.len()
    );
}
