//! Aggregates over real APIs, npm's json-server: three at once, each with a token of its own.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Answer, Process, Proxy, send};

struct Apis {
    process: Process,
    urls: Value,
}

impl Apis {
    fn start() -> Apis {
        let mut command = Command::new("node");
        command.arg("server.mjs").current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/json-server"));
        let process = Process::spawn(command, "./test.sh installs node and, with `npm ci`, json-server");
        let line = process.wait_for_line("the URLs", |line| line.starts_with('{'));
        Apis { process, urls: serde_json::from_str(&line).expect("it prints JSON") }
    }

    fn url(&self, name: &str) -> &str {
        self.urls[name].as_str().unwrap_or_else(|| panic!("there is {name}"))
    }

    /// A proxy in front of them all, with this route.
    fn proxy(&self, route: &str) -> Proxy {
        let mut toml = "[[listeners]]\naddress = \"127.0.0.1:0\"\n".to_owned();
        let mut variables = Vec::new();
        for name in ["crm", "shop", "billing"] {
            let variable = format!("TOKEN_OF_{name}");
            toml += &format!("[credentials.{name}.bearer]\ntoken = {{ env = \"{variable}\" }}\n");
            toml += &format!("[upstreams.{name}]\nurl = \"{}\"\ncredential = \"{name}\"\n", self.url(name));
            variables.push((variable, format!("token-of-{name}")));
        }
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Proxy::start_with(&format!("{toml}[[routes]]\nclients = \"anyone\"\n{route}"), &variables)
    }

    /// What an API says to whoever has its token.
    fn ask(&self, name: &str, target: &str) -> Answer {
        let address = self.url(name).trim_start_matches("http://").parse().expect("an address");
        send(address, "GET", target, &[("authorization", &format!("Bearer token-of-{name}"))], b"")
    }
}

const OVERVIEW: &str = r#"
path = "/customers/{id}/overview"
[routes.aggregate.parts.profile]
upstream = "crm"
path = "/customers/{id}"
on_failure = { status = "own" }
[routes.aggregate.parts.orders]
upstream = "shop"
path = "/orders?customer={profile.number}"
on_failure = { value = [] }
[routes.aggregate.parts.account]
upstream = "billing"
path = "/accounts/{profile.number}"
on_failure = "null"
"#;

/// Three APIs, three tokens, one document; what each said stands in it byte for byte.
#[test]
fn one_answer_of_three_apis() {
    let apis = Apis::start();
    let proxy = apis.proxy(OVERVIEW);
    let answer = proxy.get("/customers/7/overview");
    let [profile, orders, account] =
        [("crm", "/customers/7"), ("shop", "/orders?customer=C-7"), ("billing", "/accounts/C-7")]
            .map(|(name, target)| apis.ask(name, target).text());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text(), format!("{{\"profile\":{profile},\"orders\":{orders},\"account\":{account}}}"));
    assert_eq!(answer.headers.get("content-type"), Some("application/json"));
    assert_eq!(answer.headers.get("attache-parts"), None);
}

/// A value is escaped for where it stands, and what is missing in one API is what the configuration says.
#[test]
fn a_number_with_a_slash_stays_one_segment_and_one_value() {
    let apis = Apis::start();
    let proxy = apis.proxy(OVERVIEW);
    let answer = proxy.get("/customers/8/overview");
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!(body["orders"].as_array().map(Vec::len), Some(2), "{body}");
    assert_eq!(body["orders"][0]["customer"], "C/8 & co");
    assert_eq!(body["account"], Value::Null);
    let report = answer.headers.get("attache-parts").expect("it says that a part failed");
    assert!(report.starts_with("account;") && report.contains("status=404"), "{report}");
}

#[test]
fn a_required_part_fails_with_its_own_status_where_that_is_asked_for() {
    let apis = Apis::start();
    let answer = apis.proxy(OVERVIEW).get("/customers/9/overview");
    assert_eq!(answer.status, 404, "{answer:?}");
    assert_eq!(answer.json()["part"], "profile");
}

/// json-server's own `Link` fields, and its page numbers.
#[test]
fn pages_are_followed_and_joined() {
    let apis = Apis::start();
    let all = apis.ask("shop", "/orders").json();
    for pages in ["{ link = true }", "{ number = \"_page\" }"] {
        let first = if pages.contains("link") { "_page=1&_limit=3" } else { "_limit=3" };
        let route = format!(
            "path = \"/all\"\n[routes.aggregate.parts.orders]\nupstream = \"shop\"\npath = \"/orders?{first}\"\npages = {pages}\n"
        );
        let answer = apis.proxy(&route).get("/all");
        assert_eq!((answer.status, &answer.json()["orders"]), (200, &all), "{pages}: {answer:?}");
    }
    let cut = "path = \"/all\"\n[routes.aggregate.parts.orders]\nupstream = \"shop\"\npath = \"/orders?_page=1&_limit=3\"\n\
               pages = { link = true, pages_max = 2 }\n";
    let answer = apis.proxy(cut).get("/all");
    assert_eq!(answer.json()["orders"].as_array().map(Vec::len), Some(6), "{answer:?}");
    assert!(answer.headers.get("attache-parts").is_some_and(|report| report.contains("truncated")), "{answer:?}");
}

/// A call for each item, in the order of the list.
#[test]
fn each_order_brings_its_product() {
    let apis = Apis::start();
    let proxy = apis.proxy(
        r#"
path = "/customers/{id}/products"
[routes.aggregate]
answer = { name = "{profile.name}", products = "{products}" }
[routes.aggregate.parts.profile]
upstream = "crm"
path = "/customers/{id}"
[routes.aggregate.parts.orders]
upstream = "shop"
path = "/orders"
query = { customer = "{profile.number}" }
[routes.aggregate.parts.products]
upstream = "shop"
path = "/products/{item.product}"
for_each = "{orders}"
pick = ["id"]
"#,
    );
    let answer = proxy.get("/customers/7/products");
    let ids: Vec<Value> = apis.ask("shop", "/orders?customer=C-7").json().as_array().unwrap().clone();
    let wanted: Vec<Value> = ids.iter().map(|order| json!({ "id": order["product"] })).collect();
    assert_eq!((answer.status, answer.json()), (200, json!({ "name": "Ada", "products": wanted })), "{answer:?}");
}

/// The request's JSON goes into the part's, with its types.
#[test]
fn a_part_posts_what_the_request_and_another_part_say() {
    let apis = Apis::start();
    let proxy = apis.proxy(
        r#"
path = "/customers/{id}/notes"
methods = ["POST"]
[routes.aggregate.parts.profile]
upstream = "crm"
path = "/customers/{id}"
hidden = true
[routes.aggregate.parts.note]
upstream = "crm"
path = "/notes"
body = { customer = "{profile.id}", text = "for {profile.name}: {request.text}", tags = "{request.tags}" }
"#,
    );
    let body = json!({ "text": "quote \" and \\", "tags": [1, { "a": true }] }).to_string();
    let headers = [("content-type", "application/json")];
    let answer = send(proxy.address(), "POST", "/customers/7/notes", &headers, body.as_bytes());
    let note = json!({ "id": 1, "customer": 7, "text": "for Ada: quote \" and \\", "tags": [1, { "a": true }] });
    assert_eq!((answer.status, answer.json()), (200, json!({ "note": note })), "{answer:?}");
    assert_eq!(apis.ask("crm", "/notes/1").json(), note);
}

/// What the APIs' end leaves of an answer.
#[test]
fn when_the_apis_are_gone_the_required_part_says_so() {
    let apis = Apis::start();
    let proxy = apis.proxy(OVERVIEW);
    assert_eq!(proxy.get("/customers/7/overview").status, 200);
    drop(apis.process);
    let answer = proxy.get("/customers/7/overview");
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!((&answer.json()["part"], &answer.json()["fault"]), (&json!("profile"), &json!("upstream")));
}
