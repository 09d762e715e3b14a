//! A proxy with one upstream and plain blocking clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tempfile::TempDir;

use crate::app::{Options, Running, start};
use crate::config::Environment;

/// How long anything may take that a test waits for; reached only by a test that fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// An API: answers every request with `hello`, but `/slow` with two chunks, the second when the test says so.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    /// Told when the first chunk of a slow answer was sent; the second follows when what is received is used or dropped.
    pub(super) slow: Receiver<Sender<()>>,
}

impl Upstream {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (tell, slow) = channel();
        let upstream = Upstream { address: listener.local_addr().unwrap(), slow };
        std::thread::spawn(move || {
            for tcp in listener.incoming() {
                let tell = tell.clone();
                std::thread::spawn(move || serve(&tcp.unwrap(), &tell));
            }
        });
        upstream
    }
}

/// Until the connection breaks, as it does when the proxy ends.
fn serve(mut tcp: &TcpStream, tell: &Sender<Sender<()>>) {
    let mut reader = BufReader::new(tcp);
    while let Some(head) = read_head(&mut reader) {
        if head.starts_with("GET /slow") {
            let (go_on, wait) = channel();
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
            if tcp.write_all(head.as_bytes()).is_err() || tell.send(go_on).is_err() {
                return;
            }
            let _ = wait.recv();
            if tcp.write_all(b"4\r\nlast\r\n0\r\n\r\n").is_err() {
                return;
            }
        } else if tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").is_err() {
            return;
        }
    }
}

pub(super) fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// Leaves the core to others between two looks at something that is waited for.
pub(super) fn breathe() {
    std::thread::park_timeout(Duration::from_millis(2));
}

/// A proxy at work.
pub(super) struct Rig {
    pub(super) folder: TempDir,
    pub(super) upstream: Upstream,
    running: Option<Running>,
}

impl Rig {
    /// With [`Rig::toml`] and what is put before its tables.
    pub(super) fn start(more: &str) -> Self {
        Rig::start_with(false, more)
    }

    pub(super) fn start_with(watch: bool, more: &str) -> Self {
        let mut rig = Rig { folder: tempfile::tempdir().unwrap(), upstream: Upstream::start(), running: None };
        rig.write(&rig.toml(more));
        rig.running = Some(start(rig.options(watch)).unwrap());
        rig
    }

    pub(super) fn options(&self, watch: bool) -> Options {
        Options { config: self.path(), environment: Environment::default(), watch }
    }

    /// One listener, one route to the upstream, [admin], two workers.
    pub(super) fn toml(&self, more: &str) -> String {
        format!(
            r#"{more}
[[listeners]]
address = "127.0.0.1:0"

[admin]
address = "127.0.0.1:0"

[upstreams.api]
url = "http://{}"

[[routes]]
path = "/{{*rest}}"
upstream = "api"
clients = "anyone"
"#,
            self.upstream.address
        )
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("proxy.toml")
    }

    pub(super) fn write(&self, toml: &str) {
        std::fs::write(self.path(), toml).unwrap();
    }

    pub(super) fn reload(&self, toml: &str) -> Result<(), String> {
        self.write(toml);
        self.running().reload()
    }

    pub(super) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(super) fn take(&mut self) -> Running {
        self.running.take().unwrap()
    }

    pub(super) fn client(&self) -> Client {
        Client::connect(self.running().addresses()[0])
    }

    pub(super) fn admin(&self, path: &str) -> Answer {
        Client::connect(self.running().admin_address().unwrap()).get(path)
    }

    /// Asks for an admin page until it says what it should.
    pub(super) fn wait_for_admin(&self, path: &str, is_it: impl Fn(&Answer) -> bool) -> Answer {
        let clock = crate::clock::SystemClock;
        let begun = crate::clock::Clock::now(&clock);
        loop {
            let answer = self.admin(path);
            if is_it(&answer) {
                return answer;
            }
            let waited = crate::clock::Clock::now(&clock).since(begun);
            assert!(waited < PATIENCE, "{path} still says {answer:?}");
            breathe();
        }
    }
}

/// A client's connection.
pub(super) struct Client {
    reader: BufReader<TcpStream>,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { reader: BufReader::new(tcp) }
    }

    pub(super) fn get(&mut self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// Whether the connection is still there to answer.
    pub(super) fn is_answered(&mut self, path: &str) -> bool {
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.reader.get_mut().write_all(request.as_bytes()).is_ok() && read_head(&mut self.reader).is_some()
    }

    pub(super) fn ask(&mut self, request: &str) -> Answer {
        self.send(request);
        let mut answer = self.head();
        let length = answer.head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:").map(|length| length.trim().parse().unwrap())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        self.reader.read_exact(&mut body).unwrap();
        answer.body = String::from_utf8(body).unwrap();
        answer
    }

    pub(super) fn send(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// The answer's head alone.
    pub(super) fn head(&mut self) -> Answer {
        let head = read_head(&mut self.reader).expect("an answer");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        Answer { status, head, body: String::new() }
    }

    /// Everything until the end of the connection; an error if it is not an end but a reset.
    pub(super) fn rest(&mut self) -> std::io::Result<String> {
        let mut rest = String::new();
        self.reader.read_to_string(&mut rest)?;
        Ok(rest)
    }
}
