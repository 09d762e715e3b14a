//! The most specific route wins: literal over `{name}` over `{*rest}`, segment by segment; host and method narrow.
//!
//! One tree of segments for each host, and one for the routes of any host, which is asked last. A route whose methods
//! do not include the request's does not match, so that a less specific route may. A route for GET serves HEAD too, as
//! RFC 9110 9.3.2 lets every client expect, unless another route of the same path names HEAD itself.
//!
//! Literals match what a segment means, not how it is spelled: `%61dmin` is `admin` to the upstream (RFC 3986 section
//! 6.2.2.2), and must be to us. What is forwarded stays as it came.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use http::Method;
use memchr::{memchr, memchr2};
use percent_encoding::percent_decode_str;

/// A pattern as the table needs it.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// Lower case, without port; `None`: any.
    pub host: Option<String>,
    /// Empty: all.
    pub methods: Vec<Method>,
    /// Between the slashes, in order; none is the same as one empty literal (`/`). A rest stands last.
    pub segments: Vec<PatternSegment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatternSegment {
    /// Percent-encoded where a request has to be; compared with a request's segment after decoding both once.
    Literal(String),
    /// One segment, not empty.
    Parameter,
    /// All that follows, also nothing.
    Rest,
}

/// Routes by index into what the table was built from.
#[derive(Debug)]
pub struct RouteTable {
    hosts: HashMap<String, Node>,
    any_host: Node,
}

/// A match. Ranges are bytes of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    pub route: usize,
    /// What each `{name}` matched, in order.
    pub parameters: Vec<Range<usize>>,
    /// What `{*rest}` matched, with its leading slash if the path had one there.
    pub rest: Option<Range<usize>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoute {
    /// No route has this host and path: 404.
    NotFound,
    /// Routes exist, for these methods: 405 with `Allow`.
    MethodNotAllowed(Vec<Method>),
}

impl RouteTable {
    /// Of two patterns that match the same requests, the first one is taken; the configuration refuses such.
    pub fn new(patterns: &[Pattern]) -> Self {
        let mut table = RouteTable { hosts: HashMap::new(), any_host: Node::default() };
        for (route, pattern) in patterns.iter().enumerate() {
            let root = match &pattern.host {
                Some(host) => table.hosts.entry(host.clone()).or_default(),
                None => &mut table.any_host,
            };
            let empty = [PatternSegment::Literal(String::new())];
            let segments = if pattern.segments.is_empty() { &empty } else { &pattern.segments[..] };
            root.insert(segments, Endpoint { methods: pattern.methods.clone(), route });
        }
        table
    }

    /// The route of a request. Allocates only for what parameters matched and for segments that are percent-encoded.
    ///
    /// `host`: lower case, without port. `path`: as received, without query, checked; what does not begin with a slash
    /// (`*`, say) is no path.
    pub fn matches(&self, host: &str, method: &Method, path: &str) -> Result<Matched, NoRoute> {
        if !path.starts_with('/') {
            return Err(NoRoute::NotFound);
        }
        for root in self.roots(host) {
            let matched = root.find(path, 0, &mut |endpoints: &[Endpoint]| choose(endpoints, method));
            if let Some(mut matched) = matched {
                matched.parameters.reverse();
                return Ok(matched);
            }
        }
        Err(self.why_not(host, path))
    }

    /// Whether any route depends on the host. If none does, it need not be known.
    pub fn knows_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }

    fn roots(&self, host: &str) -> impl Iterator<Item = &Node> {
        let own = if self.hosts.is_empty() { None } else { self.hosts.get(host) };
        own.into_iter().chain([&self.any_host])
    }

    /// Which methods the routes of this host and path have.
    #[cold]
    fn why_not(&self, host: &str, path: &str) -> NoRoute {
        let mut allowed: Vec<Method> = Vec::new();
        let mut allow = |method: &Method| {
            if !allowed.contains(method) {
                allowed.push(method.clone());
            }
        };
        for root in self.roots(host) {
            root.find(path, 0, &mut |endpoints| {
                for method in endpoints.iter().flat_map(|endpoint| &endpoint.methods) {
                    allow(method);
                    if method == Method::GET {
                        allow(&Method::HEAD);
                    }
                }
                None
            });
        }
        if allowed.is_empty() { NoRoute::NotFound } else { NoRoute::MethodNotAllowed(allowed) }
    }
}

/// All patterns that have begun with the same segments.
#[derive(Debug, Default)]
struct Node {
    /// Sorted; decoded. One that holds a slash is met by an encoded slash only (SEC-01).
    literals: Vec<(Box<[u8]>, Node)>,
    parameter: Option<Box<Node>>,
    /// Patterns that go on with a rest.
    rest: Vec<Endpoint>,
    /// Patterns that end here.
    end: Vec<Endpoint>,
}

#[derive(Debug)]
struct Endpoint {
    /// Empty: all.
    methods: Vec<Method>,
    route: usize,
}

impl Node {
    fn insert(&mut self, segments: &[PatternSegment], endpoint: Endpoint) {
        match segments {
            [] => self.end.push(endpoint),
            [PatternSegment::Rest, ..] => self.rest.push(endpoint),
            [PatternSegment::Parameter, more @ ..] => {
                self.parameter.get_or_insert_default().insert(more, endpoint);
            }
            [PatternSegment::Literal(literal), more @ ..] => {
                let literal: Box<[u8]> = percent_decode_str(literal).collect();
                let place = self.literals.binary_search_by(|(other, _)| other.cmp(&literal)).unwrap_or_else(|place| {
                    self.literals.insert(place, (literal, Node::default()));
                    place
                });
                self.literals[place].1.insert(more, endpoint);
            }
        }
    }

    /// Goes down from the slash at `from` (or the path's end), the most specific way first, until `choose` takes one
    /// of the routes that are found. Visits each node at most once. Parameters come last first, because they are
    /// written down on the way back, when they are known to belong to the match.
    fn find(&self, path: &str, from: usize, choose: &mut impl FnMut(&[Endpoint]) -> Option<usize>) -> Option<Matched> {
        let found = |route, rest| Matched { route, parameters: Vec::new(), rest };
        if from == path.len() {
            let end = choose(&self.end).map(|route| found(route, None));
            return end.or_else(|| choose(&self.rest).map(|route| found(route, Some(from..from))));
        }
        let start = from + 1;
        let (end, meaning) = segment(path, start);
        if let Ok(place) = self.literals.binary_search_by(|(literal, _)| (**literal).cmp(&*meaning))
            && let Some(matched) = self.literals[place].1.find(path, end, choose)
        {
            return Some(matched);
        }
        if let Some(node) = &self.parameter
            && start < end
            && let Some(mut matched) = node.find(path, end, choose)
        {
            matched.parameters.push(start..end);
            return Some(matched);
        }
        choose(&self.rest).map(|route| found(route, Some(from..path.len())))
    }
}

/// Where the segment that begins at `start` ends, and what it means: its bytes, decoded once. Most have nothing to decode.
fn segment(path: &str, start: usize) -> (usize, Cow<'_, [u8]>) {
    let bytes = path.as_bytes();
    match memchr2(b'/', b'%', &bytes[start..]).map(|length| start + length) {
        None => (path.len(), Cow::Borrowed(&bytes[start..])),
        Some(end) if bytes[end] == b'/' => (end, Cow::Borrowed(&bytes[start..end])),
        Some(encoded) => {
            let end = memchr(b'/', &bytes[encoded..]).map_or(path.len(), |length| encoded + length);
            (end, percent_decode_str(&path[start..end]).into())
        }
    }
}

/// The route among those of one pattern: one that names the method, else for HEAD one that names GET, else one for all.
fn choose(endpoints: &[Endpoint], method: &Method) -> Option<usize> {
    let naming = |wanted: &Method| endpoints.iter().find(|endpoint| endpoint.methods.contains(wanted));
    naming(method)
        .or_else(|| if method == Method::HEAD { naming(&Method::GET) } else { None })
        .or_else(|| endpoints.iter().find(|endpoint| endpoint.methods.is_empty()))
        .map(|endpoint| endpoint.route)
}

#[cfg(test)]
mod tests;
