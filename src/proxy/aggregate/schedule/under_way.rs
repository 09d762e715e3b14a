//! A part under way: its end is noted, in the log and the metrics.

use http::StatusCode;

use crate::clock::Boot;
use crate::metrics::PartEnd;
use crate::proxy::aggregate::asked::Asked;
use crate::proxy::aggregate::fetch::Fetched;
use crate::proxy::aggregate::notes::Note;
use crate::proxy::failure::PartCause;

/// A part under way. Its end is noted and counted, also if it is dropped.
pub(super) struct UnderWay<'a> {
    asked: &'a Asked,
    index: usize,
    begin: Boot,
    ended: bool,
}

impl<'a> UnderWay<'a> {
    pub(super) fn begin(asked: &'a Asked, index: usize) -> UnderWay<'a> {
        UnderWay { asked, index, begin: asked.now(), ended: false }
    }

    pub(super) fn end(mut self, fetched: Result<Fetched, PartCause>) -> Result<Fetched, PartCause> {
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
