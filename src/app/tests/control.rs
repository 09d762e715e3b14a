//! A reload that takes its time, and what does not wait for it.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::rig::{breathe, read_head};
use super::*;
use crate::app::Running;
use crate::clock::{Clock, SystemClock};

/// A reload that waits in a secret's command until the test says the secret.
struct Held {
    reload: JoinHandle<Result<(), String>>,
    secret: File,
}

/// How often a fetch is measured with, and without, something slow beside it.
const FETCHES: usize = 8;

const SLOW: &str = "[credentials.slow.bearer]\ntoken = { command = [\"cat\", \"pipe\"] }\n";

impl Held {
    /// `toml` names the credential [`SLOW`]. Returns once its command runs.
    fn start(rig: &Rig, running: &Arc<Running>, toml: &str) -> Self {
        let pipe = rig.folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        rig.write(toml);
        let running = running.clone();
        let reload = std::thread::spawn(move || running.reload());
        // Opens when the command has opened its end.
        let secret = OpenOptions::new().write(true).open(pipe).unwrap();
        Held { reload, secret }
    }

    fn end(mut self) -> Result<(), String> {
        self.secret.write_all(b"the slow secret of the test\n").unwrap();
        drop(self.secret);
        self.reload.join().unwrap()
    }
}

/// SEC-40: the end waits neither for a reload that hangs nor behind others in the queue; readiness goes off at once.
#[test]
fn nothing_delays_the_end() {
    let server = "[server]\ndrain_delay = \"1s\"\n";
    let mut rig = Rig::start(server);
    let (address, admin) = (rig.running().addresses()[0], rig.running().admin_address().unwrap());
    let running = Arc::new(rig.take());
    let held = Held::start(&rig, &running, &rig.toml(&format!("{server}{SLOW}")));
    let reload = |running: &Arc<Running>| {
        let running = running.clone();
        std::thread::spawn(move || running.reload())
    };
    let queued: Vec<_> = (0..40).map(|_| reload(&running)).collect();
    while !queued.iter().any(JoinHandle::is_finished) {
        // The queue is full once one was turned away.
        breathe();
    }
    let begun = SystemClock.now();
    let ending = std::thread::spawn(move || running.controller.shutdown());
    while Client::connect(admin).get("/readyz").status == 200 {
        assert!(SystemClock.now().since(begun) < Duration::from_secs(1), "readiness is still on");
        breathe();
    }
    assert_eq!(Client::connect(address).get("/x").body, "hello", "it drains");
    ending.join().unwrap();
    let took = SystemClock.now().since(begun);
    assert!((Duration::from_secs(1)..Duration::from_secs(8)).contains(&took), "{took:?}");
    assert!(held.reload.join().unwrap().unwrap_err().contains("shutting down"));
    assert!(queued.into_iter().all(|reload| reload.join().unwrap().is_err()));
}

/// The control thread fetches tokens while a secret's command hangs: none is delayed by 50 ms.
#[test]
fn a_slow_secret_delays_no_token() {
    let mut rig = Rig::start("");
    std::fs::write(rig.folder.path().join("secret"), "a secret of the test").unwrap();
    let (endpoint, granted) = token_endpoint();
    // Each credential has its token fetched once: by the first request that wants it.
    let mut toml = rig.toml("");
    for number in 0..2 * FETCHES {
        toml += &format!(
            "[credentials.crm{number}.client_credentials]\ntoken_url = \"http://{endpoint}/token\"\nclient_id = \"it\"\n\
             client_secret = {{ file = \"secret\" }}\n\
             [upstreams.crm{number}]\nurl = \"http://{}\"\ncredential = \"crm{number}\"\n\
             [[routes]]\npath = \"/{number}/x\"\nupstream = \"crm{number}\"\nclients = \"anyone\"\n",
            rig.upstream.address
        );
    }
    rig.reload(&toml).unwrap();
    let mut client = rig.client();
    let mut quickest = |numbers: std::ops::Range<usize>| {
        let times = numbers.map(|number| {
            let begun = SystemClock.now();
            assert_eq!(client.get(&format!("/{number}/x")).status, 200);
            SystemClock.now().since(begun)
        });
        let times: Vec<_> = times.collect();
        assert!(times.iter().all(|time| *time < Duration::from_secs(1)), "{times:?}");
        // What a busy machine adds to some of them does not count; what a blocked thread adds, it adds to every one.
        times.into_iter().min().unwrap()
    };
    let free = quickest(0..FETCHES);
    let running = Arc::new(rig.take());
    let held = Held::start(&rig, &running, &(toml + SLOW));
    let meanwhile = quickest(FETCHES..2 * FETCHES);
    assert!(!held.reload.is_finished());
    held.end().unwrap();
    assert_eq!(granted.load(Ordering::Relaxed), 2 * FETCHES, "each request had a token fetched");
    assert!(meanwhile < free + Duration::from_millis(50), "{meanwhile:?}, and {free:?} without the command");
}

/// Grants a token to whoever asks, and counts.
fn token_endpoint() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let granted = Arc::new(AtomicUsize::new(0));
    let count = granted.clone();
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let mut reader = BufReader::new(tcp.unwrap());
            let Some(head) = read_head(&mut reader) else { continue };
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap();
            reader.read_exact(&mut vec![0; length.trim().parse().unwrap()]).unwrap();
            let token = r#"{"access_token":"a-token-of-the-test","token_type":"Bearer","expires_in":3600}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{token}",
                token.len()
            );
            count.fetch_add(1, Ordering::Relaxed);
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, granted)
}
