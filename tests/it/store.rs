//! `[store.file]` under the real program: restarts, refresh tokens, what goes wrong, and another key.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Answer, Grant, Process, TokenEndpoint, Upstream, assert_problem, free_address, get, program};

const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const OTHER_KEY: &str = "0202020202020202020202020202020202020202020202020202020202020202";

/// A folder with a proxy.toml and a store, and programs that run in it one after the other.
struct Home {
    folder: TempDir,
    endpoint: TokenEndpoint,
    upstream: Upstream,
    toml: String,
}

impl Home {
    fn new(credential: &str) -> Home {
        let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
        let (listener, admin) = (free_address(), free_address());
        let toml = format!(
            r#"
[[listeners]]
address = "{listener}"

[admin]
address = "{admin}"

[server]
drain_delay = "0s"

[log]
level = "trace"

[store.file]
path = "tokens.db"
key = {{ file = "key" }}

[credentials.api.{credential}]
token_url = "{}"
client_id = "attache"
client_secret = {{ env = "SECRET" }}
refresh_token = {{ file = "seed" }}

[upstreams.api]
url = "{}"
credential = "api"

[[routes]]
path = "/api/{{*rest}}"
upstream = "api"
clients = "anyone"
"#,
            endpoint.url(),
            upstream.url()
        );
        let toml =
            if credential == "refresh_token" { toml } else { toml.replace("refresh_token = { file = \"seed\" }", "") };
        let home = Home { folder: tempfile::tempdir().unwrap(), endpoint, upstream, toml };
        home.write("proxy.toml", &home.toml);
        home.write("key", KEY);
        home.write("seed", "refresh-token-0");
        home
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn attache(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).current_dir(self.folder.path()).env_clear().env("SECRET", "a-client-secret");
        command
    }

    fn run(&self) -> Process {
        let process = Process::spawn(self.attache(&["run"]), "cargo builds it");
        process.wait_for_line("the start", |line| line.contains("the admin pages are listening on"));
        process
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.attache(arguments).output().unwrap()
    }

    fn address(&self, index: usize) -> std::net::SocketAddr {
        let mut addresses = self.toml.lines().filter_map(|line| line.strip_prefix("address = \"")?.strip_suffix('"'));
        addresses.nth(index).and_then(|address| address.parse().ok()).expect("an address")
    }

    fn get(&self) -> Answer {
        get(self.address(0), "/api/x")
    }

    fn admin(&self, page: &str) -> String {
        get(self.address(1), page).text()
    }

    /// Makes the next answer a token of this number, and its refresh token.
    fn rotate_to(&self, number: usize) {
        let answer = json!({ "access_token": format!("access-token-{number}"), "token_type": "Bearer", "expires_in": 3600,
            "refresh_token": format!("refresh-token-{number}") });
        self.endpoint.script([Grant::Json(200, answer)]);
    }

    /// The access token of the last request.
    fn sent(&self) -> Option<String> {
        self.upstream.requests().last().and_then(|request| request.bearer().map(str::to_owned))
    }

    fn exchanged(&self) -> Vec<String> {
        self.endpoint.requests().iter().filter_map(|request| request.form("refresh_token")).collect()
    }
}

fn end(mut process: Process, signal: Signal) -> String {
    let pid = rustix::process::Pid::from_child(process.process());
    rustix::process::kill_process(pid, signal).unwrap();
    process.wait();
    process.output()
}

/// TL-04, TL-15: a restart fetches nothing that is still valid, however the last process ended.
#[test]
fn a_restart_fetches_nothing() {
    let home = Home::new("client_credentials");
    for signal in [Signal::TERM, Signal::KILL, Signal::TERM] {
        let process = home.run();
        assert_eq!(home.get().status, 200);
        end(process, signal);
    }
    assert_eq!(home.endpoint.requests().len(), 1);
    assert_eq!(home.upstream.requests().len(), 3);
}

/// TL-50: the seed begins, and after a restart the refresh token goes on that the server gave in its place. SEC-15: the store is for its
/// owner only.
#[test]
fn a_rotated_refresh_token_outlives_the_process() {
    let home = Home::new("refresh_token");
    home.rotate_to(1);
    let process = home.run();
    assert_eq!(home.get().status, 200);
    assert_eq!(home.sent().as_deref(), Some("access-token-1"));
    let told = home.admin("/status") + &end(process, Signal::TERM);
    assert!(!["refresh-token-", "access-token-", KEY].iter().any(|secret| told.contains(secret)), "{told}");
    let mode = fs::metadata(home.folder.path().join("tokens.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Another secret renews the token, with the newest refresh token.
    home.rotate_to(2);
    let mut command = home.attache(&["run"]);
    command.env("SECRET", "another-client-secret");
    let process = Process::spawn(command, "cargo builds it");
    process.wait_for_line("the renewal", |line| line.contains("token granted"));
    assert_eq!(home.get().status, 200);
    assert_eq!(home.sent().as_deref(), Some("access-token-2"));
    end(process, Signal::TERM);
    assert_eq!(home.exchanged(), ["refresh-token-0", "refresh-token-1"]);
}

/// TL-02: a credential that is renamed, or that is another client's from now on, goes on with the refresh token that took the seed's place,
/// after a reload and after a restart.
#[test]
fn a_renamed_credential_keeps_its_authorization() {
    let home = Home::new("refresh_token");
    home.rotate_to(1);
    let process = home.run();
    assert_eq!(home.get().status, 200);
    let named = |name: &str| {
        let toml = home.toml.replace("[credentials.api.", &format!("[credentials.{name}."));
        toml.replace("credential = \"api\"", &format!("credential = \"{name}\""))
    };
    home.write("proxy.toml", &named("books"));
    let pid = rustix::process::Pid::from_child(process.process());
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    process.wait_for_line("the reload", |line| line.contains("the configuration was reloaded"));
    assert_eq!(home.get().status, 200);
    assert!(home.admin("/status").contains("\"name\": \"books\""), "{}", home.admin("/status"));
    end(process, Signal::TERM);
    home.write("proxy.toml", &named("ledgers"));
    let process = home.run();
    assert_eq!(home.get().status, 200);
    assert_eq!((home.sent().as_deref(), home.exchanged().len()), (Some("access-token-1"), 1));
    end(process, Signal::TERM);
    home.write("proxy.toml", &named("books").replace("client_id = \"attache\"", "client_id = \"other\""));
    home.rotate_to(2);
    let process = home.run();
    assert_eq!(home.get().status, 200);
    assert_eq!(home.sent().as_deref(), Some("access-token-2"), "another client's token is not sent");
    end(process, Signal::TERM);
    assert_eq!(home.exchanged(), ["refresh-token-0", "refresh-token-1"]);
}

/// TL-27: after `invalid_grant` the credential answers 502 without another exchange, also after a restart; another seed is another
/// authorization.
#[test]
fn a_revoked_refresh_token_needs_another_seed() {
    let home = Home::new("refresh_token");
    let said = "refresh-token-0 was revoked";
    home.endpoint.script([Grant::Json(400, json!({ "error": "invalid_grant", "error_description": said }))]);
    for _ in 0..2 {
        let process = home.run();
        for _ in 0..2 {
            let problem = assert_problem(&home.get(), 502);
            assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("invalid_grant")), "{problem}");
        }
        assert!(home.admin("/status").contains("needs_reauthorization"));
        let told = home.get().text() + &home.admin("/status") + &end(process, Signal::TERM);
        assert!(!told.contains("refresh-token-"), "{told}");
    }
    assert_eq!(home.exchanged(), ["refresh-token-0"]);
    home.write("seed", "refresh-token-of-another-authorization");
    home.rotate_to(1);
    let process = home.run();
    assert_eq!(home.get().status, 200);
    end(process, Signal::TERM);
    assert_eq!(home.exchanged()[1..], ["refresh-token-of-another-authorization"]);
}

/// A store that cannot be had is a reason not to start, which says what to do.
#[test]
fn a_store_that_cannot_be_had_is_refused_at_the_start() {
    let home = Home::new("client_credentials");
    let process = home.run();
    let second = home.output(&["run"]);
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(second.status.code() == Some(1) && text.contains("is open in another process"), "{text}");
    end(process, Signal::TERM);
    home.write("key", OTHER_KEY);
    let refused = home.output(&["run"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && text.contains("was sealed with another key"), "{text}");
}

/// `[store]` cannot be reloaded; the rest of the file waits until it is as it was.
#[test]
fn another_store_needs_a_restart() {
    let home = Home::new("client_credentials");
    let process = home.run();
    home.write("proxy.toml", &home.toml.replace("tokens.db", "others.db"));
    let pid = rustix::process::Pid::from_child(process.process());
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    process.wait_for_line("the refusal", |line| line.contains("[store] cannot be changed by a reload"));
}

/// SEC-45: a broken store leaves readiness as it is, and `/status` and the metrics show it.
#[test]
fn a_broken_store_is_shown() {
    let home = Home::new("client_credentials");
    let process = home.run();
    // Whoever writes into the file meanwhile breaks it.
    let length = fs::metadata(home.folder.path().join("tokens.db")).unwrap().len();
    fs::write(home.folder.path().join("tokens.db"), vec![0xff; length as usize]).unwrap();
    assert_eq!(home.get().status, 200);
    process.wait_for_line("the alarm", |line| line.contains("a token could not be saved"));
    assert_eq!(home.get().status, 200, "memory goes on");
    assert_eq!(get(home.address(1), "/readyz").status, 200);
    assert!(home.admin("/status").contains("\"unsaved\": true"), "{}", home.admin("/status"));
    assert!(home.admin("/metrics").contains("attache_token_unsaved{credential=\"api\"} 1"));
}

#[test]
fn a_store_is_rekeyed() {
    let home = Home::new("client_credentials");
    let process = home.run();
    assert_eq!(home.get().status, 200);
    home.write("new-key", OTHER_KEY);
    let rekey = ["store", "rekey", "--new-key-file", "new-key"];
    let busy = home.output(&rekey);
    assert_eq!(busy.status.code(), Some(1), "{busy:?}");
    end(process, Signal::TERM);
    let done = home.output(&rekey);
    assert!(done.status.success() && String::from_utf8_lossy(&done.stdout).contains("1 credential"), "{done:?}");
    let again = home.output(&rekey);
    assert!(String::from_utf8_lossy(&again.stderr).contains("was sealed with another key"), "{again:?}");
    home.write("key", OTHER_KEY);
    let process = home.run();
    assert_eq!(home.get().status, 200);
    end(process, Signal::TERM);
    assert_eq!(home.endpoint.requests().len(), 1, "the token is the one from before");
    home.write("bad-key", "too short");
    let bad = home.output(&["store", "rekey", "--new-key-file", "bad-key"]);
    assert!(String::from_utf8_lossy(&bad.stderr).contains("holds no key"), "{bad:?}");
}

/// What is kept of credentials that are no longer configured is told, and is kept: a refresh token may be the only one.
#[test]
fn what_the_store_has_is_listed() {
    let home = Home::new("refresh_token");
    let none = home.output(&["store", "list"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("there is no store"), "{none:?}");
    let process = home.run();
    assert_eq!(home.get().status, 200);
    let busy = home.output(&["store", "list"]);
    assert_eq!(busy.status.code(), Some(1), "{busy:?}");
    end(process, Signal::TERM);
    let listed = |home: &Home| {
        let output = home.output(&["store", "list"]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = listed(&home);
    assert!(
        text.ends_with("tokens.db: 1 entry, all of this configuration\napi: a refresh token, used today\n"),
        "{text}"
    );
    // Another seed is another authorization.
    home.write("seed", "another-seed-of-some-length");
    let process = home.run();
    assert_eq!(home.get().status, 200);
    end(process, Signal::TERM);
    let text = listed(&home);
    assert!(text.contains("tokens.db: 2 entries, 1 not of this configuration\n"), "{text}");
    let left = "\napi: a refresh token, used today; of no credential of this configuration\n";
    assert!(text.contains(left) && !text.contains("seed"), "{text}");
}
