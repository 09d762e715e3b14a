//! The control thread: what is not traffic. It starts the workers, fetches tokens (their tasks run on its runtime),
//! serves the admin listener, watches files, reloads, and ends everything.

use std::net::SocketAddr;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::essential::{essential, or_abort};
use super::reload::{Listeners, Reload, prepare};
use super::watch::Watcher;
use super::worker::{Setup, Worker};
use super::{Addresses, Options, StartError, process};
use crate::admin;
use crate::clock::SystemClock;
use crate::config::{self, Config, Loaded, Problem, Warm};
use crate::descriptors::{Permits, Shares};
use crate::listener::{ReceiveMemory, Tickets, bind_alone};
use crate::metrics::Metrics;
use crate::snapshot::{Living, Snapshot};
use crate::token::store::{FileStore, MemoryStore, TokenStore};

/// Reloads that may wait for the control thread.
const RELOADS_MAX: usize = 16;

/// Asks for a reload; what came of it is the answer.
type ReloadOrder = SyncSender<Result<(), String>>;

/// Whether it is to end. Not in the queue of reloads: nothing that takes its time may delay it or push it out (SEC-40).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    NotYet,
    Drained,
    AtOnce,
}

/// The other threads' end of the control thread. Dropping it stops everything at once.
#[derive(Debug)]
pub(super) struct Controller {
    reloads: mpsc::Sender<ReloadOrder>,
    end: watch::Sender<End>,
    /// `None` once it was waited for.
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What is known once everything is bound.
pub(super) struct Started {
    pub(super) addresses: Addresses,
    pub(super) admin_address: Option<SocketAddr>,
    pub(super) metrics: Arc<Metrics>,
}

impl Controller {
    /// Starts the control thread, and returns when it has started everything else.
    pub(super) fn start(options: Options, loaded: Loaded) -> Result<(Self, Started), StartError> {
        let (reloads, reloading) = mpsc::channel(RELOADS_MAX);
        let (end, ending) = watch::channel(End::NotYet);
        let (report, reported) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("attache-control".to_owned())
            .spawn(move || or_abort("the control thread", || run(options, loaded, reloading, ending, &report)))
            .map_err(|error| format!("cannot start the control thread: {error}"))?;
        let controller = Controller { reloads, end, thread: Mutex::new(Some(thread)) };
        let started =
            reported.recv().map_err(|_| StartError::from("the control thread ended without a word".to_owned()))??;
        Ok((controller, started))
    }

    pub(super) fn reload(&self) -> Result<(), String> {
        let (reply, answer) = sync_channel(1);
        self.reloads.try_send(reply).map_err(|_| "attache is busy with earlier reloads or has ended".to_owned())?;
        answer.recv().unwrap_or_else(|_| Err("attache is shutting down, so nothing was reloaded".to_owned()))
    }

    /// Drains, and returns when everything has ended. A reload that is under way is abandoned.
    pub(super) fn shutdown(&self) {
        self.end(End::Drained);
    }

    fn end(&self, how: End) {
        self.end.send_replace(how);
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // A panic there aborts.
            let _ = thread.join();
        }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.end(End::AtOnce);
    }
}

fn run(
    options: Options,
    loaded: Loaded,
    reloads: mpsc::Receiver<ReloadOrder>,
    end: watch::Receiver<End>,
    report: &SyncSender<Result<Started, StartError>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = report.send(Err(format!("cannot start the control thread's runtime: {error}").into()));
            return;
        }
    };
    runtime.block_on(async {
        match Control::start(options, loaded).await {
            Ok((control, started)) => {
                let _ = report.send(Ok(started));
                control.run(reloads, end).await;
            }
            Err(error) => {
                let _ = report.send(Err(error));
            }
        }
    });
    runtime.shutdown_background();
}

/// Everything that outlives a configuration.
pub(super) struct Control {
    pub(super) options: Options,
    pub(super) workers: Vec<Worker>,
    pub(super) living: Living,
    /// What is running.
    pub(super) config: Arc<Config>,
    /// Its proxy.toml.
    pub(super) text: Arc<str>,
    /// What it was warned of.
    pub(super) warnings: Vec<Problem>,
    pub(super) listeners: Listeners,
    pub(super) client_permits: Arc<Permits>,
    pub(super) receive_memory: Arc<ReceiveMemory>,
    pub(super) tickets: Tickets,
    /// File descriptors of the process.
    pub(super) descriptors: usize,
    pub(super) addresses: Addresses,
    pub(super) admin: Arc<admin::State>,
    pub(super) watcher: Watcher,
}

impl Control {
    async fn start(options: Options, loaded: Loaded) -> Result<(Self, Started), StartError> {
        let Loaded { config, watched, text, warnings, .. } = loaded;
        let config = Arc::new(config);
        let descriptors = process::raise_descriptors();
        let connections_max = config.server.limits.connections_max;
        if let Some(warning) = process::descriptors_warning(descriptors, connections_max) {
            tracing::warn!("{warning}");
        }
        let store = open_store(&config).await?;
        let living = Living::with_store(&config, Arc::new(SystemClock), Handle::current(), store);
        let shares = Shares::of(descriptors, connections_max);
        living.upstream_connections.set_max(shares.upstreams);
        let mut control = Control {
            workers: Vec::new(),
            client_permits: Permits::new(shares.clients),
            receive_memory: ReceiveMemory::new(config.server.limits.h2_receive_memory_bytes_max),
            tickets: Tickets::new()?,
            descriptors,
            addresses: Arc::new(Mutex::new(Vec::new())),
            admin: admin_state(&config, &living),
            listeners: Listeners::default(),
            watcher: Watcher::new(&options, watched).await,
            living,
            config,
            text,
            warnings: warnings.problems,
            options,
        };
        let admin_address = control.start_serving().await?;
        let (addresses, metrics) = (control.addresses.clone(), control.living.metrics.clone());
        let started = Started { addresses, admin_address, metrics };
        for address in control.listeners.addresses() {
            tracing::info!(workers = control.workers.len(), "listening on {address}");
        }
        if let Some(address) = admin_address {
            tracing::info!("the admin pages are listening on {address}");
        }
        Ok((control, started))
    }

    /// Binds all listeners, compiles the first snapshot, and starts the workers. Returns where the admin pages are.
    async fn start_serving(&mut self) -> Result<Option<SocketAddr>, StartError> {
        let workers = self.config.server.workers.get();
        let prepared = prepare(self.config.clone(), self.listeners.clone(), workers, self.tickets.clone()).await;
        // Before the snapshot: a warming token shows. Also without listeners, so that one start names every taken address.
        let (prepared, admin_address) = match (prepared, self.start_admin()) {
            (Ok(prepared), Ok(admin_address)) => (prepared, admin_address),
            (prepared, admin) => {
                let errors = prepared.err().map(|error| error.0).unwrap_or_default();
                return Err(StartError(errors.into_iter().chain(admin.err()).collect()));
            }
        };
        let snapshot = compile(self.config.clone(), self.living.clone()).await;
        let (updates, listeners) = prepared.into_updates(workers, &snapshot, &self.settings(&self.config));
        let mut serving = Vec::new();
        for (index, update) in updates.into_iter().enumerate() {
            let (worker, started) = Worker::spawn(Setup {
                index,
                living: self.living.clone(),
                client_permits: self.client_permits.clone(),
                receive_memory: self.receive_memory.clone(),
                update,
            })
            .map_err(|error| format!("cannot start worker {index}: {error}"))?;
            self.workers.push(worker);
            serving.push(started);
        }
        for started in serving {
            // A worker that does not start aborts the process.
            let _ = started.await;
        }
        self.listeners = listeners;
        self.tell_addresses();
        self.admin.serving(self.listeners.addresses());
        Ok(admin_address)
    }

    fn start_admin(&self) -> Result<Option<SocketAddr>, String> {
        let Some(address) = self.config.admin else { return Ok(None) };
        let explain = |error| format!("[admin]: {error}");
        let (socket, address) = bind_alone(address).map_err(explain)?;
        let listener = tokio::net::TcpListener::from_std(socket)
            .expect("registering a listening socket fails only outside of a runtime or without memory");
        tokio::spawn(essential("the admin listener", admin::serve(listener, self.admin.clone())));
        Ok(Some(address))
    }

    pub(super) fn tell_addresses(&self) {
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = self.listeners.addresses();
    }

    async fn run(mut self, reloads: mpsc::Receiver<ReloadOrder>, mut end: watch::Receiver<End>) {
        // A reload may wait for a secret's command or a slow disk: whoever ends us does not wait for it (SEC-40).
        let how = tokio::select! {
            biased;
            how = end.wait_for(|end| *end != End::NotYet) => how.map_or(End::AtOnce, |how| *how),
            () = self.work(reloads) => End::AtOnce,
        };
        if how == End::Drained {
            self.drain().await;
        }
        join(std::mem::take(&mut self.workers)).await;
    }

    /// Reloads, on command and when a file changes, until it is dropped. A reload is abandoned with it: some workers may
    /// then have the new configuration and some the old one, which is good enough for ending.
    async fn work(&mut self, mut reloads: mpsc::Receiver<ReloadOrder>) {
        loop {
            tokio::select! {
                reply = reloads.recv() => {
                    let Some(reply) = reply else { return };
                    let result = self.reload(Reload::Everything).await;
                    let _ = reply.send(result);
                }
                () = self.watcher.changed() => {
                    // What came of it is in the log and in the metrics.
                    let what = if self.options.watch { Reload::Everything } else { Reload::Secrets };
                    let _ = self.reload(what).await;
                }
            }
        }
    }

    /// SEC-40: readiness goes off, listeners go on for `drain_delay`, then connections close as their requests end, and
    /// what is left after `drain_timeout` is cut off.
    async fn drain(&mut self) {
        let server = &self.config.server;
        tracing::info!(delay = ?server.drain_delay, timeout = ?server.drain_timeout, "attache drains");
        self.admin.draining();
        tokio::time::sleep(server.drain_delay).await;
        for worker in &self.workers {
            worker.drain(server.drain_timeout).await;
        }
        join(std::mem::take(&mut self.workers)).await;
        let requests = self.living.metrics.requests_cut_off();
        if requests > 0 {
            tracing::warn!(requests, "`drain_timeout` was over: requests in progress were cut off");
        }
        self.living.tokens.drained().await;
        tracing::info!("attache has ended");
    }
}

/// Waits for the threads of workers, away from the runtime that token fetches run on.
async fn join(workers: Vec<Worker>) {
    let joining = tokio::task::spawn_blocking(|| workers.into_iter().for_each(Worker::join));
    // It cannot panic: a worker's panic aborts the process.
    let _ = joining.await;
}

/// Compiles a snapshot on the blocking pool, since it parses certificates and keys.
pub(super) async fn compile(config: Arc<Config>, living: Living) -> Arc<Snapshot> {
    let compiling = tokio::task::spawn_blocking(move || {
        or_abort("compiling the configuration", move || Snapshot::compile(&config, &living))
    });
    compiling.await.expect("a task of the blocking pool that has begun is not cancelled, and a panic in it aborts")
}

/// Opens the store on the blocking pool: all of its file is read and checked.
async fn open_store(config: &Arc<Config>) -> Result<Arc<dyn TokenStore>, StartError> {
    let config = config.clone();
    let opening = tokio::task::spawn_blocking(move || -> Result<Arc<dyn TokenStore>, String> {
        Ok(match &config.store {
            config::Store::Memory => Arc::new(MemoryStore::new()),
            config::Store::File { path, key } => Arc::new(FileStore::open(path, key)?),
        })
    });
    let opened = opening.await.map_err(|error| format!("opening the store was interrupted: {error}"))?;
    Ok(opened?)
}

fn admin_state(config: &Config, living: &Living) -> Arc<admin::State> {
    let required = config
        .credentials
        .iter()
        .filter(|credential| credential.kind.token_life().is_some_and(|life| life.warm == Warm::Required));
    let required = required.map(|credential| credential.name.clone()).collect();
    admin::State::new(living.clone(), required, super::log::lines_dropped)
}
