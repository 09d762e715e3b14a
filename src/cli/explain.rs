//! `attache explain METHOD URL`: what would happen to a request.

mod aggregate;
mod signature;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use http::header::{FORWARDED, HOST, VIA};
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};
use percent_encoding::utf8_percent_encode;
use tokio::runtime::Builder;

use super::Failure;
use super::routes::clients;
use crate::clock::SystemClock;
use crate::config::{
    Access, ApiKey, ApiKeyPlace, Attach, AttachPart, Config, Credential, CredentialKind, DPOP, Forward, HttpUrl, Piece,
    Replay, Route, TokenEndpoint, Upstream,
};
use crate::credential;
use crate::proxy::failure::Failure as Refusal;
use crate::proxy::{self, ForwardPlan, Plan};
use crate::snapshot::{self, Living, Snapshot};
use crate::token::NOT_UNRESERVED;

/// Headers that a client might send, and how what they stand for is called. Which of them go no further, the proxy says.
static EXAMPLES: [(&str, HeaderName); 13] = [
    ("Authorization", http::header::AUTHORIZATION),
    ("Proxy-Authorization", http::header::PROXY_AUTHORIZATION),
    ("X-Api-Key", HeaderName::from_static("x-api-key")),
    ("DPoP", HeaderName::from_static("dpop")),
    ("Cookie", http::header::COOKIE),
    ("Forwarded", FORWARDED),
    ("X-Forwarded-*", HeaderName::from_static("x-forwarded-for")),
    ("X-Real-IP", HeaderName::from_static("x-real-ip")),
    ("X-Original-URL", HeaderName::from_static("x-original-url")),
    ("X-Rewrite-URL", HeaderName::from_static("x-rewrite-url")),
    ("X-HTTP-Method-Override", HeaderName::from_static("x-http-method-override")),
    ("hop-by-hop headers", HeaderName::from_static("keep-alive")),
    ("names with `_`", HeaderName::from_static("x_y")),
];

/// What a header holds that the client sent.
static CLIENTS_OWN: HeaderValue = HeaderValue::from_static("the client's own");

/// The URL that is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// Host and port; empty if only a path was given.
    authority: String,
    /// Path and query as they were given.
    target: Uri,
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(url: &str) -> Result<Asked, String> {
        // Clients keep the fragment to themselves.
        let url = url.split('#').next().unwrap_or_default();
        let (authority, target) = match url.split_once("://") {
            Some((scheme, rest)) => {
                let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
                HttpUrl::parse(&format!("{scheme}://{authority}")).map_err(|flaws| flaws[0].message.to_owned())?;
                (authority, target)
            }
            None if url.starts_with('/') => ("", url),
            None => return Err("it begins with `http://`, `https://` or, for a path alone, `/`".to_owned()),
        };
        // They also begin every path with a slash.
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let target = target.parse().map_err(|error| format!("it cannot be asked for: {error}"))?;
        Ok(Asked { authority: authority.to_owned(), target })
    }
}

pub(super) fn explain(config: &Config, method: Method, asked: Asked) -> Result<String, Failure> {
    // Nothing runs on it: it is what a snapshot is made with.
    let runtime = Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| Failure::Failed(format!("cannot make a runtime: {error}")))?;
    let living = Living::new(config, Arc::new(SystemClock), runtime.handle().clone());
    let snapshot = Snapshot::compile(config, &living);
    let request = request(&snapshot, method, asked);
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let client = proxy::Client { address: nowhere, tls: false, local: nowhere };
    match proxy::plan(&snapshot, &client, &request) {
        Ok(Plan::Forward(plan)) => Ok(describe(&plan, request.method())),
        Ok(Plan::Aggregate(plan)) => Ok(aggregate::describe(&plan, request.uri())),
        Err(refusal) => Err(Failure::Failed(refused(&refusal, &request))),
    }
}

/// The request as the proxy would receive it. Without a host, as only HTTP/1.0 may be.
fn request(snapshot: &Snapshot, method: Method, asked: Asked) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = asked.target;
    let removed = snapshot.routes.iter().filter_map(|route| match &route.answers {
        snapshot::Answers::Upstream(forward) => Some(&forward.config.request_headers.remove),
        snapshot::Answers::Aggregate(_) => None,
    });
    let kept_back = snapshot.routes.iter().flat_map(|route| &route.kept_back);
    for name in EXAMPLES.iter().map(|(_, name)| name).chain(removed.flatten()).chain(kept_back) {
        request.headers_mut().insert(name.clone(), CLIENTS_OWN.clone());
    }
    match HeaderValue::try_from(asked.authority) {
        Ok(host) if !host.is_empty() => drop(request.headers_mut().insert(HOST, host)),
        _ => *request.version_mut() = Version::HTTP_10,
    }
    request
}

/// What the client would be answered with.
fn refused(refusal: &Refusal, request: &Request<()>) -> String {
    let status = refusal.meaning().status.as_u16();
    match refusal {
        Refusal::NoRoute => {
            let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
            let on_host = host.map(|host| format!(" on host {host}")).unwrap_or_default();
            let why = format!("{status}: no route has the path {}{on_host}", request.uri().path());
            format!("{why}. `attache routes` lists what there is.")
        }
        Refusal::MethodNotAllowed(methods) => {
            let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
            let why = format!("{status}: no route has the method {} for this path", request.method());
            format!("{why}, but there are {}.", methods.join(", "))
        }
        other => format!("{status}: {}: {}", other.meaning().title, other.detail()),
    }
}

/// A line of the answer: what it is about, and what is said.
fn line(out: &mut String, about: &str, text: impl std::fmt::Display) {
    writeln!(out, "{about:<13}{text}").expect("a text takes all that is written");
}

fn describe(plan: &ForwardPlan<'_>, method: &Method) -> String {
    let route = &*plan.route.config;
    let upstream = &plan.forward.config.upstream;
    let mut out = asked_by(route);
    line(&mut out, "upstream", &upstream.name);
    line(&mut out, "sends", format!("{method} {}", url(plan)));
    line(&mut out, "", format!("host: {}", upstream.url.authority()));
    for (name, value) in added(plan) {
        line(&mut out, "", format!("{name}: {value}"));
    }
    line(&mut out, "credential", credential(upstream));
    line(&mut out, "keeps back", kept_back(plan));
    line(&mut out, "answer", answer(route, &plan.forward.config));
    if let Some(text) = rejection(upstream) {
        line(&mut out, "if rejected", text);
    }
    out
}

/// What a route is for, and who may call it.
fn asked_by(route: &Route) -> String {
    let mut out = String::new();
    line(&mut out, "route", &route.name);
    line(&mut out, "matches", format!("{}{}", route.host.as_deref().unwrap_or_default(), route.path.text));
    let presented = match route.access {
        Access::Anyone => "",
        Access::Clients(_) => ", with a key as `Authorization: Bearer`, `X-Api-Key` or Basic password",
    };
    line(&mut out, "may call", format!("{}{presented}", clients(&route.access)));
    out
}

/// The URL that is asked for upstream.
fn url(plan: &ForwardPlan<'_>) -> String {
    let url = &plan.forward.config.upstream.url;
    let parameter = plan.forward.call.credential.as_deref().and_then(|credential| parameter(plan.forward, credential));
    format!("{}{}", url.origin(), plan.target(parameter.as_deref()))
}

/// The query parameters that the credential sets, with the credential's name for their values.
fn parameter(forward: &snapshot::Forward, credential: &credential::Credential) -> Option<String> {
    if let Some(CredentialKind::Signature(config)) =
        forward.config.upstream.credential.as_ref().map(|config| &config.kind)
    {
        return signature::query(config);
    }
    let name = forward.call.credential_name().map(|name| &**name).unwrap_or_default();
    let parameters = credential.query_names().iter().map(|parameter| {
        let parameter = utf8_percent_encode(parameter, NOT_UNRESERVED);
        format!("{parameter}=<{name}>")
    });
    Some(parameters.collect::<Vec<_>>().join("&")).filter(|parameters| !parameters.is_empty())
}

/// The cookies that are sent if the credential sets some, with its name for their values.
fn cookies(plan: &ForwardPlan<'_>) -> Option<String> {
    let names = plan.forward.call.credential.as_ref()?.cookie_names();
    let credential = plan.forward.call.credential_name().map(|name| &**name).unwrap_or_default();
    let pairs: Vec<String> = names.iter().map(|name| format!("{name}=<{credential}>")).collect();
    let pairs = HeaderValue::try_from(pairs.join("; ")).ok().filter(|_| !names.is_empty())?;
    Some(String::from_utf8_lossy(plan.cookies(names, &pairs).as_bytes()).into_owned())
}

/// The headers that the client did not send.
fn added(plan: &ForwardPlan<'_>) -> BTreeMap<String, String> {
    let mut added = BTreeMap::new();
    for (name, value) in plan.headers.iter().filter(|(_, value)| *value != CLIENTS_OWN) {
        let about_the_client = *name == FORWARDED || name.as_str().starts_with("x-forwarded-");
        let (name, value) = match name {
            &VIA => ("via", "1.1 and a pseudonym that is drawn at each start".to_owned()),
            _ if about_the_client => {
                ("forwarded, x-forwarded-*", "the client's address, and the scheme and host that it used".to_owned())
            }
            name => (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned()),
        };
        added.insert(name.to_owned(), value);
    }
    let credential = plan.forward.config.upstream.credential.as_deref();
    for name in plan.forward.call.credential.iter().flat_map(|credential| credential.header_names()) {
        // It wins over the route's own edits.
        let value = credential.and_then(|credential| in_header(credential, name));
        added.extend(value.map(|value| (name.to_string(), value)));
    }
    added.extend(cookies(plan).map(|cookies| ("cookie".to_owned(), cookies)));
    added
}

/// What stands in a header of the credential, its name in place of its value.
fn in_header(credential: &Credential, header: &HeaderName) -> Option<String> {
    let name = &credential.name;
    Some(match &credential.kind {
        CredentialKind::OAuth2(_) if *header == DPOP => format!("<proof of the key of {name}>"),
        CredentialKind::OAuth2(oauth2) => token_in_header(name, &oauth2.life.attach, header.as_str()),
        CredentialKind::Metadata(metadata) => token_in_header(name, &metadata.life.attach, header.as_str()),
        CredentialKind::Login(login) => token_in_header(name, &login.life.attach, header.as_str()),
        CredentialKind::Bearer { .. } => format!("Bearer <{name}>"),
        CredentialKind::Basic { username, .. } => format!("Basic <{username}:{name}>"),
        CredentialKind::BasicKey { .. } => format!("Basic <{name}:>"),
        CredentialKind::ApiKeys(keys) => {
            let is_it = |key: &&ApiKey| matches!(&key.place, ApiKeyPlace::Header(name) if name == header);
            let scheme = keys.iter().find(is_it).map(|key| key.scheme.as_str()).unwrap_or_default();
            format!("{scheme}<{name}>")
        }
        CredentialKind::Signature(config) => return signature::header(config, header),
    })
}

/// The same for a token: what is secret or not known yet is only named.
fn token_in_header(name: &str, attach: &Attach, header: &str) -> String {
    let is_it = |part: &&AttachPart| matches!(&part.place, ApiKeyPlace::Header(name) if name == header);
    let pieces = attach.parts.iter().find(is_it).into_iter().flat_map(|part| &part.value.pieces);
    pieces
        .map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Secret(_) => format!("<secret of {name}>"),
            Piece::Value(value) => format!("<{value} of {name}>"),
        })
        .collect()
}

fn credential(upstream: &Upstream) -> String {
    let Some(credential) = &upstream.credential else { return "none".to_owned() };
    let name = &credential.name;
    match &credential.kind {
        CredentialKind::OAuth2(oauth2) => {
            let grant = oauth2.grant.title();
            let of = if oauth2.client_id.is_empty() { String::new() } else { format!(" of {}", oauth2.client_id) };
            let at = match &oauth2.endpoint {
                TokenEndpoint::Url(url) => url.to_string(),
                TokenEndpoint::Issuer { issuer, .. } => format!("the token endpoint of {issuer}"),
            };
            let subject = oauth2.grant.subject_header().map(|subject| {
                let who = subject.clients.join(", ");
                format!(", for the subject whose token comes in {}, which only {who} may set", subject.name)
            });
            format!("{name}: {grant}{of} at {at}{}", subject.unwrap_or_default())
        }
        CredentialKind::Metadata(metadata) => format!("{name}: a token of the metadata server {}", metadata.url),
        CredentialKind::Login(login) => match &login.steps[..] {
            [step] => format!("{name}: a login at {}", step.request.origin),
            steps => format!("{name}: a login in {} steps at {}", steps.len(), steps[0].request.origin),
        },
        CredentialKind::Bearer { .. } => format!("{name}: a fixed Bearer token"),
        CredentialKind::ApiKeys(keys) if keys.len() > 1 => format!("{name}: {} fixed keys", keys.len()),
        CredentialKind::ApiKeys(_) => format!("{name}: a fixed key"),
        CredentialKind::Basic { username, .. } => format!("{name}: Basic, as {username}"),
        CredentialKind::BasicKey { .. } => format!("{name}: Basic, with a key in place of the user name"),
        CredentialKind::Signature(signature) => format!("{name}: {}", signature::described(signature)),
    }
}

/// What of the client's the upstream does not get.
fn kept_back(plan: &ForwardPlan<'_>) -> String {
    let is_kept_back = |name: &HeaderName| plan.headers.get(name) != Some(&CLIENTS_OWN);
    let examples = EXAMPLES.iter().filter(|(_, name)| is_kept_back(name)).map(|(called, _)| (*called).to_owned());
    let mut parts: Vec<String> = examples.collect();
    let own = plan.forward.config.request_headers.remove.iter();
    let others = own.chain(&plan.route.kept_back).filter(|name| EXAMPLES.iter().all(|(_, example)| example != *name));
    parts.extend(others.filter(|name| is_kept_back(name)).map(|name| name.to_string()));
    if let Some(credential) = &plan.forward.call.credential {
        parts.extend(credential.query_names().iter().map(|name| format!("the query parameter {name}")));
        let cookies = credential.cookie_names().iter().filter(|_| plan.forward.config.cookies);
        parts.extend(cookies.map(|name| format!("the cookie {name}")));
    }
    parts.join(", ")
}

fn answer(route: &Route, forward: &Forward) -> String {
    let mut parts = Vec::new();
    parts.push(if forward.cookies { "Set-Cookie passes" } else { "Set-Cookie is removed" }.to_owned());
    parts.extend(edited(route));
    if forward.upstream.credential.is_some() {
        let bodies = if forward.redact_bodies { "in headers and textual bodies" } else { "in headers only" };
        parts.push(format!("the credential is masked {bodies}"));
    }
    parts.join("; ")
}

/// The headers of the answer that a route edits.
fn edited(route: &Route) -> Vec<String> {
    let edits = &route.response_headers;
    let removed = edits.remove.iter().map(|name| format!("{name} is removed"));
    let set =
        edits.set.iter().map(|(name, value)| format!("{name} is set to {}", String::from_utf8_lossy(value.as_bytes())));
    removed.chain(set).collect()
}

fn rejection(upstream: &Upstream) -> Option<String> {
    let credential = upstream.credential.as_deref()?;
    credential.kind.token_life()?;
    let rejections = upstream.reject_on.iter().map(|on| match &on.body_contains {
        Some(text) => format!("{} with {text:?}", on.status.as_u16()),
        None => on.status.as_u16().to_string(),
    });
    let statuses = rejections.collect::<Vec<_>>().join(", ");
    let which = match upstream.replay {
        Replay::Any => "any request",
        Replay::Safe => "after 401 any request, else idempotent ones",
    };
    Some(format!("({statuses}) a new token is fetched, and the request sent once more: {which}"))
}

#[cfg(test)]
mod tests {
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
}
