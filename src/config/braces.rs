//! Texts with something in braces, as every template of proxy.toml writes them: `{name}`, where `{{` and `}}` stand for braces.

/// What such a text is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) enum Piece<'t> {
    /// Never empty.
    Text(String),
    /// What stands between two braces.
    Inside(&'t str),
}

/// A brace that begins or ends nothing.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct LoneBrace;

/// Reads a text. Between braces `\` takes what follows it as it is, such as a brace, and stays for whoever reads on.
pub(in crate::config) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, LoneBrace> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut left = text;
    while let Some(at) = left.find(['{', '}']) {
        literal.push_str(&left[..at]);
        left = &left[at..];
        if let Some(rest) = left.strip_prefix("{{").or_else(|| left.strip_prefix("}}")) {
            literal.push_str(&left[..1]);
            left = rest;
            continue;
        }
        let inside = left.strip_prefix('{').and_then(inside).ok_or(LoneBrace)?;
        pieces.extend((!literal.is_empty()).then(|| Piece::Text(std::mem::take(&mut literal))));
        pieces.push(Piece::Inside(inside));
        left = &left[inside.len() + 2..];
    }
    literal.push_str(left);
    pieces.extend((!literal.is_empty()).then_some(Piece::Text(literal)));
    Ok(pieces)
}

/// What stands before the brace that ends it, at the beginning of this text.
fn inside(text: &str) -> Option<&str> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '}' => return Some(&text[..at]),
            '{' => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_made_of_text_and_what_stands_in_braces() {
        let text = |text: &str| Piece::Text(text.to_owned());
        let cases: [(&str, &[Piece<'_>]); 6] = [
            ("", &[]),
            ("a", &[text("a")]),
            ("{a}{}é", &[Piece::Inside("a"), Piece::Inside(""), text("é")]),
            ("{{{a}}}", &[text("{"), Piece::Inside("a"), text("}")]),
            ("{{a}}", &[text("{a}")]),
            (r"x{a|\}\{\\}", &[text("x"), Piece::Inside(r"a|\}\{\\")]),
        ];
        for (written, expected) in cases {
            assert_eq!(pieces(written).as_deref(), Ok(expected), "{written}");
        }
    }

    #[test]
    fn a_brace_without_its_other_one_is_refused() {
        for text in ["{", "}", "a{b", "a}", "{a}}", "{{}", "{a{b}", r"{a\}"] {
            assert_eq!(pieces(text), Err(LoneBrace), "{text}");
        }
    }
}
