//! Secrets of the configuration, from where `{ env }`, `{ file }`, `{ credential }` and `{ command }` say.

use std::ops::Range;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::fields::Fields;
use super::{Load, Reading, Why, command, disk};
use crate::config::Problem;
use crate::config::file::{SecretSource, Value};
use crate::jws::{Algorithm, SigningKey};
use crate::secret::{BODY_SECRET_BYTES_MIN, Secret};

/// No credential of any API is longer.
pub(super) const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Stands in for secrets that are not read. Long enough to be no reason for a warning.
const PLACEHOLDER: &str = "placeholder-instead-of-a-secret";

/// What a secret has to be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// All but control characters.
    Text,
    /// The value of a header: visible ASCII, and spaces between (TL-37).
    HeaderValue,
    /// Text of several lines.
    Lines,
    /// The value of a cookie, in double quotes or not (RFC 6265 section 4.1.1).
    CookieValue,
}

impl Fields<'_> {
    /// Reads a secret that is attached to requests as it is, and warns where it is too short to be masked in bodies
    /// (SEC-13). Other secrets go to token endpoints and egress proxies only, and no upstream can echo them.
    pub(super) fn attached_secret(&self, reading: &mut Reading<'_>, key: &str, alphabet: Alphabet) -> Option<Secret> {
        let secret = self.secret(reading, key, alphabet)?;
        self.warn_if_short(reading, key, secret.expose(), "");
        Some(secret)
    }

    /// Warns where `secret`, which is that of `key` but for what `but` says, is too short to be masked in bodies.
    pub(super) fn warn_if_short(&self, reading: &mut Reading<'_>, key: &str, secret: &str, but: &str) {
        if secret.len() < BODY_SECRET_BYTES_MIN
            && let Some(value) = self.value(key)
        {
            let message =
                format!("`{key}`{but} is shorter than {BODY_SECRET_BYTES_MIN} bytes: it is masked in headers only");
            let hint = "in bodies, something so short would be found where it is not meant; a longer secret is safer";
            reading.warning(Problem::new(message, value.span()).hint(hint));
        }
    }

    /// Reads a secret.
    pub(super) fn secret(&self, reading: &mut Reading<'_>, key: &str, alphabet: Alphabet) -> Option<Secret> {
        reading.secret(key, self.value(key)?, alphabet)
    }

    /// Reads a secret, and the older one if there is a list of two.
    pub(super) fn secret_and_older(&self, reading: &mut Reading<'_>, key: &str) -> Option<(Secret, Option<Secret>)> {
        let values = self.list(key);
        let (newer, older) = match values.as_slice() {
            [] if self.value(key).is_none() => return None,
            [newer] => (newer, None),
            [newer, older] => (newer, Some(older)),
            _ => {
                let why = format!("`{key}` is one secret, or two while it is rotated");
                let hint = "write the newer one first, and the one that it replaces behind it".to_owned();
                return reading.refuse((why, hint), &self.value(key)?.span());
            }
        };
        let newer = reading.secret(key, newer, Alphabet::Text);
        // Both are read, so that the problems of both are reported.
        let older = older.map(|older| reading.secret(key, older, Alphabet::Text));
        let (newer, older) = (newer?, older.map_or(Some(None), |older| older.map(Some))?);
        Some((newer.clone(), older.filter(|older| *older != newer)))
    }

    /// Reads a private key that signs, with this algorithm or its own.
    pub(super) fn signing_key(
        &self,
        reading: &mut Reading<'_>,
        key: &str,
        algorithm: Option<Algorithm>,
    ) -> Option<SigningKey> {
        if self.is_withheld(reading, key) {
            return placeholder_key();
        }
        let pem = self.secret(reading, key, Alphabet::Lines)?;
        self.key_from_pem(reading, key, &pem, algorithm)
    }

    /// The private key in this text, which `key` says where it is from.
    pub(super) fn key_from_pem(
        &self,
        reading: &mut Reading<'_>,
        key: &str,
        pem: &Secret,
        algorithm: Option<Algorithm>,
    ) -> Option<SigningKey> {
        match SigningKey::from_pem(pem.expose(), algorithm) {
            Ok(signs) => Some(signs),
            Err(flaw) => reading.refuse((format!("`{key}`: {}", flaw.message), flaw.hint), &self.value(key)?.span()),
        }
    }

    /// Whether the secret of this key is one that is not read.
    pub(super) fn is_withheld(&self, reading: &Reading<'_>, key: &str) -> bool {
        self.value(key).and_then(SecretSource::of).is_some_and(|source| reading.is_withheld(&source))
    }
}

/// Stands in for keys that are not read.
pub(super) fn placeholder_key() -> Option<SigningKey> {
    SigningKey::shared(Secret::new(PLACEHOLDER), Algorithm::Hs256)
}

impl Reading<'_> {
    /// Reads the secret that a value says the place of.
    pub(super) fn secret(&mut self, key: &str, value: &Value<'_>, alphabet: Alphabet) -> Option<Secret> {
        let source = SecretSource::of(value)?;
        let span = value.span();
        if self.is_withheld(&source) {
            return Some(Secret::new(PLACEHOLDER));
        }
        let secret = self.read_secret(&source, alphabet, &span)?;
        if let Some(problem) = flaw(key, &secret, alphabet) {
            self.problem(Problem { span: Some(span), ..problem });
            return None;
        }
        Some(Secret::new(secret.as_str()))
    }

    /// Whether the secret of this key is not read, so that what stands in for it has no form.
    pub(super) fn withholds(&self, fields: &Fields<'_>, key: &str) -> bool {
        fields.value(key).and_then(SecretSource::of).is_some_and(|source| self.is_withheld(&source))
    }

    fn is_withheld(&self, source: &SecretSource<'_>) -> bool {
        match self.how {
            Load::Full => false,
            Load::WithoutCommands => matches!(source, SecretSource::Command(_)),
            Load::WithoutSecrets => true,
        }
    }

    fn read_secret(
        &mut self,
        source: &SecretSource<'_>,
        alphabet: Alphabet,
        span: &Range<usize>,
    ) -> Option<Zeroizing<String>> {
        let read = match source {
            SecretSource::Env(name) => self.variable(name).map(|text| Zeroizing::new(text.clone())).ok_or((
                format!("the environment variable `{name}` is not set"),
                "set it where attache is started; `attache check --no-secrets` checks all the rest".to_owned(),
            )),
            SecretSource::File(path) => self.read_secret_file(self.path(path), span),
            SecretSource::Credential(name) => self.read_credential(name, span),
            SecretSource::Command(words) => {
                let run = if alphabet == Alphabet::Lines { command::output } else { command::first_line };
                run(words, &self.folder, SECRET_BYTES_MAX)
                    .map_err(|why| (why, "run it by hand: it has to print the secret, and nothing else".to_owned()))
            }
        };
        match read {
            Ok(mut text) => {
                // Editors and `echo` end a file with a line break that is no part of the secret.
                let length = text.trim_end_matches(['\r', '\n']).len();
                text.truncate(length);
                Some(text)
            }
            Err((message, hint)) => {
                self.problem(Problem::new(message, span.clone()).hint(hint));
                None
            }
        }
    }

    /// A systemd credential, which is a file in a folder that only the service can read.
    fn read_credential(&mut self, name: &str, span: &Range<usize>) -> Result<Zeroizing<String>, Why> {
        let hint = format!("write `LoadCredential={name}:PATH` or `LoadCredentialEncrypted=…` into the service's unit");
        // No variable that the file names: nobody is told that it stays as it is.
        let Some(folder) = self.environment.0.get("CREDENTIALS_DIRECTORY") else {
            let why = format!("there is no credential `{name}`: this was not started by systemd with credentials");
            return Err((why, format!("{hint}; `attache check --no-secrets` checks all the rest")));
        };
        let path = Path::new(folder).join(name);
        let is_missing = !path.exists();
        self.read_secret_file(path, span).map_err(|(why, other)| (why, if is_missing { hint } else { other }))
    }

    fn read_secret_file(&mut self, path: PathBuf, span: &Range<usize>) -> Result<Zeroizing<String>, Why> {
        self.watched.insert(path.clone());
        let file = disk::read_secret(&path, SECRET_BYTES_MAX)?;
        if file.world_readable {
            let message = format!("{} holds a secret, and everybody on this machine can read it", path.display());
            self.warning(Problem::new(message, span.clone()).hint(format!("run `chmod o-r {}`", path.display())));
        }
        disk::utf8(&path, &file.bytes)
    }
}

/// What makes a text no secret that could be sent.
fn flaw(key: &str, secret: &str, alphabet: Alphabet) -> Option<Problem> {
    if secret.is_empty() {
        return Some(Problem::new(format!("`{key}` is empty"), None).hint("what it is read from holds nothing"));
    }
    let is_flaw = |c: char| c.is_control() && !(alphabet == Alphabet::Lines && matches!(c, '\n' | '\r' | '\t'));
    if secret.chars().any(is_flaw) {
        let message = format!("`{key}` holds a line break or another control character");
        return Some(Problem::new(message, None).hint("only line breaks at its end are ignored"));
    }
    let header_value = secret.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) && secret.trim() == secret;
    if alphabet == Alphabet::HeaderValue && !header_value {
        let message = format!("`{key}` cannot stand in a header");
        let hint = "only visible ASCII characters can, and spaces between them";
        return Some(Problem::new(message, None).hint(hint));
    }
    if alphabet == Alphabet::CookieValue && !is_cookie_value(secret) {
        let message = format!("`{key}` cannot stand in a cookie");
        let hint = "only visible ASCII characters can, but for `\"`, `,`, `;` and `\\` (RFC 6265 section 4.1.1): what else is in it, \
                    write as the API encodes it";
        return Some(Problem::new(message, None).hint(hint));
    }
    None
}

/// The value of a cookie, in double quotes or not (RFC 6265 section 4.1.1).
pub(crate) fn is_cookie_value(text: &str) -> bool {
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let octets = quoted.unwrap_or(text);
    !octets.is_empty() && octets.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte))
}
