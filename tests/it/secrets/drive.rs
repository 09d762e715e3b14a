//! What is done with attache before somebody looks for secrets.

use std::time::Duration;

use serde_json::json;

use super::answers::{echo, echo_with};
use super::planted::{CLIENT_KEY, CLIENT_QUERY_SECRET, SUBJECT_TOKEN, WRONG_CLIENT_KEY, secret};
use super::world::{ROUTES, World};
use crate::support::{Answer, Child, Grant, Reply, Tool, run, send};

/// Drives every route, the failures, the admin listener and a reload; returns everything that was answered.
pub fn drive(child: &Child, world: &World) -> String {
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
        // Only one of the routes has a use for whose behalf it is; none shows it to an upstream.
        let headers = [("Authorization", &*key), ("X-Subject-Token", SUBJECT_TOKEN)];
        let answer = send(world.address, "POST", &target, &headers, b"{}");
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

/// Drives what a credential goes through in time: renewal in the background, rejection and replay, a rotated secret; and
/// the answers of which a body cannot be looked through: a part of one, and an encoded one. Returns everything that was
/// answered.
pub fn drive_in_time(child: &Child, world: &World) -> String {
    let mut answers = String::new();
    let mut ask = |method: &str, target: &str, more: &[(&str, &str)], status: u16| {
        let key = format!("Bearer {CLIENT_KEY}");
        let headers: Vec<_> = more.iter().copied().chain([("Authorization", &*key)]).collect();
        let answer = send(world.address, method, target, &headers, b"");
        assert_eq!(answer.status, status, "{target}: {answer:?}\n{}", child.output());
        answers += &format!("{answer:?}\n");
        answer
    };
    let assert_masked = |answer: &Answer| assert!(answer.text().contains("Bearer ****"), "{answer:?}");

    let grants = world.renewed.grants();
    world.upstream.script([echo()]);
    assert_masked(&ask("GET", "/renewed/first", &[], 200));
    // From the next one on they live long enough that a rejected one is not too young to be replaced (TL-43), and for a
    // moment not old enough to be renewed.
    world.renewed.set_lifetime(Some(Duration::from_secs(10)));
    grants.wait_for(grants.count() + 1);
    grants.wait_until_older_than(Duration::from_millis(1_100));
    world.upstream.script([echo()]);
    assert_masked(&ask("GET", "/renewed/background", &[], 200));
    let rejection = "Content-Type: text/plain\r\nWWW-Authenticate: Bearer error=\"invalid_token\"\r\n";
    world.upstream.script([echo_with("401 Rejected", rejection), echo()]);
    assert_masked(&ask("POST", "/renewed/replayed", &[], 200));
    // That one is too young: the client gets what the upstream said.
    world.upstream.script([echo_with("401 Rejected", rejection)]);
    assert_masked(&ask("POST", "/renewed/rejected", &[], 401));

    let part = || echo_with("206 Partial", "Content-Type: text/plain\r\nContent-Range: bytes 0-9/100\r\n");
    world.upstream.script([part(), echo()]);
    assert_masked(&ask("GET", "/bearer/part", &[("Range", "bytes=0-9")], 200));
    // An upstream that sends a part of what it was asked for whole.
    world.upstream.script([part(), part()]);
    ask("GET", "/bearer/parts", &[("Range", "bytes=0-9")], 502);
    // It does not even encode what it says is encoded, so that whoever passes it on shows it.
    world.upstream.script([echo_with("200 OK", "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n")]);
    let refused = ask("GET", "/bearer/encoded", &[], 502);
    assert!(refused.text().contains("redact_bodies = false"), "{refused:?}");

    let is_reload = |line: &str| line.contains("configuration was reloaded");
    let reloads = child.lines().iter().filter(|line| is_reload(line)).count();
    world.rotate();
    child.wait_for_lines("the reload for the rotated file", reloads + 1, is_reload);
    world.upstream.script([echo()]);
    assert_masked(&ask("GET", "/file/rotated", &[], 200));
    answers
}
