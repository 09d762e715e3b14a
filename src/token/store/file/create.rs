//! A new store comes into being whole: it is written beside its place, and moved there when it is durable.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::{Database, ENTRIES, SELF, STORE, Sealer, builder};

/// Makes an empty store. If another process makes one in the same moment, that one stays.
pub(super) fn create(path: &Path, sealer: &Sealer) -> Result<(), String> {
    let mut digest_key = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *digest_key).expect("the system gives random bytes");
    let written = Beside::write(path, sealer, &digest_key, |_| Ok(()));
    written.and_then(Beside::move_to_nothing).map_err(|why| {
        let folder = "its folder has to be there, and the user that attache runs as has to be allowed to write it";
        format!("cannot make the store {}: {why} (hint: {folder})", path.display())
    })
}

/// A complete store beside the place where it is to be. Removed, unless it is moved there.
pub(super) struct Beside {
    file: PathBuf,
    place: PathBuf,
}

impl Beside {
    /// Writes a store with these entries, durably.
    pub(super) fn write(
        place: &Path,
        sealer: &Sealer,
        digest_key: &[u8; 32],
        entries: impl FnOnce(&mut redb::Table<'_, &'static [u8; 32], &'static [u8]>) -> Result<(), String>,
    ) -> Result<Beside, String> {
        let mut name = place.file_name().ok_or("it has no file name")?.to_owned();
        // A name of its own for each process, so that two do not write the same file.
        name.push(format!(".{}.new", std::process::id()));
        let beside = Beside { file: place.with_file_name(name), place: place.to_owned() };
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let database = beside.make().map_err(|error| text(&error))?;
        let transaction = database.begin_write().map_err(|error| text(&error))?;
        {
            let mut store = transaction.open_table(STORE).map_err(|error| text(&error))?;
            let value = [sealer.key_id().as_slice(), &sealer.seal(SELF.as_bytes(), digest_key)].concat();
            store.insert(SELF, &*value).map_err(|error| text(&error))?;
            entries(&mut transaction.open_table(ENTRIES).map_err(|error| text(&error))?)?;
        }
        transaction.commit().map_err(|error| text(&error))?;
        database.close().map_err(|error| text(&error))?;
        Ok(beside)
    }

    fn make(&self) -> Result<Database, redb::Error> {
        // What a process of the same id left behind when it was killed.
        if let Err(error) = fs::remove_file(&self.file)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error.into());
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&self.file)?;
        Ok(builder().create_with_backend(FileBackend::new(file)?)?)
    }

    /// Puts it into its place, unless there is something.
    fn move_to_nothing(self) -> Result<(), String> {
        match fs::hard_link(&self.file, &self.place) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.to_string()),
            _ => self.sync_folder(),
        }
    }

    /// Puts it into its place, for what is there.
    pub(super) fn replace(self) -> Result<(), String> {
        fs::rename(&self.file, &self.place).map_err(|error| error.to_string())?;
        self.sync_folder()
    }

    fn sync_folder(&self) -> Result<(), String> {
        let folder = self.place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| error.to_string())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It is gone already if it was moved; if it cannot be removed, it is no harm.
        let _ = fs::remove_file(&self.file);
    }
}
