use http::HeaderValue;
use http::header::AUTHORIZATION;

use super::endpoint::tests::{Peer, answer};
use super::oauth2::tests::{grant, parts};
use super::*;
use crate::config::{ApiKey, ApiKeyPlace, Piece};
use crate::jws::tests::{P256, P384};
use crate::secret::Secret;

fn credential(kind: CredentialKind) -> config::Credential {
    config::Credential { name: "crm".into(), kind }
}

fn sets(attachment: &Attachment, name: &HeaderName) -> bool {
    attachment.attached().unwrap().names().headers.contains(name)
}

fn headers(attachment: &Attachment) -> Vec<(&str, &HeaderValue)> {
    attachment
        .attached()
        .and_then(Attached::first_header)
        .into_iter()
        .map(|(name, value)| (name.as_str(), value))
        .collect()
}

/// SEC-10: what a credential sets is known before it sets it, so that a client's own of that name can be removed.
#[tokio::test]
async fn a_fixed_credential_is_always_ready_and_never_renewed() {
    let parts = parts();
    let header = ApiKeyPlace::Header(HeaderName::from_static("x-shop-key"));
    let query = ApiKeyPlace::Query("api key".into());
    let value = || Secret::new("a-key-of-20-bytes-..");
    let api_key = |place| CredentialKind::ApiKeys(vec![ApiKey { place, scheme: String::new(), value: value() }]);
    for (kind, header, query_name, query) in [
        (CredentialKind::Bearer { token: value() }, Some("authorization"), None, None),
        (CredentialKind::Basic { username: "u".into(), password: value() }, Some("authorization"), None, None),
        (CredentialKind::BasicKey { key: value() }, Some("authorization"), None, None),
        (api_key(header), Some("x-shop-key"), None, None),
        (api_key(query), None, Some("api key"), Some("api%20key=a-key-of-20-bytes-..")),
        (api_key(ApiKeyPlace::Cookie("sid".into())), None, None, None),
    ] {
        let credential = Credential::new(&credential(kind), &parts);
        let attachment = credential.ready(parts.clock.now()).expect("there is nothing to wait for");
        let names: Vec<_> = credential.header_names().iter().map(HeaderName::as_str).collect();
        assert_eq!(names, header.into_iter().collect::<Vec<_>>());
        assert_eq!(headers(&attachment).iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
        assert!(header.is_none_or(|name| sets(&attachment, &HeaderName::from_static(name))));
        assert_eq!(
            (credential.query_names().first().map(String::as_str), attachment.attached().and_then(Attached::query)),
            (query_name, query)
        );
        let has_cookie = header.is_none() && query.is_none();
        assert_eq!(
            (credential.cookie_names(), attachment.attached().and_then(Attached::rest).is_some()),
            (&["sid".to_owned()][..usize::from(has_cookie)], has_cookie)
        );
        assert_eq!(attachment.generation(), None);
        assert!(!attachment.attached().unwrap().masks().is_empty());
        let taken = credential.take(Duration::ZERO).await.unwrap();
        assert_eq!(
            (headers(&taken), taken.attached().and_then(Attached::query)),
            (headers(&attachment), attachment.attached().and_then(Attached::query))
        );
        assert!(credential.rejected(Generation(1), true, Duration::from_secs(1)).await.is_none());
        assert!(!format!("{credential:?} {attachment:?}").contains("a-key-of"));
    }
}

/// TL-01: a token is fetched once and attached to every request after that.
#[tokio::test]
async fn a_token_credential_attaches_what_its_cell_holds() {
    let peer = Peer::answering(answer(200, "", r#"{"access_token":"T","expires_in":300}"#)).await;
    let config = credential(CredentialKind::OAuth2(Box::new(grant(TokenEndpoint::Url(peer.url("/"))))));
    let parts = parts();
    let credential = Credential::new(&config, &parts);
    assert_eq!((credential.header_names(), credential.query_names().len()), ([AUTHORIZATION].as_slice(), 0));
    assert!(credential.ready(parts.clock.now()).is_none(), "nothing was fetched yet");
    for _ in 0..2 {
        let attachment = credential.take(Duration::from_secs(10)).await.unwrap();
        assert_eq!(headers(&attachment), [("authorization", &HeaderValue::from_static("Bearer T"))]);
        assert!(headers(&attachment)[0].1.is_sensitive() && attachment.generation().is_some());
    }
    assert!(credential.ready(parts.clock.now()).is_some());
    assert_eq!(peer.requests().len(), 1);
}

/// SEC-10: where a token goes is configured, and what it sets there is known before there is one. A reload that moves it
/// takes the one that is held along, and fetches none.
#[tokio::test]
async fn a_token_goes_where_the_configuration_says() {
    let peer = Peer::answering(answer(200, "", r#"{"access_token":"T+1","expires_in":300}"#)).await;
    let parts = parts();
    let moved_to = |places: Vec<(ApiKeyPlace, &str)>| {
        let mut grant = grant(TokenEndpoint::Url(peer.url("/")));
        let part = |(place, before): (ApiKeyPlace, &str)| {
            let pieces = vec![Piece::Text(before.to_owned()), Piece::Value("token".to_owned())];
            config::AttachPart { place, value: config::Template { pieces } }
        };
        grant.life.attach = config::Attach { parts: places.into_iter().map(part).collect(), ..Default::default() };
        Credential::new(&credential(CredentialKind::OAuth2(Box::new(grant))), &parts)
    };
    let header = |name| ApiKeyPlace::Header(HeaderName::from_static(name));
    let first = moved_to(vec![(header("x-shopify-access-token"), "")]);
    assert_eq!(first.header_names(), ["x-shopify-access-token"]);
    let generation = first.take(Duration::from_secs(10)).await.unwrap().generation();
    let attached = first.ready(parts.clock.now()).unwrap();
    assert_eq!(headers(&attached), [("x-shopify-access-token", &HeaderValue::from_static("T+1"))]);
    assert!(!sets(&attached, &AUTHORIZATION));

    let second = moved_to(vec![
        (header("x-token"), "Token "),
        (ApiKeyPlace::Query("access_token".into()), ""),
        (ApiKeyPlace::Cookie("sid".into()), ""),
    ]);
    assert_eq!((second.query_names(), second.cookie_names()), (&["access_token".into()][..], &["sid".into()][..]));
    let attached = second.ready(parts.clock.now()).expect("the token is held");
    assert_eq!(headers(&attached), [("x-token", &HeaderValue::from_static("Token T+1"))]);
    assert_eq!(attached.attached().and_then(Attached::query), Some("access_token=T%2B1"));
    assert_eq!(attached.attached().and_then(Attached::rest).unwrap().cookies.as_ref().unwrap().pairs, "sid=T+1");
    assert_eq!((attached.generation(), peer.requests().len()), (generation, 1));
}

/// What came with a token can go with it; what does not come, fails the fetch and not the request.
#[tokio::test]
async fn a_declared_value_goes_with_its_token() {
    let peer = Peer::answering(answer(200, "", r#"{"access_token":"T","site":{"id":"acme-site"}}"#)).await;
    let mut grant = grant(TokenEndpoint::Url(peer.url("/")));
    grant.answer.values.insert("site".to_owned(), "site.id".into());
    let site = ApiKeyPlace::Header(HeaderName::from_static("x-site"));
    grant.life.attach.parts.push(config::AttachPart { place: site, value: config::Template::value("site") });
    let credential = Credential::new(&credential(CredentialKind::OAuth2(Box::new(grant))), &parts());
    let attachment = credential.take(Duration::from_secs(10)).await.unwrap();
    assert_eq!(headers(&attachment), [("authorization", &HeaderValue::from_static("Bearer T"))]);
    let (name, value) = &attachment.attached().and_then(Attached::rest).unwrap().headers[0];
    assert_eq!((name.as_str(), value.as_bytes(), value.is_sensitive()), ("x-site", &b"acme-site"[..], true));
    let mut echoed = http::HeaderMap::from_iter([(name.clone(), value.clone())]);
    assert_eq!(attachment.attached().unwrap().masks().mask_headers(&mut echoed), 1);
}

/// TL-02, TL-03, TL-04: what a token depends on makes a cell of its own, what proves the client does not.
#[tokio::test]
async fn a_reload_finds_its_cell_again_unless_the_token_would_be_another() {
    let parts = parts();
    let url = crate::config::HttpUrl::parse("https://login.example.com/token").unwrap();
    let cell = |change: fn(&mut config::OAuth2)| {
        let mut grant = grant(TokenEndpoint::Url(url.clone()));
        change(&mut grant);
        let config = credential(CredentialKind::OAuth2(Box::new(grant)));
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

/// TL-02: with a refresh token, what is asked for does not tell identities apart, but it tells tokens apart; the seed, the name, the client
/// and the endpoint do. Without one, everything does.
#[tokio::test]
async fn a_refresh_token_is_the_same_for_whatever_is_asked_for() {
    let tokens = super::oauth2::tests::parts().tokens;
    let url = |text| TokenEndpoint::Url(config::HttpUrl::parse(text).unwrap());
    let of = |grant| config::OAuth2 { grant, ..super::oauth2::tests::grant(url("https://login.example/token")) };
    let seeded = |seed: &str| of(Grant::RefreshToken { seed: crate::secret::Secret::new(seed) });
    let asking = |config: config::OAuth2| config::OAuth2 { scope: vec!["write".to_owned()], ..config };
    let id = |name: &str, config: &config::OAuth2| super::identity(name, config, &tokens);
    let crm = seeded("r1");
    assert_eq!(id("crm", &crm), id("crm", &asking(seeded("r1"))));
    assert_ne!(super::asks_for(&crm, None, &tokens), super::asks_for(&asking(seeded("r1")), None, &tokens));
    assert_ne!(id("crm", &crm), id("crm", &seeded("r2")));
    assert_ne!(id("crm", &crm), id("erp", &crm));
    assert_ne!(id("crm", &crm), id("crm", &config::OAuth2 { client_id: "other".to_owned(), ..seeded("r1") }));
    let elsewhere = config::OAuth2 { endpoint: url("https://login.example/other"), ..seeded("r1") };
    assert_ne!(id("crm", &crm), id("crm", &elsewhere));
    let plain = of(Grant::ClientCredentials);
    assert_ne!(id("crm", &plain), id("crm", &asking(of(Grant::ClientCredentials))));
    assert_eq!(super::asks_for(&plain, None, &tokens), None);
}
