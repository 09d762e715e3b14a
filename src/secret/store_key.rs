//! The key that seals a store.

use std::fmt;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use zeroize::Zeroizing;

/// 32 bytes that seal a store: no `Display`, a `Debug` that shows nothing, zeroized when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreKey(Zeroizing<[u8; 32]>);

impl StoreKey {
    /// Takes these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        StoreKey(Zeroizing::new(bytes))
    }

    /// Reads 32 bytes as base64 (of either alphabet, padded or not) or as 64 hexadecimal digits; `None`: they are not that.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = if text.len() == 64 { from_hex(text)? } else { from_base64(text)? };
        let mut key = Zeroizing::new([0; 32]);
        if bytes.len() != key.len() {
            return None;
        }
        key.copy_from_slice(&bytes);
        Some(StoreKey(key))
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey(…)")
    }
}

fn from_hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(32));
    let digit = |digit: u8| char::from(digit).to_digit(16);
    for pair in text.as_bytes().chunks(2) {
        bytes.push((digit(pair[0])? * 16 + digit(*pair.get(1)?)?) as u8);
    }
    Some(bytes)
}

fn from_base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let config: GeneralPurposeConfig = general_purpose::PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decode = |alphabet| GeneralPurpose::new(alphabet, config).decode(text).ok().map(Zeroizing::new);
    decode(&STANDARD).or_else(|| decode(&URL_SAFE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_of_base64_or_hex() {
        let bytes: [u8; 32] = std::array::from_fn(|i| 255 - i as u8 * 3);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let padded = general_purpose::STANDARD.encode(bytes);
        let spellings = [
            hex.to_uppercase(),
            hex,
            padded.trim_end_matches('=').to_owned(),
            padded,
            general_purpose::URL_SAFE.encode(bytes),
            general_purpose::URL_SAFE_NO_PAD.encode(bytes),
        ];
        for text in spellings {
            assert_eq!(StoreKey::parse(&text).expect(&text).expose(), &bytes, "{text}");
        }
        for text in ["", "AAAA", &"0".repeat(63), &"g".repeat(64), &"A".repeat(44), "correct horse battery staple"] {
            assert!(StoreKey::parse(text).is_none(), "{text}");
        }
        assert_eq!(format!("{:?}", StoreKey::from_bytes(bytes)), "StoreKey(…)");
    }
}
