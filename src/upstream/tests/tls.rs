use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::rig::*;
use crate::config::CertificateAndKey;
use crate::upstream::connect::Transport;
use crate::upstream::*;

/// A certificate authority of the test's own.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Authorities of one name would be told apart by their signatures only.
        params.distinguished_name.push(DnType::CommonName, format!("authority {}", fastrand::u64(..)));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    pub(super) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    pub(super) fn issue(&self, name: &str) -> CertificateAndKey {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        CertificateAndKey { chain: vec![certificate.der().clone()], key }
    }

    /// A server that is called localhost; `clients`: it wants certificates of this authority from its clients.
    pub(super) fn acceptor(&self, clients: bool, alpn: &[&[u8]]) -> TlsAcceptor {
        let own = self.issue("localhost");
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(own.chain, own.key).unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

async fn listen() -> (TcpListener, Target) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url(true, "localhost", listener.local_addr().unwrap().port());
    (listener, Target { url, private: false, ca: Vec::new(), client_certificate: None, alpn: &[b"http/1.1"] })
}

async fn connect(
    connector: &Connector,
    target: &Target,
    listener: &TcpListener,
    acceptor: &TlsAcceptor,
) -> (Result<Connection, ConnectError>, std::io::Result<TlsStream<tokio::net::TcpStream>>) {
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await?;
        // Lets the client see tickets, or that it is refused.
        stream.write_all(b"x").await?;
        Ok(stream)
    };
    tokio::join!(connector.connect(target, Duration::from_secs(5)), server)
}

fn kind(connection: &Connection) -> HandshakeKind {
    match &connection.transport {
        Transport::Tls(stream) => stream.get_ref().1.handshake_kind().unwrap(),
        Transport::Plain(_) => panic!("no TLS"),
    }
}

#[test]
fn a_private_authority_is_trusted_where_it_is_configured_and_sessions_are_resumed() {
    on_worker(|_| async {
        let authority = Authority::new();
        let acceptor = authority.acceptor(false, &[b"http/1.1"]);
        let (listener, mut target) = listen().await;
        target.ca = vec![authority.certificate()];
        let connector = connector();
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (connection, _server) = connect(&connector, &target, &listener, &acceptor).await;
            let mut connection = connection.unwrap();
            assert_eq!(connection.protocol(), Some(&b"http/1.1"[..]));
            tokio::io::AsyncReadExt::read_u8(&mut connection).await.unwrap();
            assert_eq!(kind(&connection), expected);
        }
    });
}

/// TL-35, and the attack K10: nothing is sent to a server that is not trusted, or that is another one.
#[test]
fn a_server_that_is_not_trusted_or_not_the_one_is_refused_with_a_hint() {
    on_worker(|_| async {
        let authority = Authority::new();
        let acceptor = authority.acceptor(false, &[]);
        let (listener, mut target) = listen().await;
        target.ca = vec![Authority::new().certificate()];
        let (connection, _) = connect(&connector(), &target, &listener, &acceptor).await;
        let error = connection.unwrap_err();
        assert_eq!(error.kind, ExchangeErrorKind::Tls);
        assert!(error.text.contains("set `ca`"), "{}", error.text);

        target.ca = vec![authority.certificate()];
        target.url = url(true, "127.0.0.1", target.url.port);
        let (connection, _) = connect(&connector(), &target, &listener, &acceptor).await;
        assert_eq!(connection.unwrap_err().kind, ExchangeErrorKind::Tls, "the certificate is for another name");
    });
}

#[test]
fn a_client_certificate_is_shown_to_who_asks_for_it() {
    on_worker(|_| async {
        let authority = Authority::new();
        let acceptor = authority.acceptor(true, &[]);
        let (listener, mut target) = listen().await;
        target.ca = vec![authority.certificate()];
        target.client_certificate = Some(Arc::new(authority.issue("attache")));
        let (connection, server) = connect(&connector(), &target, &listener, &acceptor).await;
        connection.unwrap();
        assert!(server.unwrap().get_ref().1.peer_certificates().is_some());
    });
}

/// SEC-33: a TLS connection that is cut is no end of a body, even where the end of the connection would be.
#[test]
fn a_body_that_ends_with_its_connection_needs_the_end_of_tls() {
    for clean in [true, false] {
        on_worker(|ticker| async move {
            let authority = Authority::new();
            let acceptor = authority.acceptor(false, &[]);
            let (listener, target) = listen().await;
            let mut config = upstream_config(target.url.clone());
            config.ca = vec![authority.certificate()];
            let upstream = Upstream::with_authority(&config, fixed(&config), &connector(), "localhost".to_owned());
            let server = async {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = acceptor.accept(stream).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").await.unwrap();
                stream.flush().await.unwrap();
                if clean {
                    stream.shutdown().await.unwrap();
                } else {
                    stream.get_mut().0.shutdown().await.unwrap();
                }
                stream
            };
            let client = async {
                let headers = http::HeaderMap::new();
                let head = OutgoingHead {
                    method: &http::Method::GET,
                    target: "/",
                    headers: &headers,
                    over: [None; 3],
                    wants_trailers: false,
                };
                let mut body = OutgoingBody::empty();
                let answer = upstream.exchange(Over::Any, &pool(&ticker), &head, &mut body, &TIMEOUTS).await;
                collect(answer.unwrap().body).await.map(|(body, _)| body)
            };
            let (body, _stream) = tokio::join!(client, server);
            match body {
                Ok(body) => assert!(clean && body == "hello"),
                Err(error) => assert!(!clean && matches!(error, AnswerBodyError::Closed)),
            }
        });
    }
}
