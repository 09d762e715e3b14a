//! All cells, by identity. Made once; reloads declare anew what they use.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::{Semaphore, watch};

use super::cell::Stored;
use super::endpoint::Endpoints;
use super::identity::DigestKey;
use super::machine::constants::{DRAIN_MAX, STORE_CALLS_MAX};
use super::store::{MemoryStore, TokenStore};
use super::subjects::{Bounds, SubjectCells};
use super::{
    CellStatus, Identity, Policy, ProofVersion, Source, Subjects, SubjectsStatus, TokenCell, TokenUnavailable,
};
use crate::clock::Clock;
use crate::secret::Secret;

/// The cells of this process. Lives as long as it does; a reload that leaves a credential unchanged finds the same
/// cell with its token and its fetch in flight (TL-04). Cells that are declared are never evicted (TL-70): their number is
/// that of the configured credentials.
#[derive(Debug)]
pub struct TokenCache {
    cells: DashMap<Identity, Slot>,
    key: DigestKey,
    pub(super) shared: Arc<Shared>,
    /// The credentials that have a token for each subject.
    subjects: DashMap<Identity, Arc<Subjects>>,
    subject_cells: Arc<SubjectCells>,
}

#[derive(Debug)]
enum Slot {
    Declared(Arc<TokenCell>),
    /// No longer declared, but perhaps still alive in an old snapshot or a fetch in flight. If it is declared again, it
    /// goes on, so that there are never two fetches at once for an identity.
    Retired(Weak<TokenCell>),
}

/// What all cells share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    /// Where fetches run (TL-30).
    pub(super) control: tokio::runtime::Handle,
    pub(super) store: Arc<dyn TokenStore>,
    /// Turns at the store, so that a disk that hangs takes few threads of the blocking pool.
    pub(super) store_turns: Semaphore,
    pub(super) endpoints: Endpoints,
    pub(super) in_flight: watch::Sender<usize>,
    /// How many subjects, and fetches for them.
    pub(super) bounds: Bounds,
    /// What subjects take of memory.
    pub(super) subject_bytes: AtomicUsize,
    /// The process is shutting down: nothing is fetched any more but what requests ask for.
    pub(super) draining: AtomicBool,
}

impl TokenCache {
    /// `control` is the runtime of the control thread, where fetches run (TL-30).
    pub fn new(clock: Arc<dyn Clock>, control: tokio::runtime::Handle) -> Arc<Self> {
        TokenCache::with_store(clock, control, Arc::new(MemoryStore::new()))
    }

    /// The same with tokens that live as long as this store.
    pub fn with_store(clock: Arc<dyn Clock>, control: tokio::runtime::Handle, store: Arc<dyn TokenStore>) -> Arc<Self> {
        TokenCache::with_bounds(clock, control, store, Bounds::default())
    }

    /// The same with so many subjects.
    pub(super) fn with_bounds(
        clock: Arc<dyn Clock>,
        control: tokio::runtime::Handle,
        store: Arc<dyn TokenStore>,
        bounds: Bounds,
    ) -> Arc<Self> {
        let key = DigestKey::new(&store.digest_key());
        let shared = Arc::new(Shared {
            clock,
            control,
            store,
            store_turns: Semaphore::new(STORE_CALLS_MAX),
            endpoints: Endpoints::default(),
            in_flight: watch::Sender::new(0),
            bounds,
            subject_bytes: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
        });
        let subject_cells = SubjectCells::new(&shared);
        Arc::new(TokenCache { cells: DashMap::new(), key, shared, subjects: DashMap::new(), subject_cells })
    }

    /// The identity of these fields, under the store's key.
    pub fn identity(&self, fields: &super::IdentityFields<'_>) -> Identity {
        self.key.identity(fields)
    }

    /// The identity of these parts of a configuration of something.
    pub fn of_configuration(&self, of: &Identity, parts: &[&[u8]]) -> Identity {
        self.key.of_configuration(of, parts)
    }

    /// The digest of a proof; arguments are the parts that prove the client.
    pub fn proof(&self, parts: &[&[u8]]) -> ProofVersion {
        self.key.proof(parts)
    }

    /// The cell of an identity, made if it is new, with what the store has of it; policy, proof and source are replaced
    /// (TL-03, TL-04). Blocking: the store is read.
    pub fn declare(
        self: &Arc<Self>,
        identity: Identity,
        proof: ProofVersion,
        policy: Policy,
        source: Arc<dyn Source>,
    ) -> Arc<TokenCell> {
        let alive = |slot: &Slot| match slot {
            Slot::Declared(cell) => Some(cell.clone()),
            Slot::Retired(cell) => cell.upgrade(),
        };
        // Read without a lock of the map, which others look at meanwhile.
        let known = self.cells.get(&identity).and_then(|slot| alive(&slot));
        let stored = if known.is_some() { Stored::Nothing } else { Stored::read(&*self.shared.store, &identity) };
        match self.cells.entry(identity) {
            Entry::Occupied(mut slot) => match alive(slot.get()) {
                Some(cell) => {
                    slot.insert(Slot::Declared(cell.clone()));
                    drop(slot);
                    cell.declare_again(proof, policy, source);
                    cell
                }
                None => {
                    let cell = TokenCell::new(&self.shared, identity, stored, proof, policy, source);
                    slot.insert(Slot::Declared(cell.clone()));
                    cell
                }
            },
            Entry::Vacant(slot) => {
                let cell = TokenCell::new(&self.shared, identity, stored, proof, policy, source);
                slot.insert(Slot::Declared(cell.clone()));
                cell
            }
        }
    }

    /// A credential that has a token for each subject. One that was declared before keeps its subjects and their tokens, and
    /// those go on with policy, proof and sources as they are declared now when they are next used (TL-03, TL-04).
    pub fn declare_subjects(&self, identity: Identity, proof: ProofVersion, policy: Policy) -> Arc<Subjects> {
        match self.subjects.entry(identity) {
            Entry::Occupied(mut slot) => {
                slot.insert(Arc::new(Subjects::new(Some(slot.get()), identity, proof, policy)));
                slot.get().clone()
            }
            Entry::Vacant(slot) => slot.insert(Arc::new(Subjects::new(None, identity, proof, policy))).clone(),
        }
    }

    /// The cell of the subject that this token stands for. That of a known one costs a look into a map.
    ///
    /// # Errors
    /// It is new, and there is no room for another cell or fetch, or the client is refused whoever the subject is.
    pub fn subject(
        &self,
        subjects: &Arc<Subjects>,
        token: &Secret,
        source: impl FnOnce() -> Arc<dyn Source>,
    ) -> Result<Arc<TokenCell>, TokenUnavailable> {
        let identity = self.key.subject(&subjects.identity, token.expose().as_bytes());
        self.subject_cells.cell(subjects, identity, source)
    }

    /// Of every credential that has a token for each subject. By name.
    pub fn subject_statuses(&self) -> Vec<SubjectsStatus> {
        let mut statuses: Vec<_> = self.subjects.iter().map(|subjects| subjects.status()).collect();
        statuses.sort_by(|one, other| one.name.cmp(&other.name));
        statuses
    }

    /// Forgets the cells that a new snapshot no longer declares. Their timers stop; a fetch in flight may finish.
    pub fn retain(&self, declared: &[Identity]) {
        let declared: HashSet<&Identity> = declared.iter().collect();
        self.subjects.retain(|identity, _| declared.contains(identity));
        self.subject_cells.retain(&declared);
        let mut retired = Vec::new();
        self.cells.retain(|identity, slot| match slot {
            Slot::Declared(_) if declared.contains(identity) => true,
            Slot::Declared(cell) => {
                let weak = Arc::downgrade(cell);
                retired.push(cell.clone());
                *slot = Slot::Retired(weak);
                true
            }
            Slot::Retired(cell) => cell.strong_count() > 0,
        });
        // Retired, and perhaps dropped, without a lock of the map.
        retired.iter().for_each(|cell| cell.retire());
        drop(retired);
        self.shared.endpoints.prune(self.shared.clock.now());
    }

    /// Fetches in flight are given up to 10 s at shutdown (TL-55). From here on nothing is renewed without a request.
    pub async fn drained(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        let mut in_flight = self.shared.in_flight.subscribe();
        let ended = in_flight.wait_for(|fetches| *fetches == 0);
        if tokio::time::timeout(DRAIN_MAX, ended).await.is_err() {
            tracing::warn!(after_s = DRAIN_MAX.as_secs(), "token fetches still in flight are given up");
        }
    }

    #[cfg(test)]
    pub(super) fn cells_known(&self) -> usize {
        self.cells.len()
    }

    /// Of every cell, for `/status` and metrics. By name.
    pub fn statuses(&self) -> Vec<CellStatus> {
        let declared = self.cells.iter().filter_map(|entry| match entry.value() {
            Slot::Declared(cell) => Some(cell.clone()),
            Slot::Retired(_) => None,
        });
        let cells: Vec<_> = declared.collect();
        let mut statuses: Vec<_> = cells.iter().map(|cell| cell.status()).collect();
        statuses.sort_by(|one, other| one.name.cmp(&other.name));
        statuses
    }
}
