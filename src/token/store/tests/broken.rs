//! Damaged and foreign files, and a disk that fails.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, StorageBackend, TableDefinition};

use super::*;

#[test]
fn another_key_is_refused() {
    let place = Place::new();
    let store = FileStore::open(&place.path(), &key(2)).unwrap();
    let crm = identity(&store, "crm");
    store.save(&crm, Version(0), &entry("r1")).unwrap();
    drop(store);
    let refusal = place.refusal();
    assert!(refusal.contains("was sealed with another key") && refusal.contains("rekey"), "{refusal}");
    let store = FileStore::open(&place.path(), &key(2)).unwrap();
    assert_eq!(store.load(&crm), Ok(Some((Version(1), entry("r1")))));
}

#[test]
fn what_is_no_store_is_refused() {
    let place = Place::new();
    let texts: [&[u8]; 4] = [b"", b"[store.file]", &[0; 8192], &[0xff; 100_000]];
    let mut refused = 0;
    for text in texts {
        fs::write(place.path(), text).unwrap();
        assert!(place.refusal().contains("no store of attache"), "{} bytes", text.len());
        assert!(fs::read(place.path()).unwrap() == text, "it was changed");
        refused += 1;
    }
    assert_eq!(refused, 4);
}

#[test]
fn a_database_of_another_program_is_refused() {
    let place = Place::new();
    let database = Database::create(place.path()).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(TableDefinition::<u64, u64>::new("theirs")).unwrap().insert(1, 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(place.refusal().contains("none of attache's"));
    let database = Database::open(place.path()).unwrap();
    let table = database.begin_read().unwrap().open_table(TableDefinition::<u64, u64>::new("theirs")).unwrap();
    assert_eq!(table.get(1).unwrap().unwrap().value(), 2, "theirs is as it was");
}

/// SEC-37: whatever part of the file is damaged, it is refused at the start or an entry is refused when it is read; nothing
/// that was not written is ever read.
#[test]
fn a_damaged_file_is_never_believed() {
    let place = Place::new();
    let store = place.open();
    let names: Vec<String> = (0..50).map(|number| format!("credential-{number}")).collect();
    let identities: Vec<_> = names.iter().map(|name| identity(&store, name)).collect();
    for (identity, name) in identities.iter().zip(&names) {
        store.save(identity, Version(0), &entry(name)).unwrap();
    }
    drop(store);
    let good = fs::read(place.path()).unwrap();
    let (mut refused, mut opened) = (0, 0);
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..300 {
        let mut bytes = good.clone();
        match round % 3 {
            0 => bytes.truncate(random.usize(..good.len())),
            1 => bytes[random.usize(..good.len())] ^= 1 << random.u8(..8),
            _ => {
                let at = random.usize(..good.len());
                let end = (at + 4096).min(good.len());
                bytes[at..end].fill(random.u8(..));
            }
        }
        fs::write(place.path(), &bytes).unwrap();
        match FileStore::open(&place.path(), &key(1)) {
            Err(refusal) => {
                assert!(refusal.contains("(hint: "), "{refusal}");
                refused += 1;
            }
            Ok(store) => {
                for (identity, name) in identities.iter().zip(&names) {
                    if let Ok(Some((_, read))) = store.load(identity) {
                        assert_eq!(read, entry(name));
                    }
                }
                opened += 1;
            }
        }
    }
    assert!(refused >= 50 && opened >= 10, "{refused} refused, {opened} opened");
}

/// SEC-37: one entry that was changed by who has no key, or that was put in the place of another one, is refused by itself.
#[test]
fn a_changed_entry_is_refused_alone() {
    let place = Place::new();
    let store = place.open();
    let [crm, maps, mail] = ["crm", "maps", "mail"].map(|name| identity(&store, name));
    for identity in [&crm, &maps, &mail] {
        store.save(identity, Version(0), &entry("r1")).unwrap();
    }
    drop(store);
    file::exchange_values(&place.path(), &crm, &maps);
    let store = place.open();
    for identity in [&crm, &maps] {
        assert_eq!(store.load(identity), Err(StoreError::Damaged(Version(1))));
    }
    assert_eq!(store.load(&mail), Ok(Some((Version(1), entry("r1")))));
    // It can be replaced by who has seen it, and by nobody else.
    assert_eq!(store.save(&crm, Version(0), &entry("r2")), Err(StoreError::Conflict));
    assert_eq!(store.save(&crm, Version(1), &entry("r2")), Ok(Version(2)));
    assert_eq!(store.load(&crm), Ok(Some((Version(2), entry("r2")))));
}

/// A disk that is full when it is told so.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn room(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.room()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room()?;
        self.file.write(offset, data)
    }
}

/// SEC-37: on a full disk a write fails and the old entry stays; with room again, the next write succeeds.
#[test]
fn a_full_disk_fails_a_write_and_nothing_else() {
    let place = Place::new();
    drop(place.open());
    let full = Arc::new(AtomicBool::new(false));
    let open: OpenDatabase = Box::new({
        let (path, full) = (place.path(), full.clone());
        move || {
            let file = fs::OpenOptions::new().read(true).write(true).open(&path)?;
            Database::builder().create_with_backend(Disk { file: FileBackend::new(file)?, full: full.clone() })
        }
    });
    let store = FileStore::open_by(&place.path(), &key(1), open).unwrap();
    let crm = identity(&store, "crm");
    let first = store.save(&crm, Version(0), &entry("r1")).unwrap();
    full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let failed = store.save(&crm, first, &entry("r2")).unwrap_err();
        assert!(matches!(&failed, StoreError::Failed(why) if why.contains("writing to the store")), "{failed}");
    }
    full.store(false, Ordering::SeqCst);
    assert_eq!(store.load(&crm), Ok(Some((first, entry("r1")))));
    assert_eq!(store.save(&crm, first, &entry("r2")), Ok(Version(2)));
    drop(store);
    assert_eq!(place.open().load(&crm), Ok(Some((Version(2), entry("r2")))));
}
