//! Every failure of a request, and what the client gets: the only place that makes a status of one.
//!
//! The answer is a problem document (RFC 9457) with `Proxy-Status` (RFC 9209). It says whose fault it is and names the
//! credential, and never the upstream's URL or address, nor what a token endpoint answered.

mod detail;
mod part;

pub use part::{PartCause, PartFailure, Refusal, Unfilled};

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Response, StatusCode};
use serde::Serialize;
use tracing::Level;

use super::body::Content;
use crate::client_auth::Unrecognised;
use crate::credential::SubjectFlaw;
use crate::credential::sign::Unsignable;
use crate::metrics::Fault;
use crate::token::{FetchErrorKind, TokenUnavailable};
use crate::upstream::{ExchangeError, ExchangeErrorKind};

/// The field in which every answer names its request.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The most that is read of the JSON of a request that an aggregate answers.
pub(super) const REQUEST_JSON_BYTES_MAX: usize = 1 << 20;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Why a request was not answered by its upstream.
#[derive(Debug)]
pub enum Failure {
    /// The request's target is not one that a proxy of this kind answers; says what is wrong.
    BadTarget(&'static str),
    /// `Host` is missing, doubled, malformed, or contradicts `:authority`.
    BadHost(&'static str),
    /// The path could be read differently by the upstream (SEC-02).
    BadPath(&'static str),
    ConnectRefused,
    TraceRefused,
    RequestLineTooLong,
    HeadersTooLarge,
    TooManyHeaders,
    UnknownTransferCoding,
    UnknownExpectation,
    NoRoute,
    /// The route has these methods only.
    MethodNotAllowed(Vec<Method>),
    Unrecognised(Unrecognised),
    ClientNotAllowed,
    /// The request has been here before.
    Loop,
    /// No token for the route's credential.
    NoToken {
        credential: Arc<str>,
        cause: TokenUnavailable,
    },
    /// The route's credential needs to know on whose behalf a request is, and this header does not say it.
    NoSubject {
        credential: Arc<str>,
        header: HeaderName,
        flaw: SubjectFlaw,
    },
    /// The credential signs requests, and not this one.
    Unsignable(Unsignable),
    /// The exchange with the upstream failed; the text is for the log.
    Exchange(ExchangeError),
    /// The answer cannot be scanned for the credential (SEC-13).
    EncodedAnswer,
    /// The upstream sends a part of the body even when asked for the whole (SEC-13).
    PartialAnswer,
    /// The aggregate's JSON request is larger than is read.
    RequestTooLarge,
    /// The aggregate reads the request's JSON, and it has another type or an encoding.
    RequestType,
    /// It is no JSON; says why.
    RequestNotJson(String),
    /// All that aggregates hold is as much as may be.
    NoAggregateMemory,
    /// All parts answered in time, but what is made of their answers was not made in time.
    AggregateDeadline,
    /// All bodies of requests that are held are as much as may be.
    NoReplayMemory,
    /// A part of an aggregate without which there is no answer. Boxed, because it is large and rare.
    Part(Box<PartFailure>),
    /// A bug of ours, caught (SEC-42).
    Panicked,
}

/// What a failure means to everyone who learns of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    pub status: StatusCode,
    /// The last part of the problem's `type`, and what the log calls it.
    pub name: &'static str,
    pub title: &'static str,
    /// The error type of RFC 9209 section 2.3.
    pub proxy_error: &'static str,
    pub level: Level,
    pub fault: Fault,
}

const fn meaning(
    status: StatusCode,
    name: &'static str,
    title: &'static str,
    proxy_error: &'static str,
    level: Level,
    fault: Fault,
) -> Meaning {
    Meaning { status, name, title, proxy_error, level, fault }
}

impl Failure {
    /// The table.
    #[rustfmt::skip] // One failure, one line: that is what makes it a table.
    pub fn meaning(&self) -> Meaning {
        use Fault::{Client, Proxy, TokenEndpoint};
        use StatusCode as S;
        const D: Level = Level::DEBUG;
        const W: Level = Level::WARN;
        const E: Level = Level::ERROR;
        const REQUEST: &str = "http_request_error";
        const DENIED: &str = "http_request_denied";
        match self {
            Failure::BadTarget(_) => meaning(S::BAD_REQUEST, "bad_target", "The request target is not valid", REQUEST, D, Client),
            Failure::BadHost(_) => meaning(S::BAD_REQUEST, "bad_host", "The Host is not valid", REQUEST, D, Client),
            Failure::BadPath(_) => meaning(S::BAD_REQUEST, "bad_path", "The path is ambiguous", REQUEST, D, Client),
            Failure::ConnectRefused => meaning(S::METHOD_NOT_ALLOWED, "connect_refused", "CONNECT is not offered", DENIED, D, Client),
            Failure::TraceRefused => meaning(S::METHOD_NOT_ALLOWED, "trace_refused", "TRACE is not offered", DENIED, D, Client),
            Failure::RequestLineTooLong => meaning(S::URI_TOO_LONG, "request_line_too_long", "The request line is too long", REQUEST, D, Client),
            Failure::HeadersTooLarge => meaning(S::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", "The header fields are too large", REQUEST, D, Client),
            Failure::TooManyHeaders => meaning(S::REQUEST_HEADER_FIELDS_TOO_LARGE, "too_many_headers", "There are too many header fields", REQUEST, D, Client),
            Failure::UnknownTransferCoding => meaning(S::NOT_IMPLEMENTED, "unknown_transfer_coding", "The transfer coding is not known", REQUEST, D, Client),
            Failure::UnknownExpectation => meaning(S::EXPECTATION_FAILED, "unknown_expectation", "The expectation cannot be met", REQUEST, D, Client),
            Failure::NoRoute => meaning(S::NOT_FOUND, "no_route", "No route matches", REQUEST, D, Client),
            Failure::MethodNotAllowed(_) => meaning(S::METHOD_NOT_ALLOWED, "method_not_allowed", "The route does not take this method", REQUEST, D, Client),
            Failure::Unrecognised(Unrecognised::Missing) => meaning(S::UNAUTHORIZED, "key_missing", "A client key is needed", DENIED, D, Client),
            Failure::Unrecognised(Unrecognised::Unknown) => meaning(S::UNAUTHORIZED, "key_unknown", "The client key is not known", DENIED, D, Client),
            Failure::Unrecognised(Unrecognised::Ambiguous) => meaning(S::BAD_REQUEST, "key_ambiguous", "Two different client keys were presented", REQUEST, D, Client),
            Failure::Unrecognised(Unrecognised::Malformed) => meaning(S::BAD_REQUEST, "key_malformed", "The client key is malformed", REQUEST, D, Client),
            Failure::ClientNotAllowed => meaning(S::FORBIDDEN, "client_not_allowed", "This client may not use this route", DENIED, D, Client),
            Failure::Loop => meaning(S::LOOP_DETECTED, "loop", "The request came back", "proxy_loop_detected", W, Proxy),
            Failure::NoSubject { flaw: SubjectFlaw::NotAllowed, .. } => meaning(S::FORBIDDEN, "subject_not_allowed", "This client may not say on whose behalf it calls", DENIED, D, Client),
            Failure::NoSubject { flaw: SubjectFlaw::Missing, .. } => meaning(S::BAD_REQUEST, "subject_missing", "The request does not say on whose behalf it is", REQUEST, D, Client),
            Failure::NoSubject { flaw: SubjectFlaw::Malformed, .. } => meaning(S::BAD_REQUEST, "subject_malformed", "The subject token is malformed", REQUEST, D, Client),
            Failure::NoToken { cause: TokenUnavailable::Refused { error }, .. } if error.kind == FetchErrorKind::SubjectRefused => meaning(S::FORBIDDEN, "subject_refused", "The subject token is refused", DENIED, D, Client),
            // The credential's cell logs what its token endpoint says, once per fetch: here it would flood the log.
            Failure::NoToken { cause: TokenUnavailable::Temporarily { .. }, .. } => meaning(S::SERVICE_UNAVAILABLE, "token_unavailable", "No token can be had at the moment", "destination_unavailable", D, TokenEndpoint),
            Failure::NoToken { cause: TokenUnavailable::Refused { .. }, .. } => meaning(S::BAD_GATEWAY, "token_refused", "The token endpoint gives this proxy no token that it may use", "proxy_configuration_error", D, TokenEndpoint),
            Failure::Unsignable(Unsignable::LengthUnknown) => meaning(S::LENGTH_REQUIRED, "signature_needs_length", "The body's length is needed to sign it", REQUEST, D, Client),
            Failure::Unsignable(Unsignable::SignedByClient) => meaning(S::BAD_REQUEST, "body_signed_already", "The body's chunks are signed already", REQUEST, D, Client),
            Failure::Unsignable(Unsignable::UnsignedChunks) => meaning(S::BAD_REQUEST, "body_unprotected", "The body's chunks would go unsigned in cleartext", REQUEST, D, Client),
            Failure::Unsignable(Unsignable::NoRandomBytes) => meaning(S::INTERNAL_SERVER_ERROR, "no_random_bytes", "This proxy cannot sign", "proxy_internal_error", E, Proxy),
            Failure::Unsignable(Unsignable::BodyTooLarge) => meaning(S::PAYLOAD_TOO_LARGE, "body_too_large_to_sign", "The body is too large to be signed", DENIED, D, Client),
            Failure::Unsignable(Unsignable::NoMemory) => meaning(S::SERVICE_UNAVAILABLE, "no_memory_to_sign", "This proxy has no room for another body that has to be signed", "connection_limit_reached", W, Proxy),
            Failure::Exchange(error) => exchange_meaning(error.kind),
            Failure::EncodedAnswer => meaning(S::BAD_GATEWAY, "encoded_answer", "The upstream's answer is encoded and cannot be scanned", "http_response_content_coding", W, Fault::Upstream),
            Failure::PartialAnswer => meaning(S::BAD_GATEWAY, "partial_answer", "The upstream's answer is partial and cannot be scanned", "http_protocol_error", W, Fault::Upstream),
            Failure::RequestTooLarge => meaning(S::PAYLOAD_TOO_LARGE, "request_too_large", "The request's JSON is too large", DENIED, D, Client),
            Failure::RequestType => meaning(S::UNSUPPORTED_MEDIA_TYPE, "request_not_json_type", "The request's body is not declared as JSON", REQUEST, D, Client),
            Failure::RequestNotJson(_) => meaning(S::BAD_REQUEST, "request_not_json", "The request's body is not JSON", REQUEST, D, Client),
            Failure::NoAggregateMemory | Failure::NoReplayMemory => meaning(S::SERVICE_UNAVAILABLE, "no_memory", "This proxy has no room for another answer", "connection_limit_reached", W, Proxy),
            Failure::AggregateDeadline => meaning(S::GATEWAY_TIMEOUT, "deadline", "The answer was not made in time", "http_response_timeout", W, Proxy),
            Failure::Part(part) => part.meaning(),
            Failure::Panicked => meaning(S::INTERNAL_SERVER_ERROR, "internal_error", "This proxy failed", "proxy_internal_error", E, Proxy),
        }
    }

    /// The answer. `head`: to a HEAD request, so without a body.
    pub(super) fn answer(&self, request_id: &str, head: bool) -> Response<Content> {
        let meaning = self.meaning();
        let problem = Problem {
            kind: format!("urn:attache:problem:{}", meaning.name),
            title: meaning.title,
            status: meaning.status.as_u16(),
            detail: self.detail(),
            fault: fault_word(meaning.fault),
            request_id,
            credential: self.credential(),
            part: self.part(),
        };
        let document = Bytes::from(serde_json::to_vec(&problem).expect("strings and a number serialise"));
        let mut response = Response::new(if head { Content::Empty } else { Content::Ready(document) });
        *response.status_mut() = meaning.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let status = format!("attache; error={}", meaning.proxy_error);
        headers.insert(PROXY_STATUS, HeaderValue::try_from(status).expect("tokens are legal"));
        self.own_fields(headers);
        response
    }

    /// Fields that belong to one kind of failure.
    fn own_fields(&self, headers: &mut http::HeaderMap) {
        if let Failure::Part(part) = self {
            match &*part.cause {
                PartCause::Call(failure) => failure.own_fields(headers),
                PartCause::NoMemory => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
                // Other statuses give the field no meaning (RFC 9110 section 10.2.3, RFC 6585 section 4).
                PartCause::Status(Refusal { retry_after: Some(after), .. })
                    if matches!(self.meaning().status.as_u16(), 429 | 503) =>
                {
                    headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(*after)));
                }
                _ => {}
            }
            return;
        }
        if let Failure::Unrecognised(Unrecognised::Missing | Unrecognised::Unknown) = self {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"attache\""));
        }
        if let Failure::NoToken { cause: TokenUnavailable::Temporarily { retry_after, .. }, .. } = self {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(*retry_after)));
        }
        if matches!(self, Failure::Exchange(error) if error.kind == ExchangeErrorKind::NoDescriptor) {
            // What was idle has made way, and what is in use may end any time.
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Failure::Unsignable(Unsignable::NoMemory) | Failure::NoAggregateMemory | Failure::NoReplayMemory = self {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        let allowed = match self {
            Failure::MethodNotAllowed(methods) => methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", "),
            // RFC 9110 section 15.5.6 wants the field; an empty one says that the resource takes no method we know of.
            Failure::ConnectRefused | Failure::TraceRefused => String::new(),
            _ => return,
        };
        headers.insert(ALLOW, HeaderValue::try_from(allowed).expect("methods are tokens"));
    }

    /// The credential that the failure is about.
    pub fn credential(&self) -> Option<&str> {
        match self {
            Failure::NoToken { credential, .. } | Failure::NoSubject { credential, .. } => Some(credential),
            Failure::Part(part) => match &*part.cause {
                PartCause::Call(failure) => failure.credential(),
                _ => None,
            },
            _ => None,
        }
    }

    /// The part of an aggregate that it is about.
    pub fn part(&self) -> Option<&str> {
        match self {
            Failure::Part(part) => Some(&part.part),
            _ => None,
        }
    }

    /// What the log says beyond the title: the step and the cause, if there is more to say. Holds no secret.
    pub fn cause(&self) -> Option<&str> {
        match self {
            Failure::Exchange(error) => Some(&error.text),
            Failure::NoToken { cause: TokenUnavailable::Temporarily { error, .. }, .. } => {
                Some(error.as_ref().map_or("the fetch is still under way", |error| &error.text))
            }
            Failure::NoToken { cause: TokenUnavailable::Refused { error }, .. } => Some(&error.text),
            Failure::BadTarget(what) | Failure::BadHost(what) | Failure::BadPath(what) => Some(what),
            Failure::RequestNotJson(why) => Some(why),
            Failure::Part(part) => part.cause.cause(),
            _ => None,
        }
    }

    /// Title and cause in one line, for the log.
    pub(super) fn line(&self) -> Cow<'static, str> {
        let title = self.meaning().title;
        match self.cause() {
            Some(cause) => Cow::Owned(format!("{title}: {cause}")),
            None => Cow::Borrowed(title),
        }
    }
}

/// The part of the table that is about exchanges with the upstream.
#[rustfmt::skip] // As above.
fn exchange_meaning(kind: ExchangeErrorKind) -> Meaning {
    use Fault::{Client, Proxy, Upstream};
    use StatusCode as S;
    const D: Level = Level::DEBUG;
    const W: Level = Level::WARN;
    const E: Level = Level::ERROR;
    match kind {
        ExchangeErrorKind::Resolve => meaning(S::BAD_GATEWAY, "upstream_unresolved", "The upstream's name does not resolve", "dns_error", W, Upstream),
        ExchangeErrorKind::AddressRefused => meaning(S::BAD_GATEWAY, "upstream_address_refused", "The upstream's address is not allowed", "destination_ip_prohibited", E, Proxy),
        ExchangeErrorKind::Connect => meaning(S::BAD_GATEWAY, "upstream_unreachable", "The upstream cannot be reached", "connection_refused", W, Upstream),
        // The pool says it, once: here it would flood the log.
        ExchangeErrorKind::NoDescriptor => meaning(S::SERVICE_UNAVAILABLE, "no_descriptor", "This proxy has no room for another connection to an upstream", "connection_limit_reached", D, Proxy),
        ExchangeErrorKind::EgressRefused => meaning(S::BAD_GATEWAY, "egress_refused", "The egress proxy refuses the connection", "proxy_configuration_error", E, Proxy),
        ExchangeErrorKind::ConnectTimeout => meaning(S::GATEWAY_TIMEOUT, "upstream_connect_timeout", "Connecting to the upstream took too long", "connection_timeout", W, Upstream),
        ExchangeErrorKind::TlsTimeout => meaning(S::GATEWAY_TIMEOUT, "upstream_tls_timeout", "The upstream did not answer the TLS handshake in time", "connection_timeout", W, Upstream),
        ExchangeErrorKind::Tls => meaning(S::BAD_GATEWAY, "upstream_tls", "TLS with the upstream failed", "tls_protocol_error", W, Upstream),
        ExchangeErrorKind::Closed => meaning(S::BAD_GATEWAY, "upstream_closed", "The upstream closed the connection without an answer", "connection_terminated", W, Upstream),
        ExchangeErrorKind::FirstByteTimeout => meaning(S::GATEWAY_TIMEOUT, "upstream_timeout", "The upstream did not answer in time", "http_response_timeout", W, Upstream),
        ExchangeErrorKind::BadAnswer => meaning(S::BAD_GATEWAY, "upstream_bad_answer", "The upstream's answer is not valid", "http_protocol_error", W, Upstream),
        ExchangeErrorKind::TargetTooLong => meaning(S::URI_TOO_LONG, "target_too_long", "The request's target is too long for its upstream", "http_request_error", D, Client),
        ExchangeErrorKind::ClientBody => meaning(S::BAD_REQUEST, "body_broken", "The request's body is not valid", "http_request_error", D, Client),
        ExchangeErrorKind::ClientBodyTimeout => meaning(S::REQUEST_TIMEOUT, "body_timeout", "The request's body did not arrive in time", "http_request_error", D, Client),
        ExchangeErrorKind::TooManyInformational => meaning(S::BAD_GATEWAY, "upstream_informational", "The upstream sent too many interim answers", "http_protocol_error", W, Upstream),
    }
}

/// The word for whose fault it is, in problem documents and in the log.
pub fn fault_word(fault: Fault) -> &'static str {
    match fault {
        Fault::Client => "client",
        Fault::Proxy => "proxy",
        Fault::TokenEndpoint => "token_endpoint",
        Fault::Upstream => "upstream",
    }
}

/// `Retry-After` knows whole seconds: rounded up, at least one, so that nobody comes back too early.
fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// RFC 9457 section 3.
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: String,
    fault: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<&'a str>,
}

#[cfg(test)]
mod tests;
