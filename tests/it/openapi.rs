//! `attache openapi`: the document of the aggregates, held to OpenAPI by openapi-spec-validator.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::{Peer, Proxy, Request, Watched, program};

const PYTHON: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/openapi/bin/python");
/// A configuration with what a document can have: see the unit test beside it.
const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/openapi/aggregates.toml");

fn attache_openapi(configuration: &Path) -> String {
    let mut command = Command::new(program());
    let output = command.arg("openapi").arg("--config").arg(configuration).output().expect("cargo builds it");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it is UTF-8")
}

fn validated(document: &str) -> Output {
    let folder = tempfile::tempdir().expect("there is room for a file");
    let file = folder.path().join("openapi.json");
    fs::write(&file, document).expect("there is room for a file");
    let mut command = Command::new(PYTHON);
    command.args(["-m", "openapi_spec_validator"]).arg(&file);
    command.output().unwrap_or_else(|error| panic!("{PYTHON}: {error}. ./test.sh makes its virtual environment"))
}

#[test]
fn the_document_of_aggregates_is_valid_openapi() {
    let document = attache_openapi(Path::new(CONFIGURATION));
    let output = validated(&document);
    assert!(output.status.success(), "{output:?}\n{document}");
    let mut document: Value = serde_json::from_str(&document).expect("it is JSON");
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["paths"].as_object().map(serde_json::Map::len), Some(2));
    // The validator finds what is wrong.
    document["paths"]["/customers/{id}/overview"]["get"]["responses"] = json!([]);
    assert!(!validated(&document.to_string()).status.success());
}

/// Without aggregates there is nothing to describe, and the document is valid nevertheless.
#[test]
fn a_configuration_without_aggregates_has_an_empty_document() {
    let folder = tempfile::tempdir().expect("there is room for a file");
    let file = folder.path().join("proxy.toml");
    fs::write(&file, "[[listeners]]\naddress = \"127.0.0.1:8080\"\n").expect("there is room for a file");
    let document = attache_openapi(&file);
    assert!(validated(&document).status.success(), "{document}");
    assert!(document.contains("\"paths\": {}"), "{document}");
}

/// Validates each answer by the schema of its path in the document: pairs of a pointer to an operation, and an answer.
const VALIDATE: &str = "
import json, sys
from jsonschema import Draft202012Validator
document, answers = (json.load(open(file)) for file in sys.argv[1:])
for operation, answer in answers:
    to = operation + '/responses/200/content/application~1json/schema'
    schema = {'$ref': '#/paths/' + to, 'paths': document['paths'], 'components': document['components']}
    for error in Draft202012Validator(schema).iter_errors(answer):
        sys.exit(f'{operation}: {error.json_path}: {error.message} in {json.dumps(answer)}')
";

const DESCRIBED: &str = r#"
[upstreams.shop]
url = "API"
[upstreams.crm]
url = "API/v2"
openapi = "ROOT/src/cli/openapi/crm.openapi.json"

[[routes]]
path = "/places/{id}"
clients = "anyone"
[routes.aggregate]
report = "body"
[routes.aggregate.parts]
profile = { upstream = "crm", path = "/customers/{id}", drop = ["secret"], on_failure = { value = { secret = "dropped" } } }
orders = { upstream = "crm", path = "/orders", target = "items", into = "shop.orders", pick = ["id", "lines.qty"], on_failure = "null" }
nulls = { upstream = "crm", path = "/customers/{item.customer.id}", for_each = "{orders}", on_failure = "null" }
values = { upstream = "crm", path = "/customers/{item.customer.id}", for_each = "{orders}", on_failure = { value = 7 } }
kept = { upstream = "crm", path = "/customers/{item.customer.id}", for_each = "{orders}", on_failure = "omit" }
maybe = { upstream = "crm", path = "/customers/9", when = "{query.maybe}" }
score = { upstream = "crm", path = "/customers/{id}", on_failure = { part = "spare" } }
spare = { upstream = "crm", path = "/orders", on_failure = "null" }
several = { upstream = "crm", path = "/customers/{item.id}", for_each = "{orders}", when = "{query.maybe}", on_failure = { value = 8 } }

[[routes]]
path = "/template/{id}"
methods = ["GET"]
clients = "anyone"
[routes.aggregate.answer]
name = "{profile.name}"
mail = "{profile.mail?}"
again = "{profile.name?}"
line = "{id}: {profile.name}, {query.line}"
sure = "{id}: {query.line|none}"
line_alone = "{query.line}"
page = "{query.page|1}"
first = "{orders.0.id}"
quantity = "{orders.0.lines.0.qty|0}"
orders_or_not = "{orders|none}"
list = ["{orders}", "{query.line}", "{header.x-tenant}"]
whole = "{profile}"
[routes.aggregate.parts]
profile = { upstream = "crm", path = "/customers/{id}", on_failure = "omit" }
orders = { upstream = "crm", path = "/orders", target = "items", when = "{profile}" }

[[routes]]
path = "/asked/{id}"
methods = ["POST"]
clients = "anyone"
[routes.aggregate]
answer = { title = "{request.title}", deep = "{request.a.b}", line = "{request.title}!", profile = "{profile}" }
parts.profile = { upstream = "crm", path = "/customers/{id}" }

[[routes]]
path = "/merged/{id}"
clients = "anyone"
[routes.aggregate]
collision = "last"
parts.profile = { upstream = "crm", path = "/customers/{id}", merge = true }
parts.extra = { upstream = "shop", path = "/extra", merge = true, on_failure = "omit" }
"#;

/// What the upstreams say, unless their path begins with what fails.
fn said(target: &str, failing: &str) -> Option<String> {
    if !failing.is_empty() && target.starts_with(failing) {
        return None;
    }
    let order = |id: u32| json!({ "id": id, "lines": [{ "sku": "A", "qty": 1.5, "cost": 2 }], "customer": { "id": id + 1, "secret": "s" } });
    match target.split_once("/customers/") {
        Some((_, id)) => Some(json!({ "id": id.parse::<u32>().unwrap(), "secret": "s", "name": null }).to_string()),
        None if target == "/extra" => Some(json!({ "id": "another" }).to_string()),
        None => Some(json!({ "items": [order(1), order(2)] }).to_string()),
    }
}

/// Whatever fails, what is answered is what the document describes; and what it does not require need not be asked.
#[test]
fn answers_are_as_the_document_says() {
    let failing = Arc::new(Watched::new(""));
    let fails = failing.clone();
    let api = Peer::start(move |connection| {
        while let Some(request) = Request::read_head(&mut connection.reader)? {
            let (status, body) = match said(&request.target, fails.look(|failing| *failing)) {
                Some(body) => (200, body),
                None => (500, String::new()),
            };
            let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n", body.len());
            connection.stream().write_all((head + &body).as_bytes())?;
        }
        Ok(())
    });
    let toml = DESCRIBED.replace("API", &format!("http://{}", api.address));
    let toml = toml.replace("ROOT", env!("CARGO_MANIFEST_DIR"));
    let toml = format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n{toml}");
    let proxy = Proxy::start(&toml);
    let mut answers = Vec::new();
    for fails in ["", "/v2/customers/2", "/v2/customers", "/v2/orders", "/extra"] {
        failing.update(|failing| *failing = fails);
        for (method, operation, target, body) in [
            ("GET", "~1places~1{id}/get", "/places/2", ""),
            ("GET", "~1places~1{id}/get", "/places/2?maybe=1", ""),
            ("GET", "~1template~1{id}/get", "/template/2", ""),
            ("GET", "~1template~1{id}/get", "/template/1?line=x&page=2", ""),
            ("POST", "~1asked~1{id}/post", "/asked/1", "{}"),
            ("POST", "~1asked~1{id}/post", "/asked/1", "[{}]"),
            ("POST", "~1asked~1{id}/post", "/asked/1", "{\"title\":[1],\"a\":2}"),
            ("GET", "~1merged~1{id}/get", "/merged/1", ""),
        ] {
            let headers = [("content-type", "application/json")];
            let answer = proxy.send(method, target, &headers, body.as_bytes());
            if answer.status == 200 {
                answers.push(json!([operation, answer.json()]));
            }
        }
    }
    assert_eq!(answers.len(), 33, "{answers:#?}");
    let folder = tempfile::tempdir().expect("there is room for a file");
    let [configuration, described, answered] =
        ["proxy.toml", "openapi.json", "answers.json"].map(|name| folder.path().join(name));
    fs::write(&configuration, toml).expect("there is room for a file");
    let document = attache_openapi(&configuration);
    assert!(validated(&document).status.success(), "{document}");
    fs::write(&described, &document).expect("there is room for a file");
    fs::write(&answered, Value::Array(answers).to_string()).expect("there is room for a file");
    let mut python = Command::new(PYTHON);
    let output = python.args(["-c", VALIDATE]).args([&described, &answered]).output().expect("it was there before");
    assert!(output.status.success(), "{}\n{document}", String::from_utf8_lossy(&output.stderr));
    // A template has null for what it misses, so that nothing is required of who asks.
    let document: Value = serde_json::from_str(&document).expect("it is JSON");
    let asked = &document["paths"]["/asked/{id}"]["post"]["requestBody"];
    let schema = json!({ "properties": { "title": {}, "a": { "properties": { "b": {} } } } });
    assert_eq!((&asked["required"], &asked["content"]["application/json"]["schema"]), (&json!(true), &schema));
    let parameters = document["paths"]["/template/{id}"]["get"]["parameters"].as_array().expect("there are some");
    let required = parameters.iter().filter(|parameter| parameter["required"] == true);
    assert_eq!(required.map(|parameter| &parameter["name"]).collect::<Vec<_>>(), ["id"]);
}
