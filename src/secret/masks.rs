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
use std::sync::{Arc, OnceLock};

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_LENGTH, Entry, TRAILER, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

use finder::Finder;
use pattern::Pattern;
pub use scanner::Scanner;

use super::Secret;

/// Secrets shorter than this are masked in headers only (SEC-13): in bodies they would meet innocent text.
pub const BODY_SECRET_BYTES_MIN: usize = 16;

/// Secrets shorter than this are not looked for in the names of fields, where they would meet ordinary words.
const NAME_SECRET_BYTES_MIN: usize = 8;

/// Fields whose values name fields, which have no case there, either.
const LISTS_OF_NAMES: [HeaderName; 5] =
    [ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, TRAILER, VARY];

const MASK: u8 = b'*';

/// The spellings of the secrets that were attached to a request. Made once per token or configuration, then shared.
pub struct Masks {
    /// Secrets long enough for bodies.
    long: Finder,
    /// The other ones.
    short: Finder,
    /// In lower case, as the names of fields are. Made when it is needed, which it hardly ever is: it takes as much memory as
    /// the others together.
    names: OnceLock<Finder>,
    /// How many bytes the shortest secret has that is looked for in names; `usize::MAX` if there is none.
    shortest_name: usize,
}

impl Default for Masks {
    fn default() -> Self {
        Masks::new([])
    }
}

impl Masks {
    /// Masks for these secrets (for Basic: the password, and the base64 pair). Empty ones are skipped.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let distinct: BTreeSet<&str> =
            secrets.into_iter().map(Secret::expose).filter(|text| !text.is_empty()).collect();
        let in_names = distinct.iter().map(|text| text.len()).filter(|bytes| *bytes >= NAME_SECRET_BYTES_MIN);
        let shortest_name = in_names.min().unwrap_or(usize::MAX);
        let (long, short): (Vec<&str>, Vec<&str>) =
            distinct.into_iter().partition(|text| text.len() >= BODY_SECRET_BYTES_MIN);
        let patterns = |texts: Vec<&str>| texts.into_iter().flat_map(Pattern::of_secret).collect();
        let (long, short) = (Finder::new(patterns(long)), Finder::new(patterns(short)));
        Masks { long, short, names: OnceLock::new(), shortest_name }
    }

    fn names(&self) -> &Finder {
        self.names.get_or_init(|| {
            let texts = self.long.patterns().iter().chain(self.short.patterns()).filter_map(Pattern::text);
            let texts = texts.filter(|text| text.len() >= NAME_SECRET_BYTES_MIN);
            Finder::new(texts.flat_map(Pattern::of_secret).map(Pattern::in_lower_case).collect())
        })
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.long.is_empty() && self.short.is_empty()
    }

    /// Masks every spelling in the names and values of headers or trailers. Returns how many of them were changed.
    ///
    /// Names are in lower case here, whatever they were: they are compared without regard to it, also where a value lists them.
    pub fn mask_headers(&self, headers: &mut HeaderMap) -> usize {
        let shortest = self.long.shortest().min(self.short.shortest());
        let (mut changed, mut renamed) = (0, Vec::new());
        for (name, value) in headers.iter_mut() {
            // Hardly a name is as long as a secret.
            if name.as_str().len() >= self.shortest_name
                && let Some(masked) = self.mask_name(name)
            {
                renamed.push((name.clone(), masked));
            }
            if value.len() >= shortest
                && let Some(masked) = self.mask_value(name, value)
                // How long the body is, the client has to know, whatever that number also is.
                && *name != CONTENT_LENGTH
            {
                *value = masked;
                changed += 1;
            }
        }
        changed += renamed.len();
        renamed.into_iter().for_each(|(name, masked)| rename(headers, name, &masked));
        changed
    }

    /// Whether a secret is long enough to be looked for in bodies.
    pub fn concern_bodies(&self) -> bool {
        !self.long.is_empty()
    }

    /// A scanner for one body, or `None` if no secret is long enough to be looked for in bodies.
    pub fn scanner(self: &Arc<Self>) -> Option<Scanner> {
        self.concern_bodies().then(|| Scanner::new(self.clone()))
    }

    fn mask_name(&self, name: &HeaderName) -> Option<HeaderName> {
        let text = name.as_str().as_bytes();
        let spellings = self.find_in_names(text);
        if spellings.is_empty() {
            return None;
        }
        let mut masked = text.to_vec();
        spellings.into_iter().for_each(|spelling| mask(&mut masked, spelling));
        Some(HeaderName::from_bytes(&masked).expect("a name stays one when bytes of it become `*`"))
    }

    /// The spellings in names that are in lower case.
    fn find_in_names(&self, text: &[u8]) -> Vec<Range<usize>> {
        if text.len() < self.shortest_name {
            return Vec::new();
        }
        match memchr(b'%', text) {
            None => self.names().find(text),
            Some(_) => self.names().find(&escapes_in_lower_case(text)),
        }
    }

    fn mask_value(&self, name: &HeaderName, value: &HeaderValue) -> Option<HeaderValue> {
        let text = value.as_bytes();
        let mut spellings = self.long.find(text);
        spellings.extend(self.short.find(text));
        if LISTS_OF_NAMES.contains(name) {
            spellings.extend(self.find_in_names(&text.to_ascii_lowercase()));
        }
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

/// Gives all values of one field to another.
fn rename(headers: &mut HeaderMap, from: HeaderName, to: &HeaderName) {
    // Where it is repeated, the first time has moved all.
    if let Entry::Occupied(field) = headers.entry(from) {
        let values: Vec<HeaderValue> = field.remove_entry_mult().1.collect();
        for value in values {
            headers.append(to, value);
        }
    }
}

/// With the letters for which percent escapes stand in lower case, too: `%4a` becomes `%6a`.
fn escapes_in_lower_case(name: &[u8]) -> Vec<u8> {
    let mut text = name.to_vec();
    for at in 0..text.len().saturating_sub(2) {
        if let [b'%', high @ (b'4' | b'5'), low] = text[at..at + 3]
            && let Some(low) = char::from(low).to_digit(16)
            && ((high - b'0') << 4 | low as u8).is_ascii_uppercase()
        {
            text[at + 1] += 2;
        }
    }
    text
}

fn mask(text: &mut [u8], spelling: Range<usize>) {
    text[spelling].fill(MASK);
}
