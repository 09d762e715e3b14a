//! Recognising secrets in answers, in every spelling that SEC-13 names, and masking them.
//!
//! A secret is a few [`Pattern`]s: its text, and its base64 at each of the three alignments that it can have inside
//! a longer encoded text. Every byte of a pattern may stand verbatim, JSON-escaped or percent-encoded, in any mixture,
//! so there is no list of spellings: a [`Finder`] picks the few places where one could begin, and the pattern reads
//! on from there. Every byte that lies in a spelling is masked, also where spellings overlap.

mod finder;
mod pattern;
mod scanner;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use finder::Finder;
use pattern::Pattern;
pub use scanner::Scanner;

use super::Secret;

/// Secrets shorter than this are masked in headers only (SEC-13): in bodies they would meet innocent text.
pub const BODY_SECRET_BYTES_MIN: usize = 16;

const MASK: u8 = b'*';

/// The spellings of the secrets that were attached to a request. Made once per token or configuration, then shared.
#[derive(Default)]
pub struct Masks {
    /// Secrets long enough for bodies.
    long: Finder,
    /// The other ones.
    short: Finder,
}

impl Masks {
    /// Masks for these secrets (for Basic: the password, and the base64 pair). Empty ones are skipped.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let distinct: BTreeSet<&str> =
            secrets.into_iter().map(Secret::expose).filter(|text| !text.is_empty()).collect();
        let (long, short): (Vec<&str>, Vec<&str>) =
            distinct.into_iter().partition(|text| text.len() >= BODY_SECRET_BYTES_MIN);
        let patterns = |texts: Vec<&str>| texts.into_iter().flat_map(Pattern::of_secret).collect();
        Masks { long: Finder::new(patterns(long)), short: Finder::new(patterns(short)) }
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.long.is_empty() && self.short.is_empty()
    }

    /// Masks every spelling in the values of headers or trailers. Returns how many values were changed.
    pub fn mask_headers(&self, headers: &mut HeaderMap) -> usize {
        let shortest = self.long.shortest().min(self.short.shortest());
        let mut changed = 0;
        for value in headers.values_mut() {
            if value.len() >= shortest
                && let Some(masked) = self.mask_value(value)
            {
                *value = masked;
                changed += 1;
            }
        }
        changed
    }

    /// A scanner for one body, or `None` if no secret is long enough to be looked for in bodies.
    pub fn scanner(self: &Arc<Self>) -> Option<Scanner> {
        (!self.long.is_empty()).then(|| Scanner::new(self.clone()))
    }

    fn mask_value(&self, value: &HeaderValue) -> Option<HeaderValue> {
        let text = value.as_bytes();
        let mut spellings = self.long.find(text);
        spellings.extend(self.short.find(text));
        if spellings.is_empty() {
            return None;
        }
        let mut masked = text.to_vec();
        spellings.into_iter().for_each(|spelling| mask(&mut masked, spelling));
        // A value stays one when bytes of it become `*`.
        let mut masked = HeaderValue::from_bytes(&masked).ok()?;
        masked.set_sensitive(value.is_sensitive());
        Some(masked)
    }
}

impl fmt::Debug for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masks(…)")
    }
}

fn mask(text: &mut [u8], spelling: Range<usize>) {
    text[spelling].fill(MASK);
}
