//! What real token endpoints answer, each with what is to be concluded from it: tests/token-endpoint-quirks.json, by the whole way
//! from a proxy.toml to the header that an API gets.

mod notes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::answer::date;
use super::endpoint::tests::{Peer, answer};
use super::live::{MayRotate, Outcome, probe};
use super::oauth2::OAuth2;
use super::oauth2::tests::parts;
use super::{Attachment, Credential, Parts};
use crate::clock::{Clock, ManualClock, timer_now};
use crate::config::{self, CredentialKind, Environment, Load, load_text};
use crate::secret::Secret;
use crate::token::{Attached, Exchange, FetchErrorKind, TokenCache};

/// With everything that an encoding could break.
const SECRET: &str = "s3cret+/=:x";

fn text<'a>(quirk: &'a Value, name: &str) -> Option<&'a str> {
    quirk.get(name).and_then(Value::as_str)
}

/// What has to be shown of an entry.
fn demands(quirk: &Value) -> BTreeSet<&str> {
    let told = |name: &&String| name.starts_with("expect_") || *name == "note";
    quirk.as_object().expect("an entry is an object").keys().filter(told).map(String::as_str).collect()
}

/// The keys of proxy.toml that an entry takes.
fn keys(quirk: &Value) -> String {
    let mut keys = String::new();
    for (key, value) in quirk.get("config").and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().expect("it is text");
        match key.as_str() {
            "token" | "lifetime" | "lifetime_unit" | "lifetime_format" => {
                keys += &format!("answer.{key} = \"{value}\"\n")
            }
            // Lifetimes are looked for beside the token.
            "root" => keys += &format!("answer.token = \"{value}.access_token\"\n"),
            "success" => {
                let strict = value.split_once(" = ").map(|(path, equals)| (path, equals, false));
                let lenient = || value.split_once(" absent or ").map(|(path, equals)| (path, equals, true));
                let (path, equals, or_absent) = strict.or_else(lenient).expect("a member, and what it is");
                keys +=
                    &format!("answer.success = {{ path = \"{path}\", equals = {equals}, or_absent = {or_absent} }}\n");
            }
            other => panic!("unknown key {other}"),
        }
    }
    match text(quirk, "expect_header").and_then(|header| header.split_once(": ")) {
        Some((name, _)) if name != "Authorization" => keys += &format!("attach = {{ header = \"{name}\" }}\n"),
        _ => {}
    }
    if text(quirk, "expect_base_url").is_some() {
        keys += "answer.base_urls.instance_url = [\"*.my.salesforce.com\"]\n";
    }
    let cookies = cookies(quirk);
    if let [first, ..] = cookies.as_slice() {
        let attach: Vec<_> =
            cookies.iter().map(|name| format!("{{ cookie = \"{name}\", value = \"{{{name}}}\" }}")).collect();
        keys += &format!("attach = [{}]\nanswer.token = {{ cookie = \"{first}\" }}\n", attach.join(", "));
        keys.extend(cookies.iter().map(|name| format!("answer.values.{name} = {{ cookie = \"{name}\" }}\n")));
    }
    keys
}

/// The names of the cookies that the credential is made of.
fn cookies(quirk: &Value) -> Vec<&str> {
    let names = quirk.get("expect_cookies").and_then(Value::as_array).into_iter().flatten();
    names.map(|name| name.as_str().expect("it is text")).collect()
}

fn credential(peer: &Peer, quirk: &Value) -> Arc<config::Credential> {
    let (url, keys) = (peer.url("/token"), keys(quirk));
    let is_login = text(quirk, "grant").is_some_and(|grant| grant.contains("login"));
    let table = if is_login {
        format!(
            "login]\nurl = \"{url}\"\nvalues.secret = {{ env = \"SECRET\" }}\njson = {{ Password = \"{{secret}}\" }}\n{keys}"
        )
    } else {
        format!(
            "client_credentials]\ntoken_url = \"{url}\"\nclient_id = \"a:b\"\nclient_secret = {{ env = \"SECRET\" }}\n{keys}"
        )
    };
    // Only a value that an upstream names is held to its list.
    let upstream = match text(quirk, "expect_base_url") {
        Some(_) => "[upstreams.quirk]\nurl = \"{instance_url}\"\ncredential = \"quirk\"\n",
        None => "",
    };
    configured(&format!("[credentials.quirk.{table}{upstream}"))
}

/// The only credential of a configuration.
fn configured(toml: &str) -> Arc<config::Credential> {
    let toml = format!("[[listeners]]\naddress = \"127.0.0.1:8080\"\n{toml}");
    let variables = [("SECRET", SECRET), ("SEED", "the-stored-one")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment = Environment(BTreeMap::from(variables));
    let loaded = load_text(Path::new("proxy.toml"), &toml, &environment, Load::Full);
    loaded.unwrap_or_else(|problems| panic!("{problems}")).config.credentials.remove(0)
}

/// What the local clock shows: the answer's `Date`, or an hour before the time that is expected.
fn wall(quirk: &Value, headers: &http::HeaderMap) -> SystemTime {
    let absolute =
        text(quirk, "expect_absolute").map(|text| SystemTime::from(text.parse::<jiff::Timestamp>().unwrap()));
    let epoch = quirk.get("expect_absolute_epoch").and_then(Value::as_u64);
    let absolute = absolute.or(epoch.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds)));
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    absolute.map(|absolute| absolute - Duration::from_secs(3600)).or(date(headers)).unwrap_or(now)
}

fn parts_at(wall: SystemTime) -> Parts {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(wall));
    let tokens = TokenCache::new(clock.clone(), tokio::runtime::Handle::current());
    Parts { clock, tokens, ..parts() }
}

fn headers(quirk: &Value) -> http::HeaderMap {
    let own = ["content-type", text(quirk, "content_type").expect("it has one")];
    let more = quirk.get("headers").and_then(Value::as_array).into_iter().flatten();
    let more = more.map(|pair| [pair[0].as_str().expect("a name"), pair[1].as_str().expect("a value")]);
    std::iter::once(own)
        .chain(more)
        .map(|[name, value]| (name.parse::<http::HeaderName>().unwrap(), value.parse::<http::HeaderValue>().unwrap()))
        .collect()
}

/// The header that an API gets.
fn sent(attachment: &Attachment) -> String {
    let text = |value: &http::HeaderValue| value.to_str().expect("it is text").to_owned();
    if let Some((name, value)) = attachment.attached().and_then(Attached::first_header) {
        return format!("{name}: {}", text(value));
    }
    let cookies = attachment.attached().and_then(Attached::rest).and_then(|rest| rest.cookies.as_ref());
    format!("cookie: {}", text(&cookies.expect("something is attached").pairs))
}

/// The header that it is to get.
fn expected(quirk: &Value) -> String {
    if let Some((name, value)) = text(quirk, "expect_header").and_then(|header| header.split_once(": ")) {
        return format!("{}: {value}", name.to_ascii_lowercase());
    }
    let set: Vec<String> = headers(quirk)
        .get_all("set-cookie")
        .iter()
        .map(|value| value.to_str().expect("it is text").split(';').next().unwrap_or_default().to_owned())
        .collect();
    if !cookies(quirk).is_empty() {
        assert!(cookies(quirk).iter().zip(&set).all(|(name, set)| set.starts_with(&format!("{name}="))), "{set:?}");
        return format!("cookie: {}", set.join("; "));
    }
    let body = || serde_json::from_str::<Value>(text(quirk, "body").unwrap()).unwrap();
    let token = match (text(quirk, "expect_token"), text(quirk, "expect_token_is")) {
        (Some(token), None) => token.to_owned(),
        (None, Some("the jwt")) => body()["jwt"].as_str().expect("it is text").to_owned(),
        other => panic!("no token is expected: {other:?}"),
    };
    format!("authorization: Bearer {token}")
}

/// Runs an entry; returns what of it was shown.
async fn run(quirk: &Value) -> BTreeSet<&'static str> {
    let provider = text(quirk, "provider").expect("it has one");
    let headers = headers(quirk);
    let head: String = headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect();
    let status = quirk["status"].as_u64().expect("it has one") as u16;
    let peer = Peer::answering(answer(status, &head, text(quirk, "body").expect("it has one"))).await;
    let config = credential(&peer, quirk);
    let parts = parts_at(wall(quirk, &headers));

    let mut shown = BTreeSet::new();
    match provider {
        "Figma" => notes::the_refresh_token_is_kept(quirk).await,
        "Walmart" => notes::json_is_asked_for(quirk).await,
        _ => {}
    }
    if matches!(provider, "Figma" | "Walmart") {
        shown.insert("note");
    }

    if let Some(expected) = text(quirk, "expect_error") {
        let Outcome::Failed { failure, .. } = probe(&config, &parts, MayRotate::No).await.outcome else {
            panic!("{provider}: it is an error");
        };
        assert!(failure.text().contains(expected), "{provider}: {}", failure.text());
        let transient = quirk.get("expect_transient").is_some();
        assert_eq!(failure.kind == FetchErrorKind::Transient, transient, "{provider}");
        shown.extend(["expect_error", "expect_transient"]);
        return shown;
    }
    shown.extend(["expect_token", "expect_token_is", "expect_header", "expect_cookies"]);
    if let (Some(expected), CredentialKind::OAuth2(grant)) = (text(quirk, "expect_refresh_token"), &config.kind) {
        let exchange = Exchange::new(Secret::new("the-one-before"));
        let deadline = timer_now() + Duration::from_secs(10);
        OAuth2::new(grant, &parts).attempt(deadline, Some(&exchange)).await.expect("a token is granted");
        assert_eq!(exchange.take_received(), Some(Secret::new(expected)), "{provider}");
        shown.insert("expect_refresh_token");
    }

    let running = Credential::new(&config, &parts);
    let attachment = running.take(Duration::from_secs(10)).await;
    let attachment = attachment.unwrap_or_else(|error| panic!("{provider}: {error:?}"));
    assert_eq!(sent(&attachment), expected(quirk), "{provider}");

    if let Some(expected) = text(quirk, "expect_base_url") {
        assert_eq!(attachment.base_url("instance_url").map(ToString::to_string).as_deref(), Some(expected));
        // A person who asks sees it, and not the token.
        let told = probe(&config, &parts, MayRotate::Yes).await.said;
        let told: Vec<String> = told.into_iter().flat_map(|told| told.lines).collect();
        assert!(told.iter().any(|line| line.contains(&format!("\"instance_url\": \"{expected}\""))), "{told:?}");
        assert!(!told.iter().any(|line| line.contains("\"access_token\": \"T\"")), "{told:?}");
        shown.insert("expect_base_url");
    }

    let Credential::Token(cell) = &running else { panic!("it is fetched") };
    let absolute = quirk.get("expect_absolute").or(quirk.get("expect_absolute_epoch")).map(|_| 3600);
    let expected = absolute.or(quirk.get("expect_life_s").and_then(Value::as_u64));
    let life = cell.cell.status().expires_in.map(|life| life.as_secs_f64().round() as u64);
    assert_eq!(life, expected, "{provider}");
    shown.extend(["expect_life_s", "expect_absolute", "expect_absolute_epoch"]);

    if provider.starts_with("Identity server that wants the encoded") {
        let pair = STANDARD.encode("a%3Ab:s3cret%2B%2F%3D%3Ax");
        let request = peer.requests().pop().expect("it was asked");
        assert!(request.contains(&format!("authorization: Basic {pair}\r\n")), "{request}");
        shown.insert("note");
    }
    shown
}

/// TL-10, TL-12, TL-32, TL-37: every entry leads to its token, its lifetime and the header that is sent, or to the error's text.
#[tokio::test]
async fn the_answers_of_real_servers_are_read_as_they_are_meant() {
    let quirks: Vec<Value> = serde_json::from_str(include_str!("../../tests/token-endpoint-quirks.json")).unwrap();
    let mut open = Vec::new();
    for quirk in &quirks {
        let shown = run(quirk).await;
        let provider = text(quirk, "provider").expect("it has one").to_owned();
        let left = demands(quirk).into_iter().filter(|demand| !shown.contains(demand));
        open.extend(left.map(|demand| format!("{provider}: {demand}")));
    }
    assert_eq!(open, Vec::<String>::new(), "what is not shown of an entry");
    assert_eq!(quirks.len(), 29);
}
