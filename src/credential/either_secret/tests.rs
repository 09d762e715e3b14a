use std::sync::Mutex;
use std::time::Duration;

use super::super::endpoint::tests::{Peer, Then, answer};
use super::super::oauth2::tests::{grant, parts};
use super::*;
use crate::config::{TokenEndpoint, TokenEndpointAuthMethod};
use crate::jws::{Algorithm, SigningKey};
use crate::secret::Secret;
use crate::token::FetchErrorKind;

const INVALID_CLIENT: &str = r#"{"error":"invalid_client"}"#;

/// A server that takes one secret, which the test changes.
struct Server {
    peer: Peer,
    takes: Arc<Mutex<&'static str>>,
}

impl Server {
    async fn taking(secret: &'static str) -> Server {
        let takes = Arc::new(Mutex::new(secret));
        let taken = takes.clone();
        let peer = Peer::start(move |request| {
            let right = request.ends_with(&format!("&client_secret={}", taken.lock().unwrap()));
            Then::Answer(if right {
                answer(200, "", r#"{"access_token":"T","expires_in":300}"#)
            } else {
                answer(401, "", INVALID_CLIENT)
            })
        })
        .await;
        Server { peer, takes }
    }

    fn take(&self, secret: &'static str) {
        *self.takes.lock().unwrap() = secret;
    }

    /// The secrets that it was sent since it was asked last.
    fn sent(&self, seen: &mut usize) -> Vec<String> {
        let requests = self.peer.requests();
        let new = requests[std::mem::replace(seen, requests.len())..].iter();
        new.map(|request| request.rsplit_once("&client_secret=").unwrap().1.to_owned()).collect()
    }
}

fn either(peer: &Peer) -> EitherSecret {
    let secret = |text| ClientProof::Secret(Secret::new(text));
    let config = config::OAuth2 {
        proof: secret("new"),
        auth_method: Some(TokenEndpointAuthMethod::ClientSecretPost),
        ..grant(TokenEndpoint::Url(peer.url("/token")))
    };
    EitherSecret::new(&config, &secret("old"), &parts())
}

async fn fetch(source: &EitherSecret) -> Result<Granted, FetchError> {
    source.fetch(FetchRequest { attempt_timeout: Duration::from_secs(10), exchange: None, claims: None }).await
}

/// A rotation from end to end: the server takes the older, then the newer, and nobody notices. The wrong one is sent once at
/// each turn, and not at every fetch.
#[tokio::test]
async fn whichever_works_is_stayed_with() {
    let server = Server::taking("old").await;
    let (source, mut seen) = (either(&server.peer), 0);
    for (takes, sent) in [("old", &["new", "old"][..]), ("old", &["old"]), ("new", &["old", "new"]), ("new", &["new"])]
    {
        server.take(takes);
        assert_eq!(fetch(&source).await.unwrap().value.expose(), "T");
        assert_eq!(server.sent(&mut seen), sent, "it takes the {takes} one");
    }
}

/// TL-26: with two wrong secrets the client is refused, after one request with each.
#[tokio::test]
async fn two_wrong_secrets_are_one_failure() {
    let server = Server::taking("another").await;
    let (source, mut seen) = (either(&server.peer), 0);
    let error = fetch(&source).await.unwrap_err();
    assert_eq!((error.kind, error.code), (FetchErrorKind::Refused, Some("invalid_client")));
    assert!(error.text.contains("neither of the two client secrets"), "{}", error.text);
    assert_eq!(server.sent(&mut seen), ["new", "old"]);
    assert!(!format!("{source:?}").contains("old\""));
}

/// What is not about the client's proof is no reason to send the other secret, too.
#[tokio::test]
async fn only_invalid_client_sends_the_other_secret() {
    for (status, body) in [
        (400, r#"{"error":"invalid_scope"}"#),
        (400, r#"{"error":"unauthorized_client"}"#),
        (401, "{}"),
        (429, INVALID_CLIENT.replace("client", "request").as_str()),
        (500, "{}"),
    ] {
        let peer = Peer::answering(answer(status, "", body)).await;
        fetch(&either(&peer)).await.unwrap_err();
        assert_eq!(peer.requests().len(), 1, "{status} {body}");
    }
}

/// A secret that signs is a secret, too.
#[tokio::test]
async fn an_assertion_is_signed_with_the_other_secret() {
    let key = |text: &str| Arc::new(SigningKey::shared(Secret::new(text), Algorithm::Hs256).unwrap());
    let proof = |text| ClientProof::Assertion(config::ClientAssertion { key: key(text), key_id: None, audience: None });
    let verified = move |request: &str, text: &str| {
        let assertion = request.rsplit_once("&client_assertion=").unwrap().1.to_owned();
        std::panic::catch_unwind(|| crate::jws::tests::verified(&assertion, &key(text))).is_ok()
    };
    let peer = Peer::start(move |request| {
        let right = verified(request, "the-older-secret-of-thirty-two-b");
        Then::Answer(if right { answer(200, "", r#"{"access_token":"T"}"#) } else { answer(401, "", INVALID_CLIENT) })
    })
    .await;
    let config = config::OAuth2 {
        proof: proof("the-newer-secret-of-thirty-two-b"),
        auth_method: Some(TokenEndpointAuthMethod::ClientSecretJwt),
        ..grant(TokenEndpoint::Url(peer.url("/token")))
    };
    let source = EitherSecret::new(&config, &proof("the-older-secret-of-thirty-two-b"), &parts());
    fetch(&source).await.unwrap();
    assert_eq!(peer.requests().len(), 2);
}
