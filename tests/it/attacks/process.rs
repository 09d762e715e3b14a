//! Attacks on the process and what it writes, tried on the real program.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;

use crate::support::{Child, Proxy, TokenEndpoint, Upstream, free_address, one_route, send};

const SECRET: (&str, &str) = ("API", "tok-SECRET-of-the-process");

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
