//! The listener with real TCP clients, on a worker's runtime with paused time: waiting for a minute takes no time.

mod drain;
mod http1;
mod http2;
mod limits;
mod streams;
mod tls;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::*;
use crate::clock::Ticker;
use crate::descriptors::Permits;

type TestBody = Pin<Box<dyn Body<Data = Bytes, Error = Broken>>>;

impl AnswerBody for TestBody {}

/// Why a body of a test breaks.
#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken by the test")
    }
}

impl std::error::Error for Broken {}

/// Runs a test on a runtime like a worker's.
fn on_a_worker<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build_local(Default::default())
        .unwrap();
    runtime.block_on(test);
}

fn settings() -> Settings {
    Settings {
        limits: config::Limits {
            connections_max: 100,
            request_line_bytes_max: 32 << 10,
            header_bytes_max: 64 << 10,
            headers_max: 100,
            replay_memory_bytes_max: 64 << 20,
            aggregate_memory_bytes_max: 256 * 1024 * 1024,
            h2_receive_memory_bytes_max: 256 << 20,
        },
        timeouts: config::ServerTimeouts {
            header: Duration::from_secs(10),
            body_idle: Duration::from_secs(30),
            idle: Duration::from_secs(75),
            tls_handshake: Duration::from_secs(10),
        },
        write: Duration::from_secs(120),
    }
}

/// A listener at work.
struct Server {
    address: SocketAddr,
    shared: Rc<Shared>,
    stop: Option<oneshot::Sender<Infallible>>,
    accepting: tokio::task::JoinHandle<()>,
}

fn shared(settings: Settings) -> Rc<Shared> {
    let ticker = Ticker::default();
    let ticking = ticker.clone();
    tokio::task::spawn_local(async move { ticking.run().await });
    let permits = Permits::new(settings.limits.connections_max);
    let receive_memory = ReceiveMemory::new(settings.limits.h2_receive_memory_bytes_max);
    Shared::new(ticker, permits, receive_memory, Arc::default(), settings)
}

impl Server {
    fn start<S, F, B>(answer: S) -> Self
    where
        S: Fn(Request<Incoming>) -> F + Clone + 'static,
        F: Future<Output = Response<B>> + 'static,
        B: AnswerBody,
    {
        Server::start_with(shared(settings()), None, answer)
    }

    fn start_with<S, F, B>(shared: Rc<Shared>, tls: Option<Arc<rustls::ServerConfig>>, answer: S) -> Self
    where
        S: Fn(Request<Incoming>) -> F + Clone + 'static,
        F: Future<Output = Response<B>> + 'static,
        B: AnswerBody,
    {
        let Bound { address, mut sockets } = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let socket = tokio::net::TcpListener::from_std(sockets.remove(0)).unwrap();
        let (stop, stopped) = oneshot::channel();
        let endpoint = Endpoint {
            socket,
            site: Site { address, tls: Rc::new(RefCell::new(tls)), removal: Removal::default() },
            stop: stopped,
        };
        let answerer = move |_: Peer| {
            let answer = answer.clone();
            move |request| {
                let answer = answer(request);
                async move { Ok(answer.await) }
            }
        };
        let accepting = tokio::task::spawn_local(accept_connections(endpoint, shared.clone(), answerer));
        Server { address, shared, stop: Some(stop), accepting }
    }

    async fn connect(&self) -> Client {
        Client { tcp: TcpStream::connect(self.address).await.unwrap() }
    }
}

/// A client that says exactly what it is told to.
struct Client {
    tcp: TcpStream,
}

impl Client {
    async fn send(&mut self, text: &str) {
        self.tcp.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until what came satisfies `enough`, or the end.
    async fn read_until(&mut self, enough: impl Fn(&str) -> bool) -> String {
        let mut text = Vec::new();
        while !enough(&String::from_utf8_lossy(&text)) {
            match self.tcp.read_buf(&mut text).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        String::from_utf8(text).unwrap()
    }

    async fn answer(&mut self) -> String {
        self.read_until(|text| text.ends_with("hello")).await
    }

    /// Everything until the server closes.
    async fn rest(&mut self) -> String {
        self.read_until(|_| false).await
    }

    /// How long it takes from `since` until the server closes.
    async fn closed_after(&mut self, since: Instant) -> Duration {
        let rest = self.rest().await;
        assert_eq!(rest, "", "nothing more is expected");
        since.elapsed()
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn full(text: &'static str) -> Response<TestBody> {
    Response::new(Box::pin(Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {})))
}

/// An answer whose body comes from a function.
fn streamed(
    frame: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> + Unpin + 'static,
) -> Response<TestBody> {
    struct FromFn<F>(F);
    impl<F: FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> + Unpin> Body for FromFn<F> {
        type Data = Bytes;
        type Error = Broken;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
            (self.0)(cx).map_ok(Frame::data)
        }
    }
    Response::new(Box::pin(FromFn(frame)))
}

/// A body without end, that counts its frames of 16 KiB.
fn endless(frames: Rc<Cell<usize>>) -> Response<TestBody> {
    streamed(move |_| {
        frames.set(frames.get() + 1);
        Poll::Ready(Some(Ok(Bytes::from_static(&[b'x'; 16 << 10]))))
    })
}

async fn hello(_: Request<Incoming>) -> Response<TestBody> {
    full("hello")
}

/// That a deadline fires at its time, and at most three ticks late.
fn assert_about(took: Duration, seconds: u64) {
    let expected = Duration::from_secs(seconds);
    assert!(took >= expected, "{took:?} is earlier than {expected:?}");
    assert!(took <= expected + Duration::from_millis(300), "{took:?} is later than {expected:?}");
}
