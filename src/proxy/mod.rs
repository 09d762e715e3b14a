//! The request path. `handle` reads top to bottom as one request's life.

mod access_log;
pub mod aggregate;
mod announcement;
mod answer;
mod body;
mod challenge;
mod clean;
mod cookie;
pub mod failure;
mod forward;
mod location;
mod own;
mod plan;
mod present;
mod query;
mod redact;
mod rejection;
mod sign;
mod source;
mod survey;
mod target;
mod worker;

pub use body::{Aborted, ClientBody};
pub use clean::clean_request_headers;
pub use plan::{AggregatePlan, ForwardPlan, Plan, plan};
pub use worker::{UNMATCHED, Worker};

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use hyper::body::Incoming;

use access_log::{Label, Record};
use aggregate::Arrived;
use body::Content;
use failure::{Failure, X_REQUEST_ID};
use forward::{CleanHead, Outbound, Received};
use location::Place;
use own::Own;
use present::Present;
use redact::{Judgement, Redactor, Unscannable};
use survey::Survey;
use target::{Authority, Target};

use crate::credential::{Credential, Declared, NoSubject};
use crate::route::{Matched, NoRoute, check_path};
use crate::snapshot::{Answers, Call, Forward, Route, Snapshot};
use crate::upstream::{ExchangeError, ExchangeErrorKind, OutgoingBody, Upstream};

/// What is known of a client's connection.
#[derive(Debug, Clone)]
pub struct Client {
    pub address: SocketAddr,
    /// The listener's scheme: what `Location` is rewritten to.
    pub tls: bool,
    pub local: SocketAddr,
}

impl Client {
    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

/// One request, from its parsed head to an answer whose body streams. Never fails: failures are answers.
/// A panic in it is caught and answered with 500 (SEC-42).
///
/// Written as a block and not as an `async fn`, which would move the whole request into itself once more when it is polled
/// first.
#[inline(always)]
pub fn handle(
    worker: Rc<Worker>,
    client: Rc<Client>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ClientBody>, Infallible>> {
    let mut record = Record::begin(&worker, &request);
    let (mut head, incoming) = request.into_parts();
    async move {
        let has_body = !incoming.is_end_stream();
        let served = {
            // Pinned where it is made: it is large, and passing it on would copy it.
            let serving = pin!(serve(&worker, &client, &mut record, &mut head, incoming));
            catching_panics(serving).await
        };
        let served = served.unwrap_or_else(|Panicked| {
            worker.metrics.panics.add(1);
            Err(Failure::Panicked)
        });
        let mut response = match served {
            Ok(response) => response,
            Err(failure) => {
                record.failed(&failure);
                if has_body {
                    let_hyper_drain_or_close().await;
                }
                failure.answer(&record.id.to_string(), head.method == Method::HEAD)
            }
        };
        match response.headers().keys().any(|name| name.as_str() == X_REQUEST_ID.as_str()) {
            // The upstream's own id is what its support will ask for; the log holds both.
            true => record.upstream_request_id(response.headers()),
            false => drop(response.headers_mut().insert(X_REQUEST_ID, record.id.value())),
        }
        record.answered(response.status());
        Ok(response.map(|content| ClientBody::new(content, record)))
    }
}

/// The life of a request that nothing goes wrong with.
async fn serve(
    worker: &Rc<Worker>,
    client: &Client,
    record: &mut Record,
    head: &mut Parts,
    incoming: Incoming,
) -> Result<Response<Content>, Failure> {
    let installed = record.installed();
    let snapshot = &*installed.snapshot;
    let Parts { method, uri, version, headers, .. } = head;

    // In a block, since what is live while the upstream is awaited makes the future larger.
    let (present, authority) = {
        let survey = Survey::of(headers);
        check_limits(snapshot, method, uri, &survey)?;
        match target::normalise(method, uri, *version, &survey)? {
            Target::Path(authority) => (survey.present, authority),
            Target::Asterisk => {
                let has_body = !incoming.is_end_stream();
                drop(incoming);
                if has_body {
                    let_hyper_drain_or_close().await;
                }
                return Ok(about_ourselves());
            }
        }
    };
    clean::check_framing(*version, headers, present)?;
    let matched = match_route(snapshot, &authority, method, uri.path())?;
    let route = &snapshot.routes[matched.route];
    record.matched(matched.route);
    authenticate(snapshot, route, headers, record)?;

    let forward = match &route.answers {
        Answers::Upstream(forward) => &**forward,
        Answers::Aggregate(_) => {
            let arrived = Arrived {
                worker,
                client,
                record,
                method,
                uri,
                version: *version,
                headers,
                matched,
                authority,
                incoming,
            };
            return Box::pin(aggregate::answer(arrived)).await;
        }
    };
    let credential = credential(&forward.call, headers, record)?;
    let wants_trailers = clean::clean(headers, present, forward.config.cookies, &route.kept_back);
    let mut own = Own::stamp(headers, present, &snapshot.via, *version)?;
    prepare(headers, &mut own, route, forward, client, &authority);
    let clean = CleanHead {
        method,
        target: upstream_target(worker.spare_target(), forward, uri, matched),
        headers: std::mem::take(headers),
        own,
        wants_trailers,
    };
    let mut outbound = Outbound {
        worker,
        call: &forward.call,
        credential: credential.as_deref().map(AsRef::as_ref),
        begin: record.begin,
        label: Label { id: record.id, route: &route.config.name },
        effort: &mut record.effort,
        head: clean,
        body: outgoing_body(worker, snapshot, route, incoming),
        moved: None,
    };
    let received = outbound.forward().await?;
    let Outbound { head: CleanHead { target, headers, .. }, body, moved, .. } = outbound;
    worker.pool.recycle(headers);
    // SEC-35: the upload stops where the answer began.
    if is_unfinished(&body) {
        drop(body);
        let_hyper_drain_or_close().await;
    }
    let place = || place(forward, moved.as_deref(), client, &authority, &target);
    let relayed = relay(worker, route, forward, method, received, record, place);
    worker.recycle_target(target);
    relayed
}

/// The bounds on what clients may send. hyper has bounds of its own on what it parses; these also hold for HTTP/2, where
/// they count what HPACK unpacked, cookies included.
fn check_limits(snapshot: &Snapshot, method: &Method, uri: &Uri, survey: &Survey<'_>) -> Result<(), Failure> {
    let limits = &snapshot.limits;
    if target::request_line_bytes(method, uri) > limits.request_line_bytes_max {
        return Err(Failure::RequestLineTooLong);
    }
    if survey.fields > limits.headers_max {
        return Err(Failure::TooManyHeaders);
    }
    if survey.bytes > limits.header_bytes_max {
        return Err(Failure::HeadersTooLarge);
    }
    Ok(())
}

/// `OPTIONS *` asks about the proxy, not about an upstream: nothing is attached, nothing is sent on.
fn about_ourselves() -> Response<Content> {
    let mut response = Response::new(Content::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// An unknown route is a 404 for everybody, with a key or without: which paths are routed is no secret, and a client that
/// mistyped a path should not be told that its key is wrong.
fn match_route(snapshot: &Snapshot, authority: &Authority, method: &Method, path: &str) -> Result<Matched, Failure> {
    check_path(path).map_err(|refused| Failure::BadPath(refused.0))?;
    let host = if snapshot.table.knows_hosts() { authority.host() } else { Cow::Borrowed("") };
    snapshot.table.matches(&host, method, path).map_err(|no_route| match no_route {
        NoRoute::NotFound => Failure::NoRoute,
        NoRoute::MethodNotAllowed(methods) => Failure::MethodNotAllowed(methods),
    })
}

/// Who calls, and whether it may (TL-71: an unauthenticated request never goes upstream).
fn authenticate(snapshot: &Snapshot, route: &Route, headers: &HeaderMap, record: &mut Record) -> Result<(), Failure> {
    if route.is_open() {
        return Ok(());
    }
    let (client, key) = snapshot.clients.recognise(headers).map_err(Failure::Unrecognised)?;
    record.recognised(client.name.clone(), key);
    match route.admits(Some(&client.name)) {
        true => Ok(()),
        false => Err(Failure::ClientNotAllowed),
    }
}

/// The credential of a request: the call's, or where that has a token for each subject, that of whoever the request is for.
/// What the client says of that goes no further.
#[inline]
fn credential<'c>(
    call: &'c Call,
    headers: &HeaderMap,
    record: &Record,
) -> Result<Option<Cow<'c, Arc<Credential>>>, Failure> {
    let per_subject = match &call.credential {
        None => return Ok(None),
        Some(Declared::Shared(credential)) => return Ok(Some(Cow::Borrowed(credential))),
        Some(Declared::PerSubject(per_subject)) => per_subject,
    };
    let own = per_subject.of_request(record.client().map(|name| &**name), headers).map_err(|none| {
        let credential = call.credential_name().cloned().unwrap_or_else(|| Arc::from(""));
        match none {
            NoSubject::Flawed(flaw) => Failure::NoSubject { credential, header: per_subject.header().clone(), flaw },
            NoSubject::Unavailable(cause) => Failure::NoToken { credential, cause },
        }
    })?;
    Ok(Some(Cow::Owned(Arc::new(own))))
}

/// What we ourselves say to the upstream, before the credential.
fn prepare(
    headers: &mut HeaderMap,
    own: &mut Own<'_>,
    route: &Route,
    forward: &Forward,
    client: &Client,
    authority: &Authority,
) {
    if forward.call.redact_bodies
        && forward.call.credential.as_ref().is_some_and(|credential| credential.concerns_bodies())
    {
        own.ask_for_identity();
    }
    if forward.call.config.forwarded {
        clean::add_forwarded(headers, client, authority);
    }
    if !route.config.methods.is_empty() {
        clean::remove_method_overrides(headers);
    }
    let edits = &forward.config.request_headers;
    if !edits.set.is_empty() || !edits.remove.is_empty() {
        own.settle(headers);
        clean::edit(headers, &edits.set, &edits.remove);
    }
}

/// Path and query for the upstream, without the parameters that the credential will set; written in `out`, in place of what
/// is there.
fn upstream_target(out: String, forward: &Forward, uri: &Uri, matched: Matched) -> String {
    let mut target = forward.paths.upstream_path(out, uri.path(), &matched);
    let Some(query) = uri.query() else { return target };
    target.push('?');
    match forward.call.credential.as_ref().map_or(&[][..], |credential| &credential.names().query) {
        [] => target.push_str(query),
        names => target.push_str(&query::without(query, names)),
    }
    target
}

fn outgoing_body(worker: &Worker, snapshot: &Snapshot, route: &Route, incoming: Incoming) -> OutgoingBody {
    let budget = &worker.living.replay_budget;
    let mut body = OutgoingBody::new(incoming, budget, &worker.ticker, snapshot.timeouts.body_idle);
    if !body.is_empty() {
        body.strip_trailers(&route.kept_back);
    }
    body
}

/// Cleans the answer and hands it over (SEC-12, SEC-13).
fn relay<'a>(
    worker: &Worker,
    route: &Route,
    forward: &Forward,
    method: &Method,
    received: Received,
    record: &Record,
    place: impl FnOnce() -> Option<Place<'a>>,
) -> Result<Response<Content>, Failure> {
    let Received { status, mut headers, present, body, masks } = received;
    check_status(status)?;
    let judgement = match forward.call.redact_bodies && masks.is_some() {
        true => worker.body_judge.judge(status, &headers, present),
        false => Judgement::Pass,
    };
    let scanner = match judgement {
        Judgement::Pass => None,
        _ => masks.as_ref().and_then(|masks| masks.scanner()),
    };
    // A 205 must not have content (RFC 9110 section 15.3.6), but it is framed as if it had (RFC 9112 section 6.3), and clients
    // that know only the former would take it for the next answer. So it is dropped: what a 205 says, it says without.
    let has_content = *method != Method::HEAD && status != StatusCode::RESET_CONTENT && !body.is_end_stream();
    match judgement {
        Judgement::Encoded if has_content && scanner.is_some() => return Err(Failure::EncodedAnswer),
        Judgement::Partial if has_content && scanner.is_some() => return Err(Failure::PartialAnswer),
        _ => {}
    }
    answer::clean(status, &mut headers, present, forward.config.cookies);
    if scanner.is_some() && present.has(Present::DIGEST) {
        redact::remove_digests(&mut headers);
    }
    if present.has(Present::REFERENCE)
        && let Some(place) = place()
    {
        location::rewrite(&mut headers, &place, |path| forward.paths.route_path(path));
    }
    clean::edit(&mut headers, &route.config.response_headers.set, &route.config.response_headers.remove);
    if let Some(masks) = &masks {
        masks.mask_headers(&mut headers);
    }
    let content = match has_content {
        false => Content::Empty,
        true => Content::of_answer(
            body,
            scanner.map(|scanner| Redactor::new(scanner, record.request_name())),
            masks,
            &headers,
        )
        .map_err(|Unscannable| Failure::EncodedAnswer)?,
    };
    let mut response = Response::new(content);
    *response.status_mut() = status;
    let empty = std::mem::replace(response.headers_mut(), headers);
    debug_assert_eq!(empty.capacity(), 0);
    // It owns nothing, and dropping it would take 61 instructions to find that out.
    std::mem::forget(empty);
    Ok(response)
}

fn check_status(status: StatusCode) -> Result<(), Failure> {
    answer::check_status(status).map_err(|text| {
        let kind = ExchangeErrorKind::BadAnswer;
        Failure::Exchange(ExchangeError {
            kind,
            text,
            nothing_sent: false,
            reused_closed: false,
            connection_ends: false,
        })
    })
}

/// `moved`: where the request was sent, if the token says where that is.
fn place<'a>(
    forward: &'a Forward,
    moved: Option<&'a Upstream>,
    client: &Client,
    authority: &'a Authority,
    target: &'a str,
) -> Option<Place<'a>> {
    let url = moved.map(Upstream::url).or(forward.call.config.url.fixed())?;
    Some(Place {
        upstream_scheme: url.scheme(),
        upstream_host: &url.host,
        upstream_port: url.port,
        sent_path: target.split('?').next().unwrap_or_default(),
        client_scheme: client.scheme(),
        client_authority: authority.as_str(),
    })
}

/// Whether some of a request's body may still be on its way.
fn is_unfinished(body: &OutgoingBody) -> bool {
    !body.is_empty() && body.length() != Some(body.bytes())
}

/// Lets hyper see that the request's body was dropped, before it writes the answer's head. It then reads what has already
/// arrived of it, and if that is not all, says `Connection: close` and closes: bytes of a body that nobody wanted must
/// never be taken for the next request (CL.0 smuggling).
async fn let_hyper_drain_or_close() {
    tokio::task::yield_now().await;
}

/// A panic was caught; the hook has reported it already.
struct Panicked;

/// Runs a future; a panic in it ends it, and nothing else.
async fn catching_panics<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Result<T, Panicked> {
    // What a panic may leave half-done belongs to the request that ends with it, but for cells that are written whole.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

#[cfg(test)]
mod tests;
