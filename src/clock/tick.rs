//! One coarse tick per worker serves every connection deadline: a timer of its own per request would cost more
//! than the forwarding (it allocates, and it is dropped unfired nearly always).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

/// How often deadlines are looked at. A deadline fires at most two of these late, never early.
pub const TICK: Duration = Duration::from_millis(100);

const OFF: u64 = u64::MAX;

/// A point in time as coarse as the tick of the worker that it was read on, and of use there only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

impl Tick {
    /// Earlier than every other: due at the next tick.
    pub const AT_ONCE: Tick = Tick(0);
    /// Later than every other: never due.
    pub const NEVER: Tick = Tick(OFF);
}

/// The deadlines of one worker. Cheap to clone; all clones are the same ticker.
#[derive(Clone, Debug, Default)]
pub struct Ticker {
    shared: Rc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Ticks since the worker began.
    now: Cell<u64>,
    entries: RefCell<Slab<Rc<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    /// The tick at which it expires, or `OFF`.
    at: Cell<u64>,
    expired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Ticker {
    /// Ticks for ever; each worker runs this once, as a task of its own.
    pub async fn run(&self) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let begin = super::timer_now();
        loop {
            let at = interval.tick().await;
            // Counted from the clock and not by ones, so that a worker that was held up does not grant extra time.
            self.advance_to((at - begin).as_millis() as u64 / TICK.as_millis() as u64);
        }
    }

    /// Moves to a tick and expires what is due. A plain walk: ten thousand entries cost some ten microseconds.
    fn advance_to(&self, now: u64) {
        self.shared.now.set(now);
        let mut due = Vec::new();
        for (_, entry) in self.shared.entries.borrow().iter() {
            if entry.at.get() <= now {
                entry.at.set(OFF);
                entry.expired.set(true);
                due.extend(entry.waker.borrow_mut().take());
            }
        }
        // Woken only after the walk: a waker may drop a deadline.
        due.into_iter().for_each(Waker::wake);
    }

    /// The tick that lies `after` from now, rounded up so that it is never early.
    pub fn after(&self, after: Duration) -> Tick {
        self.shared.after(after)
    }

    /// Whether this tick has come.
    pub fn is_due(&self, tick: Tick) -> bool {
        tick.0 <= self.shared.now.get()
    }

    /// A deadline that is not set yet. Make one per connection and keep it: setting it again is a store.
    pub fn deadline(&self) -> Deadline {
        let entry = Rc::new(Entry { at: Cell::new(OFF), expired: Cell::new(false), waker: RefCell::new(None) });
        let key = self.shared.entries.borrow_mut().insert(entry.clone());
        Deadline { shared: self.shared.clone(), entry, key }
    }
}

impl Shared {
    fn after(&self, after: Duration) -> Tick {
        let ticks = u64::try_from(after.as_millis().div_ceil(TICK.as_millis())).unwrap_or(OFF);
        // One more, since the current tick is partly over.
        Tick(self.now.get().saturating_add(ticks).saturating_add(1))
    }
}

/// A deadline on a worker's tick.
#[derive(Debug)]
pub struct Deadline {
    shared: Rc<Shared>,
    entry: Rc<Entry>,
    key: usize,
}

impl Deadline {
    /// Expires `after` from now (rounded up to the tick), instead of when it was set to before.
    pub fn set(&self, after: Duration) {
        self.set_at(self.shared.after(after));
    }

    /// Expires at `tick`, instead of when it was set to before. For those who keep several points in time under one
    /// deadline and set it to the earliest.
    pub fn set_at(&self, tick: Tick) {
        self.entry.at.set(tick.0);
        self.entry.expired.set(false);
    }

    /// Expires at `tick` or when it was set to before, whichever is earlier. One that has expired stays so.
    pub fn set_no_later_than(&self, tick: Tick) {
        if !self.is_expired() {
            self.entry.at.set(self.entry.at.get().min(tick.0));
        }
    }

    /// No longer expires.
    pub fn clear(&self) {
        self.entry.at.set(OFF);
        self.entry.expired.set(false);
    }

    /// When it expires; at once if it has.
    pub fn at(&self) -> Tick {
        if self.is_expired() { Tick::AT_ONCE } else { Tick(self.entry.at.get()) }
    }

    /// Whether it is set and has not expired yet.
    pub fn is_set(&self) -> bool {
        self.entry.at.get() != OFF
    }

    /// Whether it has expired since it was last set.
    pub fn is_expired(&self) -> bool {
        self.entry.expired.get()
    }

    /// Ready once it has expired; one task at a time is woken.
    pub fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_expired() {
            return Poll::Ready(());
        }
        let mut waker = self.entry.waker.borrow_mut();
        match &mut *waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            slot => *slot = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits until it has expired. Never returns while it is not set.
    pub async fn expired(&self) {
        poll_fn(|cx| self.poll_expired(cx)).await;
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.shared.entries.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_expires_at_its_tick_and_not_before() {
        let ticker = Ticker::default();
        let deadline = ticker.deadline();
        deadline.set(TICK * 3);
        ticker.advance_to(3);
        assert!(!deadline.is_expired(), "the tick during which it was set does not count");
        ticker.advance_to(4);
        assert!(deadline.is_expired());
    }

    #[test]
    fn setting_again_moves_it_and_clearing_stops_it() {
        let ticker = Ticker::default();
        let deadline = ticker.deadline();
        deadline.set(TICK);
        deadline.set(TICK * 10);
        ticker.advance_to(9);
        assert!(!deadline.is_expired());
        deadline.clear();
        ticker.advance_to(100);
        assert!(!deadline.is_expired());
    }

    #[test]
    fn a_dropped_deadline_leaves_nothing_behind() {
        let ticker = Ticker::default();
        drop(ticker.deadline());
        assert!(ticker.shared.entries.borrow().is_empty());
    }
}
