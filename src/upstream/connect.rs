//! Opening connections: name, address check, race, egress proxy, TLS.

mod connection;
mod race;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::future::{Future, ready};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::runtime::Handle;

use super::ExchangeErrorKind;
use super::bulkhead::Permit;
use super::egress::Egress;
use super::resolve::{Name, Names, Resolver, is_allowed};
use super::tls::TlsConfigs;
use crate::clock::Clock;
use crate::config::{self, CertificateAndKey, HttpUrl, HttpVersion};
pub use connection::Connection;
pub(super) use connection::Transport;
use race::Raced;

/// The most places that upstreams are at because a token named them, over the life of the process: only these can become
/// many without a person's doing. One that is among them already is found for ever.
pub(super) const NAMED_PLACES_MAX: usize = 4096;

/// Opens connections for upstreams, token endpoints and discovery. One per process and configuration of `[egress]`;
/// names and TLS sessions outlive reloads.
#[derive(Debug)]
pub struct Connector {
    shared: Arc<Shared>,
    egress: Egress,
    /// Tells connections that left by different `[egress]` apart in pools.
    egress_number: usize,
}

/// What all connectors of a process have in common.
#[derive(Debug)]
struct Shared {
    resolver: Arc<Resolver>,
    tls: TlsConfigs,
    clock: Arc<dyn Clock>,
    /// Slots of pools by what connections are to. Never reused, so that a stale connection cannot turn up under
    /// another key; grows by an entry for each different upstream that the process has ever had.
    slots: Mutex<Slots>,
    egress_count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Slots {
    by_key: HashMap<PoolKey, usize>,
    /// How many of them tokens named.
    named: usize,
}

/// What two requests must have in common to share a connection.
#[derive(Debug, PartialEq, Eq, Hash)]
struct PoolKey {
    https: bool,
    /// Also what SNI says.
    host: String,
    port: u16,
    private: bool,
    http: HttpVersion,
    ca: Vec<CertificateDer<'static>>,
    client_certificate: Vec<CertificateDer<'static>>,
    egress_number: usize,
}

/// Where to connect to, and what is asked of it.
#[derive(Debug, Clone)]
pub struct Target {
    pub url: HttpUrl,
    /// Names may resolve to private addresses (SEC-14).
    pub private: bool,
    /// Trust only these; empty: system roots and `[egress] ca`.
    pub ca: Vec<CertificateDer<'static>>,
    pub client_certificate: Option<Arc<CertificateAndKey>>,
    /// Protocols to offer by ALPN, most wanted first.
    pub alpn: &'static [&'static [u8]],
}

/// An open connection, and how it was come by.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// `None` through an egress proxy.
    pub(super) address: Option<IpAddr>,
    /// Of the name's answer.
    pub(super) generation: u64,
    pub(super) took: Duration,
}

#[derive(Debug, Clone)]
pub struct ConnectError {
    pub kind: ExchangeErrorKind,
    pub text: String,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ConnectError {}

impl ConnectError {
    pub(super) fn new(kind: ExchangeErrorKind, text: impl Into<String>) -> Self {
        ConnectError { kind, text: text.into() }
    }
}

impl Connector {
    /// `control`: the control thread's runtime, where names are resolved and certificates are read.
    pub fn new(egress: &config::Egress, clock: Arc<dyn Clock>, control: Handle) -> Arc<Self> {
        Connector::with_names(egress, clock, control, Names::System)
    }

    /// With answers of its own for names, for tests.
    pub fn with_names(egress: &config::Egress, clock: Arc<dyn Clock>, control: Handle, names: Names) -> Arc<Self> {
        let shared = Shared {
            resolver: Resolver::new(names, clock.clone(), control.clone()),
            tls: TlsConfigs::new(control),
            clock,
            slots: Mutex::default(),
            egress_count: AtomicUsize::new(1),
        };
        Arc::new(Connector { shared: Arc::new(shared), egress: Egress::new(egress), egress_number: 0 })
    }

    /// Whether connections to this URL leave through an egress proxy.
    pub fn uses_proxy(&self, url: &HttpUrl) -> bool {
        self.egress.proxy_for(url).is_some()
    }

    /// The connector for another `[egress]`, after a reload; the same one if nothing has changed. Names and TLS
    /// sessions go on living.
    pub fn with_egress(self: &Arc<Self>, egress: &config::Egress) -> Arc<Self> {
        let egress = Egress::new(egress);
        if egress == self.egress {
            return self.clone();
        }
        let egress_number = self.shared.egress_count.fetch_add(1, Ordering::Relaxed);
        Arc::new(Connector { shared: self.shared.clone(), egress, egress_number })
    }

    /// Opens a connection within `timeout`, TLS included; its file descriptor is of the reserve. Works on any runtime;
    /// resolves on the control thread.
    pub async fn connect(&self, target: &Target, timeout: Duration) -> Result<Connection, ConnectError> {
        Ok(self.open(target, timeout, ready(Ok(Permit::of_the_reserve()))).await?.connection)
    }

    /// The same with a permit of the caller's, who is asked for it once there is an address to connect to.
    pub(super) async fn open(
        &self,
        target: &Target,
        timeout: Duration,
        permit: impl Future<Output = Result<Permit, ConnectError>>,
    ) -> Result<Opened, ConnectError> {
        let begin = self.shared.clock.now();
        let in_handshake = AtomicBool::new(false);
        let opened = tokio::time::timeout(timeout, self.open_in_time(target, permit, &in_handshake)).await;
        let mut opened =
            opened.unwrap_or_else(|_| Err(not_in_time(&target.url, timeout, in_handshake.load(Ordering::Relaxed))))?;
        opened.took = self.shared.clock.now().since(begin);
        Ok(opened)
    }

    async fn open_in_time(
        &self,
        target: &Target,
        permit: impl Future<Output = Result<Permit, ConnectError>>,
        in_handshake: &AtomicBool,
    ) -> Result<Opened, ConnectError> {
        let (Raced { stream, permit, .. }, address, generation) = match self.egress.proxy_for(&target.url) {
            Some(proxy) => {
                let (host, ip) = (proxy.host.as_str(), proxy.host.parse().ok());
                // Where the proxy is, its configuration says; what a name resolves to is the proxy's to check.
                let (mut raced, _) = self.open_tcp(host, ip, proxy.port, None, permit).await?;
                proxy.tunnel(&mut raced.stream, &target.url).await?;
                (raced, None, 0)
            }
            None => {
                let url = &target.url;
                let check = Some(target.private);
                let (raced, generation) = self.open_tcp(&url.host, url.ip, url.port, check, permit).await?;
                let address = raced.address;
                (raced, Some(address), generation)
            }
        };
        let transport = if target.url.https {
            in_handshake.store(true, Ordering::Relaxed);
            Transport::Tls(self.shared.tls.handshake(target, &self.egress.ca, stream).await?)
        } else {
            Transport::Plain(stream)
        };
        let connection = Connection { transport, _permit: permit };
        Ok(Opened { connection, address, generation, took: Duration::ZERO })
    }

    /// `check`: whether private addresses are allowed; `None` allows every address.
    async fn open_tcp(
        &self,
        host: &str,
        ip: Option<IpAddr>,
        port: u16,
        check: Option<bool>,
        permit: impl Future<Output = Result<Permit, ConnectError>>,
    ) -> Result<(Raced, u64), ConnectError> {
        let (addresses, generation, name) = self.addresses(host, ip, check).await?;
        let raced = race::race(&addresses, port, permit.await?).await.map_err(|lost| {
            if let Some(name) = &name {
                self.shared.resolver.again(name);
            }
            let kind = if lost.no_descriptor { ExchangeErrorKind::NoDescriptor } else { ExchangeErrorKind::Connect };
            ConnectError::new(kind, format!("connecting to {host}:{port}: {}", lost.text))
        })?;
        // Requests and answers are written whole: waiting for more would only delay them.
        raced.stream.set_nodelay(true).map_err(|error| {
            ConnectError::new(ExchangeErrorKind::Connect, format!("connecting to {host}:{port}: {error}"))
        })?;
        Ok((raced, generation))
    }

    /// The addresses that may be connected to (SEC-14). An address or `localhost` in a URL speaks for itself.
    async fn addresses(
        &self,
        host: &str,
        ip: Option<IpAddr>,
        check: Option<bool>,
    ) -> Result<(Vec<IpAddr>, u64, Option<Arc<Name>>), ConnectError> {
        if let Some(ip) = ip {
            return Ok((vec![ip], 0, None));
        }
        if host == "localhost" {
            return Ok((vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], 0, None));
        }
        let name = self.shared.resolver.name(host);
        let answer = self.shared.resolver.addresses(&name).await;
        let answer = answer.map_err(|why| {
            ConnectError::new(ExchangeErrorKind::Resolve, format!("resolving the name {host}: {why}"))
        })?;
        let mut refused = None;
        let mut allowed = answer.addresses.to_vec();
        if let Some(private) = check {
            allowed.retain(|address| match is_allowed(*address, private) {
                Ok(()) => true,
                Err(why) => {
                    refused = Some(format!("{host} resolves to {address}, {why}"));
                    false
                }
            });
        }
        match refused {
            Some(text) if allowed.is_empty() => Err(ConnectError::new(ExchangeErrorKind::AddressRefused, text)),
            _ => Ok((allowed, answer.generation, Some(name))),
        }
    }

    /// The name that pooled connections to this URL have to agree with; `None` where there is none.
    pub(super) fn name_of(&self, url: &HttpUrl) -> Option<Arc<Name>> {
        let has_name = url.ip.is_none() && url.host != "localhost" && self.egress.proxy_for(url).is_none();
        has_name.then(|| self.shared.resolver.name(&url.host))
    }

    /// Whether connections go to more than one place, or have.
    pub(super) fn has_several(&self) -> bool {
        self.slots().by_key.len() > 1
    }

    /// The slot of pools for connections to this target, which the configuration names.
    pub(super) fn slot_of(&self, target: &Target, http: HttpVersion) -> usize {
        let mut slots = self.slots();
        let next = slots.by_key.len();
        *slots.by_key.entry(self.key(target, http)).or_insert(next)
    }

    /// The same for a target that a token names. `None`: it is a new one, and there are [`NAMED_PLACES_MAX`].
    pub(super) fn slot_of_named(&self, target: &Target, http: HttpVersion) -> Option<usize> {
        let mut slots = self.slots();
        let Slots { by_key, named } = &mut *slots;
        let next = by_key.len();
        match by_key.entry(self.key(target, http)) {
            Entry::Occupied(known) => Some(*known.get()),
            Entry::Vacant(_) if *named == NAMED_PLACES_MAX => None,
            Entry::Vacant(new) => {
                *named += 1;
                Some(*new.insert(next))
            }
        }
    }

    fn key(&self, target: &Target, http: HttpVersion) -> PoolKey {
        PoolKey {
            https: target.url.https,
            host: target.url.host.clone(),
            port: target.url.port,
            private: target.private,
            http,
            ca: target.ca.clone(),
            client_certificate: target.client_certificate.as_ref().map(|own| own.chain.clone()).unwrap_or_default(),
            egress_number: self.egress_number,
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.shared.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_in_time(url: &HttpUrl, timeout: Duration, in_handshake: bool) -> ConnectError {
    let to = host_and_port(url);
    if in_handshake {
        let text = format!("connecting to {to}: the TLS handshake was not answered, within {timeout:?} in all");
        return ConnectError::new(ExchangeErrorKind::TlsTimeout, text);
    }
    ConnectError::new(ExchangeErrorKind::ConnectTimeout, format!("connecting to {to}: not done within {timeout:?}"))
}

fn host_and_port(url: &HttpUrl) -> String {
    format!("{}:{}", url.host, url.port)
}
