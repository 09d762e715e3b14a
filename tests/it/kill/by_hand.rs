//! Exchanges that a person asks for, at a server that detects reuse: none shows it a refresh token that was used up.

use std::fs;
use std::process::{Command, Output};

use rustix::process::Signal;
use tempfile::TempDir;

use super::family::{Family, SEED};
use crate::support::{Process, Reply, Upstream, free_address, get, one_route_of, program};

struct Home {
    server: Family,
    folder: TempDir,
    _upstream: Upstream,
    address: std::net::SocketAddr,
}

impl Home {
    /// With this `[store]`, or none.
    fn new(store: &str) -> Self {
        let (server, upstream) = (Family::start(), Upstream::open());
        // It kills nobody.
        server.expect(None);
        server.serve(std::process::id());
        let (address, admin) = (free_address(), free_address());
        let credential = format!(
            "{store}[admin]\naddress = \"{admin}\"\n\n[credentials.api.refresh_token]\n\
             token_url = \"{}\"\nclient_id = \"attache\"\nclient_secret = {{ env = \"SECRET\" }}\n\
             refresh_token = {{ env = \"SEED\" }}\n",
            server.url()
        );
        let toml = one_route_of(&credential, &format!("url = \"{}\"", upstream.url()), "");
        let folder = tempfile::tempdir().expect("there is room for a file");
        let toml = toml.replace("127.0.0.1:0", &address.to_string());
        fs::write(folder.path().join("proxy.toml"), toml).expect("there is room for a file");
        Home { server, folder, _upstream: upstream, address }
    }

    fn attache(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).current_dir(self.folder.path()).env_clear();
        command.env("SECRET", "a-client-secret").env("SEED", SEED).env("STORE_KEY", "00".repeat(32));
        command
    }

    /// What it printed, what it said on standard error, and how it ended.
    fn run(&self, arguments: &[&str]) -> (String, String, Option<i32>) {
        let Output { status, stdout, stderr } = self.attache(arguments).output().expect("cargo builds it");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it is UTF-8");
        (text(stdout), text(stderr), status.code())
    }

    fn start(&self) -> Process {
        let process = Process::spawn(self.attache(&["run"]), "cargo builds it");
        process.wait_for_line("the start", |line| line.contains("the admin pages are listening on"));
        assert_eq!(get(self.address, "/api/x").status, 200);
        process
    }
}

fn end(mut process: Process) {
    let pid = rustix::process::Pid::from_child(process.process());
    rustix::process::kill_process(pid, Signal::TERM).expect("it runs");
    process.wait();
}

const STORE: &str = "[store.file]\npath = \"tokens.db\"\nkey = { env = \"STORE_KEY\" }\n\n";
const MAY_ROTATE: [&[&str]; 3] = [
    &["token", "api", "--may-rotate"],
    &["check", "--live", "--may-rotate"],
    &["token", "api", "--print", "--may-rotate"],
];

/// TL-50, TL-53: with a store, a command exchanges the refresh token that is good, and keeps the one that comes; the instance that starts
/// next goes on with both tokens.
#[test]
fn a_command_exchanges_what_the_store_has() {
    let home = Home::new(STORE);
    for round in 0..2 {
        for arguments in MAY_ROTATE {
            let (out, err, code) = home.run(arguments);
            assert_eq!((code, err.as_str()), (Some(0), ""), "{round} {arguments:?}: {out}");
            assert!(out.contains("is in the store") || out == format!("access-{}\n", 3 * (round + 1)), "{out}");
            assert!(!out.contains("refresh-"), "{out}");
        }
        home.server.check();
        let rotations = 3 * (round + 1);
        assert_eq!(home.server.rotations(), rotations);
        end(home.start());
        assert_eq!(home.server.rotations(), rotations, "it has its token from the store");
    }
}

/// While an instance has the store, no command exchanges what is in it, nor the seed.
#[test]
fn a_command_leaves_the_refresh_token_to_the_instance_that_has_the_store() {
    let home = Home::new(STORE);
    let process = home.start();
    for arguments in MAY_ROTATE {
        let (out, err, code) = home.run(arguments);
        let told = format!("{out}{err}");
        assert!(
            told.contains("its refresh token is in the store") && told.contains("is open in another process"),
            "{told}"
        );
        assert_eq!(code, Some(if arguments[0] == "check" { 0 } else { 1 }), "{told}");
    }
    assert_eq!(home.server.rotations(), 1);
    end(process);
    home.server.check();
}

/// Without a store, the refresh token is left to an instance that runs; without one, it is said what an exchange may end.
#[test]
fn a_command_without_a_store_says_what_it_may_end() {
    let home = Home::new("");
    let process = home.start();
    for arguments in MAY_ROTATE {
        let (out, err, _) = home.run(arguments);
        let told = format!("{out}{err}");
        assert!(told.contains("the instance that runs has its newest refresh token"), "{told}");
    }
    assert_eq!(home.server.rotations(), 1);
    home.server.check();
    end(process);
    let home = Home::new("");
    let (out, err, code) = home.run(MAY_ROTATE[0]);
    assert_eq!(code, Some(0), "{out}{err}");
    let (before, after) = out.split_once("> POST ").expect("it was exchanged");
    assert!(
        before.contains("warning: there is no `[store.file]`") && before.contains("ends the authorization"),
        "{out}"
    );
    assert!(after.contains("warning: the server gave another refresh token, which is not kept"), "{out}");
    for (index, arguments) in MAY_ROTATE.iter().enumerate().skip(1) {
        let home = Home::new("");
        let (out, err, code) = home.run(arguments);
        assert_eq!(code, Some(0), "{out}{err}");
        assert!(format!("{out}{err}").contains("which is not kept"), "{index}: {out}{err}");
    }
}

/// What another method than the configured one brought is a use of the refresh token, too: that it is lost is said.
#[test]
fn what_another_method_brought_is_told() {
    for arguments in [MAY_ROTATE[0], MAY_ROTATE[1]] {
        let (server, upstream) = (Upstream::open(), Upstream::open());
        let typed = [("Content-Type", "application/json")];
        server.script([
            Reply::answer(401, &typed, br#"{"error":"invalid_client"}"#),
            Reply::answer(
                200,
                &typed,
                br#"{"access_token":"an-access-token","refresh_token":"another-refresh-token"}"#,
            ),
        ]);
        let credential = format!(
            "[credentials.api.refresh_token]\ntoken_url = \"{}/token\"\nclient_id = \"attache\"\n\
             client_secret = {{ env = \"SECRET\" }}\nrefresh_token = {{ env = \"SEED\" }}\n",
            server.url()
        );
        let toml = one_route_of(&credential, &format!("url = \"{}\"", upstream.url()), "");
        let folder = tempfile::tempdir().expect("there is room for a file");
        fs::write(folder.path().join("proxy.toml"), toml).expect("there is room for a file");
        let mut command = Command::new(program());
        command.args(arguments).current_dir(folder.path()).env_clear();
        let run = command.env("SECRET", "a-client-secret").env("SEED", SEED).output().expect("cargo builds it");
        let told = String::from_utf8([run.stdout, run.stderr].concat()).expect("it is UTF-8");
        assert_eq!(run.status.code(), Some(1), "{told}");
        for said in ["there is no `[store.file]`", "which is not kept", "client_secret_post"] {
            assert!(told.contains(said), "{arguments:?}: {said}: {told}");
        }
        assert!(!told.contains("another-refresh-token"), "{told}");
    }
}
