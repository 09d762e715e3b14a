use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// SEC-42: a panic ends the future that panicked, and is told apart from its result.
#[tokio::test]
async fn a_panic_is_caught_wherever_it_happens() {
    assert!(catching_panics(pin!(async { 1 })).await.is_ok_and(|value| value == 1));
    let late = async {
        tokio::task::yield_now().await;
        panic!("on purpose, by a test")
    };
    assert!(catching_panics::<()>(pin!(late)).await.is_err());
}

/// Refuses everything as `handle` does, and returns all that a client got that sent these pieces, each after something
/// came back for the one before. It leaves after so many answers; before that only the server can end the connection.
async fn refused(pieces: &[&str], answers: usize) -> String {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let service = hyper::service::service_fn(|request: Request<Incoming>| async move {
        let path = request.uri().path().to_owned();
        let has_body = !request.body().is_end_stream();
        drop(request);
        if has_body {
            let_hyper_drain_or_close().await;
        }
        Response::builder().status(404).header("x-path", path).body(Empty::<bytes::Bytes>::new())
    });
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
    let asking = async move {
        let mut got = String::new();
        let mut buffer = [0; 1024];
        let mut pieces = pieces.iter();
        loop {
            if let Some(piece) = pieces.next() {
                // The connection may be closed by now, which is what some of these are about.
                let _ = client.write_all(piece.as_bytes()).await;
            }
            let bytes = client.read(&mut buffer).await.unwrap_or(0);
            got.push_str(std::str::from_utf8(&buffer[..bytes]).unwrap());
            if bytes == 0 || got.matches("HTTP/1.1 ").count() == answers {
                return got;
            }
        }
    };
    let (_, got) = tokio::join!(serving, asking);
    got
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: p.test\r\n\r\n";

fn post(fields: &str) -> String {
    format!("POST /refused HTTP/1.1\r\nHost: p.test\r\n{fields}\r\n")
}

/// CL.0: the body of a refused request is never taken for a request. If it has arrived it is read, and the next request
/// on the connection is served.
#[tokio::test]
async fn a_refused_body_that_has_arrived_is_drained() {
    let length = format!("Content-Length: {}\r\n", SMUGGLED.len());
    let next = "GET /next HTTP/1.1\r\nHost: p.test\r\n\r\n";
    let got = refused(&[&(post(&length) + SMUGGLED + next)], 2).await;
    assert!(!got.contains("/smuggled"), "{got}");
    assert!(got.contains("/refused") && got.contains("/next"), "{got}");
}

/// CL.0: what has not arrived when a request is refused is not waited for: the answer says that the connection closes.
#[tokio::test]
async fn a_refused_body_that_is_still_on_its_way_ends_the_connection() {
    let length = format!("Content-Length: {}\r\n", SMUGGLED.len());
    for head in
        [post(&length), post(&format!("{length}Expect: 100-continue\r\n")), post("Transfer-Encoding: chunked\r\n")]
    {
        let got = refused(&[&head, SMUGGLED], usize::MAX).await;
        assert!(got.starts_with("HTTP/1.1 404"), "no interim answer comes first: {got}");
        assert!(got.contains("connection: close"), "{got}");
        assert!(!got.contains("/smuggled"), "{got}");
    }
}
