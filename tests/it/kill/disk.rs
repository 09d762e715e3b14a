//! The file under the store, which kills its process at the write that it is told.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Mutex;

use redb::StorageBackend;
use redb::backends::FileBackend;
use rustix::process::{Signal, getpid, kill_process};

/// How the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    /// Before the write.
    Before,
    /// In the middle of it.
    Torn,
    /// Before it, and some of what was written since the last sync never reached the disk.
    PowerLoss,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl FromStr for Death {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Death::Before, Death::Torn, Death::PowerLoss];
        known.into_iter().find(|death| death.to_string() == text).ok_or_else(|| format!("{text} is no death"))
    }
}

/// Writes that a process made, and when it dies.
#[derive(Debug, Default)]
pub(super) struct Fate {
    death: Option<(Death, usize)>,
    writes: usize,
    /// What was there before each write since the last sync.
    unsynced: Vec<(u64, Vec<u8>)>,
}

#[derive(Debug)]
pub(super) struct Disk {
    pub(super) file: FileBackend,
    pub(super) fate: &'static Mutex<Fate>,
}

impl Fate {
    pub(super) fn new(death: Option<(Death, usize)>) -> Self {
        Fate { death, ..Fate::default() }
    }

    pub(super) fn writes(&self) -> usize {
        self.writes
    }
}

impl Disk {
    /// Counts what is about to be done, and dies if it is time. `torn`: what of it is done then.
    fn fate(&self, torn: impl FnOnce() -> io::Result<()>) -> io::Result<std::sync::MutexGuard<'_, Fate>> {
        let mut fate = self.fate.lock().unwrap();
        fate.writes += 1;
        match fate.death {
            Some((death, at)) if at == fate.writes => {
                match death {
                    Death::Before => {}
                    Death::Torn => torn()?,
                    Death::PowerLoss => self.lose(&fate.unsynced)?,
                }
                kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
                unreachable!("SIGKILL is not survived")
            }
            _ => Ok(fate),
        }
    }

    /// Puts back about half of what was not synced yet.
    fn lose(&self, unsynced: &[(u64, Vec<u8>)]) -> io::Result<()> {
        for (offset, before) in unsynced.iter().rev() {
            let fits = self.file.len()? >= offset + before.len() as u64;
            if fits && fastrand::bool() {
                self.file.write(*offset, before)?;
            }
        }
        Ok(())
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
        let _fate = self.fate(|| Ok(()))?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut fate = self.fate(|| Ok(()))?;
        self.file.sync_data()?;
        fate.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut fate = self.fate(|| self.file.write(offset, &data[..data.len() / 2]))?;
        let mut before = vec![0; data.len()];
        self.file.read(offset, &mut before)?;
        fate.unsynced.push((offset, before));
        self.file.write(offset, data)
    }
}
