//! Literal secrets in the file: what may be one is overwritten before anything of the file is shown.

use std::ops::Range;

use toml::de::DeValue;

use super::Value;
use super::check::SecretSource;

/// The bytes of every string, number and date in a value, but for those that say where to find something.
pub(in crate::config) fn leaves(value: &Value<'_>, found: &mut Vec<Range<usize>>) {
    if SecretSource::of(value).is_some() {
        return;
    }
    match value.get_ref() {
        DeValue::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        DeValue::Table(entries) => entries.iter().for_each(|(_, value)| leaves(value, found)),
        _ => found.push(value.span()),
    }
}

/// The text with these bytes overwritten with `*`. Quotes and line breaks stay, and so does every position.
pub(in crate::config) fn mask(text: &str, literals: &[Range<usize>]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for literal in literals {
        for byte in &mut bytes[literal.clone()] {
            if !matches!(byte, b'"' | b'\'' | b'\n' | b'\r') {
                *byte = b'*';
            }
        }
    }
    String::from_utf8(bytes).expect("literals begin and end at characters, and are overwritten whole")
}

/// The same for a file that is no TOML, where nobody can say what is a string and which key it belongs to: only headers,
/// keys and punctuation are left.
pub(in crate::config) fn mask_unparsed(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut multi_line = false;
    for line in text.split_inclusive('\n') {
        let shown = if multi_line { 0 } else { header_or_key(line) };
        masked.push_str(&line[..shown]);
        for c in line[shown..].chars() {
            match c {
                '[' | ']' | '{' | '}' | '"' | '\'' | ',' | '=' | '#' | '\n' => masked.push(c),
                c if c.is_ascii_whitespace() => masked.push(c),
                c => masked.extend(std::iter::repeat_n('*', c.len_utf8())),
            }
        }
        let delimiters = line.matches("\"\"\"").count() + line.matches("'''").count();
        multi_line ^= delimiters % 2 == 1;
    }
    masked
}

/// How much of a line is a table's header, or a key with its `=`.
fn header_or_key(line: &str) -> usize {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | '\t');
    if line.trim_start().starts_with('[') {
        return line.find(|c| !bare(c) && c != '[' && c != ']').unwrap_or(line.len());
    }
    let key = line.find(|c| !bare(c)).unwrap_or(line.len());
    if line[key..].starts_with('=') { key + 1 } else { 0 }
}
