//! One request, several APIs, one answer: the life of an aggregate.

mod aside;
mod asked;
mod call;
pub mod compose;
mod fetch;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod json;
mod notes;
mod pages;
mod report;
mod request;
mod room;
mod schedule;
pub mod shape;
mod stream;
mod together;
pub mod value;

pub(super) use notes::PartNotes;
pub(super) use stream::{Cut, Streaming};

use std::rc::Rc;

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, Uri, Version};
use hyper::body::Incoming;
use tokio::time::timeout_at;

use super::Client;
use super::access_log::Record;
use super::body::Content;
use super::clean;
use super::failure::Failure;
use super::target::Authority;
use super::worker::Worker;
use crate::route::Matched;
use crate::snapshot::plan::{Aggregate, Report};
use asked::Asked;
use json::Json;
use report::Told;

/// A request that an aggregate answers: its route is known, and its client was recognised.
pub(super) struct Arrived<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) client: &'a Client,
    pub(super) record: &'a mut Record,
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) version: Version,
    pub(super) headers: &'a mut HeaderMap,
    pub(super) matched: Matched,
    pub(super) authority: Authority,
    pub(super) incoming: Incoming,
}

/// Asks all upstreams, and composes their answers. Nothing is sent before every part that the answer needs has answered
/// completely and has been checked, unless it is streamed.
pub(super) async fn answer(arrived: Arrived<'_>) -> Result<Response<Content>, Failure> {
    let is_head = *arrived.method == Method::HEAD;
    let asked = request::read(arrived).await?;
    if asked.aggregate().config.stream && !is_head {
        return stream::begin(asked).await;
    }
    let aggregate = &asked.aggregate().config;
    let ended = schedule::run(&asked, None).await?;
    let report = in_body(aggregate, &ended.told);
    let memory = asked.worker.living.aggregate_memory.hold();
    let known = asked.known(&ended.contents, None);
    let composing = compose::compose(aggregate, &known, report.as_ref(), memory);
    let composed = timeout_at(asked.deadline, composing).await.map_err(|_| Failure::AggregateDeadline)?;
    let composed = composed.ok_or(Failure::NoAggregateMemory)?;
    let mut headers = head(in_header(aggregate, &ended.told));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(composed.len()));
    let content = if is_head { Content::Empty } else { Content::Ready(composed) };
    Ok(with_head(&asked, headers, content))
}

/// What the answer's body says of its parts.
fn in_body(aggregate: &Aggregate, told: &[Told]) -> Option<Json> {
    match aggregate.report {
        Report::Body => Some(Json::from(&report::body(named(aggregate, told)))),
        Report::Header => None,
    }
}

fn in_header(aggregate: &Aggregate, told: &[Told]) -> Option<HeaderValue> {
    match aggregate.report {
        Report::Body => None,
        Report::Header => report::header(named(aggregate, told)),
    }
}

fn named<'a>(aggregate: &'a Aggregate, told: &'a [Told]) -> impl Iterator<Item = (&'a str, &'a Told)> {
    aggregate.parts.iter().map(|part| &*part.name).zip(told)
}

/// Nothing of the parts' own headers. What several APIs said at this moment is not for caches, unless the route says so.
fn head(report: Option<HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(report) = report {
        headers.insert(report::ATTACHE_PARTS, report);
    }
    headers
}

fn with_head(asked: &Asked, mut headers: HeaderMap, content: Content) -> Response<Content> {
    let edits = &asked.route().config.response_headers;
    clean::edit(&mut headers, &edits.set, &edits.remove);
    let mut response = Response::new(content);
    *response.headers_mut() = headers;
    response
}
