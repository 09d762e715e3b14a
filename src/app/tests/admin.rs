//! The admin listener.

use super::*;

/// SEC-45: `/readyz` and `/status` while all is well, `/healthz` always.
#[test]
fn the_pages_say_how_it_goes() {
    let rig = Rig::start("");
    assert_eq!(rig.client().get("/x").body, "hello");
    assert_eq!((rig.admin("/healthz").status, rig.admin("/readyz").status), (200, 200));
    let status: serde_json::Value = serde_json::from_str(&rig.admin("/status").body).unwrap();
    assert_eq!(status["ready"], true);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["listeners"][0], rig.running().addresses()[0].to_string());
    let metrics =
        rig.wait_for_admin("/metrics", |page| page.body.contains("attache_upstream_connections_opened_total 1"));
    assert!(metrics.head.contains("application/openmetrics-text"), "{}", metrics.head);
    let counted = r#"attache_requests_total{route="/{*rest}",upstream="api",code="200"} 1"#;
    assert!(metrics.body.contains(counted), "{}", metrics.body);
}

/// SEC-45: a required credential's first token is waited for; one whose provider is dead shows in `/status` and takes
/// nothing down once it has been there.
#[test]
fn readiness_waits_for_a_required_token() {
    let rig = Rig::start("");
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = dead.local_addr().unwrap();
    drop(dead);
    std::fs::write(rig.folder.path().join("secret"), "a secret of the test").unwrap();
    let credential = format!(
        "[credentials.crm.client_credentials]\ntoken_url = \"http://{address}/token\"\nclient_id = \"it\"\n\
         client_secret = {{ file = \"secret\" }}\nwarm = \"required\"\n"
    );
    // A credential that a reload brings does not switch readiness off.
    rig.reload(&rig.toml(&credential)).unwrap();
    assert_eq!(rig.admin("/readyz").status, 200);
    // One that is there from the start does.
    let started = crate::app::start(rig.options(false)).unwrap();
    let mut admin = Client::connect(started.admin_address().unwrap());
    let answer = admin.get("/readyz");
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("crm"), "{}", answer.body);
    assert_eq!(admin.get("/healthz").status, 200);
    let status: serde_json::Value = serde_json::from_str(&admin.get("/status").body).unwrap();
    assert_eq!(status["credentials"][0]["name"], "crm");
    assert!(!status.to_string().contains("a secret of the test"));
}

/// Attack S07: on loopback only loopback names are accepted as Host (DNS rebinding); nothing can be changed.
#[test]
fn a_page_of_another_name_cannot_read_it_and_nobody_can_write() {
    let rig = Rig::start("");
    let address = rig.running().admin_address().unwrap();
    let ask = |request: String| Client::connect(address).ask(&request).status;
    for host in ["localhost", "LOCALHOST:9901", "127.0.0.1", "127.8.8.8:1", "[::1]:9901"] {
        assert_eq!(ask(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n")), 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "a@localhost", ""] {
        assert_eq!(ask(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n")), 403, "{host}");
    }
    assert_eq!(ask("GET /healthz HTTP/1.1\r\n\r\n".to_owned()), 403);
    assert_eq!(ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n".to_owned()), 403);
    for path in ["/healthz", "/readyz", "/status", "/metrics"] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(ask(request), 405, "{method} {path}");
        }
    }
    for path in ["/", "/config", "/quit", "/debug", "/metrics/", "/healthz/../status"] {
        assert_eq!(rig.admin(path).status, 404, "{path}");
    }
}

/// Whoever connects and says nothing keeps nobody else from asking: of 64 the oldest makes way, even one that is being used,
/// which no deadline would close.
#[test]
fn the_oldest_connection_makes_way() {
    let rig = Rig::start("");
    let address = rig.running().admin_address().unwrap();
    let mut oldest = Client::connect(address);
    let mut silent = Vec::new();
    while oldest.is_answered("/healthz") {
        silent.push(Client::connect(address));
        assert!(silent.len() < 200, "nobody made way");
    }
    assert!(silent.len() >= 64, "it made way for {}", silent.len());
    assert_eq!(rig.admin("/readyz").status, 200);
}
