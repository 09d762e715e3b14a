//! Stores keep what they are given, and refuse what is not theirs.

mod broken;
mod rekey;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::secret::{Secret, StoreKey};
use crate::token::identity::DigestKey;
use crate::token::{IdentityFields, ProofVersion};

/// A folder for a store, and what is asked of it.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("tokens.db")
    }

    fn open(&self) -> FileStore {
        FileStore::open(&self.path(), &key(1)).unwrap()
    }

    /// Why it cannot be opened; nothing is left of the attempt.
    fn refusal(&self) -> String {
        let refusal = FileStore::open(&self.path(), &key(1)).unwrap_err();
        assert!(refusal.contains("tokens.db") && refusal.contains("(hint: "), "{refusal}");
        let names: Vec<_> = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["tokens.db"]);
        refusal
    }
}

fn key(byte: u8) -> StoreKey {
    StoreKey::from_bytes([byte; 32])
}

fn identity(store: &dyn TokenStore, name: &str) -> Identity {
    DigestKey::new(&store.digest_key()).identity(&IdentityFields { credential: name, ..IdentityFields::default() })
}

fn entry(refresh_token: &str) -> Entry {
    Entry {
        credential: "crm".to_owned(),
        writer: 0,
        proof: ProofVersion([1; 32]),
        asks_for: None,
        token: None,
        refresh_token: Some(Secret::new(refresh_token)),
        exchanging: false,
        needs_reauthorization: None,
        used_at: None,
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// TL-61: a write names the version that it replaces; who has not seen the last one is refused, in every store.
#[test]
fn a_write_replaces_the_version_that_it_names() {
    let place = Place::new();
    let stores: [Box<dyn TokenStore>; 2] = [Box::new(MemoryStore::new()), Box::new(place.open())];
    for store in stores {
        let (crm, maps) = (identity(&*store, "crm"), identity(&*store, "maps"));
        assert_eq!(store.load(&crm), Ok(None), "{store:?}");
        let first = store.save(&crm, Version(0), &entry("r1")).unwrap();
        assert_eq!(store.save(&crm, Version(0), &entry("r2")), Err(StoreError::Conflict));
        let second = store.save(&crm, first, &entry("r2")).unwrap();
        assert_eq!(store.save(&crm, first, &entry("r3")), Err(StoreError::Conflict));
        assert_eq!(store.load(&crm), Ok(Some((second, entry("r2")))));
        assert_eq!(store.load(&maps), Ok(None));
    }
}

/// TL-02, TL-61, SEC-15: what was saved is there for the next process, under the same identities; the file is for its owner only, and
/// shows nothing of what is in it.
#[test]
fn a_file_store_is_there_again() {
    let place = Place::new();
    let store = place.open();
    let crm = identity(&store, "crm");
    let version = store.save(&crm, Version(0), &entry("planted-refresh-token")).unwrap();
    drop(store);
    assert_eq!(mode(&place.path()), 0o600);
    let bytes = fs::read(place.path()).unwrap();
    for plain in ["planted", "crm"] {
        assert!(!bytes.windows(plain.len()).any(|window| window == plain.as_bytes()), "{plain} can be read");
    }
    let store = place.open();
    assert_eq!(identity(&store, "crm"), crm);
    assert_eq!(store.load(&crm), Ok(Some((version, entry("planted-refresh-token")))));
    assert_ne!(crm, identity(&Place::new().open(), "crm"), "another store has identities of its own");
}

#[test]
fn one_process_at_a_time_has_a_store() {
    let place = Place::new();
    let store = place.open();
    let refusal = FileStore::open(&place.path(), &key(1)).unwrap_err();
    assert!(refusal.contains("is open in another process"), "{refusal}");
    drop(store);
    place.open();
}

/// SEC-15: a store that others can write is refused.
#[test]
fn a_store_that_others_can_write_is_refused() {
    let place = Place::new();
    drop(place.open());
    for (bits, who) in [(0o620, "its group"), (0o602, "everybody")] {
        fs::set_permissions(place.path(), fs::Permissions::from_mode(bits)).unwrap();
        assert!(place.refusal().contains(who));
    }
}

#[test]
fn a_store_needs_a_folder() {
    let place = Place::new();
    let refusal = FileStore::open(&place.folder.path().join("no/tokens.db"), &key(1)).unwrap_err();
    assert!(refusal.contains("its folder has to be there"), "{refusal}");
    fs::create_dir(place.path()).unwrap();
    let refusal = FileStore::open(&place.path(), &key(1)).unwrap_err();
    assert!(refusal.contains("is not a regular file"), "{refusal}");
}

/// 100,000 entries (TL-70) are opened, found and written as a few are.
#[test]
fn a_store_is_fit_for_many_entries() {
    let place = Place::new();
    let store = place.open();
    let digest_key = DigestKey::new(&store.digest_key());
    drop(store);
    let names: Vec<String> = (0..100_000).map(|number| format!("account-{number}")).collect();
    let identities: Vec<_> = names
        .iter()
        .map(|name| digest_key.identity(&IdentityFields { credential: name, ..IdentityFields::default() }))
        .collect();
    file::fill(&place.path(), &key(1), identities.iter().map(|identity| (identity, entry("r1"))));
    let store = place.open();
    for identity in [&identities[0], &identities[50_000], &identities[99_999]] {
        assert_eq!(store.load(identity), Ok(Some((Version(1), entry("r1")))));
        assert_eq!(store.save(identity, Version(1), &entry("r2")), Ok(Version(2)));
    }
}
