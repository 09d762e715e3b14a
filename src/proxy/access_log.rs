//! What is known of a request, from its first byte to its last: counted always, and logged as one line if that is on.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};

use super::aggregate::PartNotes;
use super::failure::{Failure, PartCause, X_REQUEST_ID, fault_word};
use super::worker::{Installed, Worker};
use crate::client_auth::KeyDigest;
use crate::clock::Boot;
use crate::metrics::{Fault, Outcome};

/// What stands in place of a status if the client left before there was one (nginx's number).
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The record of one request. Closed by being dropped: when its answer has ended, or when it was abandoned.
pub(super) struct Record {
    pub(super) id: RequestId,
    worker: Rc<Worker>,
    installed: Rc<Installed>,
    pub(super) begin: Boot,
    /// Only if requests are logged.
    seen: Option<Box<Seen>>,
    route: Option<usize>,
    client: Option<Arc<str>>,
    /// By which of its keys the client was recognised.
    key: Option<KeyDigest>,
    status: Option<StatusCode>,
    fault: Option<Fault>,
    first_byte: Duration,
    bytes_out: u64,
    aborted: bool,
    /// Where its waker is kept while its answer waits.
    waker: Option<usize>,
    pub(super) effort: Effort,
    /// If an aggregate answers.
    parts: Option<Rc<PartNotes>>,
}

/// What it took to have an upstream's answer.
#[derive(Debug, Default)]
pub(super) struct Effort {
    /// Bytes read of the request's body.
    pub(super) bytes_in: u64,
    pub(super) token_wait: Duration,
    pub(super) connect: Duration,
    pub(super) retries: u32,
    pub(super) replayed: bool,
    /// It waits for a token at the moment.
    pub(super) awaits_token: bool,
}

/// How a request is called where it is on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Label<'a> {
    pub(super) id: RequestId,
    pub(super) route: &'a str,
}

/// What only the log shows.
struct Seen {
    method: Method,
    uri: Uri,
    matched: Duration,
    problem: Option<&'static str>,
    upstream_request_id: Option<String>,
}

/// A request's id, and its route.
#[derive(Debug, Clone)]
pub(super) struct RequestName {
    id: RequestId,
    installed: Rc<Installed>,
    route: Option<usize>,
}

/// Sixteen hexadecimal digits, made here: what a client sends as its own is not trusted to be unique. Written out only
/// where they are seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestId(u64);

impl Record {
    pub(super) fn begin<B>(worker: &Rc<Worker>, request: &Request<B>) -> Box<Record> {
        let installed = worker.installed();
        let seen = installed.snapshot.access_log.then(|| {
            Box::new(Seen {
                method: request.method().clone(),
                uri: request.uri().clone(),
                matched: Duration::ZERO,
                problem: None,
                upstream_request_id: None,
            })
        });
        worker.metrics.requests_in_progress.raise();
        Box::new(Record {
            id: RequestId(fastrand::u64(..)),
            begin: worker.living.clock.now(),
            worker: worker.clone(),
            installed,
            seen,
            route: None,
            client: None,
            key: None,
            waker: None,
            status: None,
            fault: None,
            first_byte: Duration::ZERO,
            bytes_out: 0,
            aborted: false,
            effort: Effort::default(),
            parts: None,
        })
    }

    /// The snapshot that serves this request to its end.
    pub(super) fn installed(&self) -> Rc<Installed> {
        self.installed.clone()
    }

    pub(super) fn matched(&mut self, route: usize) {
        self.route = Some(route);
        if self.seen.is_some() {
            let elapsed = self.elapsed();
            self.log(|seen| seen.matched = elapsed);
        }
    }

    pub(super) fn recognised(&mut self, client: Arc<str>, key: KeyDigest) {
        self.client = Some(client);
        self.key = Some(key);
    }

    /// Several upstreams are asked: what is noted of them belongs to this request.
    pub(super) fn has_parts(&mut self, notes: &Rc<PartNotes>) {
        self.parts = Some(notes.clone());
    }

    /// The client, if it was recognised.
    pub(super) fn client(&self) -> Option<&Arc<str>> {
        self.client.as_ref()
    }

    /// Names the request in what is logged where the record cannot be reached.
    pub(super) fn request_name(&self) -> RequestName {
        RequestName { id: self.id, installed: self.installed(), route: self.route }
    }

    pub(super) fn upstream_request_id(&mut self, headers: &HeaderMap) {
        self.log(|seen| {
            // All that the client got, legible or not: it is what the upstream's support will be asked about.
            let ids = headers.get_all(X_REQUEST_ID).iter().map(|id| String::from_utf8_lossy(id.as_bytes()));
            seen.upstream_request_id = Some(ids.collect::<Vec<_>>().join(", "));
        });
    }

    /// The answer's head is on its way to the client.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.first_byte = self.elapsed();
    }

    /// The request failed; the log says why, at the level that the failure deserves.
    pub(super) fn failed(&mut self, failure: &Failure) {
        let meaning = failure.meaning();
        self.fault = Some(meaning.fault);
        self.log(|seen| seen.problem = Some(meaning.name));
        let (id, route, part, line) = (&self.id, self.route_name(), failure.part(), failure.line());
        let (problem, fault, credential) = (meaning.name, fault_word(meaning.fault), failure.credential());
        // The level of an event is fixed where it stands.
        macro_rules! event {
            ($level:ident) => {
                tracing::$level!(target: "attache::proxy", request_id = %id, route, part, problem, fault, credential, "{line}")
            };
        }
        match meaning.level {
            tracing::Level::ERROR => event!(error),
            tracing::Level::WARN => event!(warn),
            _ => event!(debug),
        }
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    /// Whether its answer has to end, because a reload removed what it came from (SEC-39).
    pub(super) fn is_over(&self) -> bool {
        self.installed.is_over(self.route, self.key.as_ref())
    }

    /// Its answer waits, and is to be woken also when it has to end.
    pub(super) fn wait(&mut self, waker: &Waker) {
        self.installed.wait(&mut self.waker, waker);
    }

    /// The answer broke on its way, after its head was sent.
    pub(super) fn abort(&mut self, cause: &str, fault: Fault) {
        self.aborted = true;
        self.fault = Some(fault);
        tracing::warn!(
            target: "attache::proxy",
            request_id = %self.id,
            route = self.route_name(),
            fault = fault_word(fault),
            "the answer was aborted: {cause}"
        );
    }

    /// A part of an aggregate failed after the answer's head was sent.
    pub(super) fn cut_by(&mut self, failure: &Failure) {
        self.failed(failure);
        self.aborted = true;
    }

    /// A panic while the answer streamed (SEC-42).
    pub(super) fn panicked(&mut self) {
        self.worker.metrics.panics.add(1);
        self.abort("a panic in this proxy", Fault::Proxy);
    }

    /// The answer was dropped before its end: the client left, or the worker has ended (SEC-40).
    pub(super) fn cut_off(&mut self) {
        self.aborted = true;
        let fault = if self.worker.has_ended() { Fault::Proxy } else { Fault::Client };
        self.fault.get_or_insert(fault);
    }

    fn log(&mut self, note: impl FnOnce(&mut Seen)) {
        if let Some(seen) = &mut self.seen {
            note(seen);
        }
    }

    fn elapsed(&self) -> Duration {
        self.worker.living.clock.now().since(self.begin)
    }

    fn route_name(&self) -> Option<&str> {
        self.installed.route_name(self.route)
    }

    fn outcome(&mut self) -> Outcome {
        if let Some(parts) = &self.parts {
            parts.add_to(&mut self.effort);
        }
        Outcome {
            status: self.status.map_or(CLIENT_CLOSED_REQUEST, |status| status.as_u16()),
            total: self.elapsed(),
            token_wait: self.effort.token_wait,
            first_byte: self.first_byte,
            bytes_in: self.effort.bytes_in,
            bytes_out: self.bytes_out,
            retries: self.effort.retries,
            replayed: self.effort.replayed,
            fault: self.fault,
        }
    }

    fn write_line(&self, seen: &Seen, outcome: &Outcome) {
        let upstream = self.route.map(|route| self.installed.snapshot.routes[route].upstream_name());
        tracing::info!(
            target: "attache::access",
            request_id = %self.id,
            client = self.client.as_deref(),
            route = self.route_name(),
            upstream,
            method = seen.method.as_str(),
            path = seen.uri.path(),
            status = outcome.status,
            bytes_in = outcome.bytes_in,
            bytes_out = outcome.bytes_out,
            match_ms = milliseconds(seen.matched),
            token_ms = milliseconds(outcome.token_wait),
            connect_ms = milliseconds(self.effort.connect),
            first_byte_ms = milliseconds(outcome.first_byte),
            total_ms = milliseconds(outcome.total),
            retries = outcome.retries,
            replayed = outcome.replayed,
            aborted = self.aborted,
            fault = outcome.fault.map(fault_word),
            problem = seen.problem,
            parts = self.parts.as_ref().map(tracing::field::display),
            upstream_request_id = seen.upstream_request_id,
            "request"
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.worker.metrics.requests_in_progress.lower();
        if let Some(place) = self.waker {
            self.installed.stop_waiting(place);
        }
        if self.status.is_none() {
            self.cut_off();
        }
        let outcome = self.outcome();
        self.installed.cells(self.route).record(&outcome);
        if let Some(seen) = &self.seen {
            self.write_line(seen, &outcome);
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({})", self.id)
    }
}

impl RequestName {
    /// A part of an aggregate failed, and the answer does without it.
    pub(super) fn part_failed(&self, part: &str, cause: &PartCause) {
        let meaning = cause.meaning();
        let (id, route) = (&self.id, self.installed.route_name(self.route));
        let (problem, fault, title) = (meaning.name, fault_word(meaning.fault), meaning.title);
        let cause = cause.cause();
        // As above; what a client does wrong, or a token endpoint, would flood the log.
        if meaning.level == tracing::Level::DEBUG {
            tracing::debug!(target: "attache::proxy", request_id = %id, route, part, problem, fault, cause, "{title}");
        } else {
            tracing::warn!(target: "attache::proxy", request_id = %id, route, part, problem, fault, cause, "{title}");
        }
    }

    /// The credential came back in the answer's body, so many times.
    pub(super) fn masked(&self, times: usize) {
        tracing::info!(
            target: "attache::proxy",
            request_id = %self.id,
            route = self.installed.route_name(self.route),
            masked = times,
            "the upstream sent back the credential in a body; it was masked"
        );
    }
}

impl RequestId {
    pub(super) fn value(self) -> HeaderValue {
        let mut digits = [0; 16];
        for (index, digit) in digits.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(self.0 >> (60 - 4 * index)) as usize & 0xf];
        }
        HeaderValue::from_bytes(&digits).expect("hexadecimal digits are legal")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// With microseconds behind the point.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_sixteen_hexadecimal_digits() {
        assert_eq!(RequestId(0x0123_4567_89ab_cdef).to_string(), "0123456789abcdef");
        assert_eq!(RequestId(0xf).value(), "000000000000000f");
    }
}
