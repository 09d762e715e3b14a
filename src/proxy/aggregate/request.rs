//! Reading the request that an aggregate answers: what its placeholders may read, and no more.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use http_body::Body;
use hyper::body::Incoming;

use super::asked::Asked;
use super::json::Json;
use super::{Arrived, PartNotes};
use crate::clock::timer_now;
use crate::proxy::failure::{Failure, REQUEST_JSON_BYTES_MAX};
use crate::proxy::own::Own;
use crate::proxy::present::Present;
use crate::proxy::worker::Worker;
use crate::proxy::{clean, credential, let_hyper_drain_or_close};
use crate::snapshot::Answers;
use crate::upstream::{ExchangeError, ExchangeErrorKind, HoldError, OutgoingBody};

/// Reads it. A body that no placeholder reads is not for us.
pub(super) async fn read(arrived: Arrived<'_>) -> Result<Asked, Failure> {
    let Arrived { worker, client, record, method: _, uri, version, headers, matched, authority, incoming } = arrived;
    let installed = record.installed();
    let snapshot = &installed.snapshot;
    let route = matched.route;
    let Answers::Aggregate(aggregate) = &snapshot.routes[route].answers else {
        unreachable!("its route was matched as an aggregate's")
    };
    let owned = |call| Ok(credential(call, headers, record)?.map(Cow::into_owned));
    let credentials = aggregate.calls.iter().map(owned).collect::<Result<_, Failure>>()?;
    let aggregate = &*aggregate.config;
    let present = Present::among(headers.keys());
    let body = match aggregate.reads_request {
        true => {
            check_type(headers)?;
            let mut body =
                OutgoingBody::new(incoming, &worker.living.replay_budget, &worker.ticker, snapshot.timeouts.body_idle);
            let held = body.hold(REQUEST_JSON_BYTES_MAX).await;
            record.effort.bytes_in = body.bytes();
            held.map_err(unheld)?;
            Some(json_of(worker, &body)?)
        }
        false => {
            refuse(incoming).await;
            None
        }
    };
    // A request that has been here before would go on for ever.
    Own::stamp(headers, present, &snapshot.via, version)?;
    // As for any upstream: what is between the client and us is for nobody else, wherever a placeholder would put it.
    clean::clean(headers, present, false, &snapshot.routes[route].kept_back);
    let notes = Rc::new(PartNotes::default());
    record.has_parts(&notes);
    Ok(Asked {
        worker: worker.clone(),
        route,
        id: record.id,
        name: record.request_name(),
        caller: client.clone(),
        authority,
        version,
        matched,
        uri: uri.clone(),
        headers: std::mem::take(headers),
        client: record.client().cloned(),
        credentials,
        body,
        deadline: timer_now() + aggregate.deadline,
        notes,
        statuses: RefCell::new(vec![None; aggregate.parts.len()]),
        installed,
    })
}

async fn refuse(incoming: Incoming) {
    if !incoming.is_end_stream() {
        drop(incoming);
        let_hyper_drain_or_close().await;
    }
}

/// Whether the body says that it is JSON, and is not encoded.
fn check_type(headers: &HeaderMap) -> Result<(), Failure> {
    let is_plain = |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    match headers.get(CONTENT_TYPE) {
        Some(value) if is_json(value.as_bytes()) && headers.get_all(CONTENT_ENCODING).iter().all(is_plain) => Ok(()),
        _ => Err(Failure::RequestType),
    }
}

fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let ends =
        |with: &[u8]| essence.len().checked_sub(with.len()).is_some_and(|at| essence[at..].eq_ignore_ascii_case(with));
    essence.eq_ignore_ascii_case(b"application/json") || ends(b"+json")
}

fn json_of(worker: &Worker, body: &OutgoingBody) -> Result<Json, Failure> {
    let mut data = BytesMut::with_capacity(body.bytes() as usize);
    body.each_held(|piece| data.extend_from_slice(piece));
    let memory = worker.living.aggregate_memory.hold();
    let data: Bytes = memory.count(data.freeze()).ok_or(Failure::NoAggregateMemory)?;
    Json::check(data).map_err(|why| Failure::RequestNotJson(why.to_string()))
}

fn unheld(error: HoldError) -> Failure {
    let kind = match error {
        HoldError::TooLarge => return Failure::RequestTooLarge,
        HoldError::NoMemory => return Failure::NoReplayMemory,
        HoldError::Client(_) => ExchangeErrorKind::ClientBody,
        HoldError::Timeout => ExchangeErrorKind::ClientBodyTimeout,
    };
    let text = error.to_string();
    Failure::Exchange(ExchangeError { kind, text, nothing_sent: true, reused_closed: false, connection_ends: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_known_by_its_type() {
        for (types, is_json) in [
            (&["application/json"][..], true),
            (&["Application/JSON; charset=utf-8"], true),
            (&["application/merge-patch+json"], true),
            (&["text/plain"], false),
            (&["application/jsonl"], false),
            (&["text/plain; x=application/json"], false),
            (&[], false),
        ] {
            let headers: HeaderMap =
                types.iter().map(|value| (CONTENT_TYPE, HeaderValue::from_static(value))).collect();
            assert_eq!(check_type(&headers).is_ok(), is_json, "{types:?}");
        }
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(check_type(&headers).is_err());
    }
}
