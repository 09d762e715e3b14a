//! What a route fences: no spelling of a path leads around it, and no header makes another method of a request.

use crate::support::{Proxy, TokenEndpoint, Upstream, assert_problem, one_route};

/// The hash of `KEY`.
const KEY_SHA256: &str = "4ff482994c8f1d504aa852148b003d8c6fae7d515bb4c62eff6cc3f6207e502f";
const KEY: &str = "KEYKEY";

/// Beside `/api/{*rest}` for anyone, a route for one client inside it, and one for some methods.
fn setup() -> (TokenEndpoint, Upstream, Proxy) {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let more = format!(
        r#"
[clients.admin.key]
sha256 = ["{KEY_SHA256}"]

[[routes]]
path = "/api/admin/{{*rest}}"
upstream_path = "/admin/{{*rest}}"
upstream = "api"
clients = ["admin"]

[[routes]]
path = "/read/{{*rest}}"
methods = ["GET", "POST"]
upstream = "api"
clients = "anyone"
"#
    );
    let proxy = Proxy::start(&one_route(&endpoint, &upstream, &more));
    (endpoint, upstream, proxy)
}

/// SEC-01, SEC-03: the route table reads a path as the upstream will, and forwards it as it came.
#[test]
fn a_path_spelled_differently_takes_the_same_route() {
    let (_endpoint, upstream, proxy) = setup();
    for path in ["/api/admin/x", "/api/%61dmin/x", "/api/%61%64%6d%69%6E/x", "/%61pi/adm%69n/x"] {
        assert_problem(&proxy.get(path), 401);
        assert_eq!(proxy.send("GET", path, &[("X-Api-Key", KEY)], b"").status, 200, "{path}");
    }
    assert_eq!(proxy.get("/%61pi/%6frders/%61%2Fb").status, 200);
    let targets: Vec<_> = upstream.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/admin/x", "/admin/x", "/admin/x", "/admin/x", "/%6frders/%61%2Fb"]);
}

/// SEC-10: where a route names its methods, a request cannot carry another one past it; elsewhere such headers are the
/// upstream's business.
#[test]
fn a_header_does_not_override_the_methods_of_a_route() {
    let (_endpoint, upstream, proxy) = setup();
    let overrides = ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"];
    let fields = overrides.map(|name| (name, "DELETE"));
    for (path, passed) in [("/read/x", 0), ("/api/x", 3)] {
        assert_eq!(proxy.send("POST", path, &fields, b"x").status, 200);
        let request = upstream.requests().pop().unwrap();
        let there = overrides.iter().filter(|name| request.headers.get(name).is_some()).count();
        assert_eq!(there, passed, "{path}: {request:?}");
    }
}
