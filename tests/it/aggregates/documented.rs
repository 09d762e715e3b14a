//! The examples of docs/aggregates.md and README.md, run: each route asked as a reader would ask it, of an API that answers
//! what the pages say.

use std::fs;
use std::io::{self, Write as _};

use serde_json::{Value, json};

use crate::support::{Peer, Proxy, Request};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// What the pages print for customer 7.
const OVERVIEW: &str = r#"{"profile":{"id":7,"number":"C-0007","name":"Ada"},"orders":[{"order":1,"total":12.50}]}"#;

/// The proxy.toml examples of a page that have an aggregate.
fn examples(page: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("{ROOT}/{page}")).unwrap();
    let blocks = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.filter(|block| block.contains("aggregate.parts")).collect()
}

/// The API that all their upstreams are.
fn start() -> Peer {
    Peer::start(|connection| {
        while let Some(mut request) = Request::read_head(&mut connection.reader)? {
            request.read_body(&mut connection.reader)?;
            let (status, body) = said(&request);
            write!(
                connection.stream(),
                "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
        }
        io::Result::Ok(())
    })
}

fn said(request: &Request) -> (u16, String) {
    let target = request.target.strip_prefix("/v2").unwrap_or(&request.target);
    let body = match (&*request.method, target) {
        ("GET", "/customers/7") => r#"{"id":7,"number":"C-0007","name":"Ada"}"#.to_owned(),
        ("GET", "/orders?customer=C-0007") => r#"[{"order":1,"total":12.50}]"#.to_owned(),
        ("GET", "/customers/8") => {
            r#"{"id":8,"number":"C-0008","kind":"company","company":3,"internal":true}"#.to_owned()
        }
        ("GET", "/scores/8") => r#"{"score":5}"#.to_owned(),
        ("GET", "/companies/3") => r#"{"name":"Acme"}"#.to_owned(),
        ("GET", "/orders?customer=C-0008&state=open") => r#"{"items":[{"parcel":1}],"next_cursor":"c 2"}"#.to_owned(),
        ("GET", "/orders?customer=C-0008&state=open&cursor=c%202") => {
            r#"{"items":[{"parcel":2},{"parcel":3}]}"#.to_owned()
        }
        ("GET", "/parcels/1" | "/parcels/3") => r#"{"sent":true}"#.to_owned(),
        ("GET", "/orders?customer=8") => r#"{"orders":[
            {"id":1,"state":"open","paid":1,"lines":[{"sku":"A","qty":2,"price":1}]},
            {"id":2,"state":"closed","lines":[]}]}"#
            .to_owned(),
        ("POST", "/search") => {
            let asked: Value = serde_json::from_slice(&request.body).expect("a part's body is JSON");
            json!({ "name": "Ada", "asked": asked }).to_string()
        }
        ("GET", "/customers/8/score") => return (503, "{}".to_owned()),
        _ => return (404, "{}".to_owned()),
    };
    (200, body)
}

fn run(example: &str, api: &Peer) -> Proxy {
    let url = format!("http://{}", api.address);
    let toml = example
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("https://api.crm.example", &url)
        .replace("https://api.shop.example", &url)
        .replace("https://cache.example", &url);
    assert!(!toml.contains("https://"), "{toml}");
    Proxy::start_with(&toml, &[("CRM_TOKEN", "a-token-of-the-crm")])
}

/// What the page prints for the orders of customer 8, of which a parcel is not there: the report, and the answer.
const ORDERS: [&str; 2] = [
    r#"parcels;status=404;error="upstream_status";items=1"#,
    r#"{"company":{"name":"Acme"},"orders":[{"parcel":1},{"parcel":2},{"parcel":3}],"parcels":[{"sent":true},{"sent":true}]}"#,
];

#[test]
fn the_examples_do_what_their_page_says() {
    let api = start();
    let examples = examples("docs/aggregates.md");
    let asked = [
        ("GET", "/customers/7/overview", "", None),
        (
            "GET",
            "/customers/8",
            "",
            Some(json!({
                "profile": { "id": 8, "number": "C-0008", "kind": "company", "company": 3, "internal": true },
                "score": { "score": 5 },
                "_parts": { "score": { "error": "upstream_status", "status": 503 } },
            })),
        ),
        (
            "GET",
            "/customers/8/orders?state=open",
            "",
            Some(json!({
                "company": { "name": "Acme" },
                "orders": [{ "parcel": 1 }, { "parcel": 2 }, { "parcel": 3 }],
                "parcels": [{ "sent": true }, { "sent": true }],
            })),
        ),
        (
            "GET",
            "/customers/8",
            "",
            Some(json!({
                "id": 8, "number": "C-0008", "kind": "company", "company": 3,
                "shop": { "orders": [{ "id": 1, "lines": [{ "sku": "A", "quantity": 2 }] }] },
            })),
        ),
        (
            "POST",
            "/cards",
            r#"{"customer":8,"title":"M.A."}"#,
            Some(json!({
                "name": "Ada", "line": "Ada, M.A.",
                "profile": { "name": "Ada", "asked": { "customer": 8, "fields": ["name", "mail"] } },
            })),
        ),
    ];
    assert_eq!(examples.len(), asked.len());
    for (example, (method, target, body, expected)) in examples.iter().zip(asked) {
        let headers = [("content-type", "application/json"), ("x-api-key", "test")];
        let answer = run(example, &api).send(method, target, &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        match expected {
            Some(expected) => assert_eq!(answer.json(), expected, "{target}"),
            None => assert_eq!(answer.text(), OVERVIEW),
        }
    }
}

#[test]
fn the_page_prints_what_is_said_of_an_item_that_failed() {
    let api = start();
    let [report, body] = ORDERS;
    let page = fs::read_to_string(format!("{ROOT}/docs/aggregates.md")).unwrap();
    assert!(page.contains(&format!("Attache-Parts: {report}\n\n{body}\n")));
    let example = examples("docs/aggregates.md").into_iter().find(|example| example.contains("for_each")).unwrap();
    let answer = run(&example, &api).get("/customers/8/orders?state=open");
    assert_eq!((answer.headers.get("attache-parts"), &*answer.text()), (Some(report), body));
}

#[test]
fn the_pages_print_what_is_answered() {
    let api = start();
    for page in ["README.md", "docs/aggregates.md"] {
        assert!(fs::read_to_string(format!("{ROOT}/{page}")).unwrap().contains(OVERVIEW), "{page}");
    }
    let examples = examples("README.md");
    assert_eq!(examples.len(), 1);
    assert_eq!(run(&examples[0], &api).get("/customers/7/overview").text(), OVERVIEW);
}
