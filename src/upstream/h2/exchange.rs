//! One exchange over HTTP/2, up to its answer's head.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};

use super::body::{CancelOnDrop, RequestBody, Streaming, Upload};
use super::link::Link;
use crate::clock::Ticker;
use crate::config::UpstreamTimeouts;
use crate::upstream::ExchangeErrorKind;
use crate::upstream::body::{AnswerBody, ClientBodyError, OutgoingBody};
use crate::upstream::h1::{FIELDS_MAX, Failure, Outgoing, safe_target};
use crate::upstream::waiting::Waiting;

/// What an exchange came to.
type Parts = (http::StatusCode, HeaderMap, AnswerBody);

/// Sends a request and waits for the head of its final answer. Interim answers, a 101 included (which HTTP/2 does not
/// have, RFC 9113 section 8.6, and which switches nothing here), are skipped by hyper, which gives no way to count
/// them: they renew no deadline, so that the time to the first byte bounds them. Unlike HTTP/1, the upload goes on
/// while the answer streams, until the answer is let go: streaming calls need that. Dropping the future resets the
/// stream.
pub(in crate::upstream) async fn exchange(
    link: Rc<Link>,
    scheme: &'static str,
    outgoing: Outgoing<'_>,
    body: &mut OutgoingBody,
    timeouts: &UpstreamTimeouts,
    ticker: &Ticker,
) -> Result<Parts, Failure> {
    let (upload, outgoing_body) = begin(body);
    let request = request(scheme, &outgoing, outgoing_body)?;
    let entered = link.enter();
    let cancel = upload.clone().map(CancelOnDrop);
    let answered = {
        let mut response = pin!(link.sender().try_send_request(request));
        let mut patience = Patience { upload: upload.as_deref(), client: body.idle(), timeouts, seen: None };
        let deadline = ticker.deadline();
        poll_fn(|cx| {
            if let Poll::Ready(response) = response.as_mut().poll(cx) {
                return Poll::Ready(Ok(response));
            }
            if let Some(upload) = &upload {
                upload.watch(cx);
            }
            if let Some(patience) = patience.renewed() {
                deadline.set(patience);
            }
            deadline.poll_expired(cx).map(|()| Err(patience.expired()))
        })
        .await?
    };
    let response = match answered {
        Ok(response) => response,
        Err(mut error) => {
            let unsent = error.take_message().is_some();
            let client = upload.as_ref().and_then(|upload| upload.failure.borrow_mut().take());
            let failure = failure(&error.into_error(), unsent, client);
            if failure.connection_ends {
                link.retire();
            }
            return Err(failure);
        }
    };
    let (head, incoming) = response.into_parts();
    if head.headers.len() > FIELDS_MAX {
        return Err(plain(ExchangeErrorKind::BadAnswer, "the answer's head has more than 256 fields".to_owned()));
    }
    let streaming = Streaming {
        incoming,
        idle: timeouts.idle,
        ticker: ticker.clone(),
        deadline: None,
        _upload: cancel,
        _entered: entered,
    };
    let body = if streaming.is_ended() { AnswerBody::empty() } else { AnswerBody::http2(Box::new(streaming)) };
    Ok((head.status, head.headers, body))
}

fn begin(body: &mut OutgoingBody) -> (Option<Rc<Upload>>, RequestBody) {
    let length = body.sent_length();
    let Some(body) = body.share() else { return (None, RequestBody::Empty) };
    let upload = Rc::new(Upload::default());
    let streamed = RequestBody::Streamed { body, length, left: length, upload: upload.clone() };
    (Some(upload), streamed)
}

/// The request without what HTTP/2 has no place for (RFC 9113 section 8.2.2); `:authority` is the configured one
/// (SEC-11).
fn request(scheme: &'static str, outgoing: &Outgoing<'_>, body: RequestBody) -> Result<Request<RequestBody>, Failure> {
    // In which nothing is illegal any more, but it may be too long.
    let target = safe_target(outgoing.head.target);
    let uri = Uri::builder().scheme(scheme).authority(outgoing.authority).path_and_query(target.as_ref()).build();
    let uri = uri.map_err(|error| {
        let text = format!("the request's target cannot be sent over HTTP/2: {error}");
        Failure { nothing_sent: true, ..plain(ExchangeErrorKind::TargetTooLong, text) }
    })?;
    let mut request = Request::new(body);
    *request.method_mut() = outgoing.head.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    let headers = request.headers_mut();
    headers.reserve(outgoing.head.headers.len() + outgoing.head.over.len() + 1);
    outgoing.head.each_field(|name, value| {
        headers.append(name, value.clone());
    });
    if outgoing.head.wants_trailers {
        const TRAILERS: (HeaderName, HeaderValue) = (header::TE, HeaderValue::from_static("trailers"));
        headers.insert(TRAILERS.0, TRAILERS.1);
    }
    Ok(request)
}

/// How long the exchange may stay as it is.
struct Patience<'a> {
    upload: Option<&'a Upload>,
    client: Duration,
    timeouts: &'a UpstreamTimeouts,
    seen: Option<(Waiting, u64)>,
}

impl Patience<'_> {
    fn now(&self) -> (Waiting, u64) {
        match self.upload {
            Some(upload) if !upload.done.get() => {
                let waiting = if upload.awaits_client.get() { Waiting::Client } else { Waiting::Upload };
                (waiting, upload.taken.get())
            }
            _ => (Waiting::FirstByte, 0),
        }
    }

    /// The time that begins now, if something has changed.
    fn renewed(&mut self) -> Option<Duration> {
        let now = self.now();
        (self.seen.replace(now) != Some(now)).then(|| self.of(now.0))
    }

    fn of(&self, waiting: Waiting) -> Duration {
        waiting.patience(self.client, self.timeouts)
    }

    fn expired(&self) -> Failure {
        let waiting = self.now().0;
        let (kind, text) = waiting.expired(self.of(waiting));
        plain(kind, text)
    }
}

fn plain(kind: ExchangeErrorKind, text: String) -> Failure {
    Failure { kind, text, nothing_sent: false, closed_before_answer: false, connection_ends: false }
}

/// In our words: h2's own quote what the upstream says with its GOAWAY, in which it may repeat what it was sent.
fn describe(cause: &::h2::Error) -> String {
    match cause.reason() {
        Some(reason) if cause.is_remote() => format!("the upstream ended it: {reason}"),
        Some(reason) => format!("it had to be ended: {reason}"),
        None => cause.to_string(),
    }
}

/// What an error means. A request that was refused, or came after the last one that a closing upstream says it has
/// seen, was not processed (RFC 9113 sections 6.8 and 8.7): it can be sent again, whatever it is. Any other reset is the
/// upstream's word about this request, and no sign of a connection that had gone stale.
fn failure(error: &hyper::Error, unsent: bool, client: Option<ClientBodyError>) -> Failure {
    if let Some(client) = client {
        return plain(ExchangeErrorKind::ClientBody, format!("reading the request's body from the client: {client}"));
    }
    let cause = error.source().and_then(|source| source.downcast_ref::<::h2::Error>());
    // What hyper calls a fault of its user here is that it dropped a request that waited for a stream as the connection ended.
    let unsent = unsent || (cause.is_none() && error.is_user());
    let ends = unsent || cause.is_some_and(|cause| cause.is_remote() && cause.is_go_away());
    let refused = cause.is_some_and(|cause| cause.is_remote() && cause.reason() == Some(::h2::Reason::REFUSED_STREAM));
    let bad = cause.is_some_and(|cause| !cause.is_remote() && !cause.is_io() && cause.reason().is_some());
    let kind = if bad && !unsent { ExchangeErrorKind::BadAnswer } else { ExchangeErrorKind::Closed };
    let why = cause.map_or_else(|| error.to_string(), describe);
    Failure {
        kind,
        text: format!("the HTTP/2 stream broke before the answer: {why}"),
        nothing_sent: ends || refused,
        closed_before_answer: cause.is_none_or(::h2::Error::is_io),
        connection_ends: ends,
    }
}
