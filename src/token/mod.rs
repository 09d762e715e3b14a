//! The life of a token: one cell per identity, from the first fetch to the last. See docs/token-lifecycle.md.
//!
//! `machine` is the state machine without any I/O: events in, actions out; it is what the property test drives.
//! `cell` puts it to work: the hot path reads one atomic pointer, everything else takes the machine's lock briefly.
//! `cache` holds the cells by identity and outlives reloads.

mod attached;
mod by_hand;
mod cache;
mod cell;
mod endpoint;
mod exchange;
mod identity;
pub mod lifetime;
mod machine;
pub mod store;
mod subjects;

pub use attached::{Attached, Cookies, Misfit, NOT_UNRESERVED, PlaceNames, Rest, sensitive};
pub use by_hand::{ByHand, Rotated};
pub use cache::TokenCache;
pub use cell::{CellStatus, Rejected, TokenCell};
pub use exchange::Exchange;
pub use identity::{Identity, IdentityFields, ProofVersion};
pub use subjects::{Subjects, SubjectsStatus};

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Attach;
use crate::jws::ProofKey;
use crate::secret::Secret;
use machine::constants::{SUBJECT_OUTLIVES_MIN, SUBJECT_TOKEN_BYTES, SUBJECT_TOKEN_COPIES};

/// Counts the tokens of one cell: each token that was fetched and differs from the last gets the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

/// A token that can be sent.
#[derive(Debug)]
pub struct Token {
    pub generation: Generation,
    pub value: Secret,
    /// What the endpoint answered besides, by the names that the configuration gives them.
    pub further: BTreeMap<String, Secret>,
    pub attached: Attached,
    /// What it is bound to, if it is.
    pub proof_key: Option<Arc<ProofKey>>,
}

impl Token {
    /// About what it takes of memory.
    fn bytes(&self) -> usize {
        let values = std::iter::once(&self.value).chain(self.further.values());
        SUBJECT_TOKEN_BYTES + SUBJECT_TOKEN_COPIES * values.map(|value| value.expose().len()).sum::<usize>()
    }
}

/// What one fetch is asked for; a fetch never reads the cell. Whose token it is (a subject's), its source knows.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// Give the attempt at most this long (TL-32). The source enforces it.
    pub attempt_timeout: Duration,
    /// The refresh token to exchange. Every fetch of a source with a [`Source::seed`] has one.
    pub exchange: Option<Exchange>,
    /// A JSON object: the claims that the upstream misses in the token (TL-45). What cannot ask for them may leave them.
    pub claims: Option<Arc<str>>,
}

/// What a token endpoint granted, as far as the token's life is concerned.
#[derive(Debug)]
pub struct Granted {
    pub value: Secret,
    /// Declared values that came with it, by name: what is attached may need them, too.
    pub further: BTreeMap<String, Secret>,
    /// L, computed per TL-10 to TL-12; `None`: the answer named none (TL-13). Zero: not cacheable (TL-14).
    pub lifetime: Option<Duration>,
    /// The server's wish when to refresh, relative (`refresh_in`).
    pub refresh_in: Option<Duration>,
    /// It ends with what it was had for, so that no other one would live longer: it is not renewed before it is over.
    pub last: bool,
}

impl Granted {
    /// The same, had for a token that is over in this time; `None`: nobody knows when that is.
    pub fn within(self, subject: Option<Duration>) -> Self {
        let Some(subject) = subject else { return self };
        let last = self.lifetime.is_none_or(|own| subject <= own.saturating_add(SUBJECT_OUTLIVES_MIN));
        let lifetime = Some(self.lifetime.map_or(subject, |own| own.min(subject)));
        Granted { lifetime, last, ..self }
    }
}

/// Why a fetch brought no token. Never holds a secret.
#[derive(Debug, Clone)]
pub struct FetchError {
    pub kind: FetchErrorKind,
    pub reached: Reached,
    /// The error's name, if the endpoint gave a registered one: fit for clients.
    pub code: Option<&'static str>,
    /// The step, the endpoint's host and the cause. For the log and the admin listener; never shown to clients.
    pub text: Arc<str>,
}

/// What a failure means for the cell's state (TL-25 to TL-27, TL-32, TL-33).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchErrorKind {
    /// Connect errors, timeouts, 408, 5xx, `temporarily_unavailable`, `server_error`, an empty or unreadable 200.
    Transient,
    /// 429, or 503 with `Retry-After`.
    RateLimited { retry_after: Option<Duration> },
    /// `invalid_client` and every other 4xx: needs an operator.
    Refused,
    /// The same where it concerns every subject of a credential that has a token for each.
    RefusedForAll,
    /// The same where nobody says whether it concerns every subject or this one.
    RefusedUnclear,
    /// What is refused is the subject's token, which a client brought: it needs that subject.
    SubjectRefused,
    /// The refresh token is of no more use, and only a new authorization brings another one (TL-27).
    NeedsReauthorization,
}

impl FetchErrorKind {
    /// Whether it does not pass by itself.
    pub fn is_lasting(self) -> bool {
        self.is_refusal() || self == FetchErrorKind::NeedsReauthorization
    }

    /// Whether the endpoint wants nothing of what was sent, and may be asked again now and then (TL-26).
    pub fn is_refusal(self) -> bool {
        use FetchErrorKind::{Refused, RefusedForAll, RefusedUnclear, SubjectRefused};
        matches!(self, Refused | RefusedForAll | RefusedUnclear | SubjectRefused)
    }
}

/// How far an attempt came: what clients are told of it, and no more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// There was no connection to the endpoint.
    No,
    /// It did not answer in time.
    Silent,
    /// It answered, or broke off.
    Answered,
}

pub type FetchFuture = Pin<Box<dyn Future<Output = Result<Granted, FetchError>> + Send>>;

/// Where a cell's tokens come from: one attempt at the token endpoint. A trait because tests script it.
pub trait Source: Send + Sync + fmt::Debug {
    /// Makes one attempt. Retries, backoff and bounds are the cell's affair.
    fn fetch(&self, request: FetchRequest) -> FetchFuture;
    /// The endpoint's scheme, host and port: what TL-33 and TL-34 count by. As far as it is known: before discovery has
    /// found the endpoint, those of the issuer.
    fn origin(&self) -> Arc<str>;
    /// With whom it authenticates there (TL-33).
    fn client_id(&self) -> &str;
    /// What its tokens are for, where that is no part of the identity: one for something else is not sent.
    fn asks_for(&self) -> Option<ProofVersion> {
        None
    }
    /// The key that its tokens are bound to, which is part of what they are for.
    fn proof_key(&self) -> Option<&Arc<ProofKey>> {
        None
    }
    /// How many bytes of memory it takes for its subject alone.
    fn subject_bytes(&self) -> usize {
        0
    }
    /// The refresh token to begin with, where tokens are had for one.
    fn seed(&self) -> Option<&Secret> {
        None
    }
}

/// How a cell behaves; from configuration, replaced by a reload without touching the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The credential's name, for logs and status.
    pub name: Arc<str>,
    pub refresh_before: Option<Duration>,
    pub keep_warm: Duration,
    /// A new token ends the one before it, so that one of unknown lifetime is not renewed unasked (TL-13).
    pub single_active: bool,
    /// Fetch at start, spread over 10 s (TL-29).
    pub warm: bool,
    pub stale_if_error: Duration,
    pub attach: Arc<Attach>,
    pub attempt_timeout: Duration,
    pub total_timeout: Duration,
}

/// Why a request gets no token.
#[derive(Debug, Clone)]
pub enum TokenUnavailable {
    /// It passes: 503 with `Retry-After` (TL-20, TL-25).
    Temporarily { error: Option<FetchError>, retry_after: Duration },
    /// It needs an operator: 502 (TL-26). Or the subject: 403.
    Refused { error: FetchError },
}
