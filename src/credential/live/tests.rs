use super::super::endpoint::tests::{Peer, Then, answer};
use super::super::oauth2::tests::{SECRET, grant, parts};
use super::*;
use crate::config::TokenEndpoint;
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
    let report = probe(&at(&peer), &parts()).await;
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
        let report = probe(&at(&peer), &parts()).await;
        let Outcome::Failed { failure, method_that_works } = &report.outcome else { panic!("{report:?}") };
        assert_eq!((failure.code.as_deref(), *method_that_works), (Some("invalid_client"), Some(method)));
        assert!(report.likely_cause().unwrap().contains(&format!("token_endpoint_auth_method = \"{method}\"")));
        assert!(!format!("{report:?}").contains("s3cret"), "{report:?}");
    }
}

#[tokio::test]
async fn a_wrong_secret_is_tried_once_by_each_method_and_then_explained() {
    let peer = Peer::answering(answer(401, "", r#"{"error":"invalid_client"}"#)).await;
    let report = probe(&at(&peer), &parts()).await;
    assert_eq!(peer.requests().len(), 3, "basic, post and basic_raw");
    assert!(report.likely_cause().unwrap().contains("check client_id and client_secret"), "{report:?}");
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
        let report = probe(&at(&peer), &parts()).await;
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
    assert_eq!(probe(&fixed, &parts()).await.outcome, Outcome::NothingToFetch);
}
