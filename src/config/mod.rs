//! Configuration: `file` mirrors proxy.toml as it is written, `resolve` turns it into [`Config`] or into a list of
//! every problem it has. There is no `validate`: what could be converted is valid.
//!
//! `Config` is data: it has no meaningless `Option`, no dangling name, and nothing that runs.

mod aggregate;
mod answer_shape;
mod base_url;
mod braces;
mod credential;
mod file;
mod grant;
mod json_path;
mod lifetime_format;
mod login;
mod oauth2;
mod open_api;
mod pattern;
mod preset;
mod problem;
mod request_template;
mod resolve;
mod route;
mod signature;
mod template;
mod token_life;
mod upstream;
mod upstream_path;
mod url;

pub use aggregate::{
    Absent, Aggregate, Collision, Condition, Edits, FailStatus, ForEach, JsonValue, Layout, NextPage, OnFailure, Pages,
    Part, PartRequest, Place, Reference, Report, StatusRange, Target, TextPiece, ValueSource,
};
pub use answer_shape::{AnswerPlace, AnswerShape, LifetimeUnit, Success};
pub use base_url::{AllowedHost, BaseUrl, BaseUrlFlaw, UpstreamUrl};
pub use credential::{ApiKey, ApiKeyPlace, Credential, CredentialKind, Metadata, MetadataRequest};
pub use file::json_schema;
pub use grant::{DPOP, Dpop, FieldsGrant, FieldsKind, GithubApp, Grant, JwtBearer, SubjectHeader};
pub use json_path::{Costly, FOUND_TIMES_MAX, JsonPath, NoJsonPath, PlainStep};
pub use lifetime_format::{LifetimeFormat, TimeField, TimePiece};
pub use login::{JsonTemplate, Login, LoginBody, LoginRequest, LoginStep};
pub use oauth2::{ClientAssertion, ClientProof, OAuth2, TokenEndpoint, TokenEndpointAuthMethod};
pub use open_api::{NoOperation, OpenApi};
pub use pattern::{PathPattern, PatternError, Segment};
pub use preset::{Preset, presets};
pub use problem::{Problem, Problems, Severity};
pub use request_template::{Placeholder, RequestPiece, RequestTemplate};
pub(crate) use resolve::is_cookie_value;
pub use resolve::{
    Environment, FreshSecret, Load, Loaded, Unread, is_name, load, load_text, meant_method, store_key_of,
};
pub use route::{Access, Answers, Forward, HeaderEdits, Route};
pub use signature::{
    AwsKey, AwsKeyPlace, AwsKeys, AwsSigV4, FetchedAwsKeys, Hmac, HmacAlgorithm, KeyEncoding, SelfSigned, Signature,
    SignatureEncoding, TimestampFormat,
};
pub use template::{Piece, Template};
pub use token_life::{Attach, AttachPart, TokenLife, TokenTimeouts, Warm};
pub use upstream::{HttpVersion, RejectOn, Replay, Upstream, UpstreamTimeouts};
pub use upstream_path::{TemplatePiece, UpstreamPath};
pub use url::{HttpUrl, UrlFlaw};

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use self::resolve::expansion;
use crate::secret::{Secret, StoreKey};

/// Everything that one version of proxy.toml says, with defaults filled in and secrets read.
#[derive(Debug)]
pub struct Config {
    pub server: Server,
    pub listeners: Vec<Listener>,
    /// Without it there is no admin listener.
    pub admin: Option<SocketAddr>,
    pub egress: Egress,
    pub log: Log,
    pub store: Store,
    pub clients: Vec<Arc<Client>>,
    pub credentials: Vec<Arc<Credential>>,
    pub upstreams: Vec<Arc<Upstream>>,
    pub routes: Vec<Arc<Route>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// min(cores, 4) unless said otherwise. Cannot be reloaded.
    pub workers: NonZeroUsize,
    /// How long listeners go on accepting after readiness went off. Default 5 s with `[admin]`, else 0.
    pub drain_delay: Duration,
    /// How long requests in flight may take after that. Default 30 s.
    pub drain_timeout: Duration,
    pub limits: Limits,
    pub timeouts: ServerTimeouts,
}

/// Bounds on what clients may send. Defaults are those of "Limits" in the docs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// 10,000, over all workers.
    pub connections_max: usize,
    /// 32 KiB.
    pub request_line_bytes_max: usize,
    /// 64 KiB.
    pub header_bytes_max: usize,
    /// 100.
    pub headers_max: usize,
    /// 64 MiB, over all workers.
    pub replay_memory_bytes_max: usize,
    /// 256 MiB, over all workers.
    pub aggregate_memory_bytes_max: usize,
    /// 256 MiB, over all workers.
    pub h2_receive_memory_bytes_max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTimeouts {
    /// From a request's first byte to the end of its headers: 10 s.
    pub header: Duration,
    /// Without a byte of a request's body, until the answer's head: 30 s.
    pub body_idle: Duration,
    /// A kept-alive connection without a request: 75 s.
    pub idle: Duration,
    /// 10 s.
    pub tls_handshake: Duration,
}

#[derive(Debug)]
pub struct Listener {
    pub address: SocketAddr,
    /// Empty: no TLS. Chosen by SNI; the first one serves clients without SNI or with an unknown name.
    pub certificates: Vec<Arc<CertificateAndKey>>,
}

/// A certificate chain with its key, and the files they came from, which are watched.
pub struct CertificateAndKey {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl std::fmt::Debug for CertificateAndKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CertificateAndKey({} certificates)", self.chain.len())
    }
}

/// Where tokens outlive what they belong to. Cannot be reloaded.
#[derive(Debug, PartialEq, Eq)]
pub enum Store {
    /// They end with the process.
    Memory,
    /// A file that this key seals.
    File { path: PathBuf, key: StoreKey },
}

/// How connections leave: for upstreams, token endpoints and discovery.
#[derive(Debug, Default)]
pub struct Egress {
    /// An HTTP proxy spoken to with CONNECT (plain http to the proxy itself).
    pub proxy: Option<EgressProxy>,
    /// Host names (a leading dot: their subdomains too), IP addresses, or networks that are reached directly. `*`: all.
    pub no_proxy: Vec<String>,
    /// Roots that are trusted besides the system's, for everything without a `ca` of its own.
    pub ca: Vec<CertificateDer<'static>>,
}

#[derive(Debug)]
pub struct EgressProxy {
    pub host: String,
    pub port: u16,
    /// The value of `Proxy-Authorization`, if it wants one.
    pub authorization: Option<Secret>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// A level (`info`) or directives of tracing-subscriber's `EnvFilter`.
    pub level: String,
    /// Whether each request is logged. Default on.
    pub access: bool,
}

/// Who calls.
#[derive(Debug, PartialEq, Eq)]
pub struct Client {
    pub name: Arc<str>,
    pub authentication: ClientAuthentication,
}

#[derive(Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// SHA-256 of the keys that are accepted; several during a rotation.
    Key { sha256: Vec<[u8; 32]> },
}
