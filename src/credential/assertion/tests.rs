use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::jws::SigningKey;
use crate::jws::tests::{P256, verified};

fn config(audience: Option<&str>) -> ClientAssertion {
    let key = Arc::new(SigningKey::from_pem(P256, None).unwrap());
    ClientAssertion { key, key_id: Some("2026".to_owned()), audience: audience.map(str::to_owned) }
}

/// RFC 7523 section 3: who, for whom, and for how long.
#[test]
fn an_assertion_says_what_its_standard_asks_for() {
    let url = HttpUrl::parse("https://login.example:8443/token?tenant=7").unwrap();
    let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_900);
    for (audience, aud) in [
        (None, "https://login.example:8443/token?tenant=7"),
        (Some("https://login.example/Tenant"), "https://login.example/Tenant"),
    ] {
        let config = config(audience);
        let token = client_assertion(&config, "at:tache", &url, now).unwrap();
        let (header, mut claims) = verified(token.expose(), &config.key);
        assert_eq!(header, json!({ "alg": "ES256", "typ": "JWT", "kid": "2026" }));
        let jti = claims.as_object_mut().unwrap().remove("jti").unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(jti.as_str().unwrap()).unwrap().len(), 16);
        let expected = json!({
            "iss": "at:tache", "sub": "at:tache", "aud": aud,
            "iat": 1_700_000_000, "nbf": 1_700_000_000, "exp": 1_700_000_060,
        });
        assert_eq!(claims, expected);
    }
}

#[test]
fn no_assertion_is_like_another() {
    let url = HttpUrl::parse("https://login.example/token").unwrap();
    let config = config(None);
    let ids = (0..100).map(|_| {
        let token = client_assertion(&config, "attache", &url, UNIX_EPOCH).unwrap();
        verified(token.expose(), &config.key).1["jti"].as_str().unwrap().to_owned()
    });
    assert_eq!(ids.collect::<BTreeSet<_>>().len(), 100);
}

/// RFC 7523 section 3, and what Google and Salesforce document: who signs, on whose behalf, and what else it says.
#[test]
fn a_grants_assertion_says_what_is_configured() {
    let url = HttpUrl::parse("https://oauth2.googleapis.com/token").unwrap();
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let scope = || BTreeMap::from([("scope".to_owned(), "a b".to_owned())]);
    let times = json!({ "iat": 1_700_000_000, "exp": 1_700_000_060 });
    for (subject, audience, claims, expected) in [
        (None, None, scope(), json!({ "iss": "robot", "aud": "https://oauth2.googleapis.com/token", "scope": "a b" })),
        (Some("ada"), Some("https://x"), BTreeMap::new(), json!({ "iss": "robot", "sub": "ada", "aud": "https://x" })),
    ] {
        let config = JwtBearer {
            key: Arc::new(SigningKey::from_pem(P256, None).unwrap()),
            key_id: None,
            issuer: "robot".to_owned(),
            subject: subject.map(str::to_owned),
            audience: audience.map(str::to_owned),
            claims,
        };
        let token = grant_assertion(&config, &url, now).unwrap();
        let (_, mut said) = verified(token.expose(), &config.key);
        assert!(said.as_object_mut().unwrap().remove("jti").is_some());
        let mut expected = expected;
        expected.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
        assert_eq!(said, expected);
    }
}
