//! HTTP/2 in cleartext: detection, deadlines, draining.

use http_body_util::Empty;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

type Sender = SendRequest<Empty<Bytes>>;

async fn connect(server: &Server) -> (Sender, tokio::task::JoinHandle<hyper::Result<()>>) {
    let tcp = TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
    (sender, tokio::task::spawn_local(connection))
}

fn request() -> Request<Empty<Bytes>> {
    Request::get("http://a/").body(Empty::new()).unwrap()
}

#[test]
fn http_2_is_recognised_by_its_preface_on_the_same_port() {
    on_a_worker(async {
        let server = Server::start(hello);
        let (mut sender, _connection) = connect(&server).await;
        let answers = (0..10).map(|_| sender.send_request(request())).collect::<Vec<_>>();
        for answer in answers {
            let answer = answer.await.unwrap();
            assert_eq!(answer.version(), http::Version::HTTP_2);
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        }
        let mut client = server.connect().await;
        client.send(GET).await;
        assert!(client.answer().await.starts_with("HTTP/1.1 200 OK"));
    });
}

#[test]
fn a_preface_may_come_in_pieces_and_has_the_deadline_of_a_head() {
    on_a_worker(async {
        let server = Server::start(hello);
        let mut client = server.connect().await;
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0" {
            client.tcp.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut settings = [0; 9];
        client.tcp.read_exact(&mut settings).await.unwrap();
        assert_eq!(settings[3], 4, "the server's SETTINGS");

        let mut client = server.connect().await;
        let begun = Instant::now();
        client.send("PRI * HT").await;
        assert_about(client.closed_after(begun).await, 10);
        // What begins like the preface may still be something else.
        let mut client = server.connect().await;
        client.send("P").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.send("UT / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(client.answer().await.starts_with("HTTP/1.1 200 OK"));
    });
}

#[test]
fn an_idle_connection_gets_goaway_after_75_seconds_although_pings_are_answered() {
    on_a_worker(async {
        let server = Server::start(hello);
        let (mut sender, connection) = connect(&server).await;
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(60)).await;
            sender.send_request(request()).await.unwrap().into_body().collect().await.unwrap();
        }
        let answered = Instant::now();
        connection.await.unwrap().expect("a graceful end");
        let took = answered.elapsed();
        assert!((Duration::from_secs(75)..Duration::from_secs(78)).contains(&took), "{took:?}");
    });
}

#[test]
fn a_stream_whose_flow_control_stays_shut_ends_the_connection() {
    on_a_worker(async {
        let frames = Rc::new(Cell::new(0));
        let counted = frames.clone();
        let server = Server::start(move |_| std::future::ready(endless(counted.clone())));
        let (mut sender, connection) = connect(&server).await;
        let begun = Instant::now();
        // Kept, and not read from.
        let _answer = sender.send_request(request()).await.unwrap();
        assert!(connection.await.unwrap().is_err());
        let took = begun.elapsed();
        assert!((Duration::from_secs(120)..Duration::from_secs(121)).contains(&took), "{took:?}");
        assert_eq!(server.shared.metrics.write_timeouts.get(), 1);
    });
}

/// Attack H07: PINGs show that the client is there, not that it takes its answer.
#[test]
fn pings_do_not_hold_a_stream_whose_flow_control_stays_shut() {
    const PING: u8 = 6;
    const ACK: u8 = 1;
    const GET_WITHOUT_WINDOW: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0\
        \0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a";
    let ping = |flags: u8, payload: &[u8]| [&[0, 0, 8, PING, flags, 0, 0, 0, 0], payload].concat();
    on_a_worker(async {
        let server = Server::start(|_| std::future::ready(endless(Rc::default())));
        let (mut tcp, out) = server.connect().await.tcp.into_split();
        let out = Rc::new(out);
        out.try_write(GET_WITHOUT_WINDOW).unwrap();
        let begun = Instant::now();
        let pinging = out.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                if pinging.try_write(&ping(0, b"are you?")).is_err() {
                    return;
                }
            }
        });
        let (mut head, mut pongs) = ([0; 9], 0);
        while tcp.read_exact(&mut head).await.is_ok() {
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            tcp.read_exact(&mut payload).await.unwrap();
            match (head[3], head[4]) {
                (PING, ACK) => pongs += 1,
                (PING, _) => drop(out.try_write(&ping(ACK, &payload))),
                _ => {}
            }
        }
        let took = begun.elapsed();
        assert!((Duration::from_secs(120)..Duration::from_secs(121)).contains(&took), "{took:?}");
        assert!(pongs >= 22, "{pongs}");
        assert_eq!(server.shared.metrics.write_timeouts.get(), 1);
    });
}

#[test]
fn a_stream_that_waits_for_its_answer_is_no_stall() {
    on_a_worker(async {
        let server = Server::start(|_| {
            let mut frames = 0;
            let mut pause: Option<Pin<Box<tokio::time::Sleep>>> = None;
            std::future::ready(streamed(move |cx| {
                if frames == 3 {
                    return Poll::Ready(None);
                }
                let sleep = pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_secs(300))));
                std::task::ready!(sleep.as_mut().poll(cx));
                pause = None;
                frames += 1;
                Poll::Ready(Some(Ok(Bytes::from_static(b"event "))))
            }))
        });
        let (mut sender, _connection) = connect(&server).await;
        let answer = sender.send_request(request()).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "event event event ");
    });
}

/// SEC-40: HTTP/2 clients get GOAWAY; streams in progress end well.
#[test]
fn draining_says_goaway_and_lets_streams_end() {
    on_a_worker(async {
        let server = Server::start(|request| async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            hello(request).await
        });
        let (mut sender, connection) = connect(&server).await;
        let answer = sender.send_request(request());
        let answer = tokio::task::spawn_local(answer);
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.shared.connections.drain();
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        connection.await.unwrap().expect("a graceful end");
        server.shared.connections.closed().await;
    });
}

/// SEC-36: a client that resets a stream cancels that request alone.
#[test]
fn a_reset_stream_cancels_its_request() {
    on_a_worker(async {
        let alive = Rc::new(());
        let held = alive.clone();
        let server = Server::start(move |request: Request<Incoming>| {
            let held = held.clone();
            async move {
                if request.uri().path() == "/slow" {
                    std::future::pending::<()>().await;
                }
                drop(held);
                full("hello")
            }
        });
        let (mut sender, _connection) = connect(&server).await;
        let idle = Rc::strong_count(&alive);
        let slow = Request::get("http://a/slow").body(Empty::new()).unwrap();
        let slow = tokio::task::spawn_local(sender.send_request(slow));
        while Rc::strong_count(&alive) <= idle {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let busy = Rc::strong_count(&alive);
        slow.abort();
        while Rc::strong_count(&alive) == busy {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        sender.send_request(request()).await.unwrap();
    });
}
