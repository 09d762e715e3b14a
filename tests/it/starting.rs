//! What whoever starts attache reads when something is wrong, and what machines do.

use std::net::TcpListener;

use serde_json::Value;

use crate::support::{Child, free_address};

/// A configuration that works, with something to warn of.
fn toml(listeners: &[String], admin: &str, log: &str) -> String {
    let listeners: String =
        listeners.iter().map(|address| format!("[[listeners]]\naddress = \"{address}\"\n\n")).collect();
    format!(
        "{listeners}[admin]\naddress = \"{admin}\"\n\n[log]\n{log}\n\n[upstreams.unused]\nurl = \"https://api.example\"\n"
    )
}

/// How it ended, and what it said.
fn run(toml: &str) -> (Option<i32>, Vec<String>) {
    let mut child = Child::start_on(toml, &["run"], &[]);
    let status = child.wait();
    (status.code(), child.lines())
}

#[test]
fn every_address_that_is_taken_is_named() {
    let taken = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0").expect("there are free ports"));
    let [one, other, admin] = taken.each_ref().map(|socket| socket.local_addr().expect("it is bound").to_string());
    let (code, lines) = run(&toml(&[one.clone(), other.clone()], &admin, ""));
    assert_eq!(code, Some(1));
    let errors: Vec<_> = lines.iter().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 3, "{lines:?}");
    for (error, address) in errors.iter().zip([one, other, admin]) {
        assert!(error.contains(&format!("cannot listen on {address}")) && error.contains("(hint: "), "{error}");
    }
}

/// A log that machines read has no line that they cannot read, however the start ends.
#[test]
fn a_log_for_machines_is_one_from_the_first_line() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let taken = socket.local_addr().expect("it is bound").to_string();
    let free = free_address().to_string();
    let json = "format = \"json\"";
    let unused = ("warn", "no route goes to the upstream `unused`");
    let cases = [
        (toml(std::slice::from_ref(&taken), &free, json), 1, vec![unused, ("error", "cannot listen on")]),
        (toml(std::slice::from_ref(&free), &free, json), 3, vec![("error", "`[admin]` and this listener have")]),
        (toml(&[taken], &free, &format!("{json}\nlevel = \"inof\"")), 3, vec![("error", "`level` is off, ")]),
    ];
    for (toml, code, expected) in cases {
        let (ended, lines) = run(&toml);
        assert_eq!(ended, Some(code), "{lines:?}");
        let events: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect(line)).collect();
        for (level, message) in expected {
            let is_it = |event: &&Value| {
                event["level"] == level && event["message"].as_str().is_some_and(|text| text.contains(message))
            };
            let event = events.iter().find(is_it).unwrap_or_else(|| panic!("no {message}: {lines:?}"));
            let at = event["at"].as_str().is_some_and(|at| at.starts_with("proxy.toml:"));
            // What is no fault of the file has no place in it.
            assert_eq!(at, code == 3 || level == "warn", "{event}");
        }
    }
}

/// What `check` says of a route's methods, `explain` says of the method that it is asked for.
#[test]
fn a_method_that_is_not_in_capitals_is_told_of() {
    let toml = "[[listeners]]\naddress = \"127.0.0.1:8080\"\n\n[upstreams.api]\nurl = \"https://api.example\"\n\n\
                [[routes]]\npath = \"/x\"\nupstream = \"api\"\nclients = \"anyone\"\n";
    for (method, told) in [("get", Some("methods are in capitals: `get` would be another one")), ("GET", None)] {
        let mut child = Child::start_on(toml, &["explain", method, "/x"], &[]);
        assert_eq!(child.wait().code(), Some(0));
        let lines = child.lines();
        assert!(lines.iter().any(|line| line == &format!("sends        {method} https://api.example/x")), "{lines:?}");
        let hint = lines.iter().find(|line| line.starts_with("hint: "));
        assert_eq!(hint.is_some(), told.is_some(), "{lines:?}");
        assert!(hint.is_none_or(|hint| hint.contains(told.unwrap_or_default())), "{lines:?}");
    }
}
