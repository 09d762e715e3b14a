//! The part of the table that is about the parts of aggregates.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tracing::Level;

use super::{Failure, Meaning, meaning};
use crate::metrics::Fault;
use crate::snapshot::plan::FailStatus;

/// A part that the answer cannot do without failed.
#[derive(Debug)]
pub struct PartFailure {
    pub part: Arc<str>,
    pub cause: Arc<PartCause>,
    /// With which status the whole fails.
    pub status: FailStatus,
}

/// Why a part of an aggregate failed. Texts are for the log and, where they are shown to clients, hold no value of a
/// placeholder and nothing of an answer.
#[derive(Debug)]
pub enum PartCause {
    /// Its upstream answered with a status that is no success.
    Status(Refusal),
    /// It was not answered within its `timeout`.
    Timeout,
    /// It was not answered within the aggregate's `deadline`.
    Deadline,
    /// There was no answer, for a reason that a forwarded request may have as well.
    Call(Box<Failure>),
    /// The answer broke off within its body; the text is for the log.
    Broken(String),
    /// The body has an encoding that was not asked for, or that is not what it says.
    Encoding,
    /// The body, or all pages and items together, are larger than this.
    TooLarge(usize),
    /// The body is no JSON; says so, and why.
    NotJson(String),
    /// There is nothing at `target`; says where it ends.
    NoTarget(String),
    /// A placeholder has no value that could stand where it stands; names it, and says why.
    Unfilled(Unfilled),
    /// With its placeholders' values the request's target or headers are longer than they may be; names the one of which it is
    /// most.
    TooLong(Unfilled),
    /// What should be a list is none: that of `for_each`, or a page.
    NoList(&'static str),
    /// Its members are to be merged, and it has none.
    NoObject,
    /// `for_each` has a longer list than this.
    TooManyItems(usize),
    /// The next page is not one that may be asked for; says why.
    NextPage(&'static str),
    /// All that is held of answers is as much as may be (`aggregate_memory_bytes_max`).
    NoMemory,
}

/// An answer whose status is no success.
#[derive(Debug, Clone, Copy)]
pub struct Refusal {
    pub status: StatusCode,
    /// When to come back, if it says so.
    pub retry_after: Option<Duration>,
    /// Whether it is about what was attached, which is not the client's to mend: a rejection, or what has a challenge.
    pub of_credential: bool,
}

/// A placeholder without a value.
#[derive(Debug)]
pub struct Unfilled {
    /// The placeholder as it is written, and why. Not the value.
    pub text: String,
    /// Whether the value is one of the client's request.
    pub by_client: bool,
}

impl PartFailure {
    pub(super) fn meaning(&self) -> Meaning {
        let meaning = self.cause.meaning();
        let status = match (self.status, &*self.cause) {
            (FailStatus::Default, _) => meaning.status,
            // What is about our credential is none of the client's fault.
            (FailStatus::Own, PartCause::Status(own)) if FailStatus::may_be(own.status) && !own.of_credential => {
                own.status
            }
            (FailStatus::Own, _) => meaning.status,
            (FailStatus::Fixed(fixed), _) => fixed,
        };
        Meaning { status, ..meaning }
    }

    pub(super) fn detail(&self) -> String {
        format!("Part `{}`: {}", self.part, self.cause.detail())
    }
}

impl PartCause {
    #[rustfmt::skip] // One failure, one line, as in the table that this is a part of.
    pub(in crate::proxy) fn meaning(&self) -> Meaning {
        use Fault::{Client, Proxy, Upstream};
        use StatusCode as S;
        const W: Level = Level::WARN;
        const D: Level = Level::DEBUG;
        const SAYS: &str = "http_protocol_error";
        match self {
            PartCause::Status(_) => meaning(S::BAD_GATEWAY, "upstream_status", "An upstream answered with a status that is no success", "destination_unavailable", W, Upstream),
            PartCause::Timeout => meaning(S::GATEWAY_TIMEOUT, "timeout", "An upstream did not answer in time", "http_response_timeout", W, Upstream),
            PartCause::Deadline => meaning(S::GATEWAY_TIMEOUT, "deadline", "The upstreams did not all answer in time", "http_response_timeout", W, Upstream),
            PartCause::Call(failure) => failure.meaning(),
            PartCause::Broken(_) => meaning(S::BAD_GATEWAY, "answer_broken", "An upstream's answer broke off", "http_response_incomplete", W, Upstream),
            PartCause::Encoding => meaning(S::BAD_GATEWAY, "answer_encoding", "An upstream's answer cannot be decoded", "http_response_content_coding", W, Upstream),
            PartCause::TooLarge(_) => meaning(S::BAD_GATEWAY, "answer_too_large", "An upstream's answer is too large", "http_response_body_size", W, Upstream),
            PartCause::NotJson(_) => meaning(S::BAD_GATEWAY, "not_json", "An upstream's answer is not JSON", SAYS, W, Upstream),
            PartCause::NoTarget(_) => meaning(S::BAD_GATEWAY, "no_target", "An upstream's answer does not have what is asked of it", SAYS, W, Upstream),
            PartCause::Unfilled(Unfilled { by_client: true, .. }) => meaning(S::BAD_REQUEST, "request_incomplete", "The request does not have what a part needs", "http_request_error", D, Client),
            PartCause::Unfilled(Unfilled { by_client: false, .. }) => meaning(S::BAD_GATEWAY, "unfilled", "An upstream's answer does not have what another part needs", SAYS, W, Upstream),
            PartCause::TooLong(Unfilled { by_client: true, .. }) => meaning(S::BAD_REQUEST, "request_values_too_long", "The request's values are too long for what a part asks", "http_request_error", D, Client),
            PartCause::TooLong(Unfilled { by_client: false, .. }) => meaning(S::BAD_GATEWAY, "values_too_long", "An upstream's values are too long for what another part asks", SAYS, W, Upstream),
            PartCause::NoList(_) => meaning(S::BAD_GATEWAY, "no_list", "An upstream's answer has no list where one is needed", SAYS, W, Upstream),
            PartCause::NoObject => meaning(S::BAD_GATEWAY, "no_object", "An upstream's answer has no members where they are needed", SAYS, W, Upstream),
            PartCause::TooManyItems(_) => meaning(S::BAD_GATEWAY, "too_many_items", "A list has more items than may be asked for", SAYS, W, Upstream),
            PartCause::NextPage(_) => meaning(S::BAD_GATEWAY, "next_page", "The next page of an answer may not be asked for", SAYS, W, Upstream),
            PartCause::NoMemory => meaning(S::SERVICE_UNAVAILABLE, "no_memory", "This proxy has no room for another answer", "connection_limit_reached", W, Proxy),
        }
    }

    /// What the client may know beyond the title.
    fn detail(&self) -> String {
        match self {
            PartCause::Status(refusal) => format!("its upstream answered {}.", refusal.status.as_u16()),
            PartCause::Timeout => "`timeout` of the part is the limit.".to_owned(),
            PartCause::Deadline => "`deadline` of the aggregate is the limit.".to_owned(),
            PartCause::Call(failure) => failure.detail(),
            PartCause::Broken(_) => "the cause has been logged with the request id.".to_owned(),
            PartCause::Encoding => "its body is neither plain nor valid gzip.".to_owned(),
            PartCause::TooLarge(bytes_max) => {
                format!("`bytes_max` of the part allows {bytes_max} bytes, decoded.")
            }
            PartCause::NotJson(why) => format!("of its answer, {why}."),
            PartCause::NoTarget(why) => format!("{why}."),
            PartCause::Unfilled(unfilled) | PartCause::TooLong(unfilled) => format!("{}.", unfilled.text),
            PartCause::NoList(what) => format!("{what} is not a list."),
            PartCause::NoObject => "what is merged has to be an object.".to_owned(),
            PartCause::TooManyItems(items_max) => format!("`items_max` of the part allows {items_max}."),
            PartCause::NextPage(why) => format!("{why}."),
            PartCause::NoMemory => {
                "server.limits.aggregate_memory_bytes_max is the limit of what all aggregates hold.".to_owned()
            }
        }
    }

    /// What is for the log only.
    pub(in crate::proxy) fn cause(&self) -> Option<&str> {
        match self {
            PartCause::Call(failure) => failure.cause(),
            PartCause::Broken(text) | PartCause::NotJson(text) | PartCause::NoTarget(text) => Some(text),
            PartCause::Unfilled(unfilled) | PartCause::TooLong(unfilled) => Some(&unfilled.text),
            PartCause::NextPage(why) => Some(why),
            _ => None,
        }
    }

    /// When to come back, if its upstream's answer says so.
    pub(in crate::proxy) fn retry_after(&self) -> Option<Duration> {
        match self {
            PartCause::Status(refusal) => refusal.retry_after,
            _ => None,
        }
    }

    /// The status of its upstream's answer, if it is that which failed it.
    pub(in crate::proxy) fn upstream_status(&self) -> Option<StatusCode> {
        match self {
            PartCause::Status(refusal) => Some(refusal.status),
            _ => None,
        }
    }

    pub(in crate::proxy) fn is_timeout(&self) -> bool {
        self.meaning().status == StatusCode::GATEWAY_TIMEOUT
    }
}
