//! Client keys: `attache key new` makes one, proxy.toml holds its SHA-256.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What every key that we make begins with, so that secret scanners and people recognise one.
const PREFIX: &str = "attache_";

/// A key in proxy.toml's words. It stands for a key of 256 random bits, so nobody computes the key from it; that is
/// also why no slow password hash is needed.
pub type KeyDigest = [u8; 32];

/// A key just made. It is shown once and kept nowhere.
#[derive(Debug)]
pub struct NewKey {
    pub key: Secret,
    /// For `sha256` in proxy.toml.
    pub digest: KeyDigest,
}

impl NewKey {
    /// Makes a key of 256 bits from the system's randomness.
    ///
    /// # Errors
    /// The system gives no randomness; the text says so.
    pub fn generate() -> Result<NewKey, String> {
        let mut random = Zeroizing::new([0_u8; 32]);
        SystemRandom::new()
            .fill(random.as_mut())
            .map_err(|_| "cannot make a key: the operating system gives no random bytes".to_owned())?;
        let key = Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random.as_ref())));
        Ok(NewKey { digest: digest_of(key.expose().as_bytes()), key })
    }

    /// The digest as proxy.toml wants it: 64 hexadecimal digits.
    pub fn digest_hex(&self) -> String {
        self.digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The SHA-256 of a key as it is presented.
pub fn digest_of(key: &[u8]) -> KeyDigest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, key).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_recognisable_long_and_never_the_same() {
        let (one, other) = (NewKey::generate().unwrap(), NewKey::generate().unwrap());
        assert!(one.key.expose().starts_with(PREFIX));
        assert_eq!(one.key.expose().len(), PREFIX.len() + 43, "256 bits in base64");
        assert_ne!(one.key, other.key);
        assert_eq!(one.digest, digest_of(one.key.expose().as_bytes()));
        assert!(!format!("{one:?}").contains(one.key.expose()));
    }

    #[test]
    fn a_digest_is_written_in_hexadecimal() {
        let known = NewKey { key: Secret::new("test"), digest: digest_of(b"test") };
        assert_eq!(known.digest_hex(), "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
    }
}
