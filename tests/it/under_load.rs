//! Reload and drain while clients ask without a pause, over TLS and over HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use http::StatusCode;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use crate::support::{
    HyperClient, Identity, Proxy, SERVER, Speaks, TokenEndpoint, Upstream, Watched, client_config, one_route, roots,
    server_name,
};

/// Streams at once on a connection of HTTP/2.
const STREAMS: usize = 8;

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
        let address = if speaks == Speaks::Http2 { place.cleartext } else { place.tls };
        let mut connection = HyperClient::connect(address, speaks, &place.roots).await;
        loop {
            let asked = ask(&mut connection).await;
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

/// How a round of requests went.
struct Asked {
    answered: usize,
    failure: Option<hyper::Error>,
}

/// One request, or as many as there are streams.
async fn ask(client: &mut HyperClient) -> Asked {
    let results = match client {
        HyperClient::Http1(_) => vec![get(client).await],
        HyperClient::Http2(sender) => {
            let streams = (0..STREAMS).map(|_| HyperClient::Http2(sender.clone()));
            let streams: Vec<_> =
                streams.map(|mut stream| tokio::spawn(async move { get(&mut stream).await })).collect();
            let mut results = Vec::new();
            for stream in streams {
                results.push(stream.await.expect("an answer is as it should be"));
            }
            results
        }
    };
    let answered = results.iter().filter(|result| result.is_ok()).count();
    Asked { answered, failure: results.into_iter().find_map(Result::err) }
}

async fn get(client: &mut HyperClient) -> hyper::Result<()> {
    assert_eq!(client.get("/api/x").await?, (StatusCode::OK, Bytes::from("ok")));
    Ok(())
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
        let [first, second] = ["first", "second"].map(|file| Identity::new(folder.path(), file, &[SERVER]));
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
        let roots = roots([&*first.cert_file, &*second.cert_file]);
        let proxy = Proxy::start(&toml);
        let addresses = proxy.addresses();
        let place = Place { cleartext: addresses[0], tls: addresses[1], roots };
        let second = CertificateDer::from_pem_file(&second.cert_file).unwrap();
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
