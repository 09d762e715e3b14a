//! `[[listeners]]`, `[admin]`, `[server]`, `[egress]` and `[log]`: what concerns the whole process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Reading;
use super::certificates::{certificate_and_key, roots};
use super::fields::{Fields, Text};
use super::secrets::Alphabet;
use crate::config::problem::closest;
use crate::config::url::is_host_name;
use crate::config::{Egress, EgressProxy, Limits, Listener, Log, LogFormat, Problem, Server, ServerTimeouts};
use crate::secret::Secret;

const ADMIN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

/// More workers than this only multiply upstream connections.
const DEFAULT_WORKERS_MAX: usize = 4;

pub(super) fn admin(reading: &mut Reading<'_>, root: &Fields<'_>) -> Option<SocketAddr> {
    let admin = root.table("admin")?;
    match admin.value("address") {
        None => Some(ADMIN_ADDRESS),
        Some(_) => {
            let text = admin.text(reading, "address");
            let given = text.and_then(|text| Some((address(reading, &text)?, text.span)));
            if let Some((address, span)) = given.clone().filter(|(address, _)| !address.ip().is_loopback()) {
                let message = format!("other machines can read the admin pages at {address}, without a password");
                let hint = "listen on 127.0.0.1, or see to it that only those who scrape it reach that port";
                reading.warning(Problem::new(message, span).hint(hint));
            }
            // A broken address still means that there is an admin listener.
            Some(given.map_or(ADMIN_ADDRESS, |(address, _)| address))
        }
    }
}

pub(super) fn server(reading: &mut Reading<'_>, root: &Fields<'_>, has_admin: bool) -> Server {
    let empty = toml::de::DeTable::new();
    let server = root.table_or(&empty, "server");
    let limits = server.table_or(&empty, "limits");
    let timeouts = server.table_or(&empty, "timeouts");
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = NonZeroUsize::new(server.size("workers", cores.min(DEFAULT_WORKERS_MAX)));
    let seconds = Duration::from_secs;
    let drain_delay = if has_admin { seconds(5) } else { Duration::ZERO };
    Server {
        workers: workers.unwrap_or(NonZeroUsize::MIN),
        drain_delay: server.duration(reading, "drain_delay").unwrap_or(drain_delay),
        drain_timeout: server.duration(reading, "drain_timeout").unwrap_or(seconds(30)),
        limits: Limits {
            connections_max: limits.size("connections_max", 10_000),
            request_line_bytes_max: limits.size("request_line_bytes_max", 32 * 1024),
            header_bytes_max: limits.size("header_bytes_max", 64 * 1024),
            headers_max: limits.size("headers_max", 100),
            replay_memory_bytes_max: limits.size("replay_memory_bytes_max", 64 * 1024 * 1024),
            aggregate_memory_bytes_max: limits.size("aggregate_memory_bytes_max", 256 * 1024 * 1024),
            h2_receive_memory_bytes_max: limits.size("h2_receive_memory_bytes_max", 256 * 1024 * 1024),
        },
        timeouts: ServerTimeouts {
            header: timeouts.duration(reading, "header").unwrap_or(seconds(10)),
            body_idle: timeouts.duration(reading, "body_idle").unwrap_or(seconds(30)),
            idle: timeouts.duration(reading, "idle").unwrap_or(seconds(75)),
            tls_handshake: timeouts.duration(reading, "tls_handshake").unwrap_or(seconds(10)),
        },
    }
}

pub(super) fn listeners(reading: &mut Reading<'_>, root: &Fields<'_>, admin: Option<SocketAddr>) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for fields in root.tables("listeners") {
        let certificates = listener_certificates(reading, &fields);
        let Some(text) = fields.text(reading, "address") else { continue };
        let Some(address) = address(reading, &text) else { continue };
        let taken = |other: SocketAddr| other == address && address.port() != 0;
        if listeners.iter().any(|other| taken(other.address)) {
            let problem = Problem::new(format!("two listeners have the address {address}"), text.span);
            reading.problem(problem.hint("give one of them another port"));
        } else if admin.is_some_and(taken) {
            let problem = Problem::new(format!("`[admin]` and this listener have the address {address}"), text.span);
            reading.problem(
                problem.hint("give one of them another port; that of `[admin]` is 9901 unless it says another"),
            );
        }
        listeners.push(Listener { address, certificates });
    }
    if root.list("listeners").is_empty() && !root.is_misspelt("listeners") {
        let problem = Problem::new("nothing is listened on: there are no `[[listeners]]`", None);
        reading.problem(problem.hint("write `[[listeners]]` and below it `address = \"127.0.0.1:8080\"`"));
    }
    listeners
}

fn listener_certificates(
    reading: &mut Reading<'_>,
    listener: &Fields<'_>,
) -> Vec<Arc<crate::config::CertificateAndKey>> {
    let Some(tls) = listener.table("tls") else { return Vec::new() };
    if tls.value("certificates").is_some() && tls.list("certificates").is_empty() {
        let problem = Problem::new("a listener with TLS needs a certificate", tls.span.clone());
        reading.problem(problem.hint("write `tls.certificates = [{ cert = \"FILE\", key = \"FILE\" }]`"));
    }
    let pairs = tls.tables("certificates");
    pairs.iter().filter_map(|pair| certificate_and_key(reading, pair).map(Arc::new)).collect()
}

fn address(reading: &mut Reading<'_>, text: &Text) -> Option<SocketAddr> {
    if let Ok(address) = text.value.parse() {
        return Some(address);
    }
    let hint = match text.value.strip_prefix("localhost:").or(text.value.strip_prefix(':')) {
        Some(port) => format!("write \"127.0.0.1:{port}\", or \"0.0.0.0:{port}\" for all addresses of this machine"),
        None => "write an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"".to_owned(),
    };
    reading.refuse(("this is no address to listen on".to_owned(), hint), &text.span)
}

pub(super) fn egress(reading: &mut Reading<'_>, root: &Fields<'_>) -> Option<Egress> {
    let Some(egress) = root.table("egress") else { return Some(Egress::default()) };
    let proxy = match egress.value("proxy") {
        None => Some(None),
        Some(_) => egress_proxy(reading, &egress).map(Some),
    };
    let no_proxy = egress.texts(reading, "no_proxy").into_iter().filter_map(|text| no_proxy(reading, text)).collect();
    let ca = roots(reading, &egress);
    Some(Egress { proxy: proxy?, no_proxy, ca: ca? })
}

fn egress_proxy(reading: &mut Reading<'_>, egress: &Fields<'_>) -> Option<EgressProxy> {
    let (text, authorization) = match egress.text(reading, "proxy") {
        Some(text) => (Some(text), Some(None)),
        None => {
            let proxy = egress.table("proxy")?;
            (proxy.text(reading, "url"), proxy_authorization(reading, &proxy))
        }
    };
    let text = text?;
    let url = reading.url("proxy", &text)?;
    if url.https || !matches!(url.path.as_str(), "" | "/") {
        let why = "an egress proxy is spoken to in cleartext, and has no path".to_owned();
        return reading.refuse((why, "write \"http://HOST:PORT\"".to_owned()), &text.span);
    }
    Some(EgressProxy { host: url.host, port: url.port, authorization: authorization? })
}

fn proxy_authorization(reading: &mut Reading<'_>, proxy: &Fields<'_>) -> Option<Option<Secret>> {
    let username = proxy.text(reading, "username");
    let password = proxy.secret(reading, "password", Alphabet::Text);
    match (proxy.value("username"), proxy.value("password")) {
        (None, None) => Some(None),
        (Some(_), Some(_)) => {
            let username = username?;
            refuse_bad_username(reading, &username)?;
            let pair = zeroize::Zeroizing::new(format!("{}:{}", username.value, password?.expose()));
            Some(Some(Secret::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())))))
        }
        _ => {
            let why = "a proxy that wants a password wants `username` and `password`".to_owned();
            reading.refuse((why, "write the other one, too, or none".to_owned()), &proxy.span)
        }
    }
}

/// RFC 7617 section 2: the user id ends at the first colon.
pub(super) fn refuse_bad_username(reading: &mut Reading<'_>, username: &Text) -> Option<()> {
    if username.value.contains(':') || username.value.chars().any(char::is_control) {
        let why = "a user name of Basic authentication has no colon and no control character".to_owned();
        return reading.refuse((why, "the password is a key of its own".to_owned()), &username.span);
    }
    Some(())
}

fn no_proxy(reading: &mut Reading<'_>, text: Text) -> Option<String> {
    let value = text.value.to_ascii_lowercase();
    let network = value.split_once('/').is_some_and(|(address, bits)| {
        let most = address.parse().map(|address: IpAddr| if address.is_ipv4() { 32 } else { 128 });
        most.is_ok_and(|most: u8| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
    });
    let name = is_host_name(value.strip_prefix('.').unwrap_or(&value));
    if value == "*" || network || name || value.parse::<IpAddr>().is_ok() {
        return Some(value);
    }
    let why = "this is no host name, address or network".to_owned();
    let hint = "write such as \"api.example\", \".example\" (and all below), \"10.0.0.0/8\" or \"*\"; no port";
    reading.refuse((why, hint.to_owned()), &text.span)
}

pub(super) fn log(reading: &mut Reading<'_>, root: &Fields<'_>) -> Log {
    let empty = toml::de::DeTable::new();
    let log = root.table_or(&empty, "log");
    let format = match log.choice(reading, "format") {
        Some("json") => LogFormat::Json,
        _ => LogFormat::Text,
    };
    let access = !matches!(log.choice(reading, "access"), Some("off" | "false"));
    let level = match log.text(reading, "level") {
        Some(text) => level(reading, text),
        None => "info".to_owned(),
    };
    Log { format, level, access }
}

/// A word alone would be taken as the name of a module, so that a misspelt level would log nothing.
fn level(reading: &mut Reading<'_>, text: Text) -> String {
    const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];
    let lower = text.value.to_ascii_lowercase();
    let word = !text.value.contains(['=', ',', '[']);
    let legal = if word { LEVELS.contains(&lower.as_str()) } else { is_filter(&text.value) };
    if !legal {
        let hint = match closest(&lower, LEVELS) {
            Some(meant) if word => format!("did you mean `{meant}`?"),
            _ => "write such as \"info\" or \"info,attache::token=debug\"".to_owned(),
        };
        reading.problem(Problem::new(format!("`level` is {}, or directives", LEVELS.join(", ")), text.span).hint(hint));
    }
    text.value
}

fn is_filter(text: &str) -> bool {
    tracing_subscriber::EnvFilter::builder().parse(text).is_ok()
}
