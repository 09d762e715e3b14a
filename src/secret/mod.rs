//! Secrets: a type that cannot print itself, and the recognition of a secret in what an upstream sends back.

mod masks;
mod store_key;

pub use masks::{BODY_SECRET_BYTES_MIN, Masks, Scanner};
pub use store_key::StoreKey;

use std::fmt;

use zeroize::Zeroizing;

/// A secret text: no `Display`, no `Serialize`, a `Debug` that shows nothing, zeroized when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text as a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(Zeroizing::new(text.into()))
    }

    /// Several in one, with this between them.
    pub fn joined(secrets: &[Secret], between: &str) -> Self {
        let texts: Vec<&str> = secrets.iter().map(Secret::expose).collect();
        Secret::new(texts.join(between))
    }

    /// The text itself. Every caller is a place where a secret leaves: keep them few.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
