//! Tokens of a cloud's metadata server, as a client sees them.

use serde_json::json;

use crate::support::{Grant, Proxy, TokenEndpoint, Upstream, assert_problem, one_route_of};

fn setup() -> (TokenEndpoint, Upstream, Proxy) {
    let server = TokenEndpoint::start();
    let upstream = Upstream::guarded(server.grants());
    let credential = format!(
        "[credentials.api.metadata]\nprovider = \"azure\"\nresource = \"https://vault.azure.net\"\nurl = \"{}\"\n",
        server.url().trim_end_matches("/token")
    );
    let proxy = Proxy::start(&one_route_of(&credential, &format!("url = \"{}\"", upstream.url()), ""));
    (server, upstream, proxy)
}

/// TL-01: the machine's token is attached as any other, and asked for once.
#[test]
fn a_machines_token_is_attached() {
    let (server, upstream, proxy) = setup();
    for _ in 0..3 {
        assert_eq!(proxy.get("/api/x").status, 200);
    }
    let [asked] = &server.requests()[..] else { panic!("it is asked once") };
    let target = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net";
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", target));
    assert_eq!(asked.headers.all("metadata"), ["true"]);
    assert_eq!(upstream.requests()[0].headers.all("authorization"), ["Bearer demo-access-token-000001"]);
}

/// TL-32: Azure's server answers 404 and 410 while it is renewed, and a request waits for what follows.
#[test]
fn a_server_that_is_being_renewed_is_asked_again() {
    let (server, _upstream, proxy) = setup();
    server.script([Grant::Json(404, json!({})), Grant::Json(410, json!({}))]);
    assert_eq!(proxy.get("/api/x").status, 200);
    assert_eq!(server.requests().len(), 3);
}

/// TL-26, TL-71: a machine without an identity needs an operator.
#[test]
fn a_machine_without_an_identity_is_a_502() {
    let (server, upstream, proxy) = setup();
    let body = json!({ "error": "invalid_request", "error_description": "Identity not found" });
    server.script([Grant::Json(400, body)]);
    assert_problem(&proxy.get("/api/x"), 502);
    assert!(upstream.requests().is_empty());
}

/// TL-20, TL-71: with an assertion from a file that is not there yet a request is a 503; with the file it is answered, and no
/// reload lies between. The file is not watched.
#[test]
fn an_assertion_is_read_when_it_is_needed() {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("azure-identity-token");
    let credential = format!(
        "[credentials.api.client_credentials]\ntoken_url = \"{}\"\nclient_id = \"attache\"\n\
         client_assertion = {{ file = \"{}\" }}\n",
        endpoint.url(),
        file.display()
    );
    let proxy = Proxy::start(&one_route_of(&credential, &format!("url = \"{}\"", upstream.url()), ""));
    let answer = proxy.get("/api/x");
    assert_problem(&answer, 503);
    assert!(!answer.text().contains("azure-identity-token"), "{answer:?}");
    assert!(endpoint.requests().is_empty());
    std::fs::write(&file, "eyJ.from-the-platform.s\n").unwrap();
    endpoint.wait_for_requests(1);
    assert_eq!(proxy.get("/api/x").status, 200);
    assert_eq!(endpoint.requests()[0].form("client_assertion").as_deref(), Some("eyJ.from-the-platform.s"));
}
