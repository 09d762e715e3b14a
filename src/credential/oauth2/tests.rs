mod foreign_assertion;

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::endpoint::tests::{Peer, Then, answer, connector, in_ten_seconds};
use super::*;
use crate::clock::ManualClock;
use crate::config::{
    ClientAssertion, ClientProof, FieldsGrant, FieldsKind, Grant, JwtBearer, LifetimeFormat, TokenLife, TokenTimeouts,
    Warm,
};
use crate::jws::tests::{RSA, verified};
use crate::jws::{Algorithm, SigningKey};
use crate::secret::Secret;
use crate::token::TokenCache;

pub(in crate::credential) const SECRET: &str = "s3cret+/=:x";
const GRANTED: &str = r#"{"access_token":"T","token_type":"Bearer","expires_in":300}"#;

pub(in crate::credential) fn parts() -> Parts {
    let clock = Arc::new(ManualClock::at(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
    Parts {
        tokens: TokenCache::new(clock.clone(), tokio::runtime::Handle::current()),
        clock,
        connector: connector(),
        discoveries: Arc::new(DiscoveryCache::default()),
        proof_keys: Arc::default(),
        tape: None,
    }
}

/// A grant at an endpoint of ours, with nothing that need not be said.
pub(in crate::credential) fn grant(endpoint: TokenEndpoint) -> config::OAuth2 {
    config::OAuth2 {
        grant: config::Grant::ClientCredentials,
        endpoint,
        client_id: "at:tache".to_owned(),
        proof: ClientProof::Secret(Secret::new(SECRET)),
        client_certificate: None,
        older_proof: None,
        dpop: None,
        auth_method: None,
        scope: Vec::new(),
        audience: None,
        resource: Vec::new(),
        parameters: BTreeMap::new(),
        issuer_check: true,
        answer: AnswerShape::default(),
        life: TokenLife {
            refresh_before: None,
            keep_warm: Duration::from_secs(24 * 3600),
            single_active: false,
            warm: Warm::No,
            stale_if_error: Duration::ZERO,
            attach: config::Attach::default(),
            private: false,
            cleartext: false,
            timeouts: TokenTimeouts {
                connect: Duration::from_secs(3),
                attempt: Duration::from_secs(10),
                total: Duration::from_secs(30),
            },
        },
    }
}

fn at(peer: &Peer, path: &str) -> config::OAuth2 {
    grant(TokenEndpoint::Url(peer.url(path)))
}

fn source(config: &config::OAuth2) -> OAuth2 {
    OAuth2::new(config, &parts())
}

async fn fetch(config: &config::OAuth2) -> Result<Granted, FetchError> {
    source(config).fetch(FetchRequest { attempt_timeout: Duration::from_secs(10), exchange: None, claims: None }).await
}

/// A request taken apart: its first line, its `Authorization`, its form.
fn parse(request: &str) -> (String, Option<String>, Vec<(String, String)>) {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let authorization = head.lines().find_map(|line| line.strip_prefix("authorization: ")).map(str::to_owned);
    (
        head.lines().next().unwrap().to_owned(),
        authorization,
        form_urlencoded::parse(body.as_bytes()).into_owned().collect(),
    )
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn each_authentication_method_is_as_its_standard_says() {
    let peer = Peer::answering(answer(200, "", GRANTED)).await;
    let basic = |pair: &str| Some(format!("Basic {}", STANDARD.encode(pair)));
    let own = [("grant_type", "client_credentials")];
    let posted = [own[0], ("client_id", "at:tache"), ("client_secret", SECRET)];
    for (method, authorization, form) in [
        // RFC 6749 section 2.3.1: both are form-encoded before they are put together.
        (None, basic("at%3Atache:s3cret%2B%2F%3D%3Ax"), own.as_slice()),
        (Some(TokenEndpointAuthMethod::ClientSecretBasic), basic("at%3Atache:s3cret%2B%2F%3D%3Ax"), &own),
        (Some(TokenEndpointAuthMethod::ClientSecretBasicRaw), basic("at:tache:s3cret+/=:x"), &own),
        (Some(TokenEndpointAuthMethod::ClientSecretPost), None, &posted),
    ] {
        let config = config::OAuth2 { auth_method: method, ..at(&peer, "/token?tenant=a%2Fb") };
        let granted = fetch(&config).await.unwrap();
        assert_eq!((granted.value.expose(), granted.lifetime), ("T", Some(Duration::from_secs(300))));
        let (line, sent_authorization, sent_form) = parse(&peer.requests().pop().unwrap());
        assert_eq!(line, "POST /token?tenant=a%2Fb HTTP/1.1");
        assert_eq!((sent_authorization, sent_form), (authorization, pairs(form)), "{method:?}");
    }
    let request = peer.requests().pop().unwrap();
    assert!(request.contains("content-type: application/x-www-form-urlencoded\r\n"));
}

/// A proof by this key, with the token endpoint as its audience.
fn signed_by(key: SigningKey) -> ClientProof {
    ClientProof::Assertion(ClientAssertion { key: Arc::new(key), key_id: None, audience: None })
}

/// RFC 7523 section 2.2, and `none` of RFC 7591 section 2: nothing secret is sent.
#[tokio::test]
async fn a_client_without_a_secret_to_send_sends_an_assertion_or_its_id() {
    let peer = Peer::answering(answer(200, "", GRANTED)).await;
    let shared = || SigningKey::shared(Secret::new(SECRET), Algorithm::Hs256).unwrap();
    let private = || SigningKey::from_pem(RSA, Some(Algorithm::Ps256)).unwrap();
    for (method, key) in [
        (TokenEndpointAuthMethod::ClientSecretJwt, Some(shared as fn() -> SigningKey)),
        (TokenEndpointAuthMethod::PrivateKeyJwt, Some(private)),
        (TokenEndpointAuthMethod::Public, None),
    ] {
        let proof = key.map_or(ClientProof::Nothing, |key| signed_by(key()));
        let config = config::OAuth2 { auth_method: Some(method), proof, ..at(&peer, "/token") };
        fetch(&config).await.unwrap();
        let request = peer.requests().pop().unwrap();
        let (_, authorization, mut form) = parse(&request);
        assert_eq!(authorization, None);
        assert!(!request.contains("s3cret"), "{request}");
        if let Some(key) = key {
            let (name, assertion) = form.pop().unwrap();
            assert_eq!(name, "client_assertion");
            let (header, claims) = verified(&assertion, &key());
            assert_eq!(header["alg"], key().algorithm().name());
            assert_eq!((claims["iss"].as_str(), claims["iat"].as_u64()), (Some("at:tache"), Some(1_700_000_000)));
            assert_eq!(claims["aud"], format!("http://{}/token", peer.address));
            let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned();
            assert_eq!(form.pop(), Some(("client_assertion_type".to_owned(), kind)));
        }
        assert_eq!(form, pairs(&[("grant_type", "client_credentials"), ("client_id", "at:tache")]), "{method:?}");
    }
}

/// The attack K14: a server that repeats what it was sent is not quoted.
#[tokio::test]
async fn an_assertion_that_comes_back_is_not_quoted() {
    let peer = Peer::start(|request| {
        let (_, _, form) = parse(request);
        let (_, assertion) = form.last().unwrap();
        let body = format!("{{\"error\":\"invalid_client\",\"error_description\":\"bad: {assertion}\"}}");
        Then::Answer(answer(401, "", &body))
    })
    .await;
    let proof = signed_by(SigningKey::from_pem(RSA, None).unwrap());
    let auth_method = Some(TokenEndpointAuthMethod::PrivateKeyJwt);
    let error = fetch(&config::OAuth2 { auth_method, proof, ..at(&peer, "/") }).await.unwrap_err();
    assert!(error.text.contains("invalid_client") && error.text.contains("public half"), "{}", error.text);
    assert!(!error.text.contains("bad:") && !error.text.contains("eyJ"), "{}", error.text);
}

/// The attack K14: nor is anything else that a grant presents.
#[tokio::test]
async fn what_a_grant_presents_is_not_quoted() {
    let peer = Peer::start(|request| {
        let (_, _, form) = parse(request);
        let sent: Vec<_> = form.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let body = format!("{{\"error\":\"invalid_grant\",\"error_description\":\"bad: {}\"}}", sent.join(" "));
        Then::Answer(answer(400, "", &body))
    })
    .await;
    let key = || Arc::new(SigningKey::from_pem(RSA, None).unwrap());
    let fields = |kind, names: &[&str]| {
        let secret = names.iter().map(|name| ((*name).to_owned(), Secret::new("planted-secret"))).collect();
        let grant = FieldsGrant { kind, grant_type: "g".to_owned(), plain: Vec::new(), secret, subject: None };
        Grant::Fields(Box::new(grant))
    };
    let jwt_bearer = JwtBearer {
        key: key(),
        key_id: None,
        issuer: "robot".to_owned(),
        subject: None,
        audience: None,
        claims: BTreeMap::new(),
    };
    for (grant, likely) in [
        (Grant::JwtBearer(Box::new(jwt_bearer)), "check the assertion"),
        (fields(FieldsKind::Password, &["password"]), "username and password"),
        (fields(FieldsKind::TokenExchange, &["subject_token", "actor_token"]), "check subject_token"),
        (fields(FieldsKind::Custom, &["pin"]), "secret_parameters"),
    ] {
        let config = config::OAuth2 { grant, proof: ClientProof::Nothing, client_id: String::new(), ..at(&peer, "/") };
        let counted = if matches!(config.grant, Grant::JwtBearer(_)) { "robot" } else { "" };
        assert_eq!(source(&config).client_id(), counted, "TL-33 holds back the one who signs");
        let error = fetch(&config).await.unwrap_err();
        assert!(error.text.contains("invalid_grant") && error.text.contains(likely), "{}", error.text);
        assert!(!error.text.contains("bad:") && !format!("{config:?}").contains("planted"), "{}", error.text);
    }
    let config = config::OAuth2 { proof: ClientProof::Nothing, client_id: String::new(), ..at(&peer, "/") };
    assert!(fetch(&config).await.unwrap_err().text.contains("bad:"), "what is no secret is quoted");
}

#[tokio::test]
async fn everything_that_is_configured_is_asked_for() {
    let peer = Peer::answering(answer(201, "", GRANTED)).await;
    let mut config = at(&peer, "");
    config.scope = vec!["customers.read".to_owned(), "https://graph.example/.default".to_owned()];
    config.audience = Some("https://api.example/".to_owned());
    config.resource = vec!["urn:one".to_owned(), "urn:two&three".to_owned()];
    config.parameters = BTreeMap::from([("account_id".to_owned(), "ä b".to_owned())]);
    fetch(&config).await.unwrap();
    let (line, _, form) = parse(&peer.requests().pop().unwrap());
    assert_eq!(line, "POST / HTTP/1.1");
    let expected = pairs(&[
        ("grant_type", "client_credentials"),
        ("scope", "customers.read https://graph.example/.default"),
        ("audience", "https://api.example/"),
        ("resource", "urn:one"),
        ("resource", "urn:two&three"),
        ("account_id", "ä b"),
    ]);
    assert_eq!(form, expected);

    config.parameters = BTreeMap::from([("grant_type".to_owned(), "account_credentials".to_owned())]);
    fetch(&config).await.unwrap();
    let (_, _, form) = parse(&peer.requests().pop().unwrap());
    assert_eq!(form.iter().filter(|(name, _)| name == "grant_type").count(), 1, "a parameter stands in place of ours");
}

/// TL-26, TL-32, TL-33: what the endpoint answered reaches the cell as what it means, with a text that helps.
#[tokio::test]
async fn failures_are_told_apart_on_the_wire() {
    for (bytes, kind, says) in [
        (answer(401, "", r#"{"error":"invalid_client"}"#), FetchErrorKind::Refused, "invalid_client"),
        (answer(503, "", ""), FetchErrorKind::Transient, "503"),
        (answer(200, "", ""), FetchErrorKind::Transient, "empty"),
        (
            answer(429, "retry-after: 7\r\n", ""),
            FetchErrorKind::RateLimited { retry_after: Some(Duration::from_secs(7)) },
            "429",
        ),
        (answer(307, "location: /elsewhere\r\n", ""), FetchErrorKind::Refused, "redirects are not followed"),
    ] {
        let peer = Peer::answering(bytes).await;
        let error = fetch(&at(&peer, "/")).await.unwrap_err();
        assert_eq!(error.kind, kind, "{}", error.text);
        assert!(error.text.contains(says) && error.text.contains("the token request to 127.0.0.1:"), "{}", error.text);
        assert_eq!(peer.requests().len(), 1, "one attempt is one request");
    }
}

/// TL-35, and the attack K01: no secret in the clear, and nothing is sent that could be seen.
#[tokio::test]
async fn plain_http_to_elsewhere_is_refused_before_anything_is_sent() {
    let url = HttpUrl::parse("http://login.invalid/token").unwrap();
    let error = fetch(&grant(TokenEndpoint::Url(url))).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Refused);
    assert!(error.text.contains("plain http") && error.text.contains("cleartext = true"), "{}", error.text);
}

/// TL-32: one attempt ends when its time is over, whatever the endpoint does.
#[tokio::test]
async fn an_attempt_ends_with_its_time() {
    let mut peer = Peer::start(|_| Then::Stall).await;
    let fetching = tokio::spawn(source(&at(&peer, "/")).fetch(FetchRequest {
        attempt_timeout: Duration::from_secs(10),
        exchange: None,
        claims: None,
    }));
    peer.arrival().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    let error = fetching.await.unwrap().unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Transient);
    assert!(error.text.contains("did not answer in time"), "{}", error.text);
}

/// TL-38: the issuer's own words decide where and how, but for what is configured.
#[tokio::test]
async fn an_issuer_is_discovered_and_then_asked() {
    let peer = Peer::start(|request| {
        let host = request.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
        // The same server by another name, so that its origin differs from the issuer's.
        let named = host.replace("127.0.0.1", "localhost");
        let metadata = format!(
            "{{\"issuer\":\"http://{host}\",\"token_endpoint\":\"http://{named}/oauth/token\",\
             \"token_endpoint_auth_methods_supported\":[\"client_secret_post\"]}}"
        );
        Then::Answer(answer(200, "", if request.starts_with("GET") { &metadata } else { GRANTED }))
    })
    .await;
    let issuer = |auth_method| {
        let url = peer.url("");
        let endpoint = TokenEndpoint::Issuer { issuer: url.to_string(), url };
        config::OAuth2 { auth_method, ..grant(endpoint) }
    };
    let source = source(&issuer(None));
    assert_eq!((&*source.origin(), source.client_id()), (format!("http://{}", peer.address).as_str(), "at:tache"));
    for _ in 0..2 {
        source.attempt(in_ten_seconds(), None).await.unwrap();
    }
    let found = format!("http://localhost:{}", peer.address.port());
    assert_eq!(*source.origin(), *found, "TL-33 and TL-34 count where the endpoint is, not where its issuer is");
    let requests = peer.requests();
    assert_eq!(requests.len(), 3, "it is discovered once");
    let (line, authorization, form) = parse(&requests[2]);
    assert_eq!((line.as_str(), authorization), ("POST /oauth/token HTTP/1.1", None));
    assert!(form.contains(&("client_secret".to_owned(), SECRET.to_owned())));
    assert!(!requests[0].contains("s3cret"), "discovery needs no secret");

    fetch(&issuer(Some(TokenEndpointAuthMethod::ClientSecretBasic))).await.unwrap();
    assert!(parse(&peer.requests().pop().unwrap()).1.is_some(), "what is configured wins");
}

#[tokio::test]
async fn a_declared_answer_is_read_where_it_says() {
    let body = r#"{"credentials":{"token":"T","estimatedTimeToExpiration":"1:00:00"}}"#;
    let peer = Peer::answering(answer(200, "", body)).await;
    let mut config = at(&peer, "/");
    config.answer.token = Some("credentials.token".into());
    config.answer.lifetime = Some("credentials.estimatedTimeToExpiration".into());
    config.answer.lifetime_format = LifetimeFormat::parse("H:MM:SS").ok();
    let granted = fetch(&config).await.unwrap();
    assert_eq!((granted.value.expose(), granted.lifetime), ("T", Some(Duration::from_secs(3600))));
}

/// Promise 2 of the product: a source prints no secret, in any spelling.
#[tokio::test]
async fn a_source_does_not_print_its_secret() {
    let peer = Peer::answering(Vec::new()).await;
    let printed = format!("{:?}", source(&at(&peer, "/")));
    for spelling in [SECRET, "s3cret", "s3cret%2B", &STANDARD.encode(SECRET)] {
        assert!(!printed.contains(spelling), "{printed}");
    }
}

/// RFC 6749 section 6, TL-52, TL-53: the refresh token is sent as its grant says; what came back of it is known however the attempt
/// ends, and so is whether it may have been carried out.
#[tokio::test]
async fn a_refresh_token_is_exchanged() {
    let seed = config::Grant::RefreshToken { seed: Secret::new("seed+/=") };
    let rotated = r#"{"access_token":"T","refresh_token":"R2"}"#;
    let useless = r#"{"access_token":"no\nheader","refresh_token":"R2"}"#;
    let cases = [
        (answer(200, "", rotated), Some("R2"), true, false),
        (answer(200, "", useless), Some("R2"), true, false),
        (answer(400, "", r#"{"error":"invalid_grant"}"#), None, true, true),
        (answer(500, "", r#"{"errcode":"busy"}"#), None, true, true),
        (answer(500, "", ""), None, true, false),
        (answer(200, "", "<html></html>"), None, true, false),
    ];
    for (reply, received, sent, named) in cases {
        let peer = Peer::answering(reply.clone()).await;
        let config = config::OAuth2 { grant: seed.clone(), scope: vec!["read".to_owned()], ..at(&peer, "/token") };
        let source = source(&config);
        let exchange = Exchange::new(source.seed().expect("it has a seed").clone());
        let request =
            FetchRequest { attempt_timeout: Duration::from_secs(10), exchange: Some(exchange.clone()), claims: None };
        let _ = source.fetch(request).await;
        let found = exchange.take_received();
        assert_eq!(found.as_ref().map(Secret::expose), received, "{reply:?}");
        assert_eq!((exchange.was_sent(), exchange.was_named()), (sent, named), "{reply:?}");
        let (_, _, form) = parse(&peer.requests().pop().unwrap());
        assert_eq!(form, pairs(&[("grant_type", "refresh_token"), ("scope", "read"), ("refresh_token", "seed+/=")]));
    }
    let nobody =
        config::OAuth2 { grant: seed, ..grant(TokenEndpoint::Url(HttpUrl::parse("http://127.0.0.1:1/").unwrap())) };
    let exchange = Exchange::new(Secret::new("seed"));
    let request =
        FetchRequest { attempt_timeout: Duration::from_secs(10), exchange: Some(exchange.clone()), claims: None };
    source(&nobody).fetch(request).await.unwrap_err();
    assert!(!exchange.was_sent(), "there was no connection");
}
