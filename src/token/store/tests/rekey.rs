//! Another key for a store.

use super::*;

#[test]
fn a_rekeyed_store_opens_with_the_new_key_only() {
    let place = Place::new();
    let store = place.open();
    let identities = ["crm", "maps"].map(|name| identity(&store, name));
    for identity in &identities {
        store.save(identity, Version(0), &entry("r1")).unwrap();
    }
    drop(store);
    assert_eq!(FileStore::rekey(&place.path(), &key(1), &key(2)), Ok(2));
    assert_eq!(mode(&place.path()), 0o600);
    assert!(place.refusal().contains("another key"));
    let store = FileStore::open(&place.path(), &key(2)).unwrap();
    for identity in &identities {
        assert_eq!(store.load(identity), Ok(Some((Version(1), entry("r1")))));
        assert_eq!(store.save(identity, Version(1), &entry("r2")), Ok(Version(2)));
    }
}

#[test]
fn a_store_in_use_or_of_another_key_is_not_rekeyed() {
    let place = Place::new();
    let store = place.open();
    let refusal = FileStore::rekey(&place.path(), &key(1), &key(2)).unwrap_err();
    assert!(refusal.contains("open in another process"), "{refusal}");
    drop(store);
    let refusal = FileStore::rekey(&place.path(), &key(3), &key(2)).unwrap_err();
    assert!(refusal.contains("another key"), "{refusal}");
    let refusal = FileStore::rekey(&place.folder.path().join("none"), &key(1), &key(2)).unwrap_err();
    assert!(refusal.contains("cannot find"), "{refusal}");
    place.open();
}

/// Secrets that move are moved behind symlinks.
#[test]
fn a_symlink_stays_one() {
    let place = Place::new();
    drop(place.open());
    let link = place.folder.path().join("link.db");
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    assert_eq!(FileStore::rekey(&link, &key(1), &key(2)), Ok(0));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    FileStore::open(&link, &key(2)).unwrap();
}
