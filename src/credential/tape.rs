//! What was said at token endpoints, kept for a person who asks what goes on there. It holds secrets and tokens: it is
//! shown only through [`super::told`], which masks them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use rustls::ProtocolVersion;
use rustls::pki_types::CertificateDer;

use super::endpoint::{Broken, Reply};
use crate::clock::Clock;
use crate::config::HttpUrl;
use crate::upstream::{Connection, Connector};

/// A fetch makes no more requests than that: discovery two, the token request one for each method that is tried.
const EXCHANGES_MAX: usize = 32;

/// The exchanges of one fetch, in their order.
pub struct Tape {
    clock: Arc<dyn Clock>,
    exchanges: Mutex<Vec<Exchange>>,
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tape(…)")
    }
}

/// One request and what came of it, as it was.
pub(super) struct Exchange {
    pub method: Method,
    pub url: HttpUrl,
    /// Path and query as they were sent. They may hold secrets, as all that was sent.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub connected: Option<Connected>,
    /// What came of it, and what the wall clock showed then. `None` only while it is under way.
    pub reply: Option<(Result<Reply, Broken>, SystemTime)>,
}

/// The connection that it went over.
pub(super) struct Connected {
    pub address: Option<SocketAddr>,
    pub by_proxy: bool,
    pub tls: Option<ProtocolVersion>,
    pub certificate: Option<CertificateDer<'static>>,
}

impl Tape {
    /// An empty one.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Tape {
        Tape { clock, exchanges: Mutex::default() }
    }

    pub(super) fn add(&self, exchange: Exchange, reply: &Result<Reply, Broken>) {
        let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        if exchanges.len() < EXCHANGES_MAX {
            exchanges.push(Exchange { reply: Some((reply.clone(), self.clock.wall())), ..exchange });
        }
    }

    /// What the wall clock shows now.
    pub(super) fn wall(&self) -> SystemTime {
        self.clock.wall()
    }

    /// Reads something from the last complete answer and the time when it came.
    pub(super) fn last_reply<R>(&self, read: impl FnOnce(&Reply, SystemTime) -> Option<R>) -> Option<R> {
        let exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        let (reply, wall) = exchanges.last()?.reply.as_ref()?;
        read(reply.as_ref().ok()?, *wall)
    }

    /// Takes what was said so far.
    pub(super) fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut self.exchanges.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Exchange {
    /// A request that is about to be sent.
    pub(super) async fn begin(url: &HttpUrl, request: &Request<Full<Bytes>>) -> Exchange {
        let Ok(body) = request.body().clone().collect().await;
        Exchange {
            method: request.method().clone(),
            url: url.clone(),
            target: request.uri().path_and_query().map_or_else(|| url.path.clone(), ToString::to_string),
            headers: request.headers().clone(),
            body: body.to_bytes(),
            connected: None,
            reply: None,
        }
    }

    pub(super) fn connected(&mut self, connector: &Connector, connection: &Connection) {
        self.connected = Some(Connected {
            address: connection.address(),
            by_proxy: connector.uses_proxy(&self.url),
            tls: connection.tls_version(),
            certificate: connection.certificate().cloned(),
        });
    }
}
