//! `attache key new NAME`: an API key for a client.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use super::Failure;
use crate::config::is_name;

/// Nobody guesses 256 bits, so that one plain SHA-256 of a key is enough to keep.
const KEY_RANDOM_BYTES: usize = 32;

/// So that scanners for leaked secrets know ours when they see one.
const KEY_PREFIX: &str = "ak_";

pub(super) fn client_name(text: &str) -> Result<String, String> {
    match text {
        "anyone" => Err("`anyone` is everybody, and has no key".to_owned()),
        text if is_name(text) => Ok(text.to_owned()),
        _ => Err("a client's name is made of letters, digits, `.`, `_` and `-`".to_owned()),
    }
}

/// The key, once, and the table for proxy.toml.
pub(super) fn new(name: &str) -> Result<String, Failure> {
    let mut random = [0; KEY_RANDOM_BYTES];
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_err(|_| Failure::Failed("the operating system has no random numbers".to_owned()))?;
    let key = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    Ok(format!("{key}\n\n{}", table(name, &key)))
}

fn table(name: &str, key: &str) -> String {
    // A dot in a name would begin another table.
    let name = if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() };
    let digest: String = digest(&SHA256, key.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "# The key above is shown this once; this is its digest. For proxy.toml:\n[clients.{name}.key]\nsha256 = [\"{digest}\"]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_printed_once_with_the_table_that_knows_it() {
        let printed = new("billing").unwrap();
        let (key, table_printed) = printed.split_once("\n\n").unwrap();
        assert_eq!(key.len(), 3 + 43);
        assert!(key.starts_with("ak_") && !table_printed.contains(key));
        assert_eq!(table_printed, table("billing", key));
        assert_ne!(new("billing").unwrap(), printed);
    }

    #[test]
    fn the_table_can_be_pasted() {
        let table = table("web.v2", "abc");
        let parsed: toml::Table = table.parse().unwrap();
        let digest = parsed["clients"]["web.v2"]["key"]["sha256"][0].as_str();
        // FIPS 180-2, appendix B.1.
        assert_eq!(digest, Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    }
}
