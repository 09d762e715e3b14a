//! Addresses that applications connect to: binding, accepting, TLS, and the deadlines of every connection.
//!
//! hyper's own timeouts stay off: its header timeout also runs on idle connections and allocates a timer per request.
//! The I/O wrapper under hyper owns header, idle and write deadlines on the worker's tick; `activity` holds them.
//!
//! What answers the requests is a parameter, so that this floor knows nothing of proxying.

mod accept;
mod activity;
mod bind;
mod connections;
mod http2;
mod io;
mod serve;
mod streams;
mod tls;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests measure by the clock that they pause")]
mod tests;

pub use accept::{Endpoint, Site, accept_connections};
pub use bind::{Bound, bind, bind_alone};
pub use connections::{Connections, Removal};
pub use http2::ReceiveMemory;
pub use serve::AnswerBody;
pub use tls::{Tickets, server_config};

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Ticker;
use crate::config;
use crate::descriptors::Permits;
use crate::metrics::WorkerMetrics;

/// What is known of a connection when it is accepted.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    pub address: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    pub tls: bool,
}

/// What all connections of one worker share.
#[derive(Debug)]
pub struct Shared {
    pub ticker: Ticker,
    pub connections: Connections,
    /// For the connections of all workers.
    pub permits: Arc<Permits>,
    pub receive_memory: Arc<ReceiveMemory>,
    pub metrics: Arc<WorkerMetrics>,
    settings: RefCell<Rc<Settings>>,
}

/// What configuration says of connections. A connection keeps those that it began with.
#[derive(Debug, Clone)]
pub struct Settings {
    pub limits: config::Limits,
    pub timeouts: config::ServerTimeouts,
    /// How long a client may take nothing of what is being written to it (`idle` of "Limits": 120 s).
    pub write: Duration,
}

impl Shared {
    pub fn new(
        ticker: Ticker,
        permits: Arc<Permits>,
        receive_memory: Arc<ReceiveMemory>,
        metrics: Arc<WorkerMetrics>,
        settings: Settings,
    ) -> Rc<Self> {
        let settings = RefCell::new(Rc::new(settings));
        Rc::new(Shared { ticker, connections: Connections::default(), permits, receive_memory, metrics, settings })
    }

    /// Replaces the settings for connections to come.
    pub fn set(&self, settings: Settings) {
        *self.settings.borrow_mut() = Rc::new(settings);
    }

    fn settings(&self) -> Rc<Settings> {
        self.settings.borrow().clone()
    }
}
