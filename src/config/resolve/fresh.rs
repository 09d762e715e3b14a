//! Secrets that somebody else replaces as time goes by, such as the tokens that Kubernetes projects into a file: read anew
//! each time that they are used.

use std::path::PathBuf;

use super::fields::Fields;
use super::secrets::SECRET_BYTES_MAX;
use super::{Load, Reading, command, disk};
use crate::config::Problem;
use crate::config::file::SecretSource;
use crate::secret::Secret;

/// Where such a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FreshSecret {
    File(PathBuf),
    /// A program and its arguments, at least one word; what is printed on the first line.
    Command {
        words: Vec<String>,
        folder: PathBuf,
    },
}

/// Why such a secret cannot be had at present, and what to do. Nothing of the secret is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    pub message: String,
    pub hint: String,
}

impl FreshSecret {
    /// Reads it as it is now. Blocking: a file may be slow, and a command may take 10 s.
    ///
    /// # Errors
    /// It is not there, empty, no UTF-8, larger than 64 KiB, or a file that group or world can write (SEC-15); the command
    /// fails or takes too long.
    pub fn read(&self) -> Result<Secret, Unread> {
        let (read, from) = match self {
            FreshSecret::File(path) => {
                let text = disk::read_secret(path, SECRET_BYTES_MAX).and_then(|file| disk::utf8(path, &file.bytes));
                (text, path.display().to_string())
            }
            FreshSecret::Command { words, folder } => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let run = command::first_line(&words, folder, SECRET_BYTES_MAX);
                let hint = "run it by hand: it has to print the secret, and nothing else";
                (run.map_err(|why| (why, hint.to_owned())), format!("the output of `{}`", words[0]))
            }
        };
        let text = read.map_err(|(message, hint)| Unread { message, hint })?;
        match text.trim() {
            "" => {
                Err(Unread { message: format!("{from} is empty"), hint: "whoever writes it has to fill it".to_owned() })
            }
            secret => Ok(Secret::new(secret)),
        }
    }
}

impl Fields<'_> {
    /// Where a secret is to be read from each time. What is not there yet is a warning, since it may come.
    pub(super) fn fresh_secret(&self, reading: &mut Reading<'_>, key: &str) -> Option<FreshSecret> {
        let value = self.value(key)?;
        let fresh = match SecretSource::of(value)? {
            SecretSource::File(path) => FreshSecret::File(reading.path(path)),
            SecretSource::Command(words) => FreshSecret::Command {
                words: words.into_iter().map(str::to_owned).collect(),
                folder: reading.folder.clone(),
            },
            SecretSource::Env(_) | SecretSource::Credential(_) => {
                let why =
                    format!("`{key}` is replaced as time goes by, and what a process was started with stays as it is");
                let hint = format!("write `{key} = {{ file = \"PATH\" }}` or `{{ command = [\"PROGRAM\", …] }}`");
                return reading.refuse((why, hint), &value.span());
            }
        };
        let is_read_now = reading.how != Load::WithoutSecrets && matches!(fresh, FreshSecret::File(_));
        if is_read_now && let Err(Unread { message, hint }) = fresh.read() {
            let message = format!("`{key}` cannot be read now: {message}");
            reading.warning(Problem::new(message, value.span()).hint(hint));
        }
        Some(fresh)
    }
}
