//! One request to a token endpoint or for its metadata, over a connection of its own. Such requests are minutes apart,
//! so there is nothing to pool, and nothing of an earlier one that could disturb.

pub(super) mod body;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests measure by the clock that they pause")]
pub(super) mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::tape::{Exchange, Tape};
use crate::clock::timer_now;
use crate::config::{CertificateAndKey, HttpUrl};
use crate::token::{FetchErrorKind, Reached};
use crate::upstream::{ConnectError, Connection, Connector, ExchangeErrorKind, Target};

const ANSWER_HEAD_BYTES_MAX: usize = 64 * 1024;
const ANSWER_HEADERS_MAX: usize = 100;

/// How an endpoint is reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach<'a> {
    pub connector: &'a Connector,
    /// Names may resolve to private addresses (SEC-14).
    pub private: bool,
    /// Plain http is allowed also to what is not loopback.
    pub cleartext: bool,
    /// What we show, if the endpoint wants to see a certificate.
    pub client_certificate: Option<&'a Arc<CertificateAndKey>>,
    pub connect_timeout: Duration,
    /// When the whole fetch has to be over.
    pub deadline: Instant,
    /// Where a person wants to see what is said.
    pub tape: Option<&'a Tape>,
}

/// A complete answer.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Decompressed, at most 256 KiB; or why it cannot be read.
    pub body: Result<Zeroizing<Vec<u8>>, String>,
}

/// No complete answer came.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    pub kind: FetchErrorKind,
    pub reached: Reached,
    pub cause: String,
    pub hint: Option<&'static str>,
}

impl Broken {
    fn transient(reached: Reached, cause: impl Into<String>) -> Self {
        Broken { kind: FetchErrorKind::Transient, reached, cause: cause.into(), hint: None }
    }
}

/// A URL's scheme, host and port.
pub(super) fn origin(url: &HttpUrl) -> Arc<str> {
    format!("{}://{}", url.scheme(), url.authority()).into()
}

/// The request's target: path and query, which are kept as they were written.
pub(super) fn target(url: &HttpUrl) -> Result<http::Uri, String> {
    let text = match url.path.as_str() {
        "" => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        path => path.to_owned(),
    };
    text.parse().map_err(|_| "the path of its URL is no legal request target".to_owned())
}

/// Sends one request and takes its answer; follows no redirect (TL-35). Adds what every request carries.
pub(super) async fn exchange(
    reach: Reach<'_>,
    url: &HttpUrl,
    mut request: Request<Full<Bytes>>,
) -> Result<Reply, Broken> {
    refuse_cleartext(url, reach.cleartext)?;
    complete_headers(url, request.headers_mut());
    let Some(tape) = reach.tape else { return perform(reach, url, request, |_| {}).await };
    let mut exchange = Exchange::begin(url, &request).await;
    let reply = perform(reach, url, request, |connection| exchange.connected(reach.connector, connection)).await;
    tape.add(exchange, &reply);
    reply
}

async fn perform(
    reach: Reach<'_>,
    url: &HttpUrl,
    request: Request<Full<Bytes>>,
    connected: impl FnOnce(&Connection),
) -> Result<Reply, Broken> {
    let connection = connect(reach, url).await?;
    connected(&connection);
    match timeout_at(reach.deadline, send(connection, request)).await {
        Ok(result) => result.map_err(|error| Broken::transient(Reached::Answered, broken_off(&error))),
        Err(_) => Err(Broken::transient(Reached::Silent, "it did not answer in time")),
    }
}

/// TL-35, SEC-14: a secret does not travel in the clear, but to this machine. The configuration refuses it already; this
/// also holds for what discovery found.
pub(super) fn refuse_cleartext(url: &HttpUrl, cleartext: bool) -> Result<(), Broken> {
    if url.https || cleartext || url.is_loopback() {
        return Ok(());
    }
    Err(Broken {
        kind: FetchErrorKind::Refused,
        reached: Reached::No,
        cause: "plain http would show the secret to the network".to_owned(),
        hint: Some("use https, or say `cleartext = true`"),
    })
}

fn complete_headers(url: &HttpUrl, headers: &mut HeaderMap) {
    // An authority that was parsed from a URL is a legal header value.
    if let Ok(host) = HeaderValue::from_str(&url.authority()) {
        headers.insert(HOST, host);
    }
    // What a login declares itself stays.
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let user_agent = HeaderValue::from_static(concat!("attache/", env!("CARGO_PKG_VERSION")));
    headers.entry(USER_AGENT).or_insert(user_agent);
}

async fn connect(reach: Reach<'_>, url: &HttpUrl) -> Result<Connection, Broken> {
    let target = Target {
        url: url.clone(),
        private: reach.private,
        ca: Vec::new(),
        client_certificate: reach.client_certificate.cloned(),
        alpn: &[b"http/1.1"],
    };
    let left = reach.deadline.saturating_duration_since(timer_now());
    let connecting = reach.connector.connect(&target, reach.connect_timeout.min(left));
    match timeout_at(reach.deadline, connecting).await {
        Ok(connected) => connected.map_err(unconnected),
        Err(_) => Err(Broken::transient(Reached::No, "no connection in time")),
    }
}

/// All of these pass by themselves (TL-32), but for an address that SEC-14 refuses.
fn unconnected(error: ConnectError) -> Broken {
    let refused = error.kind == ExchangeErrorKind::AddressRefused;
    Broken {
        kind: if refused { FetchErrorKind::Refused } else { FetchErrorKind::Transient },
        reached: Reached::No,
        cause: error.text,
        hint: match error.kind {
            ExchangeErrorKind::Tls => {
                Some("a private CA belongs into `[egress] ca`; the certificate has to be valid for this host")
            }
            ExchangeErrorKind::TlsTimeout => Some("perhaps no TLS is spoken on that port"),
            _ => None,
        },
    }
}

/// The connection is driven in place, not in a task: when this future is dropped, it is closed.
async fn send(connection: Connection, request: Request<Full<Bytes>>) -> Result<Reply, hyper::Error> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(ANSWER_HEAD_BYTES_MAX)
        .max_headers(ANSWER_HEADERS_MAX)
        .handshake(TokioIo::new(connection))
        .await?;
    let receive = async {
        let (head, incoming) = sender.send_request(request).await?.into_parts();
        let body = body::read(&head.headers, incoming).await?;
        Ok(Reply { status: head.status, headers: head.headers, body })
    };
    tokio::pin!(connection, receive);
    tokio::select! {
        biased;
        reply = &mut receive => reply,
        // What it received before it ended still waits to be read.
        _ = &mut connection => receive.await,
    }
}

/// hyper's own words are about its parts, these about what the server did.
fn broken_off(error: &hyper::Error) -> String {
    let detail = std::error::Error::source(error).map(|source| format!(" ({source})")).unwrap_or_default();
    if error.is_parse() {
        format!("its answer is no HTTP/1.1{detail}")
    } else {
        format!("it closed the connection before its answer was complete{detail}")
    }
}
