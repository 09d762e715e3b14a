//! HTTP/2 and TLS towards clients, by curl and h2load.

use std::fs;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair};

use crate::support::{Proxy, TokenEndpoint, Tool, Upstream, one_route, run};

fn cleartext() -> (TokenEndpoint, Upstream, Proxy) {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let proxy = Proxy::start(&one_route(&endpoint, &upstream, ""));
    (endpoint, upstream, proxy)
}

/// A certificate for this name, signed by itself. Returns the path of the certificate; the key lies beside it.
fn certificate(folder: &Path, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let (cert_file, key_file) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    fs::write(&cert_file, certificate.pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    (cert_file.display().to_string(), key_file.display().to_string())
}

#[test]
fn both_versions_are_served_on_one_cleartext_port() {
    let (_endpoint, upstream, proxy) = cleartext();
    let url = format!("http://{}/api/x", proxy.address());
    for (flag, version) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let printed = run(Tool::CURL, &["-sS", flag, "-w", " %{http_version} %{http_code}", &url]);
        assert_eq!(printed, format!("ok {version} 200"));
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn h2load_gets_every_answer() {
    let (endpoint, upstream, proxy) = cleartext();
    let url = format!("http://{}/api/x", proxy.address());
    let printed = run(Tool::H2LOAD, &["-n", "2000", "-c", "8", "-m", "16", &url]);
    assert!(printed.contains("2000 succeeded, 0 failed, 0 errored"), "{printed}");
    assert!(printed.contains("2000 2xx"), "{printed}");
    assert_eq!(upstream.requests().len(), 2000);
    assert_eq!(endpoint.requests().len(), 1);
}

#[test]
fn tls_offers_both_versions_and_a_certificate_for_each_name() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let certificates: Vec<_> = ["one.test", "two.test"].map(|name| certificate(folder.path(), name)).into();
    let listed = certificates.iter().map(|(cert, key)| format!("{{ cert = {cert:?}, key = {key:?} }}"));
    let listener = format!("address = \"127.0.0.1:0\"\ntls.certificates = [{}]", listed.collect::<Vec<_>>().join(", "));
    let proxy = Proxy::start(&one_route(&endpoint, &upstream, "").replace("address = \"127.0.0.1:0\"", &listener));
    let port = proxy.address().port();
    for (name, (cert, _)) in ["one.test", "two.test"].iter().zip(&certificates) {
        let resolve = format!("{name}:{port}:127.0.0.1");
        let url = format!("https://{name}:{port}/api/x");
        for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
            let arguments =
                ["-sS", flag, "--cacert", cert, "--resolve", &resolve, "-w", " %{http_version} %{http_code}", &url];
            assert_eq!(run(Tool::CURL, &arguments), format!("ok {version} 200"), "{name}");
        }
    }
}

/// RFC 9113 section 8.3.1: the authority that a client names is its own affair; the upstream gets its own.
#[test]
fn the_authority_is_not_passed_on() {
    let (_endpoint, upstream, proxy) = cleartext();
    let url = format!("http://{}/api/x", proxy.address());
    run(Tool::CURL, &["-sSf", "--http2-prior-knowledge", "-H", "Host: other.test", &url]);
    assert_eq!(upstream.request().headers.get("host"), Some(upstream.address().to_string().as_str()));
}

/// SEC-10: cookies that pass reach an HTTP/1 upstream as one field (RFC 9113 section 8.2.3).
#[test]
fn cookie_crumbs_reach_an_http_1_upstream_joined() {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let proxy = Proxy::start(&one_route(&endpoint, &upstream, "cookies = true"));
    let url = format!("http://{}/api/x", proxy.address());
    run(Tool::CURL, &["-sSf", "--http2-prior-knowledge", "-H", "Cookie: a=1", "-H", "Cookie: b=2", &url]);
    assert_eq!(upstream.request().headers.all("cookie"), ["a=1; b=2"]);
}

/// SEC-30: the bounds on headers hold for what HPACK unpacks, cookies included, however small it was on the wire.
#[test]
fn headers_are_bounded_after_hpack() {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let limits = "[server]\nlimits = { header_bytes_max = 8192, headers_max = 40 }";
    let proxy = Proxy::start(&one_route(&endpoint, &upstream, "").replace("[server]", limits));
    let url = format!("http://{}/api/x", proxy.address());
    let status = |header: &str, times: usize| {
        let mut arguments = vec!["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--http2-prior-knowledge"];
        for _ in 0..times {
            arguments.extend(["-H", header]);
        }
        arguments.push(&url);
        run(Tool::CURL, &arguments)
    };
    let (cookie, field) = (format!("Cookie: a={}", "x".repeat(500)), format!("X-Many: {}", "x".repeat(500)));
    for header in [&cookie, &field] {
        assert_eq!(status(header, 10), "200");
        assert_eq!(status(header, 20), "431", "20 times {header}");
    }
    assert_eq!(status("Cookie: a=1", 30), "200");
    assert_eq!(status("Cookie: a=1", 50), "431");
    assert_eq!(upstream.requests().len(), 3);
}
