//! A real authorization server, npm's oidc-provider: client credentials by basic and by post with a secret that every
//! encoding mistake would break, by assertions that a private key or the secret signs, by certificates, JWT access tokens,
//! tokens that are bound to a key, discovery.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::support::{Child, Identity, Process, Proxy, SECRET, Upstream, free_address, get, one_route_of};

struct Provider {
    _process: Process,
    issuer: String,
    /// That of the client `by-refresh-token`.
    refresh_token: String,
    /// That of the client `bound-by-refresh-token`.
    bound_refresh_token: String,
}

impl Provider {
    fn start() -> Provider {
        Provider::start_with(None)
    }

    /// `certificates`: a folder with those of server and client.
    fn start_with(certificates: Option<&Path>) -> Provider {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/oidc");
        let mut command = Command::new("node");
        command.arg("server.mjs").current_dir(folder);
        command.envs(certificates.map(|folder| ("CERTIFICATES", folder)));
        let process = Process::spawn(command, "./test.sh installs node and, with `npm ci`, oidc-provider");
        let line = process.wait_for_line("the issuer", |line| line.starts_with('{'));
        let said: Value = serde_json::from_str(&line).expect("it prints JSON");
        let text = |member: &str| said[member].as_str().unwrap_or_else(|| panic!("it prints its {member}")).to_owned();
        let [issuer, refresh_token, bound_refresh_token] = ["issuer", "refresh_token", "bound_refresh_token"].map(text);
        Provider { _process: process, issuer, refresh_token, bound_refresh_token }
    }
}

fn proxy(endpoint: &str, client_id: &str, more: &str, upstream: &Upstream) -> Proxy {
    let credential = format!(
        r#"
[credentials.api.client_credentials]
{endpoint}
client_id = "{client_id}"
client_secret = {{ env = "SECRET" }}
{more}
"#
    );
    Proxy::start(&one_route_of(&credential, &format!("url = \"{}\"", upstream.url()), ""))
}

/// What a JWT says, unverified: verifying is the upstream's affair, and here nobody could have forged it.
fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap_or_else(|| panic!("{token} is no JWT"));
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("a JWT is base64url")).expect("a JWT is JSON")
}

/// TL-38: the issuer is discovered, and without a configured method the first one that it lists is used.
#[test]
fn a_jwt_is_fetched_by_discovery_and_basic() {
    let provider = Provider::start();
    let upstream = Upstream::open();
    let more = "scope = [\"read\"]\nresource = [\"urn:attache:api\"]";
    let proxy = proxy(&format!("issuer = \"{}\"", provider.issuer), "by-basic", more, &upstream);
    assert_eq!(proxy.get("/api/x").status, 200);
    let token = upstream.request().bearer().expect("a token is attached").to_owned();
    let claims = claims(&token);
    assert_eq!(claims["iss"], provider.issuer.as_str());
    assert_eq!(claims["aud"], "urn:attache:api");
    assert_eq!(claims["client_id"], "by-basic");
    assert_eq!(claims["scope"], "read");
}

/// The server decodes what RFC 6749 section 2.3.1 says was encoded.
#[test]
fn the_secret_arrives_by_basic_and_by_post() {
    let provider = Provider::start();
    let token_url = format!("token_url = \"{}/token\"", provider.issuer);
    for (client_id, method) in [("by-basic", "client_secret_basic"), ("by-post", "client_secret_post")] {
        let upstream = Upstream::open();
        let more = format!("token_endpoint_auth_method = \"{method}\"");
        let proxy = proxy(&token_url, client_id, &more, &upstream);
        let answer = proxy.get("/api/x");
        assert_eq!(answer.status, 200, "{method}: {answer:?}");
        assert!(upstream.request().bearer().is_some(), "{method}");
    }
}

/// A private key of the unit tests, as it goes into the environment.
fn key(name: &str) -> String {
    let path = format!("{}/src/jws/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("the key is part of the repository")
}

/// A proxy whose client proves itself by what `environment` holds.
fn asserting_proxy(endpoint: &str, keys: &str, environment: &[(&str, &str)], upstream: &Upstream) -> Proxy {
    let credential = format!("[credentials.api.client_credentials]\n{endpoint}\n{keys}\n");
    let toml = one_route_of(&credential, &format!("url = \"{}\"", upstream.url()), "");
    Proxy::start_with(&toml, environment)
}

/// RFC 7523 section 2.2: the server verifies signature, issuer, subject, audience, times and that no `jti` comes twice. By
/// discovery the audience is the issuer; without, it is the token endpoint, or what is named.
#[test]
fn a_private_key_proves_the_client() {
    let provider = Provider::start();
    let issuer = format!("issuer = \"{}\"", provider.issuer);
    let token_url = format!("token_url = \"{}/token\"", provider.issuer);
    let named = format!("{token_url}\nassertion_audience = \"{}\"", provider.issuer);
    for (algorithm, pem, endpoint) in [
        ("RS256", "rsa", &issuer),
        ("RS256", "rsa-pkcs1", &issuer),
        ("PS256", "rsa", &issuer),
        ("ES256", "p256", &issuer),
        ("ES384", "p384", &issuer),
        ("EdDSA", "ed25519", &issuer),
        ("ES256", "p256", &token_url),
        ("ES256", "p256", &named),
    ] {
        let upstream = Upstream::open();
        let keys = format!(
            "client_id = \"by-key-{algorithm}\"\ntoken_endpoint_auth_method = \"private_key_jwt\"\n\
             private_key = {{ env = \"KEY\" }}\nalgorithm = \"{algorithm}\""
        );
        let proxy = asserting_proxy(endpoint, &keys, &[("KEY", &key(pem))], &upstream);
        let answer = proxy.get("/api/x");
        assert_eq!(answer.status, 200, "{algorithm} {endpoint}: {answer:?}");
        assert!(upstream.request().bearer().is_some(), "{algorithm}");
    }
}

/// The same with the secret as the key, which is then not sent.
#[test]
fn a_secret_that_signs_proves_the_client() {
    let provider = Provider::start();
    let issuer = format!("issuer = \"{}\"", provider.issuer);
    let secret = crate::support::SECRET.repeat(6);
    for algorithm in ["HS256", "HS512"] {
        let upstream = Upstream::open();
        let keys = format!(
            "client_id = \"by-secret-{algorithm}\"\ntoken_endpoint_auth_method = \"client_secret_jwt\"\n\
             client_secret = {{ env = \"SECRET\" }}\nalgorithm = \"{algorithm}\""
        );
        let proxy = asserting_proxy(&issuer, &keys, &[("SECRET", &secret)], &upstream);
        let answer = proxy.get("/api/x");
        assert_eq!(answer.status, 200, "{algorithm}: {answer:?}");
        assert!(upstream.request().bearer().is_some(), "{algorithm}");
    }
}

/// RFC 8705: the client is known by the certificate that it shows where the server's metadata says that it looks at one, and
/// its tokens are bound to it.
#[test]
fn a_certificate_proves_the_client() {
    let folder = tempfile::tempdir().expect("there is room for files");
    let server = Identity::new(folder.path(), "server", &["localhost"]);
    let client = Identity::new(folder.path(), "client", &["client.example"]);
    let other = Identity::new(folder.path(), "other", &["client.example"]);
    let provider = Provider::start_with(Some(folder.path()));
    let token = |client_id: &str, method: &str, own: &Identity| {
        let upstream = Upstream::open();
        let credential = format!(
            "[egress]\nca = \"{}\"\n[credentials.api.client_credentials]\nissuer = \"{}\"\nclient_id = \"{client_id}\"\n\
             token_endpoint_auth_method = \"{method}\"\nclient_certificate = {{ cert = \"{}\", key = \"{}\" }}\n\
             resource = \"urn:attache:api\"\n",
            server.cert_file.display(),
            provider.issuer,
            own.cert_file.display(),
            own.key_file.display(),
        );
        let proxy = Proxy::start(&one_route_of(&credential, &format!("url = \"{}\"", upstream.url()), ""));
        let answer = proxy.get("/api/x");
        let token = upstream.requests().first().and_then(|request| request.bearer().map(str::to_owned));
        (answer, token)
    };
    let methods = [("by-self-signed", "self_signed_tls_client_auth"), ("by-authority", "tls_client_auth")];
    for (client_id, method) in methods {
        let (answer, token) = token(client_id, method, &client);
        assert_eq!(answer.status, 200, "{method}: {answer:?}");
        let claims = claims(&token.expect("a token is attached"));
        assert_eq!(claims["client_id"], client_id);
        assert!(claims["cnf"]["x5t#S256"].is_string(), "{claims}");
    }
    for (client_id, method) in methods {
        let (answer, token) = token(client_id, method, &other);
        let problem = crate::support::assert_problem(&answer, 502);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("invalid_client")), "{problem}");
        assert_eq!(token, None);
    }
}

/// RFC 9449: the server verifies each proof, which needs its nonce, and binds tokens to the key that signed it.
#[test]
fn tokens_are_bound_to_whatever_key_there_is() {
    let provider = Provider::start();
    let issuer = format!("issuer = \"{}\"", provider.issuer);
    for pem in [None, Some("rsa"), Some("p256"), Some("p384"), Some("ed25519")] {
        let upstream = Upstream::open();
        let dpop = if pem.is_some() { "{ key = { env = \"KEY\" } }" } else { "true" };
        let keys = format!(
            "client_id = \"bound\"\nclient_secret = {{ env = \"SECRET\" }}\nresource = \"urn:attache:api\"\ndpop = {dpop}"
        );
        let environment = [("SECRET", SECRET), ("KEY", &*pem.map(key).unwrap_or_default())];
        let proxy = asserting_proxy(&issuer, &keys, &environment, &upstream);
        let answer = proxy.get("/api/x");
        assert_eq!(answer.status, 200, "{pem:?}: {answer:?}");
        let request = upstream.request();
        let claims = claims(request.bound_token().expect("a bound token is attached"));
        assert!(claims["cnf"]["jkt"].is_string(), "{claims}");
    }
}

/// TL-45, TL-50: the server's own API takes a token only with a proof that has its nonce and was never seen before; and so does its token
/// endpoint, while the refresh token is replaced at every use.
#[test]
fn a_bound_token_is_taken_by_the_servers_own_api() {
    let provider = Provider::start();
    let address = free_address();
    let credential = format!(
        "[credentials.api.refresh_token]\nissuer = \"{}\"\nclient_id = \"bound-by-refresh-token\"\n\
         client_secret = {{ env = \"SECRET\" }}\nrefresh_token = {{ env = \"SEED\" }}\ndpop = true\n",
        provider.issuer
    );
    let toml = one_route_of(&credential, &format!("url = \"{}\"", provider.issuer), "");
    let toml = toml.replace("127.0.0.1:0", &address.to_string());
    let child = Child::run(&toml, &[("SECRET", SECRET), ("SEED", &*provider.bound_refresh_token)]);
    for renewals in 1..=3 {
        for _ in 0..2 {
            let answer = get(address, "/api/me?x=1");
            assert_eq!(answer.status, 200, "{answer:?} {}", child.output());
            assert_eq!(answer.json()["sub"], "somebody");
        }
        // They live 2 s, and are kept warm.
        child.wait_for_lines("renewals", renewals + 1, |line| line.contains("token granted"));
    }
    assert!(!child.output().contains("rejected") && !child.output().contains("failed"), "{}", child.output());
}

/// TL-50: a server that replaces the refresh token at every use, and revokes everything when an old one comes again, goes on giving
/// tokens.
#[test]
fn a_refresh_token_is_rotated() {
    let provider = Provider::start();
    let upstream = Upstream::open();
    let address = free_address();
    let credential = format!(
        r#"
[credentials.api.refresh_token]
issuer = "{}"
client_id = "by-refresh-token"
client_secret = {{ env = "SECRET" }}
refresh_token = {{ env = "SEED" }}

[store.file]
path = "tokens.db"
key = {{ env = "STORE_KEY" }}
"#,
        provider.issuer
    );
    let toml = one_route_of(&credential, &format!("url = \"{}\"", upstream.url()), "");
    let toml = toml.replace("127.0.0.1:0", &address.to_string());
    let key = "00".repeat(32);
    let environment = [("SECRET", SECRET), ("SEED", &*provider.refresh_token), ("STORE_KEY", &*key)];
    let child = Child::run(&toml, &environment);
    assert_eq!(get(address, "/api/x").status, 200, "{}", child.output());
    // They live 2 s, and are kept warm.
    child.wait_for_lines("renewals", 4, |line| line.contains("token granted"));
    assert_eq!(get(address, "/api/x").status, 200);
    let tokens: Vec<_> = upstream.requests().iter().filter_map(|request| request.bearer().map(str::to_owned)).collect();
    assert!(tokens.len() == 2 && tokens[0] != tokens[1], "{tokens:?}");
    assert!(!child.output().contains("failed"), "{}", child.output());
}

/// TL-26: a key that the server does not know is refused, and the answer says what to look at.
#[test]
fn another_private_key_is_refused() {
    let provider = Provider::start();
    let upstream = Upstream::open();
    let keys = "client_id = \"by-key-RS256\"\ntoken_endpoint_auth_method = \"private_key_jwt\"\n\
                private_key = { env = \"KEY\" }";
    let issuer = format!("issuer = \"{}\"", provider.issuer);
    let proxy = asserting_proxy(&issuer, keys, &[("KEY", &key("p256"))], &upstream);
    let problem = crate::support::assert_problem(&proxy.get("/api/x"), 502);
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("invalid_client")), "{problem}");
    assert!(upstream.requests().is_empty());
}

/// TL-26: what the server refuses is the operator's affair, and its own words are passed on.
#[test]
fn an_unencoded_secret_is_refused_and_the_answer_says_by_whom() {
    let provider = Provider::start();
    let upstream = Upstream::open();
    let token_url = format!("token_url = \"{}/token\"", provider.issuer);
    let more = "token_endpoint_auth_method = \"client_secret_basic_raw\"";
    let proxy = proxy(&token_url, "by-basic", more, &upstream);
    let answer = proxy.get("/api/x");
    let problem = crate::support::assert_problem(&answer, 502);
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("invalid_client")), "{problem}");
    assert!(!answer.text().contains(crate::support::SECRET));
    assert!(upstream.requests().is_empty());
}
