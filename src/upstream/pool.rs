//! The connections of one worker, kept open for the next request: last in, first out.

mod room;

pub(super) use room::Room;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::oneshot;

use super::bulkhead::{Bulkhead, Want};
use super::h1::{Origin, Wire};
use super::h2::{Link, LinkSlot};
use super::open::Share;
use super::resolve::Name;
use crate::clock::Ticker;

/// The most idle connections of one key.
const IDLE_PER_KEY_MAX: usize = 512;
/// The most idle connections of a worker. Beyond it the one that is idle for longest goes, of the key that has most.
const IDLE_MAX: usize = 1024;
/// Idle connections are closed after this, or a second before the upstream said it would close them (`Keep-Alive:
/// timeout`). Less than the 60 s of common load balancers, so that we close first and no request meets a closing
/// connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);
/// Connections are retired at this age (SEC-20), in beats.
const AGE_MAX: u32 = 300;
/// How often idle connections are looked at.
const BEAT: Duration = Duration::from_secs(1);
/// The most HTTP/2 connections of one key; beyond it requests queue for streams.
const LINKS_PER_KEY_MAX: usize = 16;
/// Header maps that are kept for the next answer, and the most fields that such a map has room for.
const SPARE_MAPS_MAX: usize = 64;
const SPARE_MAP_FIELDS_MAX: usize = 128;

/// One worker's connections to all upstreams. Bounded; outlives reloads.
pub struct Pool {
    ticker: Ticker,
    /// What bounds the connections of all workers.
    bulkhead: Arc<Bulkhead>,
    /// How many connections had been refused for want of a descriptor at the last beat.
    refused: Cell<u64>,
    /// Who was waiting for what gets idle here when this worker last asked, so that whoever keeps a connection need not ask
    /// the bulkhead, which all workers share.
    wanted: RefCell<Vec<Want>>,
    /// By the key's index, see `Connector`: no name is hashed or compared per request.
    slots: RefCell<Vec<Slot>>,
    /// Idle connections that speak HTTP/1.
    idle: Cell<usize>,
    opened: Cell<u64>,
    reused: Cell<u64>,
    /// Seconds, counted while there are idle connections or somebody asks.
    beat: Cell<u32>,
    beating: Cell<bool>,
    this: Weak<Pool>,
    spare_maps: RefCell<Vec<HeaderMap>>,
}

/// The connections of one key.
#[derive(Default)]
struct Slot {
    /// Idle ones that speak HTTP/1, oldest first.
    wires: VecDeque<Box<Wire>>,
    /// Requests of this worker that may not open a connection at present, and take one that another is done with.
    waiting: VecDeque<oneshot::Sender<Box<Wire>>>,
    http2: LinkSlot,
}

/// A connection that is fit for a request.
#[derive(Debug)]
pub(super) enum Taken {
    Wire(Box<Wire>),
    Link(Rc<Link>),
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// What metrics show of a pool.
#[derive(Debug, Clone, Copy, Default)]
pub struct PoolStats {
    pub opened: u64,
    pub reused: u64,
    pub idle: usize,
}

impl Pool {
    /// `bulkhead`: that of all workers.
    pub fn new(ticker: Ticker, bulkhead: Arc<Bulkhead>) -> Rc<Self> {
        Rc::new_cyclic(|this| Pool {
            ticker,
            refused: Cell::new(bulkhead.refused()),
            bulkhead,
            wanted: RefCell::default(),
            slots: RefCell::default(),
            idle: Cell::new(0),
            opened: Cell::new(0),
            reused: Cell::new(0),
            beat: Cell::new(0),
            beating: Cell::new(false),
            this: this.clone(),
            spare_maps: RefCell::default(),
        })
    }

    pub fn stats(&self) -> PoolStats {
        let slots = self.slots.borrow();
        let links = slots.iter().flat_map(|slot| &slot.http2.links).filter(|link| link.is_idle()).count();
        PoolStats { opened: self.opened.get(), reused: self.reused.get(), idle: self.idle.get() + links }
    }

    pub(super) fn has_link(&self, slot: usize) -> bool {
        let slots = self.slots.borrow();
        slots.get(slot).is_some_and(|slot| slot.http2.links.iter().any(|link| !link.is_closed()))
    }

    /// The HTTP/2 connection of this key with the fewest requests, for one more that queues there.
    pub(super) fn queue(&self, slot: usize, name: Option<&Name>) -> Option<Taken> {
        let mut slots = self.slots.borrow_mut();
        let links = &mut slots.get_mut(slot)?.http2.links;
        links.retain(|link| self.may_begin_on(link, name));
        let least = links.iter().min_by_key(|link| link.active())?.clone();
        self.count_reused();
        Some(Taken::Link(least))
    }

    /// Gives back a header map that is no longer needed, for the headers of a later answer: that saves allocating one
    /// for each.
    pub fn recycle(&self, mut map: HeaderMap) {
        let mut spare = self.spare_maps.borrow_mut();
        if spare.len() < SPARE_MAPS_MAX && map.capacity() <= SPARE_MAP_FIELDS_MAX {
            map.clear();
            spare.push(map);
        }
    }

    pub(super) fn map(&self) -> HeaderMap {
        self.spare_maps.borrow_mut().pop().unwrap_or_default()
    }

    pub(super) fn ticker(&self) -> &Ticker {
        &self.ticker
    }

    pub(super) fn beat(&self) -> u32 {
        self.beat.get()
    }

    /// Lets time pass for connections.
    #[cfg(test)]
    pub(super) fn age(&self, beats: u32) {
        self.beat.set(self.beat.get() + beats);
    }

    pub(super) fn count_opened(&self) {
        self.opened.set(self.opened.get() + 1);
        self.begin_to_beat();
    }

    pub(super) fn count_reused(&self) {
        self.reused.set(self.reused.get() + 1);
    }

    /// A connection to use again, if there is one that is fit: quiet, not too old, and its address still in the
    /// name's answer. Of those that speak HTTP/1 the one that was used last.
    pub(super) fn take(&self, index: usize, name: Option<&Name>) -> Option<Taken> {
        loop {
            let mut slots = self.slots.borrow_mut();
            let slot = slots.get_mut(index)?;
            if let Some(link) = self.take_link(&mut slot.http2, name) {
                self.count_reused();
                return Some(Taken::Link(link));
            }
            let mut wire = slot.wires.pop_back()?;
            drop(slots);
            self.idle.set(self.idle.get() - 1);
            if self.is_fit(&mut wire, name) {
                wire.deadline.clear();
                self.count_reused();
                return Some(Taken::Wire(wire));
            }
        }
    }

    fn take_link(&self, slot: &mut LinkSlot, name: Option<&Name>) -> Option<Rc<Link>> {
        if slot.links.is_empty() {
            return None;
        }
        slot.links.retain(|link| self.may_begin_on(link, name));
        let is_full = slot.links.len() >= LINKS_PER_KEY_MAX;
        let least = slot.links.iter().filter(|link| is_full || link.has_room()).min_by_key(|link| link.active())?;
        least.used.set(self.beat.get());
        Some(least.clone())
    }

    /// Whether new requests may use it. Those that are on it go on.
    fn may_begin_on(&self, link: &Link, name: Option<&Name>) -> bool {
        let mut origin = link.origin.get();
        let fit = !link.is_closed() && self.is_young(&origin) && is_at_home(&mut origin, name);
        link.origin.set(origin);
        fit
    }

    /// Whether requests for this key share the opening of a connection, and who is to begin it. They do only where
    /// HTTP/2 is expected, or was spoken last time.
    pub(super) fn share_opening(&self, index: usize, expected: bool) -> Share {
        let mut slots = self.slots.borrow_mut();
        let slot = &mut slot_at(&mut slots, index).http2;
        slot.known |= expected;
        if !slot.known {
            return Share::Nothing;
        }
        match &slot.opening {
            Some(opening) => Share::Joined(opening.clone()),
            None => Share::Began(slot.opening.insert(Rc::default()).clone()),
        }
    }

    pub(super) fn forget_opening(&self, index: usize) {
        slot_at(&mut self.slots.borrow_mut(), index).http2.opening = None;
    }

    /// A new connection speaks HTTP/1: each request opens its own.
    pub(super) fn speaks_http1(&self, index: usize) {
        slot_at(&mut self.slots.borrow_mut(), index).http2.known = false;
    }

    /// Takes a new HTTP/2 connection in. If others came to be in the meantime, one of them may be the better one.
    pub(super) fn put_link(&self, link: Rc<Link>) -> Rc<Link> {
        let mut slots = self.slots.borrow_mut();
        let slot = &mut slot_at(&mut slots, link.origin.get().slot).http2;
        slot.known = true;
        if let Some(other) = slot.links.iter().find(|other| !other.is_closed() && other.has_room()) {
            return other.clone();
        }
        slot.links.push(link.clone());
        link
    }

    /// Takes in an HTTP/2 connection that was opened for one request, unless there are enough without it.
    pub(super) fn add_link(&self, link: &Rc<Link>) {
        let mut slots = self.slots.borrow_mut();
        let links = &mut slot_at(&mut slots, link.origin.get().slot).http2.links;
        links.retain(|link| !link.is_closed());
        if links.len() < LINKS_PER_KEY_MAX {
            links.push(link.clone());
        }
    }

    fn is_fit(&self, wire: &mut Wire, name: Option<&Name>) -> bool {
        let young = !wire.deadline.is_expired() && self.is_young(&wire.origin);
        young && is_at_home(&mut wire.origin, name) && wire.is_quiet()
    }

    fn is_young(&self, origin: &Origin) -> bool {
        self.beat.get().wrapping_sub(origin.born) < AGE_MAX
    }

    /// Keeps a connection whose exchange is complete.
    pub(super) fn put(&self, mut wire: Box<Wire>) {
        let idle = match wire.promised {
            Some(promised) => promised.saturating_sub(Duration::from_secs(1)).min(IDLE_TIMEOUT),
            None => IDLE_TIMEOUT,
        };
        if idle.is_zero() || !self.is_young(&wire.origin) {
            return;
        }
        wire.rest();
        wire.deadline.set(idle);
        let mut slots = self.slots.borrow_mut();
        let index = wire.origin.slot;
        let slot = slot_at(&mut slots, index);
        if !slot.waiting.is_empty() && wire.is_quiet() {
            wire.deadline.clear();
            match Pool::hand_over(&mut slot.waiting, wire) {
                None => return,
                Some(back) => wire = back,
            }
            wire.deadline.set(idle);
        }
        self.idle.set(self.idle.get() + 1);
        slot.wires.push_back(wire);
        let count = slot.wires.len();
        let overfull = match self.idle.get() {
            idle if idle > IDLE_MAX => (0..slots.len()).max_by_key(|&index| slots[index].wires.len()),
            _ => (count > IDLE_PER_KEY_MAX).then_some(index),
        };
        if let Some(overfull) = overfull {
            drop(slots[overfull].wires.pop_front());
            self.idle.set(self.idle.get() - 1);
        }
        drop(slots);
        if self.is_wanted(index) {
            self.make_way();
        }
    }

    /// Counts seconds and closes what is no longer fit, so that it does not wait for a request to be noticed; and what is
    /// idle as soon as a worker lacks it.
    fn begin_to_beat(&self) {
        if self.beating.replace(true) {
            return;
        }
        let (this, deadline, bulkhead) = (self.this.clone(), self.ticker.deadline(), self.bulkhead.clone());
        tokio::task::spawn_local(async move {
            deadline.set(BEAT);
            let mut wanted = pin!(bulkhead.wanted());
            // Somebody may have begun to wait before this worker had anything to give, and to listen for.
            this.upgrade().inspect(|pool| pool.make_way());
            loop {
                let is_wanted = tokio::select! {
                    () = deadline.expired() => false,
                    () = wanted.as_mut() => true,
                };
                let Some(pool) = this.upgrade() else { return };
                if is_wanted {
                    // Before anybody is looked for, so that nobody is missed.
                    wanted.set(bulkhead.wanted());
                    pool.make_way();
                } else {
                    deadline.set(BEAT);
                    pool.beat.set(pool.beat.get().wrapping_add(1));
                    pool.sweep();
                }
            }
        });
    }

    fn is_recent(&self, link: &Link) -> bool {
        u64::from(self.beat.get().wrapping_sub(link.used.get())) <= IDLE_TIMEOUT.as_secs() / BEAT.as_secs()
    }

    fn sweep(&self) {
        let refused = self.bulkhead.refused();
        if self.refused.replace(refused) == refused {
            self.bulkhead.calm();
        }
        if !self.wanted.borrow().is_empty() {
            self.make_way();
        }
        for slot in self.slots.borrow_mut().iter_mut() {
            let before = slot.wires.len();
            slot.wires.retain_mut(|wire| !wire.deadline.is_expired() && self.is_young(&wire.origin) && wire.is_quiet());
            self.idle.set(self.idle.get() - (before - slot.wires.len()));
            slot.http2.links.retain(|link| !link.is_closed() && (!link.is_idle() || self.is_recent(link)));
        }
    }
}

fn slot_at(slots: &mut Vec<Slot>, index: usize) -> &mut Slot {
    if slots.len() <= index {
        slots.resize_with(index + 1, Slot::default);
    }
    &mut slots[index]
}

/// Whether a connection's address is still one of its name's. One atomic read, but after the answer has changed.
fn is_at_home(origin: &mut Origin, name: Option<&Name>) -> bool {
    let (Some(name), Some(address)) = (name, origin.address) else {
        return true;
    };
    let generation = name.touch();
    if origin.generation == generation {
        return true;
    }
    origin.generation = generation;
    name.has(address)
}
