//! Tests of matching, against examples and against a matcher that tries every pattern.

use proptest::prelude::*;

use super::*;

/// `GET,POST host/path`, each part but the path optional.
fn pattern(text: &str) -> Pattern {
    let (methods, place) = text.split_once(' ').unwrap_or(("", text));
    let (host, path) = place.split_once('/').expect("a path");
    let segments = path.split('/').map(|segment| match segment {
        rest if rest.starts_with("{*") => PatternSegment::Rest,
        name if name.starts_with('{') => PatternSegment::Parameter,
        literal => PatternSegment::Literal(literal.to_owned()),
    });
    Pattern {
        host: (!host.is_empty()).then(|| host.to_owned()),
        methods: methods.split(',').filter(|method| !method.is_empty()).map(method).collect(),
        segments: segments.collect(),
    }
}

fn method(name: &str) -> Method {
    name.parse().expect("a method")
}

/// What matched, as text: the pattern, its parameters, its rest.
fn matched(patterns: &[&str], request: &str) -> String {
    let table = RouteTable::new(&patterns.iter().map(|text| pattern(text)).collect::<Vec<_>>());
    let (name, place) = request.split_once(' ').expect("a method");
    let (host, path) = place.split_at(place.find('/').unwrap_or(0));
    match table.matches(host, &method(name), path) {
        Ok(found) => {
            let parameters = found.parameters.iter().map(|range| format!(" {}", &path[range.clone()]));
            let rest = found.rest.map(|range| format!(" *{}", &path[range])).unwrap_or_default();
            format!("{}{}{rest}", patterns[found.route], parameters.collect::<String>())
        }
        Err(NoRoute::NotFound) => "404".to_owned(),
        Err(NoRoute::MethodNotAllowed(methods)) => format!("405 {methods:?}"),
    }
}

#[test]
fn the_most_specific_route_wins() {
    let routes = ["/{*rest}", "/crm/{*rest}", "/crm/{id}", "/crm/{id}/orders", "/crm/new", "/crm/new/{a}/{b}", "/crm"];
    let cases = [
        ("GET /crm/new", "/crm/new"),
        ("GET /crm/7", "/crm/{id} 7"),
        ("GET /crm/7/orders", "/crm/{id}/orders 7"),
        // Back from a literal that leads nowhere to a parameter, and on to a rest.
        ("GET /crm/new/orders", "/crm/{id}/orders new"),
        ("GET /crm/new/1/2", "/crm/new/{a}/{b} 1 2"),
        ("GET /crm/new/1", "/crm/{*rest} */new/1"),
        ("GET /crm/7/orders/8", "/crm/{*rest} */7/orders/8"),
        ("GET /crm", "/crm"),
        ("GET /crm/", "/crm/{*rest} */"),
        ("GET /crmx", "/{*rest} */crmx"),
        ("GET /", "/{*rest} */"),
    ];
    for (request, expected) in cases {
        assert_eq!(matched(&routes, request), expected, "{request}");
    }
}

/// SEC-01: what a rest matched keeps its slashes, also empty segments; an encoded slash separates nothing.
#[test]
fn a_rest_is_passed_on_as_it_came() {
    let routes = ["/crm/{*rest}", "/s3/{bucket}/{*key}"];
    let cases = [
        ("GET /crm", "/crm/{*rest} *"),
        ("GET /crm/", "/crm/{*rest} */"),
        ("GET /crm//a//", "/crm/{*rest} *//a//"),
        ("GET /crm/a%2Fb", "/crm/{*rest} */a%2Fb"),
        ("GET /s3/b//k", "/s3/{bucket}/{*key} b *//k"),
        ("GET /s3/b", "/s3/{bucket}/{*key} b *"),
        ("GET /s3/a%2Fb/k", "/s3/{bucket}/{*key} a%2Fb */k"),
        ("GET /s3//k", "404"),
        ("GET /crm%2Fa", "404"),
        ("GET /CRM/a", "404"),
        ("GET //crm/a", "404"),
        ("OPTIONS *", "404"),
    ];
    for (request, expected) in cases {
        assert_eq!(matched(&routes, request), expected, "{request}");
    }
}

/// SEC-01, SEC-03: what the upstream reads as a route's literal matches as one, so that no spelling leads past a route to a
/// less specific one; a separator it is not.
#[test]
fn a_literal_matches_however_it_is_spelled() {
    let routes =
        ["/crm/{*rest}", "/crm/admin/{*rest}", "/a%20b", "/@scope%2Fname", "/100%25", "/%C3%9Cber", "/x:y", "/%2541"];
    let cases = [
        ("GET /crm/%61dmin/x", "/crm/admin/{*rest} */x"),
        ("GET /%63r%6D/%61%64%6d%69%6e/%78", "/crm/admin/{*rest} */%78"),
        ("GET /crm/%61dmin", "/crm/admin/{*rest} *"),
        ("GET /crm/%2561dmin/x", "/crm/{*rest} */%2561dmin/x"),
        ("GET /crm/admin%2Fx", "/crm/{*rest} */admin%2Fx"),
        ("GET /crm/admin%3Ba=b/x", "/crm/{*rest} */admin%3Ba=b/x"),
        ("GET /crm%2Fadmin/x", "404"),
        ("GET /a%20b", "/a%20b"),
        ("GET /%61%20%62", "/a%20b"),
        ("GET /@scope%2fname", "/@scope%2Fname"),
        ("GET /%40scope%2Fname", "/@scope%2Fname"),
        ("GET /@scope/name", "404"),
        ("GET /100%25", "/100%25"),
        ("GET /%c3%9cber", "/%C3%9Cber"),
        ("GET /x%3Ay", "/x:y"),
        ("GET /%2541", "/%2541"),
        ("GET /%41", "404"),
        ("GET /A", "404"),
    ];
    for (request, expected) in cases {
        assert_eq!(matched(&routes, request), expected, "{request}");
    }
}

#[test]
fn a_parameter_is_one_segment_and_not_empty() {
    assert_eq!(matched(&["/a/{x}/c"], "GET /a//c"), "404");
    assert_eq!(matched(&["/a/{x}"], "GET /a/"), "404");
    assert_eq!(matched(&["/a/{x}"], "GET /a/b/"), "404");
    assert_eq!(matched(&["/a/"], "GET /a/"), "/a/");
    assert_eq!(matched(&["/a/"], "GET /a"), "404");
    assert_eq!(matched(&["/"], "GET /"), "/");
}

#[test]
fn a_host_narrows_and_other_hosts_fall_through() {
    let routes = ["/a", "/{*rest}", "api.test/{*rest}", "POST shop.test/a"];
    assert_eq!(matched(&routes, "GET api.test/a"), "api.test/{*rest} */a");
    assert_eq!(matched(&routes, "GET other.test/a"), "/a");
    assert_eq!(matched(&routes, "GET shop.test/a"), "/a");
    assert_eq!(matched(&routes, "POST shop.test/a"), "POST shop.test/a");
    assert_eq!(matched(&routes[2..], "GET other.test/a"), "404");
}

#[test]
fn methods_narrow_and_get_serves_head() {
    let routes = ["GET,PUT /a/{x}", "/b", "DELETE /b", "GET /c", "HEAD /c", "POST /a/{*rest}"];
    assert_eq!(matched(&routes, "GET /a/1"), "GET,PUT /a/{x} 1");
    assert_eq!(matched(&routes, "HEAD /a/1"), "GET,PUT /a/{x} 1");
    assert_eq!(matched(&routes, "POST /a/1"), "POST /a/{*rest} */1");
    assert_eq!(matched(&routes, "DELETE /b"), "DELETE /b");
    assert_eq!(matched(&routes, "PURGE /b"), "/b");
    assert_eq!(matched(&routes, "HEAD /c"), "HEAD /c");
    assert_eq!(matched(&routes, "DELETE /a/1"), "405 [GET, HEAD, PUT, POST]");
    assert_eq!(matched(&routes, "DELETE /a/1/2"), "405 [POST]");
    assert_eq!(matched(&routes, "DELETE /d"), "404");
}

/// How specific a pattern is for a request, smaller is more; `None`: it does not match.
fn rank(pattern: &Pattern, host: &str, wanted: &Method, path: &str) -> Option<(bool, Vec<u8>, u8)> {
    if pattern.host.as_deref().is_some_and(|own| own != host) {
        return None;
    }
    let method = match &pattern.methods[..] {
        [] => 2,
        methods if methods.contains(wanted) => 0,
        methods if wanted == Method::HEAD && methods.contains(&Method::GET) => 1,
        _ => return None,
    };
    let mut segments = path[1..].split('/');
    let mut ways = Vec::new();
    for wanted in &pattern.segments {
        match (wanted, segments.next()) {
            (PatternSegment::Rest, _) => {
                ways.push(2);
                return Some((pattern.host.is_none(), ways, method));
            }
            (PatternSegment::Literal(literal), Some(segment)) if literal == segment => ways.push(0),
            (PatternSegment::Parameter, Some(segment)) if !segment.is_empty() => ways.push(1),
            _ => return None,
        }
    }
    segments.next().is_none().then_some((pattern.host.is_none(), ways, method))
}

/// A path with some of its unreserved characters percent-encoded; `which` says which, and in which digits.
fn respelled(path: &str, which: &[Option<bool>]) -> String {
    let mut which = which.iter().cycle();
    let respell = |character: char| match which.next().copied().flatten() {
        Some(upper) if character.is_ascii_alphanumeric() || "-._~".contains(character) => match upper {
            true => format!("%{:02X}", u32::from(character)),
            false => format!("%{:02x}", u32::from(character)),
        },
        _ => character.to_string(),
    };
    path.chars().map(respell).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2048)))]

    /// SEC-01: spelling unreserved characters differently (RFC 3986 section 6.2.2.2) never leads to another route, whichever
    /// of the pattern and the request spells them so.
    #[test]
    fn spelling_does_not_change_the_route(
        texts in prop::collection::vec("((GET|PUT) )?(/(a~|b|/?|o-k|\\{x\\})){0,3}(/a~|/\\{\\*r\\})", 1..9),
        path in "(/(a~|b|o-k|a%2Fb|a%20b|c|)){1,5}",
        in_patterns in prop::collection::vec(any::<Option<bool>>(), 1..9),
        in_path in prop::collection::vec(any::<Option<bool>>(), 1..9),
    ) {
        let plain: Vec<Pattern> = texts.iter().map(|text| pattern(text)).collect();
        let mut spelled = plain.clone();
        for segment in spelled.iter_mut().flat_map(|pattern| &mut pattern.segments) {
            if let PatternSegment::Literal(text) = segment {
                *text = respelled(text, &in_patterns);
            }
        }
        // What is an escape in the path already stays as it is: encoding its digits would be encoding twice.
        let escapes = ["%2F", "%20"];
        let other: String = path.split_inclusive('/').map(|segment| match escapes.iter().any(|it| segment.contains(it)) {
            true => segment.to_owned(),
            false => respelled(segment, &in_path),
        }).collect();
        let route = |patterns: &[Pattern], path: &str| {
            let found = RouteTable::new(patterns).matches("h", &Method::GET, path);
            found.map(|found| (found.route, found.parameters.len(), found.rest.map(|rest| path[rest].matches('/').count())))
        };
        let expected = route(&plain, &path);
        prop_assert_eq!(&route(&plain, &other), &expected, "{} for {}", &other, &path);
        prop_assert_eq!(&route(&spelled, &other), &expected, "{:?} for {:?}", &spelled, &plain);
    }

    /// The tree chooses the route that trying every pattern would, and refuses with the same methods.
    #[test]
    fn the_tree_chooses_as_trying_every_pattern_does(
        texts in prop::collection::vec("((GET|PUT|HEAD|GET,PUT) )?(h)?(/(a|b||\\{x\\})){0,3}(/a|/\\{\\*r\\})", 1..9),
        host in "h|i",
        name in "GET|PUT|HEAD|POST",
        path in "(/(a|b|c|)){1,5}",
    ) {
        let patterns: Vec<Pattern> = texts.iter().map(|text| pattern(text)).collect();
        let wanted = method(&name);
        let best = (0..patterns.len())
            .filter_map(|route| rank(&patterns[route], &host, &wanted, &path).map(|rank| (rank, route)))
            .min();
        match (RouteTable::new(&patterns).matches(&host, &wanted, &path), best) {
            (Ok(found), Some((_, route))) => {
                prop_assert_eq!(found.route, route);
                // What matched, put back in place, is the path again.
                let mut parameters = found.parameters.iter().map(|range| &path[range.clone()]);
                let rebuilt: String = patterns[route].segments.iter().map(|segment| match segment {
                    PatternSegment::Literal(literal) => format!("/{literal}"),
                    PatternSegment::Parameter => format!("/{}", parameters.next().expect("one for each")),
                    PatternSegment::Rest => path[found.rest.clone().expect("a rest")].to_owned(),
                }).collect();
                prop_assert_eq!(&rebuilt, &path);
                prop_assert_eq!(parameters.next(), None);
            }
            (Err(NoRoute::NotFound), None) => {
                let any = patterns.iter().any(|pattern| {
                    rank(&Pattern { methods: vec![], ..pattern.clone() }, &host, &wanted, &path).is_some()
                });
                prop_assert!(!any);
            }
            (Err(NoRoute::MethodNotAllowed(allowed)), None) => {
                let mut tried = vec![Method::GET, Method::PUT, Method::HEAD, Method::POST];
                tried.retain(|other| patterns.iter().any(|pattern| rank(pattern, &host, other, &path).is_some()));
                prop_assert!(allowed.iter().all(|method| tried.contains(method)) && allowed.len() == tried.len());
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
