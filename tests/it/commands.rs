//! The commands as whoever runs them meets them: what they print, where, and how they end.

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::{Child, TokenEndpoint, Upstream, free_address, get, program, send};

/// A folder with this proxy.toml.
fn folder(toml: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("there is room for a file");
    fs::write(folder.path().join("proxy.toml"), toml).expect("there is room for a file");
    folder
}

/// Runs `attache` to its end, in this folder and with these variables only.
fn attache(folder: &TempDir, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.current_dir(folder.path()).env_clear().envs(environment.iter().copied()).args(arguments);
    command.output().expect("cargo builds it")
}

/// Nothing is called but by `check --live`.
fn toml(token_url: &str) -> String {
    format!(
        r#"
[[listeners]]
address = "127.0.0.1:8080"

[credentials.api.client_credentials]
token_url = "{token_url}"
client_id = "attache"
client_secret = {{ env = "SECRET" }}

[upstreams.api]
url = "http://127.0.0.1:9"
credential = "api"

[[routes]]
path = "/api/{{*rest}}"
methods = ["GET"]
upstream = "api"
clients = "anyone"
"#
    )
}

const SECRET: &[(&str, &str)] = &[("SECRET", "s3cret-of-the-commands")];

/// As `--help` has it: 0 done, 1 failed, 2 the command line is wrong, 3 the configuration is invalid, of which every
/// problem is on standard error.
#[test]
fn commands_end_as_the_help_says() {
    let good = folder(&toml("http://127.0.0.1:9/token"));
    let bad = folder(&toml("http://127.0.0.1:9/token").replace("upstream = \"api\"", "upstream = \"apo\""));
    let empty = tempfile::tempdir().expect("there is room for a file");
    let none: &[(&str, &str)] = &[];
    let match_it = ["explain", "GET", "http://localhost:8080/api/x"];
    // Of what is printed: a part of standard output for what was done, otherwise of standard error.
    let cases = [
        (
            &good,
            SECRET,
            &["check"][..],
            0,
            "proxy.toml is valid: 1 listener, 0 clients, 1 credential, 1 upstream, 1 route\n",
        ),
        (&good, none, &["check"], 3, "`SECRET` is not set"),
        (&good, none, &["check", "--no-secrets"], 0, "proxy.toml is valid"),
        (&good, none, &["check", "--no-secrets", "--live"], 2, "cannot be used with"),
        (&good, SECRET, &["check", "--live"], 1, ""),
        (&good, SECRET, &["check", "proxy.toml"], 2, "hint: write `--config proxy.toml`"),
        (&bad, SECRET, &["check"], 3, "`apo`"),
        (&bad, none, &["check", "--no-secrets"], 3, "`apo`"),
        (&empty, SECRET, &["check"], 3, "proxy.toml"),
        (&good, SECRET, &["check", "--config", "other.toml"], 3, "other.toml"),
        (&good, none, &match_it, 0, "http://127.0.0.1:9/x"),
        (&good, none, &["explain", "GET", "/api/x"], 0, "http://127.0.0.1:9/x"),
        (&good, none, &["explain", "GET", "/nowhere"], 1, "404"),
        (&good, none, &["explain", "POST", "/api/x"], 1, "405"),
        (&good, none, &["explain", "G T", "/api/x"], 2, "G T"),
        (&good, none, &["explain", "GET", "api/x"], 2, "it begins with"),
        (&good, none, &["explain", "GET"], 2, "<URL>"),
        (&bad, none, &match_it, 3, "`apo`"),
        (&good, none, &["routes"], 0, "GET /api/{*rest}"),
        (&bad, none, &["routes"], 3, "`apo`"),
        (&empty, none, &["routes"], 3, "proxy.toml"),
        (&bad, SECRET, &["run"], 3, "`apo`"),
        (&good, none, &["openapi"], 0, "\"openapi\": \"3.1.0\""),
        (&bad, none, &["openapi"], 3, "`apo`"),
        (&good, none, &["schema"], 0, "\"$schema\""),
        (&good, none, &["key", "new", "anyone"], 2, "`anyone` is everybody"),
        (&good, none, &["serve"], 2, "serve"),
        (&good, none, &[], 2, "Usage"),
        (&good, none, &["--version"], 0, concat!("attache ", env!("CARGO_PKG_VERSION"))),
    ];
    for (folder, environment, arguments, code, expected) in cases {
        let output = attache(folder, environment, arguments);
        let [out, err] = [&output.stdout, &output.stderr].map(|printed| String::from_utf8_lossy(printed).into_owned());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{err}");
        let (told, silent) = if code == 0 { (&out, &err) } else { (&err, &out) };
        assert!(told.contains(expected), "{arguments:?}: {expected:?} is not in {told:?}");
        // What is checked live says line by line what it found before it says that something failed.
        assert!(silent.is_empty() || arguments.contains(&"--live"), "{arguments:?}: {silent}");
    }
    let help = attache(&empty, none, &["--help"]);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let (_, codes) = help.split_once("Exit codes:\n").expect("the help says how commands end");
    let first = |line: &str| line.trim_start().split_once("  ").and_then(|(code, _)| code.parse::<u8>().ok());
    assert_eq!(codes.lines().filter_map(first).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn a_live_check_of_what_works_ends_well() {
    let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
    let toml = toml(&endpoint.url()).replace("http://127.0.0.1:9", &upstream.url());
    let output = attache(&folder(&toml), SECRET, &["check", "--live"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!((endpoint.requests().len(), upstream.requests().len()), (1, 0));
}

/// What `attache key new` prints is all that a client and its proxy.toml need.
#[test]
fn a_printed_key_opens_a_route_of_the_printed_client() {
    for name in ["billing", "billing.v2"] {
        let made = attache(&tempfile::tempdir().expect("there is room"), &[], &["key", "new", name]);
        assert!(made.status.success(), "{made:?}");
        let printed = String::from_utf8(made.stdout).expect("it is UTF-8");
        let (key, table) = printed.split_once("\n\n").expect("a key, and a table");
        assert!(key.starts_with("attache_") && !table.contains(key), "{printed}");

        let (upstream, address) = (Upstream::open(), free_address());
        let toml = format!(
            "[[listeners]]\naddress = \"{address}\"\n\n{table}\n[upstreams.api]\nurl = \"{}\"\n\n[[routes]]\n\
             path = \"/api/{{*rest}}\"\nupstream = \"api\"\nclients = [\"{name}\"]\n",
            upstream.url()
        );
        let child = Child::run(&toml, &[]);
        let ask =
            |key: &str| send(address, "GET", "/api/x", &[("Authorization", &format!("Bearer {key}"))], b"").status;
        assert_eq!(ask(key), 200, "{}", child.output());
        assert_eq!(ask(&key[..key.len() - 1]), 401);
        assert_eq!(get(address, "/api/x").status, 401);
        assert_eq!(upstream.requests().len(), 1);
    }
}

/// SEC-44: with `--watch` on the command line a changed proxy.toml is applied without a signal: one that replaces the old
/// file at once, one that is written in place when it has not changed for 2 s. An invalid one is refused and the last one
/// goes on serving.
#[test]
fn a_watched_proxy_toml_applies_when_it_changes() {
    let (upstream, address) = (Upstream::open(), free_address());
    let toml = |path: &str| {
        format!(
            "[[listeners]]\naddress = \"{address}\"\n\n[upstreams.api]\nurl = \"{}\"\n\n[[routes]]\n\
             path = \"/{path}/{{*rest}}\"\nupstream = \"api\"\nclients = \"anyone\"\n",
            upstream.url()
        )
    };
    let child = Child::start_on(&toml("first"), &["run", "--watch"], &[]);
    child.wait_for_line("the start", |line| line.contains("listening on"));
    let statuses = || ["first", "second", "third"].map(|path| get(address, &format!("/{path}/x")).status);
    assert_eq!(statuses(), [200, 404, 404]);
    child.replace(&toml("second"));
    child.wait_for_lines("the reload", 1, |line| line.contains("configuration was reloaded"));
    assert_eq!(statuses(), [404, 200, 404]);
    child.replace("[[listeners]]\naddress = 1\n");
    child.wait_for_lines("the refusal", 1, |line| line.contains("configuration was not reloaded"));
    assert_eq!(statuses(), [404, 200, 404]);
    child.rewrite(&toml("third"));
    child.wait_for_lines("the second reload", 2, |line| line.contains("configuration was reloaded"));
    assert_eq!(statuses(), [404, 404, 200]);
}
