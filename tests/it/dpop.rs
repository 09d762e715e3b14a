//! Tokens that are bound to a key (RFC 9449), as servers receive and verify them.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use attache::clock::{Clock as _, SystemClock};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::body::Frame;
use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::support::{
    Child, Grant, Identity, Proxy, Reply, Request, SECRET, TlsPeer, TokenEndpoint, Upstream, assert_problem,
    free_address, get, one_route_of,
};

fn endpoint() -> TokenEndpoint {
    let endpoint = TokenEndpoint::start();
    endpoint.set_token_type("DPoP");
    endpoint
}

fn credential(endpoint: &TokenEndpoint, dpop: &str) -> String {
    let credential = crate::support::client_credentials(&endpoint.url());
    format!("{credential}dpop = {dpop}\n")
}

fn toml(endpoint: &TokenEndpoint, upstream: &Upstream, dpop: &str) -> String {
    one_route_of(&credential(endpoint, dpop), &format!("url = \"{}/v1\"", upstream.url()), "")
}

fn proxy(endpoint: &TokenEndpoint, upstream: &Upstream) -> Proxy {
    Proxy::start(&toml(endpoint, upstream, "true"))
}

/// The token request is refused for want of this nonce.
fn wants_at_the_endpoint(nonce: &str) -> Grant {
    raw(400, nonce, &json!({ "error": "use_dpop_nonce" }))
}

fn raw(status: u16, nonce: &str, body: &Value) -> Grant {
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status} Answer\r\nDPoP-Nonce: {nonce}\r\nContent-Type: application/json");
    Grant::Raw(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

/// The request is refused for want of this nonce.
fn wants(nonce: &str) -> Reply {
    let challenge = ("WWW-Authenticate", "DPoP error=\"use_dpop_nonce\", algs=\"ES256\"");
    Reply::answer(401, &[challenge, ("DPoP-Nonce", nonce)], b"")
}

fn gives(nonce: &str) -> Reply {
    Reply::answer(200, &[("DPoP-Nonce", nonce)], b"ok")
}

/// The claims of a request's proof, whose form, signature and time are right, and the key that signed it.
fn proof(request: &Request) -> (Value, Value) {
    let proof = request.headers.get("dpop").unwrap_or_else(|| panic!("a proof: {request:?}"));
    verified(proof, &request.method)
}

fn verified(proof: &str, method: &str) -> (Value, Value) {
    let (message, signature) = proof.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let json = |part: &str| -> Value { serde_json::from_slice(&decoded(part)).unwrap() };
    let (header, claims) = (json(header), json(claims));
    assert_eq!((&header["typ"], &header["alg"]), (&json!("dpop+jwt"), &json!("ES256")));
    let key = header["jwk"].clone();
    assert_eq!((&key["kty"], &key["crv"], &key["d"]), (&json!("EC"), &json!("P-256"), &Value::Null));
    let [x, y] = ["x", "y"].map(|name| decoded(key[name].as_str().unwrap()));
    let point = [vec![4], x, y].concat();
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    public.verify(message.as_bytes(), &decoded(signature)).expect("its signature is right");
    let now = SystemClock.wall().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(claims["iat"].as_u64().unwrap().abs_diff(now) < 60, "{claims}");
    assert_eq!(claims["htm"], method);
    (claims, key)
}

/// The same of a request with a token, to which the proof has to belong.
fn proof_of_token(request: &Request) -> (Value, Value) {
    let (claims, key) = proof(request);
    let token = request.bound_token().unwrap_or_else(|| panic!("a bound token: {request:?}"));
    assert_eq!(claims["ath"], hash(token));
    (claims, key)
}

fn hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()))
}

fn assert_all_differ(proofs: &[(Value, Value)]) {
    for (index, (claims, _)) in proofs.iter().enumerate() {
        assert!(proofs[..index].iter().all(|(other, _)| other["jti"] != claims["jti"]), "{proofs:?}");
    }
}

/// TL-45, SEC-10: both servers want a nonce of their own, which may change at any time. What is sent again for it is signed
/// anew, with the same token; nobody's own proof stands beside ours, and the nonce is no business of the client's.
#[test]
fn both_servers_get_the_nonce_that_they_want() {
    let (endpoint, upstream) = (endpoint(), Upstream::open());
    endpoint.script([
        wants_at_the_endpoint("t1"),
        raw(200, "t2", &json!({ "access_token": "a-bound-token", "token_type": "dpop", "expires_in": 3600 })),
    ]);
    upstream.script([wants("u1"), gives("u2"), Reply::text("ok"), wants("u3"), Reply::text("ok")]);
    let proxy = proxy(&endpoint, &upstream);
    let own = [("DPoP", "evil"), ("Authorization", "DPoP evil")];
    for _ in 0..3 {
        let answer = proxy.send("POST", "/api/a%2Fb%20c;d/?q=1&r", &own, b"a body");
        assert_eq!((answer.status, answer.headers.get("dpop-nonce")), (200, None), "{answer:?}");
    }

    let asked = endpoint.requests();
    let asked: Vec<_> = asked.iter().map(proof).collect();
    for (claims, _) in &asked {
        assert_eq!((claims["htu"].as_str(), claims.get("ath")), (Some(&*endpoint.url()), None));
    }
    assert_eq!(asked.iter().map(|(claims, _)| &claims["nonce"]).collect::<Vec<_>>(), [&Value::Null, &json!("t1")]);

    let requests = upstream.requests();
    let sent: Vec<_> = requests.iter().map(proof_of_token).collect();
    let htu = format!("{}/v1/a%2Fb%20c;d/", upstream.url());
    for ((claims, key), request) in sent.iter().zip(&requests) {
        assert_eq!((&claims["htu"], &request.body[..]), (&json!(htu), &b"a body"[..]));
        assert_eq!((request.bound_token(), key), (Some("a-bound-token"), &asked[0].1));
        assert!(request.target.ends_with("?q=1&r"), "{request:?}");
    }
    let nonces: Vec<_> = sent.iter().map(|(claims, _)| claims["nonce"].clone()).collect();
    assert_eq!(nonces, [Value::Null, json!("u1"), json!("u2"), json!("u2"), json!("u3")]);
    assert_all_differ(&[asked, sent].concat());
}

/// TL-45, TL-46: a server that goes on wanting another nonce is asked twice and not more. That says nothing about the token, which stays.
#[test]
fn a_nonce_is_followed_once() {
    let (endpoint, upstream) = (endpoint(), Upstream::open());
    upstream.script([wants("u1"), wants("u2")]);
    let proxy = proxy(&endpoint, &upstream);
    let answer = proxy.get("/api/x");
    assert_eq!((answer.status, answer.headers.get("dpop-nonce")), (401, None), "{answer:?}");
    let challenge = answer.headers.get("www-authenticate");
    assert_eq!(challenge, Some("DPoP error=\"use_dpop_nonce\", algs=\"ES256\""));
    assert_eq!((upstream.asked(), endpoint.requests().len()), (2, 1));
    // What came last is what counts.
    assert_eq!(proxy.get("/api/x").status, 200);
    let requests = upstream.requests();
    assert_eq!(proof_of_token(&requests[2]).0["nonce"], "u2");
    assert_eq!((requests.len(), endpoint.requests().len()), (3, 1));
}

/// TL-45: without a copy of the body the answer stands, and the next request has the nonce.
#[test]
fn what_cannot_be_sent_again_is_not() {
    let (endpoint, upstream) = (endpoint(), Upstream::open());
    upstream.script([wants("u1")]);
    let proxy = proxy(&endpoint, &upstream);
    assert_eq!(proxy.send("POST", "/api/x", &[], &vec![b'x'; 200_000]).status, 401);
    assert_eq!(proxy.send("POST", "/api/x", &[], &vec![b'x'; 200_000]).status, 200);
    assert_eq!((upstream.asked(), endpoint.requests().len()), (2, 1));
}

/// TL-26, TL-45: the same at the token endpoint, where it then is an error that names itself. Without a nonce there is nothing to
/// ask again with.
#[test]
fn a_token_endpoint_that_never_has_enough_is_refused() {
    let without = || Grant::Json(400, json!({ "error": "use_dpop_nonce" }));
    for (grants, asked) in [
        (vec![wants_at_the_endpoint("t1"), wants_at_the_endpoint("t2")], 2),
        (vec![without()], 1),
        (vec![wants_at_the_endpoint("no nonce")], 1),
    ] {
        let (endpoint, upstream) = (endpoint(), Upstream::open());
        endpoint.script(grants);
        let proxy = proxy(&endpoint, &upstream);
        let problem = assert_problem(&proxy.get("/api/x"), 502);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("use_dpop_nonce")), "{problem}");
        assert_eq!((endpoint.requests().len(), upstream.asked()), (asked, 0));
    }
}

/// TL-40, TL-44, TL-45: a replay has a proof of its own over its own token, and a nonce that is wanted meanwhile does not use
/// it up.
#[test]
fn a_replay_is_signed_anew() {
    let endpoint = endpoint();
    let upstream = Upstream::guarded(endpoint.grants());
    let proxy = proxy(&endpoint, &upstream);
    endpoint.set_lifetime(Some(Duration::from_secs(10)));
    assert_eq!(proxy.get("/api/x").status, 200);
    endpoint.grants().wait_until_older_than(Duration::from_millis(1_100));
    endpoint.grants().revoke_all();
    upstream.script([wants("u1")]);
    assert_eq!(proxy.send("POST", "/api/x", &[], b"a body").status, 200);
    let requests = upstream.requests();
    let tokens: Vec<_> = requests.iter().map(|request| request.bound_token().unwrap()).collect();
    let [first, second] = ["demo-access-token-000001", "demo-access-token-000002"];
    assert_eq!(tokens, [first, first, second, second]);
    let proofs: Vec<_> = requests.iter().map(proof_of_token).collect();
    assert_eq!(proofs[3].0["nonce"], "u1");
    assert_all_differ(&proofs);
}

/// SEC-32: a retry is another request to whoever remembers `jti`.
#[test]
fn a_retry_is_signed_anew() {
    let (endpoint, upstream) = (endpoint(), Upstream::open());
    let proxy = proxy(&endpoint, &upstream);
    let mut client = proxy.connect();
    assert_eq!(client.send("GET", "/api/warm", &[], b"").status, 200);
    upstream.script([Reply::custom(|_, _| Err(ErrorKind::ConnectionReset.into()))]);
    assert_eq!(client.send("PUT", "/api/x", &[], b"body").status, 200);
    let proofs: Vec<_> = upstream.requests().iter().map(proof_of_token).collect();
    assert_eq!(proofs.len(), 3);
    assert_all_differ(&proofs);
}

/// TL-37: who asks for a bound token takes no other, and who does not ask takes none.
#[test]
fn the_type_of_the_token_is_what_was_asked_for() {
    for (dpop, token_type) in [("true", "Bearer"), ("true", "N_A"), ("false", "DPoP")] {
        let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
        endpoint.set_token_type(token_type);
        let proxy = Proxy::start(&toml(&endpoint, &upstream, dpop));
        assert_problem(&proxy.get("/api/x"), 502);
        assert_eq!(upstream.asked(), 0, "{dpop} {token_type}");
    }
}

/// SEC-13: an upstream that repeats what it was sent gives neither token nor proof away.
#[test]
fn token_and_proof_are_masked() {
    let (endpoint, upstream) = (endpoint(), Upstream::open());
    let proxy = proxy(&endpoint, &upstream);
    upstream.script([Reply::custom(|request, connection| {
        use std::io::Write as _;
        let plain = format!("{} {}", request.bound_token().unwrap(), request.headers.get("dpop").unwrap());
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain";
        write!(connection.stream(), "{head}\r\nX-Seen: {plain}\r\nContent-Length: {}\r\n\r\n{plain}", plain.len())
    })]);
    let answer = proxy.get("/api/x");
    for shown in [answer.headers.get("x-seen").unwrap(), &answer.text()] {
        assert!(!shown.contains("access-token") && !shown.contains("eyJ"), "{shown}");
    }
}

/// TL-52: a refresh token is exchanged again with the nonce at once, which is no doubt about it.
#[test]
fn a_refresh_token_is_exchanged_with_the_nonce() {
    let (endpoint, upstream) = (endpoint(), Upstream::open());
    endpoint.script([wants_at_the_endpoint("t1")]);
    let credential = credential(&endpoint, "true").replace("client_credentials", "refresh_token");
    let credential = format!("{credential}refresh_token = {{ env = \"SEED\" }}\n");
    let toml = one_route_of(&credential, &format!("url = \"{}\"", upstream.url()), "");
    let proxy = Proxy::start_with(&toml, &[("SECRET", SECRET), ("SEED", "the-seed-of-it")]);
    assert_eq!(proxy.get("/api/x").status, 200);
    let asked = endpoint.requests();
    assert!(asked.iter().all(|request| request.form("refresh_token").as_deref() == Some("the-seed-of-it")));
    let nonces: Vec<_> = asked.iter().map(|request| proof(request).0["nonce"].clone()).collect();
    assert_eq!(nonces, [Value::Null, json!("t1")]);
}

/// RFC 9449 section 5: other grants' tokens are bound in the same way.
#[test]
fn tokens_of_other_grants_are_bound_too() {
    let folder = tempfile::tempdir().unwrap();
    let assertion = format!("private_key = {{ file = \"{}\" }}\n", new_key(folder.path(), "assertion.pem"));
    for (kind, keys) in [
        ("jwt_bearer", &*assertion),
        ("token_exchange", "subject_token = { env = \"SECRET\" }\n"),
        ("password", "username = \"ada\"\npassword = { env = \"SECRET\" }\n"),
        ("custom_grant", "grant_type = \"account_credentials\"\n"),
    ] {
        let (endpoint, upstream) = (endpoint(), Upstream::open());
        endpoint.script([wants_at_the_endpoint("t1")]);
        let credential = credential(&endpoint, "true").replace("client_credentials", kind) + keys;
        let proxy = Proxy::start(&one_route_of(&credential, &format!("url = \"{}\"", upstream.url()), ""));
        assert_eq!(proxy.get("/api/x").status, 200, "{kind}");
        let asked: Vec<_> = endpoint.requests().iter().map(proof).collect();
        assert_eq!((asked.len(), &asked[1].0["nonce"]), (2, &json!("t1")), "{kind}");
        assert_eq!(proof_of_token(&upstream.request()).1, asked[1].1, "{kind}");
    }
}

/// TL-45: over HTTP/2 the proof is over the same URL, and a nonce is followed in the same way.
#[test]
fn a_proof_goes_to_an_http2_upstream() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::new(folder.path(), "upstream", &["127.0.0.1"]);
    let upstream = TlsPeer::start(&identity, &identity, |request| {
        let (claims, _) = verified(request.headers["dpop"].to_str().unwrap(), request.method.as_str());
        let answer = http::Response::builder().header("DPoP-Nonce", "u1");
        let answer = match claims["nonce"].as_str() {
            Some("u1") => answer,
            _ => answer.status(401).header("WWW-Authenticate", "DPoP error=\"use_dpop_nonce\""),
        };
        answer.body(vec![Frame::data("ok".into())]).unwrap()
    });
    let endpoint = endpoint();
    let url = format!("https://127.0.0.1:{}", upstream.address.port());
    let keys = format!("url = \"{url}/v1\"\nca = {:?}\nhttp = \"2\"", identity.cert_file);
    let toml = one_route_of(&credential(&endpoint, "true"), &keys, "");
    let answer = Proxy::start(&toml).send("POST", "/api/a?q=1", &[("DPoP", "evil")], b"a body");
    assert_eq!((answer.status, answer.headers.get("dpop-nonce")), (200, None), "{answer:?}");
    let requests = upstream.requests();
    assert_eq!(requests.len(), 2);
    for request in &requests {
        assert_eq!((request.version, &request.body[..]), (http::Version::HTTP_2, &b"a body"[..]));
        assert_eq!(request.headers.get_all("dpop").iter().count(), 1);
        let (claims, _) = verified(request.headers["dpop"].to_str().unwrap(), "POST");
        let token = request.headers["authorization"].to_str().unwrap().strip_prefix("DPoP ").unwrap();
        assert_eq!((&claims["htu"], &claims["ath"]), (&json!(format!("{url}/v1/a")), &json!(hash(token))));
    }
}

/// A private key that nobody else has, as openssl makes it.
fn new_key(folder: &Path, name: &str) -> String {
    let arguments = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"];
    let file = folder.join(name);
    let made = std::process::Command::new("openssl").args(arguments).arg(&file).output().expect("openssl is there");
    assert!(made.status.success(), "{made:?}");
    file.display().to_string()
}

/// TL-03, TL-04: a reload that leaves the key keeps token and key; with another key, a token of the one before it (`cnf`) is never sent
/// again.
#[test]
fn a_token_ends_with_its_key() {
    let (endpoint, upstream, folder) = (endpoint(), Upstream::open(), tempfile::tempdir().unwrap());
    let [one, other] = ["one.pem", "other.pem"].map(|name| new_key(folder.path(), name));
    let given = |file: &str| format!("{{ key = {{ file = \"{file}\" }} }}");
    let proxy = proxy(&endpoint, &upstream);
    let sent = |dpop: &str| {
        proxy.reload(&toml(&endpoint, &upstream, dpop)).unwrap();
        assert_eq!(proxy.get("/api/x").status, 200);
        let request = upstream.requests().pop().unwrap();
        (request.bound_token().unwrap().to_owned(), proof_of_token(&request).1)
    };
    let made = [sent("true"), sent("true")];
    assert_eq!(made[0], made[1]);
    let given = [sent(&given(&one)), sent(&given(&one)), sent(&given(&other)), sent("true")];
    assert_eq!(given[0], given[1]);
    for pair in [(&made[0], &given[0]), (&given[1], &given[2]), (&given[2], &given[3])] {
        assert!(pair.0.0 != pair.1.0 && pair.0.1 != pair.1.1, "{pair:?}");
    }
    assert_eq!(endpoint.requests().len(), 4);
}

/// TL-04: over a reload a key keeps the nonces that servers gave, also a key that is read anew.
#[test]
fn nonces_outlive_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let given = format!("{{ key = {{ file = \"{}\" }} }}", new_key(folder.path(), "key.pem"));
    for dpop in ["true", &given] {
        let (endpoint, upstream) = (endpoint(), Upstream::open());
        endpoint.script([wants_at_the_endpoint("t1")]);
        upstream.script([wants("u1")]);
        let toml = toml(&endpoint, &upstream, dpop);
        let proxy = Proxy::start(&toml);
        assert_eq!(proxy.get("/api/x").status, 200);
        // Another token.
        proxy.reload(&toml.replace("dpop = ", "scope = \"more\"\ndpop = ")).unwrap();
        assert_eq!(proxy.get("/api/x").status, 200);
        let nonces = |requests: &[Request]| -> Vec<_> {
            requests.iter().map(|request| proof(request).0["nonce"].as_str().map(str::to_owned)).collect()
        };
        let once = |nonce: &str| [None, Some(nonce.to_owned()), Some(nonce.to_owned())];
        assert_eq!(
            (nonces(&endpoint.requests()), nonces(&upstream.requests())),
            (once("t1").into(), once("u1").into())
        );
    }
}

/// TL-03, SEC-10: a request that waits for its token while a reload says how tokens are bound goes out as that token wants it:
/// with a proof of its own key, or without any, and never with the client's own.
#[test]
fn what_waits_over_a_reload_goes_out_as_its_token_wants() {
    let folder = tempfile::tempdir().unwrap();
    let given = format!("{{ key = {{ file = \"{}\" }} }}", new_key(folder.path(), "key.pem"));
    for (before, after) in [("false", "true"), ("true", "false"), ("true", &*given), (&*given, "true")] {
        let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
        let token_type = |dpop: &str| if dpop == "false" { "Bearer" } else { "DPoP" };
        endpoint.set_token_type(token_type(before));
        endpoint.set_latency(Duration::from_secs(1));
        let proxy = Proxy::start(&toml(&endpoint, &upstream, before));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| proxy.send("GET", "/api/x", &[("DPoP", "clients-own")], b"").status);
            endpoint.wait_for_requests(1);
            proxy.reload(&toml(&endpoint, &upstream, after)).unwrap();
            endpoint.set_token_type(token_type(after));
            assert_eq!(waiting.join().unwrap(), 200, "{before} {after}");
        });
        let (asked, sent) = (endpoint.requests(), upstream.requests().pop().unwrap());
        assert_eq!(asked.len(), 2, "{before} {after}: what was asked for before the reload is not sent");
        match after {
            "false" => {
                assert_eq!((sent.bound_token(), sent.headers.get("dpop")), (None, None), "{sent:?}");
                assert!(
                    sent.headers.get("authorization").is_some_and(|value| value.starts_with("Bearer ")),
                    "{sent:?}"
                );
            }
            _ => assert_eq!(proof_of_token(&sent).1, proof(&asked[1]).1),
        }
    }
}

/// TL-03: over a restart a stored token lives with a key that is configured, and ends with one that was made.
#[test]
fn a_stored_token_ends_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = new_key(folder.path(), "key.pem");
    for (dpop, fetches) in [(format!("{{ key = {{ file = \"{file}\" }} }}"), 1), ("true".to_owned(), 2)] {
        let (endpoint, upstream) = (endpoint(), Upstream::open());
        let store = folder.path().join(format!("tokens-{fetches}.db"));
        let store = format!("[store.file]\npath = \"{}\"\nkey = {{ env = \"STORE_KEY\" }}\n", store.display());
        for _ in 0..2 {
            let address = free_address();
            let toml = toml(&endpoint, &upstream, &dpop).replace("127.0.0.1:0", &address.to_string());
            let store_key = "00".repeat(32);
            let mut child = Child::run(&(toml + &store), &[("SECRET", SECRET), ("STORE_KEY", &store_key)]);
            assert_eq!(get(address, "/api/x").status, 200, "{}", child.output());
            child.signal(rustix::process::Signal::TERM);
            assert!(child.wait().success());
        }
        assert_eq!(endpoint.requests().len(), fetches, "{dpop}");
        upstream.requests().iter().for_each(|request| drop(proof_of_token(request)));
    }
}
