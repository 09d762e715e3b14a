//! A client that speaks TLS or HTTP/2, which [`super::Client`] does not.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::DEADLINE;

/// Whom it asks, whatever the address: what certificates are to be for.
pub const SERVER: &str = "proxy.test";

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Http1OverTls,
    Http2OverTls,
    /// In cleartext, with prior knowledge.
    Http2,
}

/// A connection. Its runtime has to run for it to go on.
pub enum HyperClient {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl HyperClient {
    /// # Panics
    /// If there is no connection to be had within [`DEADLINE`].
    pub async fn connect(address: SocketAddr, speaks: Speaks, roots: &Arc<RootCertStore>) -> HyperClient {
        timeout(DEADLINE, HyperClient::connected(address, speaks, roots)).await.expect("a connection in time")
    }

    async fn connected(address: SocketAddr, speaks: Speaks, roots: &Arc<RootCertStore>) -> HyperClient {
        let tcp = TcpStream::connect(address).await.expect("it accepts");
        tcp.set_nodelay(true).expect("a socket takes options");
        let alpn: &[u8] = match speaks {
            Speaks::Http2 => return HyperClient::http2(tcp).await,
            Speaks::Http2OverTls => b"h2",
            Speaks::Http1OverTls => b"http/1.1",
        };
        let connector = TlsConnector::from(Arc::new(client_config(roots, alpn)));
        let tls = connector.connect(server_name(), tcp).await.expect("a handshake");
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(alpn));
        if speaks == Speaks::Http2OverTls {
            return HyperClient::http2(tls).await;
        }
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await.expect("a connection");
        // How it ends, its requests say.
        tokio::spawn(async { drop(connection.await) });
        HyperClient::Http1(sender)
    }

    async fn http2(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> HyperClient {
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(io));
        let (sender, connection) = handshake.await.expect("a connection");
        tokio::spawn(async { drop(connection.await) });
        HyperClient::Http2(sender)
    }

    /// Status and body.
    pub async fn get(&mut self, path: &str) -> hyper::Result<(StatusCode, Bytes)> {
        let answer = match self {
            HyperClient::Http1(sender) => {
                let request = Request::get(path).header("host", SERVER).body(Empty::new());
                sender.ready().await?;
                sender.send_request(request.expect("it is a request")).await?
            }
            HyperClient::Http2(sender) => {
                let request = Request::get(format!("http://{SERVER}{path}")).body(Empty::new());
                sender.ready().await?;
                sender.send_request(request.expect("it is a request")).await?
            }
        };
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}

/// Trust in these certificates, which are files.
pub fn roots<'a>(certificates: impl IntoIterator<Item = &'a Path>) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for file in certificates {
        let certificate = CertificateDer::from_pem_file(file).expect("it is a certificate");
        roots.add(certificate).expect("it can be trusted");
    }
    Arc::new(roots)
}

pub fn server_name() -> ServerName<'static> {
    ServerName::try_from(SERVER).expect("it is a name")
}

pub fn client_config(roots: &Arc<RootCertStore>, alpn: &[u8]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("there are versions");
    let mut config = builder.with_root_certificates(roots.clone()).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}
