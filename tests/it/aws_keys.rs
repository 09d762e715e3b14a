//! Temporary AWS keys, from the first fetch to the signature that an upstream sees.

use std::fs;
use std::io::{self, Write as _};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Connection, Grants, Peer, Process, Proxy, Reply, Request, Upstream, Watched, assert_problem, free_address, get,
    one_route_of, program,
};

/// A metadata server of AWS that takes none but the current session, and renews its keys when it is told to.
pub struct Imds {
    peer: Peer,
    state: Arc<Watched<State>>,
    grants: Arc<Grants>,
}

#[derive(Default)]
struct State {
    sessions: usize,
    /// How many of the sessions to come end before they are used.
    ends: usize,
    /// Access key, secret, session token: the first of them now.
    keys: Vec<[String; 3]>,
    seconds: i64,
    requests: Vec<Request>,
}

impl Imds {
    /// Gives these in turn, each until it is told to go on.
    pub fn start(keys: &[[String; 3]]) -> Imds {
        let state = Arc::new(Watched::new(State { keys: keys.to_vec(), seconds: 6 * 3600, ..State::default() }));
        let grants = Arc::new(Grants::default());
        let (shared, granted) = (state.clone(), grants.clone());
        Imds { peer: Peer::start(move |connection| serve(connection, &shared, &granted)), state, grants }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.peer.address)
    }

    fn renew_keys(&self) {
        self.state.update(|state| state.keys.remove(0));
    }

    /// Waits until the keys are old enough to be replaced when they are rejected (TL-43). They live 10 s.
    fn wait_for_old_keys(&self) {
        self.grants.wait_until_older_than(Duration::from_millis(1_100));
    }

    fn targets(&self) -> Vec<String> {
        self.state.look(|state| state.requests.iter().map(|request| request.target.clone()).collect())
    }
}

fn serve(connection: &mut Connection, state: &Watched<State>, grants: &Grants) -> io::Result<()> {
    while let Some(request) = Request::read_head(&mut connection.reader)? {
        let (status, body) = state.update(|state| answer(&request, state));
        if request.target.ends_with("/my-role") {
            grants.add("keys", None);
        }
        let head = format!("HTTP/1.1 {status} Answer\r\nContent-Length: {}\r\n\r\n", body.len());
        connection.stream().write_all((head + &body).as_bytes())?;
    }
    Ok(())
}

fn answer(request: &Request, state: &mut State) -> (u16, String) {
    state.requests.push(request.clone());
    let session = format!("session-{}==", state.sessions);
    match (request.method.as_str(), request.target.as_str()) {
        ("PUT", "/latest/api/token") => {
            assert_eq!(request.headers.get("x-aws-ec2-metadata-token-ttl-seconds"), Some("60"));
            state.sessions += 1;
            (200, format!("session-{}==", state.sessions))
        }
        ("GET", _) if request.headers.get("x-aws-ec2-metadata-token") != Some(&session) || state.ends > 0 => {
            state.ends -= 1;
            (401, String::new())
        }
        ("GET", "/latest/meta-data/iam/security-credentials/") => (200, "my-role".to_owned()),
        ("GET", "/latest/meta-data/iam/security-credentials/my-role") => {
            (200, document(&state.keys[0], state.seconds, "Token").to_string())
        }
        other => panic!("{other:?}"),
    }
}

fn document([id, secret, token]: &[String; 3], seconds: i64, session_token: &str) -> Value {
    let end = Timestamp::now() + SignedDuration::from_secs(seconds);
    let end = end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    json!({ "Code": "Success", "AccessKeyId": id, "SecretAccessKey": secret, session_token: token, "Expiration": end })
}

fn keys(number: u32) -> [String; 3] {
    [format!("ASIAKEY{number}"), format!("planted+secret={number}/of-aws"), format!("planted+session={number}/of-aws")]
}

fn toml(url: &str, keys: &str) -> String {
    let credential =
        format!("[credentials.api.aws_sigv4]\n{keys}\nregion = \"eu-central-1\"\nservice = \"execute-api\"\n");
    one_route_of(&credential, &format!("url = \"{url}\""), "")
}

fn with_instance(imds: &Imds, more: &str) -> (Upstream, Proxy) {
    let upstream = Upstream::open();
    let keys = format!("keys = \"instance\"\nurl = \"{}\"\n{more}", imds.url());
    let proxy = Proxy::start(&toml(&upstream.url(), &keys));
    (upstream, proxy)
}

#[track_caller]
fn assert_signed_with(request: &Request, number: u32) {
    let [id, _, token] = keys(number);
    assert_eq!(request.headers.all("x-amz-security-token"), [token]);
    let authorization = request.headers.get("authorization").unwrap();
    let begins = format!("AWS4-HMAC-SHA256 Credential={id}/");
    assert!(authorization.starts_with(&begins) && authorization.contains(";x-amz-security-token"), "{authorization}");
}

fn over(status: u16) -> Reply {
    let body = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
    Reply::answer(status, &[("Content-Type", "application/xml")], body)
}

/// TL-01, TL-20: the first request waits for the keys, and all sign with them. A client's own session token is removed.
#[test]
fn requests_are_signed_with_an_instances_keys() {
    let imds = Imds::start(&[keys(1)]);
    let (upstream, proxy) = with_instance(&imds, "");
    for _ in 0..3 {
        let answer = proxy.send("POST", "/api/x", &[("X-Amz-Security-Token", "evil")], b"body");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    upstream.requests().iter().for_each(|request| assert_signed_with(request, 1));
    assert_eq!(imds.targets().len(), 3, "a session, the role, its keys, and no more: {:?}", imds.targets());
}

/// TL-32: a session of the metadata server that ended is begun anew.
#[test]
fn a_session_that_ended_is_begun_anew() {
    let imds = Imds::start(&[keys(1)]);
    imds.state.update(|state| state.ends = 1);
    let (upstream, proxy) = with_instance(&imds, "");
    assert_eq!(proxy.get("/api/x").status, 200);
    assert_signed_with(&upstream.request(), 1);
    assert_eq!(imds.state.look(|state| state.sessions), 2);
}

/// TL-22: keys are renewed before they are over, by themselves.
#[test]
fn keys_are_renewed_before_they_are_over() {
    let imds = Imds::start(&[keys(1), keys(2)]);
    imds.state.update(|state| state.seconds = 4);
    let (upstream, proxy) = with_instance(&imds, "");
    assert_eq!(proxy.get("/api/x").status, 200);
    imds.state.update(|state| {
        state.keys.remove(0);
        state.seconds = 3600;
    });
    imds.state.wait("the next keys", |state| (state.requests.len() == 6).then_some(()));
    let is_signed_with_the_next = |_| {
        assert_eq!(proxy.get("/api/x").status, 200);
        upstream.requests().last().unwrap().headers.get("x-amz-security-token") == Some(&keys(2)[2])
    };
    assert!((0..10_000).any(is_signed_with_the_next), "the next keys are not used");
    assert_signed_with(&upstream.requests()[0], 1);
}

/// TL-40, TL-41, TL-44: AWS says by a code that keys are over. The request is signed anew with others, unless it may have done
/// something; then the next one is.
#[test]
fn keys_that_aws_says_are_over_are_replaced() {
    let expired = b"{\"message\":\"The security token included in the request is expired\"}";
    let at_a_gateway = Reply::answer(403, &[("Content-Type", "application/json")], expired);
    for reply in [over(400), over(403), at_a_gateway] {
        let imds = Imds::start(&[keys(1), keys(2)]);
        imds.state.update(|state| state.seconds = 10);
        let (upstream, proxy) = with_instance(&imds, "");
        upstream.script([Reply::text("ok"), reply]);
        assert_eq!(proxy.get("/api/x").status, 200);
        imds.renew_keys();
        imds.wait_for_old_keys();
        assert_eq!(proxy.get("/api/x").status, 200);
        let requests = upstream.requests();
        assert_eq!(requests.len(), 3, "{requests:?}");
        [1, 1, 2].iter().zip(&requests).for_each(|(number, request)| assert_signed_with(request, *number));
    }
    let imds = Imds::start(&[keys(1), keys(2)]);
    imds.state.update(|state| state.seconds = 10);
    let (upstream, proxy) = with_instance(&imds, "");
    upstream.script([Reply::text("ok"), over(403)]);
    assert_eq!(proxy.get("/api/x").status, 200);
    imds.renew_keys();
    imds.wait_for_old_keys();
    let answer = proxy.send("POST", "/api/x", &[], b"body");
    assert_eq!(answer.status, 403, "{answer:?}");
    imds.grants.wait_for(2);
    assert_eq!(proxy.get("/api/x").status, 200);
}

/// Other refusals are the application's to read: 403 says most often that the role may not do this.
#[test]
fn what_a_role_may_not_do_renews_no_keys() {
    let imds = Imds::start(&[keys(1)]);
    imds.state.update(|state| state.seconds = 10);
    let (upstream, proxy) = with_instance(&imds, "");
    let denied = b"<Error><Code>AccessDenied</Code></Error>";
    upstream.script([Reply::text("ok"), Reply::answer(403, &[("Content-Type", "application/xml")], denied)]);
    assert_eq!(proxy.get("/api/x").status, 200);
    imds.wait_for_old_keys();
    assert_eq!(proxy.get("/api/x").body, denied);
    assert_eq!((upstream.requests().len(), imds.targets().len()), (2, 3));
}

/// TL-26, TL-71: an instance without a role needs an operator, and a pod's file that is not there yet passes.
#[test]
fn what_is_missing_is_told() {
    let upstream = Upstream::open();
    let roleless = Upstream::open();
    roleless.script([Reply::text("session"), Reply::answer(404, &[], b"")]);
    let proxy = Proxy::start(&toml(&upstream.url(), &format!("keys = \"instance\"\nurl = \"{}\"", roleless.url())));
    assert_problem(&proxy.get("/api/x"), 502);
    let url = roleless.url();
    let keys = format!(
        "keys = \"container\"\nurl = \"{url}\"\nauthorization_token = {{ file = \"/nowhere/eks-pod-identity-token\" }}"
    );
    let answer = Proxy::start(&toml(&upstream.url(), &keys)).get("/api/x");
    assert_problem(&answer, 503);
    assert!(!answer.text().contains("nowhere"), "{answer:?}");
    assert!(upstream.requests().is_empty());
}

#[test]
fn a_containers_and_a_roles_keys_sign_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "eyJ.of-the-pod.s\n").unwrap();
    let upstream = Upstream::open();
    let server = Upstream::open();
    let token = format!("{{ file = \"{}\" }}", file.display());
    let sts = document(&keys(2), 3600, "SessionToken");
    let sts =
        json!({ "AssumeRoleWithWebIdentityResponse": { "AssumeRoleWithWebIdentityResult": { "Credentials": sts } } });
    for (number, more, answer) in [
        (1, format!("keys = \"container\"\nauthorization_token = {token}"), document(&keys(1), 3600, "Token")),
        (
            2,
            format!("keys = \"web_identity\"\nrole_arn = \"arn:aws:iam::1:role/a\"\nweb_identity_token = {token}"),
            sts,
        ),
    ] {
        server.script([Reply::answer(200, &[], answer.to_string().as_bytes())]);
        let proxy = Proxy::start(&toml(&upstream.url(), &format!("{more}\nurl = \"{}\"", server.url())));
        assert_eq!(proxy.get("/api/x").status, 200);
        assert_signed_with(upstream.requests().last().unwrap(), number);
    }
    let [container, sts] = &server.requests()[..] else { panic!("each is asked once") };
    assert_eq!(container.headers.get("authorization"), Some("eyJ.of-the-pod.s"));
    assert_eq!(sts.form("WebIdentityToken").as_deref(), Some("eyJ.of-the-pod.s"));
    assert_eq!(sts.headers.get("accept"), Some("application/json"));
}

/// A restart fetches no keys while those of before are good: the store has all of them, sealed.
#[test]
fn keys_outlive_the_process_in_a_store() {
    let imds = Imds::start(&[keys(1)]);
    let upstream = Upstream::open();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.db");
    let fetched = format!("keys = \"instance\"\nurl = \"{}\"", imds.url());
    let store = format!("[store.file]\npath = \"{}\"\nkey = {{ env = \"STORE_KEY\" }}\n", file.display());
    let address = free_address();
    let toml = toml(&upstream.url(), &fetched).replace("127.0.0.1:0", &address.to_string()) + &store;
    fs::write(folder.path().join("proxy.toml"), toml).unwrap();
    for _ in 0..2 {
        let mut command = Command::new(program());
        command.arg("run").current_dir(folder.path()).env("STORE_KEY", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=");
        let mut process = Process::spawn(command, "cargo builds it");
        process.wait_for_line("the start", |line| line.contains("listening on"));
        let answer = get(address, "/api/x");
        assert_eq!(answer.status, 200, "{answer:?}\n{}", process.output());
        let pid = rustix::process::Pid::from_child(process.process());
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        process.wait();
    }
    assert_eq!(imds.targets().len(), 3, "{:?}", imds.targets());
    upstream.requests().iter().for_each(|request| assert_signed_with(request, 1));
    let stored = fs::read(file).unwrap();
    for key in &keys(1)[1..] {
        assert!(!stored.windows(key.len()).any(|bytes| bytes == key.as_bytes()), "a key is stored as it is");
    }
}

/// What `attache explain`, `attache check --live` and `attache token` say of keys that are fetched: no key is in it.
#[test]
fn commands_tell_of_fetched_keys() {
    let imds = Imds::start(&[keys(1)]);
    let upstream = Upstream::open();
    let folder = tempfile::tempdir().unwrap();
    let keys = format!("keys = \"instance\"\nurl = \"{}\"", imds.url());
    fs::write(folder.path().join("proxy.toml"), toml(&upstream.url(), &keys)).unwrap();
    for (arguments, code, expected) in [
        (
            &["explain", "GET", "/api/x"][..],
            0,
            "Credential=<access_key_id>/<date>/eu-central-1/execute-api/aws4_request",
        ),
        (&["explain", "GET", "/api/x"], 0, "403 with \"ExpiredToken\""),
        (&["check", "--live"], 0, "it lives"),
        (&["token", "api"], 0, "by `Expiration`"),
        (&["token", "api", "--print"], 1, "signs requests"),
    ] {
        let mut command = Command::new(program());
        let output = command.current_dir(folder.path()).env_clear().args(arguments).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(expected) && !said.contains("planted") && !said.contains("session-"), "{said}");
    }
}
