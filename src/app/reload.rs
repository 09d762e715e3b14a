//! Applying a new configuration while requests go on (SEC-38, SEC-39). What cannot be applied leaves everything as it is.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::control::{Control, compile};
use super::essential::or_abort;
use super::worker::{ListenerKey, ListenerUpdate, Update};
use super::{Options, StartError, problems};
use crate::config::{Config, Load, Loaded, Problems, load, load_text};
use crate::descriptors::Shares;
use crate::listener::{self, Bound, Settings, Tickets};
use crate::snapshot::{Living, Snapshot};

/// How long a client may take nothing of what is written to it ("Limits": the stream's 120 s).
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);

/// What is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reload {
    /// proxy.toml as it is now, and what it names.
    Everything,
    /// Secrets and certificates. An edit of proxy.toml may be half done, and waits for SIGHUP (SEC-44).
    Secrets,
}

const NOT_RELOADED: &str = "the configuration was not reloaded, the last one stays";

/// Why the last configuration stays.
enum Refused {
    Problems(Problems),
    Other(String),
}

impl Control {
    /// Reads the configuration again and puts it to use. The error says why it was refused, and is logged.
    pub(super) async fn reload(&mut self, what: Reload) -> Result<(), String> {
        let begun = self.living.clock.now();
        let result = self.try_reload(what).await;
        self.living.metrics.process().reloaded(result.is_ok(), self.living.clock.wall());
        match &result {
            Ok(()) => {
                let took = self.living.clock.now().since(begun);
                tracing::info!(?took, addresses = ?self.listeners.addresses(), "the configuration was reloaded");
            }
            Err(refused) => refused.log(),
        }
        result.map_err(|refused| refused.to_string())
    }

    async fn try_reload(&mut self, what: Reload) -> Result<(), Refused> {
        self.watcher.loading().await;
        let Loaded { config, warnings, watched, variables, text } = self.load(what).await?;
        let config = Arc::new(config);
        refuse_unreloadable(&self.config, &config)?;
        let workers = self.workers.len();
        // Whatever can fail is done before the first worker hears of it.
        let prepared = prepare(config.clone(), self.listeners.clone(), workers, self.tickets.clone()).await?;
        super::log::change(&config.log)?;
        // Names and TLS sessions outlive a change of `[egress]`.
        let living = Living { connector: self.living.connector.with_egress(&config.egress), ..self.living.clone() };
        let snapshot = compile(config.clone(), living.clone()).await;
        let (updates, listeners) = prepared.into_updates(workers, &snapshot, &self.settings(&config));
        let limits = &config.server.limits;
        let shares = Shares::of(self.descriptors, limits.connections_max);
        self.client_permits.set_max(shares.clients);
        self.living.upstream_connections.set_max(shares.upstreams);
        self.receive_memory.set_bytes_max(limits.h2_receive_memory_bytes_max);
        for (worker, update) in self.workers.iter().zip(updates) {
            worker.apply(update).await;
        }
        self.living = living;
        self.listeners = listeners;
        self.living.tokens.retain(&snapshot.identities());
        self.living.metrics.forget_unused();
        (self.config, self.text) = (config, text);
        self.watcher.watch(watched).await;
        self.tell_addresses();
        self.admin.serving(self.listeners.addresses());
        self.warn(warnings, what);
        if what == Reload::Everything && !variables.is_empty() {
            let variables = Vec::from_iter(variables).join(",");
            tracing::info!(
                variables,
                "`{{ env }}` gives what it gave at the start: a process's environment stays as it is"
            );
        }
        Ok(())
    }

    /// Logs the warnings. A rotated secret says again nothing that was said of a file that stayed as it is.
    fn warn(&mut self, mut warnings: Problems, what: Reload) {
        let all = warnings.problems.clone();
        let before = std::mem::replace(&mut self.warnings, all);
        if what == Reload::Secrets {
            warnings.problems.retain(|warning| !before.contains(warning));
        }
        problems::log(&warnings, "in the configuration");
    }

    /// Reads the file on the blocking pool: it reads files and runs commands.
    async fn load(&self, what: Reload) -> Result<Loaded, Refused> {
        let (Options { config, environment, .. }, text) = (self.options.clone(), self.text.clone());
        let loading = tokio::task::spawn_blocking(move || {
            or_abort("loading the configuration", || match what {
                Reload::Everything => load(&config, &environment, Load::Full),
                Reload::Secrets => load_text(&config, &text, &environment, Load::Full),
            })
        });
        let loaded = loading.await.map_err(|error| format!("loading was interrupted: {error}"))?;
        loaded.map_err(Refused::Problems)
    }

    pub(super) fn settings(&self, config: &Config) -> Settings {
        Settings {
            limits: config.server.limits.clone(),
            timeouts: config.server.timeouts.clone(),
            write: WRITE_TIMEOUT,
        }
    }
}

impl Refused {
    fn log(&self) {
        match self {
            Refused::Problems(problems) => problems::log(problems, NOT_RELOADED),
            Refused::Other(error) => tracing::error!("{NOT_RELOADED}: {error}"),
        }
    }
}

impl From<String> for Refused {
    fn from(error: String) -> Self {
        Refused::Other(error)
    }
}

impl From<StartError> for Refused {
    fn from(error: StartError) -> Self {
        Refused::Other(error.0.join("; "))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Problems(problems) => problems.fmt(f),
            Refused::Other(error) => f.write_str(error),
        }
    }
}

/// Refuses what only a restart can change, naming the key.
fn refuse_unreloadable(old: &Config, new: &Config) -> Result<(), String> {
    let keys = [
        ("[server] workers", old.server.workers == new.server.workers),
        ("[admin] address", old.admin == new.admin),
        ("[store]", old.store == new.store),
        (
            "[server] limits.replay_memory_bytes_max",
            old.server.limits.replay_memory_bytes_max == new.server.limits.replay_memory_bytes_max,
        ),
        (
            "[server] limits.aggregate_memory_bytes_max",
            old.server.limits.aggregate_memory_bytes_max == new.server.limits.aggregate_memory_bytes_max,
        ),
    ];
    let changed: Vec<_> = keys.iter().filter(|(_, same)| !same).map(|(key, _)| *key).collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(format!("{} cannot be changed by a reload (hint: restart attache, or change it back)", changed.join(" and ")))
}

/// The listeners that are open, in the order of the configuration, with the addresses they really have.
#[derive(Debug, Clone, Default)]
pub(super) struct Listeners(Vec<(ListenerKey, SocketAddr)>);

impl Listeners {
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(_, address)| *address).collect()
    }

    fn address(&self, key: ListenerKey) -> Option<SocketAddr> {
        self.0.iter().find(|(open, _)| *open == key).map(|(_, address)| *address)
    }
}

/// Prepares the listeners of a configuration on the blocking pool, since it parses keys: tokens are fetched meanwhile.
/// If nobody waits for it any more, what was bound is closed again.
pub(super) async fn prepare(
    config: Arc<Config>,
    open: Listeners,
    workers: usize,
    tickets: Tickets,
) -> Result<Prepared, StartError> {
    let preparing = tokio::task::spawn_blocking(move || {
        or_abort("preparing the listeners", || Prepared::new(&config.listeners, &open, workers, &tickets))
    });
    preparing.await.map_err(|error| StartError::from(format!("preparing the listeners was interrupted: {error}")))?
}

/// Listeners of a configuration, bound and with their TLS set up, before any worker knows of them.
#[derive(Debug)]
pub(super) struct Prepared(Vec<PreparedListener>);

#[derive(Debug)]
struct PreparedListener {
    key: ListenerKey,
    address: SocketAddr,
    tls: Option<Arc<rustls::ServerConfig>>,
    /// `None` if it is open already.
    bound: Option<Bound>,
}

impl PreparedListener {
    /// `open`: where it is, if it is open already.
    fn new(
        configured: &crate::config::Listener,
        key: ListenerKey,
        open: Option<SocketAddr>,
        workers: usize,
        tickets: &Tickets,
    ) -> Result<Self, String> {
        let tls = listener::server_config(&configured.certificates, tickets)
            .map_err(|error| format!("the listener {}: {error}", configured.address))?;
        let (address, bound) = match open {
            Some(address) => (address, None),
            None => {
                let bound = listener::bind(configured.address, workers)?;
                (bound.address, Some(bound))
            }
        };
        Ok(PreparedListener { key, address, tls, bound })
    }
}

impl Prepared {
    /// Binds what is not open yet. On an error, which names every listener that cannot be, everything that was bound for
    /// it is closed again.
    fn new(
        configured: &[crate::config::Listener],
        open: &Listeners,
        workers: usize,
        tickets: &Tickets,
    ) -> Result<Self, StartError> {
        let mut alike: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        let mut prepared = Vec::with_capacity(configured.len());
        let mut errors = Vec::new();
        for configured in configured {
            let ordinal = alike.entry(configured.address).or_default();
            let key = (configured.address, *ordinal);
            *ordinal += 1;
            match PreparedListener::new(configured, key, open.address(key), workers, tickets) {
                Ok(listener) => prepared.push(listener),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Prepared(prepared)) } else { Err(StartError(errors)) }
    }

    /// What each worker is told, and what is open then.
    pub(super) fn into_updates(
        self,
        workers: usize,
        snapshot: &Arc<Snapshot>,
        settings: &Settings,
    ) -> (Vec<Update>, Listeners) {
        let update = || Update { snapshot: snapshot.clone(), settings: settings.clone(), listeners: Vec::new() };
        let mut updates: Vec<_> = std::iter::repeat_with(update).take(workers).collect();
        let mut open = Vec::with_capacity(self.0.len());
        for PreparedListener { key, address, tls, bound } in self.0 {
            open.push((key, address));
            let mut sockets = bound.map(|bound| bound.sockets.into_iter());
            for update in &mut updates {
                let socket = sockets.as_mut().and_then(Iterator::next).map(|socket| (socket, address));
                update.listeners.push(ListenerUpdate { key, tls: tls.clone(), socket });
            }
        }
        (updates, Listeners(open))
    }
}
