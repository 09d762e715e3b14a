//! Accepting: how many, and what happens when there is nothing left to accept with (SEC-41).

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::serve::{self, AnswerBody};
use super::{Peer, Removal, Shared};
use crate::clock::Deadline;
use crate::descriptors::Permit;
use crate::metrics::WorkerMetrics;

/// How long a worker does not accept when it is out of descriptors or has reached its bound.
const PAUSE: Duration = Duration::from_millis(100);

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

/// Waits for a permit, with the connection in hand, and serves it as a task of its own.
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
    let permit = loop {
        match shared.permits.take() {
            Some(permit) => break permit,
            None => pause.take(shared, site, "as many connections are open as may be").await,
        }
    };
    pause.paused = false;
    // It fails only if the client is gone, which serving it will find out.
    let _ = tcp.set_nodelay(true);
    let tls = site.tls.borrow().clone();
    let removal = site.removal.clone();
    let answer = answerer(Peer { address, local: site.address, tls: tls.is_some() });
    let connection = Counted::new(shared, permit);
    let shared = shared.clone();
    tokio::task::spawn_local(async move {
        serve::serve(tcp, tls, removal, shared, answer).await;
        drop(connection);
    });
}

/// A connection as metrics see it, until this is dropped.
struct Counted {
    metrics: Arc<WorkerMetrics>,
    _permit: Permit,
}

impl Counted {
    fn new(shared: &Shared, permit: Permit) -> Self {
        shared.metrics.connections_accepted.add(1);
        shared.metrics.connections_open.fetch_add(1, Ordering::Relaxed);
        Counted { metrics: shared.metrics.clone(), _permit: permit }
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

    #[test]
    fn only_errors_of_one_connection_are_passed_over() {
        assert!(is_of_one_connection(&io::Error::from_raw_os_error(103)), "ECONNABORTED");
        assert!(!is_of_one_connection(&io::Error::from_raw_os_error(24)), "EMFILE");
        assert!(!is_of_one_connection(&io::Error::from_raw_os_error(105)), "ENOBUFS");
    }
}
