//! Masking a body as it streams through.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use zeroize::Zeroizing;

use super::finder::Scan;
use super::{Masks, mask};

/// Masks one body as it streams through; holds back only a suffix that is a prefix of a spelling. That is at most six
/// times as long as the longest secret's base64 (`\u00XX` for each of its bytes).
pub struct Scanner {
    masks: Arc<Masks>,
    /// Unmasked, because it is read again with what follows.
    held: Zeroizing<Vec<u8>>,
    /// So many bytes at the front of what is held lie in a spelling that began before.
    covered: usize,
    masked: usize,
}

impl Scanner {
    pub(super) fn new(masks: Arc<Masks>) -> Self {
        Scanner { masks, held: Zeroizing::default(), covered: 0, masked: 0 }
    }

    /// Takes the next bytes and returns those that can be passed on, masked. Lengths hold. Where nothing is found and
    /// nothing was held, these are the same bytes, not copied.
    pub fn push(&mut self, bytes: Bytes) -> Bytes {
        if bytes.is_empty() {
            return bytes;
        }
        let text = self.after_held(bytes);
        let scan = self.masks.long.scan(&text);
        self.release(text, scan)
    }

    /// The end of the body: what was held back.
    pub fn finish(&mut self) -> Bytes {
        let text = self.after_held(Bytes::new());
        let spellings = self.masks.long.find(&text);
        self.release(text, Scan { spellings, open: None })
    }

    /// How many spellings were masked so far; overlapping ones count as one.
    pub fn masked(&self) -> usize {
        self.masked
    }

    fn after_held(&mut self, bytes: Bytes) -> Bytes {
        if self.held.is_empty() {
            return bytes;
        }
        let mut text = BytesMut::with_capacity(self.held.len() + bytes.len());
        text.extend_from_slice(&self.held);
        text.extend_from_slice(&bytes);
        self.held = Zeroizing::default();
        text.freeze()
    }

    /// Passes on what is decided, masked, and holds the rest.
    fn release(&mut self, text: Bytes, mut scan: Scan) -> Bytes {
        let decided = scan.open.unwrap_or(text.len());
        if decided < text.len() {
            self.held = Zeroizing::new(text[decided..].to_vec());
        }
        if scan.spellings.is_empty() && self.covered == 0 {
            return if decided == text.len() { text } else { text.slice(..decided) };
        }
        let mut text = text.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
        let mut covered = self.covered;
        mask(&mut text, 0..covered);
        scan.spellings.sort_unstable_by_key(|spelling| spelling.start);
        for spelling in scan.spellings {
            // What begins in the held part is found again with what follows.
            if spelling.start >= decided {
                break;
            }
            self.masked += usize::from(spelling.start >= covered);
            covered = covered.max(spelling.end);
            mask(&mut text, spelling);
        }
        self.covered = covered.saturating_sub(decided);
        text[decided..].fill(0);
        text.truncate(decided);
        text.freeze()
    }
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner").field("held_bytes", &self.held.len()).field("masked", &self.masked).finish()
    }
}
