//! Configuration: `file` mirrors proxy.toml as it is written, `resolve` turns it into [`Config`] or into a list of
//! every problem it has. There is no `validate`: what could be converted is valid.
//!
//! `Config` is data: it has no meaningless `Option`, no dangling name, and nothing that runs.

mod aggregate;
mod answer_shape;
mod base_url;
mod file;
mod grant;
mod json_path;
mod lifetime_format;
mod login;
mod open_api;
mod pattern;
mod preset;
mod problem;
mod request_template;
mod resolve;
mod signature;
mod template;
mod url;

pub use aggregate::{
    Absent, Aggregate, Collision, Condition, Edits, FailStatus, ForEach, JsonValue, Layout, NextPage, OnFailure, Pages,
    Part, PartRequest, Place, Reference, Report, StatusRange, Target, TextPiece, ValueSource,
};
pub use answer_shape::{AnswerPlace, AnswerShape, Success};
pub use base_url::{AllowedHost, BaseUrl, BaseUrlFlaw, UpstreamUrl};
pub use file::json_schema;
pub use grant::{DPOP, Dpop, FieldsGrant, FieldsKind, GithubApp, Grant, JwtBearer, SubjectHeader};
pub use json_path::{JsonPath, PlainStep};
pub use lifetime_format::{LifetimeFormat, TimeField, TimePiece};
pub use login::{JsonTemplate, Login, LoginBody, LoginRequest, LoginStep};
pub use open_api::{NoOperation, OpenApi};
pub use pattern::{PathPattern, PatternError, Segment, TemplatePiece, UpstreamPath};
pub use preset::{Preset, presets};
pub use problem::{Problem, Problems, Severity};
pub use request_template::{Placeholder, RequestPiece, RequestTemplate};
pub(crate) use resolve::is_cookie_value;
pub use resolve::{
    Environment, FreshSecret, Load, Loaded, Unread, is_name, load, load_text, meant_method, store_key_of,
};
pub use signature::{
    AwsKey, AwsKeyPlace, AwsKeys, AwsSigV4, FetchedAwsKeys, Hmac, HmacAlgorithm, KeyEncoding, SelfSigned, Signature,
    SignatureEncoding, TimestampFormat,
};
pub use template::{Piece, Template};
pub use url::{HttpUrl, UrlFlaw};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use self::resolve::expansion;
use crate::jws::SigningKey;
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

/// How we authenticate to an upstream.
#[derive(Debug)]
pub struct Credential {
    pub name: Arc<str>,
    pub kind: CredentialKind,
}

#[derive(Debug)]
pub enum CredentialKind {
    OAuth2(Box<OAuth2>),
    Metadata(Box<Metadata>),
    Login(Arc<Login>),
    Bearer {
        token: Secret,
    },
    /// At least one; no two of them go to one place.
    ApiKeys(Vec<ApiKey>),
    Basic {
        username: String,
        password: Secret,
    },
    /// A key in place of the user name, and no password.
    BasicKey {
        key: Secret,
    },
    /// Made anew for each request; with AWS, by keys that may be fetched.
    Signature(Box<Signature>),
}

impl CredentialKind {
    /// The life of its tokens, if they are fetched, or of the keys that it signs with.
    pub fn token_life(&self) -> Option<&TokenLife> {
        match self {
            CredentialKind::OAuth2(oauth2) => Some(&oauth2.life),
            CredentialKind::Metadata(metadata) => Some(&metadata.life),
            CredentialKind::Login(login) => Some(&login.life),
            CredentialKind::Signature(signature) => signature.fetched_keys().map(|keys| &keys.life),
            CredentialKind::Bearer { .. }
            | CredentialKind::ApiKeys(_)
            | CredentialKind::Basic { .. }
            | CredentialKind::BasicKey { .. } => None,
        }
    }
}

impl Credential {
    /// The header in which some clients say on whose behalf they call, if the credential is of that kind.
    pub fn subject_header(&self) -> Option<&SubjectHeader> {
        match &self.kind {
            CredentialKind::OAuth2(oauth2) => oauth2.grant.subject_header(),
            _ => None,
        }
    }
}

/// A fixed key, and where it goes.
#[derive(Debug)]
pub struct ApiKey {
    pub place: ApiKeyPlace,
    /// What stands before the key, the blank between them included. Empty: nothing.
    pub scheme: String,
    pub value: Secret,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKeyPlace {
    Header(HeaderName),
    /// The parameter's name, decoded.
    Query(String),
    /// The cookie's name.
    Cookie(String),
}

/// Where a token goes, and what goes with it. At least one part; no two of them go to one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attach {
    pub parts: Vec<AttachPart>,
    /// The values that say where upstreams are, by name: a token with another one is not sent at all.
    pub base_urls: BTreeMap<String, BaseUrl>,
}

/// One header, query parameter or cookie that a token credential sets. `token` is the token itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachPart {
    pub place: ApiKeyPlace,
    pub value: Template,
}

/// `Authorization: Bearer TOKEN`, RFC 6750 section 2.1.
impl Default for Attach {
    fn default() -> Self {
        Attach::authorization("Bearer")
    }
}

impl Attach {
    /// `Authorization: SCHEME TOKEN`.
    pub fn authorization(scheme: &str) -> Self {
        let value = Template { pieces: vec![Piece::Text(format!("{scheme} ")), Piece::Value("token".to_owned())] };
        Attach {
            parts: vec![AttachPart { place: ApiKeyPlace::Header(AUTHORIZATION), value }],
            base_urls: BTreeMap::new(),
        }
    }
}

/// Tokens of the metadata server of the cloud that attache runs in.
#[derive(Debug)]
pub struct Metadata {
    /// Where it is: the fixed address of the clouds, or one that is configured. No slash at the end, no query.
    pub url: HttpUrl,
    pub request: MetadataRequest,
    pub life: TokenLife,
}

/// What a metadata server is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataRequest {
    /// The token of a managed identity for an API. On a virtual machine; or, with the secret of `IDENTITY_HEADER`, on App
    /// Service, whose URL is that of `IDENTITY_ENDPOINT`, path included.
    Azure { resource: String, client_id: Option<String>, identity_header: Option<Secret> },
    /// An access token of a service account; no scopes: all that the machine has.
    Google { account: String, scope: Vec<String> },
    /// An identity token of a service account for this audience, such as a Cloud Run service.
    GoogleIdentity { account: String, audience: String },
}

/// A grant of OAuth 2.0, and how its tokens are asked for.
#[derive(Debug, Clone)]
pub struct OAuth2 {
    pub grant: Grant,
    pub endpoint: TokenEndpoint,
    /// Empty: no client is named beside what the grant presents.
    pub client_id: String,
    pub proof: ClientProof,
    /// Shown at the token endpoint: the proof itself (RFC 8705 section 2), or what a server wants besides.
    pub client_certificate: Option<Arc<CertificateAndKey>>,
    /// The one before it, which the server may still want while secrets are rotated.
    pub older_proof: Option<ClientProof>,
    /// What tokens are bound to, if they are to be.
    pub dpop: Option<Dpop>,
    /// As configured; `None`: what discovery says, else basic (TL-38).
    pub auth_method: Option<TokenEndpointAuthMethod>,
    pub scope: Vec<String>,
    pub audience: Option<String>,
    /// RFC 8707, repeatable.
    pub resource: Vec<String>,
    /// Further form fields.
    pub parameters: BTreeMap<String, String>,
    /// Whether a discovered issuer must equal the configured one (TL-38).
    pub issuer_check: bool,
    /// Where token and lifetime are in an answer that says it in words of its own (TL-10).
    pub answer: AnswerShape,
    pub life: TokenLife,
}

/// When a credential's token is fetched and renewed, how its endpoint is reached, and where it goes: the same for every kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenLife {
    /// Begin to renew this long before expiry; wins over the server's `refresh_in` and the default (TL-20 ff.).
    pub refresh_before: Option<Duration>,
    /// Renew without traffic if used within this time: 24 h; zero: never (TL-29).
    pub keep_warm: Duration,
    /// The provider ends a token when it grants the next one (TL-13).
    pub single_active: bool,
    pub warm: Warm,
    /// Send an expired token for this long after its expiry if none can be had: zero unless asked for (TL-24).
    pub stale_if_error: Duration,
    /// Where it goes: `Authorization: Bearer` unless said otherwise.
    pub attach: Attach,
    /// Whether names may resolve to private addresses (SEC-14).
    pub private: bool,
    /// Whether plain http is allowed beyond loopback (TL-35).
    pub cleartext: bool,
    pub timeouts: TokenTimeouts,
}

/// What a client has to prove itself with at a token endpoint.
#[derive(Debug, Clone)]
pub enum ClientProof {
    /// Its id, if it has one, is all it shows.
    Nothing,
    /// Sent as it is, in the header or the form.
    Secret(Secret),
    /// Signs, and is never sent.
    Assertion(ClientAssertion),
    /// An assertion that somebody else has signed: Kubernetes, a CI system, another cloud.
    ForeignAssertion(FreshSecret),
}

/// How a client's assertions are made, RFC 7523 section 2.2.
#[derive(Debug, Clone)]
pub struct ClientAssertion {
    pub key: Arc<SigningKey>,
    /// `kid` of the header.
    pub key_id: Option<String>,
    /// `aud`. `None`: the token endpoint's URL.
    pub audience: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LifetimeUnit {
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenEndpoint {
    Url(HttpUrl),
    /// The issuer as configured, and as a URL to discover from.
    Issuer {
        issuer: String,
        url: HttpUrl,
    },
}

impl TokenEndpoint {
    /// The issuer, if one is configured.
    pub fn issuer(&self) -> Option<&str> {
        match self {
            TokenEndpoint::Issuer { issuer, .. } => Some(issuer),
            TokenEndpoint::Url(_) => None,
        }
    }
}

/// `token_endpoint_auth_methods` of the IANA registry, and one spelling for servers that break on the standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenEndpointAuthMethod {
    /// Id and secret form-urlencoded before base64 (RFC 6749 section 2.3.1).
    ClientSecretBasic,
    /// Id and secret as they are.
    ClientSecretBasicRaw,
    ClientSecretPost,
    /// An assertion signed with the client's secret.
    ClientSecretJwt,
    /// An assertion signed with the client's private key.
    PrivateKeyJwt,
    /// The certificate of the connection, which an authority issued, RFC 8705 section 2.1.
    TlsClientAuth,
    /// The certificate of the connection, which is registered itself, RFC 8705 section 2.2.
    SelfSignedTlsClientAuth,
    /// An assertion that somebody else has signed, which the server trusts by federation. No registered name says that.
    ForeignAssertion,
    /// `none`: the client's id alone.
    Public,
}

impl TokenEndpointAuthMethod {
    pub const ALL: [TokenEndpointAuthMethod; 9] = [
        TokenEndpointAuthMethod::ClientSecretBasic,
        TokenEndpointAuthMethod::ClientSecretBasicRaw,
        TokenEndpointAuthMethod::ClientSecretPost,
        TokenEndpointAuthMethod::ClientSecretJwt,
        TokenEndpointAuthMethod::PrivateKeyJwt,
        TokenEndpointAuthMethod::TlsClientAuth,
        TokenEndpointAuthMethod::SelfSignedTlsClientAuth,
        TokenEndpointAuthMethod::ForeignAssertion,
        TokenEndpointAuthMethod::Public,
    ];

    /// As proxy.toml and the IANA registry write it.
    pub fn name(self) -> &'static str {
        match self {
            TokenEndpointAuthMethod::ClientSecretBasic => "client_secret_basic",
            TokenEndpointAuthMethod::ClientSecretBasicRaw => "client_secret_basic_raw",
            TokenEndpointAuthMethod::ClientSecretPost => "client_secret_post",
            TokenEndpointAuthMethod::ClientSecretJwt => "client_secret_jwt",
            TokenEndpointAuthMethod::PrivateKeyJwt => "private_key_jwt",
            TokenEndpointAuthMethod::TlsClientAuth => "tls_client_auth",
            TokenEndpointAuthMethod::SelfSignedTlsClientAuth => "self_signed_tls_client_auth",
            TokenEndpointAuthMethod::ForeignAssertion => "client_assertion",
            TokenEndpointAuthMethod::Public => "none",
        }
    }
}

/// Whether a token is fetched at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warm {
    No,
    Yes,
    /// `/readyz` waits for the first token, 30 s at most (SEC-45).
    Required,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenTimeouts {
    /// 3 s.
    pub connect: Duration,
    /// 10 s.
    pub attempt: Duration,
    /// 30 s.
    pub total: Duration,
}

#[derive(Debug)]
pub struct Upstream {
    pub name: Arc<str>,
    pub url: UpstreamUrl,
    pub credential: Option<Arc<Credential>>,
    /// Trust only these roots. Empty: the system's and `[egress] ca`.
    pub ca: Vec<CertificateDer<'static>>,
    pub client_certificate: Option<Arc<CertificateAndKey>>,
    pub private: bool,
    pub http: HttpVersion,
    pub timeouts: UpstreamTimeouts,
    pub reject_on: Vec<RejectOn>,
    pub replay: Replay,
    /// Send our own forwarding headers.
    pub forwarded: bool,
    /// What it says of itself.
    pub openapi: Option<Arc<OpenApi>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// ALPN decides; HTTP/1.1 in cleartext.
    Auto,
    Http1,
    /// By ALPN, and by prior knowledge in cleartext.
    Http2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UpstreamTimeouts {
    /// 5 s, TLS included.
    pub connect: Duration,
    /// From the request sent to the answer's head: 120 s.
    pub first_byte: Duration,
    /// Without progress while a body streams: 120 s.
    pub idle: Duration,
}

/// What counts as a rejection of the credential. `grpc-status: 16` in an answer's head always does, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectOn {
    pub status: StatusCode,
    /// Only if the complete answer (8 KiB at most) contains this text.
    pub body_contains: Option<String>,
}

/// Which rejected requests may be sent again (TL-44).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// After 401 any method, after other rejection statuses idempotent ones.
    Safe,
    Any,
}

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
