//! Reload and drain while clients ask without a pause, over TLS and over HTTP/2.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::{Identity, Proxy, TokenEndpoint, Upstream, Watched, one_route};

/// Streams at once on a connection of HTTP/2.
const STREAMS: usize = 8;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Http1OverTls,
    Http2OverTls,
    Http2,
}

const LANGUAGES: [Speaks; 3] = [Speaks::Http1OverTls, Speaks::Http2OverTls, Speaks::Http2];

/// What the clients are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// Every request has to be answered.
    #[default]
    Ask,
    /// As a balancer does that sees readiness off: connections go on until they are ended, and no new one is made.
    Stay,
    Stop,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Answered requests, by language.
    answered: [usize; LANGUAGES.len()],
}

/// Clients at work, on a thread of their own.
struct Load {
    state: Arc<Watched<State>>,
    thread: JoinHandle<()>,
}

/// Where the proxy is, and what its clients trust.
#[derive(Clone)]
struct Place {
    tls: SocketAddr,
    cleartext: SocketAddr,
    roots: Arc<rustls::RootCertStore>,
}

impl Load {
    fn start(place: &Place) -> Load {
        let state = Arc::new(Watched::new(State::default()));
        let (place, shared) = (place.clone(), state.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut clients = tokio::task::JoinSet::new();
                for (index, speaks) in LANGUAGES.into_iter().enumerate() {
                    for kept in [true, true, false] {
                        clients.spawn(client(place.clone(), index, speaks, kept, shared.clone()));
                    }
                }
                clients.join_all().await;
            });
        });
        Load { state, thread }
    }

    /// Waits until further requests have been answered from start to end, in every language.
    fn goes_on(&self) {
        let before = self.state.look(|state| state.answered);
        self.state.wait("further answers", |state| {
            assert!(!self.thread.is_finished(), "a request failed");
            state.answered.iter().zip(before).all(|(now, before)| *now >= before + 50).then_some(())
        });
    }

    fn phase(&self, phase: Phase) {
        self.state.update(|state| state.phase = phase);
    }

    /// Returns how many requests were answered.
    fn end(self) -> usize {
        self.thread.join().expect("no request failed");
        self.state.look(|state| state.answered.iter().sum())
    }
}

/// One that keeps its connection, or makes a new one for every request.
async fn client(place: Place, index: usize, speaks: Speaks, kept: bool, state: Arc<Watched<State>>) {
    loop {
        match state.look(|state| state.phase) {
            Phase::Ask => {}
            Phase::Stay | Phase::Stop => return,
        }
        let mut connection = Connection::open(&place, speaks).await;
        loop {
            let asked = connection.ask().await;
            let phase = state.update(|state| {
                state.answered[index] += asked.answered;
                state.phase
            });
            match (asked.failure, phase) {
                (Some(failure), Phase::Ask) => panic!("{speaks:?}: {failure}"),
                // Ended by the drain. Whether anything was lost with it, the upstream knows.
                (Some(_), Phase::Stay | Phase::Stop) | (None, Phase::Stop) => return,
                (None, _) if !kept => break,
                (None, _) => {}
            }
        }
    }
}

enum Connection {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

/// How a round of requests went.
struct Asked {
    answered: usize,
    failure: Option<hyper::Error>,
}

impl Connection {
    async fn open(place: &Place, speaks: Speaks) -> Connection {
        let address = if speaks == Speaks::Http2 { place.cleartext } else { place.tls };
        let tcp = TcpStream::connect(address).await.expect("it accepts");
        if speaks == Speaks::Http2 {
            return Connection::http2(tcp).await;
        }
        let alpn: &[u8] = if speaks == Speaks::Http2OverTls { b"h2" } else { b"http/1.1" };
        let connector = TlsConnector::from(Arc::new(client_config(&place.roots, alpn)));
        let tls = connector.connect(server_name(), tcp).await.expect("a handshake");
        if speaks == Speaks::Http2OverTls {
            return Connection::http2(tls).await;
        }
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await.expect("a connection");
        // How it ends, its requests say.
        tokio::spawn(async { drop(connection.await) });
        Connection::Http1(sender)
    }

    async fn http2(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Connection {
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(io));
        let (sender, connection) = handshake.await.expect("a connection");
        tokio::spawn(async { drop(connection.await) });
        Connection::Http2(sender)
    }

    /// One request, or as many as there are streams.
    async fn ask(&mut self) -> Asked {
        let mut asked = Asked { answered: 0, failure: None };
        let results = match self {
            Connection::Http1(sender) => vec![ask_http1(sender).await],
            Connection::Http2(sender) => {
                let streams = (0..STREAMS).map(|_| ask_http2(sender.clone()));
                let streams: Vec<_> = streams.map(tokio::spawn).collect();
                let mut results = Vec::new();
                for stream in streams {
                    results.push(stream.await.expect("an answer is as it should be"));
                }
                results
            }
        };
        for result in results {
            match result {
                Ok(()) => asked.answered += 1,
                Err(failure) => asked.failure = Some(failure),
            }
        }
        asked
    }
}

async fn ask_http1(sender: &mut http1::SendRequest<Empty<Bytes>>) -> hyper::Result<()> {
    sender.ready().await?;
    let request = Request::get("/api/x").header("host", "proxy.test").body(Empty::new()).unwrap();
    check(sender.send_request(request).await?).await
}

async fn ask_http2(mut sender: http2::SendRequest<Empty<Bytes>>) -> hyper::Result<()> {
    sender.ready().await?;
    let request = Request::get("http://proxy.test/api/x").body(Empty::new()).unwrap();
    check(sender.send_request(request).await?).await
}

async fn check(answer: http::Response<hyper::body::Incoming>) -> hyper::Result<()> {
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.into_body().collect().await?.to_bytes(), "ok");
    Ok(())
}

fn server_name() -> ServerName<'static> {
    ServerName::try_from("proxy.test").unwrap()
}

fn client_config(roots: &Arc<rustls::RootCertStore>, alpn: &[u8]) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots.clone()).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

/// Two certificates for the same name, the proxy's configuration with either, and a proxy with the first.
struct Stage {
    upstream: Upstream,
    _endpoint: TokenEndpoint,
    toml: String,
    renewed: String,
    second: CertificateDer<'static>,
    proxy: Proxy,
    place: Place,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn set() -> Stage {
        let (endpoint, folder) = (TokenEndpoint::start(), tempfile::tempdir().unwrap());
        let upstream = Upstream::guarded(endpoint.grants());
        let [first, second] = ["first", "second"].map(|file| Identity::new(folder.path(), file, &["proxy.test"]));
        let listener = |identity: &Identity| {
            format!(
                "address = \"127.0.0.1:0\"\n\n[[listeners]]\naddress = \"127.0.0.2:0\"\n\
                 tls.certificates = [{{ cert = {:?}, key = {:?} }}]\n\n[admin]\naddress = \"127.0.0.1:0\"\n",
                identity.cert_file, identity.key_file
            )
        };
        let plain = one_route(&endpoint, &upstream, "").replace("[server]", "[server]\ndrain_delay = \"2s\"");
        let with = |identity| plain.replacen("address = \"127.0.0.1:0\"", &listener(identity), 1);
        let (toml, renewed) = (with(&first), with(&second));
        let certificate = |path: &Path| CertificateDer::from_pem_file(path).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate(&first.cert_file)).unwrap();
        roots.add(certificate(&second.cert_file)).unwrap();
        let proxy = Proxy::start(&toml);
        let addresses = proxy.addresses();
        let place = Place { cleartext: addresses[0], tls: addresses[1], roots: Arc::new(roots) };
        let second = certificate(&second.cert_file);
        Stage { upstream, _endpoint: endpoint, toml, renewed, second, proxy, place, _folder: folder }
    }

    /// The certificate that a new connection is shown.
    fn shown(&self) -> CertificateDer<'static> {
        let config = Arc::new(client_config(&self.place.roots, b"h2"));
        let mut tls = rustls::ClientConnection::new(config, server_name()).unwrap();
        let mut tcp = std::net::TcpStream::connect(self.place.tls).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).unwrap();
        }
        tls.peer_certificates().unwrap()[0].clone()
    }
}

/// SEC-38, SEC-39: an invalid reload, a valid one and a new certificate, while clients ask over TLS and over HTTP/2 on
/// connections that they keep and on new ones: no request fails.
#[test]
fn reloads_fail_no_request() {
    let stage = Stage::set();
    let load = Load::start(&stage.place);
    load.goes_on();
    stage.proxy.reload("this is no TOML").unwrap_err();
    load.goes_on();
    let more = "\n[[routes]]\npath = \"/other/{*rest}\"\nupstream = \"api\"\nclients = \"anyone\"\n";
    stage.proxy.reload(&(stage.toml.clone() + more)).unwrap();
    load.goes_on();
    assert_ne!(stage.shown(), stage.second);
    stage.proxy.reload(&stage.renewed).unwrap();
    assert_eq!(stage.shown(), stage.second);
    load.goes_on();
    load.phase(Phase::Stop);
    assert_eq!(load.end(), stage.upstream.asked(), "each is answered once");
}

/// SEC-40: a drain, likewise: connections are ended between requests, and what the upstream was asked was answered.
#[test]
fn a_drain_fails_no_request() {
    let Stage { upstream, place, proxy, _folder, _endpoint, .. } = Stage::set();
    let load = Load::start(&place);
    load.goes_on();
    let admin = proxy.admin_address();
    let ending = thread::spawn(move || proxy.shutdown());
    while crate::support::send(admin, "GET", "/readyz", &[("Host", "localhost")], b"").status == 200 {}
    load.goes_on();
    load.phase(Phase::Stay);
    ending.join().unwrap();
    assert_eq!(load.end(), upstream.asked(), "what was asked was answered");
    assert!(std::net::TcpStream::connect(place.tls).is_err());
}
