mod providers;
mod refresh;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::SET_COOKIE;
use serde_json::Value;

use super::super::endpoint::tests::{Peer, Then, answer, connector};
use super::super::{Attachment, Credential, Parts, live};
use super::*;
use crate::clock::ManualClock;
use crate::config::{CredentialKind, Environment, Load, load_text};
use crate::credential::DiscoveryCache;
use crate::credential::mask::mask;
use crate::token::{Attached, TokenCache};
use providers::{Case, LOGINS};

/// Tue, 14 Nov 2023 22:13:20 GMT.
const WALL_S: u64 = 1_700_000_000;
const PASSWORD: &str = "pa/ss \"wörd\"";

fn parts(wall_s: u64) -> Parts {
    let clock = Arc::new(ManualClock::at(UNIX_EPOCH + Duration::from_secs(wall_s)));
    Parts {
        tokens: TokenCache::new(clock.clone(), tokio::runtime::Handle::current()),
        clock,
        connector: connector(),
        discoveries: Arc::new(DiscoveryCache::default()),
        proof_keys: Arc::default(),
        tape: None,
    }
}

/// The credential `api` of a file that holds this table; `$URL` in it is the peer's.
fn config(table: &str, peer: &Peer) -> Arc<config::Credential> {
    let url = peer.url("").to_string();
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:8080\"\n[credentials.api.login]\nvalues.password = {{ env = \"PASSWORD\" }}\n{}\n\
         [upstreams.api]\nurl = \"https://api.example\"\ncredential = \"api\"\n\
         [[routes]]\npath = \"/{{*rest}}\"\nupstream = \"api\"\nclients = \"anyone\"\n",
        table.replace("$URL", &url)
    );
    let environment = Environment([("PASSWORD".to_owned(), PASSWORD.to_owned())].into());
    let loaded = load_text(Path::new("proxy.toml"), &text, &environment, Load::Full);
    loaded.unwrap_or_else(|problems| panic!("{problems}")).config.credentials[0].clone()
}

/// One attempt, for what it says.
async fn attempt(table: &str, peer: &Peer) -> Result<Granted, Failure> {
    let config = config(table, peer);
    let CredentialKind::Login(login) = &config.kind else { panic!("it is a login") };
    Login::new(&config.name, login, &parts(WALL_S)).attempt(timer_now() + Duration::from_secs(10)).await
}

/// All that an attachment sets, as it is sent.
fn sent(attachment: &Attachment) -> Vec<String> {
    let attached = attachment.attached().expect("nothing signs it");
    let headers = attached.headers();
    let mut sent: Vec<String> = headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    sent.extend(attached.query().map(|query| format!("?{query}")));
    let cookies = attached.rest().and_then(|rest| rest.cookies.as_ref());
    sent.extend(cookies.map(|cookies| format!("cookie: {}", cookies.pairs.to_str().unwrap())));
    sent
}

fn quirk(provider: &str) -> Value {
    let quirks: Vec<Value> = serde_json::from_str(include_str!("../../../tests/token-endpoint-quirks.json")).unwrap();
    quirks.into_iter().find(|quirk| quirk["provider"] == provider).unwrap_or_else(|| panic!("no quirk of {provider}"))
}

/// When an answer was given: an hour before what it says its token ends, where that is an absolute time.
fn wall_of(quirk: &Value) -> (u64, Option<u64>) {
    let absolute =
        quirk["expect_absolute"].as_str().map(|text| text.parse::<jiff::Timestamp>().unwrap().as_second() as u64);
    match absolute.or(quirk["expect_absolute_epoch"].as_u64()) {
        Some(end) => (end - 3600, Some(3600)),
        None => (WALL_S, quirk["expect_life_s"].as_u64()),
    }
}

/// TL-10, TL-37: what real logins are sent, what they answer, and what is then attached.
#[tokio::test]
async fn the_logins_of_real_providers_are_declared_and_attached() {
    let mut errors = 0;
    for Case { provider, table, head, body, attached } in LOGINS {
        let quirk = quirk(provider);
        let set_cookies = quirk["headers"].as_array().into_iter().flatten();
        let headers: String = set_cookies
            .map(|header| format!("{}: {}\r\n", header[0].as_str().unwrap(), header[1].as_str().unwrap()))
            .collect();
        let status = quirk["status"].as_u64().unwrap() as u16;
        let peer = Peer::answering(answer(status, &headers, quirk["body"].as_str().unwrap())).await;
        let (wall_s, life_s) = wall_of(&quirk);
        let parts = parts(wall_s);
        let (credential, failure) = match quirk["expect_error"].as_str() {
            None => (Some(Credential::new(&config(table, &peer), &parts)), None),
            Some(error) => (None, Some((error, attempt(table, &peer).await.expect_err(provider)))),
        };
        let taken = match &credential {
            Some(credential) => Some(credential.take(Duration::from_secs(10)).await.expect(provider)),
            None => None,
        };
        let request = peer.requests().remove(0);
        let (sent_head, sent_body) = request.split_once("\r\n\r\n").unwrap();
        for line in *head {
            assert!(sent_head.lines().any(|sent| sent == *line), "{provider}: no {line} in\n{sent_head}");
        }
        assert_eq!(sent_body, *body, "{provider}");
        let Some(taken) = taken else {
            errors += 1;
            let (error, failure) = failure.expect("it is one or the other");
            assert!(failure.text().contains(error), "{provider}: {}", failure.text());
            continue;
        };
        assert_eq!(sent(&taken), *attached, "{provider}");
        let status = parts.tokens.statuses().remove(0);
        assert_eq!(status.expires_in.map(|left| left.as_secs_f64().round() as u64), life_s, "{provider}");
    }
    assert_eq!((LOGINS.len(), errors), (6, 1));
}

/// The first answer's values feed the second request, and what is attached may need them all.
#[tokio::test]
async fn steps_hand_on_what_they_were_answered() {
    let peer = Peer::start(|request| {
        Then::Answer(match request.split_once(' ').unwrap().0 {
            "GET" => answer(200, "x-csrf-token: c/1\r\n", r#"[{"ticket":{"id":7}},"x"]"#),
            _ => answer(201, "set-cookie: sid=S1; Path=/; Max-Age=600\r\n", ""),
        })
    })
    .await;
    let table = r#"
values.tenant = "acme"
attach = [
    { cookie = "sid" },
    { header = "X-Csrf-Token", value = "{csrf}" },
    { header = "X-Auth", value = "{tenant}:{ticket}:{password_of_api}" },
]
values.password_of_api = { env = "PASSWORD2" }
[[credentials.api.login.steps]]
method = "GET"
url = "$URL/begin"
answer.values = { ticket = "0.ticket.id", csrf = { header = "X-CSRF-Token" } }
[[credentials.api.login.steps]]
url = "$URL/{tenant}/session/{csrf}"
headers = { X-Csrf-Token = "{csrf}", Accept = "*/*" }
form = { ticket = "{ticket}", password = "{password}" }
answer.token = { cookie = "sid" }"#
        .replace("PASSWORD2", "PASSWORD")
        .replace("{password_of_api}", "{ticket}");
    let parts = parts(WALL_S);
    let taken = Credential::new(&config(&table, &peer), &parts).take(Duration::from_secs(10)).await.unwrap();
    assert_eq!(sent(&taken), ["x-csrf-token: c/1", "x-auth: acme:7:7", "cookie: sid=S1"]);
    let second = peer.requests().remove(1);
    assert!(second.starts_with("POST /acme/session/c%2F1 HTTP/1.1\r\n"), "{second}");
    assert!(second.contains("x-csrf-token: c/1\r\n") && second.contains("accept: */*\r\n"), "{second}");
    assert!(second.ends_with("\r\n\r\nticket=7&password=pa%2Fss+%22w%C3%B6rd%22"), "{second}");
    let left = parts.tokens.statuses().remove(0).expires_in.unwrap();
    assert_eq!(left.as_secs(), 600, "the cookie says how long it lives");
}

/// TL-10: a token can be the whole body, a header or a cookie, and its lifetime can be declared where nobody says it.
#[tokio::test]
async fn tokens_and_lifetimes_are_found_beside_the_members() {
    let end = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(WALL_S + 60));
    let cases = [
        (r#"answer.token = { body = "whole" }"#, "", "tok-1\n", "tok-1", None),
        (r#"answer.token = { body = "whole" }"#, "", r#" "tok\/2" "#, "tok/2", None),
        (r#"answer = { token = { body = "whole" }, lifetime_default = "20m" }"#, "", "tok", "tok", Some(1200)),
        (
            // OpenStack's Identity service.
            r#"answer = { token = { header = "X-Subject-Token" }, lifetime = "token.expires_at" }"#,
            "x-subject-token: gAAAAA\r\n",
            r#"{"token":{"expires_at":"2023-11-14T23:13:20.000000Z","methods":["password"]}}"#,
            "gAAAAA",
            Some(3600),
        ),
        (
            r#"answer = { token = { header = "X-Token" }, lifetime = { header = "X-Life" }, lifetime_unit = "minutes" }"#,
            "x-token: T\r\nx-life: 5\r\n",
            "<html>Welcome</html>",
            "T",
            Some(300),
        ),
        (
            r#"answer.token = { cookie = "sid" }"#,
            "set-cookie: sid=\r\nset-cookie: sid=S; expires=END\r\n",
            "",
            "S",
            Some(60),
        ),
        (r#"answer.token = "0.key""#, "", r#"[{"key":12345}]"#, "12345", None),
        (r#"answer = { lifetime_default = "5m" }"#, "", r#"{"access_token":"T","expires_in":60}"#, "T", Some(60)),
    ];
    for (shape, headers, body, token, life_s) in cases {
        let peer = Peer::answering(answer(200, &headers.replace("END", &end), body)).await;
        let granted = attempt(&format!("url = \"$URL\"\n{shape}"), &peer)
            .await
            .unwrap_or_else(|failure| panic!("{shape}: {}", failure.text()));
        assert_eq!((granted.value.expose(), granted.lifetime.map(|life| life.as_secs())), (token, life_s), "{shape}");
    }
}

/// TL-26, TL-32: a login that fails says at which step, in the server's own words, and never with what logged in.
#[tokio::test]
async fn a_failed_login_says_why() {
    let declared = r#"answer = { token = "token", success = { path = "code", equals = 0 }, error = "text.en" }"#;
    let lenient = r#"answer = { token = "token", success = { path = "code", equals = 0, or_absent = true } }"#;
    let cases = [
        (declared, 200, r#"{"code":0,"token":"T"}"#, None),
        (declared, 200, r#"{"code":"0","token":"T","error":"none"}"#, None),
        (
            declared,
            200,
            r#"{"code":7,"text":{"en":"user is locked"},"token":"T"}"#,
            Some("says \"user is locked\", where `code` is not 0"),
        ),
        (declared, 200, r#"{"token":"T"}"#, Some("where `code` is not 0")),
        (lenient, 200, r#"{"token":"T"}"#, None),
        (lenient, 200, r#"{"code":0,"token":"T"}"#, None),
        (lenient, 200, r#"{"code":null,"token":"T"}"#, Some("where `code` is not 0")),
        (lenient, 200, r#"{"code":7,"token":"T"}"#, Some("where `code` is not 0")),
        (declared, 200, "[]", Some("where `code` is not 0")),
        (declared, 200, "fine", Some("neither a JSON object nor a form")),
        (
            declared,
            401,
            r#"{"text":{"en":"wrong pa/ss \"wörd\""}}"#,
            Some("it answered 401 Unauthorized; check the `values`"),
        ),
        (declared, 302, "", Some("redirects are not followed")),
        (r#"answer.token = "a.0.b""#, 200, r#"{"a":[{"c":"T"}]}"#, Some("it holds no text at `a.0.b`, only a")),
        (r#"answer.token = { cookie = "sid" }"#, 200, "{}", Some("it sets no cookie sid, only a, b")),
        (r#"answer.token = { header = "x-t" }"#, 200, "{}", Some("it has no header x-t, only ")),
        (r#"answer.token = { header = "x-t" }"#, 200, "{}", Some("x-csrf-token")),
        (r#"answer.token = { body = "whole" }"#, 200, "<html>Wait</html>", Some("the body is an HTML page")),
        (
            r#"answer = { values.site = "site" }"#,
            200,
            r#"{"access_token":"T"}"#,
            Some("no text at `site`, only access_token"),
        ),
        (r#"answer.token = { body = "whole" }"#, 200, "a\r\nb", Some("no legal header value")),
    ];
    for (shape, status, body, error) in cases {
        let head = "x-csrf-token: c\r\nset-cookie: a=1\r\nset-cookie: b=2; Path=/\r\n";
        let peer = Peer::answering(answer(status, head, body)).await;
        let table = format!("url = \"$URL\"\njson = {{ p = \"{{password}}\" }}\n{shape}");
        match (attempt(&table, &peer).await, error) {
            (Ok(granted), None) => assert_eq!(granted.value.expose(), "T"),
            (Err(failure), Some(error)) => {
                assert!(failure.text().contains(error), "{body}: {}", failure.text());
                assert!(!failure.text().contains("wörd"), "{}", failure.text());
            }
            (other, _) => panic!("{shape} {body}: {other:?}"),
        }
    }
    let steps = r#"
[[credentials.api.login.steps]]
url = "$URL/one"
answer.values.ticket = "ticket"
[[credentials.api.login.steps]]
url = "$URL/two""#;
    let peer = Peer::start(|request| {
        Then::Answer(match request.contains("/one") {
            true => answer(200, "", r#"{"ticket":"ticket-of-one"}"#),
            false => answer(400, "", r#"{"error":"bad ticket-of-one"}"#),
        })
    })
    .await;
    let text = attempt(steps, &peer).await.unwrap_err().text();
    assert!(text.contains("failed: in step 2 of 2, it answered 400 Bad Request; check the members"), "{text}");
    assert!(!text.contains("ticket-of-one"), "what a step was answered is a secret: {text}");
    let peer = Peer::answering(answer(200, "", "{}")).await;
    let text = attempt(steps, &peer).await.unwrap_err().text();
    assert!(
        text.contains("in step 1 of 2, it answered 200 OK, but not what this step is for: it holds no text"),
        "{text}"
    );
}

/// TL-37, and the attack K07: what a login is answered cannot bring another header or cookie with it.
#[tokio::test]
async fn values_cannot_be_injected() {
    let cases = [
        (r#"attach = { cookie = "sid" }"#, r#"{"access_token":"a; admin=1"}"#),
        (r#"attach = { header = "X", value = "{v}" }"#, r#"{"access_token":"T","v":"a\r\nX-Admin: 1"}"#),
        (r#"attach = { cookie = "sid", value = "{v}" }"#, r#"{"access_token":"T","v":"a;b"}"#),
    ];
    for (attach, body) in cases {
        let peer = Peer::answering(answer(200, "", body)).await;
        let values = if attach.contains("{v}") { "answer.values.v = \"v\"" } else { "" };
        let table = format!("url = \"$URL\"\n{attach}\n{values}");
        let config = config(&table, &peer);
        let CredentialKind::Login(login) = &config.kind else { panic!("it is a login") };
        let granted = attempt(&table, &peer).await.unwrap();
        let attached = Attached::of_token(&login.life.attach, &granted.value, &granted.further);
        assert!(attached.is_err(), "{body}: {attached:?}");
    }
}

/// TL-02, TL-03: who logs in by plain text tells tokens apart; a secret is only the proof.
#[tokio::test]
async fn a_login_is_told_apart_by_what_it_says_in_plain_text() {
    let peer = Peer::answering(answer(200, &format!("{SET_COOKIE}: a=b\r\n"), r#"{"access_token":"T"}"#)).await;
    let parts = parts(WALL_S);
    let identity = |table: &str| match Credential::new(&config(table, &peer), &parts) {
        Credential::Token(token) => token.identity,
        Credential::Fixed(_) | Credential::Signed(_) => panic!("it has a cell"),
    };
    let one = identity("url = \"$URL\"\njson = { user = \"one\", p = \"{password}\" }");
    assert_eq!(
        one,
        identity("url = \"$URL\"\njson = { user = \"one\", p = \"{password}\" }\nanswer.lifetime = \"ttl\"")
    );
    assert_ne!(one, identity("url = \"$URL\"\njson = { user = \"two\", p = \"{password}\" }"));
    assert_ne!(one, identity("url = \"$URL/2\"\njson = { user = \"one\", p = \"{password}\" }"));
}

/// `attache check --live` logs in once, and says what came of it.
#[tokio::test]
async fn a_login_is_probed() {
    for (status, body, granted) in
        [(200, r#"{"access_token":"planted-token","expires_in":300}"#, true), (401, "", false)]
    {
        let peer = Peer::answering(answer(status, "", body)).await;
        let config = config("url = \"$URL\"\njson = { p = \"{password}\" }", &peer);
        let report = live::probe(&config, &parts(WALL_S), live::MayRotate::No).await;
        assert_eq!(report.host, Some(peer.address.to_string()));
        assert_eq!(matches!(report.outcome, live::Outcome::Granted { lifetime: Some(_), .. }), granted);
        assert_eq!(report.likely_cause().is_some_and(|cause| cause.contains("`values` that log in")), !granted);
        assert!(!format!("{report:?}").contains("planted-token"));
        assert_eq!((report.said.len(), peer.requests().len()), (1, 1));
        let fetched = live::fetch(&config, &parts(WALL_S), live::MayRotate::No).await;
        assert_eq!(fetched.is_ok_and(|(token, _)| token.expose() == "planted-token"), granted);
    }
}

/// What a step was answered for a later one, and a secret in a URL, is hidden also where a server repeats it.
#[tokio::test]
async fn what_a_login_said_is_told_without_secrets() {
    let peer = Peer::start(|request| {
        Then::Answer(match request.split_once(' ').unwrap().0 {
            "GET" => answer(200, "x-ticket: planted-ticket\r\n", r#"{"code":"planted-code","status":"fine"}"#),
            _ => answer(
                400,
                "",
                r#"{"message":"no planted-ticket","title":"planted-code","detail":"pa/ss \"wörd\"","hint":"h"}"#,
            ),
        })
    })
    .await;
    let table = r#"
[[credentials.api.login.steps]]
method = "GET"
url = "$URL/sessions/{password}/x?lang=en&p={password}"
headers = { X-Version = "2" }
basic = { username = "{password}", password = "" }
answer.values = { ticket = { header = "X-Ticket" }, code = "code" }
[[credentials.api.login.steps]]
url = "$URL/two/{ticket}"
json = { client_id = "{password}", scope = "all", appid = "{code}" }"#;
    let report = live::probe(&config(table, &peer), &parts(WALL_S), live::MayRotate::No).await;
    let said: Vec<&str> = report.said.iter().flat_map(|told| &told.lines).map(String::as_str).collect();
    let said = said.join("\n");
    assert!(!said.contains("planted") && !said.contains("pa/ss") && !said.contains("rd\\\""), "{said}");
    let (begin, secret) = (format!("> GET http://{}/sessions", peer.address), mask("pa/ss \"wörd\""));
    let line = format!("{begin}/{secret}/x?lang=en&p={secret}\n");
    assert!(said.contains(&line), "no {line} in\n{said}");
    assert!(
        said.contains("> x-version: 2\n") && said.contains(&format!("> authorization: Basic {secret}:\n")),
        "{said}"
    );
    let line = format!("> POST http://{}/two/{}\n", peer.address, mask("planted-ticket"));
    assert!(said.contains(&line), "no {line} in\n{said}");
    for shown in ["< x-ticket: <14 bytes", "\"fine\"", "\"scope\": \"all\"", "\"hint\": \"h\"", "\"client_id\": \"<"] {
        assert!(said.contains(shown), "no {shown} in\n{said}");
    }
    assert_eq!(report.said.len(), 2);
}

/// What is declared to say what is wrong, a person reads where it stands, as in the last line.
#[tokio::test]
async fn a_declared_error_is_told_where_it_stands() {
    let peer = Peer::answering(answer(200, "", r#"{"code":7,"why":"ada is locked","other":"planted-other"}"#)).await;
    let table = r#"
url = "$URL"
json = { user = "ada", level = 7, p = "{password}" }
answer = { token = "token", success = { path = "code", equals = 0 }, error = "why" }"#;
    let report = live::probe(&config(table, &peer), &parts(WALL_S), live::MayRotate::No).await;
    let said: String = report.said.iter().flat_map(|told| &told.lines).map(|line| format!("{line}\n")).collect();
    for shown in ["\"user\": \"ada\"", "\"level\": \"7\"", "\"code\": 7", "\"why\": \"ada is locked\""] {
        assert!(said.contains(shown), "no {shown} in\n{said}");
    }
    assert!(!said.contains("planted"), "{said}");
    let live::Outcome::Failed { failure, .. } = &report.outcome else { panic!("{report:?}") };
    assert!(failure.cause.contains("says \"ada is locked\""), "{failure:?}");
}
