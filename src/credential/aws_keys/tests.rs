use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use super::super::endpoint::tests::{Peer, Then, answer, in_ten_seconds};
use super::super::oauth2::tests::{grant, parts};
use super::super::sign::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use super::*;
use crate::config::TokenEndpoint;

/// As the provider documents it; the test's clock stands at 2023-11-14T22:13:20Z.
const KEYS: &str = r#"{"Code":"Success","LastUpdated":"2023-11-14T21:40:00Z","Type":"AWS-HMAC",
    "AccessKeyId":"ASIAIOSFODNN7EXAMPLE","SecretAccessKey":"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "Token":"IQoJb3JpZ2luX2VjEXAMPLE==","Expiration":"2023-11-15T04:13:20Z"}"#;
const OF_A_CONTAINER: &str = r#"{"RoleArn":"arn:aws:iam::123456789012:role/task","AccessKeyId":"ASIAIOSFODNN7EXAMPLE",
    "SecretAccessKey":"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY","Token":"IQoJb3JpZ2luX2VjEXAMPLE==","Expiration":"2023-11-15T04:13:20Z"}"#;

/// As STS answers where it is asked for JSON.
const OF_STS: &str = r#"{"AssumeRoleWithWebIdentityResponse":{"AssumeRoleWithWebIdentityResult":{"Audience":"sts.amazonaws.com",
    "Credentials":{"AccessKeyId":"ASIAIOSFODNN7EXAMPLE","SecretAccessKey":"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "SessionToken":"IQoJb3JpZ2luX2VjEXAMPLE==","Expiration":1.7000216E9},"SubjectFromWebIdentityToken":"system:serviceaccount:a:b"},
    "ResponseMetadata":{"RequestId":"c6104cbe-af31-11e0-8154-cbc7ccf896c7"}}}"#;

async fn fetch(place: AwsKeyPlace) -> Result<Granted, Failure> {
    let life = grant(TokenEndpoint::Url(place.url().clone())).life;
    AwsKeys::new(&FetchedAwsKeys { place, life }, &parts()).attempt(in_ten_seconds()).await
}

/// A file that holds this, as a platform writes one.
fn file_with(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{text}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file
}

fn instance(peer: &Peer) -> AwsKeyPlace {
    AwsKeyPlace::Instance { url: peer.url("") }
}

/// A metadata server that answers the keys' request like this.
async fn server(role: Vec<u8>, keys: Vec<u8>) -> Peer {
    Peer::start(move |request| {
        Then::Answer(match request.lines().next().unwrap() {
            "PUT /latest/api/token HTTP/1.1" => answer(200, "", "a-session-of-the-server=="),
            "GET /latest/meta-data/iam/security-credentials/ HTTP/1.1" => role.clone(),
            "GET /latest/meta-data/iam/security-credentials/my-role HTTP/1.1" => keys.clone(),
            other => panic!("{other}"),
        })
    })
    .await
}

fn assert_are_the_keys(keys: &Granted) {
    assert_eq!(keys.further[ACCESS_KEY_ID].expose(), "ASIAIOSFODNN7EXAMPLE");
    assert_eq!(keys.further[SECRET_ACCESS_KEY].expose(), "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    assert_eq!(keys.value.expose(), "IQoJb3JpZ2luX2VjEXAMPLE==");
    assert_eq!(keys.lifetime, Some(Duration::from_secs(6 * 3600)));
    let printed = format!("{keys:?}");
    assert!(!printed.contains("wJalr") && !printed.contains("IQoJ"), "{printed}");
}

#[tokio::test]
async fn an_instance_is_asked_in_a_session() {
    let peer = server(answer(200, "", "my-role"), answer(200, "", KEYS)).await;
    assert_are_the_keys(&fetch(instance(&peer)).await.unwrap());
    let requests = peer.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[0].contains("\r\nx-aws-ec2-metadata-token-ttl-seconds: 60\r\n"), "{}", requests[0]);
    for request in &requests[1..] {
        assert!(request.contains("\r\nx-aws-ec2-metadata-token: a-session-of-the-server==\r\n"), "{request}");
    }
}

/// Without a session the first version of the protocol would answer, too: it is not asked.
#[tokio::test]
async fn there_is_no_way_around_the_session() {
    for status in [403, 404, 405] {
        let peer = Peer::answering(answer(status, "", "")).await;
        assert_eq!(fetch(instance(&peer)).await.unwrap_err().kind, FetchErrorKind::Refused);
        assert_eq!(peer.requests().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn what_goes_wrong_at_an_instance_is_explained() {
    use FetchErrorKind::{RateLimited, Refused, Transient};
    let failed = r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"EC2 cannot assume the role my-role","LastUpdated":"2023-11-14T21:40:00Z"}"#;
    let keyless = KEYS.replace("SecretAccessKey", "Secret");
    let role = || answer(200, "", "my-role");
    for (role, keys, kind, said) in [
        (answer(404, "", ""), role(), Refused, "the instance has no IAM role"),
        (answer(200, "", "../../user-data"), role(), Transient, "is no role's name"),
        (answer(200, "", ""), role(), Transient, "empty"),
        (role(), answer(200, "", failed), Refused, "EC2 cannot assume the role my-role"),
        (role(), answer(200, "", keyless), Transient, "`SecretAccessKey` is missing"),
        (role(), answer(200, "", "<html>"), Transient, "no JSON object"),
        (role(), answer(200, "", KEYS.replace("==", "\\r\\nX: y")), Transient, "`Token` cannot be sent"),
        (role(), answer(401, "", "a-session-of-the-server=="), Transient, "it answered 401"),
        (role(), answer(429, "", ""), RateLimited { retry_after: None }, "429"),
        (role(), answer(500, "", "try later"), Transient, "says \"try later\""),
    ] {
        let failure = fetch(instance(&server(role, keys).await)).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure:?}");
        assert!(failure.text().contains(said), "{failure:?}");
        assert!(!format!("{failure:?}").contains("a-session-of") && !failure.text().contains("wJalr"), "{failure:?}");
    }
}

/// While AWS cannot renew an instance's keys it hands out, and takes, those that are over. No other server does.
#[tokio::test]
async fn keys_that_are_over_are_used_on_where_aws_does() {
    let over = |keys: &str| keys.replace("2023-11-15", "2023-11-13");
    let peer = server(answer(200, "", "my-role"), answer(200, "", over(KEYS))).await;
    assert_eq!(fetch(instance(&peer)).await.unwrap().lifetime, Some(Duration::from_secs(600)));
    let peer = Peer::answering(answer(200, "", over(OF_A_CONTAINER))).await;
    let place = AwsKeyPlace::Container { url: peer.url("/"), authorization: None };
    assert_eq!(fetch(place).await.unwrap().lifetime, Some(Duration::ZERO));
}

/// EKS replaces the token in the file, ECS has none.
#[tokio::test]
async fn a_container_is_asked_with_what_its_file_holds_now() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let peer = Peer::answering(answer(200, "", OF_A_CONTAINER)).await;
    let place = |authorization| AwsKeyPlace::Container { url: peer.url("/v1/credentials"), authorization };
    assert_are_the_keys(&fetch(place(None)).await.unwrap());
    let request = peer.requests().pop().unwrap();
    assert!(request.starts_with("GET /v1/credentials HTTP/1.1\r\n") && !request.contains("authorization"), "{request}");
    let failure = fetch(place(Some(FreshSecret::File(file.clone())))).await.unwrap_err();
    assert_eq!((failure.kind, failure.reached), (FetchErrorKind::Transient, Reached::No));
    assert!(failure.text().contains("its authorization token cannot be read: cannot read"), "{failure:?}");
    for token in ["eyJ.first.s", "eyJ.second.s"] {
        file_with(&folder, token);
        assert_are_the_keys(&fetch(place(Some(FreshSecret::File(file.clone())))).await.unwrap());
        let request = peer.requests().pop().unwrap();
        assert!(request.contains(&format!("\r\nauthorization: {token}\r\n")), "{request}");
    }
    let refusing = Peer::answering(answer(400, "", "unable to verify eyJ.second.s")).await;
    let url = refusing.url("/v1/credentials");
    let failure =
        fetch(AwsKeyPlace::Container { url, authorization: Some(FreshSecret::File(file)) }).await.unwrap_err();
    assert_eq!(failure.kind, FetchErrorKind::Refused);
    assert!(!format!("{failure:?}").contains("eyJ"), "{failure:?}");
}

fn for_a_token(peer: &Peer, file: PathBuf) -> AwsKeyPlace {
    let role = "arn:aws:iam::123456789012:role/attache".to_owned();
    AwsKeyPlace::WebIdentity { url: peer.url(""), role, token: FreshSecret::File(file) }
}

#[tokio::test]
async fn sts_is_asked_for_a_roles_keys_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(&folder, "eyJ.of-the-pod.s");
    let peer = Peer::answering(answer(200, "", OF_STS)).await;
    assert_are_the_keys(&fetch(for_a_token(&peer, file)).await.unwrap());
    let request = peer.requests().pop().unwrap();
    assert!(request.starts_with("POST / HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("\r\naccept: application/json\r\n"), "{request}");
    let form = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15\
                &RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fattache&RoleSessionName=attache&WebIdentityToken=eyJ.of-the-pod.s";
    assert!(request.ends_with(&format!("\r\n\r\n{form}")), "{request}");
}

/// TL-26, TL-32: what STS says by a code tells what passes by itself.
#[tokio::test]
async fn what_goes_wrong_at_sts_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(&folder, "eyJ.of-the-pod.s");
    let error = |code: &str| {
        format!(r#"{{"Error":{{"Code":"{code}","Message":"no eyJ.of-the-pod.s","Type":"Sender"}},"RequestId":"1"}}"#)
    };
    for (status, body, kind, said) in [
        (403, error("AccessDenied"), FetchErrorKind::Refused, "check the role's trust policy"),
        (400, error("InvalidIdentityToken"), FetchErrorKind::Refused, "an identity provider of the role's account"),
        (400, error("ExpiredTokenException"), FetchErrorKind::Refused, "has to replace it in time"),
        (400, error("IDPCommunicationError"), FetchErrorKind::Transient, "it answered 400"),
        (500, String::new(), FetchErrorKind::Transient, "it answered 500"),
        (200, KEYS.to_owned(), FetchErrorKind::Transient, "`AssumeRoleWithWebIdentityResponse` is missing"),
        (200, "<Response/>".to_owned(), FetchErrorKind::Transient, "no JSON object"),
    ] {
        let peer = Peer::answering(answer(status, "", body)).await;
        let failure = fetch(for_a_token(&peer, file.clone())).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure:?}");
        assert!(failure.text().contains(said), "{failure:?}");
        assert!(!format!("{failure:?}").contains("of-the-pod"), "{failure:?}");
    }
}

/// SEC-14, TL-35: keys cross no network in the clear. What AWS documents is on the link.
#[tokio::test]
async fn keys_cross_no_network_in_the_clear() {
    let url = HttpUrl::parse("http://192.0.2.1/v1/credentials").unwrap();
    let failure = fetch(AwsKeyPlace::Container { url, authorization: None }).await.unwrap_err();
    assert_eq!(failure.kind, FetchErrorKind::Refused);
    assert!(failure.cause.contains("plain http"), "{failure:?}");
    for address in
        ["169.254.169.254:80", "169.254.170.2:80", "169.254.170.23:80", "[fd00:ec2::254]:80", "[fd00:ec2::23]:80"]
    {
        let address: SocketAddr = address.parse().unwrap();
        assert!(HttpUrl::parse(&format!("http://{address}")).unwrap().is_link_local(), "{address}");
    }
    assert!(!HttpUrl::parse("http://[fd00::254]").unwrap().is_link_local());
}
