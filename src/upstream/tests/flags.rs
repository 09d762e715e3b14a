use http::Method;
use http_body::Frame;

use super::rig::*;
use crate::upstream::*;

/// SEC-31: nobody listens: nothing was sent, and a retry is safe.
#[test]
fn a_refused_connection_has_sent_nothing() {
    on_worker(|ticker| async move {
        let port = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().port()
        };
        let config = upstream_config(url(false, "127.0.0.1", port));
        let upstream = Upstream::with_authority(&config, fixed(&config), &connector(), "api.example".to_owned());
        let headers = http::HeaderMap::new();
        let head = OutgoingHead {
            method: &Method::POST,
            target: "/",
            headers: &headers,
            over: [None; 3],
            wants_trailers: false,
        };
        let mut body = OutgoingBody::empty();
        let error = upstream.exchange(Over::Any, &pool(&ticker), &head, &mut body, &TIMEOUTS).await.unwrap_err();
        assert_eq!((error.kind, error.nothing_sent, error.reused_closed), (ExchangeErrorKind::Connect, true, false));
        assert!(error.text.contains("connecting to 127.0.0.1:"), "{}", error.text);
    });
}

/// SEC-32: a reused connection that closes before the answer is told apart from a new one that does, and from one
/// that closes within the answer.
#[test]
fn only_a_reused_connection_that_closed_before_its_answer_is_marked_so() {
    for (reused, begun) in [(true, false), (false, false), (true, true)] {
        with_rig(|rig| async move {
            let peer = async {
                let mut peer = rig.accept().await;
                if reused {
                    peer.head().await;
                    peer.write(HELLO).await;
                }
                peer.head().await;
                if begun {
                    peer.write("HTTP/1.1 2").await;
                }
            };
            let client = async {
                if reused {
                    drop(rig.get().await.unwrap());
                }
                let error = rig.get().await.unwrap_err();
                assert_eq!(error.kind, ExchangeErrorKind::Closed);
                assert_eq!((error.reused_closed, error.nothing_sent), (reused && !begun, false));
            };
            tokio::join!(peer, client);
        });
    }
}

/// SEC-35: the answer is relayed, the upload stops, the connection is not reused.
#[test]
fn an_early_answer_stops_the_upload() {
    with_rig(|rig| async move {
        let (sender, mut body) = rig.body(None);
        let peer = async {
            let mut peer = rig.accept().await;
            peer.head().await;
            peer.body(5).await;
            peer.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
            peer.closed().await;
        };
        let client = async {
            sender.send(data("x")).await.unwrap();
            let answer = rig.send(Method::POST, &mut body).await.unwrap();
            assert_eq!(answer.status.as_u16(), 413);
            assert_eq!(collect(answer.body).await.unwrap().0, "big");
            assert_eq!(rig.idle(), 0);
        };
        tokio::join!(peer, client);
        assert!(body.is_kept(), "what was read can be sent again");
        assert_eq!(body.bytes(), 1);
    });
}

/// SEC-35: an upstream that answers, and closes without reading the rest, is heard.
#[test]
fn an_answer_is_read_even_if_writing_fails() {
    with_rig(|rig| async move {
        let (sender, mut body) = rig.body(Some(64 << 20));
        let peer = async {
            let mut peer = rig.accept().await;
            peer.head().await;
            peer.write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            peer
        };
        let client = async {
            let feed = async {
                let piece = Frame::data(bytes::Bytes::from(vec![0; 1 << 20]));
                while sender.send(Frame::data(piece.data_ref().unwrap().clone())).await.is_ok() {}
            };
            tokio::select! {
                answer = rig.send(Method::POST, &mut body) => assert_eq!(answer.unwrap().status.as_u16(), 401),
                () = feed => unreachable!("the receiver is alive"),
            }
        };
        tokio::join!(peer, client);
    });
}

/// SEC-36: whoever lets go of an exchange or of its answer closes the connection.
#[test]
fn dropping_an_exchange_or_its_body_closes_the_connection() {
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"] {
        with_rig(|rig| async move {
            let peer = async {
                let mut peer = rig.accept().await;
                peer.head().await;
                peer.write(answer).await;
                peer
            };
            if answer.is_empty() {
                let mut peer = tokio::select! {
                    _ = rig.get() => unreachable!("there is no answer"),
                    peer = peer => peer,
                };
                peer.closed().await;
            } else {
                let (answer, mut peer) = tokio::join!(rig.get(), peer);
                drop(answer);
                peer.closed().await;
            }
            assert_eq!(rig.idle(), 0);
        });
    }
}

/// SEC-36: a client that breaks off within its body leaves no complete request behind.
#[test]
fn a_body_of_another_length_than_announced_is_the_clients_fault() {
    for piece in ["hell", "hello!"] {
        with_rig(|rig| async move {
            let (sender, mut body) = rig.body(Some(5));
            sender.send(data(piece)).await.unwrap();
            drop(sender);
            let peer = async { rig.accept().await.closed().await };
            let (answer, ()) = tokio::join!(rig.send(Method::POST, &mut body), peer);
            assert_eq!(answer.unwrap_err().kind, ExchangeErrorKind::ClientBody);
        });
    }
}
