//! The `Link` field, RFC 8288 section 3.

use http::HeaderMap;
use http::header::LINK;

/// The target of the first link that leads to the next page.
pub(super) fn next(headers: &HeaderMap) -> Option<String> {
    headers.get_all(LINK).iter().find_map(|value| next_of(value.to_str().ok()?))
}

/// Reads links as section B.2 of the RFC does, until one is the next page's, or until something is no link.
fn next_of(mut text: &str) -> Option<String> {
    loop {
        text = text.trim_start_matches([' ', '\t', ',']);
        let (target, mut rest) = text.strip_prefix('<')?.split_once('>')?;
        let (mut relation, mut has_anchor) = (None, false);
        loop {
            rest = rest.trim_start_matches([' ', '\t']);
            let Some(parameter) = rest.strip_prefix(';') else { break };
            let (name, value, after) = read_parameter(parameter)?;
            // Of several the first one counts (section 3.3).
            if name.eq_ignore_ascii_case("rel") {
                relation.get_or_insert(value);
            } else if name.eq_ignore_ascii_case("anchor") {
                // It is a link from elsewhere.
                has_anchor = true;
            }
            rest = after;
        }
        let is_next =
            |relations: &String| relations.split_ascii_whitespace().any(|one| one.eq_ignore_ascii_case("next"));
        if relation.as_ref().is_some_and(is_next) && !has_anchor {
            return Some(target.trim().to_owned());
        }
        text = rest;
    }
}

/// Name, value and what follows of `name=value`, `name="value"` or `name`.
fn read_parameter(text: &str) -> Option<(&str, String, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    let end = text.find(['=', ';', ',', ' ', '\t']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = rest.trim_start_matches([' ', '\t']);
    let Some(rest) = rest.strip_prefix('=') else { return Some((name, String::new(), rest)) };
    let rest = rest.trim_start_matches([' ', '\t']);
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find([';', ',', ' ', '\t']).unwrap_or(rest.len());
        return Some((name, rest[..end].to_owned(), &rest[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((name, value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_next_page_is_found_wherever_it_stands() {
        let found = [
            "<https://api.test/x?page=2>; rel=\"next\"",
            "<https://api.test/x?page=2>; rel=next",
            "<https://api.test/x?page=2>;REL=\"Next\"",
            "<https://api.test/x?page=1>; rel=\"prev\", <https://api.test/x?page=2>; rel=\"next\", <https://api.test/x?page=9>; rel=\"last\"",
            "<https://api.test/x?page=2>; title=\"a, <b>; rel=prev\"; rel=\"next last\"",
            "</a>; title=\"quote \\\" and <x>; rel=next\", <https://api.test/x?page=2> ; rel = \"next\" ; x",
            "</a>; rel=prev; rel=next, , <https://api.test/x?page=2>; rel=next; rel=prev",
            "</a>; rel=next; anchor=\"#b\", <https://api.test/x?page=2>; rel=\"next\"",
            "</a>; x; rel=last,<https://api.test/x?page=2>;crossorigin;rel=\"next\"",
        ];
        for text in found {
            assert_eq!(next_of(text).as_deref(), Some("https://api.test/x?page=2"), "{text}");
        }
        let none = [
            "",
            "x",
            "<a>",
            "<a>; rel=prev",
            "<a; rel=next",
            "<a>; rel=\"next",
            "<a>; title=\"rel=next\"",
            "<a>; rel=nextt",
        ];
        for text in none {
            assert_eq!(next_of(text), None, "{text}");
        }
        assert_eq!((found.len(), none.len()), (9, 8));
    }

    #[test]
    fn every_line_of_the_field_is_read() {
        let lines = ["</1>; rel=prev", "no link", "</3>; rel=next"];
        let headers: HeaderMap = lines.iter().map(|line| (LINK, HeaderValue::from_static(line))).collect();
        assert_eq!(next(&headers).as_deref(), Some("/3"));
        assert_eq!(next(&HeaderMap::new()), None);
    }
}
