//! TLS: ALPN, deadlines, resumption.

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::CertificateAndKey;

fn certificate() -> Arc<CertificateAndKey> {
    let made = rcgen::generate_simple_self_signed(["proxy.example".to_owned()]).unwrap();
    Arc::new(CertificateAndKey {
        chain: vec![made.cert.der().clone()],
        key: PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()),
    })
}

fn client(certificate: &CertificateAndKey, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.chain[0].clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

type ClientStream = tokio_rustls::client::TlsStream<TcpStream>;

async fn connect(server: &Server, config: &Arc<ClientConfig>) -> ClientStream {
    let tcp = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("proxy.example").unwrap();
    TlsConnector::from(config.clone()).connect(name, tcp).await.unwrap()
}

async fn get(tls: &mut ClientStream) -> String {
    tls.write_all(GET.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        assert_ne!(tls.read_buf(&mut answer).await.unwrap(), 0);
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn alpn_decides_between_the_versions() {
    on_a_worker(async {
        let certificate = certificate();
        let tls = server_config(std::slice::from_ref(&certificate), &Tickets::new().unwrap()).unwrap();
        let server = Server::start_with(shared(settings()), tls, hello);
        for alpn in [&[b"http/1.1" as &[u8]] as &[_], &[]] {
            let mut tls = connect(&server, &client(&certificate, alpn)).await;
            assert!(get(&mut tls).await.starts_with("HTTP/1.1 200 OK"));
        }
        let tls = connect(&server, &client(&certificate, &[b"h2", b"http/1.1"])).await;
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(b"h2" as &[u8]));
        let io = hyper_util::rt::TokioIo::new(tls);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
        tokio::task::spawn_local(connection);
        let request = Request::get("https://proxy.example/").body(http_body_util::Empty::<Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
    });
}

/// SEC-36: under TLS, too, a client that leaves is noticed while its request is being answered.
#[test]
fn a_client_that_leaves_cancels_its_request() {
    on_a_worker(async {
        let certificate = certificate();
        let tls = server_config(std::slice::from_ref(&certificate), &Tickets::new().unwrap()).unwrap();
        let begun = Rc::new(Cell::new(false));
        let beginning = begun.clone();
        let server = Server::start_with(shared(settings()), tls, move |_| {
            beginning.set(true);
            std::future::pending::<Response<TestBody>>()
        });
        let mut tls = connect(&server, &client(&certificate, &[])).await;
        tls.write_all(GET.as_bytes()).await.unwrap();
        while !begun.get() {
            tokio::task::yield_now().await;
        }
        drop(tls);
        server.shared.connections.closed().await;
    });
}

#[test]
fn a_handshake_that_does_not_go_on_is_cut_off_after_10_seconds() {
    on_a_worker(async {
        let tls = server_config(&[certificate()], &Tickets::new().unwrap()).unwrap();
        let server = Server::start_with(shared(settings()), tls, hello);
        let mut client = server.connect().await;
        let begun = Instant::now();
        client.tcp.write_all(&[22, 3, 1, 0, 100]).await.unwrap();
        assert_about(client.closed_after(begun).await, 10);
        assert_eq!(server.shared.metrics.tls_handshakes_failed.get(), 1);
    });
}

/// HTTP/2, too, has to begin: with its whole preface, of which one byte would else be good for the time of idle connections.
#[test]
fn who_does_not_begin_after_the_handshake_is_cut_off_after_10_seconds() {
    on_a_worker(async {
        let certificate = certificate();
        let tls = server_config(std::slice::from_ref(&certificate), &Tickets::new().unwrap()).unwrap();
        let server = Server::start_with(shared(settings()), tls, hello);
        let begun_with: [(&[u8], &[u8], u64); 5] = [
            (b"http/1.1", b"", 10),
            (b"http/1.1", b"G", 10),
            (b"h2", b"", 10),
            (b"h2", b"P", 10),
            // Whoever has begun is idle until the first request, but has to answer a ping: after 30 s, within 20 s.
            (b"h2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 50),
        ];
        for (alpn, said, seconds) in begun_with {
            let mut tls = connect(&server, &client(&certificate, &[alpn])).await;
            let begun = Instant::now();
            tls.write_all(said).await.unwrap();
            let _ = tls.read_to_end(&mut Vec::new()).await;
            assert_about(begun.elapsed(), seconds);
        }
    });
}

/// SEC-39: a client resumes its session with a configuration that was made anew, as by a reload or by another worker.
#[test]
fn sessions_outlive_a_reload() {
    on_a_worker(async {
        let (certificate, tickets) = (certificate(), Tickets::new().unwrap());
        let made = || server_config(std::slice::from_ref(&certificate), &tickets).unwrap();
        let (before, after) = (made(), made());
        let before = Server::start_with(shared(settings()), before, hello);
        let after = Server::start_with(shared(settings()), after, hello);
        let config = client(&certificate, &[b"http/1.1"]);
        let mut tls = connect(&before, &config).await;
        assert_eq!(tls.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        get(&mut tls).await;
        let mut tls = connect(&after, &config).await;
        assert_eq!(tls.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
        get(&mut tls).await;
    });
}

/// SEC-39: connections that are open keep the certificate they began with; new ones get the new one.
#[test]
fn a_new_certificate_is_for_new_connections() {
    on_a_worker(async {
        let (old, new) = (certificate(), certificate());
        let tickets = Tickets::new().unwrap();
        let configure = |certificate| server_config(std::slice::from_ref(certificate), &tickets).unwrap();
        let shared = shared(settings());
        let slot = Rc::new(RefCell::new(configure(&old)));
        let Bound { address, mut sockets } = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let socket = tokio::net::TcpListener::from_std(sockets.remove(0)).unwrap();
        let (stop, stopped) = oneshot::channel();
        let endpoint =
            Endpoint { socket, site: Site { address, tls: slot.clone(), removal: Removal::default() }, stop: stopped };
        let answerer = |_| |request| async { Ok(hello(request).await) };
        let accepting = tokio::task::spawn_local(accept_connections(endpoint, shared.clone(), answerer));
        let server = Server { address, shared, stop: Some(stop), accepting };

        let mut open = connect(&server, &client(&old, &[])).await;
        get(&mut open).await;
        *slot.borrow_mut() = configure(&new);
        get(&mut open).await;
        get(&mut connect(&server, &client(&new, &[])).await).await;
    });
}
