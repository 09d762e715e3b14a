//! Health, metrics and status on a listener of their own, on the control thread. Read-only; holds no secret.

mod health;
mod pages;

#[cfg(test)]
mod tests;

pub use health::Health;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::clock::Boot;
use crate::snapshot::Living;

/// Connections at once: a few scrapers and people. For one more the oldest makes way, so that nobody who only connects keeps
/// others from knowing how it goes.
const CONNECTIONS_MAX: usize = 64;

/// How long one connection may live, whatever it does. Scrapers connect anew.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How long accepting rests after it failed (SEC-41).
const PAUSE: Duration = Duration::from_millis(100);

/// What the pages are made from.
#[derive(Debug)]
pub struct State {
    living: Living,
    health: Health,
    started: Boot,
    listeners: Mutex<Vec<SocketAddr>>,
    /// Counted here, so that this module need not know who logs.
    log_lines_dropped: fn() -> u64,
}

impl State {
    /// `required`: credentials whose first token `/readyz` waits for.
    pub fn new(living: Living, required: Vec<Arc<str>>, log_lines_dropped: fn() -> u64) -> Arc<Self> {
        let started = living.clock.now();
        Arc::new(State {
            health: Health::new(started, required),
            started,
            living,
            listeners: Mutex::default(),
            log_lines_dropped,
        })
    }

    /// A snapshot serves on these listeners.
    pub fn serving(&self, listeners: Vec<SocketAddr>) {
        *self.listeners.lock().unwrap_or_else(PoisonError::into_inner) = listeners;
        self.health.serving();
    }

    /// Readiness goes off, for good.
    pub fn draining(&self) {
        self.health.draining();
    }
}

/// Serves the admin pages for ever.
pub async fn serve(listener: TcpListener, state: Arc<State>) {
    let loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let mut connections: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((tcp, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        connections.retain(|connection| !connection.is_finished());
        if connections.len() == CONNECTIONS_MAX {
            connections.pop_front().inspect(AbortHandle::abort);
        }
        let state = state.clone();
        let connection = tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&state, loopback, &request);
                async { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_header_size(HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(tcp), service);
            // Whoever asks may leave at any time.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
        });
        connections.push_back(connection.abort_handle());
    }
}

fn answer(state: &State, loopback: bool, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if loopback && !names_loopback(request.headers()) {
        // Else a page in a browser on this machine could read us through a name of its own that resolves to loopback
        // (DNS rebinding).
        return text(StatusCode::FORBIDDEN, "Host must be a loopback name or address here\n");
    }
    let page: fn(&State) -> Response<Full<Bytes>> = match request.uri().path() {
        "/healthz" => |_| text(StatusCode::OK, "ok\n"),
        "/readyz" => pages::readiness,
        "/status" => pages::status,
        "/metrics" => pages::metrics,
        _ => return text(StatusCode::NOT_FOUND, "there are /healthz, /readyz, /status and /metrics\n"),
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "the admin listener is read-only\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    page(state)
}

/// Whether the one `Host` is a loopback address or `localhost`, with any port.
fn names_loopback(headers: &http::HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<http::uri::Authority>().ok()) else {
        return false;
    };
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    page(status, "text/plain; charset=utf-8", body)
}

fn page(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
