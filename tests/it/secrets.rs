//! Planted secrets: the real program at trace level is driven through every feature that knows a secret; afterwards none of
//! them stands, in any spelling, in anything that it logged or answered, and each of them did reach its destination.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::{fs, thread};

use attache::clock::SystemClock;
use attache::config::{self, Environment, Load};
use attache::snapshot::{Living, Snapshot};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Response, Version};
use hyper::body::Frame;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    Child, Connection, Frames, Grant, Identity, Peer, Reply, Request, TlsPeer, TlsRequest, TokenEndpoint, Tool,
    Upstream, Watched, free_address, run, send,
};

/// Name of the variable, and the secret. Each has characters that encodings change.
const SECRETS: [(&str, &str); 12] = [
    ("CLIENT_SECRET_BASIC", "planted+basic/secret=:0001"),
    ("CLIENT_SECRET_RAW", "planted+raw/secret=:000002"),
    ("CLIENT_SECRET_POST", "planted+post/secret=:00003"),
    ("CLIENT_SECRET_WRONG", "planted+wrong/secret=:0004"),
    ("BEARER_TOKEN", "planted+bearer/token=:00005"),
    ("HEADER_KEY", "planted+header/key=:0000006"),
    ("QUERY_KEY", "planted+query/key=&:0000007"),
    ("BASIC_PASSWORD", "planted+basic/password=:008"),
    ("EGRESS_PASSWORD", "planted+egress/password=:09"),
    ("CLIENT_SECRET_DISCOVERED", "planted+discovered/secret=:14"),
    (IN_FILE, "planted+file/secret=:000015"),
    (BY_COMMAND, "planted+command/secret=:0016"),
];

/// Secrets that do not come by the environment.
const IN_FILE: &str = "the file";
const BY_COMMAND: &str = "the command";

/// What the TLS peer grants.
const GRANTED_OVER_TLS: &str = "planted-by-discovery-access-token-0017";

/// What the client presents: known here by its hash only.
const CLIENT_KEY: &str = "planted-client-key-0010";
const CLIENT_KEY_SHA256: &str = "95e4a114e1d1d8ff78e919af1ab35600319fe5bc4293626568e1cda136453e51";
const WRONG_CLIENT_KEY: &str = "planted-wrong-key-00011";
/// A query that is none of our business may still hold a secret.
const CLIENT_QUERY_SECRET: &str = "planted-query-of-the-client-0012";

fn secret(variable: &str) -> &'static str {
    SECRETS.iter().find(|(name, _)| *name == variable).expect("it is planted").1
}

/// Every spelling of a secret that a careless program could print.
fn spellings(secret: &str) -> Vec<String> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let partly: String = percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC).collect();
    let escaped = secret.replace('/', "\\/");
    let debugged = format!("{:?}", secret.as_bytes());
    let mut all = vec![secret.to_owned(), hex.to_uppercase(), hex, percent.to_lowercase(), percent, form, partly];
    all.extend([escaped, debugged.trim_matches(['[', ']']).to_owned()]);
    // In base64 a secret looks different at each of three offsets; the characters at its borders depend on neighbours.
    for offset in 0..3 {
        let padded = ["a".repeat(offset).as_bytes(), secret.as_bytes()].concat();
        for encoded in [STANDARD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            let inner = encoded.trim_end_matches('=');
            all.push(inner[4..inner.len() - 4].to_owned());
        }
    }
    all
}

/// What the peers are called where only the egress proxy knows where they are. Loopback addresses are always reached
/// directly.
const NAME: &str = "peers.test";

/// An egress proxy: CONNECT, then bytes both ways.
struct Tunnel {
    peer: Peer,
    requests: std::sync::Arc<Watched<Vec<Request>>>,
}

impl Tunnel {
    fn start() -> Tunnel {
        let requests = std::sync::Arc::new(Watched::<Vec<Request>>::default());
        let seen = requests.clone();
        Tunnel { peer: Peer::start(move |connection| tunnel(connection, &seen)), requests }
    }
}

fn tunnel(connection: &mut Connection, seen: &Watched<Vec<Request>>) -> io::Result<()> {
    let Some(request) = Request::read_head(&mut connection.reader)? else { return Ok(()) };
    assert_eq!(request.method, "CONNECT");
    let (name, port) = request.target.split_once(':').expect("CONNECT names host and port");
    assert_eq!(name, NAME);
    let port = port.parse::<u16>().expect("CONNECT names host and port");
    seen.update(|seen| seen.push(request));
    let mut upstream = TcpStream::connect(("127.0.0.1", port))?;
    let (mut from_upstream, mut to_client) = (upstream.try_clone()?, connection.stream().try_clone()?);
    io::Write::write_all(connection.stream(), b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let answers = thread::spawn(move || io::copy(&mut from_upstream, &mut to_client));
    io::copy(&mut connection.reader, &mut upstream)?;
    upstream.shutdown(std::net::Shutdown::Write)?;
    answers.join().expect("copying does not panic").map(drop)
}

/// Everything that is not attache.
struct World {
    basic: TokenEndpoint,
    raw: TokenEndpoint,
    post: TokenEndpoint,
    wrong: TokenEndpoint,
    upstream: Upstream,
    tls: TlsPeer,
    server: Identity,
    client: Identity,
    address: SocketAddr,
    tls_address: SocketAddr,
    admin: SocketAddr,
    folder: TempDir,
}

impl World {
    fn start() -> World {
        let folder = tempfile::tempdir().expect("there is room for a file");
        fs::write(folder.path().join("file"), secret(IN_FILE)).expect("there is room for a file");
        fs::write(folder.path().join("printed"), secret(BY_COMMAND)).expect("there is room for a file");
        let server = Identity::new(folder.path(), "server", &["127.0.0.1", NAME]);
        let client = Identity::new(folder.path(), "client", &["attache.test"]);
        World {
            tls: TlsPeer::start(&server, &client, answer_over_tls),
            server,
            client,
            tls_address: free_address(),
            folder,
            basic: TokenEndpoint::named("planted-by-basic"),
            raw: TokenEndpoint::named("planted-by-raw"),
            post: TokenEndpoint::named("planted-by-post"),
            wrong: TokenEndpoint::named("planted-by-wrong"),
            upstream: Upstream::open(),
            address: free_address(),
            admin: free_address(),
        }
    }

    /// Its level is not plain `trace`, which would be that of our own events, so that libraries say all they know, too.
    fn toml(&self, more: &str) -> String {
        let mut toml = format!(
            "[[listeners]]\naddress = \"{}\"\n\n[[listeners]]\naddress = \"{}\"\n\
             tls.certificates = [{{ cert = {:?}, key = {:?} }}]\n\n[admin]\naddress = \"{}\"\n\n[log]\nlevel = \"trace,hyper=trace\"\n\
             {more}\n\n[clients.app.key]\nsha256 = [\"{CLIENT_KEY_SHA256}\"]\n",
            self.address, self.tls_address, self.server.cert_file, self.server.key_file, self.admin
        );
        let endpoints = [
            ("basic", &self.basic, "client_secret_basic"),
            ("raw", &self.raw, "client_secret_basic_raw"),
            ("post", &self.post, "client_secret_post"),
            ("wrong", &self.wrong, "client_secret_post"),
        ];
        for (name, endpoint, method) in endpoints {
            toml += &format!(
                "\n[credentials.{name}.client_credentials]\ntoken_url = \"{}\"\nclient_id = \"{name}\"\n\
                 client_secret = {{ env = \"CLIENT_SECRET_{}\" }}\ntoken_endpoint_auth_method = \"{method}\"\n",
                endpoint.url(),
                name.to_uppercase()
            );
        }
        toml += "\n[credentials.bearer.bearer]\ntoken = { env = \"BEARER_TOKEN\" }\n\
                 \n[credentials.header.api_key]\nheader = \"X-Their-Key\"\nvalue = { env = \"HEADER_KEY\" }\n\
                 \n[credentials.query.api_key]\nquery = \"key\"\nvalue = { env = \"QUERY_KEY\" }\n\
                 \n[credentials.password.basic]\nusername = \"user\"\npassword = { env = \"BASIC_PASSWORD\" }\n";
        let [file, printed] = ["file", "printed"].map(|name| self.folder.path().join(name));
        toml += &format!(
            "\n[credentials.file.bearer]\ntoken = {{ file = {file:?} }}\n\
             \n[credentials.command.bearer]\ntoken = {{ command = [\"cat\", {printed:?}] }}\n"
        );
        toml += &self.toml_of_tls();
        for name in ROUTES {
            toml += &format!(
                "\n[upstreams.{name}]\nurl = \"{}/{name}\"\ncredential = \"{name}\"\n\n[[routes]]\n\
                 path = \"/{name}/{{*rest}}\"\nupstream = \"{name}\"\nclients = [\"app\"]\n",
                self.upstream.url()
            );
        }
        toml
    }

    /// Discovery, HTTP/2 and mutual TLS.
    fn toml_of_tls(&self) -> String {
        let url = format!("https://127.0.0.1:{}", self.tls.address.port());
        format!(
            "\n[credentials.tls.client_credentials]\nissuer = \"{url}\"\nclient_id = \"tls\"\n\
             client_secret = {{ env = \"CLIENT_SECRET_DISCOVERED\" }}\n\
             \n[upstreams.tls]\nurl = \"{url}/tls\"\ncredential = \"tls\"\n\
             client_certificate = {{ cert = {:?}, key = {:?} }}\n\
             \n[[routes]]\npath = \"/tls/{{*rest}}\"\nupstream = \"tls\"\nclients = [\"app\"]\n",
            self.client.cert_file, self.client.key_file
        )
    }

    /// `[egress]`, with what it trusts.
    fn egress(&self, more: &str) -> String {
        format!("\n[egress]\nca = {:?}\n{more}", self.server.cert_file)
    }

    /// The tokens that were granted.
    fn tokens(&self) -> Vec<String> {
        let endpoints = [&self.basic, &self.raw, &self.post];
        let granted = endpoints.iter().flat_map(|endpoint| endpoint.grants().tokens());
        granted.chain([GRANTED_OVER_TLS.to_owned()]).collect()
    }

    /// The same with peers that are known by name only.
    fn toml_by_name(&self, more: &str) -> String {
        let toml = self.toml("").replace("://127.0.0.1:", &format!("://{NAME}:"));
        let cleartext = |line: &str| match line.contains("url = \"http://") {
            true => format!("{line}\ncleartext = true\n"),
            false => format!("{line}\n"),
        };
        toml.lines().map(cleartext).collect::<String>() + more
    }
}

const ROUTES: [&str; 10] =
    ["basic", "raw", "post", "wrong", "bearer", "header", "query", "password", "file", "command"];

/// An issuer, its token endpoint, and an API that repeats what it was sent, as events that are cut anywhere, and in
/// trailers.
fn answer_over_tls(request: &TlsRequest) -> Response<Frames> {
    let issuer = format!("https://{}", request.authority);
    let document = match request.target.as_str() {
        path if path.starts_with("/.well-known/") => json!({
            "issuer": issuer,
            "token_endpoint": format!("{issuer}/token"),
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }),
        "/token" => json!({ "access_token": GRANTED_OVER_TLS, "token_type": "Bearer", "expires_in": 3600 }),
        _ => return repeated_as_events(request),
    };
    let body = Frame::data(Bytes::from(document.to_string()));
    Response::builder().header("content-type", "application/json").body(vec![body]).expect("it is an answer")
}

fn repeated_as_events(request: &TlsRequest) -> Response<Frames> {
    let authorization = request.headers.get("authorization").expect("the credential is attached").clone();
    let said = authorization.to_str().expect("it is ASCII");
    let events = format!("data: {said}\n\ndata: {}\n\n", STANDARD.encode(said));
    let mut frames: Frames =
        events.as_bytes().chunks(7).map(|piece| Frame::data(Bytes::copy_from_slice(piece))).collect();
    frames.push(Frame::trailers(HeaderMap::from_iter([(http::HeaderName::from_static("x-repeated"), authorization)])));
    let head = Response::builder().header("content-type", "text/event-stream").header("trailer", "x-repeated");
    head.body(frames).expect("it is an answer")
}

/// Repeats everything it was sent, also encoded, as the worst of upstreams do.
fn echo() -> Reply {
    Reply::custom(|request, connection| {
        let sent: Vec<_> = request.headers.0.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let sent = format!("{} {}", request.target, sent.join(" "));
        let encoded: String =
            percent_encoding::utf8_percent_encode(&sent, percent_encoding::NON_ALPHANUMERIC).collect();
        let body = json!({ "raw": sent, "percent": encoded, "base64": STANDARD.encode(&sent) }).to_string();
        let authorization = request.headers.get("authorization").unwrap_or("none");
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Seen: {authorization}\r\nX-Target: {}\r\n\
             Content-Length: {}\r\n\r\n",
            request.target,
            body.len()
        );
        io::Write::write_all(connection.stream(), (head + &body).as_bytes())
    })
}

/// Drives every route, the failures, the admin listener and a reload; returns everything that was answered.
fn drive(child: &Child, world: &World) -> String {
    let mut answers = String::new();
    let key = format!("Bearer {CLIENT_KEY}");
    for name in ROUTES {
        let target = format!("/{name}/x?mine={CLIENT_QUERY_SECRET}");
        if name != "wrong" {
            world.upstream.script([echo()]);
        }
        // A server that repeats what it refuses.
        let secret = secret("CLIENT_SECRET_WRONG");
        let refusal = json!({ "error": "invalid_client", "error_description": format!("{secret} is wrong") });
        world.wrong.script([Grant::Json(401, refusal)]);
        let answer = send(world.address, "POST", &target, &[("Authorization", &key)], b"{}");
        assert_eq!(answer.status, if name == "wrong" { 502 } else { 200 }, "{name}: {answer:?}\n{}", child.output());
        answers += &format!("{answer:?}\n");
    }
    for headers in [[("Authorization", "Bearer planted-wrong-key-00011")], [("X-Api-Key", WRONG_CLIENT_KEY)]] {
        let answer = send(world.address, "GET", "/basic/x", &headers, b"");
        assert_eq!(answer.status, 401);
        answers += &format!("{answer:?}\n");
    }
    world.upstream.script([Reply::RawThenClose(b"HTTP/1.1 nonsense\r\n\r\n".to_vec())]);
    let answer = send(world.address, "POST", "/basic/x", &[("Authorization", &key)], b"{}");
    assert_eq!(answer.status, 502, "{answer:?}");
    answers += &format!("{answer:?}\n");
    world.upstream.script([echo()]);
    let url = format!("http://{}/basic/x?mine={CLIENT_QUERY_SECRET}", world.address);
    let authorization = format!("Authorization: {key}");
    answers += &run(Tool::CURL, &["-sSfi", "--http2-prior-knowledge", "-H", &authorization, &url]);
    let tls_url = format!("https://{}/tls/x", world.tls_address);
    let cert = world.server.cert_file.to_str().expect("it is UTF-8");
    for version in ["--http1.1", "--http2"] {
        let arguments = ["-sSfi", version, "--cacert", cert, "-H", &authorization, "-H", "TE: trailers", &tls_url];
        let answer = run(Tool::CURL, &arguments);
        assert!(answer.contains("data: Bearer ****") && answer.contains("x-repeated: Bearer ****"), "{answer}");
        answers += &answer;
    }
    for page in ["/status", "/metrics", "/healthz", "/readyz"] {
        // A loopback admin listener answers to loopback names only.
        let answer = send(world.admin, "GET", page, &[("Host", "localhost")], b"");
        assert_eq!(answer.status, 200, "{page}");
        answers += &format!("{answer:?}\n");
    }
    answers
}

fn environment() -> Vec<(&'static str, &'static str)> {
    SECRETS.into_iter().filter(|(name, _)| ![IN_FILE, BY_COMMAND].contains(name)).collect()
}

/// Asserts that no secret stands there, nor any of `more`.
fn assert_absent<'a>(haystack: &str, what: &str, more: impl IntoIterator<Item = &'a str>) {
    let planted = SECRETS.iter().map(|(_, secret)| *secret).chain([CLIENT_KEY, WRONG_CLIENT_KEY]);
    let mut looked_for = 0;
    for secret in planted.chain(more) {
        for spelling in spellings(secret) {
            looked_for += 1;
            let found = haystack.lines().find(|line| line.contains(&spelling));
            assert!(found.is_none(), "{secret} as {spelling} in {what}: {}", found.unwrap_or_default());
        }
    }
    assert!(looked_for > 100);
}

/// What reached whom, by the last word: otherwise the absence of secrets would prove nothing.
fn assert_arrived(world: &World) {
    let basic = world.basic.requests()[0].headers.get("authorization").unwrap().to_owned();
    let encoded: String = form_urlencoded::byte_serialize(secret("CLIENT_SECRET_BASIC").as_bytes()).collect();
    assert_eq!(basic, format!("Basic {}", STANDARD.encode(format!("basic:{encoded}"))));
    let raw = world.raw.requests()[0].headers.get("authorization").unwrap().to_owned();
    assert_eq!(raw, format!("Basic {}", STANDARD.encode(format!("raw:{}", secret("CLIENT_SECRET_RAW")))));
    assert_eq!(world.post.requests()[0].form("client_secret").as_deref(), Some(secret("CLIENT_SECRET_POST")));
    assert_eq!(world.wrong.requests()[0].form("client_secret").as_deref(), Some(secret("CLIENT_SECRET_WRONG")));

    let requests = world.upstream.requests();
    let first = |name: &str| {
        let found = requests.iter().find(|request| request.target.starts_with(&format!("/{name}/")));
        found.unwrap_or_else(|| panic!("nothing reached {name}"))
    };
    for (name, endpoint) in [("basic", &world.basic), ("raw", &world.raw), ("post", &world.post)] {
        assert_eq!(first(name).bearer(), Some(endpoint.grants().tokens()[0].as_str()));
        assert!(first(name).target.ends_with(CLIENT_QUERY_SECRET));
    }
    assert_eq!(first("bearer").bearer(), Some(secret("BEARER_TOKEN")));
    assert_eq!(first("file").bearer(), Some(secret(IN_FILE)));
    assert_eq!(first("command").bearer(), Some(secret(BY_COMMAND)));
    assert_arrived_over_tls(&world.tls.requests());
    assert_eq!(first("header").headers.get("x-their-key"), Some(secret("HEADER_KEY")));
    let (_, query) = first("query").target.split_once('?').expect("a key was added");
    let value = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "key").expect("a key was added").1;
    assert_eq!(value, secret("QUERY_KEY"));
    let pair = STANDARD.encode(format!("user:{}", secret("BASIC_PASSWORD")));
    assert_eq!(first("password").headers.get("authorization"), Some(format!("Basic {pair}").as_str()));
}

fn assert_arrived_over_tls(requests: &[TlsRequest]) {
    let first = |path: &str| {
        let found = requests.iter().find(|request| request.target.starts_with(path));
        found.unwrap_or_else(|| panic!("nothing reached {path}"))
    };
    assert!(!first("/.well-known/").headers.contains_key("authorization"));
    let form: Vec<_> = form_urlencoded::parse(&first("/token").body).collect();
    assert!(form.contains(&("client_secret".into(), secret("CLIENT_SECRET_DISCOVERED").into())));
    let api = first("/tls/");
    assert!(api.certified, "the client certificate was not shown");
    assert_eq!(api.version, Version::HTTP_2);
    assert_eq!(api.headers["authorization"], format!("Bearer {GRANTED_OVER_TLS}"));
    let others = requests.iter().filter(|request| !request.target.starts_with("/tls/"));
    assert!(others.into_iter().all(|request| !request.certified), "the upstream's certificate was shown to another");
}

/// SEC-13, TL-71: no secret leaves but to the host it is for.
#[test]
fn planted_secrets_reach_their_destinations_and_nothing_else() {
    let world = World::start();
    let toml = world.toml(&world.egress(""));
    let mut child = Child::run(&toml, &environment());
    let mut answers = drive(&child, &world);
    child.rewrite(&toml.replace("client_secret_basic\"", "client_secret_post\""));
    child.signal(Signal::HUP);
    child.wait_for_line("the reload", |line| line.contains("configuration was reloaded"));
    child.rewrite("[credentials.basic.bearer]\ntoken = \"planted+literal/secret=:0013\"\n");
    child.signal(Signal::HUP);
    child.wait_for_line("the refusal of a literal secret", |line| line.contains("configuration was not reloaded"));
    answers += &drive(&child, &world);
    child.signal(Signal::TERM);
    assert!(child.wait().success());

    assert_arrived(&world);
    let tokens = world.tokens();
    assert!(tokens.len() >= 4);
    let log = child.output();
    assert!(log.contains("TRACE"), "the log is not at trace level:\n{log}");
    let tokens: Vec<_> = tokens.iter().map(String::as_str).collect();
    assert_absent(&log, "the log", tokens.iter().copied().chain([CLIENT_QUERY_SECRET]));
    assert!(!log.contains("planted+literal"), "{log}");
    assert!(answers.contains("********"), "nothing was masked: {answers}");
    // The client may see its own query again.
    assert_absent(&answers, "an answer", tokens);
    assert_keys_absent(&log, &world);
    assert_keys_absent(&answers, &world);
}

/// A private key, or the half of it that is secret, in hexadecimal, in base64 and as numbers.
fn assert_keys_absent(haystack: &str, world: &World) {
    for identity in [&world.server, &world.client] {
        let der = identity.key.serialize_der();
        // In PKCS #8 of P-256 the scalar begins here (RFC 5208, RFC 5915).
        let scalar = &der[36..68];
        let hex: String = scalar.iter().map(|byte| format!("{byte:02x}")).collect();
        let numbers = format!("{scalar:?}");
        let pem = identity.key.serialize_pem();
        let line = pem.lines().nth(1).expect("PEM has lines").to_owned();
        for spelling in [hex.to_uppercase(), hex, numbers.trim_matches(['[', ']']).to_owned(), line] {
            assert!(!haystack.contains(&spelling), "a private key as {spelling}");
        }
        assert!(!haystack.contains("PRIVATE KEY"));
    }
}

/// SEC-21: the egress proxy gets its password, and CONNECT without anything that is the upstream's. TLS to the issuer
/// (discovery), its token endpoint and the upstream goes through it from end to end.
#[test]
fn the_egress_proxy_gets_its_own_secret_and_no_other() {
    let world = World::start();
    let tunnel = Tunnel::start();
    let egress = world.egress(&format!(
        "proxy = {{ url = \"http://{}\", username = \"egress\", password = {{ env = \"EGRESS_PASSWORD\" }} }}\n",
        tunnel.peer.address
    ));
    let mut child = Child::run(&world.toml_by_name(&egress), &environment());
    let answers = drive(&child, &world);
    child.signal(Signal::TERM);
    assert!(child.wait().success());

    assert_arrived(&world);
    let connects = tunnel.requests.look(Clone::clone);
    let pair = STANDARD.encode(format!("egress:{}", secret("EGRESS_PASSWORD")));
    // Four token endpoints, one upstream, and in TLS an issuer and an upstream.
    assert!(connects.len() >= 7, "{connects:?}");
    let over_tls = format!("{NAME}:{}", world.tls.address.port());
    assert!(connects.iter().filter(|connect| connect.target == over_tls).count() >= 2, "{connects:?}");
    // Nothing but the proxy knows where that name is, so discovery went through it.
    let discovered = world.tls.requests().into_iter().filter(|request| request.target.starts_with("/.well-known/"));
    assert!(discovered.map(|request| request.authority).all(|authority| authority == over_tls));
    for connect in &connects {
        assert_eq!(connect.headers.get("proxy-authorization"), Some(format!("Basic {pair}").as_str()));
        assert_eq!(connect.headers.get("authorization"), None);
    }
    let tokens = world.tokens();
    let tokens: Vec<_> = tokens.iter().map(String::as_str).collect();
    assert_absent(&child.output(), "the log", tokens.iter().copied().chain([CLIENT_QUERY_SECRET]));
    assert_absent(&answers, "an answer", tokens);
    assert_keys_absent(&(child.output() + &answers), &world);
}

/// SEC-15, and the attack S03: what other users of the machine could read from the process table.
#[test]
fn secrets_are_not_in_arguments() {
    let world = World::start();
    let child = Child::run(&world.toml(""), &environment());
    let arguments = std::fs::read(format!("/proc/{}/cmdline", child.id())).expect("there is a process table");
    assert_absent(&String::from_utf8_lossy(&arguments), "the arguments", []);
}

/// SEC-13: what the commands print that look at a configuration, each of which would answer 200 to its owner.
#[test]
fn secrets_are_not_in_what_commands_print() {
    let world = World::start();
    let config = world.folder.path().join("proxy.toml");
    fs::write(&config, world.toml(&world.egress(""))).expect("there is room for a file");
    let config = config.to_str().expect("it is UTF-8");
    let environment = environment().into_iter().chain([("PATH", "/usr/bin:/bin")]).collect::<Vec<_>>();
    let commands: [&[&str]; 5] = [
        &["check"],
        &["check", "--live"],
        &["routes"],
        &["explain", "GET", "/query/x?key=1"],
        &["explain", "POST", "/tls/x"],
    ];
    for arguments in commands {
        let mut child = Child::start_with(&[arguments, &["--config", config]].concat(), &environment);
        child.wait();
        let printed = child.output();
        assert!(!printed.is_empty(), "{arguments:?}");
        assert_absent(&printed, &format!("{arguments:?}"), world.tokens().iter().map(String::as_str));
        assert_keys_absent(&printed, &world);
    }
    assert!(!world.basic.requests().is_empty(), "check --live fetched nothing");
}

/// TL-71: `Debug` of all that is known, for whoever prints it in a hurry.
#[test]
fn secrets_are_not_in_debug() {
    let world = World::start();
    let egress =
        "proxy = { url = \"http://127.0.0.1:1\", username = \"egress\", password = { env = \"EGRESS_PASSWORD\" } }\n";
    let toml = world.toml(&world.egress(egress));
    let pairs = environment().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let file = world.folder.path().join("proxy.toml");
    let loaded = config::load_text(&file, &toml, &Environment(pairs.collect()), Load::Full).expect("it is valid");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("there is a runtime");
    let living = Living::new(&loaded.config, Arc::new(SystemClock), runtime.handle().clone());
    let snapshot = Snapshot::compile(&loaded.config, &living);
    for printed in [
        format!("{loaded:?}"),
        format!("{loaded:#?}"),
        format!("{snapshot:?}"),
        format!("{snapshot:#?}"),
        format!("{living:?}"),
    ] {
        assert_absent(&printed, "Debug", []);
        assert_keys_absent(&printed, &world);
    }
    assert!(format!("{loaded:?}").contains("command") && format!("{snapshot:?}").contains("tls"));
}
