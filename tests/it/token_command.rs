//! `attache token` as whoever runs it meets it: what is told, what a script gets, and what is left alone.

use std::fs;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Response;
use hyper::body::Frame;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    Child, Grant, Identity, Reply, SECRET, TlsPeer, TokenEndpoint, Upstream, client_credentials, free_address, get,
    one_route, one_route_of, program,
};

fn folder(toml: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("there is room for a file");
    fs::write(folder.path().join("proxy.toml"), toml).expect("there is room for a file");
    folder
}

/// What it printed, what it said on standard error, and how it ended.
fn attache(folder: &TempDir, arguments: &[&str]) -> (String, String, Option<i32>) {
    let mut command = Command::new(program());
    command.current_dir(folder.path()).env_clear().env("SECRET", SECRET).args(arguments);
    let Output { status, stdout, stderr } = command.output().expect("cargo builds it");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it is UTF-8");
    (text(stdout), text(stderr), status.code())
}

fn jwt(claims: &serde_json::Value) -> String {
    format!("eyJhbGciOiJub25lIn0.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

#[test]
fn a_person_is_told_everything_but_the_secrets() {
    let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
    let token = jwt(&json!({ "iss": "https://login.example", "aud": "api://crm", "exp": 4_000_000_000_u64 }));
    endpoint.script([Grant::Token { value: token.clone(), expires_in: Some(300) }]);
    let (out, err, code) = attache(&folder(&one_route(&endpoint, &upstream, "")), &["token", "api"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    for part in [
        "* connected to 127.0.0.1:",
        "> POST http://127.0.0.1:",
        "> authorization: Basic attache:<",
        "> grant_type=client_credentials\n",
        "< 200 OK\n",
        "\nthe client authenticated by client_secret_basic (the default)\n",
        "from `access_token`, after ",
        "it lives 300 s, by `expires_in`\n",
        "it is a JWT that says (its signature was not checked):\n  iss         https://login.example\n  aud         api://crm\n",
    ] {
        assert!(out.contains(part), "{part:?} is not in {out}");
    }
    assert!(!out.contains(SECRET) && !out.contains(&token), "{out}");
    assert_eq!((endpoint.requests().len(), upstream.requests().len()), (1, 0));
}

/// Through a pipe it is the token and a line break, for `$(attache token api --print)`.
#[test]
fn a_script_gets_the_bare_token() {
    let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
    let toml = folder(&one_route(&endpoint, &upstream, ""));
    let (out, err, code) = attache(&toml, &["token", "api", "--print"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, format!("{}\n", endpoint.grants().tokens()[0]));

    endpoint.script([Grant::Json(400, json!({ "error": "invalid_scope" }))]);
    let (out, err, code) = attache(&toml, &["token", "api", "--print"]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "a script that fails gets nothing");
    assert!(err.contains("invalid_scope"), "{err}");
}

#[test]
fn a_refusal_is_told_with_its_likely_cause() {
    let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
    let refusal = json!({
        "error": "invalid_client",
        "error_description": "AADSTS7000222: The provided client secret keys for app 'x' are expired.",
    });
    endpoint.script(std::iter::repeat_n(Grant::Json(401, refusal), 3));
    let toml = folder(&one_route(&endpoint, &upstream, ""));
    let (out, err, code) = attache(&toml, &["token", "api"]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("< 401 Unauthorized\n") && out.contains("\"error\": \"invalid_client\""), "{out}");
    assert!(err.contains("\nhint: the secret has expired"), "{err}");
    assert!(!format!("{out}{err}").contains(SECRET));

    let (_, err, code) = attache(&toml, &["token", "apo"]);
    assert_eq!((code, err.as_str()), (Some(1), "there is no credential `apo`: there are `api`\n"));
    assert_eq!(attache(&toml, &["token"]).2, Some(2));
}

/// The refresh token, wherever it stands, is the password's equal. One run logs in, and renews nothing.
#[test]
fn a_login_that_could_be_renewed_is_made_and_shows_no_refresh_token() {
    let refresh = "r-0123456789abcdef-0123456789";
    for (place, body, header) in [
        ("", json!({ "access_token": "t-0123456789abcdef", "refresh_token": refresh }), "none"),
        (
            "answer = { token = \"a.key\", refresh_token = \"a.renew\" }",
            json!({ "a": { "key": "t-0123456789abcdef", "renew": refresh } }),
            "none",
        ),
        ("answer.token = \"a.key\"", json!({ "a": { "key": "t-0123456789abcdef", "refresh_token": refresh } }), "none"),
        ("answer.refresh_token = { header = \"X-Renew\" }", json!({ "access_token": "t-0123456789abcdef" }), refresh),
    ] {
        let peer = Upstream::open();
        let credential = format!(
            "[credentials.api.login]\nvalues.password = {{ env = \"SECRET\" }}\nurl = \"{0}/login\"\n\
             json = {{ password = \"{{password}}\" }}\n{place}\n[credentials.api.login.refresh]\nurl = \"{0}/renew\"\n\
             form.with = \"{{refresh_token}}\"\n",
            peer.url()
        );
        peer.script([Reply::answer(200, &[("X-Renew", header)], body.to_string().as_bytes())]);
        let folder = folder(&one_route_of(&credential, &format!("url = \"{}\"", peer.url()), ""));
        let (out, err, code) = attache(&folder, &["token", "api"]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{place}: {out}");
        assert!(out.contains("< 200 "), "{place}: {out}");
        for secret in [refresh, SECRET, "t-0123456789abcdef"] {
            assert!(!out.contains(secret), "{place}: {secret} in {out}");
        }
        let targets: Vec<_> = peer.requests().into_iter().map(|request| request.target).collect();
        assert_eq!(targets, ["/login"], "{place}");
    }
}

#[test]
fn tls_is_told_with_the_servers_certificate() {
    let folder = tempfile::tempdir().expect("there is room");
    let identity = Identity::new(folder.path(), "own", &["localhost"]);
    let granted = Bytes::from_static(br#"{"access_token":"planted-token"}"#);
    let server = TlsPeer::start(&identity, &identity, move |_| Response::new(vec![Frame::data(granted.clone())]));
    let credential = client_credentials(&format!("https://localhost:{}/token", server.address.port()));
    let toml = one_route_of(&credential, "url = \"http://127.0.0.1:9\"", "[egress]\nca = \"own.crt\"");
    fs::write(folder.path().join("proxy.toml"), toml).expect("there is room");
    let (out, err, code) = attache(&folder, &["token", "api"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let connected =
        format!("* connected to {}, TLS 1.3, certificate of CN=rcgen self signed cert issued by CN=", server.address);
    assert!(out.starts_with(&connected), "{out}");
}

/// A token that would end the one in use is fetched by no command unasked; an instance that runs is asked how its own is.
#[test]
fn single_active_tokens_are_left_alone_unless_told_otherwise() {
    let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
    let credential = format!("{}single_active = true\n", client_credentials(&endpoint.url()));
    let toml = one_route_of(&credential, &format!("url = \"{}\"", upstream.url()), "");
    let stopped = folder(&toml);
    let (out, err, code) = attache(&stopped, &["token", "api"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("`single_active`") && err.contains("--may-rotate"), "{err}");
    assert!(attache(&stopped, &["token", "api", "--print"]).1.contains("--may-rotate"));
    let (out, err, code) = attache(&stopped, &["check", "--live"]);
    assert!(out.contains("skipped credential api  a new token would end the one that is in use"), "{out}{err}");
    assert_eq!((code, endpoint.requests().len()), (Some(0), 0), "nobody was asked");

    let (address, admin) = (free_address(), free_address());
    let toml = format!("[admin]\naddress = \"{admin}\"\n{}", toml.replace("127.0.0.1:0", &address.to_string()));
    let running = Child::run(&toml, &[("SECRET", SECRET)]);
    assert_eq!(get(address, "/api/x").status, 200, "{}", running.output());
    let same = folder(&toml);
    let (out, err, code) = attache(&same, &["token", "api"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("the instance that runs says: its token is fresh, expires in 3"), "{out}");
    let (out, ..) = attache(&same, &["check", "--live"]);
    assert!(out.contains("the instance that runs says: its token is fresh"), "{out}");
    assert!(!out.contains(&endpoint.grants().tokens()[0]), "{out}");
    assert_eq!(endpoint.requests().len(), 1, "only by the instance that runs");

    for arguments in [&["token", "api", "--may-rotate"][..], &["check", "--live", "--may-rotate"]] {
        assert_eq!(attache(&same, arguments).2, Some(0), "{arguments:?}");
    }
    assert_eq!(endpoint.requests().len(), 3);
    assert_eq!(attache(&same, &["check", "--may-rotate"]).2, Some(2), "it is about --live");
}
