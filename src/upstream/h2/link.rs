//! A connection that speaks HTTP/2, shared by the requests of a worker.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::body::RequestBody;
use crate::upstream::h1::{HEAD_BYTES_MAX, Origin};
use crate::upstream::open::Opening;
use crate::upstream::{ConnectError, Connection, ExchangeErrorKind};

/// Requests at a time on one connection, whatever the upstream allows.
const STREAMS_MAX: usize = 100;
/// What an upstream may send ahead of a client that reads slowly; `h2_receive_memory_bytes_max` does not count it.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// As much as all streams may have, so that clients that do not read hold up nobody else. Only they fill it: what was
/// read is given back at once.
const CONNECTION_WINDOW_BYTES: u32 = STREAMS_MAX as u32 * STREAM_WINDOW_BYTES;
/// What is taken from a client ahead of the upstream, for each stream.
const SEND_BUFFER_BYTES_MAX: usize = 256 * 1024;
/// While requests wait, a connection that does not answer a ping is given up.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection. The pool holds it while new requests may use it; it ends when the last holder is gone.
pub(in crate::upstream) struct Link {
    sender: RefCell<SendRequest<RequestBody>>,
    /// To ask how many streams the upstream allows now. Its task alone owns it: `SendRequest::is_closed` says so only
    /// once an ended connection has been dropped.
    connection: Weak<RefCell<Http2>>,
    active: Cell<usize>,
    retired: Cell<bool>,
    pub(in crate::upstream) origin: Cell<Origin>,
    /// The pool's beat when it was used last.
    pub(in crate::upstream) used: Cell<u32>,
}

type Http2 = hyper::client::conn::http2::Connection<TokioIo<Connection>, RequestBody, LocalExecutor>;

/// The connections of one key, and who is opening one.
#[derive(Debug, Default)]
pub(in crate::upstream) struct LinkSlot {
    pub(in crate::upstream) links: Vec<Rc<Link>>,
    /// It has spoken HTTP/2 before: requests wait for a connection that is being opened, and do not open their own.
    pub(in crate::upstream) known: bool,
    pub(in crate::upstream) opening: Option<Rc<Opening>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("active", &self.active).field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Link {
    /// Begins to speak HTTP/2 on a connection. Its task is the worker's.
    pub(in crate::upstream) async fn begin(connection: Connection, origin: Origin) -> Result<Rc<Link>, ConnectError> {
        let mut builder = Builder::new(LocalExecutor);
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT);
        let handshake = builder.handshake(TokioIo::new(connection)).await;
        let (sender, connection) = handshake.map_err(|error| {
            ConnectError::new(ExchangeErrorKind::Connect, format!("beginning HTTP/2 with the upstream: {error}"))
        })?;
        let connection = Rc::new(RefCell::new(connection));
        let seen = Rc::downgrade(&connection);
        tokio::task::spawn_local(async move {
            // Why it ended, its streams tell.
            let _ = poll_fn(|cx| Pin::new(&mut *connection.borrow_mut()).poll(cx)).await;
        });
        Ok(Rc::new(Link {
            sender: RefCell::new(sender),
            active: Cell::new(0),
            retired: Cell::new(false),
            connection: seen,
            used: Cell::new(origin.born),
            origin: Cell::new(origin),
        }))
    }

    /// Whether it takes no more requests. Those that are on it go on.
    pub(in crate::upstream) fn is_closed(&self) -> bool {
        self.retired.get() || self.sender.borrow().is_closed()
    }

    /// It has turned out to be ending, which its sender may learn only later.
    pub(super) fn retire(&self) {
        self.retired.set(true);
    }

    pub(in crate::upstream) fn is_idle(&self) -> bool {
        self.active.get() == 0
    }

    pub(in crate::upstream) fn active(&self) -> usize {
        self.active.get()
    }

    /// Whether it takes another request at once.
    pub(in crate::upstream) fn has_room(&self) -> bool {
        let allowed = self.connection.upgrade().map_or(STREAMS_MAX, |http2| {
            http2.try_borrow().map_or(STREAMS_MAX, |http2| http2.current_max_send_streams())
        });
        self.active.get() < STREAMS_MAX.min(allowed)
    }

    pub(super) fn sender(&self) -> std::cell::RefMut<'_, SendRequest<RequestBody>> {
        self.sender.borrow_mut()
    }

    /// Counts a request for as long as the guard lives.
    pub(super) fn enter(self: &Rc<Self>) -> Entered {
        self.active.set(self.active.get() + 1);
        Entered(self.clone())
    }
}

/// A request on a connection.
#[derive(Debug)]
pub(super) struct Entered(Rc<Link>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
    }
}

/// Runs hyper's tasks on the worker.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}
