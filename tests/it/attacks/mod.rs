//! Attacks on the request path, each as the bytes that it consists of: the project's copy of a collection of 154, of which
//! this runs those that are a script over HTTP/1. `unscripted` lists where the others are.

mod corpus;
mod process;
mod recorder;
mod tenants;
mod unscripted;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use attache::clock::{Clock as _, SystemClock};
use fancy_regex::Regex;

use corpus::{Case, Step, TOKEN, bytes};
use recorder::Recorder;

use crate::support::Proxy;

/// An answer is over when nothing has come for this long.
const QUIET: Duration = Duration::from_secs(1);

/// Of `ck-SECRET-ADMIN-51e2`.
const ADMIN_KEY_SHA256: &str = "56c153ff7316e2fba4351543970f02664a1ff552b50815ff4b8a7f9769be0ece";

const ANSWER_BYTES_MAX: usize = 3_000_000;

/// What the proxy is configured to bear where its patience is tried.
const PATIENCE: &str = "3s";

/// By then it must have lost it; the corpus waits for what proxies do by default.
const SLOW_MAX: Duration = Duration::from_secs(12);

/// Cases with a long wait in them come first, so that the others pass meanwhile.
const AT_A_TIME: usize = 12;

/// SEC-01, SEC-02, SEC-10, SEC-11, SEC-12, SEC-13: see the case's title.
#[test]
fn every_scripted_attack_fails() {
    let mut cases = Case::scripted();
    assert_eq!(cases.len(), 119);
    cases.sort_by_key(|case| std::cmp::Reverse(case.timeout_s));
    let failures = run_all(cases, |case| {
        let trap = Recorder::trap();
        let upstream = Recorder::start(case, trap.address());
        let proxy = proxy(upstream.address(), case.is_slow());
        let address = proxy.address();
        run(case, &upstream, &trap, address, move || drop(proxy))
    });
    assert!(failures.is_empty(), "{} attacks succeed:\n{}", failures.len(), failures.join("\n"));
}

/// Most attacks succeed where nothing stands before the upstream; a judge who did not see that would be worth nothing.
#[test]
fn attacks_succeed_without_a_proxy() {
    let mut cases = Case::scripted();
    cases.retain(|case| !case.is_slow());
    let count = cases.len();
    let failures = run_all(cases, |case| {
        let trap = Recorder::trap();
        let upstream = Recorder::start(case, trap.address());
        run(case, &upstream, &trap, upstream.address(), || ())
    });
    assert!(failures.len() * 2 > count, "{} of {count}:\n{}", failures.len(), failures.join("\n"));
}

/// What went wrong, case by case.
fn run_all(cases: Vec<Case>, run: impl Fn(&Case) -> Vec<String> + Sync) -> Vec<String> {
    let waiting = Mutex::new(VecDeque::from(cases));
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(case) = { waiting.lock().unwrap().pop_front() } {
                    let wrong = run(&case);
                    if !wrong.is_empty() {
                        failures.lock().unwrap().push(format!("{} {}: {}", case.id, case.title, wrong.join("; ")));
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap()
}

fn proxy(upstream: SocketAddr, slow: bool) -> Proxy {
    let timeouts = |keys: &[&str]| -> String {
        if slow { keys.iter().map(|key| format!("timeouts.{key} = \"{PATIENCE}\"\n")).collect() } else { String::new() }
    };
    let toml = format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"

[server]
workers = 1
{}

[clients.admin.key]
sha256 = ["{}"]

[credentials.api]
bearer = {{ token = {{ env = "API" }} }}

[credentials.admin]
bearer = {{ token = {{ env = "ADMIN" }} }}

[upstreams.api]
url = "http://{upstream}/v1"
credential = "api"
{}

[upstreams.admin]
url = "http://{upstream}/adm"
credential = "admin"

[[routes]]
path = "/api/{{*rest}}"
upstream = "api"
clients = "anyone"

[[routes]]
path = "/admin-only/{{*rest}}"
upstream = "admin"
clients = ["admin"]
"#,
        timeouts(&["header", "body_idle", "idle"]),
        ADMIN_KEY_SHA256,
        timeouts(&["first_byte", "idle"]),
    );
    Proxy::start_with(&toml, &[("API", TOKEN), ("ADMIN", "tok-SECRET-ADMIN-9c1d")])
}

/// What the client saw.
#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    closed: bool,
}

/// Runs a case against this address, ends what listens there, and returns what went wrong.
fn run(case: &Case, upstream: &Recorder, trap: &Recorder, address: SocketAddr, end: impl FnOnce()) -> Vec<String> {
    let seen = attack(case, address, trap.address());
    let repeated = if case.then_repeat { repeat(address) } else { Vec::new() };
    end();
    upstream.settle();
    judge(case, &seen, &repeated, upstream, trap)
}

fn attack(case: &Case, proxy: SocketAddr, trap: SocketAddr) -> Seen {
    let mut stream = TcpStream::connect(proxy).expect("the proxy listens");
    stream.set_nodelay(true).expect("a socket takes options");
    let mut seen = Seen::default();
    let only = Step { send: case.send.clone(), ..Step::default() };
    let steps = if case.steps.is_empty() { std::slice::from_ref(&only) } else { &case.steps };
    for step in steps {
        take_step(step, &mut stream, &mut seen, trap);
    }
    let (quiet, at_most) = if case.is_slow() { (SLOW_MAX, SLOW_MAX) } else { (QUIET, Duration::from_secs(4)) };
    read(&mut stream, quiet, at_most, &mut seen);
    seen
}

fn take_step(step: &Step, stream: &mut TcpStream, seen: &mut Seen, trap: SocketAddr) {
    // A proxy that has closed already is judged by what it answered.
    if let Some(text) = &step.send {
        let _ = stream.write_all(&bytes(text, trap));
    }
    if let Some(milliseconds) = step.wait_ms {
        let time = Duration::from_millis(milliseconds);
        read(stream, time, time, seen);
    }
    if step.shutdown.is_some() {
        read(stream, Duration::from_millis(100), Duration::from_millis(100), seen);
        let _ = stream.shutdown(Shutdown::Write);
    }
    if step.recv == Some(true) {
        read(stream, Duration::from_millis(500), Duration::from_secs(2), seen);
    }
    if let Some(seconds) = step.wait_close_s {
        let time = SLOW_MAX.min(Duration::from_secs(seconds));
        read(stream, time, time, seen);
    }
    if let Some(seconds) = step.stop_reading_s {
        // The attack is to do nothing.
        thread::park_timeout(SLOW_MAX.min(Duration::from_secs(seconds)));
    }
    if let Some(drip) = &step.drip {
        let every = Duration::from_millis(step.every_ms.expect("a drip has its interval"));
        let until = SLOW_MAX.min(Duration::from_secs(step.until_closed_s.expect("a drip has its end")));
        let times = until.as_millis() / every.as_millis();
        for _ in 0..times {
            let _ = stream.write_all(&bytes(drip, trap));
            read(stream, every, every, seen);
            if seen.closed {
                break;
            }
        }
    }
}

/// Reads until nothing comes for `quiet`, for `at_most` in all, or to the end.
fn read(stream: &mut TcpStream, quiet: Duration, at_most: Duration, seen: &mut Seen) {
    let end = SystemClock.now().after(at_most);
    let mut buffer = [0; 65536];
    while !seen.closed && seen.bytes.len() < ANSWER_BYTES_MAX {
        let left = end.since(SystemClock.now());
        if left.is_zero() {
            return;
        }
        stream.set_read_timeout(Some(quiet.min(left))).expect("a socket takes options");
        match stream.read(&mut buffer) {
            Ok(0) => seen.closed = true,
            Ok(length) => seen.bytes.extend(&buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
            Err(_) => seen.closed = true,
        }
    }
}

/// The next clients: nothing of the attack may reach them.
fn repeat(proxy: SocketAddr) -> Vec<u8> {
    let mut seen = Seen::default();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(proxy).expect("the proxy listens");
        let request = b"GET /api/second HTTP/1.1\r\nHost: p.test\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("the proxy reads");
        seen.closed = false;
        read(&mut stream, QUIET, Duration::from_secs(3), &mut seen);
    }
    seen.bytes
}

fn judge(case: &Case, seen: &Seen, repeated: &[u8], upstream: &Recorder, trap: &Recorder) -> Vec<String> {
    let mut wrong = Vec::new();
    let statuses = statuses(&seen.bytes, case.is_head());
    let finals: Vec<_> = statuses.iter().copied().filter(|status| *status >= 200 || *status == 101).collect();
    let first = statuses.first().copied().unwrap_or(match (seen.bytes.is_empty(), seen.closed) {
        (true, true) => 0,
        (true, false) => -1,
        (false, _) => -2,
    });
    let last = finals.first().copied().unwrap_or(first);
    if let Some(accepted) = &case.accept_status
        && !accepted.contains(&first)
        && !accepted.contains(&last)
    {
        wrong.push(format!("status {first}/{last} is none of {accepted:?}"));
    }
    let connections = upstream.connections();
    let of_the_attack = if case.then_repeat { &connections[..connections.len().min(1)] } else { &connections[..] };
    for pattern in &case.upstream_must_not_see {
        if let Some(found) = of_the_attack.iter().find_map(|bytes| find(pattern, bytes)) {
            wrong.push(format!("the upstream saw {pattern:?}: {found:?}"));
        }
    }
    let client = [&seen.bytes[..], b"\n", repeated].concat();
    for pattern in &case.client_must_not_see {
        if let Some(found) = find(pattern, &client) {
            wrong.push(format!("the client saw {pattern:?}: {found:?}"));
        }
    }
    if !case.trap_must_not_see.is_empty() && trap.connections().iter().any(|bytes| !bytes.is_empty()) {
        wrong.push("a redirect was followed".into());
    }
    if last == 200 {
        for pattern in &case.upstream_must_see_if_200 {
            let pattern = pattern.replace("{{UPSTREAM_HOST}}", &fancy_regex::escape(&upstream.address().to_string()));
            if !of_the_attack.iter().any(|bytes| find(&pattern, bytes).is_some()) {
                wrong.push(format!("the upstream did not see {pattern:?}"));
            }
        }
    }
    if (case.must_close || case.must_be_given_up()) && !seen.closed {
        wrong.push("the connection was left open".into());
    }
    if case.max_client_responses.is_some_and(|max| finals.len() > max)
        || case.min_client_responses.is_some_and(|min| finals.len() < min)
    {
        wrong.push(format!("{} answers", finals.len()));
    }
    let complete = upstream.complete_requests();
    if !case.then_repeat && case.max_upstream_requests.is_some_and(|max| complete > max) {
        wrong.push(format!("{complete} requests upstream"));
    }
    if case.upstream_completes == Some(false) && complete > 0 {
        wrong.push("the upstream got a complete request".into());
    }
    wrong
}

fn find(pattern: &str, bytes: &[u8]) -> Option<String> {
    // The patterns are about bytes, and look around: each byte is made the character of the same number.
    let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
    let regex = Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let found = regex.find(&text).unwrap_or_else(|error| panic!("{pattern}: {error}"))?;
    Some(found.as_str().chars().take(60).collect())
}

/// The statuses of the answers in these bytes, interim ones included.
fn statuses(mut bytes: &[u8], head: bool) -> Vec<i32> {
    let mut statuses = Vec::new();
    loop {
        let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "));
        let status = status.and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok());
        let Some(status) = status else { return statuses };
        statuses.push(status);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return statuses };
        let fields = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        bytes = &bytes[end + 4..];
        if (100..200).contains(&status) && status != 101 || status == 204 || status == 304 || head {
            continue;
        }
        let Some(rest) = after_body(&fields, bytes) else { return statuses };
        bytes = rest;
    }
}

/// What follows the body; `None` if its end is not in these bytes.
fn after_body<'a>(fields: &str, mut bytes: &'a [u8]) -> Option<&'a [u8]> {
    let field = |name: &str| fields.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if !field("transfer-encoding:").is_some_and(|value| value.contains("chunked")) {
        return bytes.get(field("content-length:")?.parse().ok()?..);
    }
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let digits = std::str::from_utf8(&bytes[..end]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(digits, 16).ok()?;
        bytes = bytes.get(end + 2 + size + 2..)?;
        if size == 0 {
            return Some(bytes);
        }
    }
}
