use super::*;
use crate::config::{Environment, Load, load};

const FILE: &str = r#"
    [[listeners]]
    address = "127.0.0.1:8080"
    [clients.billing.key]
    sha256 = ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
    [credentials.crm.client_credentials]
    token_url = "https://login.example/token"
    client_id = "attache"
    client_secret = { env = "SECRET" }
    [credentials.people.token_exchange]
    token_url = "https://login.example/token"
    subject_token = { header = "X-Subject-Token", clients = ["billing"] }
    [upstreams.people]
    url = "https://people.example"
    credential = "people"
    [[routes]]
    path = "/people/{*rest}"
    upstream = "people"
    clients = ["billing"]
    [credentials.maps.api_key]
    query = "key"
    value = { env = "SECRET" }
    [upstreams.crm]
    url = "https://api.crm.example/v2"
    credential = "crm"
    [upstreams.maps]
    url = "https://maps.example"
    credential = "maps"
    [credentials.shop.api_key]
    header = "X-Shop-Key"
    value = { env = "SECRET" }
    [upstreams.shop]
    url = "https://shop.example"
    credential = "shop"
    forwarded = true
    [[credentials.metrics.api_key]]
    header = "DD-API-KEY"
    value = { env = "SECRET" }
    [[credentials.metrics.api_key]]
    header = "DD-APPLICATION-KEY"
    value = { env = "SECRET" }
    [[credentials.metrics.api_key]]
    query = "key"
    value = { env = "SECRET" }
    [[credentials.metrics.api_key]]
    query = "token"
    value = { env = "SECRET" }
    [[credentials.metrics.api_key]]
    cookie = "sid"
    value = { env = "SECRET" }
    [credentials.files.aws_sigv4]
    access_key_id = "AKIDEXAMPLE"
    secret_access_key = { env = "SECRET" }
    region = "eu-central-1"
    service = "s3"
    [upstreams.files]
    url = "https://files.example"
    credential = "files"
    [[routes]]
    path = "/files/{*rest}"
    upstream = "files"
    clients = "anyone"
    [credentials.exchange.hmac]
    key = { env = "SECRET" }
    key_encoding = "hex"
    string_to_sign = "{timestamp}{target}"
    secrets = { key_id = { env = "SECRET" } }
    headers = { X-Key = "{key_id}", X-Time = "{timestamp}" }
    query = { sig = "v1={signature}" }
    [upstreams.exchange]
    url = "https://exchange.example"
    credential = "exchange"
    [[routes]]
    path = "/exchange/{*rest}"
    upstream = "exchange"
    clients = "anyone"
    [credentials.bank.client_credentials]
    token_url = "https://login.example/token"
    client_id = "attache"
    client_secret = { env = "SECRET" }
    dpop = true
    [upstreams.bank]
    url = "https://bank.example"
    credential = "bank"
    [[routes]]
    path = "/bank/{*rest}"
    upstream = "bank"
    clients = "anyone"
    [credentials.store.jwt]
    secret = { env = "SECRET" }
    key_id = "k7"
    [upstreams.store]
    url = "https://store.example"
    credential = "store"
    [[routes]]
    path = "/store/{*rest}"
    upstream = "store"
    clients = "anyone"
    [upstreams.metrics]
    url = "https://metrics.example"
    credential = "metrics"
    [[routes]]
    path = "/metrics/{*rest}"
    upstream = "metrics"
    clients = "anyone"
    [[routes]]
    path = "/session/{*rest}"
    upstream = "metrics"
    clients = "anyone"
    cookies = true
    [[routes]]
    path = "/orders/{id}"
    upstream = "shop"
    upstream_path = "/v1/order/{id}/full"
    clients = "anyone"
    redact_bodies = false
    [[routes]]
    path = "/crm/{*rest}"
    upstream = "crm"
    clients = ["billing"]
    request_headers = { set = { X-Team = "billing" }, remove = ["X-Debug"] }
    [[routes]]
    path = "/maps/{*rest}"
    methods = ["GET"]
    upstream = "maps"
    clients = "anyone"
    cookies = true
"#;

fn ask(method: &str, url: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.toml");
    std::fs::write(&file, FILE).unwrap();
    let loaded = load(&file, &Environment::default(), Load::WithoutSecrets).unwrap();
    let method = method.parse().map_err(|_| "no method".to_owned())?;
    explain(&loaded.config, method, url.parse()?).map_err(|failure| match failure {
        Failure::Failed(why) => why,
        Failure::Invalid(problems) => problems.to_string(),
    })
}

#[test]
fn a_bound_token_has_a_proof_beside_it() {
    let text = ask("GET", "http://localhost:8080/bank/x").unwrap();
    for line in
        ["             authorization: DPoP <token of bank>\n", "             dpop: <proof of the key of bank>\n"]
    {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn a_request_is_followed_to_its_upstream() {
    let text = ask("POST", "http://localhost:8080/crm/customers/7%2F8?page=2#top").unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..10],
        [
            "route        /crm/{*rest}",
            "matches      /crm/{*rest}",
            "may call     billing, with a key as `Authorization: Bearer`, `X-Api-Key` or Basic password",
            "upstream     crm",
            "sends        POST https://api.crm.example/v2/customers/7%2F8?page=2",
            "             host: api.crm.example",
            "             accept-encoding: identity",
            "             authorization: Bearer <token of crm>",
            "             via: 1.1 and a pseudonym that is drawn at each start",
            "             x-team: billing",
        ]
    );
    assert_eq!(lines[10], "credential   crm: client credentials of attache at https://login.example/token");
    assert_eq!(
        lines[11],
        "keeps back   Authorization, Proxy-Authorization, X-Api-Key, DPoP, Cookie, Forwarded, X-Forwarded-*, \
         X-Real-IP, X-Original-URL, X-Rewrite-URL, hop-by-hop headers, names with `_`, x-debug, x-subject-token"
    );
}

#[test]
fn a_key_in_a_header_and_a_template_are_filled_in() {
    let text = ask("GET", "/orders/7%2F8?a=1").unwrap();
    let sends = "sends        GET https://shop.example/v1/order/7%2F8/full?a=1\n             host: shop.example\n";
    assert!(text.contains(sends), "{text}");
    assert!(text.contains("\n             x-shop-key: <shop>\n"), "{text}");
    assert!(text.contains("\n             forwarded, x-forwarded-*: the client's address"), "{text}");
    assert!(
        text.contains("names with `_`, x-shop-key, x-subject-token\n") && !text.contains("accept-encoding"),
        "{text}"
    );
}

/// SEC-10: the client's own parameter of the credential's name goes, in whatever encoding.
#[test]
fn a_key_in_the_query_stands_in_for_the_clients_own() {
    let text = ask("GET", "/maps/geo?a=1&key=mine&%6bey=mine&b=").unwrap();
    assert!(text.contains("\nsends        GET https://maps.example/geo?a=1&b=&key=<maps>\n"), "{text}");
    assert!(text.contains("\nmay call     anyone\n"), "{text}");
    assert!(!text.contains("mine") && !text.contains("Cookie,"), "{text}");
    assert!(!text.contains("if rejected"), "{text}");
}

#[test]
fn several_keys_are_shown_each_in_its_place() {
    let text = ask("GET", "/metrics/x?token=mine&a=1&k%65y=mine").unwrap();
    for line in [
        "sends        GET https://metrics.example/x?a=1&key=<metrics>&token=<metrics>",
        "             cookie: sid=<metrics>",
        "             dd-api-key: <metrics>",
        "             dd-application-key: <metrics>",
        "credential   metrics: 5 fixed keys",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} in {text}");
    }
    let kept_back = "names with `_`, dd-api-key, dd-application-key, x-subject-token, the query parameter key, the query parameter token\n";
    assert!(text.contains(kept_back) && text.contains(" Cookie,") && !text.contains("mine"), "{text}");
    let text = ask("GET", "/session/x").unwrap();
    assert!(text.contains("\n             cookie: sid=<metrics>; the client's own\n"), "{text}");
    assert!(text.contains(", the cookie sid\n") && !text.contains(" Cookie,"), "{text}");
}

/// SEC-10: who may say on whose behalf it calls, where, and that it goes no further, to no upstream.
#[test]
fn a_token_for_each_subject_is_shown_as_one() {
    let text = ask("GET", "/people/ada").unwrap();
    for line in [
        "             authorization: Bearer <token of people>",
        "credential   people: token exchange at https://login.example/token, for the subject whose token comes in \
         x-subject-token, which only billing may set",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} in {text}");
    }
    assert!(text.contains(", x-subject-token\n"), "{text}");
}

/// What is signed has no value yet: its placeholders are shown.
#[test]
fn signatures_are_shown_in_the_words_of_their_configuration() {
    for (url, lines) in [
        (
            "/files/a?X-Amz-Signature=mine&b",
            &[
                "sends        GET https://files.example/a?b",
                "             authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/<date>/eu-central-1/s3/aws4_request, \
                 SignedHeaders=<names>, Signature=<signature>",
                "             x-amz-date: <timestamp>",
                "credential   files: AWS Signature Version 4 of AKIDEXAMPLE, for s3 in eu-central-1",
            ][..],
        ),
        (
            "/exchange/a?sig=mine&b",
            &[
                "sends        GET https://exchange.example/a?b&sig=v1=<signature>",
                "             x-key: <key_id>",
                "             x-time: <timestamp>",
                "credential   exchange: an HMAC over \"<timestamp><target>\"",
            ],
        ),
        (
            "/store/a",
            &[
                "             authorization: Bearer <token>",
                "credential   store: a token that is signed with HS256 by the key k7, good for 300s",
            ],
        ),
    ] {
        let text = ask("GET", url).unwrap();
        for line in lines {
            assert!(text.contains(&format!("\n{line}\n")), "{line} in {text}");
        }
        assert!(!text.contains("mine") && !text.contains("placeholder"), "{text}");
    }
}

#[test]
fn what_no_route_answers_is_said() {
    for (method, url, why) in [
        ("GET", "http://localhost/nothing", "404: no route has the path /nothing on host localhost."),
        ("POST", "/maps/x", "405: no route has the method POST for this path, but there are GET"),
        ("GET", "/crm/../x", "400: The path is ambiguous: the path holds a dot segment"),
        ("TRACE", "/crm/x", "405: TRACE is not offered: "),
        ("GET", "http://a,b/crm/x", "the URL's host is neither a host name nor an address"),
        ("G T", "/crm/x", "no method"),
        ("GET", "crm/x", "it begins with"),
        ("GET", "/crm/x y", "it cannot be asked for"),
        ("GET", "ftp://localhost/", "a URL's scheme is"),
    ] {
        let answer = ask(method, url).unwrap_err();
        assert!(answer.starts_with(why), "{answer}");
    }
}
