//! Subject tokens that come with requests: a token for each subject, and what becomes of those that may not have one.

use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use attache::clock::{Clock as _, SystemClock};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Answer, Child, Grant, Proxy, Reply, SECRET, TokenEndpoint, Upstream, assert_problem, free_address, program, send,
};

const HEADER: &str = "X-Subject-Token";
const PORTAL: &str = "portal-key-0123456789abcdef";
const OTHER: &str = "other-key-0123456789abcdef";

fn sha256(key: &str) -> String {
    digest(&SHA256, key.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A proxy whose credential `api` has a token for each subject that the client `portal` names; `more` is further keys of it.
/// Beside it stands an upstream with a credential that has nothing to do with subjects.
fn toml(endpoint: &TokenEndpoint, upstream: &Upstream, more: &str) -> String {
    let (portal, other) = (sha256(PORTAL), sha256(OTHER));
    let (token_url, url) = (endpoint.url(), upstream.url());
    format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[server]
workers = 2
drain_delay = "0ms"
[clients.portal.key]
sha256 = ["{portal}"]
[clients.other.key]
sha256 = ["{other}"]
[credentials.api.token_exchange]
token_url = "{token_url}"
client_id = "attache"
client_secret = {{ env = "SECRET" }}
subject_token = {{ header = "{HEADER}", clients = ["portal"] }}
{more}
[credentials.fixed.bearer]
token = {{ env = "SECRET" }}
[upstreams.api]
url = "{url}"
credential = "api"
[upstreams.fixed]
url = "{url}"
credential = "fixed"
[[routes]]
path = "/api/{{*rest}}"
upstream = "api"
clients = ["portal", "other"]
[[routes]]
path = "/fixed/{{*rest}}"
upstream = "fixed"
clients = "anyone"
"#
    )
}

fn setup(more: &str) -> (TokenEndpoint, Upstream, Proxy) {
    let endpoint = TokenEndpoint::start();
    endpoint.grant_for_subjects();
    let upstream = Upstream::guarded(endpoint.grants());
    let proxy = Proxy::start_with(&toml(&endpoint, &upstream, more), &[("SECRET", SECRET)]);
    (endpoint, upstream, proxy)
}

fn get(proxy: &Proxy, subject: &str) -> Answer {
    proxy.send("GET", "/api/x", &[("Host", "localhost"), ("X-Api-Key", PORTAL), (HEADER, subject)], b"")
}

/// A JWT that is over in so many seconds, or was so many seconds ago.
fn jwt(subject: &str, seconds: i64) -> String {
    let now_s = SystemClock.wall().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs() as i64;
    let claims = json!({ "iss": "https://login.example", "sub": subject, "exp": now_s + seconds });
    format!("eyJhbGciOiJub25lIn0.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn status(proxy: &Proxy) -> Value {
    let status = proxy.admin("/status").json();
    status["subjects"][0].clone()
}

/// TL-01, TL-02, TL-31: there is one exchange for each subject, and under load every request goes upstream with the token of its own.
#[test]
fn nobody_ever_gets_the_token_of_another() {
    let (endpoint, upstream, proxy) = setup("");
    endpoint.set_latency(Duration::from_millis(20));
    let subjects: Vec<String> = (0..6).map(|n| format!("subject-token-of-{n}")).collect();
    thread::scope(|scope| {
        for worker in 0..6 {
            let (subjects, proxy) = (&subjects, &proxy);
            scope.spawn(move || {
                for turn in 0..40 {
                    let subject = &subjects[(worker * 5 + turn) % subjects.len()];
                    let target = format!("/api/{subject}");
                    let answer =
                        proxy.send("GET", &target, &[("Host", "h"), ("X-Api-Key", PORTAL), (HEADER, subject)], b"");
                    assert_eq!(answer.status, 200, "{answer:?}");
                }
            });
        }
    });
    let requests = upstream.requests();
    assert_eq!(requests.len(), 240);
    for request in requests {
        let subject = request.target.trim_start_matches('/');
        assert!(TokenEndpoint::is_for(request.bearer().expect("a token"), subject), "{request:?}");
    }
    assert_eq!(endpoint.requests().len(), subjects.len());
    let expected = json!({ "name": "api", "subjects": 6, "evicted": 0, "fetches_granted": 6, "fetches_failed": 0 });
    assert_eq!(status(&proxy), expected);
}

/// What is sent is RFC 8693 section 2.1, with the subject of the request.
#[test]
fn the_subject_of_the_request_is_exchanged() {
    let (endpoint, _upstream, proxy) = setup("subject_token_type = \"access_token\"\naudience = \"crm\"");
    assert_eq!(get(&proxy, "subject+token/of=ada").status, 200);
    let requests = endpoint.requests();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    for (name, value) in [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", "subject+token/of=ada"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("audience", "crm"),
    ] {
        assert_eq!(request.form(name).as_deref(), Some(value), "{request:?}");
    }
}

/// SEC-10: what a client says of its subject goes to no upstream: neither to the one that it is for, nor to another.
#[test]
fn the_header_is_never_forwarded() {
    let (_endpoint, upstream, proxy) = setup("");
    let upgraded = [("Host", "h"), ("X-Api-Key", PORTAL), (HEADER, "subject-token"), ("Connection", HEADER)];
    assert_eq!(proxy.send("GET", "/api/x", &upgraded, b"").status, 200);
    // With a bearer token of its own it is let in nowhere here, but asked.
    for key in [PORTAL, OTHER] {
        proxy.send("GET", "/fixed/x", &[("Host", "h"), ("X-Api-Key", key), (HEADER, "subject-token")], b"");
    }
    let requests = upstream.requests();
    assert_eq!(requests.len(), 3);
    for request in requests {
        assert!(!format!("{request:?}").to_lowercase().contains("subject-token"), "{request:?}");
    }
}

/// TL-71: who may not say on whose behalf it calls, or does not say it, goes nowhere.
#[test]
fn a_request_without_a_good_subject_goes_nowhere() {
    let (endpoint, upstream, proxy) = setup("");
    let send = |headers: &[(&str, &str)]| proxy.send("GET", "/api/x", &[&[("Host", "h")], headers].concat(), b"");
    let long = "x".repeat(16 * 1024 + 1);
    let mut cases = 0;
    for (headers, status, name) in [
        (&[("X-Api-Key", OTHER), (HEADER, "subject-token")][..], 403, "subject_not_allowed"),
        (&[("X-Api-Key", OTHER)], 403, "subject_not_allowed"),
        (&[("X-Api-Key", PORTAL)], 400, "subject_missing"),
        (&[("X-Api-Key", PORTAL), (HEADER, "")], 400, "subject_malformed"),
        (&[("X-Api-Key", PORTAL), (HEADER, "Bearer subject-token")], 400, "subject_malformed"),
        (&[("X-Api-Key", PORTAL), (HEADER, "one"), (HEADER, "two")], 400, "subject_malformed"),
        (&[("X-Api-Key", PORTAL), (HEADER, "s\u{fc}bject")], 400, "subject_malformed"),
        (&[("X-Api-Key", PORTAL), (HEADER, &long)], 400, "subject_malformed"),
        (&[(HEADER, "subject-token")], 401, "key_missing"),
    ] {
        let answer = send(headers);
        let problem = assert_problem(&answer, status);
        assert_eq!(
            (problem["type"].clone(), problem["fault"].clone()),
            (json!(format!("urn:attache:problem:{name}")), json!("client"))
        );
        assert!(!answer.text().contains("subject-token\""), "{answer:?}");
        cases += 1;
    }
    assert_eq!((cases, endpoint.requests().len(), upstream.requests().len()), (9, 0, 0));
}

/// TL-71: a subject token that the server refuses is 403 and the client's, never a 502; others are served meanwhile, and it
/// is not asked again and again.
#[test]
fn a_refused_subject_is_a_403_that_names_it() {
    for code in ["invalid_request", "invalid_grant", "invalid_token"] {
        let (endpoint, upstream, proxy) = setup("");
        let refusal = json!({ "error": code, "error_description": "planted-subject-token has expired" });
        endpoint.script([Grant::Json(400, refusal)]);
        for _ in 0..3 {
            let answer = get(&proxy, "planted-subject-token");
            let problem = assert_problem(&answer, 403);
            assert_eq!(problem["type"], "urn:attache:problem:subject_refused");
            assert_eq!((&problem["fault"], &problem["credential"]), (&json!("client"), &json!("api")));
            assert!(!answer.text().contains("planted"), "{answer:?}");
        }
        assert_eq!((endpoint.requests().len(), upstream.requests().len()), (1, 0));
        assert_eq!(get(&proxy, "another-subject-token").status, 200);
        assert!(!proxy.admin("/status").text().contains("planted"));
    }
}

/// TL-26: where the client itself is refused, that is a 502, and the server is not asked once for each subject.
#[test]
fn a_refused_client_is_asked_about_once_for_all_subjects() {
    let (endpoint, _upstream, proxy) = setup("");
    endpoint.script((0..40).map(|_| Grant::Json(401, json!({ "error": "invalid_client" }))));
    for n in 0..20 {
        let problem = assert_problem(&get(&proxy, &format!("subject-token-{n}")), 502);
        assert_eq!(problem["fault"], "token_endpoint");
    }
    assert_eq!(endpoint.requests().len(), 1);
}

/// TL-26, SEC-14: what an endpoint answers for one subject is that one's alone, be it a refusal or an upstream in a forbidden
/// place.
#[test]
fn nobodys_answer_takes_the_service_from_others() {
    let error = |code: &str| Grant::Json(400, json!({ "error": code }));
    let token = |url: &str| Grant::Json(200, json!({ "access_token": "tok", "expires_in": 3600, "instance_url": url }));
    let cases = [
        (token("https://evil.example"), 502),
        (Grant::Json(403, json!({ "error": "consent_required" })), 403),
        (Grant::Json(403, json!({})), 403),
        (Grant::Json(401, json!({})), 502),
        (Grant::Json(404, json!({})), 502),
        (error("login_required"), 403),
        (error("invalid_target"), 403),
        (error("invalid_scope"), 403),
    ];
    assert_eq!(cases.len(), 8);
    for (answer, status) in cases {
        let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
        let allowed = format!("answer.base_urls.instance_url = [\"{}\"]", upstream.address());
        let fixed = format!("url = \"{}\"\ncredential = \"api\"", upstream.url());
        let text = toml(&endpoint, &upstream, &allowed);
        let proxy = Proxy::start_with(
            &text.replacen(&fixed, "url = \"{instance_url}\"\ncredential = \"api\"", 1),
            &[("SECRET", SECRET)],
        );
        endpoint.script([answer, token(&upstream.url())]);
        assert_problem(&get(&proxy, "ada"), status);
        assert_eq!(get(&proxy, "bob").status, 200);
        assert_problem(&get(&proxy, "ada"), status);
        assert_eq!(endpoint.requests().len(), 2, "hers is not asked for again at once");
    }
}

/// TL-40, TL-41, TL-44: a token that the upstream rejects is replaced by another one of the same subject, and the request is
/// sent again; other subjects' tokens stay.
#[test]
fn a_rejected_token_is_replaced_for_its_subject_alone() {
    let (endpoint, upstream, proxy) = setup("");
    endpoint.set_lifetime(Some(Duration::from_secs(10)));
    assert_eq!((get(&proxy, "ada").status, get(&proxy, "bob").status), (200, 200));
    endpoint.grants().wait_until_older_than(Duration::from_millis(1_100));
    endpoint.grants().revoke_all();
    assert_eq!(get(&proxy, "ada").status, 200);
    assert_eq!(endpoint.requests().len(), 3);
    let subjects: Vec<_> = endpoint.requests().iter().map(|request| request.form("subject_token").unwrap()).collect();
    assert_eq!(subjects, ["ada", "bob", "ada"]);
    let sent = upstream.requests();
    assert_eq!(sent.len(), 4);
    let tokens: Vec<_> = sent.iter().map(|request| request.bearer().unwrap()).collect();
    assert!(tokens[2] == tokens[0] && tokens[3] != tokens[0]);
    assert!(TokenEndpoint::is_for(tokens[3], "ada"), "{tokens:?}");
}

/// TL-12: a token is not used for longer than the subject's own lives, and one that is over is refused by the server alone.
#[test]
fn no_token_outlives_its_subject() {
    let (endpoint, _upstream, proxy) = setup("");
    // Dead a twentieth of its life before its end.
    let brief = jwt("ada", 3);
    assert_eq!(get(&proxy, &brief).status, 200);
    assert_eq!(get(&proxy, &brief).status, 200);
    assert_eq!(endpoint.requests().len(), 1);
    endpoint.grants().wait_until_older_than(Duration::from_millis(3_100));
    let refusal = json!({ "error": "invalid_request" });
    endpoint.script([Grant::Json(400, refusal)]);
    assert_problem(&get(&proxy, &brief), 403);
    assert_eq!(endpoint.requests().len(), 2);
}

/// SEC-13: a token that the upstream repeats is masked, as any other.
#[test]
fn an_exchanged_token_is_masked_in_answers() {
    let (_endpoint, upstream, proxy) = setup("");
    upstream.script([Reply::custom(|request, connection| {
        use std::io::Write as _;
        let body = format!("you sent {}", request.bearer().expect("a token"));
        write!(
            connection.stream(),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    })]);
    let answer = get(&proxy, "ada");
    assert_eq!(answer.status, 200);
    assert!(answer.text().starts_with("you sent ") && !answer.text().contains("access-token"), "{answer:?}");
}

/// SEC-13, TL-71: neither a subject's token nor what it was exchanged for stands in the log, whatever the level and whatever the server
/// repeats.
#[test]
fn no_token_stands_in_the_log() {
    let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
    let subjects = ["planted-subject-token-of-ada", "planted-subject-token-of-bob"];
    let granted = Grant::Token { value: "planted-exchanged-token".to_owned(), expires_in: Some(3600) };
    let refused = json!({ "error": "invalid_grant", "error_description": format!("no subject {}", subjects[1]) });
    endpoint.script([granted, Grant::Json(400, refused)]);
    let [listener, admin] = [free_address(), free_address()].map(|address| format!("\"{address}\""));
    let toml =
        toml(&endpoint, &upstream, "").replacen("\"127.0.0.1:0\"", &listener, 1).replacen("\"127.0.0.1:0\"", &admin, 1);
    let mut child = Child::run(&format!("[log]\nlevel = \"trace\"\n{toml}"), &[("SECRET", SECRET)]);
    let address = listener.trim_matches('"').parse().expect("an address");
    let answers: Vec<_> = subjects
        .iter()
        .map(|subject| send(address, "GET", "/api/x", &[("Host", "h"), ("X-Api-Key", PORTAL), (HEADER, subject)], b""))
        .collect();
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 403]);
    assert_eq!(upstream.request().bearer(), Some("planted-exchanged-token"));
    child.signal(Signal::TERM);
    assert!(child.wait().success());
    let log = child.output();
    assert!(log.contains("TRACE") && log.contains("invalid_grant"), "{log}");
    assert!(!log.contains("planted-") && !format!("{answers:?}").contains("planted-"), "{log}");
}

/// TL-02, TL-04: subjects keep their tokens over a reload that leaves what they are asked for as it is, and begin anew after
/// another one.
#[test]
fn subjects_outlive_a_reload_that_asks_for_the_same() {
    let (endpoint, upstream, proxy) = setup("");
    assert_eq!(get(&proxy, "ada").status, 200);
    for same in ["", "timeouts.connect = \"2s\"", "refresh_before = \"1s\""] {
        proxy.reload(&(toml(&endpoint, &upstream, same) + "\n# another text\n")).unwrap();
        assert_eq!((get(&proxy, "ada").status, endpoint.requests().len()), (200, 1), "{same}");
        assert_eq!(status(&proxy)["subjects"], 1);
    }
    proxy.reload(&toml(&endpoint, &upstream, "scope = \"more\"")).unwrap();
    assert_eq!((get(&proxy, "ada").status, endpoint.requests().len()), (200, 2));
    assert_eq!(status(&proxy)["subjects"], 1);
}

/// TL-03: after a change of how the client proves itself, a subject's token serves until one was fetched by the new proof, and
/// is soft; a refusal of the old proof says nothing about the new one.
#[test]
fn subjects_keep_their_tokens_over_a_new_proof() {
    let (endpoint, upstream, proxy) = setup("");
    assert_eq!(get(&proxy, "ada").status, 200);
    // Fetches begin at least 250 ms after one another.
    endpoint.grants().wait_until_older_than(Duration::from_millis(300));
    let by = |method: &str| toml(&endpoint, &upstream, &format!("token_endpoint_auth_method = \"{method}\""));
    endpoint.script([Grant::Json(401, json!({ "error": "invalid_client" }))]);
    proxy.reload(&by("client_secret_post")).unwrap();
    assert_eq!(get(&proxy, "ada").status, 200, "what she has serves");
    endpoint.wait_for_requests(2);
    let requests = endpoint.requests();
    assert_eq!(requests[1].form("subject_token").as_deref(), Some("ada"));
    assert!(requests[0].form("client_secret").is_none() && requests[1].form("client_secret").is_some());
    assert!((0..10_000).any(|_| status(&proxy)["fetches_failed"] == 1), "it was refused");
    assert_problem(&get(&proxy, "bob"), 502);
    assert_eq!((get(&proxy, "ada").status, endpoint.requests().len()), (200, 2));
    proxy.reload(&by("client_secret_basic")).unwrap();
    assert_eq!((get(&proxy, "bob").status, get(&proxy, "ada").status), (200, 200));
    assert_eq!(status(&proxy)["subjects"], 2);
}

/// Two client secrets: the one that works for one subject is tried first for the others.
#[test]
fn subjects_are_exchanged_for_by_the_secret_that_works() {
    let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
    let one = "client_secret = { env = \"SECRET\" }";
    let two =
        "client_secret = [{ env = \"NEW\" }, { env = \"OLD\" }]\ntoken_endpoint_auth_method = \"client_secret_post\"";
    let text = toml(&endpoint, &upstream, "").replacen(one, two, 1);
    let refused = || Grant::Json(401, json!({ "error": "invalid_client" }));
    endpoint.script([refused()]);
    let proxy =
        Proxy::start_with(&text, &[("SECRET", SECRET), ("NEW", "the-newer-secret"), ("OLD", "the-older-secret")]);
    for subject in ["ada", "bob"] {
        assert_eq!(get(&proxy, subject).status, 200);
    }
    let sent = |request: &crate::support::Request| (request.form("client_secret"), request.form("subject_token"));
    let sent: Vec<_> = endpoint.requests().iter().map(sent).collect();
    let expected = [("the-newer-secret", "ada"), ("the-older-secret", "ada"), ("the-older-secret", "bob")];
    assert_eq!(sent, expected.map(|(secret, subject)| (Some(secret.to_owned()), Some(subject.to_owned()))));
    endpoint.script([refused(), refused()]);
    assert_problem(&get(&proxy, "eve"), 502);
    assert_problem(&get(&proxy, "dan"), 502);
    assert_eq!((get(&proxy, "ada").status, endpoint.requests().len()), (200, 5), "neither is asked for all");
}

/// SEC-10, TL-01, TL-71: a part of an aggregate is called with the token of the request's subject, whose own goes nowhere; who
/// may not say on whose behalf it calls, or does not say it, has nothing called.
#[test]
fn parts_of_an_aggregate_are_called_for_the_subject() {
    let endpoint = TokenEndpoint::start();
    endpoint.grant_for_subjects();
    let upstream = Upstream::guarded(endpoint.grants());
    let aggregate = r#"
[[routes]]
path = "/both/{id}"
clients = ["portal", "other"]
[routes.aggregate.parts.profile]
upstream = "api"
path = "/profile/{id}"
headers = { X-Tenant = "{header.x-tenant}" }
[routes.aggregate.parts.orders]
upstream = "api"
path = "/orders/{id}"
"#;
    let text = toml(&endpoint, &upstream, "") + aggregate;
    let proxy = Proxy::start_with(&text, &[("SECRET", SECRET)]);
    let json_reply = || Reply::answer(200, &[("Content-Type", "application/json")], b"7");
    let send = |headers: &[(&str, &str)]| {
        proxy.send("GET", "/both/x", &[&[("Host", "h"), ("X-Tenant", "t")], headers].concat(), b"")
    };
    for subject in ["planted-token-of-ada", "planted-token-of-bob"] {
        upstream.script([json_reply(), json_reply()]);
        let before = upstream.requests().len();
        let answer = send(&[("X-Api-Key", PORTAL), (HEADER, subject)]);
        assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"profile":7,"orders":7}"#), "{answer:?}");
        let requests = upstream.requests().split_off(before);
        assert_eq!(requests.len(), 2);
        for request in requests {
            assert!(TokenEndpoint::is_for(request.bearer().expect("a token"), subject), "{request:?}");
            assert!(request.headers.get(HEADER).is_none(), "{request:?}");
        }
    }
    assert_eq!((endpoint.requests().len(), upstream.requests().len()), (2, 4));
    for (headers, status, name) in [
        (&[("X-Api-Key", OTHER), (HEADER, "ada")][..], 403, "subject_not_allowed"),
        (&[("X-Api-Key", OTHER)], 403, "subject_not_allowed"),
        (&[("X-Api-Key", PORTAL)], 400, "subject_missing"),
    ] {
        let problem = assert_problem(&send(headers), status);
        assert_eq!(problem["type"], format!("urn:attache:problem:{name}"));
    }
    assert_eq!((endpoint.requests().len(), upstream.requests().len()), (2, 4));
}

/// How the program ended, and all that it said.
fn attache(folder: &std::path::Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(program());
    let output = command.current_dir(folder).env_clear().env("SECRET", SECRET).args(arguments).output();
    let output = output.expect("cargo builds it");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("it is UTF-8"))
}

/// `attache check --live` and `attache token` have no subject, and say so; nothing is asked for.
#[test]
fn who_has_no_subject_asks_for_nothing() {
    let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
    let folder = tempfile::tempdir().expect("there is room for a file");
    std::fs::write(folder.path().join("proxy.toml"), toml(&endpoint, &upstream, "")).expect("there is room for a file");
    let run = |arguments: &[&str]| attache(folder.path(), arguments);
    let (code, checked) = run(&["check", "--live"]);
    assert_eq!(code, Some(0), "{checked}");
    assert!(checked.contains("skipped credential api    it has a token for each subject"), "{checked}");
    assert!(checked.contains("hint: `attache token api --subject-token-file FILE` asks for one"), "{checked}");
    for arguments in [&["token", "api"][..], &["token", "api", "--print"]] {
        let (code, told) = run(arguments);
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("`api` has a token for each subject, which requests bring in x-subject-token"), "{told}");
        assert!(told.contains("--subject-token-file"), "{told}");
    }
    assert!(endpoint.requests().is_empty());
}

/// SEC-13: with the token of a subject in a file the tool works as for every credential, and shows nothing of that token.
#[test]
fn a_subjects_token_is_told_to_a_person() {
    let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
    let folder = tempfile::tempdir().expect("there is room for a file");
    let write =
        |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("there is room for a file");
    write("proxy.toml", &toml(&endpoint, &upstream, ""));
    write("subject", "planted-subject-token\n");
    write("bearer", "Bearer planted-subject-token\n");
    let run = |arguments: &[&str]| attache(folder.path(), arguments);
    let (code, told) = run(&["token", "api", "--subject-token-file", "subject"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("> subject_token=<21 bytes, sha256 ") && told.contains("< 200 OK"), "{told}");
    let (code, printed) = run(&["token", "api", "--print", "--subject-token-file", "subject"]);
    let token = format!("{}\n", endpoint.grants().tokens()[1]);
    assert!(code == Some(0) && printed.starts_with(&token), "{printed}");
    let sent: Vec<_> = endpoint.requests().iter().map(|request| request.form("subject_token").unwrap()).collect();
    assert_eq!(sent, ["planted-subject-token", "planted-subject-token"]);

    let refusal = json!({ "error": "invalid_grant", "error_description": "planted-subject-token is over" });
    endpoint.script([Grant::Json(400, refusal)]);
    let (code, refused) = run(&["token", "api", "--subject-token-file", "subject"]);
    assert_eq!(code, Some(1), "{refused}");
    assert!(refused.contains("invalid_grant") && refused.contains("hint: check subject_token"), "{refused}");
    let (code, more) = run(&["token", "api", "--subject-token-file", "bearer"]);
    assert_eq!(code, Some(1), "{more}");
    assert!(more.contains("holds more than a subject token"), "{more}");
    assert_eq!(endpoint.requests().len(), 3);
    for shown in [told, refused, more] {
        assert!(!shown.contains("planted"), "{shown}");
    }
}
