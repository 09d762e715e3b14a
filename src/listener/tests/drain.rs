//! Draining (SEC-40): what is in progress ends well, what is idle closes, what is queued is served.

use super::*;

async fn slow(request: Request<Incoming>) -> Response<TestBody> {
    tokio::time::sleep(Duration::from_secs(5)).await;
    hello(request).await
}

/// SEC-40: the answer in progress says `Connection: close`, and the connection closes after it.
#[test]
fn a_request_in_progress_ends_well_with_connection_close() {
    on_a_worker(async {
        let server = Server::start(slow);
        let mut client = server.connect().await;
        client.send(GET).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.shared.connections.drain();
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        drop(client);
        server.shared.connections.closed().await;
    });
}

/// SEC-40: an idle connection closes at once.
#[test]
fn an_idle_connection_closes() {
    on_a_worker(async {
        let server = Server::start(hello);
        let mut client = server.connect().await;
        client.send(GET).await;
        client.answer().await;
        let begun = Instant::now();
        server.shared.connections.drain();
        assert_about(client.closed_after(begun).await, 0);
    });
}

/// SEC-40: a connection that has just been made may have its request on the way; it is served, and closed if it is
/// silent.
#[test]
fn a_new_connection_is_served_once() {
    on_a_worker(async {
        let server = Server::start(slow);
        let (mut speaks, mut silent) = (server.connect().await, server.connect().await);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let begun = Instant::now();
        server.shared.connections.drain();
        speaks.send(GET).await;
        let answer = speaks.rest().await;
        assert!(answer.ends_with("hello") && answer.contains("connection: close"), "{answer}");
        let took = silent.closed_after(begun).await;
        assert!(took >= Duration::from_secs(1), "{took:?}");
    });
}

/// SEC-40, SEC-39: what the kernel has accepted when a listener stops is served before the socket closes.
#[test]
fn a_stopped_listener_serves_what_is_queued_and_closes() {
    on_a_worker(async {
        let mut server = Server::start(hello);
        // Connected, but not accepted yet: nothing here has let the accepting task run.
        let queued: Vec<_> = (0..5)
            .map(|_| {
                let tcp = std::net::TcpStream::connect(server.address).unwrap();
                tcp.set_nonblocking(true).unwrap();
                tcp
            })
            .collect();
        drop(server.stop.take());
        (&mut server.accepting).await.unwrap();
        for tcp in queued {
            let mut client = Client { tcp: TcpStream::from_std(tcp).unwrap() };
            client.send(GET).await;
            assert!(client.answer().await.ends_with("hello"));
        }
        let refused = TcpStream::connect(server.address).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}
