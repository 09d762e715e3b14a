//! `attache store list`, what the store has; and `attache store rekey`, another key for it.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::runtime::Builder;

use super::{Failure, check::counted, load};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, Load, Store};
use crate::snapshot::{Living, Snapshot};
use crate::token::Identity;
use crate::token::store::{Entry, FileStore};

const DAY_S: u64 = 24 * 3600;

/// What the store that the configuration names has, and what of it the configuration no longer has a credential for.
pub(super) fn list(file: &Path) -> Result<String, Failure> {
    let config = load(file, Load::Full)?.config;
    let failed = |why: String| Failure::Failed(format!("error: {why}"));
    let Store::File { path, key } = &config.store else {
        return Err(failed(format!("{} has no `[store.file]`, so there is nothing to list", file.display())));
    };
    if !path.exists() {
        return Err(failed(format!("there is no store {} yet: it is made when attache starts", path.display())));
    }
    let store = Arc::new(FileStore::open(path, key).map_err(failed)?);
    let configured = identities(&config, &store).map_err(|error| failed(format!("cannot make a runtime: {error}")))?;
    let entries = store.entries().map_err(|error| failed(error.to_string()))?;
    let left = entries.iter().filter(|(identity, _)| !configured.contains(identity)).count();
    let of_them = if left == 0 { "all".to_owned() } else { format!("{left} not") };
    let count = if entries.len() == 1 { "1 entry".to_owned() } else { format!("{} entries", entries.len()) };
    let mut text = format!("{}: {}, {of_them} of this configuration\n", path.display(), count);
    let mut lines: Vec<String> = entries
        .iter()
        .map(|(identity, entry)| {
            let left = if configured.contains(identity) { "" } else { "; of no credential of this configuration" };
            format!("{}{left}\n", said(entry.as_ref(), SystemClock.wall()))
        })
        .collect();
    lines.sort_unstable();
    text.extend(lines);
    Ok(text)
}

/// What the credentials of a configuration are kept by in this store.
fn identities(config: &Config, store: &Arc<FileStore>) -> io::Result<HashSet<Identity>> {
    // Nothing runs on it: it is what a snapshot is made with.
    let runtime = Builder::new_current_thread().build()?;
    let living = Living::with_store(config, Arc::new(SystemClock), runtime.handle().clone(), store.clone());
    Ok(Snapshot::compile(config, &living).identities().into_iter().collect())
}

fn said(entry: Option<&Entry>, now: SystemTime) -> String {
    let Some(entry) = entry else { return "an entry that is damaged".to_owned() };
    let holds = match (&entry.refresh_token, &entry.token) {
        (Some(_), _) => "a refresh token",
        (None, Some(_)) => "a token",
        (None, None) => "no token",
    };
    let days = entry.used_at.and_then(|used_at| now.duration_since(used_at).ok()).map(|ago| ago.as_secs() / DAY_S);
    let used = match days {
        None => String::new(),
        Some(0) => ", used today".to_owned(),
        Some(days) => format!(", used {} ago", counted(usize::try_from(days).unwrap_or(usize::MAX), "day")),
    };
    format!("{}: {holds}{used}", entry.credential)
}

/// Seals the store that the configuration names with the key in this file. The old key is the configuration's.
pub(super) fn rekey(file: &Path, new_key: &Path) -> Result<String, Failure> {
    let Store::File { path, key } = load(file, Load::Full)?.config.store else {
        return Err(Failure::Failed(format!(
            "error: {} has no `[store.file]`, so there is nothing to do",
            file.display()
        )));
    };
    let failed = |why: String| Failure::Failed(format!("error: {why}"));
    let new = config::store_key_of(new_key).map_err(failed)?;
    if new == key {
        return Err(failed(format!("{} holds the key that the store has already", new_key.display())));
    }
    let entries = FileStore::rekey(&path, &key, &new).map_err(failed)?;
    let entries = counted(entries, "credential");
    Ok(format!(
        "{} is sealed with the new key now: {entries}. Let `key` of `[store.file]` name it before attache starts again.\n",
        path.display()
    ))
}
