//! What can be said of a part while it still waits: that it is not called, has nothing to be called for, or lacks a value.

use crate::proxy::aggregate::value::{self, Known, Unfilled};
use crate::snapshot::plan::{Absent, Condition, ForEach, Part, Reference};

/// What is not known yet of a part. All of it is looked at once, when what it reads is there.
pub(super) struct Ahead<'a> {
    when: Option<&'a Condition>,
    list: Option<&'a ForEach>,
    /// What has to have a value, else the part fails.
    required: Vec<&'a Reference>,
}

/// What a part comes to without a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Foreseen {
    Skipped,
    NoItems,
    Unfilled(Unfilled),
}

impl<'a> Ahead<'a> {
    pub(super) fn of(part: &'a Part) -> Ahead<'a> {
        let required = match part.for_each {
            // What is absent fails an item, of which there may be none.
            Some(_) => Vec::new(),
            None => part.request.references().into_iter().filter(|read| read.absent == Absent::Fails).collect(),
        };
        Ahead { when: part.when.as_ref(), list: part.for_each.as_ref(), required }
    }

    /// What the part is known to come to, and which part says so. `lacks_nothing`: it can be called now, which shows by
    /// itself whether a value is absent.
    pub(super) fn look(&mut self, known: &Known<'_>, lacks_nothing: bool) -> Option<(Foreseen, Option<usize>)> {
        if let Some(condition) = self.when {
            let read = condition.reference();
            if !is_settled(known, read) {
                return None;
            }
            match value::holds(known, condition) {
                Ok(true) => self.when = None,
                Ok(false) => return Some((Foreseen::Skipped, read.part())),
                Err(why) => return Some((Foreseen::Unfilled(why), read.part())),
            }
        }
        if let Some(list) = self.list {
            if !is_settled(known, &list.items) {
                return None;
            }
            match value::items(known, &list.items, 1) {
                Ok(items) if items.is_empty() => return Some((Foreseen::NoItems, list.items.part())),
                Ok(_) => self.list = None,
                Err(why) => return Some((Foreseen::Unfilled(why), list.items.part())),
            }
        }
        if lacks_nothing {
            return None;
        }
        let (settled, unsettled) = self.required.iter().partition(|read| is_settled(known, read));
        self.required = unsettled;
        let settled: Vec<&Reference> = settled;
        settled.into_iter().find_map(|read| {
            let why = value::check(known, read).err()?;
            Some((Foreseen::Unfilled(why), read.part()))
        })
    }

    /// Whether it is known that the part is called, if nothing is absent; else which part has the say.
    pub(super) fn undecided(&self) -> Option<usize> {
        let by_list = || self.list.and_then(|list| list.items.part());
        self.when.map_or_else(by_list, |condition| condition.reference().part())
    }
}

fn is_settled(known: &Known<'_>, read: &Reference) -> bool {
    read.part().is_none_or(|part| known.parts[part].is_some())
}
