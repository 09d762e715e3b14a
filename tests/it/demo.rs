//! The demo's printed lines, run as a stranger would run them.

use std::net::TcpListener;

use serde_json::Value;

use crate::support::{Child, Tool, program};

/// A line as printed: what to expect, and the command.
struct Printed {
    expect: String,
    command: String,
}

fn printed(demo: &Child) -> Vec<Printed> {
    demo.wait_for_line("the last line to try", |line| line.starts_with("   ") && line.contains("/overview"));
    let lines = demo.lines();
    let numbered = |line: &str| line.split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok());
    let pairs = lines.windows(2).filter(|pair| numbered(&pair[0]) && pair[1].starts_with("   "));
    pairs.map(|pair| Printed { expect: pair[0].clone(), command: pair[1].trim().to_owned() }).collect()
}

fn sh(command: &str) -> String {
    let output = Tool::SH.output(&["-c", command]);
    assert!(output.status.success(), "{command}: {output:?}");
    String::from_utf8(output.stdout).expect("the demo answers in UTF-8")
}

/// Status and body of the last answer that `curl -i` printed.
fn answer(printed: &str) -> (u16, Value) {
    let (_, last) = printed.rsplit_once("HTTP/1.1 ").unwrap_or_else(|| panic!("no answer in {printed:?}"));
    let (_, body) = last.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no body in {printed:?}"));
    let status = last[..3].parse().unwrap_or_else(|_| panic!("no status in {printed:?}"));
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {printed:?}")))
}

/// TL-22, TL-24, TL-29, TL-41: a token is renewed before it expires, replaced when it was revoked, and never sent dead.
///
/// SEC-13: an upstream that repeats the token reaches the client with a mask in its place.
#[test]
fn every_printed_line_does_what_it_says() {
    // Another demo would take the ports that everybody prefers as soon as this one stops its authorization server.
    let _taken = [8080, 9901, 9101, 9102].map(|port| TcpListener::bind(("127.0.0.1", port)));
    let demo = Child::start(&["demo"]);
    let lines = printed(&demo);
    assert_eq!(lines.len(), 7, "{}", demo.output());
    let expects = |index: usize, what: &str| {
        let line = &lines[index];
        assert!(line.expect.contains(what), "{}", line.expect);
        sh(&line.command)
    };

    let (status, _) = answer(&expects(0, "401"));
    assert_eq!(status, 401);

    let (status, body) = answer(&expects(1, "200"));
    assert_eq!((status, &body["message"]), (200, &Value::from("Hello from an API that wants a token.")));

    let (status, body) = answer(&expects(2, "masked"));
    assert_eq!(status, 200);
    let authorization = body["your headers"]["authorization"].as_str().expect("the API got a token");
    assert!(authorization.starts_with("Bearer ****************"), "{authorization}");
    assert!(authorization.trim_start_matches("Bearer ").bytes().all(|byte| byte == b'*'), "{authorization}");

    let (status, body) = answer(&expects(6, "one answer of two APIs"));
    assert_eq!((status, &body["profile"]["name"]), (200, &Value::from("Ada")), "{body}");
    assert_eq!(body["orders"][0]["customer"], "C-0007", "{body}");

    let issued = || demo.lines().iter().filter(|line| line.contains("a token was issued")).count();
    let before = issued();
    let statuses = expects(3, "all 200");
    assert_eq!(statuses.split_whitespace().collect::<Vec<_>>(), vec!["200"; 40]);
    assert!(issued() > before, "{}", demo.output());
    demo.wait_for_line("the renewal", |line| line.contains("token granted") && line.contains("generation=2"));

    let (status, _) = answer(&expects(4, "one replay"));
    assert_eq!(status, 200);
    demo.wait_for_line("the replay", |line| line.contains("replayed with a new one"));
    let replays = demo.lines().iter().filter(|line| line.contains("replayed with a new one")).count();
    assert_eq!(replays, 1, "{}", demo.output());

    let last = expects(5, "503");
    assert!(last.contains("200 200 200 "), "{last}");
    let (status, body) = answer(&last);
    assert_eq!(status, 503);
    assert!(body["detail"].as_str().is_some_and(|detail| detail.contains("token endpoint")), "{body}");

    let printed = expects(6, "without a token");
    let (status, body) = answer(&printed);
    assert_eq!((status, &body["profile"]["name"]), (200, &Value::from("Ada")), "{body}");
    assert_eq!(body["orders"], Value::Array(Vec::new()), "{body}");
    assert!(printed.contains("\r\nattache-parts: orders;"), "{printed}");
}

/// `attache demo | head`: it ends when nobody is there to read it, whether that was so before it wrote or is so after.
#[test]
fn it_ends_quietly_when_its_reader_leaves() {
    for reader in ["true", "head -n 1"] {
        // Descriptor 3 is ours: what the demo complains of and how it ends go past its reader.
        let script = format!("exec 3>&1; {{ \"$1\" demo 2>&3; echo \"code $?\" >&3; }} | {reader}");
        let output = Tool::SH.output(&["-c", &script, "sh", &program()]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.lines().any(|line| line == "code 0"), "{reader}: {said}");
        assert!(!said.contains("panicked"), "{reader}: {said}");
    }
}
