//! Which answers say that the upstream rejected the credential, and whether the request may be sent again for it.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::challenge;
use super::present::Present;
use super::source::Source;
use crate::snapshot::Call;

/// Answers longer than this are never read for `body_contains`.
const MATCHED_BODY_BYTES_MAX: usize = 8 * 1024;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// gRPC's UNAUTHENTICATED.
const GRPC_UNAUTHENTICATED: &[u8] = b"16";

/// How the credential was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    /// By a word that means just that, before anything was done: 401, or gRPC's own 401, which is `grpc-status: 16` in the
    /// head of a gRPC answer. Every gRPC call is a POST, so that none would ever be replayed if its method counted.
    Unauthenticated,
    /// By an answer that the configuration reads so, or by `grpc-status: 16` in an answer that is not gRPC's: what was done
    /// before, nobody can say.
    Otherwise,
}

/// Whether an answer's head leaves it open that the credential was rejected: for nearly all answers it does not.
pub(super) fn is_suspected(call: &Call, status: StatusCode, headers: &HeaderMap, present: Present) -> bool {
    !matches!(by_head(call, status, headers, present), ByHead::No)
}

/// Whether an answer rejects the credential. Reads the body only where the configuration asks for it.
pub(super) async fn of(call: &Call, status: StatusCode, headers: &HeaderMap, body: &mut Source) -> Option<Rejection> {
    let rejection = match by_head(call, status, headers, Present::among(headers.keys())) {
        ByHead::No => return None,
        ByHead::Yes(rejection) => rejection,
        ByHead::AskBody => {
            if !names_body_text(call, status, body.peek_all(MATCHED_BODY_BYTES_MAX).await?) {
                return None;
            }
            by_status(status)
        }
    };
    // TL-45: the token is good, and another one of the same kind would fare no better.
    let is_good = ["insufficient_scope", "use_dpop_nonce"].iter().any(|code| challenge::says(headers, code));
    (!is_good).then_some(rejection)
}

enum ByHead {
    No,
    Yes(Rejection),
    AskBody,
}

fn by_head(call: &Call, status: StatusCode, headers: &HeaderMap, present: Present) -> ByHead {
    let grpc_status = if present.has(Present::GRPC_STATUS) { headers.get(GRPC_STATUS) } else { None };
    if grpc_status.is_some_and(|value| value.as_bytes() == GRPC_UNAUTHENTICATED) {
        return ByHead::Yes(if is_grpc(headers) { Rejection::Unauthenticated } else { by_status(status) });
    }
    let mut matchers = call.config.reject_on.iter().filter(|matcher| matcher.status == status).peekable();
    if matchers.peek().is_none() {
        return ByHead::No;
    }
    if matchers.any(|matcher| matcher.body_contains.is_none()) {
        return ByHead::Yes(by_status(status));
    }
    // An event stream has no end to wait for, and its events are not to be delayed.
    let endless = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    if endless { ByHead::No } else { ByHead::AskBody }
}

/// By the content type, as gRPC's protocol tells its answers from others: `application/grpc`, `application/grpc+proto`.
fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.as_bytes().get(..GRPC.len()));
    content_type.is_some_and(|begins| begins.eq_ignore_ascii_case(GRPC))
}

fn by_status(status: StatusCode) -> Rejection {
    match status {
        StatusCode::UNAUTHORIZED => Rejection::Unauthenticated,
        _ => Rejection::Otherwise,
    }
}

fn names_body_text(call: &Call, status: StatusCode, body: &[u8]) -> bool {
    let matchers = call.config.reject_on.iter().filter(|matcher| matcher.status == status);
    matchers
        .filter_map(|matcher| matcher.body_contains.as_deref())
        .any(|text| memchr::memmem::find(body, text.as_bytes()).is_some())
}

impl Rejection {
    /// TL-44: whether a request of this method may be sent again. `any`: the upstream's `replay = "any"`.
    pub(super) fn may_replay(self, method: &Method, any: bool) -> bool {
        self == Rejection::Unauthenticated || any || method.is_idempotent()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TL-44: 401 for any method; other rejection statuses for idempotent methods, unless configured.
    #[test]
    fn what_may_be_replayed_depends_on_status_and_method() {
        let methods =
            [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::POST, Method::PATCH];
        for (index, method) in methods.iter().enumerate() {
            assert!(Rejection::Unauthenticated.may_replay(method, false), "{method}");
            assert!(Rejection::Otherwise.may_replay(method, true), "{method}");
            assert_eq!(Rejection::Otherwise.may_replay(method, false), index < 5, "{method}");
        }
    }
}
