//! Where requests go.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use rustls::pki_types::CertificateDer;

use super::{CertificateAndKey, Credential, OpenApi, UpstreamUrl};

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
