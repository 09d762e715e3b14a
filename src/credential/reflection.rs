//! What a token endpoint says is quoted in logs and problem documents, but never with our own secret in it: some
//! servers repeat the request in their error descriptions.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use memchr::memmem;
use percent_encoding::percent_decode;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Of a longer secret, any part this long counts: servers shorten and underline what they quote.
const PART_BYTES: usize = 8;
/// What is longer is not looked through, and not quoted.
const QUOTED_FROM_BYTES_MAX: usize = 4 * 1024;
/// How often a text is taken to be encoded: a percent-encoded text in a JSON string in a form field.
const DECODINGS_MAX: usize = 3;

/// Recognises secrets, verbatim, percent-, form-, base64-, hex- or JSON-encoded.
pub(super) struct Reflections<'a> {
    /// None of them is empty.
    secrets: Vec<&'a [u8]>,
    /// Parts of the secrets as base64 writes them, at each of the three positions a byte can have in it.
    base64: Vec<Zeroizing<String>>,
}

impl<'a> Reflections<'a> {
    pub(super) fn of(secrets: &[&'a Secret]) -> Self {
        let secrets = secrets.iter().map(|secret| secret.expose().as_bytes()).filter(|secret| !secret.is_empty());
        let secrets: Vec<_> = secrets.collect();
        let mut base64 = Vec::new();
        for secret in &secrets {
            let form: Zeroizing<String> = Zeroizing::new(form_urlencoded::byte_serialize(secret).collect());
            base64.extend(base64_parts(secret));
            // Most often the two are the same.
            if form.as_bytes() != *secret {
                base64.extend(base64_parts(form.as_bytes()));
            }
        }
        Reflections { secrets, base64 }
    }

    /// What of a text can be shown: without control characters and invisible ones, at most `bytes_max` bytes. `None` if
    /// nothing is left, or if a secret is in it.
    pub(super) fn quotable(&self, text: &str, bytes_max: usize) -> Option<String> {
        if text.len() > QUOTED_FROM_BYTES_MAX || self.are_in(text) {
            return None;
        }
        let visible: String = text
            .chars()
            .map(|char| if char.is_whitespace() { ' ' } else { char })
            .filter(|char| is_shown(*char))
            .collect();
        // Removing characters may have joined what they kept apart.
        if visible != text && self.are_in(&visible) {
            return None;
        }
        let visible = visible.trim();
        let end = (0..=bytes_max.min(visible.len())).rev().find(|end| visible.is_char_boundary(*end))?;
        let shown = &visible[..end];
        match shown.len() {
            0 => None,
            length if length < visible.len() => Some(format!("{shown}…")),
            _ => Some(shown.to_owned()),
        }
    }

    /// Whether a secret, or a telling part of one, is in a text.
    fn are_in(&self, text: &str) -> bool {
        if self.secrets.is_empty() {
            return false;
        }
        let mut text = Cow::Borrowed(text.as_bytes());
        for _ in 0..DECODINGS_MAX {
            if self.are_in_as_written(&text) {
                return true;
            }
            match decoded(&text) {
                Some(decoded) => text = Cow::Owned(decoded),
                None => return false,
            }
        }
        self.are_in_as_written(&text)
    }

    fn are_in_as_written(&self, text: &[u8]) -> bool {
        // `+` is a space in a form and itself elsewhere, so the two are taken as one.
        let spaced =
            |bytes: &[u8]| -> Vec<u8> { bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect() };
        let (spaced_text, lower_text) = (spaced(text), text.to_ascii_lowercase());
        for secret in &self.secrets {
            for part in spaced(secret).windows(PART_BYTES.min(secret.len())) {
                if memmem::find(&spaced_text, part).is_some() {
                    return true;
                }
            }
            for part in secret.windows(PART_BYTES.min(secret.len())) {
                let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
                if memmem::find(&lower_text, hex.as_bytes()).is_some() {
                    return true;
                }
            }
        }
        // The URL's alphabet is folded into the standard one, and line breaks are left out.
        let folded: Vec<u8> = text
            .iter()
            .filter(|byte| !byte.is_ascii_whitespace())
            .map(|byte| match byte {
                b'-' => b'+',
                b'_' => b'/',
                other => *other,
            })
            .collect();
        self.base64.iter().any(|part| memmem::find(&folded, part.as_bytes()).is_some())
    }
}

/// The characters that base64 has for these bytes wherever they stand in what is encoded, in parts of [`PART_BYTES`].
fn base64_parts(bytes: &[u8]) -> Vec<Zeroizing<String>> {
    let mut parts = Vec::new();
    for part in bytes.windows(PART_BYTES.min(bytes.len()).max(1)) {
        for before in 0..3_usize {
            let mut padded = Zeroizing::new(vec![0; before]);
            padded.extend_from_slice(part);
            let encoded = Zeroizing::new(STANDARD_NO_PAD.encode(&*padded));
            // Only the characters whose six bits are all the secret's own.
            let own = &encoded[(before * 8).div_ceil(6)..padded.len() * 8 / 6];
            if own.len() >= 4 {
                parts.push(Zeroizing::new(own.to_owned()));
            }
        }
    }
    parts
}

/// One layer of encoding less: percent escapes and the escapes of JSON. `None` if there is nothing to undo.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let plain: Vec<u8> = percent_decode(text).collect();
    let unescaped = std::str::from_utf8(&plain)
        .ok()
        .filter(|plain| plain.contains('\\'))
        .and_then(|plain| serde_json::from_str::<String>(&format!("\"{plain}\"")).ok());
    let decoded = unescaped.map_or(plain, String::into_bytes);
    (decoded != text).then_some(decoded)
}

/// Neither a control character nor one that reorders or hides its neighbours (Unicode's Cf, as far as it matters here).
fn is_shown(char: char) -> bool {
    let invisible = matches!(char, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !char.is_control() && !invisible
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    use super::*;

    const SECRET: &str = "s3cret+/=:x and more";

    fn quote(text: &str) -> Option<String> {
        Reflections::of(&[&Secret::new("another secret"), &Secret::new(SECRET)]).quotable(text, 200)
    }

    /// The attack K14: the secret in an error description, in every spelling.
    #[test]
    fn a_text_with_the_secret_in_any_spelling_is_not_quoted() {
        let percent = utf8_percent_encode(SECRET, NON_ALPHANUMERIC).to_string();
        let form: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
        let hex: String = SECRET.bytes().map(|byte| format!("{byte:02X}")).collect();
        let spellings = [
            SECRET.to_owned(),
            percent.to_lowercase(),
            utf8_percent_encode(&percent, NON_ALPHANUMERIC).to_string(),
            percent,
            form.clone(),
            hex.to_lowercase(),
            hex,
            STANDARD.encode(SECRET),
            URL_SAFE.encode(SECRET),
            STANDARD.encode(format!("i:{SECRET}")),
            STANDARD.encode(format!("id:{SECRET}")),
            STANDARD.encode(format!("cid:{form}")),
            SECRET.replace('/', "\\/"),
            SECRET.chars().map(|char| format!("\\u{:04x}", u32::from(char))).collect(),
            // Cut short, and with a character that is not shown in its middle.
            SECRET[..12].to_owned(),
            format!("{}\u{200b}{}", &SECRET[..5], &SECRET[5..10]),
            format!("{}\u{0}{}", &SECRET[..5], &SECRET[5..10]),
        ];
        for spelling in spellings {
            assert_eq!(quote(&format!("the secret {spelling} is wrong")), None, "{spelling}");
        }
        assert_eq!(quote("the secret is wrong").as_deref(), Some("the secret is wrong"));
    }

    /// The attack K09: an error text that would forge log lines.
    #[test]
    fn control_characters_are_taken_out_and_the_length_is_bounded() {
        assert_eq!(quote("a\r\nb\u{1b}[31m\u{202e}c\u{7f}").as_deref(), Some("a  b[31mc"));
        assert_eq!(quote("\r\n\u{0}"), None);
        let long = quote(&"é".repeat(300)).unwrap();
        assert_eq!(long.trim_end_matches('…').len(), 200);
        assert_eq!(quote(&"a".repeat(QUOTED_FROM_BYTES_MAX + 1)), None);
    }

    #[test]
    fn a_short_or_empty_secret_does_not_panic() {
        for secret in ["", "a", "ab", "abc", "é"] {
            let secret = Secret::new(secret);
            let reflections = Reflections::of(&[&secret]);
            let quoted = reflections.quotable("x abc é", 5);
            assert_eq!(quoted.is_some(), secret.expose().is_empty(), "{quoted:?}");
        }
    }
}
