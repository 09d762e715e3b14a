//! The open connections of a worker: counted, told to drain, waited for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;

use super::activity::Activity;

/// Whether a listener was removed by a reload, as its connections see it: they finish and close then, since what the new
/// configuration allows was not meant for who comes in by the old address. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Removal(Rc<Cell<Option<Duration>>>);

impl Removal {
    /// Removes the listener. Exchanges in progress have this long to end.
    pub fn begin(&self, timeout: Duration) {
        self.0.set(Some(timeout));
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        self.0.get()
    }
}

/// The open connections of one worker.
#[derive(Debug, Default)]
pub struct Connections {
    open: RefCell<Slab<Rc<Activity>>>,
    draining: Cell<bool>,
    /// Told whenever the last one closes.
    empty: Notify,
}

impl Connections {
    /// Lets every connection finish what it is doing and close (SEC-40), those still to be accepted included:
    /// `Connection: close` with the answer in progress, or GOAWAY.
    pub fn drain(&self) {
        self.draining.set(true);
        self.open.borrow().iter().for_each(|(_, activity)| activity.drain());
    }

    /// Lets the connections of removed listeners finish what they are doing and close.
    pub fn drain_removed(&self) {
        self.open.borrow().iter().for_each(|(_, activity)| activity.drain_if_removed());
    }

    /// Waits until none is open.
    pub async fn closed(&self) {
        while !self.open.borrow().is_empty() {
            self.empty.notified().await;
        }
    }

    pub fn count(&self) -> usize {
        self.open.borrow().len()
    }

    pub(super) fn add(&self, activity: &Rc<Activity>) -> Open<'_> {
        if self.draining.get() {
            activity.drain();
        }
        activity.drain_if_removed();
        Open { connections: self, key: self.open.borrow_mut().insert(activity.clone()) }
    }
}

/// A connection that is open until this is dropped.
#[derive(Debug)]
pub(super) struct Open<'a> {
    connections: &'a Connections,
    key: usize,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut open = self.connections.open.borrow_mut();
        open.remove(self.key);
        if open.is_empty() {
            self.connections.empty.notify_waiters();
        }
    }
}
