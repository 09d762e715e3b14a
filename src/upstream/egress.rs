//! Through an HTTP proxy: CONNECT, Basic, no_proxy (SEC-21).

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ExchangeErrorKind;
use super::connect::ConnectError;
use crate::config::{self, HttpUrl};
use crate::secret::Secret;

/// The longest answer of a proxy to CONNECT.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// `[egress]` at work.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Egress {
    proxy: Option<Proxy>,
    direct: Vec<Direct>,
    pub(super) ca: Vec<CertificateDer<'static>>,
}

/// The proxy that connections go through.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    authorization: Option<Secret>,
}

/// What is reached without the proxy.
#[derive(Debug, PartialEq, Eq)]
enum Direct {
    All,
    Host(String),
    /// A domain with everything below it; kept with its leading dot.
    Domain(String),
    /// An address is a network of one.
    Network(IpAddr, u8),
}

impl Egress {
    pub(super) fn new(config: &config::Egress) -> Self {
        let proxy = config.proxy.as_ref().map(|proxy| Proxy {
            host: proxy.host.clone(),
            port: proxy.port,
            authorization: proxy.authorization.clone(),
        });
        let direct = config.no_proxy.iter().map(|rule| Direct::parse(rule)).collect();
        Egress { proxy, direct, ca: config.ca.clone() }
    }

    /// The proxy for this URL, if it goes through one. Loopback never does, as everywhere; nor does what is on this
    /// machine's link: the proxy would reach its own machine's metadata server.
    pub(super) fn proxy_for(&self, url: &HttpUrl) -> Option<&Proxy> {
        let proxy = self.proxy.as_ref()?;
        let is_own = url.host == "localhost" || url.ip.is_some_and(|ip| ip.is_loopback()) || url.is_link_local();
        (!is_own && !self.direct.iter().any(|rule| rule.covers(url))).then_some(proxy)
    }
}

impl Direct {
    fn parse(rule: &str) -> Self {
        let rule = rule.trim().to_ascii_lowercase();
        if rule == "*" {
            return Direct::All;
        }
        let (address, bits) = match rule.split_once('/') {
            Some((address, bits)) => (address, bits.parse().ok()),
            None => (rule.as_str(), Some(128)),
        };
        let address = address.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match (address, bits) {
            (Ok(address), Some(bits)) => Direct::Network(address, bits),
            _ if rule.starts_with('.') => Direct::Domain(rule),
            _ => Direct::Host(rule),
        }
    }

    fn covers(&self, url: &HttpUrl) -> bool {
        match self {
            Direct::All => true,
            Direct::Host(host) => *host == url.host,
            Direct::Domain(domain) => url.host.ends_with(domain.as_str()) || url.host == domain[1..],
            Direct::Network(network, bits) => url.ip.is_some_and(|ip| is_within(ip, *network, *bits)),
        }
    }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let (address, network, width) = match (address.to_canonical(), network.to_canonical()) {
        (IpAddr::V4(address), IpAddr::V4(network)) => (address.to_bits().into(), network.to_bits().into(), 32),
        (IpAddr::V6(address), IpAddr::V6(network)) => (address.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    let ignored = width - u32::from(bits).min(width);
    let difference: u128 = address ^ network;
    difference.checked_shr(ignored).unwrap_or(0) == 0
}

impl Proxy {
    /// Asks the proxy for a tunnel, RFC 9110 section 9.3.6.
    pub(super) async fn tunnel(&self, stream: &mut TcpStream, url: &HttpUrl) -> Result<(), ConnectError> {
        let error = |kind, why: String| {
            let text = format!("asking the egress proxy {}:{} for {}: {why}", self.host, self.port, url.host);
            ConnectError::new(kind, text)
        };
        let failed = |why| error(ExchangeErrorKind::Connect, why);
        let refused = |why| error(ExchangeErrorKind::EgressRefused, why);
        stream.write_all(&self.request(url)).await.map_err(|error| failed(error.to_string()))?;
        let mut answer = Vec::with_capacity(1024);
        loop {
            let read = stream.read_buf(&mut answer).await.map_err(|error| failed(error.to_string()))?;
            if let Some(status) = status_of(&answer).map_err(|why| failed(why.to_owned()))? {
                return match status {
                    200..=299 => Ok(()),
                    407 => Err(refused("it wants other credentials (407): see `[egress] proxy`".to_owned())),
                    400..=499 => Err(refused(format!("it refused with status {status}"))),
                    _ => Err(failed(format!("it refused with status {status}"))),
                };
            }
            if read == 0 {
                return Err(failed("it closed the connection".to_owned()));
            }
        }
    }

    fn request(&self, url: &HttpUrl) -> Vec<u8> {
        let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
        let authority = format!("{host}:{}", url.port);
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n");
        if let Some(authorization) = &self.authorization {
            request.push_str("proxy-authorization: ");
            request.push_str(authorization.expose());
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        request.into_bytes()
    }
}

/// The status once the head is complete. A tunnel that speaks before we do is refused: what it says is no upstream's.
fn status_of(answer: &[u8]) -> Result<Option<u16>, &'static str> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(answer) {
        Ok(httparse::Status::Complete(length)) => {
            let status = response.code.unwrap_or(0);
            if status / 100 == 2 && length != answer.len() {
                return Err("it sent more than its answer");
            }
            Ok(Some(status))
        }
        Ok(httparse::Status::Partial) if answer.len() < ANSWER_BYTES_MAX => Ok(None),
        Ok(httparse::Status::Partial) => Err("its answer is larger than 16 KiB"),
        Err(_) => Err("its answer is no valid HTTP"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(host: &str) -> HttpUrl {
        HttpUrl { https: true, host: host.to_owned(), ip: host.parse().ok(), port: 443, path: String::new() }
    }

    fn is_direct(rules: &[&str], host: &str) -> bool {
        let proxy = config::EgressProxy { host: "proxy.example".to_owned(), port: 3128, authorization: None };
        let no_proxy = rules.iter().map(|rule| (*rule).to_owned()).collect();
        let egress = Egress::new(&config::Egress { proxy: Some(proxy), no_proxy, ca: Vec::new() });
        egress.proxy_for(&url(host)).is_none()
    }

    /// SEC-21: `no_proxy`, and what is never sent through a proxy.
    #[test]
    fn what_is_reached_directly() {
        let table: [(&[&str], &str, bool); 24] = [
            (&[], "api.example", false),
            (&[], "localhost", true),
            (&[], "127.0.0.1", true),
            (&[], "::1", true),
            // Metadata servers of clouds.
            (&[], "169.254.169.254", true),
            (&[], "fe80::a9fe:a9fe", true),
            (&[], "fd00:ec2::254", true),
            (&[], "fd00::254", false),
            (&[], "169.253.169.254", false),
            (&["*"], "api.example", true),
            (&["api.example"], "api.example", true),
            (&["API.Example"], "api.example", true),
            (&["api.example"], "eu.api.example", false),
            (&[".example"], "api.example", true),
            (&[".example"], "example", true),
            (&[".example"], "badexample", false),
            (&["192.0.2.1"], "192.0.2.1", true),
            (&["192.0.2.1"], "192.0.2.2", false),
            (&["192.0.2.0/24"], "192.0.2.200", true),
            (&["192.0.2.0/24"], "192.0.3.1", false),
            (&["0.0.0.0/0"], "192.0.3.1", true),
            (&["2001:db8::/32"], "2001:db8::1", true),
            (&["2001:db8::/32"], "192.0.2.1", false),
            (&["other.example", "192.0.2.0/33"], "192.0.2.0", true),
        ];
        for (rules, host, direct) in table {
            assert_eq!(is_direct(rules, host), direct, "{rules:?} {host}");
        }
    }

    #[test]
    fn a_proxys_answer_is_complete_or_bounded_or_wrong() {
        assert_eq!(status_of(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"), Ok(Some(200)));
        assert_eq!(status_of(b"HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno"), Ok(Some(407)));
        assert_eq!(status_of(b"HTTP/1.1 200 OK\r\nVia: x\r\n"), Ok(None));
        assert!(status_of(b"HTTP/1.1 200 OK\r\n\r\nPOISON").is_err());
        assert!(status_of(b"SSH-2.0\r\n\r\n").is_err());
        let endless = [&b"HTTP/1.1 200 OK\r\nX: "[..], &[b'x'; ANSWER_BYTES_MAX]].concat();
        assert!(status_of(&endless).is_err());
    }
}
