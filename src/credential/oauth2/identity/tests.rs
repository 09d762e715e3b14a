use std::sync::Arc;
use std::time::Duration;

use super::super::tests::{grant, parts};
use super::*;
use crate::config::CredentialKind;
use crate::credential::Credential;
use crate::jws::tests::{P256, P384};

/// TL-02, TL-03, TL-04: what a token depends on makes a cell of its own, what proves the client does not.
#[tokio::test]
async fn a_reload_finds_its_cell_again_unless_the_token_would_be_another() {
    let parts = parts();
    let url = crate::config::HttpUrl::parse("https://login.example.com/token").unwrap();
    let cell = |change: fn(&mut config::OAuth2)| {
        let mut grant = grant(TokenEndpoint::Url(url.clone()));
        change(&mut grant);
        let config = config::Credential { name: "crm".into(), kind: CredentialKind::OAuth2(Box::new(grant)) };
        let Credential::Token(token) = Credential::new(&config, &parts) else { panic!("it has a cell") };
        token
    };
    let first = cell(|_| {});
    let signed = |pem: &str, key_id: Option<&str>| {
        let key = crate::jws::SigningKey::from_pem(pem, None).unwrap();
        let key_id = key_id.map(str::to_owned);
        let mut grant = grant(TokenEndpoint::Url(url.clone()));
        grant.proof = ClientProof::Assertion(config::ClientAssertion { key: Arc::new(key), key_id, audience: None });
        proof(&grant, &parts.tokens)
    };
    assert_eq!(signed(P256, None), signed(P256, None));
    assert_ne!(signed(P256, None), signed(P384, None), "another key is another proof");
    assert_ne!(signed(P256, None), signed(P256, Some("2026")));
    let certified = |chain: &[u8]| {
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(Vec::new()).into();
        let own = config::CertificateAndKey { chain: vec![chain.to_vec().into()], key };
        let mut grant = grant(TokenEndpoint::Url(url.clone()));
        grant.client_certificate = Some(Arc::new(own));
        proof(&grant, &parts.tokens)
    };
    assert!(certified(b"one") == certified(b"one") && certified(b"one") != certified(b"other"));
    let rotated = |older: Option<&str>| {
        let mut grant = grant(TokenEndpoint::Url(url.clone()));
        grant.older_proof = older.map(|older| ClientProof::Secret(Secret::new(older)));
        proof(&grant, &parts.tokens)
    };
    assert_ne!(rotated(Some("old")), rotated(None));
    assert_ne!(rotated(Some("old")), rotated(Some("older")));
    for same in [
        cell(|_| {}),
        cell(|grant| grant.older_proof = Some(ClientProof::Secret(Secret::new("old")))),
        cell(|grant| grant.proof = config::ClientProof::Secret(Secret::new("rotated"))),
        cell(|grant| grant.auth_method = Some(config::TokenEndpointAuthMethod::ClientSecretPost)),
        cell(|grant| grant.life.refresh_before = Some(Duration::from_secs(60))),
        cell(|grant| grant.answer.token = Some("token".into())),
    ] {
        assert_eq!(same.identity, first.identity);
        assert!(Arc::ptr_eq(&same.cell, &first.cell));
    }
    for other in [
        cell(|grant| grant.client_id.push('2')),
        cell(|grant| grant.scope.push("write".into())),
        cell(|grant| grant.audience = Some("a".into())),
        cell(|grant| grant.resource.push("r".into())),
        cell(|grant| grant.grant = presented("password", "ada", "s")),
        cell(|grant| grant.grant = presented("password", "bob", "s")),
        cell(|grant| grant.grant = presented("token_exchange", "bob", "s")),
        cell(|grant| grant.grant = asserted(P256, "ada")),
        cell(|grant| grant.grant = asserted(P256, "bob")),
        cell(|grant| drop(grant.parameters.insert("tenant".into(), "2".into()))),
        cell(|grant| {
            let TokenEndpoint::Url(url) = &mut grant.endpoint else { return };
            url.path.push('2');
        }),
    ] {
        assert_ne!(other.identity, first.identity);
    }
    for (one, other) in [
        (presented("password", "ada", "s"), presented("password", "ada", "rotated")),
        (asserted(P256, "ada"), asserted(P384, "ada")),
        (presented("custom", "x", &jwt("ada", 1)), presented("custom", "x", &jwt("ada", 2))),
        (presented("custom", "x", "opaque"), presented("custom", "x", "opaque, too")),
    ] {
        let [one, other] = [one, other].map(|changed| {
            let mut grant = grant(TokenEndpoint::Url(url.clone()));
            grant.grant = changed;
            (identity("crm", &grant, &parts.tokens), proof(&grant, &parts.tokens))
        });
        assert!(one.0 == other.0 && one.1 != other.1, "what is secret is the proof of the same token");
    }
}

/// TL-02: a token that is presented for another one makes that somebody else's when it becomes somebody else's itself.
#[tokio::test]
async fn a_subject_token_of_somebody_else_is_another_identity() {
    let parts = parts();
    let url = config::HttpUrl::parse("https://login.example/token").unwrap();
    let of = |secret: &str| {
        let mut grant = grant(TokenEndpoint::Url(url.clone()));
        grant.grant = presented("urn:ietf:params:oauth:grant-type:token-exchange", "x", secret);
        identity("crm", &grant, &parts.tokens)
    };
    assert_eq!(of(&jwt("ada", 1)), of(&jwt("ada", 2)));
    let others = [of(&jwt("ada", 1)), of(&jwt("bob", 1)), of("opaque")];
    assert!(others[0] != others[1] && others[0] != others[2] && others[1] != others[2]);
}

/// A JWT about this subject.
fn jwt(subject: &str, id: u32) -> String {
    let claims = json!({ "iss": "https://login.example", "sub": subject, "jti": id });
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// A grant of form fields.
fn presented(grant_type: &str, name: &str, secret: &str) -> Grant {
    Grant::Fields(Box::new(config::FieldsGrant {
        kind: config::FieldsKind::Custom,
        grant_type: grant_type.to_owned(),
        plain: vec![("name".to_owned(), name.to_owned())],
        secret: vec![("secret".to_owned(), Secret::new(secret))],
        subject: None,
    }))
}

/// A grant of an assertion for this subject.
fn asserted(pem: &str, subject: &str) -> Grant {
    Grant::JwtBearer(Box::new(config::JwtBearer {
        key: Arc::new(crate::jws::SigningKey::from_pem(pem, None).unwrap()),
        key_id: None,
        issuer: "robot".to_owned(),
        subject: Some(subject.to_owned()),
        audience: None,
        claims: std::collections::BTreeMap::new(),
    }))
}

/// TL-02: with a refresh token, only the seed tells identities apart: a credential that is renamed, or moved to another endpoint or client,
/// goes on with what took the seed's place. All but the name tells access tokens apart, and a refusal ends with another endpoint or
/// client. Without a refresh token, everything tells identities apart.
#[tokio::test]
async fn a_refresh_token_is_the_same_for_whatever_is_asked_for() {
    let tokens = parts().tokens;
    let url = |text| TokenEndpoint::Url(config::HttpUrl::parse(text).unwrap());
    let of = |grant| config::OAuth2 { grant, ..super::super::tests::grant(url("https://login.example/token")) };
    let seeded = |seed: &str| of(Grant::RefreshToken { seed: crate::secret::Secret::new(seed) });
    let asking = |config: config::OAuth2| config::OAuth2 { scope: vec!["write".to_owned()], ..config };
    let id = |name: &str, config: &config::OAuth2| identity(name, config, &tokens);
    let crm = seeded("r1");
    assert_eq!(id("crm", &crm), id("crm", &asking(seeded("r1"))));
    assert_ne!(asks_for(&crm, None, &tokens), asks_for(&asking(seeded("r1")), None, &tokens));
    assert_ne!(id("crm", &crm), id("crm", &seeded("r2")));
    assert_eq!(id("crm", &crm), id("erp", &crm));
    for moved in [
        config::OAuth2 { client_id: "other".to_owned(), ..seeded("r1") },
        config::OAuth2 { endpoint: url("https://login.example/other"), ..seeded("r1") },
    ] {
        assert_eq!(id("crm", &crm), id("crm", &moved));
        assert_ne!(super::asks_for(&crm, None, &tokens), super::asks_for(&moved, None, &tokens));
        assert_ne!(super::proof(&crm, &tokens), super::proof(&moved, &tokens));
    }
    let plain = of(Grant::ClientCredentials);
    assert_ne!(id("crm", &plain), id("crm", &asking(of(Grant::ClientCredentials))));
    assert_eq!(asks_for(&plain, None, &tokens), None);
}
