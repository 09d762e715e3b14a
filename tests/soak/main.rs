//! The soak: the real program under a steady load while its tokens, which live ten seconds, are renewed through everything
//! that can go wrong with a token endpoint. What it asserts is the first promise of the project: no application waits on or
//! fails for a token that could have been had.
//!
//! `cargo test --test soak -- [--seconds 90]`; `ATTACHE` names another binary than the one that cargo builds for it.
#![expect(clippy::print_stdout, reason = "it reports to a terminal")]

#[allow(dead_code, unused_imports, reason = "it needs only a part of what the integration tests need")]
#[path = "../it/support/mod.rs"]
mod support;

mod load;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use attache::clock::{Boot, Clock as _, SystemClock};
use rustix::process::Signal;

use load::{Load, Place, Sample};
use report::Report;
use support::{Child, Identity, SERVER, TokenEndpoint, Upstream, free_address, get, roots};

/// L.
const LIFETIME: Duration = Duration::from_secs(10);
/// How long the token endpoint takes to answer.
const LATENCY: Duration = Duration::from_millis(200);
/// What no request may reach while a token could be had.
const SLOW: Duration = Duration::from_millis(150);

fn main() -> ExitCode {
    let seconds = match arguments() {
        Ok(seconds) => seconds,
        Err(why) => {
            println!("{why}");
            return ExitCode::from(2);
        }
    };
    let reports = [renewals(Duration::from_secs(seconds)), long_outage(), revocations()];
    reports.iter().for_each(Report::print);
    if reports.iter().all(Report::is_good) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn arguments() -> Result<u64, String> {
    let usage = || "usage: soak [--seconds SECONDS]; at least 60".to_owned();
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Ok(90),
        (Some("--seconds"), Some(seconds)) => seconds.parse().ok().filter(|seconds| *seconds >= 60).ok_or_else(usage),
        _ => Err(usage()),
    }
}

/// attache between a token endpoint and an upstream.
struct Stage {
    endpoint: TokenEndpoint,
    _upstream: Upstream,
    child: Child,
    place: Place,
    toml: String,
    /// Of the certificate.
    _folder: tempfile::TempDir,
}

impl Stage {
    /// Returns when the first request has been answered.
    fn set() -> Stage {
        let endpoint = TokenEndpoint::start();
        endpoint.set_lifetime(Some(LIFETIME));
        endpoint.set_latency(LATENCY);
        let upstream = Upstream::guarded(endpoint.grants());
        let folder = tempfile::tempdir().expect("there is room for a file");
        let identity = Identity::new(folder.path(), "server", &[SERVER]);
        let place = Place { cleartext: free_address(), tls: free_address(), roots: roots([&*identity.cert_file]) };
        let toml = format!(
            r#"
[[listeners]]
address = "{}"

[[listeners]]
address = "{}"
tls.certificates = [{{ cert = {:?}, key = {:?} }}]

[log]
format = "json"

[credentials.api.client_credentials]
token_url = "{}"
client_id = "soak"
client_secret = {{ env = "SECRET" }}

[upstreams.api]
url = "{}"
credential = "api"

[[routes]]
path = "/api/{{*rest}}"
upstream = "api"
clients = "anyone"
"#,
            place.cleartext,
            place.tls,
            identity.cert_file,
            identity.key_file,
            endpoint.url(),
            upstream.url(),
        );
        let child = Child::run(&toml, &[("SECRET", "secret-of-the-soak")]);
        assert_eq!(get(place.cleartext, "/api/first").status, 200, "{}", child.output());
        Stage { endpoint, _upstream: upstream, child, place, toml, _folder: folder }
    }

    /// Waits until the newest token has this age, as attache reckons it: from the instant before it asked.
    fn wait_for_age(&self, age: Duration) {
        self.endpoint.grants().wait_until_older_than(age - LATENCY);
    }

    /// Waits for the next token that has just been granted.
    fn wait_for_next_token(&self) {
        let grants = self.endpoint.grants();
        grants.wait_for(grants.count() + 1);
    }

    fn wait(&self, time: Duration) {
        self.endpoint.grants().wait_until(SystemClock.now().after(time));
    }

    /// Adds a route.
    fn reload(&self) {
        let added = || get(self.place.cleartext, "/other/x").status;
        assert_eq!(added(), 404);
        let other = "\n[[routes]]\npath = \"/other/{*rest}\"\nupstream = \"api\"\nclients = \"anyone\"\n";
        self.child.rewrite(&(self.toml.clone() + other));
        self.child.signal(Signal::HUP);
        self.child.wait_for_line("the reload", |line| line.contains("configuration was reloaded"));
        assert_eq!(added(), 200, "the reload has no effect");
    }

    fn report(mut self, name: &'static str, started: Boot, samples: Vec<Sample>) -> Report {
        let time = SystemClock.now().since(started);
        let granted = self.endpoint.grants().count();
        self.child.signal(Signal::TERM);
        let status = self.child.wait();
        assert!(status.success(), "{status}: {}", self.child.output());
        Report::new(name, time, granted, samples, &self.child.lines())
    }
}

/// TL-21, TL-22, TL-23, TL-31, TL-32: renewals, a reload, an endpoint that refuses for a second, and one that is silent for
/// a second, cost no request anything.
fn renewals(time: Duration) -> Report {
    let mut stage = Stage::set();
    let started = SystemClock.now();
    let load = Load::start(&stage.place);
    stage.wait_for_next_token();
    stage.wait_for_age(Duration::from_secs(7));
    stage.endpoint.refuse_connections();
    stage.wait(Duration::from_secs(1));
    stage.endpoint.resume();
    stage.wait_for_next_token();
    stage.reload();
    stage.wait_for_next_token();
    stage.wait_for_age(Duration::from_secs(7));
    stage.endpoint.stop_answering();
    stage.wait(Duration::from_secs(1));
    stage.endpoint.resume();
    stage.endpoint.grants().wait_until(started.after(time));
    let samples = load.stop();
    let mut report = stage.report("renewals, a reload, two outages of 1 s", started, samples);
    report.assert_fetches_bounded(LIFETIME);
    report.assert_nobody_waited(SLOW);
    report
}

/// TL-24, TL-25: with the endpoint gone until after the token's death, requests wait for it and none fails.
fn long_outage() -> Report {
    let mut stage = Stage::set();
    let started = SystemClock.now();
    let load = Load::start(&stage.place);
    stage.wait_for_next_token();
    stage.wait_for_age(Duration::from_secs(7));
    stage.endpoint.refuse_connections();
    stage.wait_for_age(Duration::from_millis(10_500));
    stage.endpoint.resume();
    stage.wait_for_next_token();
    stage.wait(Duration::from_secs(2));
    let samples = load.stop();
    let mut report = stage.report("an outage from age 7 s to age 10.5 s", started, samples);
    report.assert_some_waited();
    report
}

/// TL-40, TL-41, TL-42: a revocation, and that of the successor, cost requests a replay and nothing else.
fn revocations() -> Report {
    let stage = Stage::set();
    let started = SystemClock.now();
    let load = Load::start(&stage.place);
    stage.wait_for_next_token();
    for wait in [Duration::from_secs(3), Duration::from_secs(5)] {
        stage.wait_for_age(wait);
        let before = stage.endpoint.grants().count();
        stage.endpoint.grants().revoke_all();
        stage.endpoint.grants().wait_for(before + 1);
    }
    stage.wait(Duration::from_secs(2));
    let samples = load.stop();
    stage.report("a token revoked at age 3 s, its successor 5 s later", started, samples)
}
