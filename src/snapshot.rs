//! From configuration to running parts: the one place where things are wired. Swapped whole on reload.

mod memory;
mod paths;
pub mod plan;

pub use memory::{Held, MemoryBudget};
pub use paths::PathMap;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::runtime::Handle;

use crate::client_auth::{ClientAuth, KeyDigest};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::credential::{self, Declared, DiscoveryCache, ProofKeys};
use crate::metrics::Metrics;
use crate::route::{Pattern, PatternSegment, RouteTable};
use crate::token::store::{MemoryStore, TokenStore};
use crate::token::{Identity, TokenCache};
use crate::upstream::{Bulkhead, Connector, Destination, ReplayBudget};

/// The label, for the upstream, of routes that ask several.
pub const AGGREGATE: &str = "(aggregate)";

/// State that outlives every snapshot: made once in `app`, shared into each.
#[derive(Clone, Debug)]
pub struct Living {
    pub clock: Arc<dyn Clock>,
    pub tokens: Arc<TokenCache>,
    pub connector: Arc<Connector>,
    pub discoveries: Arc<DiscoveryCache>,
    pub proof_keys: Arc<ProofKeys>,
    pub metrics: Arc<Metrics>,
    pub replay_budget: Arc<ReplayBudget>,
    /// What aggregates hold of answers.
    pub aggregate_memory: Arc<MemoryBudget>,
    /// Bounds the connections to upstreams, once `app` has said how many there may be.
    pub upstream_connections: Arc<Bulkhead>,
    pub via: Arc<Via>,
}

/// Everything that requests need, compiled from one version of proxy.toml.
#[derive(Debug)]
pub struct Snapshot {
    pub table: RouteTable,
    /// In the order of the configuration; `RouteTable` answers with an index into it.
    pub routes: Vec<Route>,
    pub clients: ClientAuth,
    /// Every credential of the configuration, whether a route uses it or not, in its order.
    pub credentials: Vec<Declared>,
    pub limits: config::Limits,
    pub timeouts: config::ServerTimeouts,
    /// How long streams go on that this snapshot no longer serves (SEC-39).
    pub drain_timeout: Duration,
    /// Whether requests are logged.
    pub access_log: bool,
    pub via: Arc<Via>,
}

/// How this proxy calls itself in `Via` (RFC 9110 section 7.6.3): a pseudonym that tells nothing about the host, and by
/// which a request that comes back is recognised. Drawn once, so that one which was on its way during a reload is, too.
#[derive(Debug)]
pub struct Via {
    pub pseudonym: String,
    /// The field's value for a request that was received by HTTP/1.1, and by HTTP/2.
    pub http1: HeaderValue,
    pub http2: HeaderValue,
}

/// A route at work.
#[derive(Debug)]
pub struct Route {
    pub config: Arc<config::Route>,
    pub answers: Answers,
    /// The headers of clients that go no further: those that credentials of its set, and those in which clients say on whose
    /// behalf they call, to whichever upstream (SEC-10).
    pub kept_back: Vec<HeaderName>,
}

/// What answers the requests of a route.
#[derive(Debug)]
pub enum Answers {
    Upstream(Box<Forward>),
    Aggregate(Box<Aggregate>),
}

/// One upstream at work for a route.
#[derive(Debug)]
pub struct Forward {
    pub config: Arc<config::Forward>,
    pub call: Call,
    pub paths: PathMap,
}

/// An aggregate at work.
#[derive(Debug)]
pub struct Aggregate {
    pub config: Arc<config::Aggregate>,
    /// Beside its parts.
    pub calls: Vec<Call>,
}

/// All that sending a request to an upstream takes, beside the request.
#[derive(Debug)]
pub struct Call {
    pub config: Arc<config::Upstream>,
    pub destination: Arc<Destination>,
    pub credential: Option<Declared>,
    /// The upstream's, but for what the route says itself.
    pub timeouts: config::UpstreamTimeouts,
    /// Whether textual bodies are scanned for the secret (SEC-13).
    pub redact_bodies: bool,
}

impl Living {
    /// `control`: the control thread's runtime, where tokens are fetched and names are resolved. Tokens end with it.
    pub fn new(config: &Config, clock: Arc<dyn Clock>, control: Handle) -> Living {
        Living::with_store(config, clock, control, Arc::new(MemoryStore::new()))
    }

    /// The same with tokens that live as long as this store.
    pub fn with_store(config: &Config, clock: Arc<dyn Clock>, control: Handle, store: Arc<dyn TokenStore>) -> Living {
        Living {
            tokens: TokenCache::with_store(clock.clone(), control.clone(), store),
            connector: Connector::new(&config.egress, clock.clone(), control),
            discoveries: Arc::default(),
            proof_keys: Arc::default(),
            metrics: Metrics::new(config.server.workers.get()),
            replay_budget: ReplayBudget::new(config.server.limits.replay_memory_bytes_max),
            aggregate_memory: MemoryBudget::new(config.server.limits.aggregate_memory_bytes_max),
            upstream_connections: Bulkhead::new(usize::MAX),
            via: Arc::new(Via::new(fastrand::u64(..))),
            clock,
        }
    }

    /// What credentials need of it.
    pub fn credential_parts(&self) -> credential::Parts {
        credential::Parts {
            clock: self.clock.clone(),
            tokens: self.tokens.clone(),
            connector: self.connector.clone(),
            discoveries: self.discoveries.clone(),
            proof_keys: self.proof_keys.clone(),
            tape: None,
        }
    }
}

impl Snapshot {
    /// Compiles a configuration. Cells, pools and resolved names that it shares with the last one go on living.
    ///
    /// One `Declared` credential and one `Destination` is made of each table, and shared by all routes that name it.
    pub fn compile(config: &Config, living: &Living) -> Arc<Snapshot> {
        let parts = living.credential_parts();
        let credentials: Vec<_> = config.credentials.iter().map(|config| Declared::new(config, &parts)).collect();
        let upstreams: Vec<_> =
            config.upstreams.iter().map(|config| Arc::new(Destination::new(config, &living.connector))).collect();
        let routes = config.routes.iter().map(|route| wire(route, config, &upstreams, &credentials)).collect();
        let patterns: Vec<_> = config.routes.iter().map(|route| pattern(route)).collect();
        Arc::new(Snapshot {
            table: RouteTable::new(&patterns),
            routes,
            clients: ClientAuth::new(&config.clients),
            credentials,
            limits: config.server.limits.clone(),
            timeouts: config.server.timeouts.clone(),
            drain_timeout: config.server.drain_timeout,
            access_log: config.log.access,
            via: living.via.clone(),
        })
    }

    /// The identities whose tokens this snapshot uses; the others can be forgotten once it is installed.
    pub fn identities(&self) -> Vec<Identity> {
        self.credentials.iter().filter_map(|credential| credential.identity()).collect()
    }

    /// Whether what an earlier snapshot's route began for the holder of a key would still be served: route, upstream,
    /// credential, client and that key have not gone (SEC-39); a key that was revoked ends its streams even if its client
    /// has others. What else about them changed does not end a stream. `key`: none was asked for if `None`.
    pub fn still_serves(&self, before: &Route, key: Option<&KeyDigest>) -> bool {
        let client = key.and_then(|key| self.clients.client_with(key)).map(|client| &*client.name);
        self.routes
            .iter()
            .any(|route| route.config.name == before.config.name && route.asks_the_same(before) && route.admits(client))
    }
}

/// A route with the running parts that it names. `resolve` has made sure that they exist.
fn wire(
    route: &Arc<config::Route>,
    config: &Config,
    upstreams: &[Arc<Destination>],
    credentials: &[Declared],
) -> Route {
    let call = |upstream: &Arc<config::Upstream>, timeouts, redact_bodies| Call {
        config: upstream.clone(),
        destination: upstreams[position(&config.upstreams, |candidate| candidate.name == upstream.name)].clone(),
        credential: upstream.credential.as_ref().map(|credential| {
            credentials[position(&config.credentials, |candidate| candidate.name == credential.name)].clone()
        }),
        timeouts,
        redact_bodies,
    };
    let answers = match &route.answers {
        config::Answers::Upstream(forward) => Answers::Upstream(Box::new(Forward {
            config: forward.clone(),
            call: call(&forward.upstream, forward.timeouts, forward.redact_bodies),
            paths: PathMap::new(&route.path, &forward.upstream_path, forward.upstream.url.path()),
        })),
        config::Answers::Aggregate(aggregate) => Answers::Aggregate(Box::new(Aggregate {
            config: aggregate.clone(),
            calls: aggregate.parts.iter().map(|part| call(&part.upstream, part_timeouts(part), true)).collect(),
        })),
    };
    let mut route = Route { config: route.clone(), answers, kept_back: Vec::new() };
    let set = route.calls().iter().filter_map(|call| call.credential.as_ref());
    let set = set.flat_map(|credential| &credential.names().headers);
    let subjects = credentials.iter().filter_map(|credential| credential.subject_header());
    route.kept_back = set.chain(subjects).cloned().collect();
    route
}

/// Of one call the part says how long it may take, which may be longer than its upstream is given elsewhere.
fn part_timeouts(part: &config::Part) -> config::UpstreamTimeouts {
    config::UpstreamTimeouts { first_byte: part.timeout, ..part.upstream.timeouts }
}

fn position<T>(all: &[Arc<T>], is_it: impl Fn(&T) -> bool) -> usize {
    all.iter().position(|one| is_it(one)).expect("a resolved configuration has no dangling name")
}

fn pattern(route: &config::Route) -> Pattern {
    let segment = |segment: &config::Segment| match segment {
        config::Segment::Literal(text) => PatternSegment::Literal(text.clone()),
        config::Segment::Parameter(_) => PatternSegment::Parameter,
        config::Segment::Rest(_) => PatternSegment::Rest,
    };
    Pattern {
        host: route.host.clone(),
        methods: route.methods.clone(),
        segments: route.path.segments.iter().map(segment).collect(),
    }
}

impl Route {
    /// Its calls, in declared order.
    pub fn calls(&self) -> &[Call] {
        match &self.answers {
            Answers::Upstream(forward) => std::slice::from_ref(&forward.call),
            Answers::Aggregate(aggregate) => &aggregate.calls,
        }
    }

    /// Whether it asks the same upstreams with the same credentials.
    fn asks_the_same(&self, other: &Route) -> bool {
        let asked = |call: &Call| (call.config.name.clone(), call.credential_name().cloned());
        self.calls().iter().map(asked).eq(other.calls().iter().map(asked))
    }

    /// What stands for its upstream in the log and in metrics.
    pub fn upstream_name(&self) -> &str {
        match &self.answers {
            Answers::Upstream(forward) => &forward.call.config.name,
            Answers::Aggregate(_) => AGGREGATE,
        }
    }

    /// Whether it can be used without a key.
    pub fn is_open(&self) -> bool {
        matches!(self.config.access, config::Access::Anyone)
    }

    /// Whether a client of this name may use it; `None`: one that was not asked for a key.
    pub fn admits(&self, client: Option<&str>) -> bool {
        match &self.config.access {
            config::Access::Anyone => true,
            config::Access::Clients(clients) => clients.iter().any(|allowed| Some(&*allowed.name) == client),
        }
    }
}

impl Call {
    /// The credential's name, for problem documents and the log.
    pub fn credential_name(&self) -> Option<&Arc<str>> {
        self.config.credential.as_ref().map(|credential| &credential.name)
    }

    /// Whether every rejected request may be sent again, whatever its method and the status (TL-44).
    pub fn replays_any(&self) -> bool {
        self.config.replay == config::Replay::Any
    }
}

impl Via {
    fn new(random: u64) -> Via {
        let pseudonym = format!("attache-{random:016x}");
        let value = |version: &str| HeaderValue::try_from(format!("{version} {pseudonym}")).expect("it is ASCII");
        Via { http1: value("1.1"), http2: value("2"), pseudonym }
    }
}
