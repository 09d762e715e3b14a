use std::time::SystemTime;

use tokio::time::Instant;

use super::super::endpoint::tests::{Peer, Then, answer, connector, in_ten_seconds};
use super::*;
use crate::clock::ManualClock;
use crate::upstream::Connector;

/// A cache with what it needs to ask.
struct Asker {
    cache: DiscoveryCache,
    connector: Arc<Connector>,
    clock: ManualClock,
}

impl Asker {
    fn new() -> Self {
        let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        Asker { cache: DiscoveryCache::default(), connector: connector(), clock }
    }

    async fn find(&self, issuer: &Issuer) -> Result<Arc<Discovered>, Failure> {
        self.cache.find(issuer, self.reach(in_ten_seconds()), &self.clock).await
    }

    fn reach(&self, deadline: Instant) -> Reach<'_> {
        let connect_timeout = Duration::from_secs(3);
        Reach {
            connector: &self.connector,
            private: false,
            cleartext: false,
            client_certificate: None,
            connect_timeout,
            deadline,
            tape: None,
        }
    }
}

fn issuer(peer: &Peer, path: &str) -> Issuer {
    let url = peer.url(path);
    Issuer { name: url.to_string(), url, check: true, cleartext: false }
}

fn metadata(issuer: &str, more: &str) -> Vec<u8> {
    let body = format!("{{\"issuer\":\"{issuer}\",\"token_endpoint\":\"https://login.example.com/token\"{more}}}");
    answer(200, "content-type: application/json\r\n", body)
}

fn paths(peer: &Peer) -> Vec<String> {
    let path = |request: String| request.split(' ').nth(1).unwrap_or_default().to_owned();
    peer.requests().into_iter().map(path).collect()
}

/// Says its own name at the path that ends so, and 404 elsewhere.
async fn peer_at(suffix: &'static str, issuer_path: &'static str) -> Peer {
    Peer::start(move |request| {
        let host = request.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
        let found = request.split(' ').nth(1).is_some_and(|path| path == suffix);
        let issuer = format!("http://{host}{issuer_path}");
        Then::Answer(if found { metadata(&issuer, "") } else { answer(404, "", "no") })
    })
    .await
}

/// TL-38: RFC 8414 puts its suffix between host and path, and is asked first; then OpenID's at the end.
#[tokio::test]
async fn both_places_are_asked_in_their_order() {
    for (issuer_path, first, second) in [
        ("", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"),
        ("/", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"),
        ("/t/1", "/.well-known/oauth-authorization-server/t/1", "/t/1/.well-known/openid-configuration"),
        ("/t/", "/.well-known/oauth-authorization-server/t", "/t/.well-known/openid-configuration"),
    ] {
        let peer = peer_at(first, issuer_path).await;
        let found = Asker::new().find(&issuer(&peer, issuer_path)).await.unwrap();
        assert_eq!(found.token_endpoint.to_string(), "https://login.example.com/token");
        assert_eq!(paths(&peer), [first]);

        let peer = peer_at(second, issuer_path).await;
        Asker::new().find(&issuer(&peer, issuer_path)).await.unwrap();
        assert_eq!(paths(&peer), [first, second]);
    }
}

/// TL-38: the first of basic and post that the server lists, else basic.
#[tokio::test]
async fn the_authentication_method_is_one_that_the_server_lists() {
    use TokenEndpointAuthMethod::{ClientSecretBasic, ClientSecretPost};
    for (listed, method) in [
        ("", ClientSecretBasic),
        (r#"["client_secret_post","client_secret_basic"]"#, ClientSecretBasic),
        (r#"["private_key_jwt","client_secret_post"]"#, ClientSecretPost),
        (r#"["private_key_jwt"]"#, ClientSecretBasic),
        (r#"[7]"#, ClientSecretBasic),
        (r#""client_secret_post""#, ClientSecretBasic),
    ] {
        let more = match listed {
            "" => String::new(),
            listed => format!(",\"token_endpoint_auth_methods_supported\":{listed}"),
        };
        let peer = Peer::answering(metadata("anybody", &more)).await;
        let issuer = Issuer { check: false, ..issuer(&peer, "") };
        assert_eq!(Asker::new().find(&issuer).await.unwrap().auth_method, method, "{listed}");
    }
}

/// RFC 8705 section 5: an alias is held to what the endpoint itself is held to, and a bad one disturbs nobody else.
#[tokio::test]
async fn an_alias_for_clients_with_certificates_is_read() {
    for (alias, read) in [
        (r#"{"token_endpoint":"https://mtls.example.com/token"}"#, Some("https://mtls.example.com/token")),
        (r#"{"revocation_endpoint":"https://mtls.example.com/revoke"}"#, None),
        (r#"{"token_endpoint":"http://mtls.example.com/token"}"#, None),
        (r#"{"token_endpoint":"https://169.254.169.254/token"}"#, None),
        (r#"{"token_endpoint":"mtls"}"#, None),
        ("7", None),
    ] {
        let peer = Peer::answering(metadata("anybody", &format!(",\"mtls_endpoint_aliases\":{alias}"))).await;
        let issuer = Issuer { check: false, ..issuer(&peer, "") };
        let found = Asker::new().find(&issuer).await.unwrap();
        assert_eq!(found.mtls_token_endpoint.as_ref().map(ToString::to_string).as_deref(), read, "{alias}");
        assert_eq!(found.token_endpoint.to_string(), "https://login.example.com/token");
    }
}

/// TL-38: the answer's issuer is the configured one, letter by letter, unless the check is off.
#[tokio::test]
async fn another_issuers_answer_is_refused() {
    let peer = Peer::start(|request| {
        let host = request.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
        Then::Answer(metadata(&format!("http://{host}/"), ""))
    })
    .await;
    let failure = Asker::new().find(&issuer(&peer, "")).await.unwrap_err();
    assert_eq!((failure.kind, failure.step), (FetchErrorKind::Refused, Step::Discovery));
    assert!(failure.text().contains(&format!("its issuer is \"http://{}/\"", peer.address)), "{}", failure.text());
    assert!(failure.hint.is_some_and(|hint| hint.contains("exactly")));

    assert!(Asker::new().find(&issuer(&peer, "/")).await.is_ok());
    let unchecked = Issuer { check: false, ..issuer(&peer, "") };
    assert!(Asker::new().find(&unchecked).await.is_ok());
}

/// TL-38, TL-35: https only but to loopback, no redirects; and nobody's document points us at this machine or network.
#[tokio::test]
async fn what_a_document_names_is_checked() {
    let document = |endpoint: &str| answer(200, "", format!("{{\"token_endpoint\":\"{endpoint}\"}}"));
    for (endpoint, says) in [
        ("http://login.example.com/token", "plain http"),
        ("ftp://login.example.com/token", "no http(s) URL"),
        ("/token", "no http(s) URL"),
        ("https://169.254.169.254/token", "an address"),
        ("https://10.0.0.1/token", "an address"),
    ] {
        let peer = Peer::answering(document(endpoint)).await;
        let failure = Asker::new().find(&Issuer { check: false, ..issuer(&peer, "") }).await.unwrap_err();
        assert!(failure.text().contains(says), "{endpoint}: {}", failure.text());
        assert_eq!(failure.kind, FetchErrorKind::Refused);
    }
    let remote = |name: &str| Issuer {
        name: name.to_owned(),
        url: HttpUrl::parse(name).unwrap(),
        check: false,
        cleartext: false,
    };
    let check = |endpoint: &str, issuer: &str| check_endpoint(&HttpUrl::parse(endpoint).unwrap(), &remote(issuer));
    assert!(check("https://127.0.0.1/token", "https://login.example.com").is_err());
    assert!(check("http://localhost:8200/token", "https://login.example.com").is_err());
    assert!(check("https://10.0.0.1:9/token", "https://10.0.0.1").is_ok());
    assert!(check("http://localhost:8200/token", "http://127.0.0.1:8200").is_ok());
    assert!(check("https://oauth2.example.net/token", "https://login.example.com").is_ok());

    let trap = Peer::answering(document("https://login.example.com/token")).await;
    let peer = Peer::answering(answer(302, &format!("location: http://{}/\r\n", trap.address), "")).await;
    let failure = Asker::new().find(&issuer(&peer, "")).await.unwrap_err();
    assert!(failure.text().contains("redirects are not followed"), "{}", failure.text());
    assert_eq!(trap.requests().len(), 0);
}

/// TL-38: kept for an hour; the last good one for ever, however often the issuer fails after it.
#[tokio::test]
async fn a_good_answer_is_kept_an_hour_and_used_for_ever() {
    let mut count = 0;
    let peer = Peer::start(move |_| {
        count += 1;
        Then::Answer(if count == 1 { metadata("anybody", "") } else { answer(500, "", "down") })
    })
    .await;
    let issuer = Issuer { check: false, ..issuer(&peer, "") };
    let asker = Asker::new();
    asker.find(&issuer).await.unwrap();
    asker.clock.advance(Duration::from_secs(3599));
    asker.find(&issuer).await.unwrap();
    assert_eq!(peer.requests().len(), 1, "within the hour nobody is asked");

    asker.clock.advance(Duration::from_secs(1));
    asker.find(&issuer).await.expect("the last good answer");
    assert_eq!(peer.requests().len(), 3, "both places were asked");
    asker.clock.advance(Duration::from_secs(59));
    asker.find(&issuer).await.expect("the last good answer");
    assert_eq!(peer.requests().len(), 3, "an issuer in trouble is left alone for a minute");
    asker.clock.advance(Duration::from_secs(365 * 24 * 3600));
    asker.find(&issuer).await.expect("the last good answer, a year later");
    assert_eq!(peer.requests().len(), 5);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_discovered_anew() {
    let peer = Peer::answering(metadata("anybody", "")).await;
    let issuer = Issuer { check: false, ..issuer(&peer, "") };
    let asker = Asker::new();
    asker.find(&issuer).await.unwrap();
    asker.cache.doubt(&issuer);
    asker.find(&issuer).await.unwrap();
    assert_eq!(peer.requests().len(), 2);
}

/// TL-38, TL-32: discovery's failures mean to a fetch what the token endpoint's own do.
#[tokio::test]
async fn a_failed_discovery_says_whether_it_passes() {
    for (bytes, kind) in [
        (answer(404, "", ""), FetchErrorKind::Refused),
        (answer(500, "", ""), FetchErrorKind::Transient),
        (
            answer(429, "retry-after: 7\r\n", ""),
            FetchErrorKind::RateLimited { retry_after: Some(Duration::from_secs(7)) },
        ),
        (answer(200, "", "<html>"), FetchErrorKind::Transient),
        (answer(200, "", "{}"), FetchErrorKind::Refused),
    ] {
        let peer = Peer::answering(bytes.clone()).await;
        let failure = Asker::new().find(&Issuer { check: false, ..issuer(&peer, "") }).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{}", failure.text());
        let host = issuer(&peer, "").url.authority();
        let expected = format!("discovering the token endpoint at {host} failed: /.well-known/");
        assert!(failure.text().starts_with(&expected), "{}", failure.text());
    }
}

/// TL-38: part of the fetch's own deadline; with a good answer at hand, of little of it.
#[tokio::test]
async fn discovery_ends_with_the_fetch() {
    let mut peer = Peer::start(|_| Then::Stall).await;
    let asker = Arc::new(Asker::new());
    let silent = Issuer { check: false, ..issuer(&peer, "") };
    let asking = tokio::spawn({
        let (asker, silent) = (asker.clone(), silent.clone());
        async move { asker.find(&silent).await }
    });
    peer.arrival().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    assert_eq!(asking.await.unwrap().unwrap_err().kind, FetchErrorKind::Transient);

    tokio::time::resume();
    let good = Discovered {
        token_endpoint: HttpUrl::parse("https://login.example.com/token").unwrap(),
        mtls_token_endpoint: None,
        auth_method: TokenEndpointAuthMethod::ClientSecretPost,
    };
    asker.cache.keep(&silent, Arc::new(good), Boot::default());
    let begin = Instant::now();
    let asking = tokio::spawn(async move { asker.find(&silent).await });
    peer.arrival().await;
    tokio::time::pause();
    tokio::time::advance(ASKING_AGAIN).await;
    assert_eq!(asking.await.unwrap().unwrap().auth_method, TokenEndpointAuthMethod::ClientSecretPost);
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn issuers_are_bounded() {
    let cache = DiscoveryCache::default();
    let url = HttpUrl::parse("https://login.example.com").unwrap();
    let discovered = Arc::new(Discovered {
        token_endpoint: url.clone(),
        mtls_token_endpoint: None,
        auth_method: TokenEndpointAuthMethod::ClientSecretBasic,
    });
    for number in 0..ISSUERS_MAX as u64 + 10 {
        let issuer = Issuer { name: number.to_string(), url: url.clone(), check: true, cleartext: false };
        cache.keep(&issuer, discovered.clone(), Boot::from_nanos(number));
    }
    let all = cache.lock();
    assert_eq!(all.len(), ISSUERS_MAX);
    assert!(all.keys().all(|issuer| issuer.name.parse::<u64>().unwrap() >= 10), "the stalest made room");
}
