use std::future::poll_fn;
use std::time::Duration;

use http::Method;
use http_body::Body;

use super::rig::*;

#[test]
fn a_connection_serves_one_request_after_the_other() {
    with_rig(|rig| async move {
        let peer = async {
            let mut peer = rig.accept().await;
            for _ in 0..3 {
                assert_eq!(peer.head().await, "GET /a HTTP/1.1\r\nhost: api.example\r\n\r\n");
                peer.write(HELLO).await;
            }
            peer
        };
        let client = async {
            for index in 0..3 {
                let answer = rig.get().await.unwrap();
                assert_eq!((answer.status.as_u16(), answer.reused), (200, index > 0));
                assert_eq!((rig.idle(), answer.body.size_hint().exact()), (1, Some(5)), "back before it is read");
                assert_eq!(collect(answer.body).await.unwrap().0, "hello");
            }
        };
        let _peer = tokio::join!(peer, client);
        assert_eq!((rig.pool.stats().opened, rig.pool.stats().reused), (1, 2));
    });
}

#[test]
fn a_streamed_answer_gives_its_connection_back_with_its_last_byte() {
    let table = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", "llo"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", "3\r\nllo\r\n0\r\n\r\n"),
    ];
    for (first, second) in table {
        with_rig(|rig| async move {
            let peer = async {
                let mut peer = rig.accept().await;
                peer.head().await;
                peer.write(first).await;
                peer
            };
            let (answer, mut peer) = tokio::join!(rig.get(), peer);
            let mut body = answer.unwrap().body;
            let mut next = async || poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await;
            assert_eq!(next().await.unwrap().unwrap().into_data().unwrap(), "he");
            assert_eq!(rig.idle(), 0);
            peer.write(second).await;
            assert_eq!(next().await.unwrap().unwrap().into_data().unwrap(), "llo");
            assert!(body.is_end_stream());
            assert_eq!(rig.idle(), 1);
        });
    }
}

/// SEC "bytes after a complete answer": attacks R04, R05, R06 and their relatives never reach the next client.
#[test]
fn bytes_behind_a_complete_answer_kill_the_connection() {
    let table = [
        (Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokPOISON", 200, "ok"),
        (Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nPOISON", 200, ""),
        (Method::GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nPOISON", 200, "ok"),
        (Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON", 200, ""),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON", 204, ""),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\nPOISON", 304, ""),
    ];
    for (method, answer, status, body) in table {
        with_rig(|rig| async move {
            let answer = rig.answered(method, answer, false).await.unwrap();
            assert_eq!(answer.status.as_u16(), status);
            assert_eq!(collect(answer.body).await.unwrap().0, body);
            assert_eq!(rig.idle(), 0);
        });
    }
}

/// SEC "bytes on an idle pooled connection", SEC-32: what happened while it was idle is seen before it is used.
#[test]
fn a_connection_that_was_closed_or_spoke_while_idle_is_not_used() {
    for close in [true, false] {
        with_rig(|rig| async move {
            let peer = async {
                let mut peer = rig.accept().await;
                peer.head().await;
                peer.write(HELLO).await;
                peer
            };
            let (answer, mut first) = tokio::join!(rig.get(), peer);
            drop(answer.unwrap());
            assert_eq!(rig.idle(), 1);
            if close {
                drop(first);
            } else {
                first.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON").await;
            }
            turn().await;
            let answer = rig.answered(Method::POST, HELLO, false).await.unwrap();
            assert!(!answer.reused);
            assert_eq!(collect(answer.body).await.unwrap().0, "hello");
        });
    }
}

#[test]
fn idle_connections_are_closed_in_time_and_earlier_if_the_upstream_says_so() {
    let table = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 54, 60),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=5\r\n\r\n", 3, 6),
    ];
    for (head, kept, closed) in table {
        with_rig_in_paused_time(|rig| async move {
            rig.answered(Method::GET, head, false).await.unwrap();
            tokio::time::advance(Duration::from_millis(100)).await;
            assert_eq!(rig.idle(), 1);
            tokio::time::sleep(Duration::from_secs(kept)).await;
            assert_eq!(rig.idle(), 1, "after {kept} s");
            tokio::time::sleep(Duration::from_secs(closed - kept)).await;
            assert_eq!(rig.idle(), 0, "after {closed} s");
        });
    }
}

/// SEC-20: a connection is retired after five minutes, whether it is idle or in use then.
#[test]
fn old_connections_are_retired() {
    with_rig(|rig| async move {
        let client = async {
            drop(rig.get().await.unwrap());
            rig.pool.age(299);
            assert!(rig.get().await.unwrap().reused);
            rig.pool.age(1);
            assert!(!rig.get().await.unwrap().reused);
            assert_eq!(rig.idle(), 1);
        };
        tokio::select! {
            () = rig.serve() => {}
            () = client => {}
        }
        let peer = async {
            let mut peer = rig.accept().await;
            peer.head().await;
            peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").await;
            peer
        };
        rig.close_idle();
        let (answer, mut peer) = tokio::join!(rig.get(), peer);
        rig.pool.age(300);
        peer.write("k").await;
        collect(answer.unwrap().body).await.unwrap();
        assert_eq!(rig.idle(), 0);
    });
}

#[test]
fn the_pool_is_bounded() {
    with_rig(|rig| async move {
        let mut peers = Vec::new();
        let mut answers = Vec::new();
        for _ in 0..520 {
            let peer = async {
                let mut peer = rig.accept().await;
                peer.head().await;
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").await;
                peer
            };
            let (answer, peer) = tokio::join!(rig.get(), peer);
            answers.push(answer.unwrap());
            peers.push(peer);
        }
        for (answer, peer) in answers.into_iter().zip(&mut peers) {
            peer.write("k").await;
            collect(answer.body).await.unwrap();
        }
        assert_eq!(rig.idle(), 512);
    });
}
