//! Tokens that attache signs itself, as a peer receives them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use crate::support::{Proxy, Reply, Upstream, one_route_of};

const SECRET: &str = "planted-secret-of-at-least-32-bytes";

fn proxy(upstream: &Upstream, keys: &str) -> Proxy {
    let credential = format!("[credentials.api.jwt]\nsecret = {{ env = \"SECRET\" }}\n{keys}\n");
    Proxy::start_with(&one_route_of(&credential, &format!("url = \"{}\"", upstream.url()), ""), &[("SECRET", SECRET)])
}

/// Header and claims of a token whose signature is right.
fn verified(token: &str) -> (Value, Value) {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    hmac::verify(&key, message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let read = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    (read(header), read(claims))
}

/// SEC-10, SEC-13: one token serves many requests in place of a client's own, and does not come back in answers.
#[test]
fn one_token_serves_many_requests() {
    let upstream = Upstream::open();
    let keys = "issuer = \"i\"\nsubject = \"s\"\naudience = [\"a\", \"b\"]\nkey_id = \"k\"\n\
                claims = { text = \"t\", number = 7, truth = true, list = [\"x\"] }";
    let proxy = proxy(&upstream, keys);
    let mut client = proxy.connect();
    for _ in 0..3 {
        assert_eq!(client.send("GET", "/api/x", &[("Authorization", "Bearer evil")], b"").status, 200);
    }
    let tokens: Vec<_> = upstream.requests().iter().map(|request| request.bearer().unwrap().to_owned()).collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
    let (header, claims) = verified(&tokens[0]);
    assert_eq!(header, json!({ "alg": "HS256", "kid": "k", "typ": "JWT" }));
    let (issued, expires) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert_eq!(expires - issued, 300);
    let expected = json!({
        "iss": "i", "sub": "s", "aud": ["a", "b"], "text": "t", "number": 7, "truth": true, "list": ["x"],
        "iat": issued, "exp": expires,
    });
    assert_eq!(claims, expected);
    upstream.script([Reply::answer(200, &[("X-Seen", &tokens[0])], tokens[0].as_bytes())]);
    let answer = client.send("GET", "/api/x", &[], b"");
    assert!(!format!("{answer:?}").contains(&tokens[0][..20]), "{answer:?}");
}

#[test]
fn each_request_has_a_token_of_its_own_in_the_header_that_is_asked_for() {
    let upstream = Upstream::open();
    let proxy = proxy(&upstream, "per_request = true\nheader = \"X-Token\"\nlifetime = \"20s\"");
    for _ in 0..2 {
        assert_eq!(proxy.send("POST", "/api/x", &[("X-Token", "evil")], b"body").status, 200);
    }
    let tokens: Vec<Value> =
        upstream.requests().iter().map(|request| verified(request.headers.get("x-token").unwrap()).1).collect();
    assert_ne!(tokens[0]["jti"], tokens[1]["jti"]);
    assert_eq!(tokens[0]["exp"].as_u64().unwrap() - tokens[0]["iat"].as_u64().unwrap(), 20);
}
