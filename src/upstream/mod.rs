//! Third-party APIs: names to addresses, connections, the pool of each worker, and the HTTP/1 codec.
//!
//! The codec is our own, because that is where response desynchronisation is decided, and because hyper's client
//! channels cost more than the whole forwarding. HTTP/2 towards the upstream is hyper's.

mod body;
mod bulkhead;
mod connect;
mod egress;
pub mod h1;
mod h2;
mod moving;
mod open;
mod pool;
mod probe;
mod resolve;
mod tls;
mod trailers;
mod waiting;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests measure by the clock that they pause")]
mod tests;

pub use body::{AnswerBody, AnswerBodyError, ClientBodyError, HoldError, OutgoingBody, Recoder, ReplayBudget};
pub use bulkhead::Bulkhead;
pub use connect::{ConnectError, Connection, Connector, Target};
pub use moving::Destination;
pub use pool::{Pool, PoolStats};
pub use probe::Probed;
#[cfg(test)]
pub use resolve::FixedNames;
pub use resolve::Names;
pub use trailers::is_trailer_allowed;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::config::{self, HttpUrl, HttpVersion};
use open::Opener;
use pool::Taken;
use resolve::Name;

/// An upstream at work, made from its configuration by the snapshot; shared by the workers.
#[derive(Debug)]
pub struct Upstream {
    opener: Arc<Opener>,
    /// What our connections' addresses have to agree with; `None`: the URL names an address, or a proxy resolves.
    name: Option<Arc<Name>>,
}

/// Which connection a request goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Any,
    /// One that is opened for it, so that no other request can have used it up.
    ItsOwn,
}

/// The head of a request as it goes out. `Host`, framing and connection headers are the codec's to write.
#[derive(Debug)]
pub struct OutgoingHead<'a> {
    pub method: &'a Method,
    /// Path and query, the upstream's own path in front.
    pub target: &'a str,
    pub headers: &'a HeaderMap,
    /// Fields that are sent in place of all that have their name in `headers`; each name once, and none that is the
    /// codec's to write.
    pub over: [Option<(&'a HeaderName, &'a HeaderValue)>; 3],
    /// `TE: trailers` is kept towards HTTP/2 upstreams.
    pub wants_trailers: bool,
}

impl OutgoingHead<'_> {
    /// Hands over the fields to send, but for those of `headers` that are the codec's to write.
    pub fn each_field(&self, mut send: impl FnMut(&HeaderName, &HeaderValue)) {
        for (name, value) in self.over.iter().flatten() {
            send(name, value);
        }
        let is_over = |name: &HeaderName| self.over.iter().flatten().any(|(over, _)| *over == name);
        for (name, value) in self.headers {
            if !h1::is_ours_to_write(name.as_str()) && !is_over(name) {
                send(name, value);
            }
        }
    }
}

/// The upstream's answer, its body still to be streamed.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// As received, hop-by-hop fields included: cleaning is the proxy's.
    pub headers: HeaderMap,
    pub body: AnswerBody,
    /// How long opening a connection took; zero for a pooled one.
    pub connect: Duration,
    /// Whether a pooled connection was used.
    pub reused: bool,
}

/// Why an exchange failed before its answer's head was complete.
#[derive(Debug)]
pub struct ExchangeError {
    pub kind: ExchangeErrorKind,
    /// For the log: names the step and the cause. No secret; never shown to clients.
    pub text: String,
    /// No byte of the request was written, or the upstream said that it did not process it (HTTP/2): safe to send
    /// again, whatever it is (SEC-31, SEC-32).
    pub nothing_sent: bool,
    /// It was a reused connection that closed or reset before a byte of the answer (SEC-32).
    pub reused_closed: bool,
    /// Nothing was sent because the upstream ends the connection (HTTP/2): others may be about to end, too.
    pub connection_ends: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeErrorKind {
    /// The name does not resolve.
    Resolve,
    /// The address check refuses every address (SEC-14).
    AddressRefused,
    Connect,
    /// This process has no file descriptor for another connection to an upstream (SEC-41).
    NoDescriptor,
    /// The egress proxy refuses the tunnel by a status of the client's fault (4xx): it would do so again.
    EgressRefused,
    ConnectTimeout,
    /// Connected, but its side of the TLS handshake did not come in time: perhaps it speaks no TLS there.
    TlsTimeout,
    Tls,
    /// Closed or reset before the answer was complete.
    Closed,
    /// No head in time.
    FirstByteTimeout,
    /// The answer breaks HTTP, or its head is too large, or it is an unasked-for 101.
    BadAnswer,
    /// The target is longer than HTTP/2 can have it here: 65,534 bytes.
    TargetTooLong,
    /// The client's body ended badly, broke HTTP, or was of another length than announced.
    ClientBody,
    /// The client's body made no progress in time.
    ClientBodyTimeout,
    /// More interim answers (1xx) than are consumed.
    TooManyInformational,
}

fn target(config: &config::Upstream, url: &HttpUrl) -> Target {
    let alpn: &[&[u8]] = match config.http {
        HttpVersion::Auto => &[b"h2", b"http/1.1"],
        HttpVersion::Http1 => &[b"http/1.1"],
        HttpVersion::Http2 => &[b"h2"],
    };
    Target {
        url: url.clone(),
        private: config.private,
        ca: config.ca.clone(),
        client_certificate: config.client_certificate.clone(),
        alpn,
    }
}

impl Upstream {
    /// Builds the running upstream that is at this URL.
    pub fn new(config: &config::Upstream, url: &HttpUrl, connector: &Arc<Connector>) -> Upstream {
        Upstream::with_authority(config, url, connector, url.authority())
    }

    fn with_authority(
        config: &config::Upstream,
        url: &HttpUrl,
        connector: &Arc<Connector>,
        authority: String,
    ) -> Upstream {
        let target = target(config, url);
        let slot = connector.slot_of(&target, config.http);
        Upstream::at(target, slot, config.http, connector, authority)
    }

    /// The same where a token names the URL. `None`: this is a new place, and there are too many of them.
    fn named(config: &config::Upstream, url: &HttpUrl, connector: &Arc<Connector>) -> Option<Upstream> {
        let target = target(config, url);
        let slot = connector.slot_of_named(&target, config.http)?;
        Some(Upstream::at(target, slot, config.http, connector, url.authority()))
    }

    fn at(target: Target, slot: usize, http: HttpVersion, connector: &Arc<Connector>, authority: String) -> Upstream {
        let name = connector.name_of(&target.url);
        let opener = Opener { target, authority, http, connector: connector.clone(), slot };
        Upstream { opener: Arc::new(opener), name }
    }

    /// `Host` of every request to it (SEC-11).
    pub fn authority(&self) -> &str {
        &self.opener.authority
    }

    /// Where it is. The path is of no account.
    pub fn url(&self) -> &HttpUrl {
        &self.opener.target.url
    }

    #[cfg(test)]
    fn shares_connections_with(&self, other: &Upstream) -> bool {
        self.opener.slot == other.opener.slot
    }

    /// Sends a request over the worker's pool and returns when the answer's head is complete. Cancelled by dropping
    /// it: the connection is closed. Makes one attempt; whether to try again is the caller's to decide.
    pub async fn exchange(
        &self,
        over: Over,
        pool: &Rc<Pool>,
        head: &OutgoingHead<'_>,
        body: &mut OutgoingBody,
        timeouts: &config::UpstreamTimeouts,
    ) -> Result<Answer, ExchangeError> {
        let (opener, name) = (&self.opener, self.name.as_deref());
        let pooled = if over == Over::Any { pool.take(opener.slot, name) } else { None };
        let (taken, connect) = match (pooled, over) {
            (Some(taken), _) => (taken, None),
            // Boxed, because it is large and rare: a future is as large as its largest branch.
            (None, Over::Any) => Box::pin(opener.open(pool, name, timeouts.connect)).await?,
            (None, Over::ItsOwn) => Box::pin(opener.open_alone(pool, name, timeouts.connect)).await?,
        };
        let reused = connect.is_none();
        let request = h1::Outgoing { head, authority: &opener.authority };
        let answered = match taken {
            Taken::Wire(wire) => h1::exchange(wire, request, body, timeouts, pool)
                .await
                .map(|answered| h1::receive(answered, h1::Home { pool: pool.clone(), idle: timeouts.idle })),
            Taken::Link(link) => {
                let exchange = h2::exchange(link, opener.target.url.scheme(), request, body, timeouts, pool.ticker());
                Box::pin(exchange).await
            }
        };
        match answered {
            Ok((status, headers, body)) => {
                Ok(Answer { status, headers, body, connect: connect.unwrap_or_default(), reused })
            }
            Err(failure) => Err(ExchangeError {
                kind: failure.kind,
                text: format!("{}: {}", opener.authority, failure.text),
                nothing_sent: failure.nothing_sent,
                reused_closed: reused && failure.closed_before_answer,
                connection_ends: failure.connection_ends,
            }),
        }
    }
}

impl From<ConnectError> for ExchangeError {
    fn from(error: ConnectError) -> Self {
        ExchangeError {
            kind: error.kind,
            text: error.text,
            nothing_sent: true,
            reused_closed: false,
            connection_ends: false,
        }
    }
}
