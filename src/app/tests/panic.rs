//! A panic within one request.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

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
