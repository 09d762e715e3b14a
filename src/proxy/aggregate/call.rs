//! One call of a part: its request sent, again if that is safe, its answer read whole within bounds, decoded, masked and
//! checked.

mod read;
mod retry;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::{Instant, sleep, timeout_at};

use super::asked::Asked;
use super::json::Json;
use super::room::Rooms;
use super::value::{self, Known, NoJson, Room, Why};
use crate::clock::timer_now;
use crate::credential::retry_after;
use crate::proxy::access_log::{Effort, Label};
use crate::proxy::failure::{Failure, PartCause, Refusal};
use crate::proxy::forward::{CleanHead, Outbound, Received};
use crate::proxy::own::Own;
use crate::proxy::present::Present;
use crate::proxy::{clean, query, rejection};
use crate::snapshot::Call;
use crate::snapshot::plan::Part;
use crate::token::TokenUnavailable;
use crate::upstream::{OutgoingBody, Upstream};

/// How long a part's target may be, in bytes: servers take 8 KiB often, and HTTP/2 cannot have more than 64 KiB here.
pub(super) const TARGET_BYTES_MAX: usize = 32 * 1024;
/// How long all headers of a part may be that the configuration sets, in bytes.
const HEADERS_BYTES_MAX: usize = 64 * 1024;

/// A part's request, but for its credential.
#[derive(Debug, Clone)]
pub(super) struct CallRequest {
    /// Path and query, the upstream's own path in front.
    pub(super) target: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A successful answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) json: Json,
    pub(super) headers: HeaderMap,
    /// Of its body, decoded.
    pub(super) bytes: usize,
    /// Who gave it, if the token says where that is.
    pub(super) moved: Option<Arc<Upstream>>,
}

/// A part as it is called for one request.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    pub(super) asked: &'a Asked,
    pub(super) index: usize,
}

impl<'a> Caller<'a> {
    pub(super) fn part(self) -> &'a Part {
        &self.asked.aggregate().config.parts[self.index]
    }

    pub(super) fn call(self) -> &'a Call {
        self.asked.call(self.index)
    }

    /// For its answers together, of which there are so many lists of pages.
    pub(super) fn rooms(self, items: usize) -> Rooms<'a> {
        Rooms::new(&self.asked.worker.living.aggregate_memory, self.part().bytes_max, items)
    }

    pub(super) fn unfilled(self, unfilled: value::Unfilled) -> PartCause {
        let why = unfilled.why;
        let unfilled = self.asked.unfilled(unfilled, self.part().for_each.as_ref());
        if why == Why::TooLong { PartCause::TooLong(unfilled) } else { PartCause::Unfilled(unfilled) }
    }

    /// Fills the placeholders.
    pub(super) fn request(self, known: &Known<'_>) -> Result<CallRequest, PartCause> {
        let request = &self.part().request;
        let base = self.call().config.url.path();
        let mut room = Room::new(TARGET_BYTES_MAX.saturating_sub(base.len()));
        let path = value::path(known, &request.path, &mut room).map_err(|why| self.unfilled(why))?;
        let query = value::query(known, &request.query, &mut room).map_err(|why| self.unfilled(why))?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("attache/", env!("CARGO_PKG_VERSION"))));
        if self.call().config.forwarded {
            clean::add_forwarded(&mut headers, &self.asked.caller, &self.asked.authority);
        }
        let body = match &request.body {
            None => Bytes::new(),
            Some(body) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                // It may hold whole parts, once for each item that is under way.
                let mut held = self.asked.worker.living.aggregate_memory.hold();
                let body = value::json(known, body, &mut held).map_err(|none| match none {
                    NoJson::Unfilled(why) => self.unfilled(why),
                    NoJson::NoMemory => PartCause::NoMemory,
                })?;
                held.count(body.unwrap_or_default().into()).ok_or(PartCause::NoMemory)?
            }
        };
        let mut room = Room::new(HEADERS_BYTES_MAX);
        for (name, pieces) in &request.headers {
            match value::header(known, pieces, &mut room).map_err(|why| self.unfilled(why))? {
                Some(value) => drop(headers.insert(name, value)),
                None => drop(headers.remove(name)),
            }
        }
        let mut target = joined(base, &path);
        self.add_query(&mut target, &query);
        Ok(CallRequest { target, headers, body })
    }

    /// Without the parameters that the credential will set.
    pub(super) fn add_query(self, target: &mut String, query: &str) {
        let names = self.call().credential.as_ref().map_or(&[][..], |credential| &credential.names().query);
        let query = query::without(query, names);
        if !query.is_empty() {
            target.push('?');
            target.push_str(&query);
        }
    }

    /// Makes the call. What it took is noted, however it ends.
    pub(super) async fn answer(self, request: &CallRequest) -> Result<Answer, PartCause> {
        let until = self.asked.deadline.min(timer_now() + self.part().timeout);
        let mut effort = Effort::default();
        let answered = timeout_at(until, self.tries(request, until, &mut effort)).await;
        self.asked.notes.took(&effort);
        answered.unwrap_or_else(|_| Err(self.late(&effort, until)))
    }

    /// What a call failed for that was not answered in time.
    fn late(self, effort: &Effort, until: Instant) -> PartCause {
        match self.call().credential_name() {
            Some(credential) if effort.awaits_token => {
                let cause = TokenUnavailable::Temporarily { error: None, retry_after: Duration::from_secs(1) };
                PartCause::Call(Box::new(Failure::NoToken { credential: credential.clone(), cause }))
            }
            _ if until == self.asked.deadline => PartCause::Deadline,
            _ => PartCause::Timeout,
        }
    }

    /// One try, and further ones where that is safe and there is time.
    async fn tries(self, request: &CallRequest, until: Instant, effort: &mut Effort) -> Result<Answer, PartCause> {
        let part = self.part();
        let mut tried = 0;
        loop {
            let cause = match self.try_once(request, effort).await {
                Ok((received, moved)) if self.is_success(received.status) => match self.read(received).await {
                    Ok(answer) => return Ok(Answer { moved, ..answer }),
                    Err(cause) => cause,
                },
                Ok((received, _)) => PartCause::Status(self.refusal(received).await),
                Err(failure) => PartCause::Call(Box::new(failure)),
            };
            let left = until.saturating_duration_since(timer_now());
            let again = tried < part.retries && part.request.method.is_idempotent() && retry::helps(&cause);
            let Some(pause) = again.then(|| retry::pause(tried, cause.retry_after(), left)).flatten() else {
                return Err(cause);
            };
            tried += 1;
            effort.retries += 1;
            sleep(pause).await;
        }
    }

    /// What an answer says whose status is no success.
    async fn refusal(self, received: Received) -> Refusal {
        let Received { status, headers, mut body, .. } = received;
        self.asked.saw(self.index, status);
        let retry_after = retry_after(&headers, self.asked.worker.living.clock.wall());
        let of_credential = headers.contains_key(WWW_AUTHENTICATE)
            || rejection::of(self.call(), status, &headers, &mut body).await.is_some();
        body.discard().await;
        Refusal { status, retry_after, of_credential }
    }

    fn is_success(self, status: StatusCode) -> bool {
        self.part().is_success(status)
    }

    /// One answer, and who gave it, if the token says where that is.
    async fn try_once(
        self,
        request: &CallRequest,
        effort: &mut Effort,
    ) -> Result<(Received, Option<Arc<Upstream>>), Failure> {
        let (asked, call) = (self.asked, self.call());
        let mut headers = request.headers.clone();
        let mut own = Own::stamp(&mut headers, Present::default(), asked.via(), asked.version)?;
        own.ask_for_gzip();
        let head = CleanHead {
            method: &self.part().request.method,
            target: request.target.clone(),
            headers,
            own,
            wants_trailers: false,
        };
        let mut outbound = Outbound {
            worker: &asked.worker,
            call,
            credential: asked.credential(self.index),
            begin: asked.worker.living.clock.now(),
            label: Label { id: asked.id, route: asked.route_name() },
            effort,
            head,
            body: OutgoingBody::whole(request.body.clone(), &asked.worker.ticker),
            moved: None,
        };
        let received = outbound.forward().await?;
        crate::proxy::check_status(received.status)?;
        Ok((received, outbound.moved))
    }
}

/// The upstream's own path before the part's, with one slash between them.
fn joined(prefix: &str, path: &str) -> String {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let slash = if path.starts_with('/') { "" } else { "/" };
    [prefix, slash, path].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_joined_with_one_slash() {
        for (prefix, path, whole) in [("", "/a", "/a"), ("/v2", "/a/", "/v2/a/"), ("/v2", "a", "/v2/a"), ("", "", "/")]
        {
            assert_eq!(joined(prefix, path), whole);
        }
    }
}
