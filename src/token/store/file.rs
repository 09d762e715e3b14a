//! The store in a file: an embedded database (redb: one file, one process, a commit is durable when it returns), whose
//! values are sealed. What can be read without the key is how many entries there are and how large they are.

mod create;
mod rekey;

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition, TableHandle};
use zeroize::Zeroizing;

use super::seal::{KEY_ID_LEN, Sealer};
use super::{DigestKeyBytes, Entry, StoreError, TokenStore, Version};
use crate::secret::StoreKey;
use crate::token::Identity;

/// What the store says of itself, under [`SELF`]: the id of the key that seals it, then its digest key, sealed.
const STORE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("attache");
/// An entry by identity: its version, then itself, sealed.
const ENTRIES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("tokens");

/// Names the format, too: another one would have another name.
const SELF: &str = "store 1";
const VERSION_LEN: usize = 8;

/// Of a few hundred entries that are read once, a large cache keeps nothing worth keeping.
const CACHE_BYTES_MAX: usize = 8 << 20;

/// How the database is opened: at the start, and again after an error, since redb gives up after one. Tests put a file in
/// its place that fails or kills where they say.
pub type OpenDatabase = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// Entries in a file. Nobody else has it open at the same time: the database locks it.
pub struct FileStore {
    path: PathBuf,
    sealer: Sealer,
    digest_key: DigestKeyBytes,
    open: OpenDatabase,
    /// `None` after an error, until it is opened again.
    database: Mutex<Option<Database>>,
}

impl FileStore {
    /// Opens the store at this path; one is made if there is no file. Blocking: the whole file is read and checked.
    ///
    /// # Errors
    /// Says what is wrong, and what to do: another process has it open, another key sealed it, it is damaged, or it is no
    /// store. What is in the file is left as it is.
    pub fn open(path: &Path, key: &StoreKey) -> Result<Self, String> {
        let file = path.to_owned();
        FileStore::open_by(path, key, Box::new(move || open_database(&file)))
    }

    /// As [`FileStore::open`], by this way to open its database.
    ///
    /// # Errors
    /// As [`FileStore::open`].
    pub fn open_by(path: &Path, key: &StoreKey, open: OpenDatabase) -> Result<Self, String> {
        let sealer = Sealer::new(key);
        let name = path.display();
        check_file(path).and_then(|there| if there { Ok(()) } else { create::create(path, &sealer) })?;
        let database = unpanicked(&open).map_err(|error| unopened(path, &error))?;
        let digest_key = digest_key(&database, &sealer).map_err(|why| format!("the store {name} {why}"))?;
        Ok(FileStore { path: path.to_owned(), sealer, digest_key, open, database: Mutex::new(Some(database)) })
    }

    /// Does something with the database, which after an error is opened anew the next time.
    fn with<T>(&self, what: &str, operation: impl FnOnce(&Database) -> Result<T, Operation>) -> Result<T, StoreError> {
        let failed =
            |why: String| StoreError::Failed(format!("{what} the store {} failed: {why}", self.path.display()));
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            let opened = unpanicked(&self.open).map_err(|error| failed(error.to_string()))?;
            let digest_key = digest_key(&opened, &self.sealer).map_err(|why| failed(why.to_string()))?;
            if digest_key != self.digest_key {
                return Err(failed("another store stands in its place".to_owned()));
            }
            *database = Some(opened);
        }
        let opened = database.as_ref().expect("it was opened just now");
        let result = catch_unwind(AssertUnwindSafe(|| operation(opened)));
        match result.unwrap_or_else(|_| Err(Operation::Database("its database is damaged".to_owned()))) {
            Ok(value) => Ok(value),
            Err(Operation::Refused(error)) => Err(error),
            Err(Operation::Database(why)) => {
                *database = None;
                Err(failed(why))
            }
        }
    }

    /// All entries; `None` is one that is damaged.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn entries(&self) -> Result<Vec<(Identity, Option<Entry>)>, StoreError> {
        self.with("reading from", |database| {
            let table = database.begin_read()?.open_table(ENTRIES)?;
            let mut entries = Vec::new();
            for entry in table.iter()? {
                let (identity, value) = entry?;
                let identity = Identity::from_bytes(*identity.value());
                let opened = self.open_entry(&identity, value.value()).map(|(_, entry)| entry);
                entries.push((identity, opened));
            }
            Ok(entries)
        })
    }

    fn open_entry(&self, identity: &Identity, value: &[u8]) -> Option<(Version, Entry)> {
        let version = version_of(value)?;
        let bytes = self.sealer.open(&belongs_to(identity.as_bytes(), version), &value[VERSION_LEN..])?;
        Some((version, Entry::from_bytes(&bytes)?))
    }
}

impl TokenStore for FileStore {
    fn digest_key(&self) -> DigestKeyBytes {
        self.digest_key.clone()
    }

    fn outlives_process(&self) -> bool {
        true
    }

    fn load(&self, identity: &Identity) -> Result<Option<(Version, Entry)>, StoreError> {
        self.with("reading from", |database| {
            let Some(value) = database.begin_read()?.open_table(ENTRIES)?.get(identity.as_bytes())? else {
                return Ok(None);
            };
            let damaged = || StoreError::Damaged(version_of(value.value()).unwrap_or_default());
            self.open_entry(identity, value.value()).map(Some).ok_or_else(|| Operation::Refused(damaged()))
        })
    }

    fn save(&self, identity: &Identity, last: Version, entry: &Entry) -> Result<Version, StoreError> {
        // A damaged entry may say any version.
        let next = Version(last.0.wrapping_add(1).max(1));
        let value = sealed_value(&self.sealer, identity.as_bytes(), next, &entry.to_bytes());
        self.with("writing to", |database| {
            let transaction = database.begin_write()?;
            {
                let mut entries = transaction.open_table(ENTRIES)?;
                let version = entries.get(identity.as_bytes())?.and_then(|value| version_of(value.value()));
                if version.unwrap_or_default() != last {
                    return Err(Operation::Refused(StoreError::Conflict));
                }
                entries.insert(identity.as_bytes(), &*value)?;
            }
            transaction.commit()?;
            Ok(next)
        })
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileStore").field(&self.path).finish()
    }
}

/// Why an operation failed: it was refused, or the database broke.
enum Operation {
    Refused(StoreError),
    Database(String),
}

impl<E: Into<redb::Error>> From<E> for Operation {
    fn from(error: E) -> Self {
        Operation::Database(error.into().to_string())
    }
}

fn version_of(value: &[u8]) -> Option<Version> {
    Some(Version(u64::from_be_bytes(*value.first_chunk::<VERSION_LEN>()?)))
}

fn sealed_value(sealer: &Sealer, identity: &[u8; 32], version: Version, entry: &[u8]) -> Vec<u8> {
    let mut value = version.0.to_be_bytes().to_vec();
    value.extend_from_slice(&sealer.seal(&belongs_to(identity, version), entry));
    value
}

/// What an entry's seal is for: an entry of another identity, or an older one, does not open in its place.
fn belongs_to(identity: &[u8; 32], version: Version) -> Vec<u8> {
    [b"attache token 1".as_slice(), identity, &version.0.to_be_bytes()].concat()
}

/// Whether there is a file. What others can write is refused (SEC-15).
fn check_file(path: &Path) -> Result<bool, String> {
    let name = path.display();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(format!("cannot look at the store {name}: {error}")),
    };
    if !metadata.is_file() {
        return Err(format!("the store {name} is not a regular file (hint: name a file, which attache makes itself)"));
    }
    if metadata.len() == 0 {
        // The database would begin to be one in it.
        return Err(format!("the store {name} is an empty file, and no store of attache (hint: remove it)"));
    }
    let mode = metadata.permissions().mode();
    if mode & 0o022 != 0 {
        let who = if mode & 0o002 != 0 { "everybody" } else { "its group" };
        return Err(format!("the store {name} can be written by {who} (hint: run `chmod 600 {name}`)"));
    }
    Ok(true)
}

fn open_database(path: &Path) -> Result<Database, DatabaseError> {
    let file: File = OpenOptions::new().read(true).write(true).open(path)?;
    builder().create_with_backend(FileBackend::new(file)?)
}

/// Every page is checked on opening: a damaged file is refused at the start, not found out about later.
fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES_MAX).set_check_integrity_on_open(true);
    builder
}

/// A database that is damaged may also panic.
fn unpanicked(open: &OpenDatabase) -> Result<Database, DatabaseError> {
    let damaged = || Err(DatabaseError::Storage(StorageError::Corrupted("it is damaged".to_owned())));
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| damaged())
}

fn unopened(path: &Path, error: &DatabaseError) -> String {
    let name = path.display();
    match error {
        DatabaseError::DatabaseAlreadyOpen => format!(
            "the store {name} is open in another process (hint: one attache at a time has a store; stop the other one, \
             or give this one a file of its own)"
        ),
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() != io::ErrorKind::InvalidData => {
            format!("cannot open the store {name}: {error} (hint: let the user that attache runs as read and write it)")
        }
        error => format!(
            "the store {name} is damaged, or no store of attache: {error} (hint: put a copy of it back, or move it away: \
             then every token is fetched anew, and refresh tokens begin from their seeds)"
        ),
    }
}

/// What a store says of itself, with this key.
fn digest_key(database: &Database, sealer: &Sealer) -> Result<DigestKeyBytes, &'static str> {
    const FOREIGN: &str = "is a database, but none of attache's (hint: name another file)";
    const DAMAGED: &str = "is damaged (hint: put a copy of it back, or move it away)";
    let transaction = database.begin_read().map_err(|_| DAMAGED)?;
    if !transaction.list_tables().map_err(|_| DAMAGED)?.any(|table| table.name() == STORE.name()) {
        return Err(FOREIGN);
    }
    let table = transaction.open_table(STORE).map_err(|_| FOREIGN)?;
    let value = table.get(SELF).map_err(|_| DAMAGED)?;
    let value = value.ok_or("was written by a later version (hint: run that one)")?;
    let (key_id, sealed) = value.value().split_first_chunk::<KEY_ID_LEN>().ok_or(DAMAGED)?;
    if key_id != sealer.key_id() {
        return Err(
            "was sealed with another key (hint: `key` has to be the one it was made with, or last changed to by \
                    `attache store rekey`)",
        );
    }
    let opened = sealer.open(SELF.as_bytes(), sealed).ok_or(DAMAGED)?;
    Ok(Zeroizing::new(opened.as_slice().try_into().map_err(|_| DAMAGED)?))
}

/// Fills a store that nobody has open with entries, in one go. For tests of a large one.
#[cfg(test)]
pub(super) fn fill<'a>(path: &Path, key: &StoreKey, entries: impl Iterator<Item = (&'a Identity, Entry)>) {
    let (database, sealer) = (open_database(path).unwrap(), Sealer::new(key));
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(ENTRIES).unwrap();
        for (identity, entry) in entries {
            let value = sealed_value(&sealer, identity.as_bytes(), Version(1), &entry.to_bytes());
            table.insert(identity.as_bytes(), &*value).unwrap();
        }
    }
    transaction.commit().unwrap();
}

/// Puts two entries each in the place of the other, as who has no key could.
#[cfg(test)]
pub(in crate::token) fn exchange_values(path: &Path, one: &Identity, other: &Identity) {
    let database = open_database(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(ENTRIES).unwrap();
        let values = [one, other].map(|identity| table.get(identity.as_bytes()).unwrap().unwrap().value().to_vec());
        table.insert(one.as_bytes(), &*values[1]).unwrap();
        table.insert(other.as_bytes(), &*values[0]).unwrap();
    }
    transaction.commit().unwrap();
}
