//! Files whose change means a reload (SEC-44): certificates, keys and secrets always, proxy.toml with `--watch`.
//!
//! Events of the file system only say when to look; what has changed is decided by comparing what is there. A file that
//! was put in place by a rename, as careful editors and Kubernetes do, is complete at once. One that is written in place
//! is taken when it has not changed for two seconds.

mod directories;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::directories::{Directories, deciding};
use super::Options;
use crate::clock::timer_now;

/// How long a file that is written in place has to stay as it is.
const SETTLED: Duration = Duration::from_secs(2);

/// Looked at this often while something is being written.
const SETTLING: Duration = Duration::from_millis(250);

/// Looked at this often without any event, for file systems that send none.
const POLL: Duration = Duration::from_secs(10);

/// Many events in a row are one occasion to look.
const GATHER: Duration = Duration::from_millis(20);

/// What is there under a path; `None`: nothing.
type Seen = BTreeMap<PathBuf, Option<Print>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Print {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Waits for changes of files.
#[derive(Debug)]
pub(super) struct Watcher {
    /// proxy.toml, with `--watch`.
    config: Option<PathBuf>,
    /// As they were when the configuration was read.
    applied: Seen,
    /// As they were when they were last looked at, and since when.
    latest: Seen,
    since: Instant,
    events: mpsc::Receiver<()>,
    occasions: mpsc::Sender<()>,
    /// A rename was among the events since the last look.
    renamed: Arc<AtomicBool>,
    /// `None` where the system has no such events: looking now and then must do.
    notify: Option<RecommendedWatcher>,
    /// Those that are watched.
    directories: Directories,
}

impl Watcher {
    pub(super) async fn new(options: &Options, files: Vec<PathBuf>) -> Self {
        let (occasions, events) = mpsc::channel(1);
        let renamed = Arc::new(AtomicBool::new(false));
        let mut watcher = Watcher {
            config: options.watch.then(|| options.config.clone()),
            applied: Seen::new(),
            latest: Seen::new(),
            since: timer_now(),
            events,
            occasions: occasions.clone(),
            renamed: renamed.clone(),
            notify: notifier(occasions, renamed),
            directories: Directories::new(),
        };
        watcher.applied = look_away(watcher.paths(files)).await;
        watcher.latest = watcher.applied.clone();
        watcher.watch_directories().await;
        watcher
    }

    /// Says that the configuration is being read now: what is there now is no change any more.
    pub(super) async fn loading(&mut self) {
        self.latest = self.look().await;
        self.applied = self.latest.clone();
    }

    /// Replaces the files to watch, after a reload.
    pub(super) async fn watch(&mut self, files: Vec<PathBuf>) {
        let paths = self.paths(files);
        let new: Vec<_> = paths.iter().filter(|path| !self.applied.contains_key(*path)).cloned().collect();
        self.applied.retain(|path, _| paths.contains(path));
        self.applied.extend(look_away(new).await);
        self.latest = self.applied.clone();
        self.watch_directories().await;
    }

    /// Waits until a reload is due. May be dropped and called again at any time.
    pub(super) async fn changed(&mut self) {
        loop {
            let wait = if self.latest == self.applied { POLL } else { SETTLING };
            // Both ends of the channel live here, so an event is all that it can answer with.
            if tokio::time::timeout(wait, self.events.recv()).await.is_ok() {
                tokio::time::sleep(GATHER).await;
            }
            // A link may lead elsewhere now.
            self.watch_directories().await;
            let now = self.look().await;
            let renamed = self.renamed.swap(false, Ordering::Relaxed);
            if now != self.latest {
                let replaced = renamed && replaced(&self.latest, &now);
                self.latest = now;
                self.since = timer_now();
                if replaced && self.latest != self.applied {
                    return;
                }
            } else if self.latest != self.applied && self.since.elapsed() >= SETTLED {
                return;
            }
        }
    }

    fn paths(&self, mut files: Vec<PathBuf>) -> Vec<PathBuf> {
        files.extend(self.config.clone());
        files
    }

    async fn look(&self) -> Seen {
        look_away(self.applied.keys().cloned().collect()).await
    }

    /// Watches directories, not files: a file that is replaced is another one.
    async fn watch_directories(&mut self) {
        let paths: Vec<_> = self.applied.keys().cloned().collect();
        // As slow as a look may be.
        let finding = tokio::task::spawn_blocking(move || deciding(&paths)).await;
        let Some(notify) = &mut self.notify else { return };
        let wanted = finding.unwrap_or_default();
        if wanted == self.directories {
            return;
        }
        for (_, gone) in self.directories.iter().filter(|(identity, path)| wanted.get(identity) != Some(path)) {
            // The directory may have been removed, and the watch with it.
            let _ = notify.unwatch(gone);
        }
        for (_, new) in wanted.iter().filter(|(identity, path)| self.directories.get(identity) != Some(path)) {
            if let Err(error) = notify.watch(new, RecursiveMode::NonRecursive) {
                tracing::warn!(directory = %new.display(), %error, "cannot be watched: it is looked at every 10 s");
            }
        }
        self.directories = wanted;
        // What happened there before was told by no event: one more look.
        let _ = self.occasions.try_send(());
    }
}

/// Sends an occasion to look for every event that can matter.
fn notifier(occasions: mpsc::Sender<()>, renamed: Arc<AtomicBool>) -> Option<RecommendedWatcher> {
    let on_event = move |event: notify::Result<notify::Event>| {
        let kind = event.map_or(EventKind::Any, |event| event.kind);
        match kind {
            // Reading is no change; we read ourselves.
            EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write) => return,
            EventKind::Modify(ModifyKind::Name(_)) => renamed.store(true, Ordering::Relaxed),
            _ => {}
        }
        // One occasion that waits is enough.
        let _ = occasions.try_send(());
    };
    match notify::recommended_watcher(on_event) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, "the system sends no events of files: they are looked at every 10 s");
            None
        }
    }
}

/// Whether a file is another one now, and not the same with other contents.
fn replaced(before: &Seen, now: &Seen) -> bool {
    let identity = |print: &Option<Print>| print.map(|print| (print.device, print.inode));
    now.iter().any(|(path, print)| print.is_some() && before.get(path).map(identity) != Some(identity(print)))
}

async fn look_away(paths: Vec<PathBuf>) -> Seen {
    // A path on a network file system may take its time. A cancelled look sees nothing, which is no change.
    tokio::task::spawn_blocking(|| look(paths)).await.unwrap_or_default()
}

fn look(paths: Vec<PathBuf>) -> Seen {
    paths.into_iter().map(|path| (print(&path), path)).map(|(print, path)| (path, print)).collect()
}

fn print(path: &Path) -> Option<Print> {
    // Follows symlinks: it is the file behind them that is read.
    let metadata = std::fs::metadata(path).ok()?;
    Some(Print {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests;
