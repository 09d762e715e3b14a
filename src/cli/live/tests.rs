use std::collections::BTreeMap;
use std::net::SocketAddr;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::config::{Egress, Environment, load_text};
use crate::upstream::{Connector, FixedNames, Names};

const SECRET: &str = "s3cret+/=:x-planted";
const TOKEN: &str = "planted-token";

/// What is planted must not be printed in any spelling.
const PLANTED: [&str; 4] = [SECRET, TOKEN, "s3cret%2B%2F%3D%3Ax-planted", "czNjcmV0Ky89Ong"];

/// A token endpoint that grants to who sends `accepts`, and refuses everybody else as `invalid_client`.
async fn token_endpoint(accepts: &'static str) -> SocketAddr {
    serve(move |mut stream| async move {
        let mut request = Vec::new();
        while !is_complete(&request) {
            if stream.read_buf(&mut request).await.unwrap() == 0 {
                return;
            }
        }
        let request = String::from_utf8(request).unwrap();
        let (status, body) = match request.contains(accepts) {
            true => (200, format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":300}}"#)),
            false => {
                let body = format!(r#"{{"error":"invalid_client","error_description":"{SECRET} is wrong"}}"#);
                (401, body)
            }
        };
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    })
    .await
}

fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.parse().unwrap())
}

/// A server on loopback that does this with each connection, for as long as the test runs.
async fn serve<F: Future<Output = ()> + Send>(each: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            each(stream).await;
        }
    });
    address
}

/// A server with a certificate that only it has signed; the second is that certificate in PEM.
async fn tls_server(alpn: &'static [&'static [u8]]) -> (SocketAddr, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let pem = certificate.pem();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let address = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                // Until the other side has gone.
                let _ = stream.read_u8().await;
            }
        }
    })
    .await;
    (address, pem)
}

/// An address where nothing listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn client_credentials(token_url: &str) -> String {
    format!(
        "[credentials.crm.client_credentials]\ntoken_url = \"{token_url}\"\nclient_id = \"attache\"\n\
         client_secret = {{ env = \"SECRET\" }}\n"
    )
}

fn upstream(url: &str, more: &str) -> String {
    format!("[upstreams.api]\nurl = \"{url}\"\n{more}\n")
}

/// What is printed, and what is said at the end if something failed. No name but localhost resolves.
async fn live(file: &Path, text: &str) -> (String, Option<String>) {
    let environment = Environment(BTreeMap::from([("SECRET".to_owned(), SECRET.to_owned())]));
    let text = format!("[[listeners]]\naddress = \"127.0.0.1:8080\"\n{text}");
    let config = load_text(file, &text, &environment, Load::Full).unwrap().config;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let names = Names::Fixed(Arc::new(FixedNames::default()));
    let connector = Connector::with_names(&Egress::default(), clock.clone(), Handle::current(), names);
    let living = Living { connector, ..Living::new(&config, clock, Handle::current()) };
    let mut out = Vec::new();
    let end = run(&config, &living, &Place::Ours, MayRotate::No, &mut out).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    for planted in PLANTED {
        assert!(!text.contains(planted), "{text}");
    }
    (text, end.err().map(|failure| format!("{failure:?}")))
}

async fn live_text(text: &str) -> (String, Option<String>) {
    live(Path::new("proxy.toml"), text).await
}

#[tokio::test]
async fn what_works_is_said_with_what_was_seen() {
    let token = token_endpoint("Basic ").await;
    let (api, pem) = tls_server(&[b"h2", b"http/1.1"]).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), pem).unwrap();
    let upstream = upstream(&format!("https://localhost:{}/v2", api.port()), "credential = \"crm\"\nca = \"ca.pem\"");
    let fixed = "[credentials.maps.bearer]\ntoken = { env = \"SECRET\" }\n";
    let text = format!("{}{fixed}{upstream}", client_credentials(&format!("http://{token}/token")));
    let (said, failed) = live(&folder.path().join("proxy.toml"), &text).await;
    assert_eq!(failed, None, "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    let credential =
        format!("ok      credential crm   fetched a token from {token} by client_secret_basic: it lives 300s, after ");
    assert!(lines[0].starts_with(&credential), "{said}");
    assert!(lines[1].starts_with("skipped credential maps  it is sent as it is"), "{said}");
    let upstream =
        format!("ok      upstream   api   connected to localhost:{} (127.0.0.1): TLS 1.3, HTTP/2, after ", api.port());
    assert!(lines[2].starts_with(&upstream), "{said}");
}

#[tokio::test]
async fn a_wrong_secret_is_named_without_being_shown() {
    let token = token_endpoint("another secret").await;
    let (said, failed) = live_text(&client_credentials(&format!("http://{token}/token"))).await;
    let refused = format!("failed  credential crm  the token request to {token} failed: it answered 401");
    assert!(said.starts_with(&refused), "{said}");
    assert!(said.contains("invalid_client"), "{said}");
    assert!(said.contains("\n        hint: check client_id and client_secret"), "{said}");
    assert_eq!(failed.as_deref(), Some("Failed(\"1 of 1 check failed\")"));
}

#[tokio::test]
async fn a_wrong_authentication_method_is_named_with_the_right_one() {
    let token = token_endpoint("client_secret=").await;
    let (said, failed) = live_text(&client_credentials(&format!("http://{token}/token"))).await;
    assert!(said.contains("(asked by client_secret_basic)"), "{said}");
    assert!(said.contains("hint: the server takes this client with another method: say `token_endpoint_auth_method = \"client_secret_post\"`"), "{said}");
    assert!(failed.is_some());
}

#[tokio::test]
async fn who_does_not_answer_is_named_with_what_to_look_at() {
    let nobody = nobody().await;
    for (text, what, hint) in [
        (
            client_credentials(&format!("http://{nobody}/token")),
            format!("the token request to {nobody} failed: "),
            "check host and port of the token endpoint",
        ),
        (
            client_credentials(&format!("http://{nobody}")).replace("token_url", "issuer"),
            format!("discovering the token endpoint at {nobody} failed: "),
            "check `issuer`",
        ),
        (
            upstream(&format!("http://{nobody}"), ""),
            "connecting to 127.0.0.1:".to_owned(),
            "check host and port of `url`",
        ),
        (
            upstream("https://api.unknown.example", ""),
            "resolving the name api.unknown.example: ".to_owned(),
            "check the host of `url`",
        ),
    ] {
        let (said, failed) = live_text(&text).await;
        assert!(said.contains(&what) && said.contains(&format!("\n        hint: {hint}")), "{said}");
        assert!(said.starts_with("failed  ") && failed.is_some(), "{said}");
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_with_the_key_to_set() {
    let (api, _) = tls_server(&[b"http/1.1"]).await;
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), other).unwrap();
    let text = upstream(&format!("https://localhost:{}", api.port()), "ca = \"ca.pem\"");
    let (said, failed) = live(&folder.path().join("proxy.toml"), &text).await;
    assert!(said.starts_with(&format!("failed  upstream   api  TLS with localhost:{}: ", api.port())), "{said}");
    assert!(said.contains("set `ca`") && failed.is_some(), "{said}");
}

#[tokio::test]
async fn a_server_that_does_not_speak_the_version_that_is_configured_is_found_out() {
    let (api, pem) = tls_server(&[b"http/1.1"]).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), pem).unwrap();
    let text = upstream(&format!("https://localhost:{}", api.port()), "ca = \"ca.pem\"\nhttp = 2");
    let (said, failed) = live(&folder.path().join("proxy.toml"), &text).await;
    assert!(said.contains("see `http`") && failed.is_some(), "{said}");
}

#[tokio::test]
async fn a_server_that_hangs_up_at_once_is_no_success() {
    let api = serve(|stream| async move { drop(stream) }).await;
    let (said, failed) = live_text(&upstream(&format!("http://{api}"), "")).await;
    assert!(said.contains("it closed the connection at once\n        hint: ") && failed.is_some(), "{said}");
}
