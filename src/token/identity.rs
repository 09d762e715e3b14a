//! What makes two credentials share one token, and what does not (TL-02, TL-03).

use ring::hmac;

/// The key of a cell: an HMAC over [`IdentityFields`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Identity([u8; 32]);

impl Identity {
    /// As a store keeps it.
    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Identity(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What a token depends on (TL-02).
#[derive(Debug, Clone, Default)]
pub struct IdentityFields<'a> {
    pub credential: &'a str,
    /// Issuer or token URL, as configured.
    pub endpoint: &'a str,
    pub grant: &'a str,
    pub client_id: &'a str,
    /// In any order.
    pub scope: &'a [String],
    pub audience: Option<&'a str>,
    pub resource: &'a [String],
    pub parameters: &'a [(&'a str, &'a str)],
    pub subject: Option<&'a str>,
}

/// A digest of how the client proves itself: secret, authentication method, bound keys (TL-03).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ProofVersion(pub [u8; 32]);

/// The key under which identities and proofs of a store are computed. Keyed, so that neither tells anything about
/// a secret, however it becomes known.
#[derive(Debug)]
pub(super) struct DigestKey(hmac::Key);

impl DigestKey {
    pub(super) fn new(bytes: &[u8; 32]) -> Self {
        DigestKey(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    pub(super) fn identity(&self, fields: &IdentityFields<'_>) -> Identity {
        let mut digest = self.digest("identity");
        for field in [fields.credential, fields.endpoint, fields.grant, fields.client_id] {
            digest.field(field.as_bytes());
        }
        // The order of scopes means nothing (RFC 6749 section 3.3).
        let mut scope: Vec<&str> = fields.scope.iter().map(String::as_str).collect();
        scope.sort_unstable();
        digest.fields(scope);
        digest.fields(fields.audience);
        digest.fields(fields.resource.iter().map(String::as_str).collect::<Vec<_>>());
        let mut parameters = fields.parameters.to_vec();
        parameters.sort_unstable();
        digest.fields(parameters.iter().flat_map(|(name, value)| [*name, *value]).collect::<Vec<_>>());
        digest.fields(fields.subject);
        Identity(digest.finish())
    }

    /// That of something with exactly this configuration.
    pub(super) fn of_configuration(&self, of: &Identity, parts: &[&[u8]]) -> Identity {
        let mut digest = self.digest("configuration");
        digest.field(of.as_bytes());
        parts.iter().for_each(|part| digest.field(part));
        Identity(digest.finish())
    }

    /// That of a subject of a credential that has one token for each. All of the subject's token counts, since what it says
    /// of itself nobody has verified here: a forged one with somebody's name in it is another subject.
    pub(super) fn subject(&self, credential: &Identity, token: &[u8]) -> Identity {
        let mut digest = self.digest("subject");
        digest.field(credential.as_bytes());
        digest.field(token);
        Identity(digest.finish())
    }

    pub(super) fn proof(&self, parts: &[&[u8]]) -> ProofVersion {
        let mut digest = self.digest("proof");
        parts.iter().for_each(|part| digest.field(part));
        ProofVersion(digest.finish())
    }

    fn digest(&self, purpose: &str) -> Digest {
        let mut digest = Digest(hmac::Context::with_key(&self.0));
        digest.field(purpose.as_bytes());
        digest
    }
}

/// An HMAC over fields, each after its length, so that no two lists of fields read alike.
struct Digest(hmac::Context);

impl Digest {
    fn field(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    /// A list of any length, after its number.
    fn fields<'a>(&mut self, fields: impl IntoIterator<Item = &'a str, IntoIter: ExactSizeIterator>) {
        let fields = fields.into_iter();
        self.0.update(&(fields.len() as u64).to_be_bytes());
        fields.for_each(|field| self.field(field.as_bytes()));
    }

    fn finish(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.sign().as_ref());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::store::{MemoryStore, TokenStore as _};

    /// That of a new store.
    fn digest_key() -> DigestKey {
        DigestKey::new(&MemoryStore::new().digest_key())
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// TL-02: every field counts, and where one ends another begins.
    #[test]
    fn every_field_tells_identities_apart() {
        let key = digest_key();
        let (ab, a, b) = (names(&["a", "b"]), names(&["a"]), names(&["b"]));
        let base = IdentityFields { credential: "crm", endpoint: "https://t", grant: "g", ..IdentityFields::default() };
        let variants = [
            base.clone(),
            IdentityFields { credential: "crn", ..base.clone() },
            IdentityFields { credential: "crmhttps://t", endpoint: "", ..base.clone() },
            IdentityFields { endpoint: "https://u", ..base.clone() },
            IdentityFields { grant: "h", ..base.clone() },
            IdentityFields { grant: "", client_id: "g", ..base.clone() },
            IdentityFields { client_id: "id", ..base.clone() },
            IdentityFields { scope: &a, ..base.clone() },
            IdentityFields { scope: &ab, ..base.clone() },
            IdentityFields { audience: Some("a"), ..base.clone() },
            IdentityFields { audience: Some(""), ..base.clone() },
            IdentityFields { subject: Some(""), ..base.clone() },
            IdentityFields { resource: &a, ..base.clone() },
            IdentityFields { resource: &ab, ..base.clone() },
            IdentityFields { scope: &a, resource: &b, ..base.clone() },
            IdentityFields { parameters: &[("a", "b")], ..base.clone() },
            IdentityFields { parameters: &[("ab", "")], ..base.clone() },
            IdentityFields { parameters: &[("a", ""), ("b", "")], ..base.clone() },
            IdentityFields { subject: Some("a"), ..base.clone() },
        ];
        for (i, one) in variants.iter().enumerate() {
            for (j, other) in variants.iter().enumerate() {
                assert_eq!(key.identity(one) == key.identity(other), i == j, "{one:?} and {other:?}");
            }
        }
    }

    /// TL-02: scopes and parameters in another order ask for the same token.
    #[test]
    fn order_of_scopes_does_not_count() {
        let key = digest_key();
        let (ab, ba) = (names(&["a", "b"]), names(&["b", "a"]));
        let one = IdentityFields { scope: &ab, parameters: &[("x", "1"), ("y", "2")], ..IdentityFields::default() };
        let other = IdentityFields { scope: &ba, parameters: &[("y", "2"), ("x", "1")], ..IdentityFields::default() };
        assert_eq!(key.identity(&one), key.identity(&other));
    }

    /// TL-02: another store's key gives another digest.
    #[test]
    fn digests_are_keyed() {
        let fields = IdentityFields::default();
        assert_ne!(digest_key().identity(&fields), digest_key().identity(&fields));
        assert_ne!(digest_key().proof(&[b"s"]), digest_key().proof(&[b"s"]));
    }

    /// TL-03: a proof is its parts, each for itself.
    #[test]
    fn proofs_differ_by_part() {
        let key = digest_key();
        assert_eq!(key.proof(&[b"secret", b"basic"]), key.proof(&[b"secret", b"basic"]));
        assert_ne!(key.proof(&[b"secret", b"basic"]), key.proof(&[b"secretbasic"]));
        assert_ne!(key.proof(&[b"secret", b"basic"]), key.proof(&[b"secret", b"post"]));
    }
}
