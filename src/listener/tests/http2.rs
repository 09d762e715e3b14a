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
