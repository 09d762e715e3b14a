//! Attacks on the process and what it writes, tried on the real program.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Child, Proxy, Reply, TokenEndpoint, Upstream, Watched, free_address, one_route, send};

const SECRET: (&str, &str) = ("API", "tok-SECRET-of-the-process");

/// More than all buffers between an upstream and a client hold.
const ENDLESS: usize = 64 * 1024 * 1024;

fn toml(address: SocketAddr, upstream: &Upstream, more: &str) -> String {
    format!(
        r#"
[[listeners]]
address = "{address}"

[log]
level = "debug"
{more}

[clients.app.key]
sha256 = ["56c153ff7316e2fba4351543970f02664a1ff552b50815ff4b8a7f9769be0ece"]

[credentials.api.bearer]
token = {{ env = "API" }}

[upstreams.api]
url = "{}"
credential = "api"

[[routes]]
path = "/api/{{*rest}}"
upstream = "api"
clients = "anyone"

[[routes]]
path = "/own/{{*rest}}"
upstream = "api"
clients = ["app"]
"#,
        upstream.url()
    )
}

/// SEC-15, and the attack S03: a crash leaves no core, and arguments hold no secret.
#[test]
fn a_crash_leaves_no_core() {
    let upstream = Upstream::open();
    let mut child = Child::run(&toml(free_address(), &upstream, ""), &[SECRET]);
    let proc =
        |name: &str| fs::read_to_string(format!("/proc/{}/{name}", child.id())).expect("there is a process table");
    let limits = proc("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    assert!(!proc("cmdline").contains(SECRET.1));
    child.signal(Signal::ABORT);
    let status = child.wait();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!status.core_dumped(), "a core was written");
}

/// Attack S07: what the admin listener shows is not on a listener for clients.
#[test]
fn public_listeners_have_no_admin_pages() {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::open();
    let proxy = Proxy::start(&one_route(&endpoint, &upstream, ""));
    for path in ["/metrics", "/healthz", "/readyz", "/status", "/config", "/quit", "/debug", "/"] {
        for method in ["GET", "POST"] {
            assert_eq!(proxy.send(method, path, &[], b"").status, 404, "{method} {path}");
        }
    }
    assert!(upstream.requests().is_empty());
}

/// Attack L10: an answer without end to a client that does not read costs the proxy less than 1 MiB; it reads no further from
/// the upstream than buffers hold. A scanned one may cost half as much again: what was read and what can be passed on
/// stand side by side, 1.1 MiB as measured. (When such a connection is closed, the tests of `listener` say.)
#[test]
fn a_client_that_never_reads_costs_no_memory() {
    for (content_type, kib_max) in [("image/png", 1024), ("text/plain", 1536)] {
        let upstream = Upstream::open();
        let address = free_address();
        let child = Child::run(&toml(address, &upstream, ""), &[SECRET]);
        let resident = || {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("there is a process table");
            // Without the program's own pages, which come in as they are first used.
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("it is resident");
            line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB")
        };
        assert_eq!(send(address, "GET", "/api/small", &[], b"").status, 200);
        let before = resident();
        let stopped = Arc::new(Watched::new(None));
        let stop = stopped.clone();
        upstream.script([Reply::custom(move |_, connection| {
            write!(connection.stream(), "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n")?;
            // Longer than a busy machine leaves a thread that could go on.
            connection.stream().set_write_timeout(Some(Duration::from_secs(2)))?;
            let (block, mut written) = (vec![b'x'; 64 * 1024], 0);
            while written < ENDLESS && connection.stream().write_all(&block).is_ok() {
                written += block.len();
            }
            stop.update(|stopped| *stopped = Some(written));
            Ok(())
        })]);
        let mut stream = TcpStream::connect(address).expect("the proxy listens");
        stream.write_all(b"GET /api/big HTTP/1.1\r\nHost: a\r\n\r\n").expect("the proxy reads");
        let written = stopped.wait("the upstream to be stopped", |stopped| *stopped);
        assert!(written < ENDLESS, "{content_type}: {written} bytes went somewhere");
        let grown = resident().saturating_sub(before);
        assert!(grown < kib_max, "{content_type}: it grew by {grown} KiB");
        assert_eq!(send(address, "GET", "/api/small", &[], b"").status, 200, "others are served");
    }
}

/// The attack S13: one event is one line, in text and in JSON, whatever clients write.
#[test]
fn clients_forge_no_log_lines() {
    for format in ["text", "json"] {
        let upstream = Upstream::open();
        let address = free_address();
        let mut child = Child::run(&toml(address, &upstream, &format!("format = \"{format}\"")), &[SECRET]);
        for head in [
            &b"GET /api/%1b[2J%0d%0a2023-01-01T00:00:00.000Z%20ERROR%20forged?q=%22%0a HTTP/1.1\r\nHost: a\r\n"[..],
            b"GET /api/\"x\"=\xc2\x9b\xe2\x80\xae?a='b HTTP/1.1\r\nHost: a\r\n",
            b"GET /api/\x1b[31m HTTP/1.1\r\nHost: a\r\n",
            b"GET /api/a HTTP/1.1\r\nHost: a\r\nUser-Agent: \x1b[31m\"forged\" level=ERROR\r\n",
            b"GET /api/a HTTP/1.1\r\nHost: a\r\nUser-Agent: \"forged\" level=ERROR \xc2\x9b\xe2\x80\xa8\r\n",
            b"GET /own/a HTTP/1.1\r\nHost: a\r\nX-Api-Key: \"forged\\\" client=admin\r\n",
            b"GET /own/a HTTP/1.1\r\nHost: \"forged\"\r\nX-Forged\x1b: a\r\n",
        ] {
            let mut stream = TcpStream::connect(address).expect("the proxy listens");
            stream.write_all(&[head, b"Connection: close\r\n\r\n"].concat()).expect("the proxy reads");
            // How it is answered is the affair of other tests.
            let _ = stream.read_to_end(&mut Vec::new());
        }
        assert_eq!(send(address, "GET", "/api/last", &[], b"").status, 200);
        child.signal(Signal::TERM);
        assert!(child.wait().success());
        let output = child.output();
        assert!(output.contains("forged"), "the log says nothing of the requests:\n{output}");
        for line in output.lines() {
            let odd = |character: char| character.is_control() || ('\u{2028}'..='\u{202e}').contains(&character);
            assert!(!line.contains(odd), "{line:?}");
            let is_event = match format {
                "json" => serde_json::from_str::<serde_json::Value>(line).is_ok_and(|event| event["time"].is_string()),
                _ => line.starts_with("20") && line.get(10..11) == Some("T") && !line.starts_with("2023-01-01"),
            };
            assert!(is_event, "no event of ours: {line:?}");
        }
    }
}
