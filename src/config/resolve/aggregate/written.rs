//! Texts with placeholders, and dotted paths, as they are written: `{profile.orders.0.id}`, `{query.page?}`, `{x|text}`.

use super::super::Why;
use crate::config::Absent;
use crate::config::braces::{self, LoneBrace, Piece};

/// What a text is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    Text(String),
    Placeholder(Placeholder),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placeholder {
    /// With its braces.
    pub written: String,
    /// At least one.
    pub names: Vec<String>,
    pub absent: Absent,
}

/// Reads a text in which `{{` and `}}` stand for braces.
pub(super) fn pieces(text: &str) -> Result<Vec<Written>, Why> {
    let pieces = braces::pieces(text).map_err(|LoneBrace| {
        let hint = "`{name}` stands for a value; a brace itself is written twice: `{{` or `}}`";
        ("it has a brace without its other one".to_owned(), hint.to_owned())
    })?;
    let piece = |piece| match piece {
        Piece::Text(text) => Ok(Written::Text(text)),
        Piece::Inside(inside) => placeholder(inside).map(Written::Placeholder),
    };
    pieces.into_iter().map(piece).collect()
}

/// The names of a dotted path. `\` takes what follows it as it is, such as a dot.
pub(super) fn dotted(text: &str) -> Result<Vec<String>, Why> {
    let (names, _) = names(text, &[])?;
    if names.iter().any(String::is_empty) {
        let hint = r"names stand between dots, such as `data.items`; a dot within a name is written `\.`, or `\\.` in double quotes";
        return Err((format!("`{text}` has an empty name"), hint.to_owned()));
    }
    Ok(names)
}

fn placeholder(inside: &str) -> Result<Placeholder, Why> {
    let written = format!("{{{inside}}}");
    let (names, rest) = names(inside, &['?', '|'])?;
    let absent = match rest {
        "" => Absent::Fails,
        "?" => Absent::LeavesOut,
        rest => match rest.strip_prefix('|') {
            Some(text) => Absent::Default(unescaped(text)),
            None => {
                let hint = "`{name?}` leaves out what it stands in, `{name|text}` has a default".to_owned();
                return Err((format!("`{written}` has something behind its `?`"), hint));
            }
        },
    };
    if names.iter().any(String::is_empty) {
        let hint = "write such as `{profile.number}`".to_owned();
        return Err((format!("`{written}` has an empty name"), hint));
    }
    Ok(Placeholder { written, names, absent })
}

/// The names up to one of these characters, and what is left from there on. What other languages of paths write in another
/// way is refused, since it would be the name of nothing.
fn names<'t>(text: &'t str, ends: &[char]) -> Result<(Vec<String>, &'t str), Why> {
    let mut names = vec![String::new()];
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        let last = names.last_mut().expect("there is always one");
        let is_whole_name = || text[at + 1..].chars().next().is_none_or(|next| next == '.' || ends.contains(&next));
        match c {
            c if escaped => {
                last.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '.' => names.push(String::new()),
            c if ends.contains(&c) => return Ok((names, &text[at..])),
            '[' | ']' => return Err(foreign(text, c)),
            '*' if last.is_empty() && is_whole_name() => return Err(foreign(text, c)),
            c => last.push(c),
        }
    }
    Ok((names, ""))
}

fn foreign(text: &str, c: char) -> Why {
    let hint = format!(
        "an item of a list is a number, such as `items.0`; `for_each`, `pick`, `drop` and `rename` enter lists by themselves, and a \
         `target` that begins with `$` is a JSONPath; a name with `{c}` is written `\\{c}`, or `\\\\{c}` in double quotes"
    );
    (format!("`{text}` has a `{c}`, which dotted paths do not know"), hint)
}

fn unescaped(text: &str) -> String {
    let mut characters = text.chars();
    let mut unescaped = String::with_capacity(text.len());
    while let Some(c) = characters.next() {
        unescaped.extend(if c == '\\' { characters.next() } else { Some(c) });
    }
    unescaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let shown = |piece: Written| match piece {
            Written::Text(text) => text,
            Written::Placeholder(Placeholder { names, absent, .. }) => format!("<{}>{absent:?}", names.join("/")),
        };
        pieces(text).unwrap().into_iter().map(shown).collect()
    }

    #[test]
    fn texts_are_made_of_text_and_placeholders() {
        assert_eq!(read("/orders"), ["/orders"]);
        assert_eq!(read("/c/{id}/x"), ["/c/", "<id>Fails", "/x"]);
        assert_eq!(read("{a.b.0}{c?}"), ["<a/b/0>Fails", "<c>LeavesOut"]);
        assert_eq!(read("{query.page|1}"), ["<query/page>Default(\"1\")"]);
        assert_eq!(read(r"{a|x?y|\}\\}"), [r#"<a>Default("x?y|}\\")"#]);
        assert_eq!(read(r"{a.b\.c\?}"), ["<a/b.c?>Fails"]);
        assert_eq!(read("{{{a}}}é"), ["{", "<a>Fails", "}é"]);
        assert_eq!(read("{{a}}"), ["{a}"]);
        assert!(read("").is_empty());
    }

    #[test]
    fn what_is_no_placeholder_is_refused() {
        for text in
            ["{", "}", "{a", "a}", "{a{b}}", "{}", "{a.}", "{.a}", "{a?b}", "{a??}", r"{a\}", "{a[0]}", "{a.*}", "{*?}"]
        {
            let (message, hint) = pieces(text).unwrap_err();
            assert!(!message.is_empty() && !hint.is_empty(), "{text}");
        }
    }

    #[test]
    fn dotted_paths_are_names() {
        assert_eq!(dotted("data.items").unwrap(), ["data", "items"]);
        assert_eq!(dotted(r"a\.b.c?|{}").unwrap(), ["a.b", "c?|{}"]);
        assert_eq!(dotted(r"a\[0\].\*.b*c").unwrap(), ["a[0]", "*", "b*c"]);
        for text in ["", ".", "a.", ".a", "a..b", "items[]", "items[0].id", "a.*", "*", "*.a"] {
            assert!(dotted(text).is_err(), "{text}");
        }
    }
}
