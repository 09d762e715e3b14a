//! What a route's path becomes upstream.

use super::pattern::{PathPattern, PatternError, Segment};

/// What is sent upstream, before the upstream's own path is put in front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamPath {
    pub pieces: Vec<TemplatePiece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePiece {
    Literal(String),
    /// What the pattern's segment of this index matched, as received.
    Parameter(usize),
    /// What the rest matched, with its leading slash if the request had one; empty where it matched nothing.
    Rest,
    /// The request's path as received.
    MatchedPath,
}

impl UpstreamPath {
    /// Without `upstream_path`: what the rest matched, or the matched path.
    pub fn default_of(pattern: &PathPattern) -> UpstreamPath {
        let piece = if pattern.has_rest() { TemplatePiece::Rest } else { TemplatePiece::MatchedPath };
        UpstreamPath { pieces: vec![piece] }
    }

    /// Parses an `upstream_path` that may use the placeholders of `pattern`.
    pub fn parse(text: &str, pattern: &PathPattern) -> Result<UpstreamPath, PatternError> {
        let body = text
            .strip_prefix('/')
            .ok_or_else(|| PatternError::new("an upstream path begins with `/`", format!("write \"/{text}\"")))?;
        let mut pieces = Vec::new();
        let mut literal = String::new();
        for segment in body.split('/') {
            if pieces.last() == Some(&TemplatePiece::Rest) {
                return Err(PatternError::new(
                    "`{*rest}` stands last: nothing can follow it",
                    "write `{name}` for one segment",
                ));
            }
            match Segment::parse(segment)? {
                Segment::Literal(text) => literal.extend(["/", &text]),
                // What the rest matched brings its own slash, or the absence of one.
                Segment::Rest(name) => {
                    pattern.index_of(&Segment::Rest(name))?;
                    flush(&mut literal, &mut pieces);
                    pieces.push(TemplatePiece::Rest);
                }
                Segment::Parameter(name) => {
                    let index = pattern.index_of(&Segment::Parameter(name))?;
                    literal.push('/');
                    flush(&mut literal, &mut pieces);
                    pieces.push(TemplatePiece::Parameter(index));
                }
            }
        }
        flush(&mut literal, &mut pieces);
        Ok(UpstreamPath { pieces })
    }
}

fn flush(literal: &mut String, pieces: &mut Vec<TemplatePiece>) {
    if !literal.is_empty() {
        pieces.push(TemplatePiece::Literal(std::mem::take(literal)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn templates_are_parsed_into_literals_and_placeholders() {
        let route = pattern("/a/{x}/b/{y}/{*rest}");
        let template = UpstreamPath::parse("/{y}/of/{x}/{*rest}", &route).unwrap();
        assert_eq!(
            template.pieces,
            [
                TemplatePiece::Literal("/".into()),
                TemplatePiece::Parameter(3),
                TemplatePiece::Literal("/of/".into()),
                TemplatePiece::Parameter(1),
                TemplatePiece::Rest,
            ]
        );
        let fixed = UpstreamPath::parse("/status/", &route).unwrap();
        assert_eq!(fixed.pieces, [TemplatePiece::Literal("/status/".into())]);
    }

    #[test]
    fn without_a_template_the_rest_is_sent_or_else_the_matched_path() {
        assert_eq!(UpstreamPath::default_of(&pattern("/crm/{*rest}")).pieces, [TemplatePiece::Rest]);
        assert_eq!(UpstreamPath::default_of(&pattern("/orders/{id}")).pieces, [TemplatePiece::MatchedPath]);
    }

    #[test]
    fn templates_with_unknown_placeholders_name_the_known_ones() {
        let error = UpstreamPath::parse("/{nmae}", &pattern("/{name}/{*rest}")).unwrap_err();
        assert_eq!(error.message, "`{nmae}` is no placeholder of the route's path");
        assert_eq!(error.hint, "`/{name}/{*rest}` has `{name}`, `{*rest}`");
        for text in ["x", "/{*other}", "/{rest}", "/../x", "/{name}x", "/x?y=1"] {
            assert!(UpstreamPath::parse(text, &pattern("/{name}/{*rest}")).is_err(), "{text}");
        }
    }
}
