//! What waits for what: every part starts as soon as all that it needs is settled, and those that need nothing of each other
//! run at once, in place. Dropped, it cancels all of them; before that, it cancels a part that nothing needs any more. What
//! it comes to depends on the order in which parts are declared, never on the order in which they answer, with one
//! exception: the first failure of a part that the answer cannot do without ends it, and which part that is may be for the
//! upstreams to say. Of several at once the one counts that is declared first.

mod ahead;
mod need;
mod under_way;

use std::sync::Arc;

use super::asked::Asked;
use super::call::Caller;
use super::compose::fits;
use super::fetch::{Fetched, fetch};
use super::json::Json;
use super::report::Told;
use super::together::Together;
use super::value::Content;
use crate::proxy::failure::{Failure, PartCause, PartFailure};
use crate::snapshot::plan::{OnFailure, Part};
use ahead::{Ahead, Foreseen};
use under_way::UnderWay;

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
        schedule.look_ahead();
        if schedule.fatal().is_some() {
            while let Some((index, fetched)) = under_way.next_of_this_turn().await {
                schedule.settle(index, fetched);
            }
            let first = schedule.fatal().expect("what has failed stays so");
            return Err(schedule.failed[first].take().expect("it is one that failed"));
        }
        under_way.keep(|index| schedule.contents[index].is_none());
        for index in schedule.ready() {
            let parts = schedule.needed_by(index);
            under_way.add(index, async move {
                let under_way = UnderWay::begin(asked, index);
                under_way.end(fetch(Caller { asked, index }, parts).await)
            });
            schedule.start(index);
        }
        if let Some(send) = &mut send {
            while let Some(Some(content)) = schedule.contents.get(sent) {
                send(sent, content)?;
                sent += 1;
            }
            schedule.let_go_of_sent(sent);
        }
        let Some((index, fetched)) = under_way.next().await else { break };
        schedule.settle(index, fetched);
    }
    assert!(schedule.contents.iter().all(Option::is_some), "resolve lets no part wait for itself");
    Ok(schedule.ended())
}

/// How far the parts have come.
struct Schedule<'a> {
    asked: &'a Asked,
    parts: &'a [Part],
    /// Whether the answer is not complete without it, whoever reads it.
    is_own: Vec<bool>,
    /// What stands for each part, once that is settled.
    contents: Vec<Option<Content>>,
    /// What ends the whole, if the answer needs the part.
    failed: Vec<Option<Failure>>,
    told: Vec<Told>,
    /// What is not known yet of parts that wait.
    ahead: Vec<Ahead<'a>>,
    /// Its call was begun, or is none that is made.
    started: Vec<bool>,
    /// Whether something followed from what it came to.
    used: Vec<bool>,
    /// Whether it is only called if the part of this index fails.
    instead_of: Vec<Option<usize>>,
    /// Whether that has failed.
    called_for: Vec<bool>,
}

impl<'a> Schedule<'a> {
    fn new(asked: &'a Asked) -> Self {
        let aggregate = &asked.aggregate().config;
        let parts = &aggregate.parts[..];
        let mut instead_of = vec![None; parts.len()];
        for (index, part) in parts.iter().enumerate() {
            if let OnFailure::Part(fallback) = part.on_failure {
                instead_of[fallback] = Some(index);
            }
        }
        Schedule {
            asked,
            parts,
            is_own: need::own(aggregate),
            contents: parts.iter().map(|_| None).collect(),
            failed: parts.iter().map(|_| None).collect(),
            told: parts.iter().map(|_| Told::Nothing).collect(),
            ahead: parts.iter().map(Ahead::of).collect(),
            started: vec![false; parts.len()],
            used: vec![false; parts.len()],
            called_for: vec![false; parts.len()],
            instead_of,
        }
    }

    /// Settles all that needs no call: by what is there, or since nothing needs it any more.
    fn look_ahead(&mut self) {
        while let Some((index, fetched)) = self.foreseen() {
            self.started[index] = true;
            let fetched = UnderWay::begin(self.asked, index).end(fetched);
            self.settle(index, fetched);
        }
        let reached = self.reached(true);
        for (index, reached) in reached.into_iter().enumerate() {
            if !reached && self.contents[index].is_none() {
                self.contents[index] = Some(Content::Absent);
                self.failed[index] = None;
            }
        }
    }

    /// The first part of which it is known what it comes to before its call.
    fn foreseen(&mut self) -> Option<(usize, Result<Fetched, PartCause>)> {
        let waiting = self.waiting();
        let known = self.asked.known(&self.contents, None);
        for index in waiting {
            let lacks_nothing = self.lacks_nothing(index);
            let Some((foreseen, reads)) = self.ahead[index].look(&known, lacks_nothing) else { continue };
            if let Some(part) = reads {
                self.used[part] = true;
            }
            let fetched = match foreseen {
                Foreseen::Skipped => Ok(Fetched::Skipped),
                Foreseen::NoItems => Ok(Fetched::Answered { content: Json::list(&[]), truncated: false, items: None }),
                Foreseen::Unfilled(why) => Err(Caller { asked: self.asked, index }.unfilled(why)),
            };
            return Some((index, fetched));
        }
        None
    }

    /// The parts that are needed and were not called yet.
    fn waiting(&self) -> Vec<usize> {
        let reached = self.reached(false);
        (0..self.parts.len()).filter(|index| reached[*index] && !self.started[*index]).collect()
    }

    fn lacks_nothing(&self, index: usize) -> bool {
        self.parts[index].needs.iter().all(|need| self.contents[*need].is_some())
    }

    /// The parts that can start now.
    fn ready(&self) -> Vec<usize> {
        self.waiting().into_iter().filter(|index| self.lacks_nothing(*index)).collect()
    }

    fn start(&mut self, index: usize) {
        self.started[index] = true;
        self.parts[index].needs.iter().for_each(|need| self.used[*need] = true);
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
    fn settle(&mut self, index: usize, fetched: Result<Fetched, PartCause>) {
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
                        self.failed[index] = Some(Failure::Part(Box::new(PartFailure { part, cause, status })));
                        return;
                    }
                    _ => {
                        self.asked.part_failed(part, &cause);
                        self.told[index] = Told::Failed(cause);
                        let Some(content) = instead(part) else {
                            self.call_fallback(index);
                            return;
                        };
                        content
                    }
                }
            }
        };
        self.put(index, content);
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

    /// What stands for a part is known: also for the one that it stands in for.
    fn put(&mut self, mut index: usize, content: Content) {
        loop {
            self.contents[index] = Some(content.clone());
            match self.instead_of[index] {
                Some(owner) => index = owner,
                None => return,
            }
        }
    }

    /// Nothing is told of a part that the answer neither shows nor depends on.
    fn ended(mut self) -> Ended {
        for index in 0..self.parts.len() {
            let mut whose = index;
            while let Some(owner) = self.instead_of[whose] {
                whose = owner;
            }
            if !self.is_own[whose] && !self.used[whose] {
                self.told[index] = Told::Nothing;
            }
        }
        Ended { contents: self.contents, told: self.told }
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
