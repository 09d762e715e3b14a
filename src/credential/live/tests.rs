use super::super::endpoint::tests::{Peer, Then, answer};
use super::super::oauth2::tests::{SECRET, grant, parts};
use super::*;
use crate::config::{ClientAssertion, ClientProof, TokenEndpoint};
use crate::jws::{Algorithm, SigningKey};
use crate::secret::Secret;

fn credential(kind: CredentialKind) -> config::Credential {
    config::Credential { name: "crm".into(), kind }
}

fn at(peer: &Peer) -> config::Credential {
    credential(CredentialKind::OAuth2(Box::new(grant(TokenEndpoint::Url(peer.url("/token"))))))
}

#[tokio::test]
async fn a_token_that_is_granted_is_reported_without_itself() {
    let peer = Peer::answering(answer(200, "", r#"{"access_token":"planted-token","expires_in":300}"#)).await;
    let report = probe(&at(&peer), &parts(), MayRotate::No).await;
    let host = report.host.as_deref().and_then(|host| host.strip_prefix("127.0.0.1:"));
    assert!(host.is_some_and(|port| port.parse::<u16>().is_ok()), "{report:?}");
    assert_eq!(report.auth_method, Some("client_secret_basic"));
    assert!(matches!(report.outcome, Outcome::Granted { lifetime: Some(life), .. } if life.as_secs() == 300));
    assert_eq!(report.likely_cause(), None);
    let printed = format!("{report:?}");
    assert!(!printed.contains("planted-token") && !printed.contains(SECRET), "{printed}");
}

#[tokio::test]
async fn a_wrong_authentication_method_is_found_out() {
    let refusal = r#"{"error":"invalid_client","error_description":"s3cret+/=:x is wrong"}"#;
    for (accepts, method) in [
        ("client_secret=", "client_secret_post"),
        // at:tache:s3cret+/=:x, unencoded.
        ("Basic YXQ6dGFjaGU6czNjcmV0Ky89Ong=", "client_secret_basic_raw"),
    ] {
        let peer = Peer::start(move |request| {
            let accepted = request.contains(accepts);
            Then::Answer(if accepted { answer(200, "", r#"{"access_token":"T"}"#) } else { answer(401, "", refusal) })
        })
        .await;
        let report = probe(&at(&peer), &parts(), MayRotate::No).await;
        let Outcome::Failed { failure, method_that_works, .. } = &report.outcome else { panic!("{report:?}") };
        assert_eq!((failure.code.as_deref(), *method_that_works), (Some("invalid_client"), Some(method)));
        assert!(report.likely_cause().unwrap().contains(&format!("token_endpoint_auth_method = \"{method}\"")));
        assert!(!format!("{report:?}").contains("s3cret"), "{report:?}");
    }
}

#[tokio::test]
async fn a_wrong_secret_is_tried_once_by_each_method_and_then_explained() {
    let peer = Peer::answering(answer(401, "", r#"{"error":"invalid_client"}"#)).await;
    let report = probe(&at(&peer), &parts(), MayRotate::No).await;
    assert_eq!(peer.requests().len(), 3, "basic, post and basic_raw");
    let cause = report.likely_cause().unwrap();
    let all = "refuses them by client_secret_basic, client_secret_post, client_secret_basic_raw alike";
    assert!(cause.starts_with("check client_id and client_secret") && cause.ends_with(all), "{cause}");
    assert!(!cause.contains("another token_endpoint_auth_method"), "none is left: {cause}");
}

/// Where one of the methods was answered nothing that is about the client, it may still be the right one.
#[tokio::test]
async fn a_method_that_nothing_is_known_of_is_still_a_cause() {
    let peer = Peer::start(|request| {
        Then::Answer(match request.contains("client_secret=") {
            true => answer(503, "", ""),
            false => answer(401, "", r#"{"error":"invalid_client"}"#),
        })
    })
    .await;
    let report = probe(&at(&peer), &parts(), MayRotate::No).await;
    let cause = report.likely_cause().unwrap();
    let both = "check client_id and client_secret, and whether the server wants another token_endpoint_auth_method";
    assert!(cause.contains(both) && !cause.contains("alike"), "{cause}");
    assert_eq!(peer.requests().len(), 3);
}

fn password_grant() -> config::Grant {
    config::Grant::Fields(Box::new(config::FieldsGrant {
        kind: config::FieldsKind::Password,
        grant_type: "password".to_owned(),
        plain: vec![("username".to_owned(), "attache@example.com".to_owned())],
        secret: vec![("password".to_owned(), Secret::new("planted-password"))],
        subject: None,
    }))
}

/// What a grant presents may be all that is wanted: then nobody has configured `none`.
#[tokio::test]
async fn a_grant_that_needs_no_client_says_so() {
    let peer = Peer::answering(answer(200, "", r#"{"access_token":"T"}"#)).await;
    let none = config::OAuth2 {
        proof: ClientProof::Nothing,
        auth_method: Some(TokenEndpointAuthMethod::Public),
        ..grant(TokenEndpoint::Url(peer.url("/token")))
    };
    let presents = config::OAuth2 { grant: password_grant(), ..none.clone() };
    for (config, why) in [(none, "as configured"), (presents, "no client secret or key is configured")] {
        let report = probe(&credential(CredentialKind::OAuth2(Box::new(config))), &parts(), MayRotate::No).await;
        assert_eq!((report.auth_method, report.auth_method_from), (Some("none"), Some(why)));
    }
}

/// What stands in proxy.toml as text is shown, so that a server may quote it, in what is told as in the failure's own text.
#[tokio::test]
async fn a_user_name_is_told_and_quoted() {
    let refusal = r#"{"error":"invalid_grant","error_description":"attache@example.com is locked"}"#;
    let peer = Peer::answering(answer(400, "", refusal)).await;
    let grant = config::OAuth2 { grant: password_grant(), ..grant(TokenEndpoint::Url(peer.url("/"))) };
    let report = probe(&credential(CredentialKind::OAuth2(Box::new(grant))), &parts(), MayRotate::No).await;
    let told = said(&report);
    assert!(
        told.contains("> username=attache@example.com\n") && told.contains("\"attache@example.com is locked"),
        "{told}"
    );
    let Outcome::Failed { failure, .. } = &report.outcome else { panic!("{report:?}") };
    assert!(failure.cause.contains("attache@example.com is locked") && !told.contains("planted"), "{failure:?}");
}

#[tokio::test]
async fn what_is_not_about_the_client_is_asked_once() {
    for (status, body, cause) in [
        (400, r#"{"error":"invalid_scope"}"#, Some("scope")),
        (404, "", Some("token_url")),
        (500, "", None),
        (403, r#"{"error":"unauthorized_client"}"#, Some("allow it there")),
    ] {
        let peer = Peer::answering(answer(status, "", body)).await;
        let report = probe(&at(&peer), &parts(), MayRotate::No).await;
        assert_eq!(peer.requests().len(), 1, "{status}");
        match (report.likely_cause(), cause) {
            (Some(told), Some(expected)) => assert!(told.contains(expected), "{told}"),
            (told, expected) => assert_eq!((told, expected), (None, None)),
        }
    }
}

#[tokio::test]
async fn a_fixed_credential_has_nothing_to_fetch() {
    let fixed = credential(CredentialKind::Bearer { token: Secret::new("planted-token") });
    assert_eq!(probe(&fixed, &parts(), MayRotate::No).await.outcome, Outcome::NothingToFetch);
}

/// All that was said, line by line.
fn said(report: &Report) -> String {
    report.said.iter().flat_map(|told| &told.lines).map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn what_was_said_is_told_with_every_secret_masked() {
    let body = r#"{"access_token":"planted-token","expires_in":300,"id_token":"planted-too"}"#;
    let head = "x-request-id: r-7\r\nx-csrf: planted-csrf\r\ndate: Tue, 14 Nov 2023 22:13:10 GMT\r\nset-cookie: sid=planted-cookie; Path=/\r\n";
    let peer = Peer::answering(answer(200, head, body)).await;
    let mut grant = grant(TokenEndpoint::Url(peer.url("/token?tenant=7&code=planted-code")));
    grant.parameters.insert("region".to_owned(), "eu-1".to_owned());
    grant.parameters.insert("api_key".to_owned(), "planted-key".to_owned());
    let report = probe(&credential(CredentialKind::OAuth2(Box::new(grant))), &parts(), MayRotate::No).await;
    let told = said(&report);
    for line in [
        format!("* connected to {}, in cleartext\n", peer.address),
        format!("> POST http://{}/token?tenant=7&code=", peer.address),
        format!("> authorization: Basic at%3Atache:{} (form-encoded)\n", mask(SECRET)),
        "> grant_type=client_credentials\n".to_owned(),
        "> region=eu-1\n".to_owned(),
        format!("> api_key={}\n", mask("planted-key")),
        "< 200 OK\n".to_owned(),
        "< x-request-id: r-7\n".to_owned(),
        format!("< x-csrf: {}\n", mask("planted-csrf")),
        "< date: Tue, 14 Nov 2023 22:13:10 GMT (this machine's clock is 10 s ahead)\n".to_owned(),
        format!("< set-cookie: sid={}\n", mask("planted-cookie")),
        format!("<   \"access_token\": \"{}\",\n", mask("planted-token")),
        "<   \"expires_in\": 300,\n".to_owned(),
    ] {
        assert!(told.contains(&line), "{line:?} is not in\n{told}");
    }
    let printed = format!("{report:?}{told}");
    assert!(!printed.contains("planted-") && !printed.contains("s3cret"), "{printed}");
    let Outcome::Granted { token, .. } = &report.outcome else { panic!("{report:?}") };
    assert_eq!((&*token.member, token.lifetime_member.as_deref()), ("access_token", Some("expires_in")));
    assert_eq!((&token.fingerprint, &token.claims), (&mask("planted-token"), &None));
}

/// S04, K14: what a server repeats of the request is masked in what is told of its answer.
#[tokio::test]
async fn a_server_that_repeats_the_request_tells_a_person_no_secret() {
    let peer = Peer::start(|request| {
        let authorization = request.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or_default();
        let body =
            serde_json::json!({ "error": "invalid_client", "said": authorization, "sent": request, "is": SECRET });
        let head = format!("www-authenticate: Basic realm=\"{authorization}\"\r\n");
        Then::Answer(answer(401, &head, body.to_string()))
    })
    .await;
    let report = probe(&at(&peer), &parts(), MayRotate::No).await;
    assert_eq!(report.said.len(), 3, "one for each method");
    let told = said(&report);
    for spelling in [SECRET, "s3cret", "czNjcmV0", "YXQlM0F0YWNoZTpzM2NyZXQ", "YXQ6dGFjaGU6"] {
        assert!(!told.contains(spelling), "{told}");
    }
    assert!(told.contains("> client_secret=<11 bytes>"), "{told}");
    assert!(told.contains("invalid_client"), "{told}");
}

/// SEC-13: a secret parameter is masked whatever it is called, in what is sent and in what is repeated of it.
#[tokio::test]
async fn a_secret_parameter_of_a_harmless_name_is_told_to_nobody() {
    let peer = Peer::start(|request| {
        let body = serde_json::json!({ "error": "invalid_request", "error_description": request });
        Then::Answer(answer(400, "", body.to_string()))
    })
    .await;
    let mut config = at(&peer);
    let CredentialKind::OAuth2(oauth2) = &mut config.kind else { panic!("it is a grant of OAuth 2.0") };
    oauth2.grant = config::Grant::Fields(Box::new(config::FieldsGrant {
        kind: config::FieldsKind::Custom,
        grant_type: "own".to_owned(),
        plain: Vec::new(),
        secret: vec![("account_id".to_owned(), Secret::new("planted-account-id"))],
        subject: None,
    }));
    let report = probe(&config, &parts(), MayRotate::No).await;
    let told = said(&report);
    assert!(told.contains("account_id=<18 bytes, sha256 ") && !told.contains("planted-"), "{told}");
}

#[tokio::test]
async fn discovery_is_told_with_what_it_found() {
    let issuer = std::sync::OnceLock::new();
    let cell = std::sync::Arc::new(issuer);
    let known = cell.clone();
    let peer = Peer::start(move |request| {
        let issuer: &String = known.get().expect("it is set before anybody asks");
        let metadata = serde_json::json!({
            "issuer": issuer, "token_endpoint": format!("{issuer}/token"), "jwks_uri": "https://long.example",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        });
        Then::Answer(match request.starts_with("GET ") {
            true => answer(200, "", metadata.to_string()),
            false => answer(200, "", r#"{"access_token":"eyJhbGciOiJub25lIn0.eyJhdWQiOiJhcGk6Ly9jcm0ifQ.c2ln"}"#),
        })
    })
    .await;
    let issuer = format!("http://{}", peer.address);
    cell.set(issuer.clone()).unwrap();
    let endpoint = TokenEndpoint::Issuer { issuer, url: peer.url("") };
    let report = probe(&credential(CredentialKind::OAuth2(Box::new(grant(endpoint)))), &parts(), MayRotate::No).await;
    assert_eq!(
        (report.auth_method, report.auth_method_from),
        (Some("client_secret_post"), Some("as the server lists it"))
    );
    let told = said(&report);
    assert!(told.contains("/.well-known/oauth-authorization-server"), "{told}");
    assert!(told.contains("<   \"token_endpoint\": \"http://") && !told.contains("jwks_uri"), "{told}");
    let Outcome::Granted { token, .. } = &report.outcome else { panic!("{report:?}") };
    assert_eq!(token.claims.as_deref(), Some(&[("aud", "api://crm".to_owned())][..]));
}

#[tokio::test]
async fn a_token_that_would_end_the_one_in_use_is_fetched_only_if_that_was_said() {
    let peer = Peer::answering(answer(200, "", r#"{"access_token":"T"}"#)).await;
    let mut grant = grant(TokenEndpoint::Url(peer.url("/token")));
    grant.life.single_active = true;
    let credential = credential(CredentialKind::OAuth2(Box::new(grant)));
    assert_eq!(probe(&credential, &parts(), MayRotate::No).await.outcome, Outcome::LeftAlone);
    assert!(fetch(&credential, &parts(), MayRotate::No).await.unwrap_err().contains("--may-rotate"));
    assert_eq!(peer.requests().len(), 0);
    assert!(matches!(probe(&credential, &parts(), MayRotate::Yes).await.outcome, Outcome::Granted { .. }));
    assert_eq!(fetch(&credential, &parts(), MayRotate::Yes).await.unwrap().0.expose(), "T");
    assert_eq!(peer.requests().len(), 2);
}

#[tokio::test]
async fn an_assertion_is_told_by_what_it_claims() {
    let peer = Peer::answering(answer(401, "", r#"{"error":"invalid_client"}"#)).await;
    let key = SigningKey::shared(Secret::new("a-secret-of-32-bytes-or-more-....."), Algorithm::Hs256).unwrap();
    let assertion =
        ClientAssertion { key: Arc::new(key), key_id: None, audience: Some("https://issuer.example".to_owned()) };
    let grant = config::OAuth2 {
        proof: ClientProof::Assertion(assertion),
        auth_method: Some(TokenEndpointAuthMethod::ClientSecretJwt),
        ..grant(TokenEndpoint::Url(peer.url("/token")))
    };
    let report = probe(&credential(CredentialKind::OAuth2(Box::new(grant))), &parts(), MayRotate::No).await;
    let told = said(&report);
    let claims =
        " (a JWT: iss at:tache; aud https://issuer.example; sub at:tache; iat Tue, 14 Nov 2023 22:13:20 GMT (in 0 s)";
    assert!(told.contains(claims), "{told}");
    let sent = peer.requests().pop().unwrap();
    let (_, signature) = sent.rsplit_once('.').unwrap();
    assert!(!told.contains(signature), "{told}");
}

/// Of two secrets one has to work, as it does for the proxy.
#[tokio::test]
async fn the_older_of_two_secrets_is_good_enough() {
    let peer = Peer::start(|request| {
        // at%3Atache:older
        let right = request.contains("Basic YXQlM0F0YWNoZTpvbGRlcg==");
        Then::Answer(if right {
            answer(200, "", r#"{"access_token":"T","expires_in":300}"#)
        } else {
            answer(401, "", r#"{"error":"invalid_client"}"#)
        })
    })
    .await;
    let mut config = grant(TokenEndpoint::Url(peer.url("/token")));
    config.older_proof = Some(config::ClientProof::Secret(Secret::new("older")));
    let report = probe(&credential(CredentialKind::OAuth2(Box::new(config))), &parts(), MayRotate::No).await;
    assert!(
        matches!(report.outcome, Outcome::Granted { lifetime: Some(life), .. } if life.as_secs() == 300),
        "{report:?}"
    );
    assert_eq!(peer.requests().len(), 2);
}

#[tokio::test]
async fn a_metadata_server_is_asked_once() {
    for (status, granted) in [(200, true), (400, false)] {
        let body = r#"{"access_token":"T","expires_in":300,"error_description":"Identity not found"}"#;
        let peer = Peer::answering(answer(status, "Metadata-Flavor: Google\r\n", body)).await;
        let url = peer.url("");
        let request =
            config::MetadataRequest::Azure { resource: "r".to_owned(), client_id: None, identity_header: None };
        let life = grant(TokenEndpoint::Url(url.clone())).life;
        let kind = CredentialKind::Metadata(Box::new(config::Metadata { url: url.clone(), request, life }));
        let report = probe(&credential(kind), &parts(), MayRotate::No).await;
        assert_eq!(matches!(report.outcome, Outcome::Granted { .. }), granted, "{report:?}");
        assert_eq!((report.host.clone(), report.auth_method), (Some(url.authority()), None));
        assert_eq!(report.likely_cause().is_some_and(|cause| cause.contains("managed identity")), !granted);
        assert_eq!(peer.requests().len(), 1);
    }
}

/// A proof is told by what it says, and a nonce that is wanted is followed here, too.
#[tokio::test]
async fn a_proof_is_told_by_what_it_is_for() {
    let peer = Peer::start(|request| {
        let proofs: Vec<_> = request.split("\r\n").filter_map(|line| line.strip_prefix("dpop: ")).collect();
        let [proof] = proofs[..] else { panic!("one proof: {request}") };
        let said = super::super::claims::claims(proof, std::time::SystemTime::UNIX_EPOCH).unwrap();
        Then::Answer(match said.iter().any(|(name, value)| (*name, value.as_str()) == ("nonce", "the-nonce")) {
            true => answer(200, "", r#"{"access_token":"planted-token","token_type":"DPoP"}"#),
            false => answer(400, "DPoP-Nonce: the-nonce\r\n", r#"{"error":"use_dpop_nonce"}"#),
        })
    })
    .await;
    let bound = config::OAuth2 { dpop: Some(config::Dpop::Made), ..grant(TokenEndpoint::Url(peer.url("/token?x=1"))) };
    let report = probe(&credential(CredentialKind::OAuth2(Box::new(bound))), &parts(), MayRotate::No).await;
    assert!(matches!(report.outcome, Outcome::Granted { .. }), "{report:?}");
    let told = said(&report);
    let proofs: Vec<_> = told.lines().filter(|line| line.starts_with("> dpop: ")).collect();
    let what = format!("htm POST; htu {}", peer.url("/token"));
    assert!(proofs.len() == 2 && proofs.iter().all(|line| line.contains(&what)), "{told}");
    assert!(proofs[1].contains("nonce the-nonce") && !told.contains("eyJ"), "{told}");
}

/// What a server says of proofs is explained, to whoever sends them and to whoever does not.
#[tokio::test]
async fn what_is_wrong_with_a_proof_is_explained() {
    for (dpop, code, likely) in [
        (None, "invalid_dpop_proof", "dpop = true"),
        (None, "use_dpop_nonce", "dpop = true"),
        (Some(config::Dpop::Made), "invalid_dpop_proof", "clock"),
        (Some(config::Dpop::Made), "use_dpop_nonce", "the nonce that it has just given"),
        (Some(config::Dpop::Made), "invalid_scope", "`scope`"),
    ] {
        let peer = Peer::answering(answer(400, "DPoP-Nonce: n\r\n", format!(r#"{{"error":"{code}"}}"#))).await;
        let bound = config::OAuth2 { dpop, ..grant(TokenEndpoint::Url(peer.url("/token"))) };
        let report = probe(&credential(CredentialKind::OAuth2(Box::new(bound))), &parts(), MayRotate::No).await;
        assert!(report.likely_cause().is_some_and(|cause| cause.contains(likely)), "{code}: {report:?}");
    }
}
