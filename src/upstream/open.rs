//! Opening connections for requests. One that will speak HTTP/2 is opened once for all requests that want it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::bulkhead::MakesWay;
use super::connect::{ConnectError, Connection, Connector, Opened, Target, Transport};
use super::pool::{Pool, Room, Taken};
use super::resolve::Name;
use super::{ExchangeErrorKind, h1, h2};
use crate::clock::timer_now;
use crate::config::HttpVersion;

/// How much longer whoever waits for a shared opening waits than that may take: it tells why it was not done in time.
const SLACK: Duration = Duration::from_millis(250);

/// What it takes to open a connection to an upstream.
#[derive(Debug)]
pub(super) struct Opener {
    pub(super) target: Target,
    pub(super) authority: String,
    pub(super) http: HttpVersion,
    pub(super) connector: Arc<Connector>,
    /// Which of a pool's connections are ours.
    pub(super) slot: usize,
}

/// A connection that several requests wait for; opened by a task of the worker, so that it goes on when the request
/// that began it is gone. The pool has at most one for each key.
#[derive(Debug, Default)]
pub(super) struct Opening {
    done: Notify,
    outcome: RefCell<Option<Outcome>>,
}

#[derive(Debug)]
enum Outcome {
    Link {
        link: Rc<h2::Link>,
        took: Option<Duration>,
    },
    /// It speaks HTTP/1 after all: the first one takes it, the others open their own.
    Wire(Option<(Box<h1::Wire>, Option<Duration>)>),
    Failed(ConnectError),
}

/// Which part a request has in an opening.
pub(super) enum Share {
    Began(Rc<Opening>),
    Joined(Rc<Opening>),
    /// Each request opens its own.
    Nothing,
}

/// Announces an opening in the pool for as long as its task lives.
struct Announced {
    pool: Rc<Pool>,
    slot: usize,
    opening: Rc<Opening>,
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.pool.forget_opening(self.slot);
        self.opening.done.notify_waiters();
    }
}

/// What came of asking for a new connection.
enum Permitted {
    Opened(Opened),
    Freed(Box<h1::Wire>),
}

impl Opener {
    /// A connection for a request within `timeout`: a new one, or one that came to be in the meantime. With how long
    /// it took to open if it was opened for this request.
    ///
    /// # Errors
    /// Why none could be opened. All requests that wait for the same one share its failure: to try for each of them
    /// in turn would multiply the time that they wait.
    pub(super) async fn open(
        self: &Arc<Self>,
        pool: &Rc<Pool>,
        name: Option<&Name>,
        timeout: Duration,
    ) -> Result<(Taken, Option<Duration>), ConnectError> {
        let opened = tokio::time::timeout(timeout + SLACK, self.open_in_time(pool, name, timeout)).await;
        let opened = opened.unwrap_or_else(|_| {
            let text = format!("connecting to {}: no connection within {timeout:?}", self.authority);
            Err(ConnectError::new(ExchangeErrorKind::ConnectTimeout, text))
        });
        opened.or_else(|error| self.or_queue(pool, name, error))
    }

    /// Where no more connections may be opened, a request queues on one that is there.
    fn or_queue(
        &self,
        pool: &Pool,
        name: Option<&Name>,
        error: ConnectError,
    ) -> Result<(Taken, Option<Duration>), ConnectError> {
        if error.kind != ExchangeErrorKind::NoDescriptor {
            return Err(error);
        }
        pool.queue(self.slot, name).map(|taken| (taken, None)).ok_or_else(|| {
            pool.refuse(&error.text);
            error
        })
    }

    async fn open_in_time(
        self: &Arc<Self>,
        pool: &Rc<Pool>,
        name: Option<&Name>,
        timeout: Duration,
    ) -> Result<(Taken, Option<Duration>), ConnectError> {
        let end = timer_now() + timeout;
        loop {
            let (opening, began) = match pool.share_opening(self.slot, self.http == HttpVersion::Http2) {
                Share::Nothing => return self.open_own(pool, end - timer_now()).await,
                Share::Joined(opening) => (opening, false),
                Share::Began(opening) => {
                    // Others will wait for it who have more time left than this request.
                    self.begin(pool, &opening, timeout);
                    (opening, true)
                }
            };
            // Nothing runs between finding the opening and waiting for it, so that its end is not missed.
            opening.done.notified().await;
            if let Some(taken) = opening.result(pool, began)? {
                return Ok(taken);
            }
            // More have waited than it has room for, or its task has gone.
            if let Some(taken) = pool.take(self.slot, name) {
                return Ok((taken, None));
            }
        }
    }

    fn begin(self: &Arc<Self>, pool: &Rc<Pool>, opening: &Rc<Opening>, timeout: Duration) {
        let announced = Announced { pool: pool.clone(), slot: self.slot, opening: opening.clone() };
        let this = self.clone();
        tokio::task::spawn_local(async move {
            let outcome = match this.open_own(&announced.pool, timeout).await {
                Ok((Taken::Link(link), took)) => Outcome::Link { link, took },
                Ok((Taken::Wire(wire), took)) => Outcome::Wire(Some((wire, took))),
                Err(error) => Outcome::Failed(error),
            };
            *announced.opening.outcome.borrow_mut() = Some(outcome);
        });
    }

    async fn open_own(&self, pool: &Rc<Pool>, timeout: Duration) -> Result<(Taken, Option<Duration>), ConnectError> {
        let (taken, took) = self.open_new(pool, timeout).await?;
        let taken = if let Taken::Link(link) = taken { Taken::Link(pool.put_link(link)) } else { taken };
        Ok((taken, took))
    }

    /// A new connection within `timeout`, which other requests may join only when its own has been sent. Where no more
    /// may be opened, one that is there.
    pub(super) async fn open_alone(
        &self,
        pool: &Rc<Pool>,
        name: Option<&Name>,
        timeout: Duration,
    ) -> Result<(Taken, Option<Duration>), ConnectError> {
        let opened = self.open_new(pool, timeout).await;
        if let Ok((Taken::Link(link), _)) = &opened {
            pool.add_link(link);
        }
        opened.or_else(|error| self.or_queue(pool, name, error))
    }

    async fn open_new(&self, pool: &Rc<Pool>, timeout: Duration) -> Result<(Taken, Option<Duration>), ConnectError> {
        let opened = match self.open_permitted(pool, timeout).await? {
            Permitted::Opened(opened) => opened,
            Permitted::Freed(wire) => {
                pool.count_reused();
                return Ok((Taken::Wire(wire), None));
            }
        };
        pool.count_opened();
        let origin =
            h1::Origin { slot: self.slot, address: opened.address, generation: opened.generation, born: pool.beat() };
        let taken = if self.speaks_http2(&opened.connection)? {
            Taken::Link(h2::Link::begin(opened.connection, origin).await?)
        } else {
            pool.speaks_http1(self.slot);
            Taken::Wire(Box::new(h1::Wire::new(opened.connection, pool.ticker().deadline(), origin)))
        };
        Ok((taken, Some(opened.took)))
    }

    /// A new connection, or one that another request was done with while this one waited for leave to open one.
    async fn open_permitted(&self, pool: &Pool, timeout: Duration) -> Result<Permitted, ConnectError> {
        let permitted = Cell::new(false);
        let freed = Cell::new(None);
        let permit = async {
            match pool.room(self.slot, self.connector.has_several(), timeout).await {
                Some(Room::Permit(permit)) => {
                    permitted.set(true);
                    Ok(permit)
                }
                Some(Room::Wire(wire)) => {
                    freed.set(Some(wire));
                    Err(self.no_room())
                }
                None => Err(self.no_room()),
            }
        };
        let opened = self.connector.open(&self.target, timeout, permit).await;
        if let Some(wire) = freed.take() {
            return Ok(Permitted::Freed(wire));
        }
        if permitted.get() && opened.as_ref().is_err_and(|error| error.kind == ExchangeErrorKind::NoDescriptor) {
            // The process has fewer than it counts on.
            pool.close_idle_wire(self.slot, MakesWay::Anyone);
        }
        opened.map(Permitted::Opened)
    }

    fn no_room(&self) -> ConnectError {
        let text =
            format!("connecting to {}: as many connections are open, in all or to it, as may be", self.authority);
        ConnectError::new(ExchangeErrorKind::NoDescriptor, text)
    }

    /// By ALPN; by prior knowledge in cleartext (RFC 9113 section 3.3).
    pub(super) fn speaks_http2(&self, connection: &Connection) -> Result<bool, ConnectError> {
        match (self.http, &connection.transport, connection.protocol()) {
            (HttpVersion::Http2, Transport::Plain(_), _) => Ok(true),
            (HttpVersion::Http2, Transport::Tls(_), Some(b"h2")) => Ok(true),
            (HttpVersion::Http2, Transport::Tls(_), _) => {
                let text = format!("{}: it does not speak HTTP/2, but `http = 2` is configured", self.authority);
                Err(ConnectError::new(ExchangeErrorKind::Tls, text))
            }
            (HttpVersion::Auto | HttpVersion::Http1, _, protocol) => Ok(protocol == Some(b"h2")),
        }
    }
}

impl Opening {
    /// What it came to for one of those who waited; `None`: nothing for this one.
    fn result(&self, pool: &Pool, began: bool) -> Result<Option<(Taken, Option<Duration>)>, ConnectError> {
        match self.outcome.borrow_mut().as_mut() {
            Some(Outcome::Failed(error)) => Err(error.clone()),
            Some(Outcome::Link { link, took }) if began => Ok(Some((Taken::Link(link.clone()), *took))),
            // Not by way of the pool, which no longer has it if it was closed at once: its request then tells why,
            // where opening another for each who waits would go on without end.
            Some(Outcome::Link { link, .. }) if link.has_room() => {
                pool.count_reused();
                Ok(Some((Taken::Link(link.clone()), None)))
            }
            Some(Outcome::Wire(wire)) => Ok(wire.take().map(|(wire, took)| (Taken::Wire(wire), took))),
            Some(Outcome::Link { .. }) | None => Ok(None),
        }
    }
}
