//! What is kept of an identity, and how that is written: JSON, which later versions can add members to.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::token::ProofVersion;

/// Everything of an identity that a restart must not lose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The credential's name, for whoever looks into the store.
    pub credential: String,
    /// Drawn by the cell that wrote it, so that it knows its own writes.
    pub writer: u64,
    /// How the client proved itself when this was written (TL-03).
    pub proof: ProofVersion,
    /// What the token is for, where that is no part of the identity.
    pub asks_for: Option<ProofVersion>,
    pub token: Option<StoredToken>,
    pub refresh_token: Option<Secret>,
    /// An exchange of the refresh token may be under way: the intent of TL-50.
    pub exchanging: bool,
    /// The refresh token was refused for good; the error's text, which holds no secret (TL-27).
    pub needs_reauthorization: Option<String>,
    /// When the credential was last used, as far as was known (TL-29).
    pub used_at: Option<SystemTime>,
}

/// An access token, in wall time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    pub value: Secret,
    /// What came with it, by the names that the configuration gives it.
    pub further: BTreeMap<String, Secret>,
    /// t0: the instant before the request was sent.
    pub requested_at: SystemTime,
    pub lifetime: Option<Duration>,
    pub refresh_in: Option<Duration>,
}

/// The entry as it is written. Borrowed, so that writing makes no copy of a secret.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    credential: Cow<'a, str>,
    #[serde(default)]
    writer: u64,
    proof: [u8; 32],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asks_for: Option<[u8; 32]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<WrittenToken<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Cow<'a, str>>,
    #[serde(default)]
    exchanging: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    needs_reauthorization: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_at_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct WrittenToken<'a> {
    value: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    further: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    requested_at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lifetime_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_in_ms: Option<u64>,
}

impl Entry {
    /// The entry's bytes. They are as secret as what is in it.
    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let token = self.token.as_ref().map(|token| WrittenToken {
            value: token.value.expose().into(),
            further: token.further.iter().map(|(name, value)| (name.into(), value.expose().into())).collect(),
            requested_at_ms: millis_since_1970(token.requested_at),
            lifetime_ms: token.lifetime.map(millis),
            refresh_in_ms: token.refresh_in.map(millis),
        });
        let written = Written {
            credential: self.credential.as_str().into(),
            writer: self.writer,
            proof: self.proof.0,
            asks_for: self.asks_for.map(|digest| digest.0),
            token,
            refresh_token: self.refresh_token.as_ref().map(|token| token.expose().into()),
            exchanging: self.exchanging,
            needs_reauthorization: self.needs_reauthorization.as_deref().map(Cow::from),
            used_at_ms: self.used_at.map(millis_since_1970),
        };
        // Made as large as it can get, so that growing leaves no copy behind: JSON escapes a byte with six.
        let further = || self.token.iter().flat_map(|token| &token.further);
        let secrets = [self.token.as_ref().map(|token| &token.value), self.refresh_token.as_ref()];
        let secrets = secrets.into_iter().flatten().chain(further().map(|(_, value)| value));
        let secrets: usize = secrets.map(|secret| secret.expose().len()).sum();
        let names: usize = further().map(|(name, _)| name.len() + 1).sum();
        let texts = self.credential.len() + self.needs_reauthorization.as_ref().map_or(0, String::len) + names;
        let mut bytes = Zeroizing::new(Vec::with_capacity(1024 + 6 * (secrets + texts)));
        serde_json::to_writer(&mut *bytes, &written).expect("writing to memory does not fail");
        bytes
    }

    /// Reads what [`Entry::to_bytes`] wrote; `None`: this is none of it.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Entry> {
        let written: Written<'_> = serde_json::from_slice(bytes).ok()?;
        Some(Entry {
            credential: written.credential.into_owned(),
            writer: written.writer,
            proof: ProofVersion(written.proof),
            asks_for: written.asks_for.map(ProofVersion),
            token: written.token.map(|token| StoredToken {
                value: Secret::new(token.value),
                further: token
                    .further
                    .into_iter()
                    .map(|(name, value)| (name.into_owned(), Secret::new(value)))
                    .collect(),
                requested_at: at_millis(token.requested_at_ms),
                lifetime: token.lifetime_ms.map(Duration::from_millis),
                refresh_in: token.refresh_in_ms.map(Duration::from_millis),
            }),
            refresh_token: written.refresh_token.map(Secret::new),
            exchanging: written.exchanging,
            needs_reauthorization: written.needs_reauthorization.map(Cow::into_owned),
            used_at: written.used_at_ms.map(at_millis),
        })
    }
}

/// Rounded down, so that nothing stored lives longer than what it was made from.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A clock before 1970 is no clock: what it says is long over.
fn millis_since_1970(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn at_millis(ms: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Entry {
        Entry {
            credential: "crm".to_owned(),
            writer: 7,
            proof: ProofVersion([7; 32]),
            asks_for: Some(ProofVersion([8; 32])),
            token: Some(StoredToken {
                value: Secret::new("a \"quoted\" token"),
                further: BTreeMap::from([("id".to_owned(), Secret::new("17"))]),
                requested_at: at_millis(1_700_000_000_123),
                lifetime: Some(Duration::from_millis(3_599_500)),
                refresh_in: None,
            }),
            refresh_token: Some(Secret::new("r\u{0}\u{1f600}")),
            exchanging: true,
            needs_reauthorization: Some("it said invalid_grant".to_owned()),
            used_at: Some(at_millis(1_700_000_001_000)),
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let empty = Entry {
            asks_for: None,
            token: None,
            refresh_token: None,
            needs_reauthorization: None,
            used_at: None,
            ..full()
        };
        for entry in [full(), empty] {
            assert_eq!(Entry::from_bytes(&entry.to_bytes()), Some(entry));
        }
    }

    #[test]
    fn what_is_no_entry_is_none() {
        for bytes in [&b""[..], b"{}", b"null", b"\xff", br#"{"credential":"crm","proof":[1,2]}"#] {
            assert_eq!(Entry::from_bytes(bytes), None);
        }
    }

    #[test]
    fn writing_leaves_no_copy_behind() {
        let entry = full();
        let bytes = entry.to_bytes();
        let secrets = 6 * ("a \"quoted\" token".len() + "r\u{0}\u{1f600}".len() + "17".len());
        let texts = 6 * ("id".len() + 1 + "crm".len() + "it said invalid_grant".len());
        assert_eq!(bytes.capacity(), 1024 + secrets + texts, "the buffer has grown, or is made too small");
    }
}
