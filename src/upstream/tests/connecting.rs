use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::rig::*;
use crate::clock::ManualClock;
use crate::config::{self, UpstreamUrl};
use crate::secret::Secret;
use crate::upstream::*;

fn target(https: bool, host: &str, port: u16) -> Target {
    Target { url: url(https, host, port), private: false, ca: Vec::new(), client_certificate: None, alpn: &[] }
}

fn with_names(names: &[(&str, &str)], egress: &config::Egress) -> Arc<Connector> {
    let fixed = FixedNames::default();
    for (name, address) in names {
        fixed.set(name, &[address.parse::<IpAddr>().unwrap()]);
    }
    let clock = Arc::new(ManualClock::at(SystemTime::UNIX_EPOCH));
    Connector::with_names(egress, clock, Handle::current(), Names::Fixed(Arc::new(fixed)))
}

const TIMEOUT: Duration = Duration::from_secs(5);

/// SEC-14, and the attack S11: a name that resolves to what is ours is not connected to; the error says what to do.
#[test]
fn a_name_that_resolves_to_a_forbidden_address_is_refused() {
    on_worker(|_| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let names =
            [("loopback.example", "127.0.0.1"), ("metadata.example", "169.254.169.254"), ("vpn.example", "10.1.2.3")];
        let connector = with_names(&names, &config::Egress::default());
        for (host, hint) in
            [("loopback.example", "loopback"), ("metadata.example", "metadata"), ("vpn.example", "private = true")]
        {
            let error = connector.connect(&target(false, host, port), TIMEOUT).await.unwrap_err();
            assert_eq!(error.kind, ExchangeErrorKind::AddressRefused, "{host}");
            assert!(error.text.contains(hint), "{}", error.text);
        }
        let error = connector.connect(&target(false, "nowhere.example", port), TIMEOUT).await.unwrap_err();
        assert_eq!(error.kind, ExchangeErrorKind::Resolve);
        let nobody_came = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
        assert!(nobody_came.is_err());
    });
}

/// SEC-14: an address or `localhost` in a URL speaks for itself.
#[test]
fn an_address_and_localhost_speak_for_themselves() {
    on_worker(|_| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost"] {
            connector().connect(&target(false, host, port), TIMEOUT).await.unwrap();
        }
    });
}

#[test]
fn connecting_has_a_deadline_that_includes_tls() {
    in_paused_time(|_| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut target = target(true, "127.0.0.1", port);
        target.ca = vec![super::tls::Authority::new().certificate()];
        let begin = tokio::time::Instant::now();
        let error = connector().connect(&target, TIMEOUT).await.unwrap_err();
        assert_eq!((error.kind, begin.elapsed().as_secs()), (ExchangeErrorKind::TlsTimeout, 5));
    });
}

/// A silent handshake is told from a silent address in every request, also where several wait for one connection.
#[test]
fn requests_are_told_that_tls_was_not_answered() {
    in_paused_time(|ticker| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = upstream_config(url(true, "127.0.0.1", listener.local_addr().unwrap().port()));
        config.ca = vec![super::tls::Authority::new().certificate()];
        let pool = pool(&ticker);
        for http in [config::HttpVersion::Auto, config::HttpVersion::Http2] {
            config.http = http;
            let upstream = Upstream::new(&config, fixed(&config), &connector());
            for _ in 0..20 {
                let begin = tokio::time::Instant::now();
                let error = get(&upstream, &pool).await.unwrap_err();
                assert_eq!((error.kind, begin.elapsed().as_secs()), (ExchangeErrorKind::TlsTimeout, 5), "{http:?}");
            }
        }
    });
}

fn proxied(port: u16) -> config::Egress {
    let authorization = Some(Secret::new("Basic dTpw"));
    let proxy = config::EgressProxy { host: "proxy.example".to_owned(), port, authorization };
    config::Egress { proxy: Some(proxy), no_proxy: Vec::new(), ca: Vec::new() }
}

/// SEC-21: connections are tunnelled, and the proxy's credentials go to the proxy only.
#[test]
fn connections_go_through_the_egress_proxy() {
    on_worker(|ticker| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let egress = proxied(listener.local_addr().unwrap().port());
        let connector = with_names(&[("proxy.example", "127.0.0.1")], &egress);
        let config = upstream_config(url(false, "api.example", 8080));
        let upstream = Upstream::with_authority(&config, fixed(&config), &connector, "api.example:8080".to_owned());
        let proxy = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = vec![0; 1000];
            let read = stream.read(&mut text).await.unwrap();
            let connect = "CONNECT api.example:8080 HTTP/1.1\r\nhost: api.example:8080\r\nproxy-authorization: Basic dTpw\r\n\r\n";
            assert_eq!(std::str::from_utf8(&text[..read]).unwrap(), connect);
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
            let read = stream.read(&mut text).await.unwrap();
            assert_eq!(&text[..read], b"GET / HTTP/1.1\r\nhost: api.example:8080\r\n\r\n");
            stream.write_all(HELLO.as_bytes()).await.unwrap();
            stream
        };
        let headers = http::HeaderMap::new();
        let head = OutgoingHead {
            method: &http::Method::GET,
            target: "/",
            headers: &headers,
            over: [None; 3],
            wants_trailers: false,
        };
        let mut body = OutgoingBody::empty();
        let pool = pool(&ticker);
        let (answer, _stream) = tokio::join!(upstream.exchange(Over::Any, &pool, &head, &mut body, &TIMEOUTS), proxy);
        assert_eq!(collect(answer.unwrap().body).await.unwrap().0, "hello");
    });
}

/// SEC-21: the error says what the proxy said, and not what we said to it.
#[test]
fn a_proxy_that_refuses_is_named() {
    on_worker(|_| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let egress = proxied(listener.local_addr().unwrap().port());
        let connector = with_names(&[("proxy.example", "127.0.0.1")], &egress);
        let proxy = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.unwrap();
            stream
        };
        let target = target(true, "api.example", 443);
        let (connected, _stream) = tokio::join!(connector.connect(&target, TIMEOUT), proxy);
        let error = connected.unwrap_err();
        assert_eq!(error.kind, ExchangeErrorKind::EgressRefused);
        assert!(error.text.contains("proxy.example") && error.text.contains("407"), "{}", error.text);
        assert!(!error.text.contains("dTpw"), "{}", error.text);
    });
}

/// SEC-20: a pooled connection to an address that its name no longer has is not used.
#[test]
fn a_connection_to_an_address_that_left_the_answer_is_retired() {
    with_rig(|rig| async move {
        for (addresses, stays) in [(["127.0.0.1", "192.0.2.1"], true), (["192.0.2.1", "192.0.2.2"], false)] {
            let answer = rig.answered(http::Method::GET, HELLO, false).await.unwrap();
            drop(answer);
            let fixed = FixedNames::default();
            fixed.set("api.example", &addresses.map(|address| address.parse().unwrap()));
            let clock = Arc::new(ManualClock::at(SystemTime::UNIX_EPOCH));
            let resolver = resolve::Resolver::new(Names::Fixed(Arc::new(fixed)), clock, Handle::current());
            let name = resolver.name("api.example");
            resolver.addresses(&name).await.unwrap();
            assert_eq!(rig.pool.take(rig.upstream.opener.slot, Some(&name)).is_some(), stays);
            assert_eq!(rig.idle(), 0);
        }
    });
}

/// The attack S09: connections that differ in anything that matters are not shared; equal ones survive a reload.
#[test]
fn pools_tell_connections_apart_by_all_that_matters() {
    on_worker(|_| async {
        let connector = connector();
        let slot = |change: &dyn Fn(&mut config::Upstream)| {
            let mut config = upstream_config(url(true, "api.example", 443));
            change(&mut config);
            Upstream::with_authority(&config, fixed(&config), &connector, String::new()).opener.slot
        };
        let same = slot(&|_| {});
        assert_eq!(slot(&|config| config.name = "other".into()), same);
        let changes: [&dyn Fn(&mut config::Upstream); 6] = [
            &|config| config.url = UpstreamUrl::Fixed(url(false, "api.example", 443)),
            &|config| config.url = UpstreamUrl::Fixed(url(true, "other.example", 443)),
            &|config| config.url = UpstreamUrl::Fixed(url(true, "api.example", 444)),
            &|config| config.private = true,
            &|config| config.http = config::HttpVersion::Http2,
            &|config| config.ca = vec![super::tls::Authority::new().certificate()],
        ];
        for (index, change) in changes.into_iter().enumerate() {
            assert_ne!(slot(change), same, "change {index}");
        }
        let unchanged = connector.with_egress(&config::Egress::default());
        assert!(Arc::ptr_eq(&unchanged, &connector));
        let config = upstream_config(url(true, "api.example", 443));
        let through_proxy =
            Upstream::with_authority(&config, fixed(&config), &connector.with_egress(&proxied(1)), String::new());
        assert_ne!(through_proxy.opener.slot, same);
    });
}
