//! How many connections may be open, and what happens where there is no room for another (SEC-41).

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Method};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::rig::*;
use crate::config::HttpVersion;
use crate::upstream::*;

const ENDLESS: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no";

/// SEC-41: beyond the bound a request fails at once, without a connection; what is in use is not touched, and a place that
/// is free again is taken.
#[test]
fn no_more_connections_are_opened_than_there_are_places() {
    with_rig(|rig| async move {
        rig.places.set_max(1);
        let first = rig.answered(Method::GET, ENDLESS, false).await.unwrap();
        let error = rig.get().await.unwrap_err();
        assert_eq!((error.kind, error.nothing_sent), (ExchangeErrorKind::NoDescriptor, true));
        assert_eq!((rig.places.taken(), rig.places.refused(), rig.pool.stats().opened), (1, 1, 1));
        drop(first);
        assert_eq!(rig.places.taken(), 0, "its connection was closed");
        rig.answered(Method::GET, HELLO, false).await.unwrap();
        assert_eq!((rig.places.taken(), rig.idle()), (1, 1), "an idle connection keeps its place");
    });
}

/// SEC-41: a connection that could not be opened keeps no place.
#[test]
fn a_failed_attempt_gives_its_place_back() {
    with_rig(|rig| async move {
        let port = rig.listener.local_addr().unwrap().port();
        let elsewhere = upstream_at(SocketAddr::from(([127, 0, 0, 9], port)), &rig.upstream);
        let error = get(&elsewhere, &rig.pool).await.unwrap_err();
        assert_eq!((error.kind, rig.places.taken()), (ExchangeErrorKind::Connect, 0));
    });
}

/// SEC-41: what lies idle makes way for another key's request.
#[test]
fn idle_connections_make_way() {
    with_rig(|rig| async move {
        rig.places.set_max(1);
        rig.answered(Method::GET, HELLO, false).await.unwrap();
        assert!(!get_elsewhere(&rig.upstream, &rig.pool).await.reused);
        assert_eq!((rig.places.taken(), rig.places.refused(), rig.pool.stats().opened), (1, 0, 2));
    });
}

/// A request to an upstream beside this one over the same pool, answered.
async fn get_elsewhere(other: &Upstream, pool: &Rc<Pool>) -> Answer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        // An answer that comes before its request closes the connection.
        assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
        stream.write_all(HELLO.as_bytes()).await.unwrap();
        stream
    };
    let upstream = upstream_at(listener.local_addr().unwrap(), other);
    let (answer, _peer) = tokio::join!(get(&upstream, pool), peer);
    answer.unwrap()
}

/// SEC-41: when another worker lacked a place, this one closes what lies idle, whichever version of HTTP it speaks.
#[test]
fn what_another_worker_lacks_is_given_up() {
    with_rig_in_paused_time(|rig| async move {
        rig.answered(Method::GET, HELLO, false).await.unwrap();
        get_by_http2(&rig).await;
        turn().await;
        assert_eq!((rig.places.taken(), rig.idle()), (2, 2));
        rig.places.refuse();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!((rig.places.taken(), rig.idle()), (0, 0));
        rig.answered(Method::GET, HELLO, false).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(rig.idle(), 1, "it is done once for each time");
    });
}

/// A request to the rig's address by HTTP/2, answered. Its connection goes on.
async fn get_by_http2(rig: &Rig) {
    let mut config = upstream_config(url(false, "127.0.0.1", rig.listener.local_addr().unwrap().port()));
    config.http = HttpVersion::Http2;
    let upstream = Upstream::new(&config, &rig.upstream.opener.connector);
    let peer = async {
        let (stream, _) = rig.listener.accept().await.unwrap();
        let mut connection = ::h2::server::handshake(stream).await.unwrap();
        tokio::task::spawn_local(async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_response(http::Response::new(()), true).unwrap();
            }
        });
    };
    let (answer, ()) = tokio::join!(get(&upstream, &rig.pool), peer);
    answer.unwrap();
}

/// SEC-41: without descriptors a connection fails for our own sake, not for the upstream's.
#[test]
fn running_out_of_descriptors_is_not_the_upstreams_fault() {
    // The limit is the whole process's, so this needs one of its own.
    if std::env::var_os("ATTACHE_TEST_CHILD").is_none() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["upstream::tests::places::running_out_of_descriptors_is_not_the_upstreams_fault", "--exact"]);
        let output = child.arg("--nocapture").env("ATTACHE_TEST_CHILD", "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        return assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
    with_rig(|rig| async move {
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum }).unwrap();
        let mut filled = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            filled.push(file);
        }
        let error = rig.get().await.unwrap_err();
        assert_eq!((error.kind, rig.places.taken()), (ExchangeErrorKind::NoDescriptor, 0), "{error:?}");
        assert_eq!(rig.places.refused(), 1);
        filled.truncate(filled.len() - 8);
        rig.answered(Method::GET, HELLO, false).await.unwrap();
    });
}

/// Another key of the same pool: the connector tells keys apart.
fn upstream_at(address: SocketAddr, other: &Upstream) -> Upstream {
    let config = upstream_config(url(false, &address.ip().to_string(), address.port()));
    Upstream::new(&config, &other.opener.connector)
}

async fn get(upstream: &Upstream, pool: &Rc<Pool>) -> Result<Answer, ExchangeError> {
    let headers = HeaderMap::new();
    let head =
        OutgoingHead { method: &Method::GET, target: "/a", headers: &headers, over: [None; 3], wants_trailers: false };
    upstream.exchange(pool, &head, &mut OutgoingBody::empty(), &TIMEOUTS).await
}
