//! A worker: one thread, one runtime, its own sockets and pool.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::LocalRuntime;
use tokio::sync::{mpsc, oneshot};

use super::essential::{essential, or_abort};
use crate::clock::Ticker;
use crate::descriptors::Permits;
use crate::listener::{self, Endpoint, ReceiveMemory, Removal, Settings, Shared, Site};
use crate::metrics::WorkerMetrics;
use crate::proxy;
use crate::snapshot::{Living, Snapshot};
use crate::upstream::{Pool, PoolStats};

/// Orders that may be on their way to a worker. One at a time is given, and answered.
const ORDERS_MAX: usize = 4;

/// How many threads of a worker compute beside it: what takes its time of aggregates' answers.
const ASIDE_THREADS_MAX: usize = 2;

/// How often the connections to upstreams are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// A listener as workers know it: its address as configured, and its place among those that are configured alike
/// (port 0 may be asked for several times).
pub(super) type ListenerKey = (SocketAddr, usize);

/// What a worker is made with.
pub(super) struct Setup {
    pub(super) index: usize,
    pub(super) living: Living,
    pub(super) client_permits: Arc<Permits>,
    pub(super) receive_memory: Arc<ReceiveMemory>,
    pub(super) update: Update,
}

/// What a new configuration means for one worker.
pub(super) struct Update {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) settings: Settings,
    /// All listeners there are from now on. One that is missing here closes.
    pub(super) listeners: Vec<ListenerUpdate>,
}

pub(super) struct ListenerUpdate {
    pub(super) key: ListenerKey,
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    /// Of a listener that is new to the worker.
    pub(super) socket: Option<(TcpListener, SocketAddr)>,
}

enum Order {
    Apply(Box<Update>, oneshot::Sender<()>),
    /// Finish what is in progress, for at most this long, and end.
    Drain(Duration),
}

/// The control thread's end of a worker.
pub(super) struct Worker {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts the thread. The answer comes once it accepts connections.
    pub(super) fn spawn(setup: Setup) -> std::io::Result<(Self, oneshot::Receiver<()>)> {
        let (orders, received) = mpsc::channel(ORDERS_MAX);
        let (started, serving) = oneshot::channel();
        let name = format!("attache-worker-{}", setup.index);
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || or_abort(&name, || run(setup, received, started)))?;
        Ok((Worker { orders, thread }, serving))
    }

    /// Returns once every request that begins from now on sees the update.
    pub(super) async fn apply(&self, update: Update) {
        let (applied, done) = oneshot::channel();
        // A worker that is gone has aborted the process.
        let _ = self.orders.send(Order::Apply(Box::new(update), applied)).await;
        let _ = done.await;
    }

    pub(super) async fn drain(&self, timeout: Duration) {
        let _ = self.orders.send(Order::Drain(timeout)).await;
    }

    /// Waits for the thread, once it was told to drain or `self.orders` is closed.
    pub(super) fn join(self) {
        drop(self.orders);
        // It cannot have panicked: that aborts.
        let _ = self.thread.join();
    }
}

fn run(setup: Setup, orders: mpsc::Receiver<Order>, started: oneshot::Sender<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(ASIDE_THREADS_MAX)
        .enable_all()
        .build_local(Default::default())
        .expect("a runtime needs no more than an epoll descriptor, which start has left room for");
    serve(&runtime, setup, orders, started);
    // What is still running was given its time.
    runtime.shutdown_background();
}

fn serve(runtime: &LocalRuntime, setup: Setup, mut orders: mpsc::Receiver<Order>, started: oneshot::Sender<()>) {
    runtime.block_on(async {
        let ticker = Ticker::default();
        let ticking = ticker.clone();
        tokio::task::spawn_local(essential("the ticker", async move { ticking.run().await }));
        let metrics = setup.living.metrics.worker(setup.index);
        let counted = metrics.clone();
        let Update { snapshot, settings, listeners } = setup.update;
        let shared = Shared::new(ticker.clone(), setup.client_permits, setup.receive_memory, metrics, settings);
        let proxy = proxy::Worker::new(setup.index, setup.living, ticker, snapshot);
        tokio::task::spawn_local(essential("counting connections", count_connections(proxy.pool.clone(), counted)));
        let mut listening = Listening { proxy, shared, endpoints: BTreeMap::new() };
        listening.update(listeners, Duration::ZERO);
        // Nobody waits for it if starting has failed elsewhere.
        let _ = started.send(());
        loop {
            match orders.recv().await {
                Some(Order::Apply(update, applied)) => {
                    let timeout = update.snapshot.drain_timeout;
                    listening.proxy.install(update.snapshot);
                    listening.shared.set(update.settings);
                    listening.update(update.listeners, timeout);
                    let _ = applied.send(());
                }
                Some(Order::Drain(timeout)) => {
                    // The hard stop: whoever is not done then is cut off.
                    let _ = tokio::time::timeout(timeout, listening.drain()).await;
                    return listening.proxy.end();
                }
                None => return listening.proxy.end(),
            }
        }
    });
}

/// Tells the metrics what the pool has counted: a pool is its worker's own, and a scrape is not on that thread.
async fn count_connections(pool: Rc<Pool>, metrics: Arc<WorkerMetrics>) {
    let mut interval = tokio::time::interval(COUNT_INTERVAL);
    let mut last = PoolStats::default();
    loop {
        interval.tick().await;
        let stats = pool.stats();
        metrics.upstream_connections_opened.add(stats.opened - last.opened);
        metrics.upstream_connections_reused.add(stats.reused - last.reused);
        metrics.upstream_connections_idle.store(stats.idle as u64, Ordering::Relaxed);
        last = stats;
    }
}

/// The listeners of one worker at work.
struct Listening {
    proxy: Rc<proxy::Worker>,
    shared: Rc<Shared>,
    endpoints: BTreeMap<ListenerKey, Accepting>,
}

struct Accepting {
    tls: Rc<RefCell<Option<Arc<rustls::ServerConfig>>>>,
    removal: Removal,
    /// Dropped to stop.
    stop: oneshot::Sender<Infallible>,
    task: tokio::task::JoinHandle<()>,
}

impl Listening {
    /// `timeout`: what the exchanges of removed listeners have to end.
    fn update(&mut self, listeners: Vec<ListenerUpdate>, timeout: Duration) {
        let mut left = std::mem::take(&mut self.endpoints);
        for ListenerUpdate { key, tls, socket } in listeners {
            match (left.remove(&key), socket) {
                (Some(accepting), _) => {
                    *accepting.tls.borrow_mut() = tls;
                    self.endpoints.insert(key, accepting);
                }
                (None, Some((socket, address))) => {
                    let accepting = self.accept(socket, address, tls);
                    self.endpoints.insert(key, accepting);
                }
                (None, None) => unreachable!("a listener that is new to a worker comes with its socket"),
            }
        }
        // What is left has no place in the new configuration, and stops as it is dropped.
        left.values().for_each(|accepting| accepting.removal.begin(timeout));
        self.shared.connections.drain_removed();
    }

    fn accept(&self, socket: TcpListener, address: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>) -> Accepting {
        let (stop, stopped) = oneshot::channel();
        let (tls, removal) = (Rc::new(RefCell::new(tls)), Removal::default());
        let socket = tokio::net::TcpListener::from_std(socket)
            .expect("registering a listening socket fails only outside of a runtime or without memory");
        let endpoint =
            Endpoint { socket, site: Site { address, tls: tls.clone(), removal: removal.clone() }, stop: stopped };
        let worker = self.proxy.clone();
        let answerer = move |peer: listener::Peer| {
            let worker = worker.clone();
            let client = Rc::new(proxy::Client { address: peer.address, tls: peer.tls, local: peer.local });
            move |request| proxy::handle(worker.clone(), client.clone(), request)
        };
        let accepting = listener::accept_connections(endpoint, self.shared.clone(), answerer);
        let task = tokio::task::spawn_local(essential("an accepting task", accepting));
        Accepting { tls, removal, stop, task }
    }

    /// Takes what is queued, lets connections finish, and returns when all are closed (SEC-40).
    async fn drain(&mut self) {
        self.shared.connections.drain();
        for (_, Accepting { stop, task, .. }) in std::mem::take(&mut self.endpoints) {
            drop(stop);
            let _ = task.await;
        }
        self.shared.connections.closed().await;
    }
}
