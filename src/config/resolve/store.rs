//! `[store.KIND]`: where tokens outlive the process.

use std::path::Path;

use super::fields::Fields;
use super::secrets::Alphabet;
use super::{Reading, disk};
use crate::config::{Problem, Store};
use crate::secret::StoreKey;

const NO_KEY: &str = "it has to be 32 bytes, as base64 or as 64 hexadecimal digits";
const MAKE_ONE: &str = "`openssl rand -base64 32` prints a new one; keep it, since nothing else opens the store";
const KEY_FILE_BYTES_MAX: u64 = 1024;

pub(super) fn store(reading: &mut Reading<'_>, root: &Fields<'_>) -> Option<Store> {
    let Some(store) = root.table("store") else { return Some(Store::Memory) };
    let file = store.table("file")?;
    let path = file.text(reading, "path").map(|text| reading.path(&text.value));
    let key = key(reading, &file, "key");
    Some(Store::File { path: path?, key: key? })
}

fn key(reading: &mut Reading<'_>, fields: &Fields<'_>, name: &str) -> Option<StoreKey> {
    let secret = fields.secret(reading, name, Alphabet::Text)?;
    if reading.withholds(fields, name) {
        return Some(StoreKey::from_bytes([0; 32]));
    }
    StoreKey::parse(secret.expose()).or_else(|| {
        let why = format!("`{name}` is no key: {NO_KEY}");
        reading.refuse((why, MAKE_ONE.to_owned()), &fields.value(name)?.span())
    })
}

/// Reads a key of a store from a file that no configuration names.
///
/// # Errors
/// It cannot be read, others can write it (SEC-15), or it holds something else.
pub fn store_key_of(file: &Path) -> Result<StoreKey, String> {
    let read = disk::read_secret(file, KEY_FILE_BYTES_MAX).map_err(|(why, hint)| format!("{why} (hint: {hint})"))?;
    let key = std::str::from_utf8(&read.bytes).ok().and_then(|text| StoreKey::parse(text.trim_ascii()));
    key.ok_or_else(|| format!("{} holds no key: {NO_KEY} (hint: {MAKE_ONE})", file.display()))
}

/// Without a store, a refresh token that the server gave in place of the configured one is lost when the process ends.
pub(super) fn warn_of_forgetting(reading: &mut Reading<'_>, root: &Fields<'_>) {
    if root.table("store").is_some() {
        return;
    }
    for (_, fields) in root.named("credentials") {
        let value = fields.and_then(|fields| fields.table("refresh_token")?.value("refresh_token"));
        if let Some(value) = value {
            let message =
                "without a store, refresh tokens that the server gives in place of this one are lost at a restart";
            let hint = "add `[store.file]`; a server that never replaces refresh tokens needs none";
            reading.warning(Problem::new(message, value.span()).hint(hint));
        }
    }
}
