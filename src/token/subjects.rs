//! Cells of subjects: of whoever clients call on behalf of, one each. Bounded, and forgotten in the order of their last use
//! (TL-70); none of them is stored, since a token can be had again for as long as somebody comes with the subject's own.

mod refusal;
mod spent;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use dashmap::DashMap;

use super::cache::Shared;
use super::machine::constants::{
    RETRY_AFTER_RUNNING, SUBJECT_BYTES_MAX, SUBJECT_EMPTY_IDLE_MAX, SUBJECT_FETCHES_MAX, SUBJECT_IDLE_MAX,
    SUBJECT_SWEEP_EVERY, SUBJECTS_MAX,
};
use super::{FetchError, Identity, Policy, ProofVersion, Source, TokenCell, TokenUnavailable};
use crate::clock::Boot;
use refusal::Refusal;
pub(super) use spent::Spent;

/// A credential that has a token for each subject, as one snapshot declares it: what its subjects have in common.
#[derive(Debug)]
pub struct Subjects {
    pub(super) identity: Identity,
    pub(super) proof: ProofVersion,
    pub(super) policy: Policy,
    /// Later snapshots have greater ones.
    pub(super) declaration: u64,
    kept: Arc<Kept>,
}

/// What outlives reloads.
#[derive(Debug)]
struct Kept {
    count: AtomicUsize,
    evicted: AtomicU64,
    fetches_granted: AtomicU64,
    fetches_failed: AtomicU64,
    refusal: Mutex<Refusal>,
}

/// No fetch may begin for a subject.
#[derive(Debug)]
pub(super) struct Closed {
    pub until: Boot,
    pub why: TokenUnavailable,
}

/// What `/status` and the metrics show of a credential's subjects: none of them by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectsStatus {
    pub name: Arc<str>,
    pub subjects: usize,
    /// Forgotten to make room for others.
    pub evicted: u64,
    pub fetches_granted: u64,
    pub fetches_failed: u64,
}

/// How many there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub cells_max: usize,
    pub bytes_max: usize,
    pub fetches_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { cells_max: SUBJECTS_MAX, bytes_max: SUBJECT_BYTES_MAX, fetches_max: SUBJECT_FETCHES_MAX }
    }
}

/// All subjects' cells of the process.
#[derive(Debug)]
pub(super) struct SubjectCells {
    cells: DashMap<Identity, Arc<TokenCell>>,
    order: Mutex<Order>,
    shared: Arc<Shared>,
}

/// The order of last use, as it was when it was last looked at: a cell stands here with a moment that is not after its last
/// use, and is put where it belongs when its turn seems to have come. So requests do not write here.
#[derive(Debug, Default)]
struct Order {
    /// Those that had nothing when they were last looked at, such as refused ones: they go before all others.
    empty: Heap,
    others: Heap,
    /// Somebody sweeps.
    swept: bool,
}

type Heap = BinaryHeap<Reverse<(Boot, Identity)>>;

impl Subjects {
    /// `known`: the same credential, as it was declared before. Its subjects stay.
    pub(super) fn new(known: Option<&Subjects>, identity: Identity, proof: ProofVersion, policy: Policy) -> Self {
        let kept = known.map_or_else(|| Arc::new(Kept::new(proof)), |known| known.kept.clone());
        if known.is_some_and(|known| known.proof != proof) {
            *kept.refusal() = Refusal::none(proof);
        }
        // They end idle.
        let policy = Policy { keep_warm: Duration::ZERO, warm: false, stale_if_error: Duration::ZERO, ..policy };
        Subjects { identity, proof, policy, declaration: known.map_or(0, |known| known.declaration) + 1, kept }
    }

    /// What tells it from other credentials (TL-02).
    pub fn identity(&self) -> Identity {
        self.identity
    }

    pub(super) fn granted(&self) {
        self.kept.fetches_granted.fetch_add(1, Ordering::Relaxed);
        self.kept.refusal().recognised();
    }

    /// `proof`: what the fetch was proved with.
    pub(super) fn failed(&self, now: Boot, subject: Identity, error: &FetchError, proof: ProofVersion) {
        self.kept.fetches_failed.fetch_add(1, Ordering::Relaxed);
        self.kept.refusal().note(now, subject, error, proof);
    }

    /// Why no fetch may begin for a subject, and until when at least. `error`: what its own last fetch ended with.
    pub(super) fn closed(&self, now: Boot, shared: &Shared, error: Option<&FetchError>) -> Option<Closed> {
        let refusal = self.kept.refusal();
        if let Some((until, error)) = refusal.holds(now, error) {
            return Some(Closed { until, why: TokenUnavailable::Refused { error } });
        }
        let busy = *shared.in_flight.borrow() >= shared.bounds.fetches_max;
        let why = TokenUnavailable::Temporarily { error: None, retry_after: RETRY_AFTER_RUNNING };
        busy.then(|| Closed { until: now.after(RETRY_AFTER_RUNNING), why })
    }

    /// What a fetch would be answered that was begun at `begun` and has waited for its turn: the client was refused meanwhile.
    pub(super) fn refused_since(&self, begun: Boot) -> Option<FetchError> {
        self.kept.refusal().since(begun)
    }

    /// A fetch has begun. Where the client was refused, it is the one that asks for all.
    pub(super) fn begun(&self, now: Boot) {
        self.kept.refusal().probed(now);
    }

    pub(super) fn status(&self) -> SubjectsStatus {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SubjectsStatus {
            name: self.policy.name.clone(),
            subjects: self.kept.count.load(Ordering::Relaxed),
            evicted: of(&self.kept.evicted),
            fetches_granted: of(&self.kept.fetches_granted),
            fetches_failed: of(&self.kept.fetches_failed),
        }
    }
}

impl Kept {
    fn new(proof: ProofVersion) -> Self {
        Kept {
            count: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            fetches_granted: AtomicU64::new(0),
            fetches_failed: AtomicU64::new(0),
            refusal: Mutex::new(Refusal::none(proof)),
        }
    }

    fn refusal(&self) -> std::sync::MutexGuard<'_, Refusal> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SubjectCells {
    pub(super) fn new(shared: &Arc<Shared>) -> Arc<Self> {
        let (cells, order) = (DashMap::new(), Mutex::default());
        Arc::new(SubjectCells { cells, order, shared: shared.clone() })
    }

    /// The cell of a subject, made if it is new. That of a known one costs a look into a map.
    ///
    /// # Errors
    /// It is new, and there is no room for another cell or fetch, or the client is refused whoever the subject is.
    pub(super) fn cell(
        self: &Arc<Self>,
        subjects: &Arc<Subjects>,
        identity: Identity,
        source: impl FnOnce() -> Arc<dyn Source>,
    ) -> Result<Arc<TokenCell>, TokenUnavailable> {
        let known = self.cells.get(&identity).map(|cell| cell.clone());
        if let Some(cell) = known {
            cell.keep_up_with(subjects, source);
            return Ok(cell);
        }
        let now = self.shared.clock.now();
        if let Some(closed) = subjects.closed(now, &self.shared, None) {
            return Err(closed.why);
        }
        let full = TokenUnavailable::Temporarily { error: None, retry_after: RETRY_AFTER_RUNNING };
        self.make(subjects, identity, now, source).ok_or(full)
    }

    /// A new cell, in place of the one that was not used for longest if there are as many as there may be. `None`: all of
    /// those are in use.
    fn make(
        self: &Arc<Self>,
        subjects: &Arc<Subjects>,
        identity: Identity,
        now: Boot,
        source: impl FnOnce() -> Arc<dyn Source>,
    ) -> Option<Arc<TokenCell>> {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = self.cells.get(&identity) {
            return Some(cell.clone());
        }
        while self.cells.len() >= self.shared.bounds.cells_max || self.takes_too_much() {
            self.evict(&mut order, now)?;
        }
        let cell = TokenCell::of_subject(&self.shared, identity, subjects, source());
        order.empty.push(Reverse((now, identity)));
        self.cells.insert(identity, cell.clone());
        subjects.kept.count.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut order.swept, true) {
            self.shared.control.spawn(sweep(Arc::downgrade(self)));
        }
        Some(cell)
    }

    fn takes_too_much(&self) -> bool {
        self.shared.subject_bytes.load(Ordering::Relaxed) >= self.shared.bounds.bytes_max
    }

    /// Removes the cell that was not used for longest, to make room. `None`: all are in use.
    fn evict(&self, order: &mut Order, now: Boot) -> Option<()> {
        let evicted = self.remove_idle(order, now, now, now)?;
        evicted.kept.evicted.fetch_add(1, Ordering::Relaxed);
        Some(())
    }

    /// Removes the cell that was not used for longest: an empty one, if that was no later than `empty`, else any, if it was no
    /// later than `before`. Returns whose it was; `None`: there is none.
    fn remove_idle(&self, order: &mut Order, now: Boot, empty: Boot, before: Boot) -> Option<Arc<Subjects>> {
        let removed = self.remove_from(&mut order.empty, now, empty, Some(&mut order.others));
        let removed = removed.or_else(|| self.remove_from(&mut order.others, now, before, None));
        removed.inspect(|subjects| {
            subjects.kept.count.fetch_sub(1, Ordering::Relaxed);
        })
    }

    /// The same of these. One that somebody holds, a request or a fetch in flight, is in use now. `others`: where those belong
    /// that are empty no longer.
    fn remove_from(
        &self,
        heap: &mut Heap,
        now: Boot,
        before: Boot,
        mut others: Option<&mut Heap>,
    ) -> Option<Arc<Subjects>> {
        let mut held = Vec::new();
        let removed = loop {
            let Some(Reverse((stood, identity))) = heap.pop() else { break None };
            if stood > before {
                heap.push(Reverse((stood, identity)));
                break None;
            }
            let Some(cell) = self.cells.get(&identity).map(|cell| cell.clone()) else { continue };
            let used = cell.used();
            if let Some(others) = others.as_mut().filter(|_| cell.is_worth_keeping()) {
                others.push(Reverse((used, identity)));
                continue;
            }
            drop(cell);
            if used > stood {
                heap.push(Reverse((used, identity)));
                continue;
            }
            // The map's lock is held meanwhile, so that nobody begins to use it.
            match self.cells.remove_if(&identity, |_, cell| Arc::strong_count(cell) == 1) {
                Some((_, cell)) => break cell.subjects().cloned(),
                None => held.push(identity),
            }
        };
        for identity in held {
            self.cells.get(&identity).iter().for_each(|cell| cell.note_use(now));
            heap.push(Reverse((now, identity)));
        }
        removed
    }

    /// Forgets those that nobody came for, and more of them if they take too much: those that are there got tokens meanwhile.
    /// Whether there are others.
    fn sweep(&self) -> bool {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.shared.clock.now();
        let (empty, before) = (now.before(SUBJECT_EMPTY_IDLE_MAX), now.before(SUBJECT_IDLE_MAX));
        while self.remove_idle(&mut order, now, empty, before).is_some() {}
        while self.takes_too_much() && self.evict(&mut order, now).is_some() {}
        order.swept = !order.empty.is_empty() || !order.others.is_empty();
        order.swept
    }

    /// Forgets the cells of credentials that a new snapshot no longer declares.
    pub(super) fn retain(&self, declared: &HashSet<&Identity>) {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        self.cells.retain(|_, cell| {
            let subjects = cell.subjects().filter(|subjects| !declared.contains(&subjects.identity));
            subjects.is_none_or(|subjects| {
                subjects.kept.count.fetch_sub(1, Ordering::Relaxed);
                false
            })
        });
        let Order { empty, others, .. } = &mut *order;
        for heap in [empty, others] {
            heap.retain(|Reverse((_, identity))| self.cells.contains_key(identity));
        }
    }
}

/// Until there is no subject any more.
async fn sweep(cells: Weak<SubjectCells>) {
    loop {
        tokio::time::sleep(SUBJECT_SWEEP_EVERY).await;
        if !cells.upgrade().is_some_and(|cells| cells.sweep()) {
            return;
        }
    }
}
