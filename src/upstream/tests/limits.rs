use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body::Frame;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::rig::*;
use crate::upstream::*;

/// SEC-34: an upstream that never answers, or never finishes its head.
#[test]
fn no_head_in_time_is_a_timeout() {
    for answer in ["", "HTTP/1.1 200 OK\r\nX", "HTTP/1.1 100 Continue\r\n\r\n"] {
        with_rig_in_paused_time(|rig| async move {
            let begin = Instant::now();
            let error = rig.answered(Method::GET, answer, false).await.unwrap_err();
            assert_eq!(error.kind, ExchangeErrorKind::FirstByteTimeout);
            assert_about(begin, TIMEOUTS.first_byte);
        });
    }
}

/// How an exchange ends, and after how long, whose client sends "hello" after 5 s of a body of `length`, to an upstream that keeps
/// silent.
fn ends(length: u64, kind: ExchangeErrorKind, after: Duration) {
    with_rig_in_paused_time(|rig| async move {
        let (sender, mut body) = rig.body(Some(length));
        let begin = Instant::now();
        let feed = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            sender.send(data("hello")).await.unwrap();
        };
        let peer = async { rig.accept().await.closed().await };
        let (answer, (), ()) = tokio::join!(rig.send(Method::POST, &mut body), feed, peer);
        assert_eq!(answer.unwrap_err().kind, kind);
        assert_about(begin, after);
    });
}

/// SEC-34: once the body is complete, the head has its own time, however long the body took.
#[test]
fn no_head_in_time_after_a_body_is_a_timeout() {
    ends(5, ExchangeErrorKind::FirstByteTimeout, Duration::from_secs(5) + TIMEOUTS.first_byte);
}

/// SEC-34: an upstream that stalls within its answer; progress begins the time anew.
#[test]
fn a_stalled_answer_is_a_timeout() {
    with_rig_in_paused_time(|rig| async move {
        let peer = async {
            let mut peer = rig.accept().await;
            peer.head().await;
            peer.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await;
            for _ in 0..5 {
                peer.write("piece").await;
                tokio::time::sleep(Duration::from_secs(8)).await;
            }
            let begin = Instant::now();
            peer.closed().await;
            begin.elapsed()
        };
        let client = async { collect(rig.get().await.unwrap().body).await };
        let (silent, body) = tokio::join!(peer, client);
        assert!(matches!(body, Err(AnswerBodyError::IdleTimeout)), "{body:?}");
        assert!(silent < Duration::from_secs(3), "it had waited for 8 of 10 s already, and then for {silent:?}");
    });
}

#[test]
fn a_client_that_stalls_within_its_body_is_a_timeout_of_its_own() {
    ends(10, ExchangeErrorKind::ClientBodyTimeout, Duration::from_secs(5) + CLIENT_IDLE);
}

#[test]
fn an_upstream_that_takes_nothing_of_a_body_is_a_timeout_and_holds_the_client_back() {
    with_rig_in_paused_time(|rig| async move {
        let (sender, mut body) = rig.body(None);
        let fed = Cell::new(0);
        let feed = async {
            loop {
                sender.send(Frame::data(Bytes::from(vec![0; 1 << 18]))).await.unwrap();
                fed.set(fed.get() + (1 << 18));
            }
        };
        let peer = async {
            let _peer = rig.accept().await;
            std::future::pending::<()>().await;
        };
        let error = tokio::select! {
            answer = rig.send(Method::POST, &mut body) => answer.unwrap_err(),
            () = feed => unreachable!(),
            () = peer => unreachable!(),
        };
        assert_eq!(error.kind, ExchangeErrorKind::FirstByteTimeout);
        assert!(fed.get() < 16 << 20, "{} bytes were taken from the client", fed.get());
    });
}

#[test]
fn an_answer_that_nobody_reads_is_not_read_ahead() {
    with_rig_in_paused_time(|rig| async move {
        let peer = async {
            let mut peer = rig.accept().await;
            peer.head().await;
            peer.write("HTTP/1.1 200 OK\r\n\r\n").await;
            peer
        };
        let (answer, mut peer) = tokio::join!(rig.get(), peer);
        let answer = answer.unwrap();
        let piece = vec![0; 1 << 18];
        let mut written = 0;
        while let Ok(Ok(())) = tokio::time::timeout(Duration::from_secs(1), peer.stream.write_all(&piece)).await {
            written += piece.len();
            assert!(written < 64 << 20, "{written} bytes were read ahead");
        }
        // A slow client is not the upstream's fault.
        tokio::time::sleep(TIMEOUTS.idle * 2).await;
        drop(peer);
        assert!(collect(answer.body).await.is_ok());
    });
}
