//! What a connection is doing, as far as its deadlines are concerned.
//!
//! A connection has one deadline on the worker's tick and several reasons for it; the deadline stands at the earliest.
//! Setting it is a store, so a request costs a few of them and no timer. It is never set to a later time but when it has
//! expired: it then finds no reason and moves to the next one.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::streams::{OpenStream, Streams, Unresettable};
use super::{Removal, Settings, Shared};
use crate::clock::{Deadline, Tick, Ticker};
use crate::metrics::WorkerMetrics;

/// How long a connection that was closed on our side may still send what we no longer want to know. Closing at once
/// would reset it, and the reset could overtake the answer (RFC 9112 section 9.6).
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// How long a new connection may stay silent once the worker drains.
const SILENT_WHILE_DRAINING: Duration = Duration::from_secs(1);

/// The state that the I/O wrapper, the requests and the driver of one connection share.
#[derive(Debug)]
pub(super) struct Activity {
    ticker: Ticker,
    deadline: Deadline,
    settings: Rc<Settings>,
    metrics: Arc<WorkerMetrics>,
    phase: Cell<Phase>,
    /// When the client has been silent for too long, in the current phase.
    read_at: Cell<Tick>,
    /// When a write that is blocked now has been so for too long.
    write_at: Cell<Tick>,
    /// Those of HTTP/2; each has a write deadline of its own.
    streams: Streams,
    in_flight: Cell<usize>,
    served: Cell<bool>,
    multiplexed: Cell<bool>,
    draining: Cell<bool>,
    removal: Removal,
    /// When a connection of a removed listener is closed, whatever it is doing.
    end_at: Cell<Tick>,
    reset_on_close: Cell<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handshake,
    /// Nothing has come in yet, but for a handshake. Who connects is about to ask for something, and gets as long for it as for
    /// a head.
    New,
    /// Between requests; the next byte begins one.
    Idle,
    /// A request's head is coming in (HTTP/1 only; frames of HTTP/2 say nothing about it).
    Head,
    /// At least one request is being answered. Its body's deadline belongs to who reads it.
    Busy,
    /// Our side is closed.
    Lingering,
}

/// Which deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Handshake,
    Idle,
    Header,
    Write,
    Linger,
    /// The time is over that a removed listener's connections have to end.
    Removed,
}

impl Activity {
    /// Of a connection that begins with a TLS handshake, or with a request.
    pub(super) fn new(shared: &Shared, removal: Removal, handshake: bool) -> Rc<Self> {
        let activity = Activity {
            ticker: shared.ticker.clone(),
            deadline: shared.ticker.deadline(),
            settings: shared.settings(),
            metrics: shared.metrics.clone(),
            phase: Cell::new(Phase::New),
            read_at: Cell::new(Tick::NEVER),
            write_at: Cell::new(Tick::NEVER),
            streams: Streams::default(),
            in_flight: Cell::new(0),
            served: Cell::new(false),
            multiplexed: Cell::new(false),
            draining: Cell::new(false),
            removal,
            end_at: Cell::new(Tick::NEVER),
            reset_on_close: Cell::new(false),
        };
        match handshake {
            true => activity.enter(Phase::Handshake, activity.settings.timeouts.tls_handshake),
            false => activity.become_new(),
        }
        Rc::new(activity)
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The handshake is complete.
    pub(super) fn become_new(&self) {
        self.enter(Phase::New, self.settings.timeouts.header);
    }

    /// A connection speaks HTTP/2: its preface has come.
    pub(super) fn become_multiplexed(&self) {
        self.multiplexed.set(true);
        self.become_idle();
    }

    fn become_idle(&self) {
        self.enter(Phase::Idle, self.settings.timeouts.idle);
    }

    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed.get()
    }

    /// Bytes came in.
    pub(super) fn received(&self) {
        if matches!(self.phase.get(), Phase::New | Phase::Idle) && !self.multiplexed.get() {
            self.enter(Phase::Head, self.settings.timeouts.header);
        }
    }

    /// A write made progress or nothing is left to write.
    pub(super) fn wrote(&self) {
        self.write_at.set(Tick::NEVER);
    }

    /// A write is blocked. The time runs from the first time that this is said after progress.
    pub(super) fn write_blocked(&self) {
        if self.write_at.get() == Tick::NEVER {
            self.write_at.set(self.write_due_at());
            self.look_at(self.write_at.get());
        }
    }

    /// Our side is closed; see [`LINGER`].
    pub(super) fn linger(&self) {
        self.enter(Phase::Lingering, LINGER);
    }

    /// The answer in progress must not look complete, and only a reset can say so.
    pub(super) fn reset_on_close(&self) -> bool {
        self.reset_on_close.get()
    }

    /// A request begins; it ends when what is returned is dropped.
    pub(super) fn begin(self: &Rc<Self>, version: http::Version) -> Exchange {
        self.in_flight.set(self.in_flight.get() + 1);
        self.served.set(true);
        self.phase.set(Phase::Busy);
        self.read_at.set(Tick::NEVER);
        Exchange { activity: self.clone(), version }
    }

    /// A request on a stream of its own begins.
    pub(super) fn begin_stream(self: &Rc<Self>) -> Rc<OpenStream> {
        self.streams.begin(self.begin(http::Version::HTTP_2))
    }

    pub(super) fn streams(&self) -> &Streams {
        &self.streams
    }

    /// When what is written from now on has been so for too long, should the client take nothing of it.
    pub(super) fn write_due_at(&self) -> Tick {
        self.ticker.after(self.settings.write)
    }

    /// Looks at the deadlines at `tick`, if not before.
    pub(super) fn look_at(&self, tick: Tick) {
        self.deadline.set_no_later_than(tick);
    }

    /// Whether a request is being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.phase.get() == Phase::Busy
    }

    /// Whether a connection may be told to close when its worker drains. One that has just been made has perhaps a
    /// request on its way, which would be lost.
    pub(super) fn may_close(&self) -> bool {
        self.served.get()
    }

    /// Whether it is to close as soon as it has finished.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Drains if the listener that it came in by was removed.
    pub(super) fn drain_if_removed(&self) {
        if let Some(timeout) = self.removal.timeout()
            && self.end_at.get() == Tick::NEVER
        {
            self.end_at.set(self.ticker.after(timeout));
            self.drain();
        }
    }

    /// Looks at the connection soon, since its worker begins to drain.
    pub(super) fn drain(&self) {
        self.draining.set(true);
        if matches!(self.phase.get(), Phase::New | Phase::Idle) && !self.served.get() {
            self.read_at.set(self.read_at.get().min(self.ticker.after(SILENT_WHILE_DRAINING)));
        }
        self.deadline.set_at(Tick::AT_ONCE);
    }

    /// Ready once a deadline has passed.
    pub(super) fn poll_due(&self, cx: &mut Context<'_>) -> Poll<Due> {
        loop {
            ready!(self.deadline.poll_expired(cx));
            match self.due() {
                Some(due) => return Poll::Ready(due),
                // It stood earlier than any reason for it, to wake the driver.
                None => self.rearm(),
            }
        }
    }

    /// What is due of the connection. Streams that are due are reset, which does not end it.
    fn due(&self) -> Option<Due> {
        if self.ticker.is_due(self.read_at.get()) {
            return Some(match self.phase.get() {
                Phase::Handshake => Due::Handshake,
                Phase::Head => Due::Header,
                Phase::Lingering => Due::Linger,
                Phase::New | Phase::Idle | Phase::Busy => Due::Idle,
            });
        }
        if self.ticker.is_due(self.end_at.get()) {
            return Some(Due::Removed);
        }
        if self.ticker.is_due(self.write_at.get()) {
            return Some(Due::Write);
        }
        match self.streams.reset_due(&self.ticker) {
            Ok(resets) => {
                self.metrics.write_timeouts.add(resets);
                None
            }
            Err(Unresettable) => Some(Due::Write),
        }
    }

    fn enter(&self, phase: Phase, timeout: Duration) {
        self.phase.set(phase);
        self.read_at.set(self.ticker.after(timeout));
        self.deadline.set_no_later_than(self.read_at.get());
    }

    fn rearm(&self) {
        let at = self.read_at.get().min(self.write_at.get()).min(self.end_at.get());
        self.deadline.set_at(at.min(self.streams.due_at()));
    }
}

/// One request, from its parsed head to the end of its answer's body; on HTTP/2, until that is sent.
#[derive(Debug)]
pub(super) struct Exchange {
    activity: Rc<Activity>,
    pub(super) version: http::Version,
}

impl Exchange {
    pub(super) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// The answer broke. An HTTP/1.0 client takes the end of the connection for the end of the answer.
    pub(super) fn broke(&self) {
        if self.version == http::Version::HTTP_10 {
            self.activity.reset_on_close.set(true);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let left = self.activity.in_flight.get() - 1;
        self.activity.in_flight.set(left);
        if left == 0 && self.activity.phase.get() == Phase::Busy {
            self.activity.become_idle();
        }
    }
}
