//! Which requests are answered, to whom, and by which upstreams.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};

use super::{Aggregate, Client, PathPattern, Upstream, UpstreamPath, UpstreamTimeouts};

#[derive(Debug)]
pub struct Route {
    pub name: Arc<str>,
    /// Lower case, without port.
    pub host: Option<String>,
    /// Empty: all.
    pub methods: Vec<Method>,
    pub path: PathPattern,
    pub access: Access,
    pub response_headers: HeaderEdits,
    pub answers: Answers,
}

/// What answers the requests of a route.
#[derive(Debug)]
pub enum Answers {
    Upstream(Arc<Forward>),
    Aggregate(Arc<Aggregate>),
}

/// Requests go to one upstream, and its answers come back.
#[derive(Debug)]
pub struct Forward {
    pub upstream: Arc<Upstream>,
    pub upstream_path: UpstreamPath,
    pub request_headers: HeaderEdits,
    /// Cookies pass, in both directions.
    pub cookies: bool,
    /// Whether textual bodies are scanned for the secret (SEC-13). Default on.
    pub redact_bodies: bool,
    /// The upstream's, but for what the route says itself.
    pub timeouts: UpstreamTimeouts,
}

impl Answers {
    /// The upstreams that may be asked, in declared order; one may be there more than once.
    pub fn upstreams(&self) -> Vec<&Arc<Upstream>> {
        match self {
            Answers::Upstream(forward) => vec![&forward.upstream],
            Answers::Aggregate(aggregate) => aggregate.parts.iter().map(|part| &part.upstream).collect(),
        }
    }
}

#[derive(Debug)]
pub enum Access {
    Anyone,
    Clients(Vec<Arc<Client>>),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    pub set: Vec<(HeaderName, HeaderValue)>,
    pub remove: Vec<HeaderName>,
}
