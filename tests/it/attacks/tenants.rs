//! Two tenants over one upstream, with clients that leave and connections that break.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::thread;

use crate::support::{Client, Peer, Proxy, Request, Watched};

const CLIENTS: u64 = 8;
const REQUESTS_EACH: u64 = 1250;

/// Tenant and nonce stand in the target; what a tenant's requests must carry.
const TENANTS: [(&str, &str); 2] = [("one", "tenant-one-token-0001"), ("two", "tenant-two-token-0002")];

/// What the upstream saw.
#[derive(Debug, Default)]
struct Seen {
    requests: u64,
    resets: u64,
    wrong: Vec<String>,
}

/// Attack S08: two tenants, 10,000 requests over one upstream, with cancels and resets: every request carries its own
/// tenant's token, and every client gets its own nonce back.
#[test]
fn tenants_are_never_mixed() {
    let seen = Arc::new(Watched::<Seen>::default());
    let upstream = Peer::start({
        let seen = seen.clone();
        move |connection| {
            while let Some(mut request) = Request::read_head(&mut connection.reader)? {
                request.read_body(&mut connection.reader)?;
                let reset = seen.update(|seen| note(seen, &request));
                if reset {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                let answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", request.target.len(), request.target);
                connection.stream().write_all(answer.as_bytes())?;
            }
            Ok(())
        }
    });
    let proxy = proxy(&upstream);
    let counts: Vec<Counts> = thread::scope(|scope| {
        let proxy = &proxy;
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || load(proxy, client))).collect();
        clients.into_iter().map(|client| client.join().expect("a client that gets its own")).collect()
    });
    let sum = |of: fn(&Counts) -> u64| counts.iter().map(of).sum::<u64>();
    let (answered, broken, cancelled) = (sum(|c| c.answered), sum(|c| c.broken), sum(|c| c.cancelled));
    assert_eq!(answered + broken + cancelled, CLIENTS * REQUESTS_EACH);
    seen.look(|seen| {
        assert!(seen.wrong.is_empty(), "{} requests were mixed up: {:?}", seen.wrong.len(), seen.wrong.first());
        assert!(seen.requests > CLIENTS * REQUESTS_EACH * 8 / 10, "only {} requests arrived", seen.requests);
        assert!(seen.resets > 100, "only {} connections broke", seen.resets);
    });
    assert!(cancelled > 300 && broken > 30, "{cancelled} were cancelled, {broken} broke");
}

/// Whether the connection now breaks, instead of an answer.
fn note(seen: &mut Seen, request: &Request) -> bool {
    seen.requests += 1;
    let tenant = request.target.split('/').nth(1).unwrap_or_default();
    let token = TENANTS.iter().find(|(name, _)| *name == tenant).map(|(_, token)| *token);
    let fits = token.is_some() && request.bearer() == token;
    if !fits || request.headers.all("authorization").len() != 1 {
        seen.wrong.push(format!("{} with {:?}", request.target, request.bearer()));
    }
    let reset = request.target.ends_with("-33");
    seen.resets += u64::from(reset);
    reset
}

fn proxy(upstream: &Peer) -> Proxy {
    let mut toml = "[[listeners]]\naddress = \"127.0.0.1:0\"\n\n[server]\nworkers = 2\n".to_owned();
    for (name, _) in TENANTS {
        toml += &format!(
            "\n[credentials.{name}.bearer]\ntoken = {{ env = \"{name}\" }}\n\n[upstreams.{name}]\n\
             url = \"http://{}/{name}\"\ncredential = \"{name}\"\n\n[[routes]]\npath = \"/{name}/{{*rest}}\"\n\
             upstream = \"{name}\"\nclients = \"anyone\"\n",
            upstream.address
        );
    }
    Proxy::start_with(&toml, &TENANTS)
}

#[derive(Debug, Default)]
struct Counts {
    answered: u64,
    /// The upstream broke the connection, and the request could not be sent again.
    broken: u64,
    cancelled: u64,
}

/// One client's requests, for both tenants over the same connection, as chance has it.
fn load(proxy: &Proxy, number: u64) -> Counts {
    let mut random = fastrand::Rng::with_seed(number);
    let mut client = proxy.connect();
    let mut counts = Counts::default();
    for request in 0..REQUESTS_EACH {
        let (tenant, _) = TENANTS[random.usize(..TENANTS.len())];
        let target = format!("/{tenant}/{number}-{request}-{}", random.u64(..50));
        let (method, body) = if random.bool() { ("GET", &b""[..]) } else { ("POST", &b"a body"[..]) };
        client.write_request(method, &target, &[], body);
        if random.u64(..20) == 0 {
            counts.cancelled += 1;
            client = proxy.connect();
            continue;
        }
        let answer = client.read_answer(method).expect("an answer");
        match answer.status {
            200 => {
                assert_eq!(answer.text(), target, "an answer of somebody else");
                counts.answered += 1;
            }
            502 => {
                assert!(target.ends_with("-33"), "{target}: {answer:?}");
                counts.broken += 1;
                client = reconnected(client, proxy, &answer.headers.all("connection"));
            }
            _ => panic!("{target}: {answer:?}"),
        }
    }
    counts
}

/// The connection, or a new one if the proxy said that it ends.
fn reconnected(client: Client, proxy: &Proxy, connection: &[&str]) -> Client {
    if connection.contains(&"close") { proxy.connect() } else { client }
}
