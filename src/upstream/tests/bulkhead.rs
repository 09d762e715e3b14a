//! How many connections may be open, and what happens where there is no room for another (SEC-41).

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::rig::*;
use crate::clock::ManualClock;
use crate::config::HttpVersion;
use crate::upstream::*;

const ENDLESS: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no";

/// SEC-41: beyond the bound a request fails without a connection, after a second in which a permit could have come free;
/// what is in use is not touched.
#[test]
fn no_more_connections_are_opened_than_are_permitted() {
    with_rig_in_paused_time(|rig| async move {
        rig.bulkhead.set_max(1);
        let first = rig.answered(Method::GET, ENDLESS, false).await.unwrap();
        let begin = tokio::time::Instant::now();
        let error = rig.get().await.unwrap_err();
        assert_eq!((error.kind, error.nothing_sent), (ExchangeErrorKind::NoDescriptor, true));
        assert_eq!(begin.elapsed().as_secs(), 1);
        assert_eq!((rig.bulkhead.taken(), rig.bulkhead.refused(), rig.pool.stats().opened), (1, 1, 1));
        drop(first);
        assert_eq!(rig.bulkhead.taken(), 0, "its connection was closed");
        rig.answered(Method::GET, HELLO, false).await.unwrap();
        assert_eq!((rig.bulkhead.taken(), rig.idle()), (1, 1), "an idle connection keeps its permit");
    });
}

/// SEC-41: a request that waits gets the permit of one that ends, or the connection itself if that is kept.
#[test]
fn whoever_waits_gets_what_others_no_longer_need() {
    for kept in [false, true] {
        with_rig(|rig| async move {
            rig.bulkhead.set_max(1);
            let (first, mut peer) = rig.held().await;
            let end = async {
                while rig.bulkhead.wants().is_empty() {
                    tokio::task::yield_now().await;
                }
                if kept {
                    peer.write("k").await;
                    collect(first.body).await.unwrap();
                } else {
                    drop(first);
                    peer = rig.accept().await;
                }
                peer.head().await;
                peer.write(HELLO).await;
            };
            let (second, ()) = tokio::join!(rig.get(), end);
            assert_eq!(second.unwrap().reused, kept);
            assert_eq!((rig.bulkhead.taken(), rig.bulkhead.refused()), (1, 0));
        });
    }
}

/// SEC-41: a connection whose last answer was followed by more than it announced goes to nobody who waits.
#[test]
fn whoever_waits_gets_no_connection_that_is_not_quiet() {
    with_rig(|rig| async move {
        rig.bulkhead.set_max(1);
        let (first, mut peer) = rig.held().await;
        let end = async {
            while rig.bulkhead.wants().is_empty() {
                tokio::task::yield_now().await;
            }
            peer.write("kHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            collect(first.body).await.unwrap();
            let mut peer = rig.accept().await;
            peer.head().await;
            peer.write(HELLO).await;
            peer
        };
        let (second, _peer) = tokio::join!(rig.get(), end);
        let second = second.unwrap();
        assert!(!second.reused);
        assert_eq!(collect(second.body).await.unwrap().0, "hello");
    });
}

/// SEC-41: who began to wait before a worker had opened anything is heard by it all the same.
#[test]
fn who_waited_before_a_worker_had_anything_is_heard() {
    with_rig(|rig| async move {
        rig.bulkhead.set_max(0);
        let another_worker = Pool::new(rig.ticker.clone(), rig.bulkhead.clone());
        let all_wait = async {
            while rig.bulkhead.wants().iter().map(|want| want.count).sum::<usize>() < 2 {
                tokio::task::yield_now().await;
            }
            rig.bulkhead.set_max(1);
            rig.serve().await;
        };
        let both = async {
            tokio::join!(async { collect(rig.get().await.unwrap().body).await.unwrap() }, async {
                collect(get(&rig.upstream, &another_worker).await.unwrap().body).await.unwrap()
            },)
        };
        tokio::select! {
            biased;
            _ = both => {}
            () = all_wait => unreachable!("it serves for ever"),
        }
        assert_eq!(rig.bulkhead.refused(), 0);
    });
}

/// SEC-41: a request whose upstream's name is being resolved takes nothing yet from those who could connect.
#[test]
fn a_name_is_resolved_before_a_permit_is_taken() {
    with_rig(|rig| async move {
        rig.bulkhead.set_max(0);
        let connector = Connector::with_names(
            &config::Egress::default(),
            Arc::new(ManualClock::at(SystemTime::UNIX_EPOCH)),
            Handle::current(),
            Names::Fixed(Arc::default()),
        );
        let config = upstream_config(url(false, "nowhere.example", 80));
        let upstream = Upstream::new(&config, fixed(&config), &connector);
        let error = get(&upstream, &rig.pool).await.unwrap_err();
        assert_eq!((error.kind, rig.bulkhead.refused()), (ExchangeErrorKind::Resolve, 0));
    });
}

/// SEC-45: an upstream that does not answer takes neither all permits nor what lies idle for another one.
#[test]
fn a_slow_upstream_leaves_room_for_others() {
    with_rig_in_paused_time(|rig| async move {
        rig.bulkhead.set_max(10);
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let slow = Rc::new(upstream_at(silent.local_addr().unwrap(), &rig.upstream));
        let healthy = async {
            collect(rig.get().await.unwrap().body).await.unwrap();
            let (sender, mut refused) = mpsc::channel(10);
            for _ in 0..10 {
                let (slow, pool, sender) = (slow.clone(), rig.pool.clone(), sender.clone());
                tokio::task::spawn_local(async move {
                    let error = get(&slow, &pool).await.unwrap_err();
                    sender.send(error.kind).await.unwrap();
                });
            }
            for _ in 0..2 {
                assert_eq!(refused.recv().await.unwrap(), ExchangeErrorKind::NoDescriptor);
            }
            assert_eq!((rig.idle(), rig.bulkhead.taken()), (1, 9));
            let (one, other) = tokio::join!(rig.get(), rig.get());
            let reused = [one.unwrap().reused, other.unwrap().reused];
            assert!(reused.contains(&true) && reused.contains(&false), "its connection is there, and room for another");
        };
        tokio::select! {
            () = healthy => {}
            () = rig.serve() => {}
        }
    });
}

/// SEC-41: a connection that could not be opened keeps no permit.
#[test]
fn a_failed_attempt_gives_its_permit_back() {
    with_rig(|rig| async move {
        let port = rig.listener.local_addr().unwrap().port();
        let elsewhere = upstream_at(SocketAddr::from(([127, 0, 0, 9], port)), &rig.upstream);
        let error = get(&elsewhere, &rig.pool).await.unwrap_err();
        assert_eq!((error.kind, rig.bulkhead.taken()), (ExchangeErrorKind::Connect, 0));
    });
}

/// SEC-41: what lies idle makes way for another key's request.
#[test]
fn idle_connections_make_way() {
    with_rig(|rig| async move {
        rig.bulkhead.set_max(1);
        rig.answered(Method::GET, HELLO, false).await.unwrap();
        assert!(!get_elsewhere(&rig.upstream, &rig.pool).await.reused);
        assert_eq!((rig.bulkhead.taken(), rig.bulkhead.refused(), rig.pool.stats().opened), (1, 0, 2));
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

/// SEC-41: what lies idle in another worker makes way while the request waits, whichever version of HTTP it speaks.
#[test]
fn what_another_worker_lacks_is_given_up() {
    for http2 in [false, true] {
        with_rig(|rig| async move {
            rig.bulkhead.set_max(1);
            match http2 {
                false => drop(rig.answered(Method::GET, HELLO, false).await.unwrap()),
                true => get_by_http2(&rig).await,
            }
            turn().await;
            assert_eq!((rig.bulkhead.taken(), rig.idle()), (1, 1));
            let another_worker = Pool::new(rig.ticker.clone(), rig.bulkhead.clone());
            assert!(!get_elsewhere(&rig.upstream, &another_worker).await.reused);
            assert_eq!((rig.bulkhead.taken(), rig.idle(), rig.bulkhead.refused()), (1, 0, 0));
        });
    }
}

/// SEC-41: no more is closed than is wanted, and what has been idle for longest, of whatever upstream.
#[test]
fn as_many_make_way_as_are_wanted() {
    for in_another_worker in [false, true] {
        with_rig_in_paused_time(|rig| async move {
            rig.bulkhead.set_max(3);
            let oldest = get_elsewhere(&rig.upstream, &rig.pool).await;
            collect(oldest.body).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let (one, other) = (rig.held().await, rig.held().await);
            for (answer, mut peer) in [one, other] {
                peer.write("k").await;
                collect(answer.body).await.unwrap();
                std::mem::forget(peer);
            }
            assert_eq!((rig.bulkhead.taken(), rig.idle()), (3, 3));
            let pool = match in_another_worker {
                true => Pool::new(rig.ticker.clone(), rig.bulkhead.clone()),
                false => rig.pool.clone(),
            };
            get_elsewhere(&rig.upstream, &pool).await;
            let own = rig.upstream.opener.slot;
            assert_eq!((rig.bulkhead.taken(), rig.idle()), (3, if in_another_worker { 2 } else { 3 }));
            assert!(rig.pool.take(own, None).is_some() && rig.pool.take(own, None).is_some());
        });
    }
}

/// SEC-41: where an upstream has an HTTP/2 connection, a request that finds no permit for another queues there at once,
/// as it would on the last one that there may be.
#[test]
fn a_request_queues_where_it_cannot_open_a_connection() {
    with_rig(|rig| async move {
        rig.bulkhead.set_max(1);
        let upstream = http2_upstream(&rig);
        let peer = async {
            let (stream, _) = rig.listener.accept().await.unwrap();
            let mut connection =
                ::h2::server::Builder::new().max_concurrent_streams(1).handshake::<_, Bytes>(stream).await.unwrap();
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            respond.send_response(http::Response::new(()), true).unwrap();
            let (_, mut held) = connection.accept().await.unwrap().unwrap();
            let answering = async {
                while rig.pool.stats().reused < 4 {
                    assert!(rig.bulkhead.wants().is_empty(), "nobody waits for a permit");
                    tokio::task::yield_now().await;
                }
                held.send_response(http::Response::new(()), true).unwrap();
                std::future::pending().await
            };
            let serving = async {
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    respond.send_response(http::Response::new(()), true).unwrap();
                }
            };
            tokio::join!(answering, serving)
        };
        let client = async {
            get(&upstream, &rig.pool).await.unwrap();
            let ask = || get(&upstream, &rig.pool);
            let (a, b, c, d) = tokio::join!(ask(), ask(), ask(), ask());
            for answer in [a, b, c, d] {
                assert_eq!(answer.unwrap().status, 200);
            }
        };
        tokio::select! {
            ((), ()) = peer => unreachable!("the pool holds the connection"),
            () = client => {}
        }
        assert_eq!((rig.pool.stats().opened, rig.bulkhead.refused()), (1, 0));
    });
}

/// SEC-31: of the requests that wait for a stream when the upstream closes the connection, none was sent.
#[test]
fn requests_that_wait_for_a_stream_of_a_closing_connection_have_sent_nothing() {
    with_rig(|rig| async move {
        rig.bulkhead.set_max(1);
        let upstream = http2_upstream(&rig);
        let peer = async {
            let (stream, _) = rig.listener.accept().await.unwrap();
            let mut connection =
                ::h2::server::Builder::new().max_concurrent_streams(1).handshake::<_, Bytes>(stream).await.unwrap();
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            respond.send_response(http::Response::new(()), true).unwrap();
            let (_, mut held) = connection.accept().await.unwrap().unwrap();
            while rig.pool.stats().reused < 3 {
                tokio::task::yield_now().await;
            }
            connection.graceful_shutdown();
            held.send_response(http::Response::new(()), true).unwrap();
            while let Some(Ok((_, _unanswered))) = connection.accept().await {}
        };
        let client = async {
            get(&upstream, &rig.pool).await.unwrap();
            let ask = || get(&upstream, &rig.pool);
            let (held, one, other) = tokio::join!(ask(), ask(), ask());
            held.unwrap();
            [one.unwrap_err(), other.unwrap_err()]
        };
        let ((), errors) = tokio::join!(peer, client);
        for error in errors {
            assert!(error.nothing_sent && error.connection_ends, "{error:?}");
        }
    });
}

/// SEC-43: of the requests that are refused the first one is told from the others, and again after it had been over.
#[test]
fn refusals_are_news_once_an_episode() {
    with_rig_in_paused_time(|rig| async move {
        rig.answered(Method::GET, HELLO, false).await.unwrap();
        rig.close_idle();
        rig.bulkhead.set_max(0);
        for _ in 0..2 {
            assert!(rig.bulkhead.refuse());
            for _ in 0..3 {
                assert_eq!(rig.get().await.unwrap_err().kind, ExchangeErrorKind::NoDescriptor);
                assert!(!rig.bulkhead.refuse());
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    });
}

fn http2_upstream(rig: &Rig) -> Upstream {
    let mut config = upstream_config(url(false, "127.0.0.1", rig.listener.local_addr().unwrap().port()));
    config.http = HttpVersion::Http2;
    Upstream::new(&config, fixed(&config), &rig.upstream.opener.connector)
}

/// A request to the rig's address by HTTP/2, answered. Its connection goes on.
async fn get_by_http2(rig: &Rig) {
    let upstream = http2_upstream(rig);
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
        child.args(["upstream::tests::bulkhead::running_out_of_descriptors_is_not_the_upstreams_fault", "--exact"]);
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
        assert_eq!((error.kind, rig.bulkhead.taken()), (ExchangeErrorKind::NoDescriptor, 0), "{error:?}");
        assert_eq!(rig.bulkhead.refused(), 1);
        filled.truncate(filled.len() - 8);
        rig.answered(Method::GET, HELLO, false).await.unwrap();
    });
}

/// Another key of the same pool: the connector tells keys apart.
fn upstream_at(address: SocketAddr, other: &Upstream) -> Upstream {
    let config = upstream_config(url(false, &address.ip().to_string(), address.port()));
    Upstream::new(&config, fixed(&config), &other.opener.connector)
}
