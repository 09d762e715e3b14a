//! Cells and their cache at work, on paused time: a clock that follows the runtime's, and a scripted endpoint.

mod durable;
mod endpoints;
mod exchanges;
mod life;
mod logs;
mod rejections;
mod reload;
mod restarts;
mod slow_store;
mod soak;
mod subjects;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::{Rejected, TokenCell};
use crate::clock::{Boot, Clock};
use crate::secret::Secret;
use crate::token::store::{MemoryStore, TokenStore};
use crate::token::{
    FetchError, FetchErrorKind, FetchFuture, FetchRequest, Generation, Granted, Identity, IdentityFields, Policy,
    ProofVersion, Reached, Source, Token, TokenCache, TokenUnavailable,
};

pub(super) const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Follows tokio's time, and can be suspended: then only boot time passes.
#[derive(Debug)]
struct TokioClock {
    begin: Instant,
    suspended: AtomicU64,
    wall_offset: AtomicU64,
}

impl TokioClock {
    fn suspend(&self, duration: Duration) {
        self.suspended.fetch_add(duration.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Boot {
        Boot::default().after(HOUR + self.begin.elapsed() + Duration::from_nanos(self.suspended.load(Ordering::SeqCst)))
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + self.begin.elapsed() + Duration::from_secs(self.wall_offset.load(Ordering::SeqCst))
    }
}

/// How the endpoint answers one attempt.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// A token of its own, with this lifetime.
    Token(Option<Duration>),
    /// The same, where none lives longer.
    Last(Duration),
    /// Always the same token.
    Same(Option<Duration>),
    Fail(FetchErrorKind),
    /// A token of this value, beside this refresh token, with an hour to live.
    Rotated(&'static str, &'static str),
    /// A refresh token beside a token that nobody can send.
    Unsendable(&'static str),
    /// There was no connection: nothing was sent.
    Unconnected,
    /// Gives up by itself when its time is over, as a real source does.
    TimeOut,
    /// Does not even do that.
    Hang,
    Panic,
}

/// A token endpoint that answers as its script says, and for ever as the last line says.
#[derive(Debug)]
struct Script {
    latency: Duration,
    answers: Mutex<VecDeque<Answer>>,
    calls: AtomicUsize,
    inside: AtomicUsize,
    inside_max: AtomicUsize,
    client_id: &'static str,
    origin: Mutex<String>,
    /// What an attempt finds the origin to be.
    found: Option<&'static str>,
    /// The refresh token to begin with, for sources that exchange one.
    seed: Option<Secret>,
    asks_for: Option<ProofVersion>,
    /// The refresh tokens that were exchanged.
    exchanged: Mutex<Vec<String>>,
}

#[derive(Debug, Clone)]
pub(super) struct Endpoint(Arc<Script>);

impl Endpoint {
    pub(super) fn new(answers: impl Into<VecDeque<Answer>>) -> Self {
        Endpoint::slow(secs(0.2), "id", answers)
    }

    fn slow(latency: Duration, client_id: &'static str, answers: impl Into<VecDeque<Answer>>) -> Self {
        Endpoint::at("https://login.example:443".into(), latency, client_id, answers)
    }

    fn at(origin: String, latency: Duration, client_id: &'static str, answers: impl Into<VecDeque<Answer>>) -> Self {
        Endpoint(Arc::new(Script {
            latency,
            answers: Mutex::new(answers.into()),
            calls: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            inside_max: AtomicUsize::new(0),
            client_id,
            origin: Mutex::new(origin),
            found: None,
            seed: None,
            asks_for: None,
            exchanged: Mutex::default(),
        }))
    }

    /// One that gives tokens for a refresh token.
    fn exchanging(seed: &str, answers: impl Into<VecDeque<Answer>>) -> Self {
        let mut endpoint = Endpoint::new(answers);
        Arc::get_mut(&mut endpoint.0).expect("nobody uses it yet").seed = Some(Secret::new(seed));
        endpoint
    }

    /// One whose tokens are for something of this number.
    pub(super) fn asking_for(mut self, what: u8) -> Self {
        Arc::get_mut(&mut self.0).expect("nobody uses it yet").asks_for = Some(ProofVersion([what; 32]));
        self
    }

    /// The refresh tokens that were exchanged, in order.
    fn exchanged(&self) -> Vec<String> {
        self.0.exchanged.lock().unwrap().clone()
    }

    /// One that knows its origin only once an attempt has discovered it.
    fn discovering(mut self, found: &'static str) -> Self {
        Arc::get_mut(&mut self.0).expect("nobody uses it yet").found = Some(found);
        self
    }

    /// How many attempts were made.
    fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    fn inside(&self) -> usize {
        self.0.inside.load(Ordering::SeqCst)
    }

    fn say(&self, answers: impl Into<VecDeque<Answer>>) {
        *self.0.answers.lock().unwrap() = answers.into();
    }

    fn next_answer(&self) -> Answer {
        let mut answers = self.0.answers.lock().unwrap();
        let next = answers.pop_front().expect("a line of the script");
        if answers.is_empty() {
            answers.push_back(next.clone());
        }
        next
    }
}

fn failure(kind: FetchErrorKind, reached: Reached, text: &str) -> FetchError {
    FetchError { kind, reached, code: None, text: text.into() }
}

/// Counts an attempt as inside until it is dropped.
struct Inside(Endpoint);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Source for Endpoint {
    fn fetch(&self, request: FetchRequest) -> FetchFuture {
        let call = self.0.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let inside = self.0.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.inside_max.fetch_max(inside, Ordering::SeqCst);
        let (endpoint, answer) = (Inside(self.clone()), self.next_answer());
        if let Some(found) = self.0.found {
            *self.0.origin.lock().unwrap() = found.to_owned();
        }
        let exchange = request.exchange;
        if let Some(exchange) = &exchange {
            self.0.exchanged.lock().unwrap().push(exchange.refresh_token().expose().to_owned());
            exchange.set_sent(!matches!(answer, Answer::Unconnected));
        }
        Box::pin(async move {
            tokio::time::sleep(endpoint.0.0.latency).await;
            let granted = |value: String, lifetime| Granted {
                value: Secret::new(value),
                further: BTreeMap::new(),
                lifetime,
                refresh_in: None,
                last: false,
            };
            let receive = |refresh_token: &str| {
                exchange.as_ref().expect("an exchange").received(Secret::new(refresh_token));
            };
            match answer {
                Answer::Rotated(token, refresh_token) => {
                    receive(refresh_token);
                    Ok(granted(token.to_owned(), Some(HOUR)))
                }
                Answer::Unsendable(refresh_token) => {
                    receive(refresh_token);
                    Ok(granted("no\nheader".to_owned(), Some(HOUR)))
                }
                Answer::Unconnected => Err(failure(FetchErrorKind::Transient, Reached::No, "scripted")),
                Answer::Token(lifetime) => Ok(granted(format!("planted-secret-{call}"), lifetime)),
                Answer::Last(lifetime) => {
                    Ok(Granted { last: true, ..granted(format!("planted-secret-{call}"), Some(lifetime)) })
                }
                Answer::Same(lifetime) => Ok(granted("planted-secret-same".into(), lifetime)),
                Answer::Fail(kind) => Err(failure(kind, Reached::Answered, "scripted")),
                Answer::TimeOut => {
                    tokio::time::sleep(request.attempt_timeout.saturating_sub(endpoint.0.0.latency)).await;
                    Err(failure(FetchErrorKind::Transient, Reached::Silent, "scripted timeout"))
                }
                Answer::Hang => std::future::pending().await,
                Answer::Panic => panic!("scripted panic"),
            }
        })
    }

    fn origin(&self) -> Arc<str> {
        self.0.origin.lock().unwrap().as_str().into()
    }

    fn client_id(&self) -> &str {
        self.0.client_id
    }

    fn asks_for(&self) -> Option<ProofVersion> {
        self.0.asks_for
    }

    fn seed(&self) -> Option<&Secret> {
        self.0.seed.as_ref()
    }
}

/// A cache on paused time.
pub(super) struct House {
    clock: Arc<TokioClock>,
    cache: Arc<TokenCache>,
}

impl House {
    pub(super) fn new() -> Self {
        House::with_store(Arc::new(MemoryStore::new()))
    }

    /// One with this store. Its clock begins anew, its wall clock does not.
    fn with_store(store: Arc<dyn TokenStore>) -> Self {
        let begin = Instant::now();
        let clock = Arc::new(TokioClock { begin, suspended: AtomicU64::new(0), wall_offset: AtomicU64::new(0) });
        let cache = TokenCache::with_store(clock.clone(), tokio::runtime::Handle::current(), store);
        House { clock, cache }
    }

    fn identity(&self, name: &str) -> Identity {
        self.cache.identity(&IdentityFields { credential: name, ..IdentityFields::default() })
    }

    fn declare(&self, name: &str, secret: &str, endpoint: &Endpoint) -> Arc<TokenCell> {
        self.declare_with(policy(name), secret, endpoint)
    }

    fn declare_with(&self, policy: Policy, secret: &str, endpoint: &Endpoint) -> Arc<TokenCell> {
        let proof = self.cache.proof(&[secret.as_bytes()]);
        self.cache.declare(self.identity(&policy.name), proof, policy, Arc::new(endpoint.clone()))
    }

    /// A cell named `crm` at this endpoint.
    pub(super) fn cell(&self, endpoint: &Endpoint) -> Arc<TokenCell> {
        self.declare("crm", "secret", endpoint)
    }

    /// One that holds its first token.
    async fn holding(&self, endpoint: &Endpoint) -> Arc<TokenCell> {
        let cell = self.cell(endpoint);
        cell.take(secs(10.0)).await.expect("a first token");
        cell
    }
}

fn policy(name: &str) -> Policy {
    Policy {
        name: Arc::from(name),
        refresh_before: None,
        keep_warm: DAY,
        single_active: false,
        warm: false,
        stale_if_error: Duration::ZERO,
        attach: Arc::default(),
        attempt_timeout: secs(10.0),
        total_timeout: secs(30.0),
    }
}

fn generation(token: Option<Arc<Token>>) -> Option<u64> {
    token.map(|token| token.generation.0)
}

/// Polls a future once, as its task would.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Lets all tasks that can run do so, without time passing.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
