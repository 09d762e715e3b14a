use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::clock::SystemClock;
use crate::config::Egress;

/// What the scripted peer does with a request.
pub(in crate::credential) enum Then {
    Answer(Vec<u8>),
    /// Closes the connection after these bytes.
    Close(Vec<u8>),
    Stall,
}

/// A token endpoint on loopback that does what it is told. Ends when it is dropped.
pub(in crate::credential) struct Peer {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    arrived: mpsc::UnboundedReceiver<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Peer {
    pub async fn start(mut script: impl FnMut(&str) -> Then + Send + 'static) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (arrive, arrived) = mpsc::unbounded_channel();
        let all = seen.clone();
        let task = tokio::spawn(async move {
            let mut stalled = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = receive(&mut stream).await;
                let then = script(&request);
                all.lock().unwrap().push(request);
                let _ = arrive.send(());
                match then {
                    Then::Answer(bytes) | Then::Close(bytes) => {
                        let _ = stream.write_all(&bytes).await;
                        let _ = stream.shutdown().await;
                    }
                    Then::Stall => stalled.push(stream),
                }
            }
        });
        Peer { address, seen, arrived, task }
    }

    /// Answers every request alike.
    pub async fn answering(bytes: Vec<u8>) -> Peer {
        Peer::start(move |_| Then::Answer(bytes.clone())).await
    }

    pub fn url(&self, path: &str) -> HttpUrl {
        HttpUrl::parse(&format!("http://{}{path}", self.address)).unwrap()
    }

    /// The requests so far, as received.
    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits for the next request.
    pub async fn arrival(&mut self) {
        self.arrived.recv().await.expect("the peer runs");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() >= length.parse().unwrap() {
                return text;
            }
        }
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return text;
        }
    }
}

/// An answer as bytes, framed.
pub(in crate::credential) fn answer(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes =
        format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

pub(in crate::credential) fn connector() -> Arc<Connector> {
    Connector::new(&Egress::default(), Arc::new(SystemClock), tokio::runtime::Handle::current())
}

/// Far enough that only a test that moves the time meets it.
pub(in crate::credential) fn in_ten_seconds() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

async fn get(url: &HttpUrl) -> Result<Reply, Broken> {
    get_until(url, in_ten_seconds()).await
}

async fn get_until(url: &HttpUrl, deadline: Instant) -> Result<Reply, Broken> {
    let connector = connector();
    let connect_timeout = Duration::from_secs(3);
    let reach = Reach {
        connector: &connector,
        private: false,
        cleartext: false,
        client_certificate: None,
        connect_timeout,
        deadline,
        tape: None,
    };
    exchange(reach, url, Request::new(Full::new(Bytes::new()))).await
}

#[tokio::test]
async fn a_request_says_who_asks_and_what_it_can_read() {
    let peer = Peer::answering(answer(200, "x-a: b\r\n", "{}")).await;
    let reply = get(&peer.url("")).await.unwrap();
    assert_eq!(
        (reply.status, &reply.headers["x-a"], reply.body.unwrap().as_slice()),
        (StatusCode::OK, &HeaderValue::from_static("b"), b"{}".as_slice())
    );
    let request = peer.requests().remove(0);
    for line in [
        format!("host: {}", peer.address),
        "accept: application/json".to_owned(),
        "accept-encoding: identity".to_owned(),
        format!("user-agent: attache/{}", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(request.lines().any(|sent| sent == line), "{line} is not in {request}");
    }
    assert_eq!(Method::GET, request.split(' ').next().unwrap());
}

fn compressed(body: &[u8]) -> [(&'static str, Vec<u8>); 4] {
    let gzip = || {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(body).unwrap();
    let mut bare = DeflateEncoder::new(Vec::new(), Compression::default());
    bare.write_all(body).unwrap();
    [("gzip", gzip()), ("X-GZIP", gzip()), ("deflate", zlib.finish().unwrap()), ("deflate", bare.finish().unwrap())]
}

/// TL-35: at most 256 KiB, as received and as decompressed.
#[tokio::test]
async fn a_body_is_bounded_before_and_after_decompression() {
    let most = vec![b'a'; 256 * 1024];
    let more = vec![b'a'; 256 * 1024 + 1];
    let reply = get(&Peer::answering(answer(200, "", &most)).await.url("/")).await.unwrap();
    assert_eq!(reply.body.unwrap().len(), most.len());
    let reply = get(&Peer::answering(answer(200, "", &more)).await.url("/")).await.unwrap();
    assert!(reply.body.unwrap_err().contains("larger than 256 KiB"));
    let endless =
        Peer::answering(b"HTTP/1.1 200 OK\r\n\r\n".iter().copied().chain(vec![b'a'; 1 << 20]).collect()).await;
    assert!(get(&endless.url("/")).await.unwrap().body.unwrap_err().contains("larger than 256 KiB"));

    for (coding, bytes) in compressed(&most) {
        assert!(bytes.len() < 2000);
        let peer = Peer::answering(answer(200, &format!("content-encoding: {coding}\r\n"), bytes)).await;
        assert_eq!(get(&peer.url("/")).await.unwrap().body.unwrap().len(), most.len(), "{coding}");
    }
    for (coding, bytes) in compressed(&more) {
        let peer = Peer::answering(answer(200, &format!("content-encoding: {coding}\r\n"), bytes)).await;
        let body = get(&peer.url("/")).await.unwrap().body;
        assert!(body.is_err(), "{coding}");
    }
}

#[tokio::test]
async fn an_encoding_that_cannot_be_undone_makes_the_body_unreadable() {
    for coding in ["br", "gzip, gzip", "gzip\r\ncontent-encoding: gzip", "gzip", "deflate"] {
        let peer = Peer::answering(answer(200, &format!("content-encoding: {coding}\r\n"), "nonsense")).await;
        assert!(get(&peer.url("/")).await.unwrap().body.is_err(), "{coding}");
    }
}

/// TL-35: a redirect is an answer like others; nobody goes where it points.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    let trap = Peer::answering(answer(200, "", "{}")).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("location: http://{}/\r\n", trap.address);
        let peer = Peer::answering(answer(status, &location, "")).await;
        assert_eq!(get(&peer.url("/")).await.unwrap().status, status);
    }
    assert_eq!(trap.requests().len(), 0);
}

/// TL-35, SEC-14: plain http goes to loopback, or where the configuration says so.
#[test]
fn plain_http_is_refused_except_to_loopback() {
    for (url, cleartext, allowed) in [
        ("https://login.example.com/", false, true),
        ("http://login.example.com/", false, false),
        ("http://login.example.com/", true, true),
        ("http://10.0.0.1/", false, false),
        ("http://127.0.0.1:9/", false, true),
        ("http://[::1]:9/", false, true),
        ("http://localhost/", false, true),
        ("http://localhost.example.com/", false, false),
    ] {
        let checked = refuse_cleartext(&HttpUrl::parse(url).unwrap(), cleartext);
        assert_eq!(checked.is_ok(), allowed, "{url}");
        assert!(checked.is_ok() || checked.is_err_and(|broken| broken.kind == FetchErrorKind::Refused));
    }
}

/// TL-32: what breaks on the way is transient, and is told in the words of a network.
#[tokio::test]
async fn a_connection_that_breaks_is_transient() {
    for (bytes, says) in [
        (b"".as_slice(), "closed the connection"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", "closed the connection"),
        (b"SSH-2.0-OpenSSH_9\r\n", "no HTTP/1.1"),
    ] {
        let peer = Peer::start(move |_| Then::Close(bytes.to_vec())).await;
        let broken = get(&peer.url("/")).await.unwrap_err();
        assert_eq!((broken.kind, broken.reached), (FetchErrorKind::Transient, Reached::Answered), "{says}");
        assert!(broken.cause.contains(says), "{}", broken.cause);
    }
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = HttpUrl::parse(&format!("http://{gone}/")).unwrap();
    let broken = get(&url).await.unwrap_err();
    assert_eq!((broken.kind, broken.reached), (FetchErrorKind::Transient, Reached::No));
}

/// TL-32, SEC-14: a connection that does not come about is transient, but for an address that is not allowed.
#[test]
fn only_a_refused_address_needs_an_operator() {
    use ExchangeErrorKind::{AddressRefused, Connect, ConnectTimeout, Resolve, Tls, TlsTimeout};
    for (kind, meaning) in [
        (Resolve, FetchErrorKind::Transient),
        (Connect, FetchErrorKind::Transient),
        (ConnectTimeout, FetchErrorKind::Transient),
        (Tls, FetchErrorKind::Transient),
        (TlsTimeout, FetchErrorKind::Transient),
        (AddressRefused, FetchErrorKind::Refused),
    ] {
        let broken = unconnected(ConnectError { kind, text: "why".to_owned() });
        assert_eq!((broken.kind, broken.cause.as_str()), (meaning, "why"), "{kind:?}");
        assert_eq!(broken.reached, Reached::No);
    }
}

/// TL-32: an attempt ends at its deadline, also if the peer says nothing.
#[tokio::test]
async fn a_silent_peer_is_given_up_at_the_deadline() {
    let mut peer = Peer::start(|_| Then::Stall).await;
    let url = peer.url("/");
    let asking = tokio::spawn(async move { get_until(&url, in_ten_seconds()).await });
    peer.arrival().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(9)).await;
    assert!(!asking.is_finished());
    tokio::time::advance(Duration::from_secs(2)).await;
    let broken = asking.await.unwrap().unwrap_err();
    assert_eq!((broken.kind, broken.reached), (FetchErrorKind::Transient, Reached::Silent));
    assert_eq!(broken.cause, "it did not answer in time");
}
