//! `attache key new NAME`: an API key for a client.

use std::io::Write;

use super::Failure;
use crate::client_auth::NewKey;
use crate::config::is_name;

pub(super) fn client_name(text: &str) -> Result<String, String> {
    match text {
        "anyone" => Err("`anyone` is everybody, and has no key".to_owned()),
        text if is_name(text) => Ok(text.to_owned()),
        _ => Err("a client's name is made of letters, digits, `.`, `_` and `-`".to_owned()),
    }
}

/// Writes a new key, which stands nowhere else; the result is the table for proxy.toml.
pub(super) fn new(name: &str, out: &mut impl Write) -> Result<String, Failure> {
    let new = NewKey::generate().map_err(Failure::Failed)?;
    writeln!(out, "{}\n", new.key.expose())
        .map_err(|error| Failure::Failed(format!("cannot print the key: {error}")))?;
    Ok(table(name, &new.digest_hex()))
}

fn table(name: &str, digest: &str) -> String {
    // A dot in a name would begin another table.
    let name = if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() };
    format!(
        "# The key above is shown this once; this is its digest. For proxy.toml:\n[clients.{name}.key]\nsha256 = [\"{digest}\"]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_auth::digest_of;

    #[test]
    fn a_key_is_printed_once_and_the_table_holds_its_digest() {
        let mut printed = Vec::new();
        let table = new("web.v2", &mut printed).unwrap();
        let key = String::from_utf8(printed).unwrap();
        let key = key.strip_suffix("\n\n").unwrap();
        assert!(!table.contains(key));
        let parsed: toml::Table = table.parse().unwrap();
        let digest: String = digest_of(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(parsed["clients"]["web.v2"]["key"]["sha256"][0].as_str(), Some(&*digest));
    }
}
