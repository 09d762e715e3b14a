//! Planted secrets: the real program at trace level is driven through every feature that knows a secret; afterwards none of
//! them stands, in any spelling, in anything that it logged or answered, and each of them did reach its destination.

mod answers;
mod arrived;
mod drive;
mod grantor;
mod planted;
mod tunnel;
mod world;

use std::fs;
use std::sync::Arc;

use attache::clock::SystemClock;
use attache::config::{self, Environment, Load};
use attache::snapshot::{Living, Snapshot};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;

use crate::support::Child;
use arrived::{assert_arrived, assert_arrived_in_time};
use drive::{drive, drive_in_time};
use planted::{CLIENT_QUERY_SECRET, assert_absent, assert_keys_absent, environment, secret};
use tunnel::Tunnel;
use world::{NAME, World};

/// SEC-13, TL-71: no secret leaves but to the host it is for.
#[test]
fn planted_secrets_reach_their_destinations_and_nothing_else() {
    let world = World::start();
    let toml = world.toml(&world.egress(""));
    let mut child = Child::run(&toml, &environment());
    let mut answers = drive(&child, &world);
    child.rewrite(&toml.replace("client_secret_basic\"", "client_secret_post\""));
    child.signal(Signal::HUP);
    child.wait_for_line("the reload", |line| line.contains("configuration was reloaded"));
    answers += &drive_in_time(&child, &world);
    child.rewrite("[credentials.basic.bearer]\ntoken = \"planted+literal/secret=:0013\"\n");
    child.signal(Signal::HUP);
    child.wait_for_line("the refusal of a literal secret", |line| line.contains("configuration was not reloaded"));
    answers += &drive(&child, &world);
    child.signal(Signal::TERM);
    assert!(child.wait().success());

    assert_arrived(&world);
    assert_arrived_in_time(&world);
    let tokens = world.tokens();
    assert!(tokens.len() >= 8);
    let log = child.output();
    assert!(log.contains("TRACE"), "the log is not at trace level:\n{log}");
    let assertions = world.grantor.assertions();
    assert!(assertions.len() >= 2, "{assertions:?}");
    let proofs = world.proofs();
    assert!(proofs.len() >= 4, "to the token endpoint and the upstream: {proofs:?}");
    let tokens: Vec<_> = tokens.iter().chain(&assertions).chain(&proofs).map(String::as_str).collect();
    assert_absent(&log, "the log", tokens.iter().copied().chain([CLIENT_QUERY_SECRET]));
    assert!(!log.contains("planted+literal"), "{log}");
    assert!(answers.contains("********"), "nothing was masked: {answers}");
    // The client may see its own query again.
    assert_absent(&answers, "an answer", tokens);
    assert_keys_absent(&log, &world);
    assert_keys_absent(&answers, &world);
}

/// SEC-21: the egress proxy gets its password, and CONNECT without anything that is the upstream's. TLS to the issuer
/// (discovery), its token endpoint and the upstream goes through it from end to end.
#[test]
fn the_egress_proxy_gets_its_own_secret_and_no_other() {
    let world = World::start();
    let tunnel = Tunnel::start();
    let egress = world.egress(&format!(
        "proxy = {{ url = \"http://{}\", username = \"egress\", password = {{ env = \"EGRESS_PASSWORD\" }} }}\n",
        tunnel.peer.address
    ));
    let mut child = Child::run(&world.toml_by_name(&egress), &environment());
    let answers = drive(&child, &world);
    child.signal(Signal::TERM);
    assert!(child.wait().success());

    assert_arrived(&world);
    let connects = tunnel.requests.look(Clone::clone);
    let pair = STANDARD.encode(format!("egress:{}", secret("EGRESS_PASSWORD")));
    // Four token endpoints, one upstream, and in TLS an issuer and an upstream.
    assert!(connects.len() >= 7, "{connects:?}");
    let over_tls = format!("{NAME}:{}", world.tls.address.port());
    assert!(connects.iter().filter(|connect| connect.target == over_tls).count() >= 2, "{connects:?}");
    // Nothing but the proxy knows where that name is, so discovery went through it.
    let discovered = world.tls.requests().into_iter().filter(|request| request.target.starts_with("/.well-known/"));
    assert!(discovered.map(|request| request.authority).all(|authority| authority == over_tls));
    for connect in &connects {
        assert_eq!(connect.headers.get("proxy-authorization"), Some(format!("Basic {pair}").as_str()));
        assert_eq!(connect.headers.get("authorization"), None);
    }
    let tokens = world.tokens();
    let tokens: Vec<_> = tokens.iter().map(String::as_str).collect();
    assert_absent(&child.output(), "the log", tokens.iter().copied().chain([CLIENT_QUERY_SECRET]));
    assert_absent(&answers, "an answer", tokens);
    assert_keys_absent(&(child.output() + &answers), &world);
}

/// SEC-15, and the attack S03: what other users of the machine could read from the process table.
#[test]
fn secrets_are_not_in_arguments() {
    let world = World::start();
    let child = Child::run(&world.toml(""), &environment());
    let arguments = std::fs::read(format!("/proc/{}/cmdline", child.id())).expect("there is a process table");
    assert_absent(&String::from_utf8_lossy(&arguments), "the arguments", []);
}

/// SEC-13: what the commands print that look at a configuration, each of which would answer 200 to its owner.
#[test]
fn secrets_are_not_in_what_commands_print() {
    let world = World::start();
    let config = world.folder.path().join("proxy.toml");
    fs::write(&config, world.toml(&world.egress(""))).expect("there is room for a file");
    let config = config.to_str().expect("it is UTF-8");
    let environment = environment().into_iter().chain([("PATH", "/usr/bin:/bin")]).collect::<Vec<_>>();
    let commands: [&[&str]; 21] = [
        &["explain", "GET", "/bound/x"],
        &["explain", "GET", "/based/x"],
        &["token", "bound"],
        &["token", "exchanged"],
        &["token", "based"],
        &["explain", "GET", "/imds/x"],
        &["explain", "GET", "/login/x"],
        &["token", "imds"],
        &["token", "login"],
        &["token", "identity"],
        &["token", "refreshed"],
        &["token", "refreshed", "--may-rotate"],
        &["token", "signed"],
        &["explain", "GET", "/aws/x"],
        &["explain", "GET", "/mac/x"],
        &["explain", "GET", "/own/x"],
        &["check"],
        &["check", "--live"],
        &["routes"],
        &["explain", "GET", "/query/x?key=1"],
        &["explain", "POST", "/tls/x"],
    ];
    for arguments in commands {
        let mut child = Child::start_with(&[arguments, &["--config", config]].concat(), &environment);
        child.wait();
        let printed = child.output();
        assert!(!printed.is_empty(), "{arguments:?}");
        let (tokens, proofs) = (world.tokens(), world.proofs());
        assert_absent(&printed, &format!("{arguments:?}"), tokens.iter().chain(&proofs).map(String::as_str));
        assert_keys_absent(&printed, &world);
    }
    assert!(!world.basic.requests().is_empty(), "check --live fetched nothing");
}

/// TL-71: `Debug` of all that is known, for whoever prints it in a hurry.
#[test]
fn secrets_are_not_in_debug() {
    let world = World::start();
    let egress =
        "proxy = { url = \"http://127.0.0.1:1\", username = \"egress\", password = { env = \"EGRESS_PASSWORD\" } }\n";
    let toml = world.toml(&world.egress(egress));
    let pairs = environment().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let file = world.folder.path().join("proxy.toml");
    let loaded = config::load_text(&file, &toml, &Environment(pairs.collect()), Load::Full).expect("it is valid");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("there is a runtime");
    let living = Living::new(&loaded.config, Arc::new(SystemClock), runtime.handle().clone());
    let snapshot = Snapshot::compile(&loaded.config, &living);
    for printed in [
        format!("{loaded:?}"),
        format!("{loaded:#?}"),
        format!("{snapshot:?}"),
        format!("{snapshot:#?}"),
        format!("{living:?}"),
    ] {
        assert_absent(&printed, "Debug", []);
        assert_keys_absent(&printed, &world);
    }
    assert!(format!("{loaded:?}").contains("command") && format!("{snapshot:?}").contains("tls"));
}
