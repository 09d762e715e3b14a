//! Where in a text a spelling could begin: a fast search for the few places at which patterns then read on.

use std::ops::Range;

use aho_corasick::Span;
use aho_corasick::packed::{MatchKind, Searcher};
use memchr::memchr2_iter;

use super::pattern::{Pattern, short_escape};

/// The units of a pattern that are searched for; a spelling either has them verbatim, or an escape before their end.
const FRAGMENT_BYTES: usize = 4;

/// A pattern's fragment begins at most one unit after the pattern.
const FRAGMENT_OFFSET_MAX: usize = 1;

/// Finds the spellings of some patterns.
pub(super) struct Finder {
    patterns: Vec<Pattern>,
    shortest: usize,
    /// `None`: patterns are tried at each byte.
    fragments: Option<Fragments>,
}

/// The beginnings of all patterns. What a searcher copies is not zeroized: it holds no more than these few bytes.
struct Fragments {
    searcher: Searcher,
    /// Beside the searcher's patterns: the index of each pattern that begins so, and its fragment's offset.
    begins: Vec<Vec<(usize, usize)>>,
    /// Bytes that an escape stands for, if it may be the first of a spelling and stand before its fragment's end.
    early: [bool; 256],
}

/// What a text holds.
#[derive(Default)]
pub(super) struct Scan {
    /// In no order; they may overlap.
    pub(super) spellings: Vec<Range<usize>>,
    /// The first byte that could begin a spelling which is not complete yet.
    pub(super) open: Option<usize>,
}

impl Default for Finder {
    fn default() -> Self {
        Finder::by_trying(Vec::new())
    }
}

impl Finder {
    pub(super) fn new(patterns: Vec<Pattern>) -> Self {
        let searchable = |pattern: &Pattern| pattern.len() >= pattern.vague() + FRAGMENT_BYTES;
        let fragments = if patterns.iter().all(searchable) { Fragments::new(&patterns) } else { None };
        Finder { fragments, ..Finder::by_trying(patterns) }
    }

    /// A finder that knows no short cut; for secrets that are shorter than a fragment.
    pub(super) fn by_trying(patterns: Vec<Pattern>) -> Self {
        let shortest = patterns.iter().map(Pattern::len).min().unwrap_or(usize::MAX);
        Finder { patterns, shortest, fragments: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    pub(super) fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// How many bytes the shortest spelling has; `usize::MAX` if there is none.
    pub(super) fn shortest(&self) -> usize {
        self.shortest
    }

    /// The spellings in a whole text.
    pub(super) fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut spellings = Vec::new();
        if text.len() >= self.shortest {
            self.candidates(text, |pattern, start| {
                spellings.extend(pattern.read(text, start).end.map(|end| start..end));
            });
        }
        spellings
    }

    /// The spellings in a text that goes on.
    pub(super) fn scan(&self, text: &[u8]) -> Scan {
        let mut scan = Scan::default();
        let mut visit = |pattern: &Pattern, start| {
            let found = pattern.read(text, start);
            scan.spellings.extend(found.end.map(|end| start..end));
            if found.open {
                scan.open = Some(scan.open.map_or(start, |open| open.min(start)));
            }
        };
        self.candidates(text, &mut visit);
        if self.fragments.is_some() {
            // Here a fragment has begun and is not complete.
            for start in text.len().saturating_sub(FRAGMENT_BYTES + FRAGMENT_OFFSET_MAX - 1)..text.len() {
                self.patterns.iter().for_each(|pattern| visit(pattern, start));
            }
        }
        scan
    }

    fn candidates(&self, text: &[u8], mut visit: impl FnMut(&Pattern, usize)) {
        if let Some(fragments) = &self.fragments {
            fragments.verbatim(text, |pattern, start| visit(&self.patterns[pattern], start));
            fragments.escaped(text, &self.patterns, visit);
        } else if !self.patterns.is_empty() {
            for start in 0..text.len() {
                self.patterns.iter().for_each(|pattern| visit(pattern, start));
            }
        }
    }
}

impl Fragments {
    /// `None` where the processor has no vector instructions for it, or for too many patterns.
    fn new(patterns: &[Pattern]) -> Option<Self> {
        let mut texts: Vec<Vec<u8>> = Vec::new();
        let mut begins: Vec<Vec<(usize, usize)>> = Vec::new();
        let mut early = [false; 256];
        for (index, pattern) in patterns.iter().enumerate() {
            let offset = pattern.vague();
            for fragment in fragments(pattern, offset) {
                let place = texts.iter().position(|text| *text == fragment).unwrap_or_else(|| {
                    texts.push(fragment);
                    begins.push(Vec::new());
                    texts.len() - 1
                });
                begins[place].push((index, offset));
            }
            let early_units = 0..offset + FRAGMENT_BYTES;
            early_units
                .for_each(|unit| pattern.alternatives(unit).iter().for_each(|&byte| early[usize::from(byte)] = true));
        }
        let searcher = aho_corasick::packed::Config::new()
            .match_kind(MatchKind::LeftmostFirst)
            .builder()
            .extend(&texts)
            .build()?;
        Some(Fragments { searcher, begins, early })
    }

    /// Places where a pattern stands with its fragment verbatim, and all before it.
    fn verbatim(&self, text: &[u8], mut visit: impl FnMut(usize, usize)) {
        let mut from = 0;
        while let Some(hit) = self.searcher.find_in(text, Span { start: from, end: text.len() }) {
            // Fragments overlap: the next may begin within this one.
            from = hit.start() + 1;
            for &(pattern, offset) in &self.begins[hit.pattern().as_usize()] {
                if let Some(start) = hit.start().checked_sub(offset) {
                    visit(pattern, start);
                }
            }
        }
    }

    /// Places where the first escape of a spelling stands before its fragment's end, and all before it is verbatim.
    fn escaped(&self, text: &[u8], patterns: &[Pattern], mut visit: impl FnMut(&Pattern, usize)) {
        for escape in memchr2_iter(b'%', b'\\', text) {
            if !self.early(&text[escape..]) {
                continue;
            }
            for pattern in patterns {
                for before in 0..(pattern.vague() + FRAGMENT_BYTES).min(escape + 1) {
                    let start = escape - before;
                    if (0..before).all(|unit| pattern.plain(unit).contains(&text[start + unit])) {
                        visit(pattern, start);
                    }
                }
            }
        }
    }

    /// Whether an escape stands for an early byte, or for what is not ASCII, or is cut off.
    fn early(&self, escape: &[u8]) -> bool {
        let digit = |at: usize| escape.get(at).map(|&byte| char::from(byte).to_digit(16));
        let byte = match escape {
            [b'%', ..] => match (digit(1), digit(2)) {
                (Some(Some(high)), Some(Some(low))) => high * 16 + low,
                (None, _) | (Some(Some(_)), None) => return true,
                _ => return false,
            },
            [b'\\', b'u', b'0', b'0', ..] => match (digit(4), digit(5)) {
                (Some(Some(high)), Some(Some(low))) => high * 16 + low,
                _ => return true,
            },
            [_, b'u', ..] | [_] => return true,
            [_, short, ..] => match short_escape(*short) {
                Some(byte) => u32::from(byte),
                None => return false,
            },
            [] => return false,
        };
        byte > 0x7f || self.early[byte as usize]
    }
}

/// The ways in which a pattern's fragment can stand verbatim: at most two for each unit.
fn fragments(pattern: &Pattern, offset: usize) -> Vec<Vec<u8>> {
    (offset..offset + FRAGMENT_BYTES).fold(vec![Vec::new()], |begun, unit| {
        let with = |begun: &Vec<u8>, &byte: &u8| begun.iter().copied().chain([byte]).collect();
        begun.iter().flat_map(|begun| pattern.plain(unit).iter().map(move |byte| with(begun, byte))).collect()
    })
}
