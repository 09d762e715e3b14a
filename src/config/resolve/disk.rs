//! Files that configuration names: certificates, keys, secrets.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::Why;

/// What a file holds, and who else can read it.
pub(super) struct SecretFile {
    pub bytes: Zeroizing<Vec<u8>>,
    pub world_readable: bool,
}

/// Reads a file that holds a secret (SEC-15): symlinks are followed, because Kubernetes mounts secrets behind them;
/// what group or world can write is refused. The error says why, and what to do.
pub(super) fn read_secret(path: &Path, bytes_max: u64) -> Result<SecretFile, Why> {
    let (bytes, mode) = read(path, bytes_max)?;
    if mode & 0o022 != 0 {
        let who = if mode & 0o002 != 0 { "everybody" } else { "its group" };
        return Err((
            format!("{} holds a secret, and {who} can write it", path.display()),
            format!("run `chmod go-w {}`", path.display()),
        ));
    }
    Ok(SecretFile { bytes, world_readable: mode & 0o004 != 0 })
}

/// The text that a secret's file holds.
pub(super) fn utf8(path: &Path, bytes: &[u8]) -> Result<Zeroizing<String>, Why> {
    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|_| (format!("{} is not UTF-8", path.display()), "is this the right file?".to_owned()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Reads a regular file of at most so many bytes, and its permission bits. Never waits, as opening a FIFO would.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<(Zeroizing<Vec<u8>>, u32), Why> {
    let name = path.display();
    let failed = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "a relative path begins in the folder of the configuration file",
            io::ErrorKind::PermissionDenied => "let the user that attache runs as read it",
            _ => "it has to be a file that can be read",
        };
        (format!("cannot read {name}: {error}"), hint.to_owned())
    };
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err((format!("{name} is not a regular file"), "name a file, no folder, pipe or device".into()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len().min(bytes_max)).unwrap_or(0) + 1));
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err((format!("{name} is larger than {bytes_max} bytes"), "is this the right file?".into()));
    }
    Ok((bytes, metadata.permissions().mode()))
}
