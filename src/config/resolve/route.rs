//! `[[routes]]`: which requests go to which upstream.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use http::Method;

use super::aggregate::aggregate;
use super::fields::{Fields, Text};
use super::headers::edits;
use super::named::Named;
use super::subject::check_route;
use super::upstream::{DEFAULT_TIMEOUTS, timeouts};
use super::{Reading, Why};
use crate::config::pattern::PatternError;
use crate::config::problem::{closest, did_you_mean};
use crate::config::url::is_host_name;
use crate::config::{
    Access, Aggregate, Answers, Client, Forward, Listener, PathPattern, Problem, Route, Upstream, UpstreamPath,
};

/// Names of routes go to logs and metrics.
const ROUTE_NAME_BYTES_MAX: usize = 300;

/// What else `clients = "anyone"` could be called.
const EVERYBODY: &[&str] = &["*", "all", "any", "anonymous", "anybody", "everybody", "everyone", "public"];

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

pub(super) fn routes(
    reading: &mut Reading<'_>,
    root: &Fields<'_>,
    upstreams: &Named<Upstream>,
    clients: &Named<Client>,
    listeners: &[Listener],
) -> Vec<Arc<Route>> {
    let exposed = listeners.iter().map(|listener| listener.address).find(|address| !address.ip().is_loopback());
    let mut routes: Vec<(Arc<Route>, Range<usize>)> = Vec::new();
    for fields in root.tables("routes") {
        let Some(route) = route(reading, &fields, upstreams, clients, exposed) else { continue };
        let span = fields.value("path").map_or(fields.span.clone(), |path| path.span());
        let name_span = fields.value("name").map_or(span.clone(), |name| name.span());
        for (other, _) in &routes {
            if same_requests(other, &route) {
                let problem =
                    Problem::new(format!("this route matches the same requests as `{}`", other.name), span.clone());
                reading.problem(problem.hint("let them differ in `path`, `host` or `methods`"));
            } else if other.name == route.name {
                let problem = Problem::new(format!("two routes are called `{}`", route.name), name_span.clone());
                reading.problem(problem.hint("names tell routes apart in logs and metrics"));
            }
        }
        routes.push((Arc::new(route), span));
    }
    if root.value("routes").is_none() {
        let problem = Problem::new("there are no `[[routes]]`: every request is answered with 404", None);
        reading.warning(problem.hint("write `[[routes]]` with `path`, `upstream` and `clients`"));
    }
    routes.into_iter().map(|(route, _)| route).collect()
}

/// Whether there is a request for which neither route is the more specific one. A route for a host or for some methods
/// is more specific than one for all.
fn same_requests(one: &Route, other: &Route) -> bool {
    let methods = match (one.methods.is_empty(), other.methods.is_empty()) {
        (true, true) => true,
        (false, false) => one.methods.iter().any(|method| other.methods.contains(method)),
        _ => false,
    };
    methods && one.host == other.host && one.path.same_shape(&other.path)
}

fn route(
    reading: &mut Reading<'_>,
    fields: &Fields<'_>,
    upstreams: &Named<Upstream>,
    clients: &Named<Client>,
    exposed: Option<SocketAddr>,
) -> Option<Route> {
    let host = match fields.text(reading, "host") {
        Some(text) => host(reading, &text).map(Some),
        None => fields.value("host").is_none().then_some(None),
    };
    let methods = methods(reading, fields);
    let path_text = fields.text(reading, "path");
    let path = path_text.and_then(|text| pattern(reading, &text, "path", PathPattern::parse(&text.value)));
    let access = access(reading, fields, clients, exposed);
    let answers = answers(reading, fields, path.as_ref(), access.as_ref(), upstreams);
    if let (Some(answers), Some(access), Some(value)) = (&answers, &access, fields.value("clients")) {
        for upstream in answers.upstreams() {
            check_route(reading, upstream.credential.as_ref(), access, value.span());
        }
    }
    let response_headers = edits(reading, fields, "response_headers", &[]);
    let name = fields.text(reading, "name");
    let (host, path, methods, answers) = (host?, path?, methods?, answers?);
    warn_of_bodies(reading, fields, &methods, &answers);
    let methods = match &answers {
        Answers::Aggregate(aggregate) if methods.is_empty() => vec![default_method(aggregate)],
        _ => methods,
    };
    let name = match name {
        Some(text) => own_name(reading, text)?,
        None => default_name(&methods, host.as_deref(), &path),
    };
    Some(Route { name: name.into(), host, methods, path, access: access?, response_headers, answers })
}

/// A request's JSON is read where requests have none.
fn warn_of_bodies(reading: &mut Reading<'_>, fields: &Fields<'_>, methods: &[Method], answers: &Answers) {
    let reads = matches!(answers, Answers::Aggregate(aggregate) if aggregate.reads_request);
    let bodiless = |method: &Method| matches!(*method, Method::GET | Method::HEAD);
    if let Some(value) = fields.value("methods").filter(|_| reads && methods.iter().any(bodiless)) {
        let problem = Problem::new("a part reads `{request}`, and GET and HEAD have no body as a rule", value.span());
        reading.warning(problem.hint("write `methods = [\"POST\"]`, or leave `methods` out for that"));
    }
}

/// What is composed of answers is read, unless a body says what of.
fn default_method(aggregate: &Aggregate) -> Method {
    if aggregate.reads_request { Method::POST } else { Method::GET }
}

/// One upstream, or an aggregate of several.
fn answers(
    reading: &mut Reading<'_>,
    fields: &Fields<'_>,
    path: Option<&PathPattern>,
    access: Option<&Access>,
    upstreams: &Named<Upstream>,
) -> Option<Answers> {
    match (fields.value("upstream"), fields.value("aggregate")) {
        (Some(_), None) => forward(reading, fields, path, upstreams).map(Arc::new).map(Answers::Upstream),
        (given, Some(_)) => {
            if let Some(upstream) = given {
                let problem = Problem::new("`upstream` and `aggregate` exclude each other", upstream.span());
                reading.problem(problem.hint("remove it: each part of an aggregate names its own upstream"));
            }
            let anyone = matches!(access, Some(Access::Anyone));
            let aggregate = aggregate(reading, fields, path, anyone, upstreams)?;
            Some(Answers::Aggregate(Arc::new(aggregate)))
        }
        (None, None) => {
            // For the problems that the other keys have.
            forward(reading, fields, path, upstreams);
            if !["upstream", "aggregate"].iter().any(|key| fields.is_misspelt(key) || fields.is_misplaced(key)) {
                let hint = "write the name of the upstream that answers, or `[routes.aggregate.parts.NAME]` for each of several";
                let problem = Problem::new("`upstream` is missing in `[[routes]]`", fields.span.clone());
                reading.problem(problem.hint(hint));
            }
            None
        }
    }
}

fn forward(
    reading: &mut Reading<'_>,
    fields: &Fields<'_>,
    path: Option<&PathPattern>,
    upstreams: &Named<Upstream>,
) -> Option<Forward> {
    let upstream = fields.text(reading, "upstream").and_then(|name| upstreams.find(reading, &name));
    let upstream_path = upstream_path(reading, fields, path);
    let credential = upstream.as_ref().and_then(|upstream| upstream.credential.as_ref());
    let credential = credential.map(|credential| credential.headers()).unwrap_or_default();
    let request_headers = edits(reading, fields, "request_headers", &credential);
    let defaults = upstream.as_ref().map(|upstream| upstream.timeouts);
    // Read also where the upstream is unknown, for the problems that they have.
    let route_timeouts = timeouts(reading, fields, defaults.unwrap_or(DEFAULT_TIMEOUTS));
    Some(Forward {
        upstream: upstream?,
        upstream_path: upstream_path?,
        request_headers,
        cookies: fields.boolean("cookies").unwrap_or(false),
        redact_bodies: fields.boolean("redact_bodies").unwrap_or(true),
        timeouts: route_timeouts,
    })
}

fn own_name(reading: &mut Reading<'_>, text: Text) -> Option<String> {
    if text.value.is_empty() || text.value.len() > ROUTE_NAME_BYTES_MAX || text.value.chars().any(char::is_control) {
        let why = format!("a route's name has 1 to {ROUTE_NAME_BYTES_MAX} bytes, and no control characters");
        return reading.refuse((why, "leave it out for a name made of methods, host and path".to_owned()), &text.span);
    }
    Some(text.value)
}

/// Methods, host and path, as far as the route has them.
fn default_name(methods: &[Method], host: Option<&str>, path: &PathPattern) -> String {
    let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
    let methods = (!methods.is_empty()).then(|| methods.join(","));
    let parts = [methods.as_deref(), host, Some(path.text.as_str())];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn host(reading: &mut Reading<'_>, text: &Text) -> Option<String> {
    let host = text.value.to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if let Ok(address) = address {
        return Some(address.to_string());
    }
    if is_host_name(&host) {
        return Some(host);
    }
    let hint = match host.split_once(':') {
        Some((name, _)) if is_host_name(name) => format!("write it without port: \"{name}\""),
        _ => "write a host name such as \"api.internal.example\"; `*` is not supported".to_owned(),
    };
    reading.refuse(("this is no host name".to_owned(), hint), &text.span)
}

fn methods(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<Vec<Method>> {
    let listed = fields.list("methods").len();
    if let Some(value) = fields.value("methods").filter(|value| value.get_ref().is_array() && listed == 0) {
        let problem = Problem::new("a route without methods matches nothing", value.span());
        reading.problem(problem.hint("leave `methods` out for all of them"));
        return None;
    }
    let mut methods = Vec::new();
    for text in fields.texts(reading, "methods") {
        match method(&text.value) {
            Ok(method) if methods.contains(&method) => {}
            Ok(method) => methods.push(method),
            Err((message, hint)) => {
                reading.problem(Problem::new(message, text.span).hint(hint));
            }
        }
    }
    // With one that could not be read, an empty list would mean all.
    (methods.len() == listed || !methods.is_empty()).then_some(methods)
}

pub(super) fn method(text: &str) -> Result<Method, Why> {
    if matches!(text, "TRACE" | "CONNECT") {
        return Err((format!("{text} is never forwarded"), "remove it".to_owned()));
    }
    if let Some(upper) = meant_method(text) {
        return Err((format!("methods are in capitals: `{text}` would be another one"), format!("write \"{upper}\"")));
    }
    let parsed = Method::from_bytes(text.as_bytes()).ok().filter(|_| !text.is_empty());
    parsed.ok_or_else(|| {
        let hint = did_you_mean(text, METHODS.iter().copied()).unwrap_or_default();
        ("this is no method".to_owned(), hint)
    })
}

/// The standard method that was probably meant by one that differs from it in case only.
pub fn meant_method(text: &str) -> Option<&'static str> {
    METHODS.iter().copied().find(|method| method.eq_ignore_ascii_case(text) && *method != text)
}

fn pattern<T>(reading: &mut Reading<'_>, text: &Text, key: &str, parsed: Result<T, PatternError>) -> Option<T> {
    match parsed {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let message = format!("`{key}`: {}", error.message);
            reading.problem(Problem::new(message, text.span.clone()).hint(error.hint));
            None
        }
    }
}

fn upstream_path(reading: &mut Reading<'_>, fields: &Fields<'_>, path: Option<&PathPattern>) -> Option<UpstreamPath> {
    let text = fields.text(reading, "upstream_path");
    let path = path?;
    match text {
        Some(text) => pattern(reading, &text, "upstream_path", UpstreamPath::parse(&text.value, path)),
        None => fields.value("upstream_path").is_none().then(|| UpstreamPath::default_of(path)),
    }
}

fn access(
    reading: &mut Reading<'_>,
    fields: &Fields<'_>,
    clients: &Named<Client>,
    exposed: Option<SocketAddr>,
) -> Option<Access> {
    let value = fields.value("clients")?;
    let public = fields.boolean("public").unwrap_or(false);
    if value.get_ref().is_array() {
        return named_clients(reading, fields, clients, public);
    }
    let text = fields.text(reading, "clients")?;
    if text.value != "anyone" {
        let why = "`clients` is a list of names, or \"anyone\"".to_owned();
        let meant =
            EVERYBODY.contains(&text.value.to_lowercase().as_str()) || closest(&text.value, &["anyone"]).is_some();
        let hint = match meant && !clients.has(&text.value) {
            true => "did you mean \"anyone\"?".to_owned(),
            false => format!("write `clients = [\"{}\"]`", text.value.escape_debug()),
        };
        return reading.refuse((why, hint), &text.span);
    }
    if let Some(address) = exposed.filter(|_| !public) {
        let why = format!("anyone could use this route from other machines, through the listener {address}");
        let hint = "name the `clients`, or listen on 127.0.0.1, or say `public = true` if this is meant";
        return reading.refuse((why, hint.to_owned()), &text.span);
    }
    Some(Access::Anyone)
}

fn named_clients(
    reading: &mut Reading<'_>,
    fields: &Fields<'_>,
    clients: &Named<Client>,
    public: bool,
) -> Option<Access> {
    let value = fields.value("clients")?;
    if let Some(public) = fields.value("public").filter(|_| public) {
        let problem = Problem::new("`public` says nothing where the clients are named", public.span());
        reading.warning(problem.hint("remove it: it goes with `clients = \"anyone\"`"));
    }
    if fields.list("clients").is_empty() {
        let why = "nobody could use this route: it names no client".to_owned();
        return reading.refuse((why, "name the `clients` that may call, or say \"anyone\"".to_owned()), &value.span());
    }
    let mut named: Vec<Arc<Client>> = Vec::new();
    for text in fields.texts(reading, "clients") {
        if text.value == "anyone" {
            let problem = Problem::new("`anyone` is no client", text.span);
            reading.problem(problem.hint("write `clients = \"anyone\"`, without brackets"));
            continue;
        }
        let Some(client) = clients.find(reading, &text) else { continue };
        if !named.iter().any(|other| Arc::ptr_eq(other, &client)) {
            named.push(client);
        }
    }
    Some(Access::Clients(named))
}
