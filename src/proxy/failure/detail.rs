//! What clients are told of a failure beyond its title.

use http::HeaderName;

use super::{Failure, REQUEST_JSON_BYTES_MAX};
use crate::client_auth::Unrecognised;
use crate::credential::SubjectFlaw;
use crate::credential::sign::{SIGNED_BODY_BYTES_MAX, Unsignable};
use crate::token::{FetchErrorKind, Reached, TokenUnavailable};
use crate::upstream::ExchangeErrorKind;

impl Failure {
    /// What the client may know beyond the title. Never an upstream's URL or address; of what a token endpoint said its
    /// error code only.
    pub fn detail(&self) -> String {
        match self {
            Failure::BadTarget(what) | Failure::BadHost(what) | Failure::BadPath(what) => (*what).to_owned(),
            Failure::ConnectRefused => "This is a reverse proxy: it opens no tunnels.".to_owned(),
            Failure::TraceRefused => "TRACE would show what this proxy attaches.".to_owned(),
            Failure::RequestLineTooLong => "Raise server.limits.request_line_bytes_max if it has to be so long.".to_owned(),
            Failure::HeadersTooLarge => "Raise server.limits.header_bytes_max if they have to be so large.".to_owned(),
            Failure::TooManyHeaders => "Raise server.limits.headers_max if there have to be so many.".to_owned(),
            Failure::UnknownTransferCoding => "The only transfer coding known here is chunked, once.".to_owned(),
            Failure::UnknownExpectation => "The only expectation known here is 100-continue.".to_owned(),
            Failure::NoRoute => "`attache explain METHOD URL` says which route would match.".to_owned(),
            Failure::MethodNotAllowed(_) => "Allow lists the methods that it takes.".to_owned(),
            Failure::Unrecognised(Unrecognised::Missing) => {
                "Present it as Authorization: Bearer KEY, as X-Api-Key: KEY, or as the Basic password.".to_owned()
            }
            Failure::Unrecognised(Unrecognised::Unknown) => "No client of this proxy has the key that was sent.".to_owned(),
            Failure::Unrecognised(Unrecognised::Ambiguous) => "Send one key, in one header.".to_owned(),
            Failure::Unrecognised(Unrecognised::Malformed) => "What was sent as a key cannot be one.".to_owned(),
            Failure::ClientNotAllowed => "The key is known, but the route does not list its client.".to_owned(),
            Failure::Loop => "Via says that this proxy has forwarded it already: an upstream URL leads back here.".to_owned(),
            Failure::NoToken { credential, cause } => token_detail(credential, cause),
            Failure::NoSubject { credential, header, flaw } => subject_detail(credential, header, *flaw),
            Failure::Unsignable(Unsignable::LengthUnknown) => {
                "Its chunks are signed one by one, which begins with their length in all: send Content-Length.".to_owned()
            }
            Failure::Unsignable(Unsignable::SignedByClient) => {
                "They were signed with a key of the client's own, which the upstream does not know: send them unsigned.".to_owned()
            }
            Failure::Unsignable(Unsignable::UnsignedChunks) => {
                "The upstream is reached over http, where nothing else would protect them: send the body as it is.".to_owned()
            }
            Failure::Unsignable(Unsignable::NoRandomBytes) => "The system gave no random bytes.".to_owned(),
            Failure::Unsignable(Unsignable::BodyTooLarge) => {
                format!("The signature covers the body, of which at most {SIGNED_BODY_BYTES_MAX} bytes are held to be signed.")
            }
            Failure::Unsignable(Unsignable::NoMemory) => {
                "The signature covers the body. Raise server.limits.replay_memory_bytes_max if more of them have to be held.".to_owned()
            }
            Failure::Exchange(error) => exchange_detail(error.kind).to_owned(),
            Failure::EncodedAnswer => {
                "The credential could not be masked in it: it is encoded, although an unencoded one was asked for, or in a \
                 charset such as UTF-16. redact_bodies = false on the route lets it pass unscanned."
                    .to_owned()
            }
            Failure::PartialAnswer => {
                "A part of a text cannot be scanned for the credential. redact_bodies = false on the route lets it pass \
                 unscanned."
                    .to_owned()
            }
            Failure::RequestTooLarge => format!("At most {REQUEST_JSON_BYTES_MAX} bytes are read."),
            Failure::RequestType => {
                "Send Content-Type: application/json (or a type that ends in +json), and no Content-Encoding.".to_owned()
            }
            Failure::RequestNotJson(why) => format!("Of the body, {why}."),
            Failure::NoAggregateMemory => {
                "server.limits.aggregate_memory_bytes_max is the limit of what all aggregates hold.".to_owned()
            }
            Failure::AggregateDeadline => "`deadline` of the aggregate is the limit.".to_owned(),
            Failure::NoReplayMemory => {
                "server.limits.replay_memory_bytes_max is the limit of what is held of all requests' bodies.".to_owned()
            }
            Failure::Part(part) => part.detail(),
            Failure::Panicked => "It has been logged with the request id.".to_owned(),
        }
    }
}

fn exchange_detail(kind: ExchangeErrorKind) -> &'static str {
    match kind {
        ExchangeErrorKind::Resolve
        | ExchangeErrorKind::Connect
        | ExchangeErrorKind::EgressRefused
        | ExchangeErrorKind::Tls
        | ExchangeErrorKind::Closed
        | ExchangeErrorKind::BadAnswer
        | ExchangeErrorKind::TooManyInformational => "The cause has been logged with the request id.",
        ExchangeErrorKind::AddressRefused => {
            "Its name resolves to an address that this proxy does not connect to; private = true on the upstream allows \
             private ones."
        }
        ExchangeErrorKind::NoDescriptor => {
            "It may have so many file descriptors, of which others are kept for tokens and, where there are several upstreams, \
             one has three quarters at most; raise its limit (RLIMIT_NOFILE)."
        }
        ExchangeErrorKind::ConnectTimeout => "timeouts.connect of the upstream is the limit.",
        ExchangeErrorKind::TlsTimeout => {
            "Its url says https://: perhaps no TLS is spoken on that port. timeouts.connect of the upstream is the limit."
        }
        ExchangeErrorKind::FirstByteTimeout => "timeouts.first_byte of the route or upstream is the limit.",
        ExchangeErrorKind::TargetTooLong => "To an upstream that speaks HTTP/2 it may have 65,534 bytes.",
        ExchangeErrorKind::ClientBody => "It ended early, or its framing is broken.",
        ExchangeErrorKind::ClientBodyTimeout => "server.timeouts.body_idle is the limit.",
    }
}

/// Names the credential and what kind of failure it is, with the OAuth error code if there is one. Where the endpoint is
/// and what it said is for the log.
fn token_detail(credential: &str, cause: &TokenUnavailable) -> String {
    let (error, what) = match cause {
        TokenUnavailable::Temporarily { error: None, .. } => (None, "has not answered in time"),
        TokenUnavailable::Temporarily { error: Some(error), .. } => match error.kind {
            FetchErrorKind::RateLimited { .. } => (Some(error), "is rate limiting this proxy"),
            FetchErrorKind::Transient
            | FetchErrorKind::Refused
            | FetchErrorKind::RefusedForAll
            | FetchErrorKind::RefusedUnclear
            | FetchErrorKind::SubjectRefused
            | FetchErrorKind::NeedsReauthorization => (Some(error), reached(error.reached)),
        },
        TokenUnavailable::Refused { error } if error.kind == FetchErrorKind::SubjectRefused => {
            (Some(error), "refuses the subject token that came with the request")
        }
        TokenUnavailable::Refused { error } => {
            (Some(error), "gives this proxy no token that it may use; an operator is needed")
        }
    };
    let code = error.and_then(|error| error.code).map(|code| format!(" ({code})")).unwrap_or_default();
    format!("The token endpoint of credential `{credential}` {what}{code}. The cause has been logged.")
}

fn subject_detail(credential: &str, header: &HeaderName, flaw: SubjectFlaw) -> String {
    match flaw {
        SubjectFlaw::NotAllowed => format!(
            "Credential `{credential}` takes the subject's token from {header}, which only the clients that it names may set."
        ),
        SubjectFlaw::Missing => format!("Send the token of whoever the call is for as {header}: TOKEN."),
        SubjectFlaw::Malformed => {
            format!("Send one {header}, with the token alone in it: no scheme before it, and no spaces.")
        }
    }
}

fn reached(reached: Reached) -> &'static str {
    match reached {
        Reached::No => "cannot be reached",
        Reached::Silent => "has not answered in time",
        Reached::Answered => "fails to answer with a token",
    }
}
