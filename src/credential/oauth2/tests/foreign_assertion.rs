//! Assertions that somebody else signs and replaces (RFC 7523 section 2.2; workload identity federation).

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;
use crate::config::FreshSecret;

const METHOD: TokenEndpointAuthMethod = TokenEndpointAuthMethod::ForeignAssertion;

fn proved_by(peer: &Peer, fresh: FreshSecret) -> config::OAuth2 {
    let proof = ClientProof::ForeignAssertion(fresh);
    config::OAuth2 { auth_method: Some(METHOD), proof, ..at(peer, "/token") }
}

fn by_file(peer: &Peer, file: &Path) -> config::OAuth2 {
    proved_by(peer, FreshSecret::File(file.to_owned()))
}

fn write(file: &PathBuf, text: &str) {
    std::fs::write(file, text).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn sent(peer: &Peer) -> Vec<(String, String)> {
    let (_, authorization, form) = parse(&peer.requests().pop().unwrap());
    assert_eq!(authorization, None);
    form
}

#[tokio::test]
async fn the_file_is_read_anew_for_every_request() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("azure-identity-token");
    let peer = Peer::answering(answer(200, "", GRANTED)).await;
    let source = source(&by_file(&peer, &file));
    for token in ["eyJ.first.s", "eyJ.second.s"] {
        write(&file, &format!("{token}\n"));
        source
            .fetch(FetchRequest { attempt_timeout: Duration::from_secs(10), exchange: None, claims: None })
            .await
            .unwrap();
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let expected = [
            ("grant_type", "client_credentials"),
            ("client_id", "at:tache"),
            ("client_assertion_type", kind),
            ("client_assertion", token),
        ];
        assert_eq!(sent(&peer), pairs(&expected));
    }
}

/// TL-32: what is not there yet may come, and nothing is asked without it.
#[tokio::test]
async fn an_assertion_that_cannot_be_read_passes_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let peer = Peer::answering(answer(200, "", GRANTED)).await;
    let config = by_file(&peer, &file);
    let error = fetch(&config).await.unwrap_err();
    assert_eq!((error.kind, error.reached), (FetchErrorKind::Transient, Reached::No));
    assert!(error.text.contains("the client assertion cannot be read: cannot read") && error.text.contains("/token"));
    write(&file, "\n");
    let error = fetch(&config).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Transient);
    assert!(error.text.contains("token is empty"), "{}", error.text);
    write(&file, "eyJ.planted.s");
    // SEC-15 holds for this file, too.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o622)).unwrap();
    let error = fetch(&config).await.unwrap_err();
    assert!(error.text.contains("everybody can write it") && !error.text.contains("planted"), "{}", error.text);
    let failing = FreshSecret::Command { words: vec!["false".to_owned()], folder: folder.path().to_owned() };
    let error = fetch(&proved_by(&peer, failing)).await.unwrap_err();
    assert_eq!(error.kind, FetchErrorKind::Transient);
    assert!(error.text.contains("`false` failed"), "{}", error.text);
    assert!(peer.requests().is_empty());
}

/// TL-30: the thread that all tokens are fetched on does not wait for a command, which here waits for that thread.
#[tokio::test]
async fn a_slow_command_delays_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let script = "while ! test -e go; do sleep 0.01; done; echo eyJ.printed.s; echo more";
    let words = ["sh", "-c", script].map(str::to_owned).to_vec();
    let peer = Peer::answering(answer(200, "", GRANTED)).await;
    let config = proved_by(&peer, FreshSecret::Command { words, folder: folder.path().to_owned() });
    let fetching = tokio::spawn(async move { fetch(&config).await });
    while !fetching.is_finished() {
        tokio::task::yield_now().await;
        write(&folder.path().join("go"), "");
    }
    fetching.await.unwrap().unwrap();
    assert_eq!(sent(&peer).pop(), Some(("client_assertion".to_owned(), "eyJ.printed.s".to_owned())));
}

/// TL-31: a file system that hangs costs one attempt, and not more.
#[tokio::test]
async fn reading_is_part_of_the_attempts_time() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["sh", "-c", "while ! test -e go; do sleep 0.01; done"].map(str::to_owned).to_vec();
    let peer = Peer::answering(answer(200, "", GRANTED)).await;
    let config = proved_by(&peer, FreshSecret::Command { words, folder: folder.path().to_owned() });
    let error = source(&config)
        .fetch(FetchRequest { attempt_timeout: Duration::from_millis(20), exchange: None, claims: None })
        .await
        .unwrap_err();
    assert!(error.text.contains("cannot be read in time"), "{}", error.text);
    write(&folder.path().join("go"), "");
}

/// What a server may mean by refusing it.
#[tokio::test]
async fn a_refused_assertion_is_explained_and_not_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    write(&file, "eyJ.planted.s");
    let body = r#"{"error":"invalid_client","error_description":"bad: eyJ.planted.s"}"#;
    let peer = Peer::answering(answer(401, "", body)).await;
    let error = fetch(&by_file(&peer, &file)).await.unwrap_err();
    assert!(error.text.contains("`iss`, `sub` and `aud`") && !error.text.contains("planted"), "{}", error.text);
}
