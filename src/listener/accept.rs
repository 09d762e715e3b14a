//! Accepting: how many, and what happens when there is nothing left to accept with (SEC-41).

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::serve::{self, AnswerBody};
use super::{Peer, Removal, Shared};
use crate::clock::Deadline;
use crate::metrics::WorkerMetrics;

/// How long a worker does not accept when it is out of descriptors or has reached its bound.
const PAUSE: Duration = Duration::from_millis(100);

/// File descriptors kept for what is neither a client's connection nor one to an upstream for it: token endpoints,
/// configuration files, the admin listener.
const RESERVED_DESCRIPTORS: usize = 256;

/// How many connections may be open, over all workers.
#[derive(Debug)]
pub struct Admission {
    open: AtomicUsize,
    connections_max: AtomicUsize,
}

impl Admission {
    pub fn new(connections_max: usize) -> Arc<Self> {
        Arc::new(Admission { open: AtomicUsize::new(0), connections_max: AtomicUsize::new(connections_max) })
    }

    pub fn set_connections_max(&self, connections_max: usize) {
        self.connections_max.store(connections_max, Ordering::Relaxed);
    }

    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn admit(self: &Arc<Self>) -> Option<Admitted> {
        let admitted = Admitted(self.clone());
        // Counted first and looked at then, so that workers that race never admit one too many.
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        (before < self.connections_max.load(Ordering::Relaxed)).then_some(admitted)
    }
}

/// A place for one connection.
#[derive(Debug)]
struct Admitted(Arc<Admission>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many connections may be accepted with this many file descriptors: each needs one more to its upstream, and
/// some stay reserved (SEC-41).
pub fn connections_that_fit(descriptors: usize, connections_max: usize) -> usize {
    let fit = (descriptors.saturating_sub(RESERVED_DESCRIPTORS) / 2).max(descriptors / 4);
    connections_max.min(fit)
}

/// A listening socket of one worker.
#[derive(Debug)]
pub struct Endpoint {
    pub socket: TcpListener,
    pub site: Site,
    /// Dropping its other end stops accepting, once nothing is queued any more.
    pub stop: oneshot::Receiver<Infallible>,
}

/// What connections are told of the listener that they came in by.
#[derive(Debug)]
pub struct Site {
    pub address: SocketAddr,
    /// Replaced by a reload; for connections to come.
    pub tls: Rc<RefCell<Option<Arc<rustls::ServerConfig>>>>,
    pub removal: Removal,
}

/// Accepts connections and serves them, until it is told to stop; then takes what is queued and closes the socket.
/// `answerer` makes what answers the requests of one connection.
pub async fn accept_connections<M, S, F, B>(endpoint: Endpoint, shared: Rc<Shared>, answerer: M)
where
    M: Fn(Peer) -> S,
    S: Fn(Request<Incoming>) -> F + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: AnswerBody,
{
    let Endpoint { socket, site, mut stop } = endpoint;
    let mut pause = Pause { deadline: shared.ticker.deadline(), paused: false };
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut stop => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => admit_and_spawn(accepted, &site, &shared, &answerer, &mut pause).await,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => pause.take(&shared, &site, &format!("accepting failed: {error}")).await,
        }
    }
    // What the kernel has accepted for us already would be reset by closing the socket. The runtime may not know of it
    // yet, so the kernel is asked.
    let Ok(socket) = socket.into_std() else { return };
    loop {
        match socket.accept().and_then(|(tcp, address)| Ok((into_async(tcp)?, address))) {
            Ok(accepted) => admit_and_spawn(accepted, &site, &shared, &answerer, &mut pause).await,
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => return,
        }
    }
}

fn into_async(tcp: std::net::TcpStream) -> io::Result<TcpStream> {
    tcp.set_nonblocking(true)?;
    TcpStream::from_std(tcp)
}

/// Waits for a free place, with the connection in hand, and serves it as a task of its own.
async fn admit_and_spawn<M, S, F, B>(
    (tcp, address): (TcpStream, SocketAddr),
    site: &Site,
    shared: &Rc<Shared>,
    answerer: &M,
    pause: &mut Pause,
) where
    M: Fn(Peer) -> S,
    S: Fn(Request<Incoming>) -> F + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: AnswerBody,
{
    let admitted = loop {
        match shared.admission.admit() {
            Some(admitted) => break admitted,
            None => pause.take(shared, site, "as many connections are open as may be").await,
        }
    };
    pause.paused = false;
    // It fails only if the client is gone, which serving it will find out.
    let _ = tcp.set_nodelay(true);
    let tls = site.tls.borrow().clone();
    let removal = site.removal.clone();
    let answer = answerer(Peer { address, local: site.address, tls: tls.is_some() });
    let connection = Counted::new(shared, admitted);
    let shared = shared.clone();
    tokio::task::spawn_local(async move {
        serve::serve(tcp, tls, removal, shared, answer).await;
        drop(connection);
    });
}

/// A connection as metrics see it, until this is dropped.
struct Counted {
    metrics: Arc<WorkerMetrics>,
    _admitted: Admitted,
}

impl Counted {
    fn new(shared: &Shared, admitted: Admitted) -> Self {
        shared.metrics.connections_accepted.add(1);
        shared.metrics.connections_open.fetch_add(1, Ordering::Relaxed);
        Counted { metrics: shared.metrics.clone(), _admitted: admitted }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.connections_open.fetch_sub(1, Ordering::Relaxed);
        if std::thread::panicking() {
            // A panic outside of a request's own handling ends that connection alone.
            self.metrics.panics.add(1);
        }
    }
}

/// Rests of a loop that cannot go on accepting. Trying again at once would spin, since the connection that could not
/// be accepted keeps the socket readable.
struct Pause {
    deadline: Deadline,
    paused: bool,
}

impl Pause {
    async fn take(&mut self, shared: &Shared, site: &Site, why: &str) {
        shared.metrics.accept_pauses.add(1);
        if !std::mem::replace(&mut self.paused, true) {
            tracing::warn!(listener = %site.address, "accepting pauses until it is possible again: {why}");
        }
        self.deadline.set(PAUSE);
        self.deadline.expired().await;
    }
}

/// Errors that `accept` passes on from the connection it took from the queue (accept(2), "Error handling"). The
/// listening socket is well.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-41: descriptors stay for upstreams and token endpoints, whatever `connections_max` says.
    #[test]
    fn descriptors_are_left_for_upstreams_and_tokens() {
        let cases = [(1 << 20, 10_000, 10_000), (1024, 10_000, 384), (256, 10_000, 64), (20_256, 10_000, 10_000)];
        for (descriptors, connections_max, fit) in cases {
            assert_eq!(connections_that_fit(descriptors, connections_max), fit, "{descriptors} descriptors");
        }
    }

    #[test]
    fn places_are_given_back() {
        let admission = Admission::new(1);
        let first = admission.admit().unwrap();
        assert!(admission.admit().is_none());
        assert_eq!(admission.open(), 1, "a refused one is not counted");
        drop(first);
        assert!(admission.admit().is_some());
    }

    #[test]
    fn only_errors_of_one_connection_are_passed_over() {
        assert!(is_of_one_connection(&io::Error::from_raw_os_error(103)), "ECONNABORTED");
        assert!(!is_of_one_connection(&io::Error::from_raw_os_error(24)), "EMFILE");
        assert!(!is_of_one_connection(&io::Error::from_raw_os_error(105)), "ENOBUFS");
    }
}
