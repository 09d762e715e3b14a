//! How the paths of a route and the paths of its upstream map to each other: forwards for every request, backwards for
//! the URLs in answers (SEC-12).

use crate::config::{PathPattern, Segment, TemplatePiece, UpstreamPath};
use crate::route::Matched;

/// The path map of one route.
#[derive(Debug)]
pub struct PathMap {
    /// The path of the upstream's URL, without a slash at the end.
    prefix: String,
    pieces: Vec<Piece>,
    pattern: Vec<Segment>,
    /// Whether the upstream's path says all that the route's path has.
    invertible: bool,
}

#[derive(Debug)]
enum Piece {
    Literal(String),
    /// What the n-th `{name}` matched.
    Parameter(usize),
    Rest,
    MatchedPath,
}

impl PathMap {
    /// `prefix`: the path of the upstream's URL, without a slash at the end.
    pub fn new(pattern: &PathPattern, template: &UpstreamPath, prefix: &str) -> PathMap {
        let number = |segment: usize| {
            pattern.segments[..segment].iter().filter(|segment| matches!(segment, Segment::Parameter(_))).count()
        };
        let pieces: Vec<_> = template
            .pieces
            .iter()
            .map(|piece| match piece {
                TemplatePiece::Literal(text) => Piece::Literal(text.clone()),
                TemplatePiece::Parameter(segment) => Piece::Parameter(number(*segment)),
                TemplatePiece::Rest => Piece::Rest,
                TemplatePiece::MatchedPath => Piece::MatchedPath,
            })
            .collect();
        let says = |wanted: fn(&Piece, usize) -> bool, n| pieces.iter().any(|piece| wanted(piece, n));
        let invertible = says(|piece, _| matches!(piece, Piece::MatchedPath), 0)
            || pattern.segments.iter().enumerate().all(|(index, segment)| match segment {
                Segment::Literal(_) => true,
                Segment::Parameter(_) => {
                    says(|piece, n| matches!(piece, Piece::Parameter(m) if *m == n), number(index))
                }
                Segment::Rest(_) => says(|piece, _| matches!(piece, Piece::Rest), 0),
            });
        PathMap { prefix: prefix.to_owned(), pieces, pattern: pattern.segments.clone(), invertible }
    }

    /// The path to send for a matched path: the upstream's own in front, joined with exactly one slash; nothing is
    /// decoded, encoded or merged (SEC-03). `out`: what to write it in, in place of what is there.
    pub fn upstream_path(&self, mut out: String, path: &str, matched: &Matched) -> String {
        out.clear();
        out.push_str(&self.prefix);
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Parameter(number) => out.push_str(&path[matched.parameters[*number].clone()]),
                Piece::Rest => {
                    // The rest brings its own slash, or its absence.
                    if out.len() > self.prefix.len() && out.ends_with('/') {
                        out.pop();
                    }
                    out.push_str(matched.rest.clone().map_or("", |rest| &path[rest]));
                }
                Piece::MatchedPath => out.push_str(path),
            }
        }
        if out.is_empty() {
            out.push('/');
        }
        out
    }

    /// The path of this route that would be sent as `path`, or `None` if there is none, or not exactly one.
    pub fn route_path(&self, path: &str) -> Option<String> {
        if !self.invertible {
            return None;
        }
        let mut left = path.strip_prefix(self.prefix.as_str())?;
        if !left.is_empty() && !left.starts_with('/') {
            return None;
        }
        let mut parameters: Vec<Option<&str>> = vec![None; self.pattern.len()];
        let mut rest = "";
        for (index, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Literal(text) => {
                    let before_rest = matches!(self.pieces.get(index + 1), Some(Piece::Rest));
                    let text = if before_rest { text.strip_suffix('/').unwrap_or(text) } else { text };
                    left = left.strip_prefix(text)?;
                }
                Piece::Parameter(number) => {
                    let (value, after) = left.split_at(left.find('/').unwrap_or(left.len()));
                    if value.is_empty() || parameters[*number].is_some_and(|known| known != value) {
                        return None;
                    }
                    parameters[*number] = Some(value);
                    left = after;
                }
                Piece::Rest => {
                    if !left.is_empty() && !left.starts_with('/') {
                        return None;
                    }
                    rest = std::mem::take(&mut left);
                }
                Piece::MatchedPath => return self.matches(left).then(|| left.to_owned()),
            }
        }
        left.is_empty().then(|| self.compose(&parameters, rest))
    }

    fn compose(&self, parameters: &[Option<&str>], rest: &str) -> String {
        let mut out = String::new();
        let mut parameters = parameters.iter();
        for segment in &self.pattern {
            match segment {
                Segment::Literal(text) => out.extend(["/", text]),
                Segment::Parameter(_) => out.extend(["/", parameters.next().copied().flatten().unwrap_or_default()]),
                Segment::Rest(_) => out.push_str(rest),
            }
        }
        if out.is_empty() { "/".to_owned() } else { out }
    }

    /// Whether a path is one of this route's.
    fn matches(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else { return false };
        let mut segments = path.split('/');
        for expected in &self.pattern {
            match (expected, segments.next()) {
                (Segment::Rest(_), _) => return true,
                (literal, Some(segment)) if literal.is_literal_for(segment) => {}
                (Segment::Parameter(_), Some(segment)) if !segment.is_empty() => {}
                _ => return false,
            }
        }
        segments.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Segment {
        Segment::Literal(text.to_owned())
    }

    fn rest() -> Segment {
        Segment::Rest("rest".to_owned())
    }

    fn parameter(name: &str) -> Segment {
        Segment::Parameter(name.to_owned())
    }

    fn map(segments: Vec<Segment>, pieces: Vec<TemplatePiece>, prefix: &str) -> PathMap {
        PathMap::new(&PathPattern { text: String::new(), segments }, &UpstreamPath { pieces }, prefix)
    }

    fn matched<const N: usize>(parameters: [(usize, usize); N], rest: Option<std::ops::Range<usize>>) -> Matched {
        let parameters = parameters.into_iter().map(|(begin, end)| begin..end).collect();
        Matched { route: 0, parameters, rest }
    }

    #[test]
    fn what_is_sent_keeps_the_slash_or_its_absence() {
        let slashed = vec![TemplatePiece::Literal("/".into()), TemplatePiece::Rest];
        for pieces in [vec![TemplatePiece::Rest], slashed] {
            for (prefix, path, sent) in [
                ("/v2", "/crm", "/v2"),
                ("/v2", "/crm/", "/v2/"),
                ("/v2", "/crm/a%2Fb//c/", "/v2/a%2Fb//c/"),
                ("/v2", "/crm//a", "/v2//a"),
                ("", "/crm", "/"),
                ("", "/crm/", "/"),
                ("", "/crm/x", "/x"),
            ] {
                let map = map(vec![literal("crm"), rest()], pieces.clone(), prefix);
                assert_eq!(map.upstream_path("old".to_owned(), path, &matched([], Some(4..path.len()))), sent);
                assert!(map.route_path(sent).is_some(), "{sent}");
            }
        }
    }

    /// SEC-12: URLs of the upstream are recognised at a segment border only.
    #[test]
    fn paths_invert_at_a_segment_border() {
        let map = map(vec![literal("crm"), rest()], vec![TemplatePiece::Rest], "/v2");
        assert_eq!(map.route_path("/v2/customers").as_deref(), Some("/crm/customers"));
        assert_eq!(map.route_path("/v2").as_deref(), Some("/crm"));
        assert_eq!(map.route_path("/v2/").as_deref(), Some("/crm/"));
        assert_eq!(map.route_path("/v22/customers"), None);
        assert_eq!(map.route_path("/v1/customers"), None);
        assert_eq!(map.route_path("/"), None);
    }

    #[test]
    fn templates_with_parameters_invert_if_they_say_everything() {
        let segments = || vec![literal("a"), parameter("x"), literal("b"), parameter("y"), rest()];
        let pieces = vec![
            TemplatePiece::Literal("/".into()),
            TemplatePiece::Parameter(3),
            TemplatePiece::Literal("/of/".into()),
            TemplatePiece::Parameter(1),
            TemplatePiece::Rest,
        ];
        let full = map(segments(), pieces, "/v");
        assert_eq!(
            full.upstream_path(String::new(), "/a/1/b/22/c/", &matched([(3, 4), (7, 9)], Some(9..12))),
            "/v/22/of/1/c/"
        );
        assert_eq!(full.route_path("/v/22/of/1/c/").as_deref(), Some("/a/1/b/22/c/"));
        assert_eq!(full.route_path("/v/22/by/1/c/"), None);
        assert_eq!(full.route_path("/v//of/1/c/"), None);

        let partial = map(segments(), vec![TemplatePiece::Rest], "/v");
        assert_eq!(partial.route_path("/v/c"), None, "the parameters cannot be known");
    }

    #[test]
    fn a_matched_path_inverts_to_paths_of_the_route_only() {
        let map = map(vec![literal("orders"), parameter("id")], vec![TemplatePiece::MatchedPath], "/v1");
        assert_eq!(map.upstream_path(String::new(), "/orders/7", &matched([(8, 9)], None)), "/v1/orders/7");
        assert_eq!(map.route_path("/v1/orders/8").as_deref(), Some("/orders/8"));
        assert_eq!(map.route_path("/v1/%6frders/8").as_deref(), Some("/%6frders/8"), "as the table matches it");
        for other in ["/v1/orders", "/v1/orders/", "/v1/orders/8/x", "/v1/customers/8", "/v1"] {
            assert_eq!(map.route_path(other), None, "{other}");
        }
    }

    #[test]
    fn a_fixed_upstream_path_inverts_to_the_one_path_of_its_route() {
        let fixed = map(vec![literal("status")], vec![TemplatePiece::Literal("/health/live".into())], "");
        assert_eq!(fixed.upstream_path(String::new(), "/status", &matched([], None)), "/health/live");
        assert_eq!(fixed.route_path("/health/live").as_deref(), Some("/status"));
        assert_eq!(fixed.route_path("/health/live/x"), None);
    }
}
