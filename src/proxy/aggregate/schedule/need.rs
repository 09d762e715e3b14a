//! Which parts the answer needs, as far as is known.

use super::Schedule;
use crate::snapshot::plan::{Aggregate, Layout, OnFailure, Part, Place};

/// The parts that are called for their own sake: those that the answer shows, and those that nothing reads, which are called
/// for what they do.
pub(super) fn own(aggregate: &Aggregate) -> Vec<bool> {
    let parts = &aggregate.parts;
    let template = match &aggregate.layout {
        Layout::Places => None,
        Layout::Template(template) => Some(template.references()),
    };
    let is_own = |index: usize| {
        let is_shown = match &template {
            None => parts[index].place != Place::Hidden,
            Some(template) => template.iter().any(|reference| reference.part() == Some(index)),
        };
        let is_read = |of: &Part| of.needs.contains(&index) || of.on_failure == OnFailure::Part(index);
        is_shown || !parts.iter().any(is_read)
    };
    (0..parts.len()).map(is_own).collect()
}

impl Schedule<'_> {
    /// The parts that are not settled and that the answer waits for; `also_maybe`: or may come to wait for, should others fail.
    pub(super) fn reached(&self, also_maybe: bool) -> Vec<bool> {
        let mut reached = vec![false; self.parts.len()];
        let mut left: Vec<usize> = (0..self.parts.len()).filter(|index| self.is_own[*index]).collect();
        while let Some(index) = left.pop() {
            if self.contents[index].is_some() || std::mem::replace(&mut reached[index], true) {
                continue;
            }
            left.extend(&self.parts[index].needs);
            if let OnFailure::Part(fallback) = self.parts[index].on_failure
                && (also_maybe || self.called_for[fallback])
            {
                left.push(fallback);
            }
        }
        reached
    }

    /// The first part in declared order whose failure ends the whole. That of a part that only others read does once one of
    /// them would be called, or would fail the whole without it: until then it may turn out that nothing needs it.
    pub(super) fn fatal(&self) -> Option<usize> {
        let doomed = self.doomed();
        let mut fatal = None;
        let mut left: Vec<usize> = (0..self.parts.len()).filter(|index| self.is_own[*index]).collect();
        let mut seen = vec![false; self.parts.len()];
        while let Some(index) = left.pop() {
            if !doomed[index] || std::mem::replace(&mut seen[index], true) {
                continue;
            }
            if self.failed[index].is_some() {
                fatal = Some(fatal.map_or(index, |first: usize| first.min(index)));
            }
            left.extend(&self.parts[index].needs);
            if let OnFailure::Part(fallback) = self.parts[index].on_failure
                && self.called_for[fallback]
            {
                left.push(fallback);
            }
        }
        fatal
    }

    /// The parts that have failed so that the whole does if it needs them, and those that come to nothing without them.
    fn doomed(&self) -> Vec<bool> {
        let mut doomed: Vec<bool> = self.failed.iter().map(Option::is_some).collect();
        while let Some(index) =
            (0..self.parts.len()).find(|index| !doomed[*index] && self.needs_one_of(*index, &doomed))
        {
            doomed[index] = true;
        }
        doomed
    }

    fn needs_one_of(&self, index: usize, doomed: &[bool]) -> bool {
        let part = &self.parts[index];
        if self.contents[index].is_some() {
            return false;
        }
        match (&part.on_failure, self.ahead[index].undecided()) {
            (OnFailure::Part(fallback), _) if self.called_for[*fallback] => doomed[*fallback],
            _ if self.started[index] => false,
            (_, Some(decides)) => doomed[decides],
            // Whatever else it waits for, it fails the whole.
            (OnFailure::Fail(_), None) => part.needs.iter().any(|need| doomed[*need]),
            (_, None) => {
                let ends = |need: &usize| doomed[*need] || self.contents[*need].is_some();
                part.needs.iter().any(|need| doomed[*need]) && part.needs.iter().all(ends)
            }
        }
    }
}
