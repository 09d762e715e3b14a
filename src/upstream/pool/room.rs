//! Room for another connection, and what makes way for it (SEC-41).

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Pool, slot_at};
use crate::upstream::bulkhead::{MakesWay, Permit};
use crate::upstream::h1::Wire;
use crate::upstream::h2::Link;

/// Where a request that needs a connection may have one.
pub(in crate::upstream) enum Room {
    /// It may open another.
    Permit(Permit),
    /// Another request of this worker is done with this one.
    Wire(Box<Wire>),
}

impl Pool {
    /// Room for another connection (SEC-41), within part of `timeout`. Where there is none, idle connections that can make
    /// way are closed: this worker's HTTP/1 ones at once, the others as soon as their workers hear of it. Meanwhile what
    /// another request to the same upstream is done with serves as well, and better: nothing has to be opened.
    /// Without waiting for those if the key has an HTTP/2 connection that requests can queue on.
    pub(in crate::upstream) async fn room(&self, slot: usize, several: bool, timeout: Duration) -> Option<Room> {
        loop {
            match self.bulkhead.take(slot, several) {
                Ok(permit) => return Some(Room::Permit(permit)),
                Err(makes_way) if self.close_idle_wire(slot, makes_way) => {}
                Err(_) => break,
            }
        }
        if self.has_link(slot) {
            return None;
        }
        let freed = self.wait_for_wire(slot);
        tokio::select! {
            biased;
            Ok(wire) = freed => Some(Room::Wire(wire)),
            permit = self.bulkhead.wait(slot, timeout) => permit.map(Room::Permit),
        }
    }

    fn wait_for_wire(&self, slot: usize) -> oneshot::Receiver<Box<Wire>> {
        let (sender, freed) = oneshot::channel();
        let mut slots = self.slots.borrow_mut();
        let waiting = &mut slot_at(&mut slots, slot).waiting;
        waiting.retain(|waiting| !waiting.is_closed());
        waiting.push_back(sender);
        freed
    }

    /// Gives a connection to the request of its key that has waited longest; back, if none waits.
    pub(super) fn hand_over(waiting: &mut VecDeque<oneshot::Sender<Box<Wire>>>, wire: Box<Wire>) -> Option<Box<Wire>> {
        let mut wire = wire;
        while let Some(first) = waiting.pop_front() {
            match first.send(wire) {
                Ok(()) => return None,
                Err(back) => wire = back,
            }
        }
        Some(wire)
    }

    /// Counts a connection that was not opened for want of a descriptor. Says so once, until none was for a second
    /// (SEC-43): each request that fails for it would fill the log.
    pub(in crate::upstream) fn refuse(&self, why: &str) {
        if self.bulkhead.refuse() {
            tracing::warn!("requests fail until there are file descriptors for connections to upstreams: {why}");
        }
    }

    /// Closes as many idle connections as requests wait for, of all workers.
    pub(super) fn make_way(&self) {
        let wants = self.bulkhead.wants();
        for want in &wants {
            for _ in 0..want.count {
                if !self.close_idle_wire(want.slot, want.makes_way) && !self.close_idle_link(want.slot, want.makes_way)
                {
                    break;
                }
            }
        }
        self.wanted.replace(wants);
    }

    /// Whether somebody was waiting, when this worker last heard of it, for whom an idle connection of this key can make way.
    pub(super) fn is_wanted(&self, slot: usize) -> bool {
        self.wanted.borrow().iter().any(|want| want.slot == slot || want.makes_way == MakesWay::Anyone)
    }

    /// Closes an idle HTTP/1 connection: one of this key, else the one that has least time left. Tells whether there was
    /// one.
    pub(in crate::upstream) fn close_idle_wire(&self, slot: usize, makes_way: MakesWay) -> bool {
        let mut slots = self.slots.borrow_mut();
        let own = slots.get(slot).is_some_and(|slot| !slot.wires.is_empty()).then_some(slot);
        let oldest = || {
            let fronts = slots.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.wires.front()?)));
            fronts.min_by_key(|(_, wire)| wire.deadline.at()).map(|(index, _)| index)
        };
        let index = match makes_way {
            MakesWay::ItsOwn => own,
            MakesWay::Anyone => own.or_else(oldest),
        };
        let Some(index) = index else { return false };
        let closed = slots[index].wires.pop_front();
        self.idle.set(self.idle.get() - usize::from(closed.is_some()));
        closed.is_some()
    }

    /// The same for HTTP/2. It says GOAWAY first, and gives its permit back a moment later.
    fn close_idle_link(&self, slot: usize, makes_way: MakesWay) -> bool {
        let mut slots = self.slots.borrow_mut();
        let idle = slots.iter().enumerate().flat_map(|(index, slot)| {
            slot.http2
                .links
                .iter()
                .enumerate()
                .filter(|(_, link)| link.is_idle())
                .map(move |(at, link)| (index, at, link))
        });
        let may = idle.filter(|(index, ..)| makes_way == MakesWay::Anyone || *index == slot);
        let age = |link: &Link| self.beat.get().wrapping_sub(link.used.get());
        let oldest = may.max_by_key(|(index, _, link)| (*index == slot, age(link))).map(|(index, at, _)| (index, at));
        let Some((index, at)) = oldest else { return false };
        slots[index].http2.links.swap_remove(at);
        true
    }
}
