//! How values are sealed: AES-256-GCM with a random nonce, as ring has it (NIST SP 800-38D). Under one key, random nonces
//! are good for 2^32 values, which a store that writes ten a second reaches after thirteen years.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::secret::StoreKey;

/// Tells a key from others without telling anything about it.
pub(super) const KEY_ID_LEN: usize = 16;

/// Seals and opens values. What a value belongs to is part of the seal: one value does not open in place of another.
pub(super) struct Sealer {
    key: LessSafeKey,
    key_id: [u8; KEY_ID_LEN],
}

impl Sealer {
    pub(super) fn new(key: &StoreKey) -> Self {
        let unbound = UnboundKey::new(&AES_256_GCM, key.expose()).expect("AES-256 takes 32 bytes");
        let digest = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.expose()), b"attache store key");
        let mut key_id = [0; KEY_ID_LEN];
        key_id.copy_from_slice(&digest.as_ref()[..KEY_ID_LEN]);
        Sealer { key: LessSafeKey::new(unbound), key_id }
    }

    pub(super) fn key_id(&self) -> &[u8; KEY_ID_LEN] {
        &self.key_id
    }

    /// Nonce, ciphertext and tag. Panics if the system has no randomness, without which nothing here is safe.
    pub(super) fn seal(&self, belongs_to: &[u8], value: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).expect("the system gives random bytes");
        // Long enough for the tag, so that growing leaves no copy of what is not sealed yet.
        let mut sealed = Vec::with_capacity(NONCE_LEN + value.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(value);
        let (_, text) = sealed.split_at_mut(NONCE_LEN);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(belongs_to), text);
        sealed.extend_from_slice(tag.expect("a value is far shorter than what AES-GCM can seal").as_ref());
        sealed
    }

    /// What was sealed for this; `None`: by another key, for something else, or changed since.
    pub(super) fn open(&self, belongs_to: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = self.key.open_in_place(nonce, Aad::from(belongs_to), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_opens_again() {
        let sealer = Sealer::new(&StoreKey::from_bytes([1; 32]));
        let sealed = sealer.seal(b"crm", b"a token");
        assert_eq!(sealer.open(b"crm", &sealed).as_deref().map(Vec::as_slice), Some(&b"a token"[..]));
        assert!(sealer.open(b"maps", &sealed).is_none());
        assert!(Sealer::new(&StoreKey::from_bytes([2; 32])).open(b"crm", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(sealer.open(b"crm", &changed).is_none(), "byte {at} can be changed");
            assert!(sealer.open(b"crm", &sealed[..at]).is_none(), "it opens with {at} bytes");
        }
        assert_ne!(sealer.seal(b"crm", b"a token"), sealed, "no nonce is used twice");
    }
}
