use std::sync::Mutex;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::endpoint::tests::{Peer, Then, answer};
use super::super::oauth2::tests::{grant, parts};
use super::super::{Credential, Parts};
use super::*;
use crate::clock::ManualClock;
use crate::config::{CredentialKind, TokenEndpoint};
use crate::token::{Generation, TokenCache};

/// As the provider documents it, but for the token, which is shortened.
const AZURE: &str = r#"{"access_token":"eyJ0eXAi","client_id":"f01e7e5f-3a34-4e11-8ae9-3a3e3a0c9d44","expires_in":"3600",
    "expires_on":"1700003600","ext_expires_in":"86399","not_before":"1699999900","resource":"https://vault.azure.net","token_type":"Bearer"}"#;
const APP_SERVICE: &str = r#"{"access_token":"eyJ0eXAi","expires_on":"1700003600","resource":"https://vault.azure.net",
    "token_type":"Bearer","client_id":"5E29463D-71DA-4FE0-8E69-999B57DB23B0"}"#;
const GOOGLE_TOKEN: &str = r#"{"access_token":"ya29.c","expires_in":3600,"token_type":"Bearer"}"#;
const OF_GOOGLE: &str = "Metadata-Flavor: Google\r\n";

fn azure(client_id: Option<&str>, identity_header: Option<&str>) -> MetadataRequest {
    MetadataRequest::Azure {
        resource: "https://vault.azure.net".to_owned(),
        client_id: client_id.map(str::to_owned),
        identity_header: identity_header.map(Secret::new),
    }
}

fn google(scope: &[&str]) -> MetadataRequest {
    MetadataRequest::Google {
        account: "default".to_owned(),
        scope: scope.iter().map(|scope| (*scope).to_owned()).collect(),
    }
}

fn at(peer: &Peer, path: &str, request: MetadataRequest) -> config::Metadata {
    let life = grant(TokenEndpoint::Url(peer.url("/"))).life;
    config::Metadata { url: peer.url(path), request, life }
}

async fn fetch(config: &config::Metadata) -> Result<Granted, Failure> {
    Metadata::new(config, &parts()).attempt(timer_now() + Duration::from_secs(10)).await
}

/// What was asked for: the first line, and the headers that are not in every request.
fn asked(peer: &Peer) -> (String, Vec<String>) {
    let request = peer.requests().pop().unwrap();
    let mut lines = request.lines().take_while(|line| !line.is_empty()).map(str::to_owned);
    let first = lines.next().unwrap();
    let every = ["host:", "accept:", "accept-encoding:", "user-agent:"];
    (first, lines.filter(|line| !every.iter().any(|name| line.starts_with(name))).collect())
}

#[tokio::test]
async fn every_server_is_asked_as_it_documents() {
    let vault = "resource=https%3A%2F%2Fvault.azure.net";
    let imds = format!("/metadata/identity/oauth2/token?api-version=2018-02-01&{vault}");
    let accounts = "/computeMetadata/v1/instance/service-accounts";
    for (path, request, body, target, header) in [
        ("", azure(None, None), AZURE, imds.clone(), "metadata: true"),
        ("", azure(Some("f01e"), None), AZURE, format!("{imds}&client_id=f01e"), "metadata: true"),
        (
            "/MSI/token",
            azure(None, Some("853b9a84")),
            APP_SERVICE,
            format!("/MSI/token?api-version=2019-08-01&{vault}"),
            "x-identity-header: 853b9a84",
        ),
        ("", google(&[]), GOOGLE_TOKEN, format!("{accounts}/default/token"), "metadata-flavor: Google"),
        (
            "",
            google(&["a/b", "c"]),
            GOOGLE_TOKEN,
            format!("{accounts}/default/token?scopes=a%2Fb%2Cc"),
            "metadata-flavor: Google",
        ),
    ] {
        let peer = Peer::answering(answer(200, OF_GOOGLE, body)).await;
        let granted = fetch(&at(&peer, path, request)).await.unwrap();
        assert!(body.contains(granted.value.expose()));
        assert_eq!(granted.lifetime, Some(Duration::from_secs(3600)), "{target}");
        assert_eq!(asked(&peer), (format!("GET {target} HTTP/1.1"), vec![header.to_owned()]));
    }
}

/// Its life is what the token itself says, and it is held to what every token is held to (TL-37).
#[tokio::test]
async fn an_identity_token_is_the_whole_body() {
    let claims = URL_SAFE_NO_PAD.encode(r#"{"aud":"https://run.example","exp":1700001800}"#);
    let token = format!("eyJhbGciOiJSUzI1NiJ9.{claims}.c2lnbmF0dXJl");
    let request = || MetadataRequest::GoogleIdentity {
        account: "default".to_owned(),
        audience: "https://run.example".to_owned(),
    };
    let peer = Peer::answering(answer(200, OF_GOOGLE, format!("{token}\n"))).await;
    let granted = fetch(&at(&peer, "", request())).await.unwrap();
    assert_eq!(granted.value.expose(), token);
    assert_eq!(granted.lifetime, Some(Duration::from_secs(1800)));
    let target =
        "/computeMetadata/v1/instance/service-accounts/default/identity?audience=https%3A%2F%2Frun.example&format=full";
    assert_eq!(asked(&peer).0, format!("GET {target} HTTP/1.1"));
    for (body, cause) in [("", "the token is empty"), ("a\r\nb", "control characters")] {
        let peer = Peer::answering(answer(200, OF_GOOGLE, body)).await;
        let failure = fetch(&at(&peer, "", request())).await.unwrap_err();
        assert!(failure.cause.contains(cause), "{failure:?}");
    }
}

/// What else answers at that address is not believed.
#[tokio::test]
async fn an_answer_that_is_not_googles_is_refused() {
    for headers in ["", "Metadata-Flavor: Amazon\r\n"] {
        let peer = Peer::answering(answer(200, headers, GOOGLE_TOKEN)).await;
        let failure = fetch(&at(&peer, "", google(&[]))).await.unwrap_err();
        assert_eq!(failure.kind, FetchErrorKind::Refused);
        assert!(failure.text().contains("it is not Google's metadata server"), "{failure:?}");
    }
}

/// TL-26, TL-32, TL-33: what passes by itself, as the providers document it; the rest needs an operator, and says why.
#[tokio::test]
async fn what_the_providers_retry_is_retried() {
    use FetchErrorKind::{RateLimited, Refused, Transient};
    for (request, status, kind, hint) in [
        (azure(None, None), 400, Refused, Some("has a managed identity")),
        (azure(None, None), 404, Transient, Some("while it is renewed")),
        (azure(None, None), 410, Transient, Some("while it is renewed")),
        (azure(None, None), 429, RateLimited { retry_after: Some(Duration::from_secs(2)) }, None),
        (azure(None, None), 500, Transient, None),
        (azure(None, Some("853b9a84")), 401, Refused, Some("IDENTITY_HEADER")),
        (google(&[]), 404, Refused, Some("no such service account")),
        (google(&[]), 403, Refused, Some("IAM binding")),
        (google(&[]), 500, Transient, None),
    ] {
        let body = r#"{"error":"invalid_request","error_description":"853b9a84: Identity not found"}"#;
        let peer = Peer::answering(answer(status, "Retry-After: 2\r\n", body)).await;
        let failure = fetch(&at(&peer, "", request.clone())).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{request:?}: {status}");
        assert_eq!(failure.hint.is_some(), hint.is_some(), "{failure:?}");
        assert!(hint.is_none_or(|hint| failure.text().contains(hint)), "{failure:?}");
        let is_secret = matches!(request, MetadataRequest::Azure { identity_header: Some(_), .. });
        assert_eq!(failure.cause.contains("853b9a84: Identity not found"), !is_secret, "{failure:?}");
    }
}

#[tokio::test]
async fn where_there_is_no_server_the_cloud_is_doubted() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = HttpUrl::parse(&format!("http://{}", nobody.local_addr().unwrap())).unwrap();
    drop(nobody);
    let life = grant(TokenEndpoint::Url(url.clone())).life;
    let failure = fetch(&config::Metadata { url, request: google(&[]), life }).await.unwrap_err();
    assert_eq!(failure.kind, FetchErrorKind::Transient);
    assert!(failure.text().contains("only a machine in that cloud reaches it"), "{failure:?}");
}

/// TL-36: a metadata server hands out one token until shortly before its end. That is a success each time, and it is asked
/// again when half of what remains is over.
#[tokio::test]
async fn the_same_token_again_is_a_success() {
    let clock = Arc::new(ManualClock::at(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
    let tokens = TokenCache::new(clock.clone(), tokio::runtime::Handle::current());
    let parts = Parts { clock: clock.clone(), tokens, ..parts() };
    let remains = Arc::new(Mutex::new(3600));
    let script = remains.clone();
    let mut peer = Peer::start(move |_| {
        let expires_in = script.lock().unwrap();
        let body = format!(r#"{{"access_token":"ya29.c","expires_in":{expires_in},"token_type":"Bearer"}}"#);
        Then::Answer(answer(200, OF_GOOGLE, body))
    })
    .await;
    let kind = CredentialKind::Metadata(Box::new(at(&peer, "", google(&[]))));
    let credential = Credential::new(&config::Credential { name: "run".into(), kind }, &parts);
    let Credential::Token(token) = &credential else { panic!("it is fetched") };
    let first = token.cell.take(Duration::from_secs(10)).await.unwrap();
    peer.arrival().await;
    // Soft at a quarter of the lifetime, spread by a fifth of that; then at half of what remains.
    for (passes, left, asks) in
        [(2900, 700, true), (340, 360, false), (20, 340, true), (160, 180, false), (20, 160, true)]
    {
        clock.advance(Duration::from_secs(passes));
        *remains.lock().unwrap() = left;
        let granted = token.cell.status().fetches_granted;
        let sent = token.cell.ready().expect("it is usable all the time");
        assert_eq!((sent.generation, sent.value.expose()), (first.generation, "ya29.c"));
        assert_eq!(token.cell.status().fetching, asks, "with {left} s left");
        if asks {
            peer.arrival().await;
            while token.cell.status().fetches_granted == granted {
                tokio::task::yield_now().await;
            }
        }
    }
    let status = token.cell.status();
    assert_eq!((status.fetches_granted, status.fetches_failed), (4, 0));
    assert_eq!(status.generation, Some(Generation(1)));
}

/// TL-02: what is asked for tells tokens apart.
#[tokio::test]
async fn another_identity_or_audience_is_another_token() {
    let (parts, peer) = (parts(), Peer::answering(answer(200, OF_GOOGLE, GOOGLE_TOKEN)).await);
    let identity = |request: MetadataRequest| {
        let kind = CredentialKind::Metadata(Box::new(at(&peer, "", request)));
        match Credential::new(&config::Credential { name: "c".into(), kind }, &parts) {
            Credential::Token(token) => token.identity,
            Credential::Fixed(_) | Credential::Signed(_) => panic!("it is fetched"),
        }
    };
    let audience = |audience: &str| MetadataRequest::GoogleIdentity { account: "a".into(), audience: audience.into() };
    let requests =
        [azure(None, None), azure(Some("id"), None), google(&[]), google(&["a"]), audience("a"), audience("b")];
    for (i, one) in requests.iter().enumerate() {
        for (j, other) in requests.iter().enumerate() {
            assert_eq!(identity(one.clone()) == identity(other.clone()), i == j, "{one:?} and {other:?}");
        }
    }
}
