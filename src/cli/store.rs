//! `attache store rekey`: another key for the store.

use std::path::Path;

use super::{Failure, check::counted, load};
use crate::config::{self, Load, Store};
use crate::token::store::FileStore;

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
