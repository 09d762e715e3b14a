//! `attache explain METHOD URL`: what would happen to a request.

mod aggregate;
mod credential;
mod signature;
#[cfg(test)]
mod tests;

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
use crate::config::{Access, Config, CredentialKind, Forward, HttpUrl, Replay, Route, Upstream};
use crate::credential::Declared;
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
    line(&mut out, "credential", credential::described(upstream));
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
    let parameter = plan.forward.call.credential.as_ref().and_then(|credential| parameter(plan.forward, credential));
    format!("{}{}", url.origin(), plan.target(parameter.as_deref()))
}

/// The query parameters that the credential sets, with the credential's name for their values.
fn parameter(forward: &snapshot::Forward, credential: &Declared) -> Option<String> {
    if let Some(CredentialKind::Signature(config)) =
        forward.config.upstream.credential.as_ref().map(|config| &config.kind)
    {
        return signature::query(config);
    }
    let name = forward.call.credential_name().map(|name| &**name).unwrap_or_default();
    let parameters = credential.names().query.iter().map(|parameter| {
        let parameter = utf8_percent_encode(parameter, NOT_UNRESERVED);
        format!("{parameter}=<{name}>")
    });
    Some(parameters.collect::<Vec<_>>().join("&")).filter(|parameters| !parameters.is_empty())
}

/// The cookies that are sent if the credential sets some, with its name for their values.
fn cookies(plan: &ForwardPlan<'_>) -> Option<String> {
    let names = &plan.forward.call.credential.as_ref()?.names().cookies;
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
    for name in plan.forward.call.credential.iter().flat_map(|credential| &credential.names().headers) {
        // It wins over the route's own edits.
        let value = credential.and_then(|credential| credential::header(credential, name));
        added.extend(value.map(|value| (name.to_string(), value)));
    }
    added.extend(cookies(plan).map(|cookies| ("cookie".to_owned(), cookies)));
    added
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
        parts.extend(credential.names().query.iter().map(|name| format!("the query parameter {name}")));
        let cookies = credential.names().cookies.iter().filter(|_| plan.forward.config.cookies);
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
