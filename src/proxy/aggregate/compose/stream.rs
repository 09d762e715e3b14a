//! The answer while it is sent: parts in declared order, as they are complete. It is the same, byte for byte, as one that was
//! composed as a whole.

use std::sync::Arc;

use bytes::Bytes;

use super::{REPORT, edit_counted};
use crate::proxy::aggregate::json::Json;
use crate::proxy::aggregate::shape::write_string;
use crate::proxy::aggregate::value::Content;
use crate::snapshot::MemoryBudget;
use crate::snapshot::plan::{Aggregate, Place};

/// What is no larger goes with what leads to it: a piece of its own would cost more than the copy.
const COPIED_BYTES_MAX: usize = 16 * 1024;

/// Writes an aggregate's answer piece by piece. What it can be used for, [`Aggregate::stream`] says.
#[derive(Debug)]
pub struct Stream {
    aggregate: Arc<Aggregate>,
    begun: bool,
    /// The part that was written last, in whose object we are.
    last: Option<usize>,
    /// Nothing stands behind the bracket that was opened last.
    empty: bool,
}

impl Stream {
    pub fn new(aggregate: Arc<Aggregate>) -> Stream {
        Stream { aggregate, begun: false, last: None, empty: true }
    }

    /// The next part that is complete: what leads to it, and itself, which is not copied if it is large and nothing of it
    /// changes. Nothing comes of one that is hidden or absent. What is made of it is counted in `memory`. `None`: there is no
    /// room for it.
    pub fn part(&mut self, index: usize, content: &Content, memory: &Arc<MemoryBudget>) -> Option<[Bytes; 2]> {
        let Content::Json(json) = content else { return Some([const { Bytes::new() }; 2]) };
        if self.aggregate.parts[index].place == Place::Hidden {
            return Some([const { Bytes::new() }; 2]);
        }
        let aggregate = self.aggregate.clone();
        let edits = &aggregate.parts[index].edits;
        let mut held = memory.hold();
        let json = edit_counted(json, edits, &mut held)?;
        let mut lead = Vec::new();
        self.lead_to(index, &mut lead);
        if json.as_bytes().len() <= COPIED_BYTES_MAX {
            lead.extend_from_slice(json.as_bytes());
            return Some([held.count(lead.into())?, Bytes::new()]);
        }
        let json = json.into_owned().into_bytes();
        // As it came it is counted already.
        let json = if edits.is_empty() { json } else { held.count(json)? };
        Some([memory.hold().count(lead.into())?, json])
    }

    /// What comes after the last part.
    pub fn finish(mut self, report: Option<&Json>) -> Bytes {
        let mut out = Vec::new();
        self.begin(&mut out);
        self.leave(self.depth(), &mut out);
        if let Some(report) = report {
            self.name(REPORT, &mut out);
            out.extend_from_slice(report.as_bytes());
        }
        out.push(b'}');
        Bytes::from(out)
    }

    /// All that stands before a part's value.
    fn lead_to(&mut self, index: usize, out: &mut Vec<u8>) {
        self.begin(out);
        let aggregate = self.aggregate.clone();
        let (objects, name) = place(&aggregate, index);
        let open = self.last.map_or(&[][..], |last| place(&aggregate, last).0);
        let common = open.iter().zip(objects).take_while(|(open, wanted)| open == wanted).count();
        self.leave(open.len() - common, out);
        for object in &objects[common..] {
            self.name(object, out);
            out.push(b'{');
            self.empty = true;
        }
        self.name(name, out);
        self.last = Some(index);
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !self.begun {
            out.push(b'{');
            self.begun = true;
        }
    }

    fn name(&mut self, name: &str, out: &mut Vec<u8>) {
        self.separate(out);
        write_string(out, name);
        out.push(b':');
    }

    fn separate(&mut self, out: &mut Vec<u8>) {
        if !self.empty {
            out.push(b',');
        }
        self.empty = false;
    }

    fn leave(&mut self, objects: usize, out: &mut Vec<u8>) {
        (0..objects).for_each(|_| self.close(b'}', out));
    }

    fn close(&mut self, bracket: u8, out: &mut Vec<u8>) {
        out.push(bracket);
        self.empty = false;
    }

    /// How many objects lie around the part that was written last.
    fn depth(&self) -> usize {
        self.last.map_or(0, |last| place(&self.aggregate, last).0.len())
    }
}

/// The objects that lead to a part, and its name there.
fn place(aggregate: &Aggregate, index: usize) -> (&[String], &str) {
    match &aggregate.parts[index].place {
        Place::At(path) => path.split_last().map_or((&[], ""), |(name, objects)| (objects, name)),
        Place::Merged(_) | Place::Hidden => unreachable!("resolve lets none of these stream"),
    }
}
