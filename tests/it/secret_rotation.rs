//! A client secret that is replaced while the proxy runs, without `--watch` and without a signal.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::{Grant, Proxy, TokenEndpoint, Upstream, one_route_of};

/// So many take seconds: only a test that fails comes so far.
const REQUESTS_MAX: usize = 20_000;

/// Puts a file in place by a rename, as careful writers do.
fn write(folder: &Path, name: &str, secret: &str) {
    let (new, file) = (folder.join(format!("{name}.new")), folder.join(name));
    fs::write(&new, secret).unwrap();
    fs::rename(new, file).unwrap();
}

fn start(folder: &Path, endpoint: &TokenEndpoint, upstream: &Upstream, files: &[&str]) -> Proxy {
    let files: Vec<_> = files.iter().map(|name| format!("{{ file = \"{}\" }}", folder.join(name).display())).collect();
    let credential = format!(
        "[credentials.api.client_credentials]\ntoken_url = \"{}\"\nclient_id = \"attache\"\n\
         token_endpoint_auth_method = \"client_secret_post\"\nclient_secret = [{}]\n",
        endpoint.url(),
        files.join(", ")
    );
    Proxy::start(&one_route_of(&credential, &format!("url = \"{}\"", upstream.url()), ""))
}

fn secrets_sent(endpoint: &TokenEndpoint) -> Vec<String> {
    endpoint.requests().iter().map(|request| request.form("client_secret").unwrap()).collect()
}

fn tokens_sent(upstream: &Upstream) -> Vec<String> {
    upstream.requests().iter().map(|request| request.bearer().unwrap().rsplit_once('-').unwrap().1.to_owned()).collect()
}

/// TL-03, SEC-44: a file that is replaced is read again by itself. The new secret does not work yet: the old token serves
/// meanwhile, and no request waits or fails, until a fetch with the new one succeeds.
#[test]
fn the_old_token_serves_until_the_new_secret_works() {
    let (endpoint, folder) = (TokenEndpoint::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::guarded(endpoint.grants());
    write(folder.path(), "secret", "the-first\n");
    let proxy = start(folder.path(), &endpoint, &upstream, &["secret"]);
    assert_eq!(proxy.get("/api/x").status, 200);
    endpoint.script([Grant::Json(401, json!({ "error": "invalid_client" }))]);
    write(folder.path(), "secret", "the-second\n");
    // Soft is the token as soon as the reload is applied, and the next request begins the fetch that fails.
    while endpoint.requests().len() < 2 {
        assert_eq!(proxy.get("/api/x").status, 200);
        assert!(upstream.asked() < REQUESTS_MAX, "the new secret was not read");
    }
    assert_eq!(tokens_sent(&upstream).pop().unwrap(), "000001");
    endpoint.wait_for_requests(3);
    while tokens_sent(&upstream).pop().unwrap() == "000001" {
        assert_eq!(proxy.get("/api/x").status, 200);
        assert!(upstream.asked() < REQUESTS_MAX, "the new token is not sent");
    }
    assert_eq!(secrets_sent(&endpoint), ["the-first", "the-second", "the-second"]);
}

/// Two secrets: the server takes the older one until somebody switches there, and nobody has to tell the proxy when.
#[test]
fn with_two_secrets_the_one_that_works_is_found() {
    let (endpoint, folder) = (TokenEndpoint::start(), tempfile::tempdir().unwrap());
    let upstream = Upstream::guarded(endpoint.grants());
    for name in ["new", "old"] {
        write(folder.path(), name, &format!("the-{name}-secret\n"));
    }
    endpoint.script([Grant::Json(401, json!({ "error": "invalid_client" }))]);
    let proxy = start(folder.path(), &endpoint, &upstream, &["new", "old"]);
    assert_eq!(proxy.get("/api/x").status, 200);
    assert_eq!(secrets_sent(&endpoint), ["the-new-secret", "the-old-secret"]);
}
