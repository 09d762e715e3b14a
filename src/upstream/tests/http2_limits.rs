//! How long an exchange over HTTP/2 may take, to the tick: as over HTTP/1.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use tokio::time::Instant;

use super::http2::{Http2Rig, in_paused_time_with_http2};
use super::rig::*;
use crate::upstream::*;

/// What a request fails with that has a task of its own, as it has in a worker: nothing that the peers do wakes it.
async fn failure_alone(rig: &Rc<Http2Rig>, mut body: OutgoingBody) -> ExchangeError {
    let rig = rig.clone();
    tokio::task::spawn_local(async move { rig.post(&mut body).await.unwrap_err() }).await.unwrap()
}

/// SEC-34: an upstream that never answers a request without a body, or stalls within its answer.
#[test]
fn silence_is_a_timeout() {
    in_paused_time_with_http2(|rig| async move {
        let peer = async {
            let mut peer = rig.accept(100).await;
            let (_, mut respond) = peer.asked().await;
            let (_, _silent) = peer.asked().await;
            peer.drive();
            let _send = respond.send_response(Response::new(()), false).unwrap();
            std::future::pending::<()>().await;
        };
        let client = async {
            let begin = Instant::now();
            let stalled = async {
                let answer = collect(rig.get().await.unwrap().body).await;
                assert_about(begin, TIMEOUTS.idle);
                answer
            };
            let (stalled, silent) = tokio::join!(stalled, rig.get());
            assert!(matches!(stalled, Err(AnswerBodyError::IdleTimeout)));
            assert_eq!(silent.unwrap_err().kind, ExchangeErrorKind::FirstByteTimeout);
            assert_about(begin, TIMEOUTS.first_byte);
        };
        tokio::select! {
            () = peer => unreachable!(),
            () = client => {}
        }
    });
}

/// How an exchange ends, and after how long, whose client sends "hello" after `pause` of a body of `length`, to an upstream that
/// keeps silent.
fn ends(length: u64, pause: Duration, kind: ExchangeErrorKind, after: Duration) {
    in_paused_time_with_http2(|rig| async move {
        let (sender, body) = rig.body(Some(length));
        let begin = Instant::now();
        let feed = async {
            tokio::time::sleep(pause).await;
            sender.send(data("hello")).await.unwrap();
            // That is the end of a body of five bytes; of a longer one more would have to come.
            let _stalled = (length > 5).then_some(sender);
            std::future::pending::<()>().await;
        };
        let error = tokio::select! {
            error = failure_alone(&rig, body) => error,
            () = feed => unreachable!(),
            () = async { rig.accept(100).await.keep_silent().await } => unreachable!(),
        };
        assert_eq!(error.kind, kind);
        assert_about(begin, after);
    });
}

/// SEC-34: the head's time begins when the body is complete, at once or later.
#[test]
fn no_head_in_time_after_a_body_is_a_timeout() {
    for pause in [0, 5].map(Duration::from_secs) {
        ends(5, pause, ExchangeErrorKind::FirstByteTimeout, pause + TIMEOUTS.first_byte);
    }
}

/// SEC-34: a client that stalls has its own time, from the last piece that it brought.
#[test]
fn a_client_that_stalls_within_its_body_is_a_timeout_of_its_own() {
    for pause in [0, 5].map(Duration::from_secs) {
        ends(10, pause, ExchangeErrorKind::ClientBodyTimeout, pause + CLIENT_IDLE);
    }
}

/// SEC-34: an upstream that grants a body no more room has the time of a stalled stream, from the last piece taken.
#[test]
fn an_upstream_that_takes_nothing_of_a_body_is_a_timeout() {
    in_paused_time_with_http2(|rig| async move {
        let (sender, body) = rig.body(None);
        let begin = Instant::now();
        let feed = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            while sender.send(Frame::data(Bytes::from_static(&[0; 1 << 14]))).await.is_ok() {}
            std::future::pending::<()>().await;
        };
        let error = tokio::select! {
            error = failure_alone(&rig, body) => error,
            () = feed => unreachable!(),
            () = async { rig.accept(100).await.keep_silent().await } => unreachable!(),
        };
        assert_eq!(error.kind, ExchangeErrorKind::FirstByteTimeout);
        assert_about(begin, Duration::from_secs(5) + TIMEOUTS.idle);
    });
}
