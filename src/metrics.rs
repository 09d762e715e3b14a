//! What is counted. Each worker writes cells of its own, without contention; a scrape sums them.

mod cells;
mod scrape;

mod part;

pub use cells::{BUCKETS, Histogram, RouteCells};
pub use part::{PartCells, PartEnd};
pub use scrape::{counter, counters, gauge, gauges};

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// A counter with one writer in the hot path: relaxed, and never contended.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many there are at the moment, with one writer: without a bus lock, and never contended.
#[derive(Debug, Default)]
pub struct Level(AtomicU64);

impl Level {
    pub fn raise(&self) {
        self.0.store(self.get().wrapping_add(1), Ordering::Relaxed);
    }

    pub fn lower(&self) {
        self.0.store(self.get().wrapping_sub(1), Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whose fault a failed request is; the words of `Proxy-Status` and problem documents go with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    Client,
    Proxy,
    TokenEndpoint,
    Upstream,
}

/// All metrics of the process; outlives reloads.
#[derive(Debug)]
pub struct Metrics {
    workers: Vec<Arc<WorkerMetrics>>,
    process: ProcessMetrics,
    /// By route and upstream, one cell for each worker. Locked when a snapshot is installed and by a scrape.
    routes: Mutex<BTreeMap<RouteKey, Vec<Arc<RouteCells>>>>,
    /// By route and part, likewise.
    parts: Mutex<BTreeMap<RouteKey, Vec<Arc<PartCells>>>>,
}

/// A route's and its upstream's name, or its part's: labels, and bounded by the configuration.
type RouteKey = (String, String);

/// What one worker counts apart from routes.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    pub connections_accepted: Counter,
    pub connections_open: AtomicI64,
    /// Times that a worker paused accepting, for want of descriptors or because of `connections_max`.
    pub accept_pauses: Counter,
    pub tls_handshakes_failed: Counter,
    /// Connections closed because a request's head did not arrive in time.
    pub header_timeouts: Counter,
    /// Connections closed because the client took nothing of what was written to it.
    pub write_timeouts: Counter,
    /// Requests that hyper refused while parsing.
    pub requests_unparsable: Counter,
    pub panics: Counter,
    /// From a request's parsed head to the end of its answer's body.
    pub requests_in_progress: Level,
    /// Requests that were in progress when the worker ended.
    pub requests_cut_off: Counter,
    pub upstream_connections_opened: Counter,
    pub upstream_connections_reused: Counter,
    pub upstream_connections_idle: AtomicU64,
}

/// What happens to the process as a whole.
#[derive(Debug, Default)]
pub struct ProcessMetrics {
    reloads_applied: Counter,
    reloads_refused: Counter,
    /// Seconds since 1970; zero before the first.
    last_reload_at: AtomicU64,
    last_reload_refused: AtomicU64,
    /// Lines that the log had to drop, as it was last told.
    log_lines_dropped: AtomicU64,
}

impl ProcessMetrics {
    /// A reload was applied or refused.
    pub fn reloaded(&self, applied: bool, at: SystemTime) {
        if applied {
            self.reloads_applied.add(1)
        } else {
            self.reloads_refused.add(1)
        }
        self.last_reload_refused.store(u64::from(!applied), Ordering::Relaxed);
        let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last_reload_at.store(at.as_secs(), Ordering::Relaxed);
    }

    /// Reloads so far: applied and refused.
    pub fn reloads(&self) -> (u64, u64) {
        (self.reloads_applied.get(), self.reloads_refused.get())
    }

    /// The log counts its dropped lines itself, and says here how many there are.
    pub fn set_log_lines_dropped(&self, lines: u64) {
        self.log_lines_dropped.store(lines, Ordering::Relaxed);
    }
}

/// A finished request, as far as metrics are concerned.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub status: u16,
    pub total: Duration,
    pub token_wait: Duration,
    pub first_byte: Duration,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Times that it was sent again, but not because of its credential: a connection failed, or the whole of an answer had
    /// to be asked for.
    pub retries: u32,
    /// Whether it was sent again with a new token.
    pub replayed: bool,
    pub fault: Option<Fault>,
}

impl Metrics {
    pub fn new(workers: usize) -> Arc<Self> {
        let workers = std::iter::repeat_with(Arc::default).take(workers).collect();
        Arc::new(Metrics {
            workers,
            process: ProcessMetrics::default(),
            routes: Mutex::default(),
            parts: Mutex::default(),
        })
    }

    /// The cells of a worker; `index` is below the number that this was made with.
    pub fn worker(&self, index: usize) -> Arc<WorkerMetrics> {
        self.workers[index].clone()
    }

    pub fn process(&self) -> &ProcessMetrics {
        &self.process
    }

    /// The cells of a route in a worker; made if they are new. Called when a snapshot is installed, not per request.
    pub fn route(&self, worker: usize, route: &str, upstream: &str) -> Arc<RouteCells> {
        let mut routes = self.routes();
        let cells = routes.entry((route.to_owned(), upstream.to_owned()));
        let cells = cells.or_insert_with(|| self.workers.iter().map(|_| Arc::default()).collect());
        cells[worker].clone()
    }

    /// The cells of a part of an aggregate in a worker, likewise.
    pub fn part(&self, worker: usize, route: &str, part: &str) -> Arc<PartCells> {
        let mut parts = self.parts();
        let cells = parts.entry((route.to_owned(), part.to_owned()));
        let cells = cells.or_insert_with(|| self.workers.iter().map(|_| Arc::default()).collect());
        cells[worker].clone()
    }

    /// Forgets routes and parts whose cells no worker holds any more, after a reload.
    pub fn forget_unused(&self) {
        self.parts().retain(|_, cells| cells.iter().any(|cells| Arc::strong_count(cells) > 1));
        self.routes().retain(|_, cells| cells.iter().any(|cells| Arc::strong_count(cells) > 1));
    }

    /// Requests that are being answered at the moment, in all workers.
    pub fn requests_in_progress(&self) -> u64 {
        self.workers.iter().map(|worker| worker.requests_in_progress.get()).sum()
    }

    /// Requests that workers cut off as they ended (SEC-40).
    pub fn requests_cut_off(&self) -> u64 {
        self.workers.iter().map(|worker| worker.requests_cut_off.get()).sum()
    }

    /// Requests answered so far, over all routes.
    pub fn requests(&self) -> u64 {
        self.routes().values().flatten().map(|cells| cells.requests()).sum()
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<RouteKey, Vec<Arc<PartCells>>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn routes(&self) -> MutexGuard<'_, BTreeMap<RouteKey, Vec<Arc<RouteCells>>>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
