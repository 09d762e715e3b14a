//! Another key for a store: all of it is written anew beside it, and takes its place in one step. Nothing that the old key
//! opens is left, and whenever the process is killed, either the old store is there or the new one.

use std::fs;
use std::path::Path;
use std::sync::PoisonError;

use redb::{ReadableDatabase, ReadableTable};

use super::create::Beside;
use super::{ENTRIES, FileStore, Sealer, VERSION_LEN, belongs_to, sealed_value, version_of};
use crate::secret::StoreKey;

impl FileStore {
    /// Seals the store at this path with another key. Returns how many entries it holds. Blocking.
    ///
    /// # Errors
    /// As [`FileStore::open`]; or an entry is damaged, or there is no room. The store is then as it was.
    pub fn rekey(path: &Path, old: &StoreKey, new: &StoreKey) -> Result<usize, String> {
        let name = path.display();
        // A symlink stays one.
        let path = fs::canonicalize(path).map_err(|error| format!("cannot find the store {name}: {error}"))?;
        let store = FileStore::open(&path, old)?;
        let sealer = Sealer::new(new);
        let mut count = 0;
        // Held until the new one is in its place, so that nobody writes to the old one meanwhile.
        let database = store.database.lock().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().expect("it was opened just now");
        let failed = |why: String| format!("sealing the store {name} anew failed, and it is as it was: {why}");
        let beside = Beside::write(&path, &sealer, &store.digest_key, |entries| {
            let text = |error: redb::Error| error.to_string();
            let transaction = database.begin_read().map_err(|error| text(error.into()))?;
            let old = transaction.open_table(ENTRIES).map_err(|error| text(error.into()))?;
            for entry in old.iter().map_err(|error| text(error.into()))? {
                let (identity, value) = entry.map_err(|error| text(error.into()))?;
                let (identity, value) = (identity.value(), value.value());
                let opened = version_of(value).and_then(|version| {
                    let sealed = &value[VERSION_LEN..];
                    Some((version, store.sealer.open(&belongs_to(identity, version), sealed)?))
                });
                let (version, bytes) = opened.ok_or("an entry of it is damaged")?;
                let value = sealed_value(&sealer, identity, version, &bytes);
                entries.insert(identity, &*value).map_err(|error| text(error.into()))?;
                count += 1;
            }
            Ok(())
        });
        beside.and_then(Beside::replace).map_err(failed)?;
        Ok(count)
    }
}
