//! What requests of one worker share.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Waker;

use slab::Slab;

use super::redact::Judge;
use crate::client_auth::KeyDigest;
use crate::clock::Ticker;
use crate::metrics::{PartCells, RouteCells, WorkerMetrics};
use crate::snapshot::plan::Part;
use crate::snapshot::{Answers, Living, Route, Snapshot};
use crate::upstream::Pool;

/// The label, for route and upstream, of requests that no route matched. Their metrics belong to every snapshot.
pub const UNMATCHED: &str = "(none)";

/// How many targets are kept for later requests, and how long one may be.
const SPARE_TARGETS_MAX: usize = 64;
const SPARE_TARGET_BYTES_MAX: usize = 1024;

/// What requests of one worker share. Nothing in it is shared with other workers but through `Living`.
#[derive(Debug)]
pub struct Worker {
    pub index: usize,
    pub living: Living,
    pub pool: Rc<Pool>,
    pub ticker: Ticker,
    pub metrics: Arc<WorkerMetrics>,
    pub(super) body_judge: Judge,
    /// What is in progress now is cut off by us, not left by its client.
    ended: Cell<bool>,
    installed: RefCell<Rc<Installed>>,
    /// Targets of requests that have been answered.
    spare_targets: RefCell<Vec<String>>,
    /// Earlier ones that may still have requests.
    earlier: RefCell<Vec<Weak<Installed>>>,
}

/// This worker's own copy of the snapshot pointer, with its cells for each route.
#[derive(Debug)]
pub(super) struct Installed {
    pub(super) snapshot: Arc<Snapshot>,
    /// Beside `snapshot.routes`.
    cells: Vec<Arc<RouteCells>>,
    /// Beside the calls of each; none where one upstream answers.
    parts: Vec<Vec<Arc<PartCells>>>,
    unmatched: Arc<RouteCells>,
    /// Streams that none of these serves have had their time. Empty: all may go on.
    judges: RefCell<Vec<Arc<Snapshot>>>,
    /// Streams that wait for their upstream or client, to be woken when they are judged.
    waiting: RefCell<Slab<Waker>>,
}

impl Worker {
    pub fn new(index: usize, living: Living, ticker: Ticker, snapshot: Arc<Snapshot>) -> Rc<Self> {
        let installed = RefCell::new(Rc::new(Installed::new(index, &living, snapshot)));
        let pool = Pool::new(ticker.clone(), living.upstream_connections.clone());
        let metrics = living.metrics.worker(index);
        Rc::new(Worker {
            index,
            living,
            pool,
            ticker,
            metrics,
            body_judge: Judge::default(),
            ended: Cell::new(false),
            installed,
            spare_targets: RefCell::default(),
            earlier: RefCell::default(),
        })
    }

    /// Says that the worker ends now: requests that are still in progress are dropped by it (SEC-40).
    pub fn end(&self) {
        self.ended.set(true);
        self.metrics.requests_cut_off.add(self.metrics.requests_in_progress.get());
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Takes a new snapshot into use; requests in flight keep theirs. Streams that the new one no longer serves end after
    /// its `drain_timeout` (SEC-39). Called on the worker's own runtime.
    pub fn install(self: &Rc<Self>, snapshot: Arc<Snapshot>) {
        let installed = Rc::new(Installed::new(self.index, &self.living, snapshot.clone()));
        let before = Rc::downgrade(&self.installed.replace(installed));
        let mut earlier = self.earlier.borrow_mut();
        earlier.push(before);
        // Those without requests are gone by now.
        earlier.retain(|installed| installed.strong_count() > 0);
        if earlier.is_empty() {
            return;
        }
        let (judged, worker) = (earlier.clone(), Rc::downgrade(self));
        tokio::task::spawn_local(async move {
            tokio::time::sleep(snapshot.drain_timeout).await;
            let Some(worker) = worker.upgrade() else { return };
            // A later reload may have brought back what this one had removed: then it goes on.
            let now = worker.installed().snapshot.clone();
            judged.iter().filter_map(Weak::upgrade).for_each(|installed| installed.judge_by(&[&snapshot, &now]));
        });
    }

    /// A text to write a request's target in.
    pub(super) fn spare_target(&self) -> String {
        self.spare_targets.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives back a target that is no longer needed, for a later request: that saves allocating one for each.
    pub(super) fn recycle_target(&self, target: String) {
        let mut spare = self.spare_targets.borrow_mut();
        if spare.len() < SPARE_TARGETS_MAX && target.capacity() <= SPARE_TARGET_BYTES_MAX {
            spare.push(target);
        }
    }

    /// What is installed now. A request takes it once.
    pub(super) fn installed(&self) -> Rc<Installed> {
        self.installed.borrow().clone()
    }
}

impl Installed {
    fn new(worker: usize, living: &Living, snapshot: Arc<Snapshot>) -> Self {
        let cells = |route: &str, upstream: &str| living.metrics.route(worker, route, upstream);
        Installed {
            cells: snapshot.routes.iter().map(|route| cells(&route.config.name, route.upstream_name())).collect(),
            parts: snapshot.routes.iter().map(|route| part_cells(worker, living, route)).collect(),
            unmatched: cells(UNMATCHED, UNMATCHED),
            snapshot,
            judges: RefCell::default(),
            waiting: RefCell::default(),
        }
    }

    /// The cells of a route, or those of requests without one.
    pub(super) fn cells(&self, route: Option<usize>) -> &RouteCells {
        route.map_or(&self.unmatched, |route| &self.cells[route])
    }

    /// The cells of a part of an aggregate.
    pub(super) fn part_cells(&self, route: usize, part: usize) -> &PartCells {
        &self.parts[route][part]
    }

    /// Wakes every stream, so that each learns whether it may go on.
    fn judge_by(&self, judges: &[&Arc<Snapshot>]) {
        *self.judges.borrow_mut() = judges.iter().map(|judge| Arc::clone(judge)).collect();
        let wakers: Vec<_> = self.waiting.borrow().iter().map(|(_, waker)| waker.clone()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn route_name(&self, route: Option<usize>) -> Option<&str> {
        route.map(|route| &*self.snapshot.routes[route].config.name)
    }

    /// Whether a stream of this route and client key has had its time.
    pub(super) fn is_over(&self, route: Option<usize>, key: Option<&KeyDigest>) -> bool {
        let judges = self.judges.borrow();
        route.is_some_and(|route| {
            let serves = |judge: &Arc<Snapshot>| judge.still_serves(&self.snapshot.routes[route], key);
            !judges.is_empty() && !judges.iter().any(serves)
        })
    }

    /// Keeps the waker of a stream that waits; `place` is where the stream's last one was kept.
    pub(super) fn wait(&self, place: &mut Option<usize>, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        match place {
            Some(place) => waiting[*place].clone_from(waker),
            None => *place = Some(waiting.insert(waker.clone())),
        }
    }

    /// Forgets the waker of a stream that has ended.
    pub(super) fn stop_waiting(&self, place: usize) {
        self.waiting.borrow_mut().remove(place);
    }
}

fn part_cells(worker: usize, living: &Living, route: &Route) -> Vec<Arc<PartCells>> {
    match &route.answers {
        Answers::Upstream(_) => Vec::new(),
        Answers::Aggregate(aggregate) => {
            let cells = |part: &Part| living.metrics.part(worker, &route.config.name, &part.name);
            aggregate.config.parts.iter().map(cells).collect()
        }
    }
}
