//! Files that change by themselves.

use std::os::unix::fs::symlink;
use std::time::Duration;

use super::rig::{PATIENCE, breathe};
use super::*;
use crate::clock::{Clock, SystemClock};

fn applied(rig: &Rig, count: usize) {
    let line = format!("attache_config_reloads_total{{result=\"applied\"}} {count}");
    rig.wait_for_admin("/metrics", |page| page.body.contains(&line));
}

/// SEC-44: with `--watch` a file that is renamed into place is applied at once.
#[test]
fn a_renamed_file_is_applied_at_once() {
    let rig = Rig::start_with(true, "");
    let begun = SystemClock.now();
    let new = rig.folder.path().join("proxy.toml.new");
    std::fs::write(&new, rig.toml("").replace("/{*rest}", "/new/{*rest}")).unwrap();
    std::fs::rename(new, rig.path()).unwrap();
    applied(&rig, 1);
    assert!(SystemClock.now().since(begun) < Duration::from_secs(2), "it was not waited for the file to settle");
    assert_eq!(rig.client().get("/x").status, 404);
    assert_eq!(rig.client().get("/new/x").status, 200);
}

/// SEC-44: a symlink that is swapped, as Kubernetes does with mounted files, is applied at once.
#[test]
fn a_swapped_symlink_is_applied_at_once() {
    let rig = Rig::start("");
    let mount = rig.folder.path().join("mount");
    for (version, path) in [("1", "/{*rest}"), ("2", "/new/{*rest}")] {
        std::fs::create_dir_all(mount.join(version)).unwrap();
        std::fs::write(mount.join(version).join("proxy.toml"), rig.toml("").replace("/{*rest}", path)).unwrap();
    }
    symlink("1", mount.join("..data")).unwrap();
    symlink("..data/proxy.toml", mount.join("proxy.toml")).unwrap();
    let options = crate::app::Options { config: mount.join("proxy.toml"), ..rig.options(true) };
    let mounted = crate::app::start(options).unwrap();
    let begun = SystemClock.now();
    symlink("2", mount.join("..data_tmp")).unwrap();
    std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    while Client::connect(mounted.addresses()[0]).get("/new/x").status != 200 {
        assert!(SystemClock.now().since(begun) < Duration::from_secs(2), "it was not applied at once");
        breathe();
    }
}

/// SEC-44: a file that is written in place is applied when it has not changed for two seconds, so that half of it is
/// never seen.
#[test]
fn a_file_written_in_place_is_applied_when_it_has_settled() {
    let rig = Rig::start_with(true, "");
    let begun = SystemClock.now();
    let whole = rig.toml("").replace("/{*rest}", "/new/{*rest}");
    let (half, other) = whole.split_at(whole.len() / 2);
    rig.write(half);
    rig.write(&(half.to_owned() + other));
    applied(&rig, 1);
    let took = SystemClock.now().since(begun);
    assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&took), "{took:?}");
    let metrics = rig.admin("/metrics").body;
    assert!(metrics.contains(r#"attache_config_reloads_total{result="refused"} 0"#), "half of it was never tried");
    assert_eq!(rig.client().get("/new/x").status, 200);
}

/// SEC-44: secrets are watched without `--watch`, and do not bring an edit of proxy.toml with them.
#[test]
fn a_secret_is_applied_without_an_edit_of_the_configuration() {
    let rig = Rig::start("");
    let secret = rig.folder.path().join("secret");
    std::fs::write(&secret, "the first secret, of the test").unwrap();
    let credential = "[credentials.maps.bearer]\ntoken = { file = \"secret\" }\n";
    rig.reload(&rig.toml(credential)).unwrap();
    rig.write("half an ed");
    let new = rig.folder.path().join("secret.new");
    std::fs::write(&new, "the second secret, of the test").unwrap();
    std::fs::rename(new, secret).unwrap();
    applied(&rig, 2);
    assert_eq!(rig.client().get("/x").status, 200);
    assert!(rig.running().reload().is_err(), "SIGHUP takes the file as it is");
}

/// SEC-39, SEC-44: a certificate that is renewed on disk is served to new connections without a signal.
#[test]
fn a_renewed_certificate_is_served_without_a_signal() {
    let rig = Rig::start("");
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = || {
        let mut params = rcgen::CertificateParams::new(["proxy.example".to_owned()]).unwrap();
        params.serial_number = Some(fastrand::u64(1..).into());
        params.self_signed(&key).unwrap()
    };
    let (first, second) = (certificate(), certificate());
    let file = |name: &str| rig.folder.path().join(name);
    std::fs::write(file("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(file("cert.pem"), first.pem()).unwrap();
    let tls = "address = \"127.0.0.1:0\"\ntls.certificates = [{ cert = \"cert.pem\", key = \"key.pem\" }]\n\n[admin]";
    rig.write(&rig.toml("").replace("address = \"127.0.0.1:0\"\n\n[admin]", tls));
    let started = crate::app::start(rig.options(false)).unwrap();
    let address = started.addresses()[0];
    let mut roots = rustls::RootCertStore::empty();
    for certificate in [&first, &second] {
        roots.add(certificate.der().clone()).unwrap();
    }
    assert_eq!(served(address, &roots), *first.der());
    std::fs::write(file("cert.new"), second.pem()).unwrap();
    std::fs::rename(file("cert.new"), file("cert.pem")).unwrap();
    let begun = SystemClock.now();
    while served(address, &roots) != *second.der() {
        assert!(SystemClock.now().since(begun) < PATIENCE, "it is not served");
        breathe();
    }
}

/// The certificate that a new connection is shown.
fn served(address: std::net::SocketAddr, roots: &rustls::RootCertStore) -> rustls::pki_types::CertificateDer<'static> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots.clone()).with_no_client_auth();
    let name = "proxy.example".try_into().unwrap();
    let mut tls = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut tcp = std::net::TcpStream::connect(address).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).unwrap();
    }
    tls.peer_certificates().unwrap()[0].clone()
}
