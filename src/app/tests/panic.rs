//! A panic within one request.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

/// SEC-42: over HTTP/1 too: the answer that streams on the same worker ends well, and the panic's own connection goes on.
#[test]
fn a_panic_over_http_1_ends_its_own_request_only() {
    let rig = Rig::start("[server]\nworkers = 1\n");
    let mut streaming = rig.client();
    streaming.send("GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(streaming.head().status, 200);
    let go_on = rig.upstream.slow.recv().unwrap();
    let mut client = rig.client();
    let failed = client.ask("GET /x HTTP/1.1\r\nHost: a\r\nX-Test-Panic: 1\r\n\r\n");
    assert_eq!(failed.status, 500);
    assert!(failed.body.contains("urn:attache:problem:internal_error"), "{}", failed.body);
    assert_eq!(client.get("/x").body, "hello");
    go_on.send(()).unwrap();
    assert_eq!(streaming.rest().unwrap(), "5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\n");
}

/// SEC-42: a panic is a 500 for its own request; others on the same connection, and so on the same worker, go on.
#[test]
fn a_panic_ends_its_own_request_only() {
    let rig = Rig::start("");
    let request = |path: &str| Request::get(format!("http://localhost{path}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(rig.running().addresses()[0]).await.unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
        let connection = tokio::spawn(connection);
        let slow = sender.send_request(request("/slow").body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        let go_on = rig.upstream.slow.recv().unwrap();

        let panicking = request("/x").header("x-test-panic", "1").body(Empty::new()).unwrap();
        let failed = sender.send_request(panicking).await.unwrap();
        assert_eq!(failed.status(), 500);
        let problem = failed.into_body().collect().await.unwrap().to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&problem).unwrap();
        assert_eq!(
            (&problem["type"], &problem["fault"]),
            (&"urn:attache:problem:internal_error".into(), &"proxy".into())
        );

        let next = sender.send_request(request("/x").body(Empty::new()).unwrap()).await.unwrap();
        assert_eq!(next.status(), 200);
        assert_eq!(next.into_body().collect().await.unwrap().to_bytes(), "hello");
        go_on.send(()).unwrap();
        assert_eq!(slow.into_body().collect().await.unwrap().to_bytes(), "firstlast");
        drop(sender);
        connection.await.unwrap().expect("a graceful end");
    });
    assert!(rig.admin("/metrics").body.contains("attache_panics_total 1\n"));
}
