//! What a route's `path` matches.

use percent_encoding::percent_decode_str;

/// A parsed `path`: `/crm/{id}/{*rest}`. A literal is written as it may stand in a request, percent-encoded where it has to
/// be, and matches every spelling of what it means: see [`Segment::is_literal_for`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    /// As written.
    pub text: String,
    /// Between the slashes, in order. A rest stands last.
    pub segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    Literal(String),
    /// `{name}`: exactly one segment, not empty.
    Parameter(String),
    /// `{*name}`: all that follows, also nothing.
    Rest(String),
}

/// What is wrong with a pattern or a template, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError {
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl PatternError {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        PatternError { message: message.into(), hint: hint.into() }
    }
}

impl PathPattern {
    /// Parses a route's `path`.
    pub fn parse(text: &str) -> Result<PathPattern, PatternError> {
        let body = text.strip_prefix('/').ok_or_else(|| {
            PatternError::new("a path begins with `/`", format!("write \"/{}\"", text.trim_start_matches('*')))
        })?;
        let mut segments = Vec::new();
        for segment in body.split('/') {
            if matches!(segments.last(), Some(Segment::Rest(_))) {
                return Err(PatternError::new(
                    "`{*rest}` stands last: nothing can follow it",
                    "write `{name}` for one segment",
                ));
            }
            let segment = Segment::parse(segment)?;
            let known = segment.name().is_some_and(|name| segments.iter().any(|s: &Segment| s.name() == Some(name)));
            if known {
                let name = segment.name().unwrap_or_default();
                return Err(PatternError::new(
                    format!("two placeholders of this path are called `{name}`"),
                    "give one of them another name",
                ));
            }
            segments.push(segment);
        }
        Ok(PathPattern { text: text.to_owned(), segments })
    }

    /// Whether it ends with `{*rest}`.
    pub fn has_rest(&self) -> bool {
        matches!(self.segments.last(), Some(Segment::Rest(_)))
    }

    /// Whether both match exactly the same paths: the names of placeholders do not count.
    pub fn same_shape(&self, other: &PathPattern) -> bool {
        let alike = |(a, b): (&Segment, &Segment)| match (a, b) {
            (a, Segment::Literal(b)) => a.is_literal_for(b),
            (Segment::Parameter(_), Segment::Parameter(_)) | (Segment::Rest(_), Segment::Rest(_)) => true,
            _ => false,
        };
        self.segments.len() == other.segments.len() && self.segments.iter().zip(&other.segments).all(alike)
    }

    /// Where this placeholder stands in it.
    pub(super) fn index_of(&self, wanted: &Segment) -> Result<usize, PatternError> {
        self.segments.iter().position(|segment| segment == wanted).ok_or_else(|| {
            let names: Vec<String> = self.segments.iter().filter_map(Segment::written).collect();
            let hint = match names.is_empty() {
                true => format!("`{}` has none", self.text),
                false => format!("`{}` has `{}`", self.text, names.join("`, `")),
            };
            let wanted = wanted.written().unwrap_or_default();
            PatternError::new(format!("`{wanted}` is no placeholder of the route's path"), hint)
        })
    }
}

impl Segment {
    pub(super) fn parse(text: &str) -> Result<Segment, PatternError> {
        let Some(inner) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
            if text.contains(['{', '}']) {
                return Err(PatternError::new(
                    "a placeholder takes a whole segment, from `/` to `/`",
                    "write such as \"/orders/{id}/lines\"",
                ));
            }
            if let Some(hint) = placeholder_of_others(text) {
                return Err(PatternError::new(format!("`{text}` is no placeholder"), hint));
            }
            check_literal(text)?;
            return Ok(Segment::Literal(text.to_owned()));
        };
        match inner.strip_prefix('*') {
            Some(name) => placeholder_name(name).map(Segment::Rest),
            None => placeholder_name(inner).map(Segment::Parameter),
        }
    }

    /// Whether this is a literal that a request's segment meets: both mean the same once they are percent-decoded, as the
    /// upstream will read it (RFC 3986 section 6.2.2.2). An encoded slash meets only an encoded slash (SEC-01).
    pub fn is_literal_for(&self, segment: &str) -> bool {
        match self {
            Segment::Literal(text) => percent_decode_str(text).eq(percent_decode_str(segment)),
            Segment::Parameter(_) | Segment::Rest(_) => false,
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Segment::Literal(_) => None,
            Segment::Parameter(name) | Segment::Rest(name) => Some(name),
        }
    }

    /// A placeholder as it is written.
    fn written(&self) -> Option<String> {
        match self {
            Segment::Literal(_) => None,
            Segment::Parameter(name) => Some(format!("{{{name}}}")),
            Segment::Rest(name) => Some(format!("{{*{name}}}")),
        }
    }
}

fn placeholder_name(name: &str) -> Result<String, PatternError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(legal) {
        return Err(PatternError::new(
            "a placeholder's name is made of letters, digits and `_`",
            "write `{name}` for one segment, `{*name}` for all that follows",
        ));
    }
    Ok(name.to_owned())
}

/// How other programs write a placeholder, and how it is written here: taken literally, it would match nothing that is
/// asked for.
fn placeholder_of_others(text: &str) -> Option<String> {
    let is_name = |name: &str| !name.is_empty() && placeholder_name(name).is_ok();
    match (text, text.split_at_checked(1)) {
        ("*" | "**", _) => Some("write `{*rest}` for all that follows".to_owned()),
        (_, Some((":", name))) if is_name(name) => Some(format!("write `{{{name}}}` for one segment")),
        (_, Some(("*", name))) if is_name(name) => Some(format!("write `{{*{name}}}` for all that follows")),
        _ => None,
    }
}

/// A literal part of a path: bytes that can stand in a request line, and no dot segment in any reading (SEC-02).
pub(super) fn check_literal(text: &str) -> Result<(), PatternError> {
    if text.contains(['?', '#']) {
        return Err(PatternError::new("a path has no query and no fragment", "the query passes by itself"));
    }
    if text.bytes().any(|byte| !(0x21..=0x7e).contains(&byte) || b"\"<>\\^`|".contains(&byte)) {
        return Err(PatternError::new(
            "a path is written as it stands in a request, where this is percent-encoded",
            "write a space as `%20`, say",
        ));
    }
    let decoded: Vec<u8> = percent_decode_str(text).collect();
    let dots = |piece: &[u8]| piece == b"." || piece == b"..";
    if decoded.split(|byte| matches!(byte, b'/' | b'\\' | b';')).any(dots) {
        return Err(PatternError::new("a path has no `.` or `..` segment", "write the path that it would lead to"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn segments_stand_between_the_slashes() {
        let literal = |text: &str| Segment::Literal(text.to_owned());
        assert_eq!(pattern("/").segments, [literal("")]);
        assert_eq!(pattern("/a/").segments, [literal("a"), literal("")]);
        assert_eq!(
            pattern("/a/{id}/{*rest}").segments,
            [literal("a"), Segment::Parameter("id".into()), Segment::Rest("rest".into())]
        );
        for text in ["@scope%2Fname", "items:batchGet", ":", "*-*"] {
            assert_eq!(pattern(&format!("/{text}")).segments, [literal(text)]);
        }
    }

    /// SEC-02: a pattern cannot name what no request may ask for.
    #[test]
    fn patterns_that_are_no_paths_are_refused() {
        let cases = [
            "",
            "crm",
            "*",
            "/*",
            "/a{id}",
            "/{id}b",
            "/{}",
            "/{*}",
            "/{a-b}",
            "/{*rest}/b",
            "/{a}/{a}",
            "/{a}/{*a}",
            "/a?b",
            "/a#b",
            "/a b",
            "/ä",
            "/a\\b",
            "/./b",
            "/a/..",
            "/%2e%2e/a",
            "/a/..;x",
            "/a%2F..%2Fb",
            "/{a",
            "/a/:id",
            "/a/*rest",
        ];
        assert_eq!(cases.len(), 25);
        for text in cases {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_shape_of_a_path_does_not_depend_on_names() {
        assert!(pattern("/a/{id}").same_shape(&pattern("/a/{key}")));
        assert!(pattern("/a/{*rest}").same_shape(&pattern("/a/{*path}")));
        for other in ["/a/b", "/a/{*rest}", "/a/{id}/", "/b/{id}"] {
            assert!(!pattern("/a/{id}").same_shape(&pattern(other)), "{other}");
        }
    }

    /// SEC-01: the spelling of a literal does not count either, but an encoded slash separates nothing.
    #[test]
    fn the_shape_of_a_path_does_not_depend_on_spelling() {
        for (one, other) in [("/admin", "/%61dm%69n"), ("/a%20b", "/%61%20b"), ("/a%2Fb", "/a%2fb"), ("/a%3Ab", "/a:b")]
        {
            assert!(pattern(one).same_shape(&pattern(other)), "{one} {other}");
        }
        for (one, other) in [("/a/b", "/a%2Fb"), ("/%2561", "/%61"), ("/a", "/A"), ("/a", "/{a}"), ("/a", "/a%3B")] {
            assert!(!pattern(one).same_shape(&pattern(other)), "{one} {other}");
        }
    }
}
