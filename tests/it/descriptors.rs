//! A process that may have few file descriptors: what is kept for tokens, and what clients are told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::{Child, Reply, SECRET, TokenEndpoint, Upstream, Watched, free_address, get, one_route};

/// Half of them stay reserved, a quarter is for clients. The one upstream has the rest for itself.
const DESCRIPTORS: u32 = 256;
const UPSTREAM_CONNECTIONS: usize = 64;
/// Connections of clients, and streams of each.
const CLIENTS: usize = 4;
const STREAMS: usize = 100;
const REFUSED: usize = CLIENTS * STREAMS - UPSTREAM_CONNECTIONS;

/// An answer's status, `Retry-After` and body.
type Answered = (u16, Option<String>, Vec<u8>);

/// SEC-41: clients that ask for more than there are descriptors take only what is theirs: tokens go on being renewed, the
/// admin pages answer, and whoever gets no connection is told that it is this proxy's fault, not the upstream's.
#[test]
fn many_streams_leave_descriptors_for_tokens() {
    let endpoint = TokenEndpoint::start();
    endpoint.set_lifetime(Some(Duration::from_secs(2)));
    let upstream = Upstream::guarded(endpoint.grants());
    let (address, admin) = (free_address(), free_address());
    let toml = one_route(&endpoint, &upstream, "")
        .replace("127.0.0.1:0", &address.to_string())
        .replace("[server]", &format!("[admin]\naddress = \"{admin}\"\n[server]"));
    let _child = Child::run_with_descriptors(&toml, &[("SECRET", SECRET)], DESCRIPTORS);
    assert_eq!(get(address, "/api/first").status, 200);

    let released = Arc::new(Watched::new(false));
    upstream.script((0..CLIENTS * STREAMS).map(|_| {
        let released = released.clone();
        Reply::custom(move |_, connection| {
            released.wait("the test's end", |released| released.then_some(()));
            std::io::Write::write_all(connection.stream(), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        })
    }));
    let (answers, mut answered) = mpsc::unbounded_channel();
    let clients = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(ask_often(address, answers.clone()))).collect();
            for client in clients {
                client.await.unwrap();
            }
        });
    });
    // The first request's connection may lie idle in another worker, and makes way.
    for _ in 0..REFUSED {
        let (status, retry_after, body) = answered.blocking_recv().expect("the others are refused");
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, retry_after.as_deref()), (503, Some("1")), "{problem}");
        assert_eq!(problem["fault"], "proxy", "{problem}");
    }
    let granted = endpoint.grants().count();
    endpoint.grants().wait_for(granted + 2);
    let metrics = get(admin, "/metrics").text();
    for (name, count) in [("open", format!("{UPSTREAM_CONNECTIONS}.0")), ("refused_total", REFUSED.to_string())] {
        assert!(metrics.contains(&format!("\nattache_upstream_connections_{name} {count}\n")), "{metrics}");
    }

    released.update(|released| *released = true);
    while let Some((status, ..)) = answered.blocking_recv() {
        assert_eq!(status, 200);
    }
    clients.join().unwrap();
    // All may be those of another worker's idle connections, which make way while this one waits.
    assert_eq!(get(address, "/api/last").status, 200);
}

/// Asks by as many streams of one HTTP/2 connection as it may have, all at once.
async fn ask_often(address: SocketAddr, answers: mpsc::UnboundedSender<Answered>) {
    let tcp = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(tcp).await.unwrap();
    let asking = async {
        let mut client = client.ready().await.unwrap();
        let mut tasks = Vec::new();
        for _ in 0..STREAMS {
            let request = Request::get(format!("http://{address}/api/slow")).body(()).unwrap();
            let (response, _) = client.send_request(request, true).unwrap();
            let answers = answers.clone();
            tasks.push(tokio::spawn(async move { answers.send(read(response).await).unwrap() }));
            client = client.ready().await.unwrap();
        }
        for task in tasks {
            task.await.unwrap();
        }
    };
    tokio::select! {
        () = asking => {}
        ended = connection => panic!("the connection ended: {ended:?}"),
    }
}

async fn read(response: h2::client::ResponseFuture) -> Answered {
    let (head, mut incoming) = response.await.unwrap().into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = incoming.data().await {
        let chunk: Bytes = chunk.unwrap();
        body.extend_from_slice(&chunk);
    }
    let retry_after = head.headers.get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    (head.status.as_u16(), retry_after, body)
}
