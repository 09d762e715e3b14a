//! What one part comes to: whether it is called, its one call or one for each item, its pages, what of the answer counts.

use std::sync::Arc;

use tokio::task::yield_now;
use tokio::time::timeout_at;

use super::aside::aside_if;
use super::call::{CallRequest, Caller};
use super::json::Json;
use super::room::{Room, Rooms};
use super::shape::NoTarget;
use super::together::Together;
use super::value::{self, Content, Known, Seen};
use super::{pages, shape};
use crate::proxy::failure::PartCause;
use crate::snapshot::plan::{ForEach, OnFailure, Part};

/// What a part came to, if it did not fail.
pub(super) enum Fetched {
    /// Its condition does not hold.
    Skipped,
    Answered {
        content: Json,
        /// There were more pages than are followed.
        truncated: bool,
        /// The first item in order that failed, and how many did.
        items: Option<(Arc<PartCause>, usize)>,
    },
}

/// Fetches a part. `parts`: what it waited for, by index.
pub(super) async fn fetch(caller: Caller<'_>, parts: Vec<Option<Content>>) -> Result<Fetched, PartCause> {
    let part = caller.part();
    let known = caller.asked.known(&parts, None);
    match &part.for_each {
        None => {
            let rooms = caller.rooms(1);
            let (content, truncated) = one(caller, caller.request(&known)?, rooms.of(0)).await?;
            Ok(Fetched::Answered { content, truncated, items: None })
        }
        Some(for_each) => each(caller, for_each, &parts).await,
    }
}

/// One call, or one for each page.
async fn one(caller: Caller<'_>, request: CallRequest, room: Room<'_>) -> Result<(Json, bool), PartCause> {
    if let Some(pages) = &caller.part().pages {
        let followed = pages::follow(caller, pages, request, room).await?;
        return Ok((followed.list, followed.truncated));
    }
    let answer = caller.answer(&request).await?;
    room.take(answer.bytes)?;
    Ok((target(caller, &answer.json).await?, false))
}

/// What of an answer counts.
pub(super) async fn target(caller: Caller<'_>, answer: &Json) -> Result<Json, PartCause> {
    let Some(target) = &caller.part().target else { return Ok(answer.clone()) };
    let long = shape::takes_long(answer, target);
    let (answer, memory) = (answer.clone(), caller.asked.worker.living.aggregate_memory.clone());
    let (aggregate, index) = (caller.asked.aggregate().config.clone(), caller.index);
    let found = aside_if(long, move || match &aggregate.parts[index].target {
        Some(target) => shape::target(&answer, target, &memory),
        None => Ok(answer),
    });
    let found = timeout_at(caller.asked.deadline, found).await.map_err(|_| PartCause::Deadline)?;
    found.map_err(|none| match none {
        NoTarget::NoMemory => PartCause::NoMemory,
        none => PartCause::NoTarget(none.to_string()),
    })
}

/// A call for each item, some at once; the list of what they came to is in the order of the items.
async fn each(caller: Caller<'_>, for_each: &ForEach, parts: &[Option<Content>]) -> Result<Fetched, PartCause> {
    let known = caller.asked.known(parts, None);
    let items = value::items(&known, &for_each.items, for_each.items_max).map_err(|why| caller.unfilled(why))?;
    if items.len() > for_each.items_max {
        return Err(PartCause::TooManyItems(for_each.items_max));
    }
    let (seen, rooms) = (Seen::default(), caller.rooms(items.len()));
    let mut results: Vec<Option<Result<(Json, bool), PartCause>>> = items.iter().map(|_| None).collect();
    let (mut together, mut started, mut end) = (Together::new(), 0, items.len());
    loop {
        while started < end && together.len() < for_each.concurrency {
            let known = Known { item: Some((&items[started], started)), seen: Some(&seen), ..known };
            let request = caller.request(&known);
            let room = rooms.of(started);
            together.add(started, async move { one(caller, request?, room).await });
            started += 1;
            // Large items take their time; others of the worker have their turn in between.
            yield_now().await;
        }
        let Some((index, result)) = together.next().await else { break };
        let beyond = rooms.first_beyond();
        match (&caller.part().on_failure, result) {
            (OnFailure::Part(_), result) => {
                results[index] = Some(result);
                if let Some(beyond) = beyond.and_then(|item| results.get_mut(item)) {
                    *beyond = Some(Err(rooms.too_large()));
                }
                // The part fails with the first item in order that does: what comes after it is not needed.
                if let Some(first) = results.iter().position(|result| matches!(result, Some(Err(_)))) {
                    end = first;
                    together.keep(|number| number < first);
                    results.truncate(first + 1);
                }
            }
            // Which items came before there was no more room is for the upstreams to say: it fails all of them.
            _ if beyond.is_some() => return Err(rooms.too_large()),
            (OnFailure::Fail(_), Err(cause)) => return Err(cause),
            (_, result) => results[index] = Some(result),
        }
    }
    listed(caller.part(), results, &rooms)
}

/// The list of what items came to. What stands in the place of one that failed, `on_failure` says.
fn listed(
    part: &Part,
    results: Vec<Option<Result<(Json, bool), PartCause>>>,
    rooms: &Rooms<'_>,
) -> Result<Fetched, PartCause> {
    let (mut list, mut truncated, mut first, mut failed) = (Vec::with_capacity(results.len()), false, None, 0);
    for result in results.into_iter().flatten() {
        match (result, &part.on_failure) {
            (Ok((content, cut)), _) => {
                truncated |= cut;
                list.push(content);
            }
            (Err(cause), OnFailure::Fail(_) | OnFailure::Part(_)) => return Err(cause),
            (Err(cause), instead) => {
                failed += 1;
                first.get_or_insert(Arc::new(cause));
                match instead {
                    OnFailure::Null => list.push(Json::null()),
                    OnFailure::Value(value) => list.push(Json::from(value)),
                    _ => {}
                }
            }
        }
    }
    let content = rooms.made(&list, || Ok(Json::list(&list)))?;
    Ok(Fetched::Answered { content, truncated, items: first.map(|cause| (cause, failed)) })
}
