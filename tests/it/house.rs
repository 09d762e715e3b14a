//! The house: imports go downwards only. This reads every path to another module in `src` and holds it to the floors
//! of ARCHITECTURE.md.

use std::collections::BTreeSet;

use crate::sources::{Source, below};

const BASE: &[&str] = &["secret", "jws", "fields", "clock", "metrics", "descriptors", "tcp"];
const CONFIG: &[&str] = &["config"];
const PARTS: &[&str] = &["route", "token", "upstream", "listener"];
const AUTHENTICATION: &[&str] = &["credential", "client_auth"];
const SNAPSHOT: &[&str] = &["snapshot"];
const TRAFFIC: &[&str] = &["proxy", "admin"];

/// What each module may import, floor by floor from the top. `crate::x` and `super::…::x` count alike, in tests too.
const FLOORS: &[(&str, &[&[&str]])] = &[
    ("main", &[&["cli"]]),
    ("cli", &[&["app", "demo"], TRAFFIC, SNAPSHOT, AUTHENTICATION, PARTS, CONFIG, BASE]),
    ("demo", &[&["app"], TRAFFIC, SNAPSHOT, AUTHENTICATION, PARTS, CONFIG, BASE]),
    ("app", &[TRAFFIC, SNAPSHOT, AUTHENTICATION, PARTS, CONFIG, BASE]),
    // What the request path needs of the configuration, the snapshot has made into parts.
    ("proxy", &[SNAPSHOT, AUTHENTICATION, PARTS, BASE]),
    ("admin", &[SNAPSHOT, AUTHENTICATION, PARTS, BASE]),
    ("snapshot", &[AUTHENTICATION, PARTS, CONFIG, BASE]),
    ("credential", &[&["token", "upstream"], CONFIG, BASE]),
    ("client_auth", &[&["token", "upstream"], CONFIG, BASE]),
    ("route", &[]),
    ("token", &[CONFIG, BASE]),
    ("upstream", &[CONFIG, BASE]),
    ("listener", &[CONFIG, BASE]),
    ("config", &[&["secret", "jws", "fields"]]),
    ("jws", &[&["secret"]]),
    ("secret", &[]),
    ("fields", &[]),
    ("clock", &[]),
    ("metrics", &[]),
    ("descriptors", &[]),
    ("tcp", &[]),
];

#[test]
fn imports_go_downwards() {
    let sources = below("src", "rs");
    let wrong: Vec<String> = sources.iter().flat_map(wrong_imports).collect();
    assert!(wrong.is_empty(), "imports that the house does not allow:\n{}", wrong.join("\n"));
    let read: usize = sources.iter().map(|source| imports(source).len()).sum();
    assert!(read >= 100, "only {read} imports were read: is this reader still right?");
}

#[test]
fn every_module_has_its_floor() {
    let found: BTreeSet<String> = below("src", "rs").iter().map(module_of).filter(|module| module != "lib").collect();
    let known: BTreeSet<String> = FLOORS.iter().map(|(module, _)| (*module).to_owned()).collect();
    assert_eq!(found, known, "the modules in src (left) and those that have a floor here (right) differ");
}

#[test]
fn a_floor_imports_only_floors_below_it() {
    for (index, (module, allowed)) in FLOORS.iter().enumerate() {
        for import in allowed.iter().copied().flatten() {
            let below = FLOORS[index + 1..].iter().any(|(lower, _)| lower == import);
            assert!(below, "{module} may import {import}, which does not stand below it");
        }
    }
}

#[test]
fn an_import_that_goes_upwards_is_found() {
    let cases = [
        ("src/route/table.rs", "use crate::config::Route;", vec!["config"]),
        (
            "src/proxy/forward.rs",
            "use crate::{\n    clock::Ticker,\n    config::{Limits, Route},\n    token,\n};",
            vec!["config"],
        ),
        ("src/token/cell.rs", "fn f(_: &crate::credential::Credential) {}", vec!["credential"]),
        ("src/upstream/h1/mod.rs", "pub(crate) use super::super::proxy::handle;", vec!["proxy"]),
        ("src/upstream/h1/mod.rs", "use super::proxy::Proxy; // upstream's own", vec![]),
        ("src/clock.rs", "use super::app;", vec!["app"]),
        ("src/clock.rs", "mod tests {\n    use super::super::app;\n}", vec!["app"]),
        ("src/main.rs", "attache::proxy::handle();", vec!["proxy"]),
        ("src/secret/mod.rs", "/// As `crate::token::Token` does.\n// use crate::token;", vec![]),
        ("src/metrics.rs", "use crate::{self, metrics::Cell};", vec![]),
        ("src/token/mod.rs", "use crate::secret::Masks;\nuse crate::clock::{Boot, Clock};", vec![]),
    ];
    for (path, text, expected) in cases {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        let wrong = wrong_imports(&source);
        assert_eq!(wrong.len(), expected.len(), "{path}: {text}: {wrong:?}");
        for (found, import) in wrong.iter().zip(expected) {
            assert!(found.starts_with(path) && found.contains(&format!("imports {import}")), "{found}");
        }
    }
}

fn wrong_imports(source: &Source) -> Vec<String> {
    let own = module_of(source);
    let allowed =
        FLOORS.iter().find(|(module, _)| *module == own).map(|(_, allowed)| allowed.concat()).unwrap_or_default();
    let forbidden = |(_, import): &(usize, String)| {
        own != "lib" && *import != own && is_module(import) && !allowed.contains(&import.as_str())
    };
    imports(source)
        .into_iter()
        .filter(forbidden)
        .map(|(line, import)| format!("{}:{line}: {own} imports {import}; it may import {allowed:?}", source.path))
        .collect()
}

fn is_module(name: &str) -> bool {
    FLOORS.iter().any(|(module, _)| *module == name)
}

/// The module directly below the root that a file belongs to.
fn module_of(source: &Source) -> String {
    let inside = source.path.strip_prefix("src/").expect("a file in src");
    let first = inside.split('/').next().expect("split yields at least one piece");
    first.trim_end_matches(".rs").to_owned()
}

/// How many `super` lead from a file's module to the root.
fn depth_of(source: &Source) -> usize {
    let inside = source.path.strip_prefix("src/").expect("a file in src").trim_end_matches(".rs");
    inside.trim_end_matches("/mod").split('/').count()
}

/// The first names of all paths that begin at the root, with the line where the path begins.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let code: Vec<&str> = source.text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("::") {
        let (before, after) = (&code[..at], &code[at + 2..]);
        let from_root = match last_word(before) {
            "crate" => true,
            "attache" => module_of(source) == "main",
            "super" => leads_to_root(before, depth_of(source)),
            _ => false,
        };
        if from_root {
            let line = before.lines().count();
            found.extend(first_names(after).into_iter().map(|name| (line, name)));
        }
    }
    found
}

/// Whether the chain of `super` that ends here is long enough; in an inline module, such as `tests`, it may be longer.
fn leads_to_root(before: &str, depth: usize) -> bool {
    let mut chain = before;
    let mut supers = 0;
    while let Some(shorter) = chain.strip_suffix("super") {
        supers += 1;
        chain = shorter.trim_end_matches("::");
    }
    supers >= depth
}

fn last_word(text: &str) -> &str {
    let start = text.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
    &text[start..]
}

/// `a` of `a::b`, or `a` and `c` of `{a::{b, d}, c}`.
fn first_names(path: &str) -> Vec<String> {
    let word =
        |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return vec![word(path)] };
    let mut names = vec![word(group)];
    let mut nested = 0usize;
    for (at, c) in group.char_indices() {
        match c {
            '{' => nested += 1,
            '}' if nested == 0 => break,
            '}' => nested -= 1,
            ',' if nested == 0 => names.push(word(&group[at + 1..])),
            _ => {}
        }
    }
    names
}
