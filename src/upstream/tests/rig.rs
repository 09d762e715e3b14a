//! An upstream, a pool and a listener whose connections the test scripts.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::clock::{ManualClock, Ticker};
use crate::config::{self, HttpUrl, HttpVersion, Replay, UpstreamTimeouts, UpstreamUrl};

use crate::upstream::*;

/// What a peer reads before it answers "hello".
pub(super) const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

pub(super) const TIMEOUTS: UpstreamTimeouts = UpstreamTimeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(20),
    idle: Duration::from_secs(10),
};
pub(super) const CLIENT_IDLE: Duration = Duration::from_secs(7);

pub(super) struct Rig {
    pub(super) upstream: Upstream,
    pub(super) pool: Rc<Pool>,
    pub(super) ticker: Ticker,
    pub(super) listener: TcpListener,
    pub(super) budget: Arc<ReplayBudget>,
    /// Of the pool; at first without a bound.
    pub(super) bulkhead: Arc<Bulkhead>,
}

/// Runs a test on a worker's kind of runtime, with a ticker.
pub(super) fn on_worker<F: Future<Output = ()>>(test: impl FnOnce(Ticker) -> F) {
    run(false, test);
}

/// Runs a test in paused time: what waits for nothing but time is there at once.
pub(super) fn in_paused_time<F: Future<Output = ()>>(test: impl FnOnce(Ticker) -> F) {
    run(true, test);
}

fn run<F: Future<Output = ()>>(paused: bool, test: impl FnOnce(Ticker) -> F) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(paused).build_local(Default::default()).unwrap();
    runtime.block_on(async {
        let ticker = Ticker::default();
        let runs = ticker.clone();
        tokio::task::spawn_local(async move { runs.run().await });
        if paused {
            tokio::task::spawn_local(hold_time_back());
        }
        // A peer that waits for what never comes must fail its test, and not hang it.
        let limit = Duration::from_secs(if paused { 3600 } else { 30 });
        tokio::time::timeout(limit, test(ticker)).await.expect("the test has come to a halt");
    });
}

/// Paused time runs ahead whenever all tasks wait, be it for a socket: on a busy machine the kernel needs a moment to
/// hand bytes over, and deadlines would expire in between. Time stands still while a blocking task runs.
async fn hold_time_back() {
    loop {
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Runs a test with a rig.
pub(super) fn with_rig<F: Future<Output = ()>>(test: impl FnOnce(Rc<Rig>) -> F) {
    on_worker(|ticker| async { test(Rig::new(ticker).await).await });
}

/// Runs a test with a rig in paused time.
pub(super) fn with_rig_in_paused_time<F: Future<Output = ()>>(test: impl FnOnce(Rc<Rig>) -> F) {
    in_paused_time(|ticker| async { test(Rig::new(ticker).await).await });
}

pub(in crate::upstream) fn connector() -> Arc<Connector> {
    let clock = Arc::new(ManualClock::at(SystemTime::UNIX_EPOCH));
    Connector::new(&config::Egress::default(), clock, tokio::runtime::Handle::current())
}

/// A pool that may open any number of connections.
pub(super) fn pool(ticker: &Ticker) -> Rc<Pool> {
    Pool::new(ticker.clone(), Bulkhead::new(usize::MAX))
}

pub(in crate::upstream) fn url(https: bool, host: &str, port: u16) -> HttpUrl {
    HttpUrl { https, host: host.to_owned(), ip: host.parse().ok(), port, path: String::new() }
}

pub(super) fn fixed(config: &config::Upstream) -> &HttpUrl {
    config.url.fixed().expect("it is where the test says")
}

pub(in crate::upstream) fn upstream_config(url: HttpUrl) -> config::Upstream {
    config::Upstream {
        name: "api".into(),
        url: UpstreamUrl::Fixed(url),
        credential: None,
        ca: Vec::new(),
        client_certificate: None,
        private: false,
        http: HttpVersion::Auto,
        timeouts: TIMEOUTS,
        reject_on: Vec::new(),
        replay: Replay::Safe,
        forwarded: false,
        openapi: None,
    }
}

impl Rig {
    async fn new(ticker: Ticker) -> Rc<Self> {
        let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await.unwrap();
        let config = upstream_config(url(false, "127.0.0.1", listener.local_addr().unwrap().port()));
        let upstream = Upstream::with_authority(&config, fixed(&config), &connector(), "api.example".to_owned());
        let bulkhead = Bulkhead::new(usize::MAX);
        let (pool, budget) = (Pool::new(ticker.clone(), bulkhead.clone()), ReplayBudget::new(1 << 20));
        Rc::new(Rig { upstream, pool, ticker, listener, budget, bulkhead })
    }

    pub(super) async fn accept(&self) -> Peer {
        Peer { stream: self.listener.accept().await.unwrap().0, input: Vec::new() }
    }

    pub(super) async fn get(&self) -> Result<Answer, ExchangeError> {
        self.send(Method::GET, &mut OutgoingBody::empty()).await
    }

    pub(super) async fn send(&self, method: Method, body: &mut OutgoingBody) -> Result<Answer, ExchangeError> {
        let headers = HeaderMap::new();
        let head =
            OutgoingHead { method: &method, target: "/a", headers: &headers, over: [None; 3], wants_trailers: false };
        self.upstream.exchange(Over::Any, &self.pool, &head, body, &TIMEOUTS).await
    }

    /// A request's body that the test feeds.
    pub(super) fn body(&self, length: Option<u64>) -> (mpsc::Sender<Frame<Bytes>>, OutgoingBody) {
        let (sender, receiver) = mpsc::channel(1);
        (sender, OutgoingBody::scripted(receiver, length, self.budget.clone(), &self.ticker, CLIENT_IDLE))
    }

    /// One exchange: what the peer answers, byte for byte, and then whether it closes.
    pub(super) async fn answered(&self, method: Method, answer: &str, close: bool) -> Result<Answer, ExchangeError> {
        let mut body = OutgoingBody::empty();
        let peer = async {
            let mut peer = self.accept().await;
            peer.head().await;
            peer.write(answer).await;
            if close {
                peer.stream.shutdown().await.unwrap();
            }
            peer
        };
        let (answer, peer) = tokio::join!(self.send(method, &mut body), peer);
        // Kept open beyond the test, so that what we see is not that it is gone.
        std::mem::forget(peer);
        answer
    }

    /// An exchange on a new connection whose answer lacks its last byte, "k".
    pub(super) async fn held(&self) -> (Answer, Peer) {
        let peer = async {
            let mut peer = self.accept().await;
            peer.head().await;
            peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").await;
            peer
        };
        let (answer, peer) = tokio::join!(self.get(), peer);
        (answer.unwrap(), peer)
    }

    /// Answers every request with "hello", for as long as it is polled.
    pub(super) async fn serve(&self) {
        loop {
            let mut peer = self.accept().await;
            tokio::task::spawn_local(async move {
                while peer.next_head().await.is_some() {
                    peer.write(HELLO).await;
                }
            });
        }
    }

    pub(super) fn close_idle(&self) {
        while self.pool.close_idle_wire(self.upstream.opener.slot, bulkhead::MakesWay::ItsOwn) {}
    }

    pub(super) fn idle(&self) -> usize {
        self.pool.stats().idle
    }
}

/// The other end of a connection.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    input: Vec<u8>,
}

impl Peer {
    /// Reads a request's head.
    pub(super) async fn head(&mut self) -> String {
        self.next_head().await.expect("closed before the request was complete")
    }

    /// Reads a request's head; `None` at the end of the connection.
    pub(super) async fn next_head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.input, b"\r\n\r\n") {
                let head = self.input.drain(..end + 4).collect();
                return Some(String::from_utf8(head).unwrap());
            }
            if !matches!(self.stream.read_buf(&mut self.input).await, Ok(1..)) {
                return None;
            }
        }
    }

    /// What one read brings.
    pub(super) async fn segment(&mut self) -> String {
        let mut segment = vec![0; 1 << 16];
        let read = self.stream.read(&mut segment).await.unwrap();
        segment.truncate(read);
        String::from_utf8(segment).unwrap()
    }

    /// Reads this much of a request's body, as it is coded.
    pub(super) async fn body(&mut self, bytes: usize) -> String {
        while self.input.len() < bytes {
            assert_ne!(self.stream.read_buf(&mut self.input).await.unwrap(), 0, "closed within the request's body");
        }
        String::from_utf8(self.input.drain(..bytes).collect()).unwrap()
    }

    pub(super) async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Waits until the proxy has closed the connection, whatever it still sends.
    pub(super) async fn closed(&mut self) {
        let mut sink = vec![0; 1 << 16];
        while !matches!(self.stream.read(&mut sink).await, Ok(0) | Err(_)) {}
    }
}

/// A request without a body.
pub(super) async fn get(upstream: &Upstream, pool: &Rc<Pool>) -> Result<Answer, ExchangeError> {
    let headers = HeaderMap::new();
    let head =
        OutgoingHead { method: &Method::GET, target: "/a", headers: &headers, over: [None; 3], wants_trailers: false };
    upstream.exchange(Over::Any, pool, &head, &mut OutgoingBody::empty(), &TIMEOUTS).await
}

/// Reads a body to its end.
pub(super) async fn collect(body: AnswerBody) -> Result<(Bytes, Option<HeaderMap>), AnswerBodyError> {
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned();
    Ok((collected.to_bytes(), trailers))
}

pub(super) fn data(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

/// In paused time.
pub(super) fn assert_about(begin: Instant, expected: Duration) {
    let took = begin.elapsed();
    assert!(took >= expected && took < expected + Duration::from_secs(1), "took {took:?}, expected {expected:?}");
}

/// Lets the reactor see what has happened on sockets.
pub(super) async fn turn() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}
