//! What is shown of a cell.

use std::sync::Arc;
use std::time::Duration;

use super::TokenCell;
use crate::clock::Boot;
use crate::token::Generation;

/// What `/status` and the metrics show of a cell. Holds no secret.
#[derive(Debug, Clone)]
pub struct CellStatus {
    pub name: Arc<str>,
    /// `empty`, `fresh`, `soft`, `late`, `dead`, `backing_off`, `refused`, `needs_reauthorization`; what TL-20 ff. call it.
    pub state: &'static str,
    pub generation: Option<Generation>,
    pub suspect: bool,
    pub expires_in: Option<Duration>,
    pub fetching: bool,
    /// While it backs off, or is held back.
    pub next_try_in: Option<Duration>,
    pub last_error: Option<Arc<str>>,
    /// The store could not be written: a restart would lose what is newer than it (TL-51).
    pub unsaved: bool,
    pub fetches_granted: u64,
    pub fetches_failed: u64,
    pub rejections: u64,
    pub replays_accepted: u64,
    /// Times that the token was first seen late (TL-23).
    pub late: u64,
}

impl TokenCell {
    pub fn status(&self) -> CellStatus {
        let inner = self.lock();
        let (now, machine) = (self.shared.clock.now(), &inner.machine);
        let counters = machine.counters();
        let next = machine.next_start().max(inner.hold.until());
        let waits = (machine.error().is_some() || inner.hold.until() > now) && now < next && next < Boot::NEVER;
        CellStatus {
            name: self.name(),
            state: machine.state(now),
            generation: machine.held(),
            suspect: machine.suspected(now),
            expires_in: machine.expires_in(now),
            fetching: machine.fetching(),
            next_try_in: waits.then(|| next.since(now)),
            last_error: machine.error().map(|error| error.text.clone()),
            unsaved: inner.unsaved,
            fetches_granted: counters.granted,
            fetches_failed: counters.failed,
            rejections: counters.rejections,
            replays_accepted: counters.replays_accepted,
            late: counters.late,
        }
    }
}
