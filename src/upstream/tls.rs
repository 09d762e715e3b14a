//! TLS towards upstreams: roots, client certificates, sessions.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::ExchangeErrorKind;
use super::connect::{ConnectError, Target};
use crate::config::HttpUrl;

/// The most configurations that are kept. Each holds sessions of 256 servers.
const CONFIGS_MAX: usize = 256;

/// TLS configurations by what they depend on. Workers and reloads share them, and with them the sessions to resume:
/// each worker has connections of its own, and full handshakes are what that would cost.
pub(super) struct TlsConfigs {
    control: Handle,
    system: OnceCell<Arc<Vec<CertificateDer<'static>>>>,
    configs: Mutex<HashMap<Key, Arc<ClientConfig>>>,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    roots: Roots,
    client_certificate: Vec<CertificateDer<'static>>,
    alpn: &'static [&'static [u8]],
}

#[derive(PartialEq, Eq, Hash)]
enum Roots {
    Only(Vec<CertificateDer<'static>>),
    SystemAnd(Vec<CertificateDer<'static>>),
}

impl fmt::Debug for TlsConfigs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConfigs")
    }
}

impl TlsConfigs {
    pub(super) fn new(control: Handle) -> Self {
        TlsConfigs { control, system: OnceCell::new(), configs: Mutex::default() }
    }

    /// Makes TLS of a connection. `egress_ca` is trusted besides the system's roots where the target has no own.
    pub(super) async fn handshake(
        &self,
        target: &Target,
        egress_ca: &[CertificateDer<'static>],
        stream: TcpStream,
    ) -> Result<Box<TlsStream<TcpStream>>, ConnectError> {
        let url = &target.url;
        let config = self.config(target, egress_ca).await.map_err(|why| tls_error(url, &why))?;
        let name = match url.ip {
            Some(ip) => ServerName::IpAddress(ip.into()),
            None => ServerName::try_from(url.host.clone()).map_err(|_| tls_error(url, "the name is no DNS name"))?,
        };
        let done = TlsConnector::from(config).connect(name, stream).await;
        done.map(Box::new).map_err(|error| failed(url, &error))
    }

    async fn config(
        &self,
        target: &Target,
        egress_ca: &[CertificateDer<'static>],
    ) -> Result<Arc<ClientConfig>, String> {
        let roots = match target.ca.as_slice() {
            [] => Roots::SystemAnd(egress_ca.to_vec()),
            own => Roots::Only(own.to_vec()),
        };
        let chain = target.client_certificate.as_ref().map(|own| own.chain.clone()).unwrap_or_default();
        let key = Key { roots, client_certificate: chain, alpn: target.alpn };
        if let Some(config) = self.configs.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(config.clone());
        }
        let store = self.store(&key.roots).await?;
        let config = Arc::new(build(store, target)?);
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if configs.len() >= CONFIGS_MAX {
            configs.clear();
        }
        // Two that came at once must end up with one, or each would have its own sessions.
        Ok(configs.entry(key).or_insert(config).clone())
    }

    async fn store(&self, roots: &Roots) -> Result<RootCertStore, String> {
        let mut store = RootCertStore::empty();
        let own = match roots {
            Roots::Only(own) => own,
            Roots::SystemAnd(own) => {
                store.add_parsable_certificates(self.system().await?.iter().cloned());
                own
            }
        };
        for certificate in own {
            store.add(certificate.clone()).map_err(|error| format!("a certificate of `ca` cannot be used: {error}"))?;
        }
        if store.is_empty() {
            return Err("there is no root certificate: install the system's, or set `ca`".to_owned());
        }
        Ok(store)
    }

    /// The system's roots, read once, off the workers: it is many files.
    async fn system(&self) -> Result<Arc<Vec<CertificateDer<'static>>>, String> {
        let read = || async {
            let loaded = self.control.spawn_blocking(rustls_native_certs::load_native_certs).await;
            // Some of a system's files may be unreadable; what matters is whether any certificate is there.
            loaded.map(|loaded| Arc::new(loaded.certs)).map_err(|error| format!("reading the system's roots: {error}"))
        };
        self.system.get_or_try_init(read).await.cloned()
    }
}

fn build(store: RootCertStore, target: &Target) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(store);
    let mut config = match &target.client_certificate {
        None => builder.with_no_client_auth(),
        Some(own) => builder
            .with_client_auth_cert(own.chain.clone(), own.key.clone_key())
            .map_err(|error| format!("the client certificate cannot be used: {error}"))?,
    };
    config.alpn_protocols = target.alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// The error, and what to do where that is known.
fn explain(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let hint = match inner {
        // A root of the same name with another key signs badly.
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            "; if its issuer is your own, set `ca`"
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "; check the host of the URL",
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "; if it is valid elsewhere, this machine's clock is off",
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            "; it does not speak the version of HTTP that is asked for: see `http`"
        }
        Some(rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::BadCertificate,
        )) => "; it wants another client certificate: see `client_certificate`",
        Some(rustls::Error::InvalidMessage(_)) => "; does it speak TLS on this port?",
        _ => "",
    };
    format!("{error}{hint}")
}

/// What a failed handshake is told as.
pub(super) fn failed(url: &HttpUrl, error: &std::io::Error) -> ConnectError {
    tls_error(url, &explain(error))
}

fn tls_error(url: &HttpUrl, why: &str) -> ConnectError {
    ConnectError::new(ExchangeErrorKind::Tls, format!("TLS with {}:{}: {why}", url.host, url.port))
}
