//! The timer of a cell: renews without traffic, and retries (TL-15, TL-29).

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::TokenCell;
use crate::token::machine::constants::SLEEP_SLICE_MAX;

/// Runs until the cell is gone. It holds the cell only while it looks at it.
pub(super) async fn tend(cell: Weak<TokenCell>, changed: Arc<Notify>) {
    loop {
        let Some(sleep) = cell.upgrade().map(|cell| cell.tick()) else { return };
        match sleep {
            // The runtime's timers do not count suspend, the clock does: it is read again after every slice.
            Some(sleep) => drop(tokio::time::timeout(sleep.min(SLEEP_SLICE_MAX), changed.notified()).await),
            None => changed.notified().await,
        }
    }
}

impl TokenCell {
    /// Lets time pass. Returns how long to sleep; `None`: until something changes.
    fn tick(self: &Arc<Self>) -> Option<Duration> {
        if self.lock().retired || self.shared.draining.load(Ordering::Relaxed) {
            return None;
        }
        self.update(|inner, now| {
            let begin = inner.machine.tick(now, self.active_until(inner));
            inner.take_off(begin);
        });
        let wake_at = self.lock().wake_at?;
        Some(wake_at.since(self.shared.clock.now()).max(Duration::from_millis(1)))
    }
}
