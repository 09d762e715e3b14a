use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use ::h2::server::{Builder, Connection as ServerConnection, SendResponse};
use ::h2::{Reason, RecvStream};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::Frame;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::rig::*;
use crate::clock::Ticker;
use crate::config::HttpVersion;
use crate::upstream::*;

type Asked = (Request<RecvStream>, SendResponse<Bytes>);

pub(super) struct Http2Rig {
    pub(super) upstream: Upstream,
    pub(super) pool: Rc<Pool>,
    ticker: Ticker,
    pub(super) listener: TcpListener,
    budget: Arc<ReplayBudget>,
}

/// Runs a test with an upstream that is spoken to in HTTP/2 by prior knowledge.
pub(super) fn with_http2<F: Future<Output = ()>>(test: impl FnOnce(Rc<Http2Rig>) -> F) {
    on_worker(|ticker| async { test(Http2Rig::new(ticker).await).await });
}

pub(super) fn in_paused_time_with_http2<F: Future<Output = ()>>(test: impl FnOnce(Rc<Http2Rig>) -> F) {
    in_paused_time(|ticker| async { test(Http2Rig::new(ticker).await).await });
}

impl Http2Rig {
    async fn new(ticker: Ticker) -> Rc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = upstream_config(url(false, "127.0.0.1", listener.local_addr().unwrap().port()));
        config.http = HttpVersion::Http2;
        let upstream = Upstream::with_authority(&config, fixed(&config), &connector(), "api.example".to_owned());
        let (pool, budget) = (pool(&ticker), ReplayBudget::new(1 << 20));
        Rc::new(Http2Rig { upstream, pool, ticker, listener, budget })
    }

    pub(super) async fn accept(&self, streams_max: u32) -> Peer2 {
        let (stream, _) = self.listener.accept().await.unwrap();
        let connection = Builder::new().max_concurrent_streams(streams_max).handshake(stream).await.unwrap();
        Peer2 { connection }
    }

    pub(super) async fn get(&self) -> Result<Answer, ExchangeError> {
        self.send(&HeaderMap::new(), &mut OutgoingBody::empty()).await
    }

    pub(super) async fn post(&self, body: &mut OutgoingBody) -> Result<Answer, ExchangeError> {
        self.send(&HeaderMap::new(), body).await
    }

    async fn send(&self, headers: &HeaderMap, body: &mut OutgoingBody) -> Result<Answer, ExchangeError> {
        self.ask("/a?b", headers, body).await
    }

    async fn ask(&self, target: &str, headers: &HeaderMap, body: &mut OutgoingBody) -> Result<Answer, ExchangeError> {
        let head = OutgoingHead { method: &Method::POST, target, headers, over: [None; 3], wants_trailers: true };
        self.upstream.exchange(Over::Any, &self.pool, &head, body, &TIMEOUTS).await
    }

    pub(super) fn body(&self, length: Option<u64>) -> (mpsc::Sender<Frame<Bytes>>, OutgoingBody) {
        let (sender, receiver) = mpsc::channel(1);
        (sender, OutgoingBody::scripted(receiver, length, self.budget.clone(), &self.ticker, CLIENT_IDLE))
    }
}

/// The upstream's side of a connection.
pub(super) struct Peer2 {
    connection: ServerConnection<TcpStream, Bytes>,
}

impl Peer2 {
    pub(super) async fn asked(&mut self) -> Asked {
        self.connection.accept().await.unwrap().unwrap()
    }

    /// Goes on answering with an empty 200, until the connection ends.
    pub(super) async fn serve(mut self) {
        while let Some(Ok((_, mut respond))) = self.connection.accept().await {
            let _ = respond.send_response(Response::new(()), true);
        }
    }

    /// Answers nothing, and takes nothing of bodies beyond their windows.
    pub(super) async fn keep_silent(mut self) {
        let mut unanswered = Vec::new();
        while let Some(asked) = self.connection.accept().await {
            unanswered.push(asked);
        }
        std::future::pending::<()>().await;
    }

    /// Drives the connection beside what the test does with its streams.
    pub(super) fn drive(self) {
        tokio::task::spawn_local(self.keep_silent());
    }
}

#[test]
fn requests_share_a_connection_even_while_it_is_being_opened() {
    with_http2(|rig| async move {
        let client = async {
            let (a, b, c) = tokio::join!(rig.get(), rig.get(), rig.get());
            for answer in [a, b, c] {
                assert_eq!(answer.unwrap().status.as_u16(), 200);
            }
            assert!(rig.get().await.unwrap().reused);
        };
        tokio::select! {
            () = client => {}
            () = async { rig.accept(100).await.serve().await } => unreachable!("the pool holds the connection"),
        }
        assert_eq!((rig.pool.stats().opened, rig.pool.stats().idle), (1, 1));
    });
}

#[test]
fn a_connection_without_a_free_stream_is_joined_by_another() {
    with_http2(|rig| async move {
        let peers = async {
            let mut first = rig.accept(1).await;
            let (_, mut respond) = first.asked().await;
            respond.send_response(Response::new(()), true).unwrap();
            let (_, mut one) = first.asked().await;
            first.drive();
            let mut second = rig.accept(1).await;
            let (_, mut two) = second.asked().await;
            second.drive();
            one.send_response(Response::new(()), true).unwrap();
            two.send_response(Response::new(()), true).unwrap();
        };
        let client = async {
            rig.get().await.unwrap();
            let (one, two) = tokio::join!(rig.get(), rig.get());
            assert_eq!((one.unwrap().status.as_u16(), two.unwrap().status.as_u16()), (200, 200));
        };
        tokio::join!(peers, client);
        assert_eq!(rig.pool.stats().opened, 2);
    });
}

/// SEC-11: the configured authority; `te: trailers` is kept, what belongs to a connection is not.
#[test]
fn a_call_with_trailers_in_both_directions_passes_while_both_stream() {
    with_http2(|rig| async move {
        let (sender, mut body) = rig.body(None);
        let mut headers = HeaderMap::new();
        for name in ["host", "connection", "x-a", "transfer-encoding", "upgrade", "keep-alive"] {
            headers.insert(name, "x-a".parse().unwrap());
        }
        let peer = async {
            let mut peer = rig.accept(100).await;
            let (request, mut respond) = peer.asked().await;
            peer.drive();
            assert_eq!(request.uri().to_string(), "http://api.example/a?b");
            let mut names: Vec<_> = request.headers().keys().map(|name| name.as_str()).collect();
            names.sort_unstable();
            assert_eq!(names, ["te", "x-a"]);
            let mut received = request.into_body();
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            // The answer has begun; the request goes on.
            assert_eq!(received.data().await.unwrap().unwrap(), "late");
            let trailers = received.trailers().await.unwrap().unwrap();
            assert_eq!(trailers.keys().collect::<Vec<_>>(), ["x-sum"]);
            send.send_data("ok".into(), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            send.send_trailers(trailers).unwrap();
        };
        let client = async {
            let answer = rig.send(&headers, &mut body).await.unwrap();
            sender.send(data("late")).await.unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "4".parse().unwrap());
            trailers.insert("authorization", "evil".parse().unwrap());
            sender.send(Frame::trailers(trailers)).await.unwrap();
            drop(sender);
            let (body, trailers) = collect(answer.body).await.unwrap();
            assert_eq!((body, trailers.unwrap().get("grpc-status").unwrap().as_bytes()), ("ok".into(), &b"0"[..]));
        };
        tokio::join!(peer, client);
    });
}

/// SEC-32: what the upstream says that it did not process can be sent again; any other reset cannot.
#[test]
fn only_refused_requests_have_sent_nothing() {
    for (reason, nothing_sent) in
        [(Reason::REFUSED_STREAM, true), (Reason::CANCEL, false), (Reason::INTERNAL_ERROR, false)]
    {
        with_http2(|rig| async move {
            let peer = async {
                let mut peer = rig.accept(100).await;
                let (_request, mut respond) = peer.asked().await;
                respond.send_reset(reason);
                peer.drive();
            };
            let (answer, ()) = tokio::join!(rig.get(), peer);
            let error = answer.unwrap_err();
            assert_eq!((error.kind, error.nothing_sent), (ExchangeErrorKind::Closed, nothing_sent), "{reason}");
        });
    }
}

/// SEC-32: a request behind the last one that a closing upstream has seen can be sent again.
#[test]
fn a_request_that_a_closing_upstream_did_not_see_has_sent_nothing() {
    with_http2(|rig| async move {
        let peer = async {
            let (mut stream, _) = rig.listener.accept().await.unwrap();
            let mut sink = vec![0; 1 << 16];
            tokio::io::AsyncReadExt::read(&mut stream, &mut sink).await.unwrap();
            let settings = b"\0\0\0\x04\0\0\0\0\0";
            // The last stream is 0, the reason NO_ERROR.
            let go_away = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0";
            let frames = [&settings[..], go_away].concat();
            tokio::io::AsyncWriteExt::write_all(&mut stream, &frames).await.unwrap();
            while !matches!(tokio::io::AsyncReadExt::read(&mut stream, &mut sink).await, Ok(0) | Err(_)) {}
        };
        let (answer, ()) = tokio::join!(rig.get(), peer);
        let error = answer.unwrap_err();
        assert!(error.nothing_sent, "{error:?}");
    });
}

/// SEC-13: what an upstream says when it closes may be what it was sent, and is not quoted.
#[test]
fn the_words_of_a_closing_upstream_are_not_repeated() {
    with_http2(|rig| async move {
        let peer = async {
            let (mut stream, _) = rig.listener.accept().await.unwrap();
            let mut sink = vec![0; 1 << 16];
            tokio::io::AsyncReadExt::read(&mut stream, &mut sink).await.unwrap();
            // The last stream is 0, the reason ENHANCE_YOUR_CALM.
            let frames = b"\0\0\0\x04\0\0\0\0\0\0\0\x10\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0bBearer s";
            tokio::io::AsyncWriteExt::write_all(&mut stream, frames).await.unwrap();
            while !matches!(tokio::io::AsyncReadExt::read(&mut stream, &mut sink).await, Ok(0) | Err(_)) {}
        };
        let (answer, ()) = tokio::join!(rig.get(), peer);
        let error = answer.unwrap_err();
        assert_eq!(error.kind, ExchangeErrorKind::Closed);
        assert!(error.text.contains("the upstream ended it") && !error.text.contains("Bearer"), "{error:?}");
    });
}

/// SEC-33: a stream that is reset within its answer is an error.
#[test]
fn a_reset_within_an_answer_is_an_error() {
    with_http2(|rig| async move {
        let peer = async {
            let mut peer = rig.accept(100).await;
            let (_request, mut respond) = peer.asked().await;
            peer.drive();
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            send.send_data("half".into(), false).unwrap();
            turn().await;
            send.send_reset(Reason::INTERNAL_ERROR);
        };
        let client = async { collect(rig.get().await.unwrap().body).await };
        let (body, ()) = tokio::join!(client, peer);
        assert!(matches!(body, Err(AnswerBodyError::Http2(_))), "{body:?}");
    });
}

/// SEC-36: letting go of an exchange or of its answer resets the stream, upload included; the connection stays.
#[test]
fn dropping_an_exchange_or_its_answer_resets_the_stream() {
    for answered in [false, true] {
        with_http2(|rig| async move {
            let (_sender, mut body) = rig.body(None);
            let (tell, mut told) = mpsc::channel::<()>(1);
            let peer = async {
                let mut peer = rig.accept(100).await;
                let (request, mut respond) = peer.asked().await;
                peer.drive();
                let _send = answered.then(|| respond.send_response(Response::new(()), false).unwrap());
                tell.send(()).await.unwrap();
                let reset = request.into_body().data().await.unwrap().unwrap_err();
                assert!(reset.is_reset());
            };
            let client = async {
                if answered {
                    drop(rig.post(&mut body).await.unwrap());
                } else {
                    tokio::select! {
                        _ = rig.post(&mut body) => unreachable!("there is no answer"),
                        _ = told.recv() => {}
                    }
                }
            };
            tokio::join!(peer, client);
            turn().await;
            assert_eq!(rig.pool.stats().idle, 1);
        });
    }
}

#[test]
fn a_body_of_another_length_than_announced_is_the_clients_fault() {
    for piece in ["hell", "hello!"] {
        with_http2(|rig| async move {
            let (sender, mut body) = rig.body(Some(5));
            sender.send(data(piece)).await.unwrap();
            drop(sender);
            let peer = async {
                let mut peer = rig.accept(100).await;
                let (_request, _respond) = peer.asked().await;
                peer.drive();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                answer = rig.post(&mut body) => {
                    assert_eq!(answer.unwrap_err().kind, ExchangeErrorKind::ClientBody);
                }
                () = peer => unreachable!(),
            }
        });
    }
}

#[test]
fn tls_agrees_on_the_version_unless_it_is_configured() {
    let table = [
        (HttpVersion::Auto, &b"h2"[..], Ok(true)),
        (HttpVersion::Auto, b"http/1.1", Ok(false)),
        (HttpVersion::Http1, b"http/1.1", Ok(false)),
        (HttpVersion::Http2, b"h2", Ok(true)),
        (HttpVersion::Http2, b"none", Err(ExchangeErrorKind::Tls)),
    ];
    for (http, offered, expected) in table {
        on_worker(|ticker| async move {
            let authority = super::tls::Authority::new();
            let offered: &[&[u8]] = if offered == b"none" { &[] } else { &[offered] };
            let acceptor = authority.acceptor(false, offered);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut config = upstream_config(url(true, "localhost", listener.local_addr().unwrap().port()));
            config.ca = vec![authority.certificate()];
            config.http = http;
            let upstream = Upstream::with_authority(&config, fixed(&config), &connector(), "localhost".to_owned());
            let server = async {
                let stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    let mut connection = ::h2::server::handshake(stream).await.unwrap();
                    let (_, mut respond) = connection.accept().await.unwrap().unwrap();
                    respond.send_response(Response::builder().status(202).body(()).unwrap(), true).unwrap();
                    while connection.accept().await.is_some() {}
                } else {
                    let mut stream = stream;
                    // A client that wanted HTTP/2 is gone already.
                    let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, HELLO.as_bytes()).await;
                    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await;
                }
                std::future::pending::<()>().await;
            };
            let client = async {
                let headers = HeaderMap::new();
                let head = OutgoingHead {
                    method: &Method::GET,
                    target: "/",
                    headers: &headers,
                    over: [None; 3],
                    wants_trailers: false,
                };
                let mut body = OutgoingBody::empty();
                let answer = upstream.exchange(Over::Any, &pool(&ticker), &head, &mut body, &TIMEOUTS).await;
                let version = answer.map(|answer| answer.status.as_u16() == 202).map_err(|error| error.kind);
                assert_eq!(version, expected, "{http:?}");
            };
            tokio::select! {
                () = client => {}
                () = server => unreachable!(),
            }
        });
    }
}

/// It is the request that cannot be sent, not its body that is broken; and the connection has nothing to do with it.
#[test]
fn a_target_that_is_too_long_is_called_that() {
    with_http2(|rig| async move {
        let client = async {
            rig.get().await.unwrap();
            let target = format!("/{}", "x".repeat(65_534));
            let error = rig.ask(&target, &HeaderMap::new(), &mut OutgoingBody::empty()).await.unwrap_err();
            assert_eq!((error.kind, error.nothing_sent), (ExchangeErrorKind::TargetTooLong, true));
            assert!(rig.get().await.unwrap().reused);
        };
        tokio::select! {
            () = client => {}
            () = async { rig.accept(100).await.serve().await } => unreachable!("the pool holds the connection"),
        }
    });
}
