//! HTTP/1: keep-alive, pipelining, deadlines, aborted and early answers.

use super::*;

#[test]
fn requests_follow_each_other_on_one_connection_and_may_be_pipelined() {
    on_a_worker(async {
        let server = Server::start(hello);
        let mut client = server.connect().await;
        client.send(GET).await;
        assert!(client.answer().await.starts_with("HTTP/1.1 200 OK\r\n"));
        client.send(&GET.repeat(3)).await;
        let answers = client.read_until(|text| text.matches("hello").count() == 3).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3);
        assert_eq!(server.shared.metrics.connections_accepted.get(), 1);
    });
}

#[test]
fn a_head_that_trickles_in_is_cut_off_10_seconds_after_its_first_byte() {
    on_a_worker(async {
        let server = Server::start(hello);
        let mut client = server.connect().await;
        // Silence before the first byte does not count.
        tokio::time::sleep(Duration::from_secs(9)).await;
        let begun = Instant::now();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
        let (mut read, mut write) = client.tcp.split();
        let trickle = async {
            // A byte each second is progress, and does not move the deadline.
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if write.write_all(b"x").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let mut rest = Vec::new();
        let closed = async {
            let _ = read.read_to_end(&mut rest).await;
        };
        tokio::select! { () = trickle => {}, () = closed => {} }
        assert_about(begun.elapsed(), 10);
        assert_eq!(server.shared.metrics.header_timeouts.get(), 1);
    });
}

#[test]
fn a_later_head_has_the_same_deadline_and_idleness_before_it_has_its_own() {
    on_a_worker(async {
        let server = Server::start(hello);
        let mut client = server.connect().await;
        for _ in 0..3 {
            client.send(GET).await;
            client.answer().await;
            tokio::time::sleep(Duration::from_secs(70)).await;
        }
        let begun = Instant::now();
        client.send("GET").await;
        assert_about(client.closed_after(begun).await, 10);
    });
}

/// RFC 9112 section 9.3: whoever needs the connection's end to know the answer's end is not told that it is kept.
#[test]
fn an_http_1_0_connection_is_kept_only_after_an_answer_with_a_length() {
    on_a_worker(async {
        let server = Server::start(|request: Request<Incoming>| async move {
            let mut text = (request.uri().path() == "/streamed").then_some(Ok(Bytes::from_static(b"hello")));
            if text.is_none() { full("hello") } else { streamed(move |_| Poll::Ready(text.take())) }
        });
        let mut client = server.connect().await;
        for _ in 0..2 {
            client.send("GET /whole HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
            let answer = client.answer().await;
            assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.contains("connection: keep-alive"), "{answer}");
        }
        client.send("GET /streamed HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"), "{answer}");
        assert!(!answer.contains("keep-alive"), "{answer}");
    });
}

#[test]
fn an_idle_connection_is_closed_after_75_seconds() {
    on_a_worker(async {
        let server = Server::start(hello);
        let mut client = server.connect().await;
        client.send(GET).await;
        client.answer().await;
        let answered = Instant::now();
        assert_about(client.closed_after(answered).await, 75);
    });
}

#[test]
fn a_connection_that_never_says_anything_is_closed_after_10_seconds() {
    on_a_worker(async {
        let server = Server::start(hello);
        let mut client = server.connect().await;
        let begun = Instant::now();
        assert_about(client.closed_after(begun).await, 10);
        assert_eq!(server.shared.metrics.header_timeouts.get(), 0, "no head was begun");
    });
}

#[test]
fn an_answer_may_take_its_time() {
    on_a_worker(async {
        let server = Server::start(|request| async {
            tokio::time::sleep(Duration::from_secs(600)).await;
            hello(request).await
        });
        let mut client = server.connect().await;
        client.send(GET).await;
        assert!(client.answer().await.ends_with("hello"));
    });
}

#[test]
fn a_client_that_takes_nothing_is_cut_off_120_seconds_after_the_last_progress() {
    on_a_worker(async {
        let frames = Rc::new(Cell::new(0));
        let counted = frames.clone();
        let server = Server::start(move |_| std::future::ready(endless(counted.clone())));
        let mut client = server.connect().await;
        client.send(GET).await;
        // Taking a little now and then is progress.
        let mut some = vec![0; 8 << 20];
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(100)).await;
            client.tcp.read_exact(&mut some).await.unwrap();
        }
        let begun = Instant::now();
        server.shared.connections.closed().await;
        // That the kernel's buffers take more is progress, too, and on a busy machine the paused clock goes on before they do.
        let elapsed = begun.elapsed().as_secs();
        assert!((119..160).contains(&elapsed), "{elapsed} s");
        assert_eq!(server.shared.metrics.write_timeouts.get(), 1);
        assert!(frames.get() * (16 << 10) < 64 << 20, "backpressure holds the body back");
        assert_eq!(Rc::strong_count(&frames), 2, "the body is dropped with the connection");
    });
}

/// SEC-36: a client that leaves takes its exchange with it.
#[test]
fn a_client_that_leaves_cancels_its_request() {
    on_a_worker(async {
        let alive = Rc::new(());
        let held = alive.clone();
        let server = Server::start(move |_| {
            let held = held.clone();
            async move {
                std::future::pending::<()>().await;
                drop(held);
                full("never")
            }
        });
        let idle = Rc::strong_count(&alive);
        let mut client = server.connect().await;
        client.send(GET).await;
        // One more for the connection, and one for the request.
        while Rc::strong_count(&alive) < idle + 2 {
            tokio::task::yield_now().await;
        }
        drop(client);
        server.shared.connections.closed().await;
        assert_eq!(Rc::strong_count(&alive), idle);
    });
}

/// SEC-36: to see whether the client leaves, the connection is read while a request is answered. What comes instead of its
/// end is the next request, of which no byte is lost, and the client may still leave during that.
#[test]
fn a_request_that_comes_during_another_is_served_next() {
    on_a_worker(async {
        let (begun, release) = (Rc::new(Cell::new(0)), Rc::new(tokio::sync::Notify::new()));
        let (beginning, released) = (begun.clone(), release.clone());
        let server = Server::start(move |request: Request<Incoming>| {
            beginning.set(beginning.get() + 1);
            let released = released.clone();
            async move {
                released.notified().await;
                full(if request.uri().path().len() > 100 { "hello" } else { "first" })
            }
        });
        let mut client = server.connect().await;
        client.send(GET).await;
        while begun.get() < 1 {
            tokio::task::yield_now().await;
        }
        // Longer than what is read ahead of hyper, and in two pieces.
        let (path, rest) = (format!("GET /{} HTT", "x".repeat(100)), "P/1.1\r\nHost: a\r\n\r\n");
        client.send(&path).await;
        // Time stands still unless everybody waits: by now the connection has waited for more, too.
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.send(rest).await;
        assert_eq!(begun.get(), 1, "one after the other");
        release.notify_one();
        assert!(client.read_until(|text| text.ends_with("first")).await.starts_with("HTTP/1.1 200 OK\r\n"));
        while begun.get() < 2 {
            tokio::task::yield_now().await;
        }
        release.notify_one();
        assert!(client.answer().await.starts_with("HTTP/1.1 200 OK\r\n"));
        client.send(GET).await;
        while begun.get() < 3 {
            tokio::task::yield_now().await;
        }
        drop(client);
        server.shared.connections.closed().await;
    });
}

/// SEC-33: an answer that breaks off never looks complete, on HTTP/1.1 by its framing.
#[test]
fn a_broken_answer_has_no_last_chunk() {
    on_a_worker(async {
        let server = Server::start(|_| std::future::ready(breaks_off()));
        let mut client = server.connect().await;
        client.send(GET).await;
        let answer = client.rest().await;
        assert!(answer.contains("transfer-encoding: chunked") && answer.contains("part"), "{answer}");
        assert!(!answer.contains("\r\n0\r\n"), "{answer}");
    });
}

/// SEC-33: to an HTTP/1.0 client the end of the connection is the end of the answer, so a broken one is reset.
#[test]
fn a_broken_answer_to_http_1_0_is_reset() {
    on_a_worker(async {
        let server = Server::start(|_| std::future::ready(breaks_off()));
        let mut client = server.connect().await;
        client.send("GET / HTTP/1.0\r\n\r\n").await;
        let mut answer = Vec::new();
        let error = client.tcp.read_to_end(&mut answer).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
}

fn breaks_off() -> Response<TestBody> {
    let mut polls = 0;
    streamed(move |cx| {
        polls += 1;
        match polls {
            1 => Poll::Ready(Some(Ok(Bytes::from_static(b"part")))),
            // Now what was sent is flushed.
            2 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            _ => Poll::Ready(Some(Err(Broken))),
        }
    })
}

/// SEC-35: an early answer arrives whole although the client goes on uploading.
#[test]
fn an_early_answer_is_not_lost_to_a_reset() {
    on_a_worker(async {
        let server = Server::start(hello);
        for _ in 0..20 {
            let mut client = server.connect().await;
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n").await;
            let upload = vec![b'x'; 600 << 10];
            client.tcp.write_all(&upload).await.unwrap();
            let answer = client.answer().await;
            assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello"), "{answer}");
        }
        server.shared.connections.closed().await;
    });
}

#[test]
fn what_lingers_after_the_end_has_a_bound_in_time() {
    on_a_worker(async {
        let server = Server::start(hello);
        let mut client = server.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        client.answer().await;
        let begun = Instant::now();
        server.shared.connections.closed().await;
        assert_about(begun.elapsed(), 2);
    });
}

#[test]
fn a_body_streams_both_ways_whole() {
    on_a_worker(async {
        let server = Server::start(|request: Request<Incoming>| async {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            {
                let body: TestBody = Box::pin(Full::new(body).map_err(|never| match never {}));
                Response::new(body)
            }
        });
        let client = server.connect().await;
        let (mut read, mut write) = client.tcp.into_split();
        let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let sent = body.clone();
        tokio::task::spawn_local(async move {
            let head =
                format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", sent.len());
            write.write_all(head.as_bytes()).await.unwrap();
            write.write_all(&sent).await.unwrap();
            std::future::pending::<()>().await;
        });
        let mut answer = Vec::new();
        read.read_to_end(&mut answer).await.unwrap();
        assert!(answer.ends_with(&body));
    });
}
