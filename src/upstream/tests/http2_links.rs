//! HTTP/2 connections as a whole: how they end, and how they come to be.

use std::rc::Rc;

use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::http2::with_http2;
use super::rig::*;
use crate::clock::Ticker;
use crate::config::HttpVersion;
use crate::upstream::*;

const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
/// `:status: 200` on stream 1, which it ends.
const ANSWER: &[u8] = b"\0\0\x01\x01\x05\0\0\0\x01\x88";
/// The last stream is 1, the reason `NO_ERROR`.
const GO_AWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0";

/// An upstream's way to end a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Fin,
    Reset,
    GoAway,
    Garbage,
}

/// Answers the first request of a connection.
async fn answer_one(stream: &mut TcpStream, frames: &[&[u8]]) {
    until_asked(stream, 1).await;
    stream.write_all(&[&[SETTINGS], frames].concat().concat()).await.unwrap();
}

/// Reads up to the HEADERS frame of this stream.
async fn until_asked(stream: &mut TcpStream, id: u8) {
    let mut input = Vec::new();
    while memchr::memmem::find(&input, &[1, 5, 0, 0, 0, id]).is_none() {
        assert_ne!(stream.read_buf(&mut input).await.unwrap(), 0, "closed before the request");
    }
}

async fn until_closed(stream: &mut TcpStream) {
    let mut sink = vec![0; 1 << 16];
    while !matches!(stream.read(&mut sink).await, Ok(0) | Err(_)) {}
}

/// SEC-32: a connection that the upstream has ended, however, is not used again.
#[test]
fn after_the_end_of_a_connection_the_next_request_opens_another() {
    for end in [End::Fin, End::Reset, End::GoAway, End::Garbage] {
        with_http2(|rig| async move {
            let (ended, mut seen) = tokio::sync::mpsc::channel::<()>(1);
            let (complete, mut answered) = tokio::sync::mpsc::channel::<()>(1);
            let peer = async {
                let (mut stream, _) = rig.listener.accept().await.unwrap();
                answer_one(&mut stream, &[ANSWER]).await;
                answered.recv().await;
                match end {
                    End::Fin => stream.shutdown().await.unwrap(),
                    End::Reset => stream.set_zero_linger().unwrap(),
                    End::GoAway => stream.write_all(GO_AWAY).await.unwrap(),
                    End::Garbage => stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap(),
                }
                if end != End::Reset {
                    until_closed(&mut stream).await;
                }
                drop(stream);
                turn().await;
                ended.send(()).await.unwrap();
                let (mut stream, _) = rig.listener.accept().await.unwrap();
                answer_one(&mut stream, &[ANSWER]).await;
                until_closed(&mut stream).await;
            };
            let client = async {
                assert_eq!(rig.get().await.unwrap().status.as_u16(), 200);
                complete.send(()).await.unwrap();
                seen.recv().await;
                let answer = rig.get().await.unwrap_or_else(|error| panic!("after {end:?}: {error:?}"));
                assert!(!answer.reused && answer.status.as_u16() == 200, "after {end:?}");
            };
            tokio::select! {
                () = client => {}
                () = peer => unreachable!("the pool holds the second connection"),
            }
            assert_eq!(rig.pool.stats().opened, 2, "after {end:?}");
        });
    }
}

/// SEC-32: a reused connection that closes under a request may have gone stale before; where the upstream resets the
/// stream alone, it has seen the request, which is then not sent a second time.
#[test]
fn a_reset_stream_is_no_stale_connection() {
    /// RST_STREAM of stream 3.
    const RESET_3: &[u8] = b"\0\0\x04\x03\0\0\0\0\x03\0\0\0";
    const INTERNAL_ERROR: u8 = 2;
    const CANCEL: u8 = 8;
    const ENHANCE_YOUR_CALM: u8 = 11;
    for (reset, stale) in
        [(None, true), (Some(INTERNAL_ERROR), false), (Some(CANCEL), false), (Some(ENHANCE_YOUR_CALM), false)]
    {
        with_http2(|rig| async move {
            let peer = async {
                let (mut stream, _) = rig.listener.accept().await.unwrap();
                answer_one(&mut stream, &[ANSWER]).await;
                until_asked(&mut stream, 3).await;
                if let Some(reason) = reset {
                    stream.write_all(&[RESET_3, &[reason]].concat()).await.unwrap();
                    until_closed(&mut stream).await;
                }
            };
            let client = async {
                rig.get().await.unwrap();
                let error = rig.get().await.unwrap_err();
                assert_eq!(error.kind, ExchangeErrorKind::Closed);
                assert_eq!((error.reused_closed, error.nothing_sent), (stale, false), "{reset:?}: {error:?}");
            };
            tokio::select! {
                () = client => {}
                () = async { peer.await; std::future::pending().await } => unreachable!(),
            }
        });
    }
}

/// SEC-32: a connection that ends, but still has a request to answer, is left with the first request that it fails.
#[test]
fn what_a_closing_upstream_did_not_see_goes_over_another_connection_at_once() {
    /// The last stream is 3, the reason `NO_ERROR`.
    const GO_AWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x03\0\0\0\0";
    /// `:status: 200` on stream 3, which it ends.
    const ANSWER_3: &[u8] = b"\0\0\x01\x01\x05\0\0\0\x03\x88";
    with_http2(|rig| async move {
        let peer = async {
            let (mut first, _) = rig.listener.accept().await.unwrap();
            answer_one(&mut first, &[ANSWER]).await;
            until_asked(&mut first, 5).await;
            first.write_all(GO_AWAY).await.unwrap();
            let (mut second, _) = rig.listener.accept().await.unwrap();
            answer_one(&mut second, &[ANSWER]).await;
            first.write_all(ANSWER_3).await.unwrap();
            until_closed(&mut second).await;
        };
        let client = async {
            rig.get().await.unwrap();
            let unseen = async {
                let error = rig.get().await.unwrap_err();
                assert!(error.nothing_sent && error.connection_ends, "{error:?}");
                rig.get().await
            };
            let (seen, again) = tokio::join!(rig.get(), unseen);
            assert_eq!((seen.unwrap().status.as_u16(), again.unwrap().status.as_u16()), (200, 200));
            assert_eq!(rig.pool.stats().opened, 2);
        };
        tokio::select! {
            () = client => {}
            () = peer => unreachable!("the pool holds the second connection"),
        }
    });
}

/// As many answers as a connection carries, all but one of them unread: clients that do not read hold up no others.
#[test]
fn answers_that_nobody_reads_do_not_hold_up_the_others_of_their_connection() {
    const STREAMS: usize = 100;
    with_http2(|rig| async move {
        let peer = async {
            let mut peer = rig.accept(1000).await;
            let mut sending = Vec::new();
            for _ in 1..STREAMS {
                let (_, mut respond) = peer.asked().await;
                let mut send = respond.send_response(Response::new(()), false).unwrap();
                // More than its window, all of which it takes before the next one has its turn.
                send.send_data(vec![0; 1 << 20].into(), true).unwrap();
                sending.push(send);
            }
            let (_, mut respond) = peer.asked().await;
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            send.send_data("read".into(), true).unwrap();
            peer.keep_silent().await;
        };
        let client = async {
            let mut unread = Vec::new();
            for _ in 1..STREAMS {
                unread.push(rig.get().await.unwrap());
            }
            let read = collect(rig.get().await.unwrap().body).await;
            assert_eq!(read.expect("the others hold it up").0, "read");
            assert_eq!(rig.pool.stats().opened, 1);
        };
        tokio::select! {
            () = client => {}
            () = peer => unreachable!("the pool holds the connection"),
        }
    });
}

/// An upstream that speaks HTTP/2 over TLS, which takes as long as the test likes.
struct TlsRig {
    upstream: Upstream,
    pool: Rc<Pool>,
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl TlsRig {
    async fn new(ticker: Ticker) -> Self {
        let authority = super::tls::Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = upstream_config(url(true, "localhost", listener.local_addr().unwrap().port()));
        config.ca = vec![authority.certificate()];
        config.http = HttpVersion::Http2;
        let upstream = Upstream::with_authority(&config, fixed(&config), &connector(), "localhost".to_owned());
        TlsRig { upstream, pool: pool(&ticker), listener, acceptor: authority.acceptor(false, &[b"h2"]) }
    }

    async fn get(&self) -> Result<Answer, ExchangeError> {
        let headers = http::HeaderMap::new();
        let head = OutgoingHead {
            method: &http::Method::GET,
            target: "/",
            headers: &headers,
            over: [None; 3],
            wants_trailers: false,
        };
        self.upstream.exchange(Over::Any, &self.pool, &head, &mut OutgoingBody::empty(), &TIMEOUTS).await
    }
}

/// SEC-31: requests that wait for one connection share its failure, and do not try one after the other.
#[test]
fn those_who_wait_for_a_connection_fail_with_it() {
    in_paused_time(|ticker| async move {
        // Connections are taken by the kernel; nobody shakes hands.
        let rig = TlsRig::new(ticker).await;
        let begin = tokio::time::Instant::now();
        let get = || async { rig.get().await.unwrap_err() };
        let (a, b, c, d) = tokio::join!(get(), get(), get(), get());
        for error in [a, b, c, d] {
            assert_eq!((error.kind, error.nothing_sent), (ExchangeErrorKind::TlsTimeout, true));
        }
        let took = begin.elapsed();
        assert!(took >= TIMEOUTS.connect && took < TIMEOUTS.connect * 3 / 2, "{took:?}");
    });
}

/// SEC-31: as soon as the one attempt has failed, all who wait for it know; its error is theirs.
#[test]
fn a_failed_opening_is_shared_at_once() {
    on_worker(|ticker| async move {
        let rig = TlsRig::new(ticker).await;
        let peer = async {
            drop(rig.listener.accept().await.unwrap());
            rig.listener.accept().await.unwrap();
        };
        let get = || async { rig.get().await.unwrap_err() };
        let client = async { tokio::join!(get(), get(), get()) };
        tokio::select! {
            (a, b, c) = client => {
                assert!(a.kind != ExchangeErrorKind::ConnectTimeout && a.text == b.text && b.text == c.text, "{a:?}");
            }
            () = peer => panic!("another attempt for the same failure"),
        }
    });
}

/// A connection that is being opened for many is not given up with the request that was the first to want it.
#[test]
fn an_opening_goes_on_without_the_request_that_began_it() {
    on_worker(|ticker| async move {
        let rig = TlsRig::new(ticker).await;
        let stream = tokio::select! {
            _ = rig.get() => unreachable!("nobody has shaken hands"),
            accepted = rig.listener.accept() => accepted.unwrap().0,
        };
        let peer = async {
            let stream = rig.acceptor.accept(stream).await.unwrap();
            let mut connection = ::h2::server::handshake(stream).await.unwrap();
            while let Some(asked) = connection.accept().await {
                let (_, mut respond) = asked.unwrap();
                respond.send_response(http::Response::new(()), true).unwrap();
            }
        };
        let client = async {
            for answer in [rig.get().await, rig.get().await] {
                assert_eq!(answer.unwrap().status.as_u16(), 200);
            }
        };
        tokio::select! {
            () = client => {}
            () = peer => unreachable!("the pool holds the connection"),
        }
        assert_eq!(rig.pool.stats().opened, 1);
    });
}
