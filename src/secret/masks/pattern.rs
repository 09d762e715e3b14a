//! One text to recognise, byte by byte, each byte in any of its spellings.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

/// Below this, the base64 of a secret is too few characters to tell it from innocent text.
const BASE64_SECRET_BYTES_MIN: usize = 3;

const BASE64_ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A secret's text, or its base64 at one alignment. The bytes are zeroized when dropped.
pub(super) struct Pattern {
    kind: Kind,
    /// One unit each; base64 in the standard alphabet.
    bytes: Zeroizing<Vec<u8>>,
    /// What the first unit may be, if only some bits of it are the secret's; else empty.
    first: Zeroizing<Vec<u8>>,
    /// Likewise for the last unit.
    last: Zeroizing<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Base64,
}

/// What a pattern found from one place on.
#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where the longest complete spelling ends.
    pub(super) end: Option<usize>,
    /// The text ends before it is decided: what follows could complete a spelling.
    pub(super) open: bool,
}

enum Escape {
    /// Not an escape of this unit.
    Other,
    /// The text ends within it.
    Open,
    Whole {
        units: usize,
        bytes: usize,
    },
}

impl Pattern {
    /// The text itself, and its base64 at the alignments 0, 1 and 2 within a longer encoded text.
    pub(super) fn of_secret(secret: &str) -> Vec<Pattern> {
        let nothing = || Zeroizing::new(Vec::new());
        let bytes = Zeroizing::new(secret.as_bytes().to_vec());
        let mut patterns = vec![Pattern { kind: Kind::Text, bytes, first: nothing(), last: nothing() }];
        if secret.len() >= BASE64_SECRET_BYTES_MIN {
            patterns.extend((0..3).map(|alignment| Pattern::base64(secret.as_bytes(), alignment)));
        }
        patterns
    }

    /// The characters that hold bits of a secret that stands `alignment` bytes after a border of three.
    fn base64(secret: &[u8], alignment: usize) -> Pattern {
        let (start, end) = (alignment * 8, (alignment + secret.len()) * 8);
        // The bits of a character that are the secret's, and what they are.
        let sextet = |character: usize| {
            (0..6).filter(|place| (start..end).contains(&(character * 6 + place))).fold(
                (0, 0),
                |(known, value), place| {
                    let at = character * 6 + place;
                    let bit = secret[at / 8 - alignment] >> (7 - at % 8) & 1;
                    (known | 1 << (5 - place), value | bit << (5 - place))
                },
            )
        };
        let alternatives = |character: usize| -> Zeroizing<Vec<u8>> {
            let (known, value) = sextet(character);
            let possible = (0..64).filter(|sextet| known != 0x3f && sextet & known == value);
            Zeroizing::new(possible.flat_map(base64_characters).collect())
        };
        let characters = start / 6..end.div_ceil(6);
        let (first, last) = (alternatives(characters.start), alternatives(characters.end - 1));
        let standard = |character| BASE64_ALPHABET[usize::from(sextet(character).1)];
        let bytes = Zeroizing::new(characters.map(standard).collect());
        Pattern { kind: Kind::Base64, bytes, first, last }
    }

    /// The secret, if it is the secret's text.
    pub(super) fn text(&self) -> Option<&str> {
        (self.kind == Kind::Text).then(|| std::str::from_utf8(&self.bytes).ok())?
    }

    /// As it is where upper case was lost.
    pub(super) fn in_lower_case(mut self) -> Pattern {
        for bytes in [&mut self.bytes, &mut self.first, &mut self.last] {
            bytes.make_ascii_lowercase();
        }
        self
    }

    /// How many bytes its shortest spelling has.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many units at the front say too little to be searched for.
    pub(super) fn vague(&self) -> usize {
        usize::from(!self.first.is_empty())
    }

    /// The bytes that a unit can be.
    pub(super) fn alternatives(&self, unit: usize) -> &[u8] {
        let byte = self.bytes[unit];
        if unit == 0 && !self.first.is_empty() {
            &self.first
        } else if unit + 1 == self.bytes.len() && !self.last.is_empty() {
            &self.last
        } else if self.kind == Kind::Base64 && byte == b'+' {
            b"+-"
        } else if self.kind == Kind::Base64 && byte == b'/' {
            b"/_"
        } else {
            &self.bytes[unit..=unit]
        }
    }

    /// The bytes that spell a unit without an escape.
    pub(super) fn plain(&self, unit: usize) -> &[u8] {
        if self.kind == Kind::Text && self.bytes[unit] == b' ' { b" +" } else { self.alternatives(unit) }
    }

    /// Reads a spelling that begins at `start`.
    pub(super) fn read(&self, text: &[u8], start: usize) -> Found {
        let mut found = Found::default();
        // A `%` or `\` of the secret itself can stand for itself or begin an escape: only then there are two ways on.
        let mut other_ways: Vec<(usize, usize)> = Vec::new();
        let mut forked = BTreeSet::new();
        let mut way = Some((0, start));
        while let Some((mut unit, mut at)) = way.take().or_else(|| other_ways.pop()) {
            let same = self.same(unit, &text[at..]);
            (unit, at) = (unit + same, at + same);
            if unit == self.bytes.len() {
                found.end = found.end.max(Some(at));
                continue;
            }
            let Some(&byte) = text.get(at) else {
                found.open = true;
                continue;
            };
            let plain = self.bytes[unit] == byte || self.plain(unit).contains(&byte);
            let escape = if matches!(byte, b'%' | b'\\') { self.escape(unit, &text[at..]) } else { Escape::Other };
            way = plain.then_some((unit + 1, at + 1));
            match escape {
                Escape::Other => {}
                Escape::Open => found.open = true,
                Escape::Whole { units, bytes } => {
                    let escaped = (unit + units, at + bytes);
                    match way {
                        None => way = Some(escaped),
                        Some(_) if forked.insert((unit, at)) => other_ways.push(escaped),
                        Some(_) => way = None,
                    }
                }
            }
        }
        found
    }

    /// How many units from this one on stand there verbatim, with no choice.
    fn same(&self, unit: usize, rest: &[u8]) -> usize {
        let pairs = self.bytes[unit..].iter().zip(rest);
        pairs.take_while(|(unit, byte)| unit == byte && !matches!(byte, b'%' | b'\\')).count()
    }

    /// Reads an escape of `unit` at the start of `rest`, which is a `%` or a `\`.
    fn escape(&self, unit: usize, rest: &[u8]) -> Escape {
        let alternatives = self.alternatives(unit);
        match rest {
            [b'%', ..] => {
                either(alternatives.iter().map(|&byte| spelled(rest, &[b'%', hex(byte >> 4), hex(byte)], 1, 1)))
            }
            [b'\\', b'u', ..] | [b'\\'] if self.kind == Kind::Text => self.unicode_escape(unit, rest),
            [b'\\', b'u', ..] | [b'\\'] => either(
                alternatives
                    .iter()
                    .map(|&byte| spelled(rest, &[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte)], 2, 1)),
            ),
            [b'\\', short, ..] if short_escape(*short).is_some_and(|byte| alternatives.contains(&byte)) => {
                Escape::Whole { units: 1, bytes: 2 }
            }
            _ => Escape::Other,
        }
    }

    /// `\uXXXX` of the character that begins at `unit`; two of them for a character beyond U+FFFF.
    fn unicode_escape(&self, unit: usize, rest: &[u8]) -> Escape {
        let Some(character) = self.bytes[unit..(unit + 4).min(self.bytes.len())]
            .utf8_chunks()
            .next()
            .and_then(|chunk| chunk.valid().chars().next())
        else {
            return Escape::Other;
        };
        let mut expected = Zeroizing::new(Vec::with_capacity(12));
        for code in character.encode_utf16(&mut [0; 2]) {
            let [high, low] = code.to_be_bytes();
            expected.extend([b'\\', b'u', hex(high >> 4), hex(high), hex(low >> 4), hex(low)]);
        }
        spelled(rest, &expected, 2, character.len_utf8())
    }
}

/// What the byte after a `\` stands for in JSON (RFC 8259 7).
pub(super) fn short_escape(byte: u8) -> Option<u8> {
    match byte {
        b'"' | b'\\' | b'/' => Some(byte),
        b'b' => Some(0x08),
        b'f' => Some(0x0c),
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        _ => None,
    }
}

/// Compares with one expected escape, whose hexadecimal digits (all but the first `marks` of every six bytes) may be
/// of either case.
fn spelled(rest: &[u8], expected: &[u8], marks: usize, units: usize) -> Escape {
    for (at, &wanted) in expected.iter().enumerate() {
        match rest.get(at) {
            None => return Escape::Open,
            Some(&byte) if byte == wanted || at % 6 >= marks && byte.to_ascii_lowercase() == wanted => {}
            Some(_) => return Escape::Other,
        }
    }
    Escape::Whole { units, bytes: expected.len() }
}

/// The first that is an escape, else an open one.
fn either(escapes: impl Iterator<Item = Escape>) -> Escape {
    let mut open = false;
    for escape in escapes {
        match escape {
            Escape::Whole { .. } => return escape,
            Escape::Open => open = true,
            Escape::Other => {}
        }
    }
    if open { Escape::Open } else { Escape::Other }
}

/// The low four bits as a lower-case hexadecimal digit.
fn hex(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble & 0xf)]
}

/// The characters of a sextet: one in both alphabets (RFC 4648 4 and 5), or one in each, the standard one first.
fn base64_characters(sextet: u8) -> impl Iterator<Item = u8> {
    let standard = BASE64_ALPHABET[usize::from(sextet)];
    let url_safe = match standard {
        b'+' => Some(b'-'),
        b'/' => Some(b'_'),
        _ => None,
    };
    std::iter::once(standard).chain(url_safe)
}
