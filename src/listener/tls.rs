//! Server certificates, chosen by SNI.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use crate::config::CertificateAndKey;

/// What seals session tickets. Made once per process, so that a client can resume with any worker and after a reload.
#[derive(Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// Fails if the system has no randomness.
    pub fn new() -> Result<Self, String> {
        let tickets = rustls::crypto::ring::Ticketer::new();
        tickets.map(Tickets).map_err(|error| format!("cannot make keys for TLS session tickets: {error}"))
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

/// How a listener with these certificates speaks TLS; `None` if there are none. The error names the certificate by its
/// place in the list. Parses keys: not for a worker.
pub fn server_config(
    certificates: &[Arc<CertificateAndKey>],
    tickets: &Tickets,
) -> Result<Option<Arc<ServerConfig>>, String> {
    if certificates.is_empty() {
        return Ok(None);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let resolver = BySni::new(certificates, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot set up TLS: {error}"))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = tickets.0.clone();
    Ok(Some(Arc::new(config)))
}

/// The certificates of one listener by the names in them.
#[derive(Debug)]
struct BySni {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl BySni {
    fn new(certificates: &[Arc<CertificateAndKey>], provider: &CryptoProvider) -> Result<Self, String> {
        let mut keys = Vec::with_capacity(certificates.len());
        for (index, certificate) in certificates.iter().enumerate() {
            let key = CertifiedKey::from_der(certificate.chain.clone(), certificate.key.clone_key(), provider)
                .map_err(|error| format!("certificate {} of the listener cannot be used: {error}", index + 1))?;
            keys.push(Arc::new(key));
        }
        let default = keys.first().cloned().ok_or("a listener with TLS needs a certificate")?;
        let mut resolver = BySni { exact: HashMap::new(), wildcard: HashMap::new(), default };
        for key in &keys {
            for name in names(key.cert.first()) {
                // The first certificate that has a name serves it.
                match name.strip_prefix("*.") {
                    Some(parent) => resolver.wildcard.entry(parent.to_owned()).or_insert_with(|| key.clone()),
                    None => resolver.exact.entry(name).or_insert_with(|| key.clone()),
                };
            }
        }
        Ok(resolver)
    }

    fn by_name(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        self.exact.get(&name).or_else(|| {
            // A wildcard stands for one label only (RFC 9525 section 6.3).
            let (_, parent) = name.split_once('.')?;
            self.wildcard.get(parent)
        })
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.by_name(name));
        Some(named.unwrap_or(&self.default).clone())
    }
}

/// The DNS names of a certificate, lower case. One that cannot be read has none, and serves as default at most.
fn names(certificate: Option<&CertificateDer<'_>>) -> Vec<String> {
    let Some(certificate) = certificate.and_then(|der| EndEntityCert::try_from(der).ok()) else {
        return Vec::new();
    };
    certificate.valid_dns_names().map(str::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    fn certificate(names: &[&str]) -> Arc<CertificateAndKey> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Arc::new(CertificateAndKey {
            chain: vec![made.cert.der().clone()],
            key: PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()),
        })
    }

    #[test]
    fn a_certificate_is_chosen_by_exact_name_then_wildcard_and_the_first_is_the_default() {
        let certificates =
            [certificate(&["first.example"]), certificate(&["*.wild.example"]), certificate(&["a.wild.example"])];
        let resolver = BySni::new(&certificates, &rustls::crypto::ring::default_provider()).unwrap();
        let chosen = |name: &str| {
            let key = resolver.by_name(name).unwrap_or(&resolver.default);
            certificates.iter().position(|certificate| certificate.chain == key.cert).unwrap()
        };
        let cases = [
            ("first.example", 0),
            ("FIRST.example", 0),
            ("b.wild.example", 1),
            ("a.wild.example", 2),
            ("a.b.wild.example", 0),
            ("wild.example", 0),
            ("unknown.example", 0),
        ];
        for (name, expected) in cases {
            assert_eq!(chosen(name), expected, "{name}");
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (one, other) = (certificate(&["one.example"]), certificate(&["other.example"]));
        let mixed = CertificateAndKey { chain: one.chain.clone(), key: other.key.clone_key() };
        let error = server_config(&[one, Arc::new(mixed)], &Tickets::new().unwrap()).unwrap_err();
        assert!(error.contains("certificate 2"), "{error}");
    }
}
