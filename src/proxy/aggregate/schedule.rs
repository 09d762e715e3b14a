//! What waits for what: every part starts as soon as all that it needs is settled, and those that need nothing of each other
//! run at once, in place. Dropped, it cancels all of them. What it comes to depends on the order in which parts are
//! declared, never on the order in which they answer, with one exception: the first failure of a part that the answer
//! cannot do without ends it, and which part that is may be for the upstreams to say. Of several at once the one counts
//! that is declared first.

use std::sync::Arc;

use http::StatusCode;

use super::asked::Asked;
use super::call::Caller;
use super::compose::fits;
use super::fetch::{Fetched, fetch};
use super::json::Json;
use super::notes::Note;
use super::report::Told;
use super::together::Together;
use super::value::Content;
use crate::clock::Boot;
use crate::metrics::PartEnd;
use crate::proxy::failure::{Failure, PartCause, PartFailure};
use crate::snapshot::plan::{OnFailure, Part};

/// What all parts came to, in declared order.
pub(super) struct Ended {
    /// All there, but for those that were sent.
    pub(super) contents: Vec<Option<Content>>,
    pub(super) told: Vec<Told>,
}

/// Sends what a part came to.
pub(super) type Sending<'a> = dyn FnMut(usize, &Content) -> Result<(), Failure> + 'a;

/// Calls all parts that are needed. If there is a `send`, it gets each part in declared order, as soon as it and all before
/// it are settled; what it got, and no part needs any more, is let go of.
///
/// # Errors
/// The first failure of a part that the answer cannot do without: all others are dropped then.
pub(super) async fn run(asked: &Asked, mut send: Option<&mut Sending<'_>>) -> Result<Ended, Failure> {
    let mut schedule = Schedule::new(asked);
    let mut under_way = Together::new();
    let mut sent = 0;
    loop {
        for index in schedule.ready() {
            let parts = schedule.needed_by(index);
            under_way.add(index, async move {
                let under_way = UnderWay { asked, index, begin: asked.now(), ended: false };
                under_way.end(fetch(Caller { asked, index }, parts).await)
            });
            schedule.started[index] = true;
        }
        if let Some(send) = &mut send {
            while let Some(Some(content)) = schedule.contents.get(sent) {
                send(sent, content)?;
                sent += 1;
            }
            schedule.let_go_of_sent(sent);
        }
        let Some((index, fetched)) = under_way.next().await else { break };
        let Err(failure) = schedule.settle(index, fetched) else { continue };
        let mut first = (index, failure);
        while let Some((index, fetched)) = under_way.next_of_this_turn().await {
            match schedule.settle(index, fetched) {
                Err(failure) if index < first.0 => first = (index, failure),
                _ => {}
            }
        }
        return Err(first.1);
    }
    assert!(schedule.contents.iter().all(Option::is_some), "resolve lets no part wait for itself");
    Ok(Ended { contents: schedule.contents, told: schedule.told })
}

/// How far the parts have come.
struct Schedule<'a> {
    asked: &'a Asked,
    parts: &'a [Part],
    /// What stands for each part, once that is settled.
    contents: Vec<Option<Content>>,
    told: Vec<Told>,
    started: Vec<bool>,
    /// Whether it is only called if the part of this index fails.
    instead_of: Vec<Option<usize>>,
    /// Whether that has failed.
    called_for: Vec<bool>,
}

impl<'a> Schedule<'a> {
    fn new(asked: &'a Asked) -> Self {
        let parts = &asked.aggregate().config.parts[..];
        let mut instead_of = vec![None; parts.len()];
        for (index, part) in parts.iter().enumerate() {
            if let OnFailure::Part(fallback) = part.on_failure {
                instead_of[fallback] = Some(index);
            }
        }
        Schedule {
            asked,
            parts,
            contents: parts.iter().map(|_| None).collect(),
            told: parts.iter().map(|_| Told::Nothing).collect(),
            started: vec![false; parts.len()],
            called_for: vec![false; parts.len()],
            instead_of,
        }
    }

    /// The parts that can start now.
    fn ready(&self) -> Vec<usize> {
        let is_ready = |index: &usize| {
            let index = *index;
            !self.started[index]
                && self.contents[index].is_none()
                && (self.instead_of[index].is_none() || self.called_for[index])
                && self.parts[index].needs.iter().all(|need| self.contents[*need].is_some())
        };
        (0..self.parts.len()).filter(is_ready).collect()
    }

    /// What a part may read: nothing else is kept for as long as it runs.
    fn needed_by(&self, index: usize) -> Vec<Option<Content>> {
        let mut needed = vec![None; self.parts.len()];
        for need in &self.parts[index].needs {
            needed[*need].clone_from(&self.contents[*need]);
        }
        needed
    }

    /// The first so many parts were sent. One that has begun has what it needs.
    fn let_go_of_sent(&mut self, sent: usize) {
        for index in 0..sent {
            let reads = |part: usize| {
                !self.started[part] && self.contents[part].is_none() && self.parts[part].needs.contains(&index)
            };
            if !(0..self.parts.len()).any(reads) {
                self.contents[index] = Some(Content::Absent);
            }
        }
    }

    /// A part has come to its end.
    fn settle(&mut self, index: usize, fetched: Result<Fetched, PartCause>) -> Result<(), Failure> {
        let part = &self.parts[index];
        let content = match self.fitting(index, fetched) {
            Ok(Fetched::Answered { content, truncated, items }) => {
                self.told[index] = Told::Answered { truncated, items };
                Content::Json(content)
            }
            Ok(Fetched::Skipped) => {
                self.told[index] = Told::Skipped;
                instead(part).unwrap_or(Content::Json(Json::null()))
            }
            Err(cause) => {
                let cause = Arc::new(cause);
                match &part.on_failure {
                    OnFailure::Fail(status) => {
                        let (part, status) = (part.name.clone(), *status);
                        return Err(Failure::Part(Box::new(PartFailure { part, cause, status })));
                    }
                    _ => {
                        self.asked.part_failed(part, &cause);
                        self.told[index] = Told::Failed(cause);
                        let Some(content) = instead(part) else {
                            self.call_fallback(index);
                            return Ok(());
                        };
                        content
                    }
                }
            }
        };
        self.put(index, content);
        Ok(())
    }

    /// Whether what a part came to can stand at its place, and where it stands in for another.
    fn fitting(&self, index: usize, fetched: Result<Fetched, PartCause>) -> Result<Fetched, PartCause> {
        if let Ok(Fetched::Answered { content, .. }) = &fetched {
            let mut at = Some(index);
            while let Some(index) = at {
                if !fits(&self.parts[index].place, content) {
                    return Err(PartCause::NoObject);
                }
                at = self.instead_of[index];
            }
        }
        fetched
    }

    /// A fallback is called for.
    fn call_fallback(&mut self, index: usize) {
        if let OnFailure::Part(fallback) = self.parts[index].on_failure {
            self.called_for[fallback] = true;
        }
    }

    /// What stands for a part is known: also for the one that it stands in for, and its own fallback is not needed.
    fn put(&mut self, mut index: usize, content: Content) {
        loop {
            self.contents[index] = Some(content.clone());
            self.forgo_fallbacks(index);
            match self.instead_of[index] {
                Some(owner) if self.called_for[index] => index = owner,
                _ => return,
            }
        }
    }

    /// A part did not fail, so that nothing stands in for it.
    fn forgo_fallbacks(&mut self, mut index: usize) {
        while let OnFailure::Part(fallback) = self.parts[index].on_failure {
            if self.called_for[fallback] {
                return;
            }
            self.contents[fallback] = Some(Content::Absent);
            index = fallback;
        }
    }
}

/// What stands in the place of a part that has no content of its own: of one that is called for each item of a list an empty
/// list, since `on_failure` says what stands for an item. `None`: another part, or nothing at all.
fn instead(part: &Part) -> Option<Content> {
    match &part.on_failure {
        OnFailure::Null | OnFailure::Value(_) if part.for_each.is_some() => Some(Content::Json(Json::list(&[]))),
        OnFailure::Null => Some(Content::Json(Json::null())),
        OnFailure::Omit => Some(Content::Absent),
        OnFailure::Value(value) => Some(Content::Json(Json::from(value))),
        OnFailure::Fail(_) | OnFailure::Part(_) => None,
    }
}

/// A part under way. Its end is noted and counted, also if it is dropped.
struct UnderWay<'a> {
    asked: &'a Asked,
    index: usize,
    begin: Boot,
    ended: bool,
}

impl UnderWay<'_> {
    fn end(mut self, fetched: Result<Fetched, PartCause>) -> Result<Fetched, PartCause> {
        self.ended = true;
        match &fetched {
            Ok(Fetched::Answered { .. }) => self.note(PartEnd::Answered, None),
            Ok(Fetched::Skipped) => self.note(PartEnd::Skipped, None),
            Err(cause) if cause.is_timeout() => self.note(PartEnd::TimedOut, Some(cause)),
            Err(cause) => self.note(PartEnd::Failed, Some(cause)),
        }
        fetched
    }

    fn note(&self, end: PartEnd, cause: Option<&PartCause>) {
        let duration = self.asked.now().since(self.begin);
        let status: Option<StatusCode> = self.asked.last_status(self.index);
        self.asked.installed.part_cells(self.asked.route, self.index).record(end, duration);
        self.asked.notes.add(Note {
            index: self.index,
            name: self.asked.aggregate().config.parts[self.index].name.clone(),
            end,
            error: cause.map(|cause| cause.meaning().name),
            status,
            duration,
        });
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.note(PartEnd::Cancelled, None);
        }
    }
}
