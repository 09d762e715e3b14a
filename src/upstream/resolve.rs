//! Names to addresses, and which addresses are allowed (SEC-14, SEC-20).

mod check;
#[cfg(test)]
mod fixed;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests measure by the clock that they pause")]
mod tests;

pub(super) use check::is_allowed;
#[cfg(test)]
pub use fixed::FixedNames;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::clock::{Boot, Clock};

/// How often names in use are resolved again.
const REFRESH: Duration = Duration::from_secs(30);
/// How often at most a name is resolved because connecting failed, and how long a negative answer is kept.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long a request waits for a fresh answer where there is an old one, which then serves.
const PATIENCE_WITH_OLD: Duration = Duration::from_secs(1);
/// After a failure while there is an old answer.
const RETRY: Duration = Duration::from_secs(5);
/// The most names. They come from configuration and discovery, so that this bounds mistakes and not work.
const NAMES_MAX: usize = 4096;
/// The most addresses of one name.
const ADDRESSES_MAX: usize = 64;

/// Where answers come from.
#[derive(Debug, Clone, Default)]
pub enum Names {
    /// The system's resolver, on a blocking thread.
    #[default]
    System,
    #[cfg(test)]
    Fixed(Arc<FixedNames>),
}

/// All names of the process; outlives reloads.
#[derive(Debug)]
pub(super) struct Resolver {
    source: Names,
    clock: Arc<dyn Clock>,
    control: Handle,
    names: Mutex<HashMap<String, Arc<Name>>>,
}

impl Resolver {
    pub(super) fn new(source: Names, clock: Arc<dyn Clock>, control: Handle) -> Arc<Self> {
        Arc::new(Resolver { source, clock, control, names: Mutex::default() })
    }

    /// The entry of a name; nothing is resolved yet.
    pub(super) fn name(&self, host: &str) -> Arc<Name> {
        let mut names = lock(&self.names);
        if let Some(name) = names.get(host) {
            return name.clone();
        }
        if names.len() >= NAMES_MAX {
            names.retain(|_, name| Arc::strong_count(name) > 1);
        }
        let name = Arc::new(Name::new(host));
        if names.len() < NAMES_MAX {
            names.insert(host.to_owned(), name.clone());
        }
        name
    }

    /// The addresses of a name, with the generation of the answer. Fresh ones at once; where there are only old ones,
    /// they serve if no fresh ones come within a second. The error is a sentence.
    pub(super) async fn addresses(self: &Arc<Self>, name: &Arc<Name>) -> Result<Answer, String> {
        name.touch();
        let deadline = tokio::time::sleep(PATIENCE_WITH_OLD);
        tokio::pin!(deadline);
        loop {
            // Registered before the state is read, so that no answer in between is missed.
            let changed = name.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let old = match self.look(name) {
                Look::Fresh(answer) => return Ok(answer),
                Look::Failed(why) => return Err(why),
                Look::Old(answer) => Some(answer),
                Look::Nothing => None,
            };
            match old {
                None => changed.await,
                Some(answer) => tokio::select! {
                    () = changed => {}
                    () = &mut deadline => {
                        name.give_up_waiting(self.clock.now());
                        return Ok(answer);
                    }
                },
            }
        }
    }

    /// Asks for the name again soon, because connecting to what it gave has failed.
    pub(super) fn again(&self, name: &Name) {
        name.again.notify_one();
    }

    fn look(self: &Arc<Self>, name: &Arc<Name>) -> Look {
        let mut state = lock(&name.state);
        let now = self.clock.now();
        let age = now.since(state.at);
        if state.addresses.is_empty()
            && let Some((at, why)) = &state.failed
            && now.since(*at) < AGAIN_AFTER
        {
            return Look::Failed(why.clone());
        }
        // While resolving fails the last good answer serves, and nobody waits for what fails.
        let failing = state.failed.is_some() && state.running;
        if !state.running && (state.addresses.is_empty() || age >= REFRESH) {
            state.running = true;
            self.control.spawn(self.clone().keep_fresh(name.clone()));
        }
        if !state.addresses.is_empty() && (failing || age <= REFRESH + RETRY) {
            return Look::Fresh(state.answer());
        }
        if state.addresses.is_empty() { Look::Nothing } else { Look::Old(state.answer()) }
    }

    /// Resolves a name, and goes on while it is used. Runs on the control thread, so that a request that is cancelled
    /// does not cancel what others wait for.
    async fn keep_fresh(self: Arc<Self>, name: Arc<Name>) {
        loop {
            name.used.store(false, Ordering::Relaxed);
            let answer = self.ask(&name.host).await;
            let pause = self.store(&name, answer);
            name.changed.notify_waiters();
            let Some(pause) = pause else { return };
            let earliest = tokio::time::sleep(AGAIN_AFTER);
            let latest = tokio::time::sleep(pause);
            tokio::select! {
                () = latest => {}
                () = async { tokio::join!(earliest, name.again.notified()); } => {}
            }
            if !name.used.load(Ordering::Relaxed) {
                lock(&name.state).running = false;
                return;
            }
        }
    }

    /// Takes an answer, and says when to ask again. `None`: when somebody wants to know.
    fn store(&self, name: &Name, answer: Result<Vec<IpAddr>, String>) -> Option<Duration> {
        let now = self.clock.now();
        let mut state = lock(&name.state);
        match answer {
            Ok(mut addresses) => {
                addresses.truncate(ADDRESSES_MAX);
                state.failed = None;
                state.at = now;
                if *state.addresses != *addresses {
                    state.addresses = addresses.into();
                    state.generation += 1;
                    name.generation.store(state.generation, Ordering::Release);
                }
                Some(REFRESH)
            }
            Err(why) => {
                state.failed = Some((now, why));
                state.running = !state.addresses.is_empty();
                state.running.then_some(RETRY)
            }
        }
    }

    async fn ask(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        match &self.source {
            #[cfg(test)]
            Names::Fixed(names) => names.answer(host),
            Names::System => {
                let host = host.to_owned();
                let asked = self.control.spawn_blocking(move || {
                    let found = (host.as_str(), 0).to_socket_addrs()?;
                    let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
                    let mut seen = std::collections::HashSet::new();
                    addresses.retain(|address| seen.insert(*address));
                    Ok::<_, std::io::Error>(addresses)
                });
                match asked.await {
                    Ok(Ok(addresses)) if addresses.is_empty() => Err("the name has no address".into()),
                    Ok(Ok(addresses)) => Ok(addresses),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(error) => Err(format!("the resolver's thread failed: {error}")),
                }
            }
        }
    }
}

enum Look {
    Fresh(Answer),
    Old(Answer),
    Failed(String),
    Nothing,
}

/// What a name resolved to.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) addresses: Arc<[IpAddr]>,
    pub(super) generation: u64,
}

/// A name and its last good answer.
pub(super) struct Name {
    host: String,
    state: Mutex<State>,
    /// That of the state, for readers that take no lock. Changes when the addresses do.
    generation: AtomicU64,
    /// Asked for since it was resolved last.
    used: AtomicBool,
    changed: Notify,
    again: Notify,
}

#[derive(Debug, Default)]
struct State {
    addresses: Arc<[IpAddr]>,
    generation: u64,
    at: Boot,
    failed: Option<(Boot, String)>,
    /// A task keeps it fresh.
    running: bool,
}

impl State {
    fn answer(&self) -> Answer {
        Answer { addresses: self.addresses.clone(), generation: self.generation }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Name").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Name {
    fn new(host: &str) -> Self {
        Name {
            host: host.to_owned(),
            state: Mutex::default(),
            generation: AtomicU64::new(0),
            used: AtomicBool::new(false),
            changed: Notify::new(),
            again: Notify::new(),
        }
    }

    /// Notes that the name is in use; the generation of its addresses.
    pub(super) fn touch(&self) -> u64 {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        self.generation.load(Ordering::Acquire)
    }

    /// The resolver hangs: that counts as a failure, so that only one request has waited for it.
    fn give_up_waiting(&self, now: Boot) {
        lock(&self.state).failed.get_or_insert_with(|| (now, "the resolver does not answer".to_owned()));
    }

    /// Whether its last good answer holds this address.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        lock(&self.state).addresses.contains(&address)
    }
}

/// A poisoned lock guards nothing that a panic could have left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
