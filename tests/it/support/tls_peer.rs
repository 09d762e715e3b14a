//! A server that speaks TLS, and both versions of HTTP by ALPN. What peers of plain blocking code cannot be.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fs, thread};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body::Body;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::Watched;

/// A certificate signed by itself, with its key, as PEM files too.
pub struct Identity {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    pub key: KeyPair,
    certificate: CertificateDer<'static>,
}

impl Identity {
    /// For these host names and addresses; the files are named after the first one.
    pub fn new(folder: &Path, file: &str, names: &[&str]) -> Identity {
        let key = KeyPair::generate().expect("keys can be made");
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let certificate = CertificateParams::new(names).and_then(|params| params.self_signed(&key));
        let certificate = certificate.expect("a certificate can be made");
        let [cert_file, key_file] = ["crt", "key"].map(|extension| folder.join(format!("{file}.{extension}")));
        fs::write(&cert_file, certificate.pem()).expect("there is room for a file");
        fs::write(&key_file, key.serialize_pem()).expect("there is room for a file");
        Identity { cert_file, key_file, key, certificate: certificate.der().clone() }
    }
}

/// A request, whole, and the version and the client certificate that it came with.
#[derive(Debug, Clone)]
pub struct TlsRequest {
    pub method: Method,
    pub version: Version,
    pub certified: bool,
    pub target: String,
    pub authority: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Frames of a body, trailers included.
pub type Frames = Vec<Frame<Bytes>>;

pub type Answerer = dyn Fn(&TlsRequest) -> Response<Frames> + Send + Sync;

/// Dropped, it stops.
pub struct TlsPeer {
    pub address: SocketAddr,
    requests: Arc<Watched<Vec<TlsRequest>>>,
    _stop: oneshot::Sender<()>,
}

impl TlsPeer {
    /// Shows its own certificate, and takes that of `client` from clients who have it.
    pub fn start(
        own: &Identity,
        client: &Identity,
        answer: impl Fn(&TlsRequest) -> Response<Frames> + Send + Sync + 'static,
    ) -> TlsPeer {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        listener.set_nonblocking(true).expect("a socket takes options");
        let address = listener.local_addr().expect("a bound socket has an address");
        let requests = Arc::new(Watched::<Vec<TlsRequest>>::default());
        let config = server_config(own, client);
        let (answer, seen): (Arc<Answerer>, _) = (Arc::new(answer), requests.clone());
        let (stop, stopped) = oneshot::channel();
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("there is a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, config, answer, seen) => {}
                    _ = stopped => {}
                }
            });
        });
        TlsPeer { address, requests, _stop: stop }
    }

    pub fn requests(&self) -> Vec<TlsRequest> {
        self.requests.look(Clone::clone)
    }
}

fn server_config(own: &Identity, client: &Identity) -> Arc<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(client.certificate.clone()).expect("the certificate is valid");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = verifier.allow_unauthenticated().build().expect("there are roots");
    let key = PrivateKeyDer::try_from(own.key.serialize_der()).expect("the key is valid");
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("there are versions").with_client_cert_verifier(verifier);
    let mut config = config.with_single_cert(vec![own.certificate.clone()], key).expect("key and certificate fit");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

async fn accept(
    listener: std::net::TcpListener,
    config: Arc<rustls::ServerConfig>,
    answer: Arc<Answerer>,
    seen: Arc<Watched<Vec<TlsRequest>>>,
) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("the listener is not blocking");
    let acceptor = TlsAcceptor::from(config);
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, answer, seen) = (acceptor.clone(), answer.clone(), seen.clone());
        tokio::spawn(async move {
            let Ok(tls) = acceptor.accept(tcp).await else { return };
            let session = tls.get_ref().1;
            let certified = session.peer_certificates().is_some();
            let http2 = session.alpn_protocol() == Some(b"h2");
            let service = service_fn(move |request| serve(request, certified, answer.clone(), seen.clone()));
            // How a connection ends is the proxy's affair.
            if http2 {
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(tls), service).await;
            } else {
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), service).await;
            }
        });
    }
}

async fn serve(
    request: Request<Incoming>,
    certified: bool,
    answer: Arc<Answerer>,
    seen: Arc<Watched<Vec<TlsRequest>>>,
) -> hyper::Result<Response<Scripted>> {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let host = head.headers.get("host").and_then(|host| host.to_str().ok());
    let authority = head.uri.authority().map(|authority| authority.as_str()).or(host).unwrap_or_default().to_owned();
    let request = TlsRequest {
        method: head.method,
        version: head.version,
        certified,
        target,
        authority,
        headers: head.headers,
        body: body.collect().await?.to_bytes(),
    };
    let response = answer(&request);
    seen.update(|seen| seen.push(request));
    Ok(response.map(|frames| Scripted(frames.into_iter())))
}

/// An answer's frames, one after the other.
struct Scripted(std::vec::IntoIter<Frame<Bytes>>);

impl Body for Scripted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}
