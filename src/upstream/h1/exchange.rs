//! One exchange up to its answer's head: the request is written while the answer is awaited, in one task.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use http::{HeaderMap, Method, StatusCode};

use super::BadAnswer;
use super::head::{self, HEAD_BYTES_MAX, Head, Scan};
use super::upload::{Progress, Upload};
use super::wire::Wire;
use crate::config::UpstreamTimeouts;
use crate::upstream::body::OutgoingBody;
use crate::upstream::pool::Pool;
use crate::upstream::waiting::Waiting;
use crate::upstream::{ExchangeErrorKind, OutgoingHead};

/// The most interim answers to one request, and what they may add up to: a flood of them is otherwise endless.
const INTERIM_MAX: usize = 16;
const INTERIM_BYTES_MAX: usize = 64 * 1024;

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(in crate::upstream) struct Outgoing<'a> {
    pub(in crate::upstream) head: &'a OutgoingHead<'a>,
    /// The upstream's configured authority.
    pub(in crate::upstream) authority: &'a str,
}

/// Why there is no answer.
#[derive(Debug)]
pub(in crate::upstream) struct Failure {
    pub(in crate::upstream) kind: ExchangeErrorKind,
    pub(in crate::upstream) text: String,
    /// The connection took no byte of the request.
    pub(in crate::upstream) nothing_sent: bool,
    /// Closed or reset before a byte of the answer.
    pub(in crate::upstream) closed_before_answer: bool,
    /// See `ExchangeError`.
    pub(in crate::upstream) connection_ends: bool,
}

/// An answer's head, and whether the whole request was sent before it came.
#[derive(Debug)]
pub(in crate::upstream) struct Answered {
    pub(in crate::upstream) head: Head,
    pub(in crate::upstream) headers: HeaderMap,
    pub(super) request_complete: bool,
    pub(in crate::upstream) wire: Box<Wire>,
}

/// Sends a request and waits for the head of its final answer. An answer that comes before the request was sent
/// stops the upload (SEC-35). Dropping the future, or an error, closes the connection.
pub(in crate::upstream) async fn exchange(
    mut wire: Box<Wire>,
    request: Outgoing<'_>,
    body: &mut OutgoingBody,
    timeouts: &UpstreamTimeouts,
    pool: &Pool,
) -> Result<Answered, Failure> {
    let upload = Upload::begin(&mut wire, &request, body);
    let mut attempt = Attempt {
        answers_head: *request.head.method == Method::HEAD,
        wire: &mut wire,
        body,
        timeouts,
        upload,
        scan: Scan::default(),
        headers: pool.map(),
        interim: 0,
        interim_bytes: 0,
        broken: None,
        waiting: None,
        sent: 0,
        answer_began: false,
    };
    let head = poll_fn(|cx| attempt.poll(cx)).await;
    let request_complete = attempt.upload.is_done();
    match head {
        Ok(head) => Ok(Answered { head, headers: attempt.headers, request_complete, wire }),
        Err(Trouble { kind, text }) => {
            let closed_before_answer = kind == ExchangeErrorKind::Closed && !attempt.answer_began;
            Err(Failure { kind, text, nothing_sent: wire.sent == 0, closed_before_answer, connection_ends: false })
        }
    }
}

struct Attempt<'a> {
    wire: &'a mut Wire,
    body: &'a mut OutgoingBody,
    timeouts: &'a UpstreamTimeouts,
    upload: Upload,
    answers_head: bool,
    scan: Scan,
    /// The answer's, once its head is complete.
    headers: HeaderMap,
    interim: usize,
    interim_bytes: usize,
    /// Writing failed: why. What the upstream said before it closed is still read.
    broken: Option<io::Error>,
    /// What the deadline waits for.
    waiting: Option<Waiting>,
    /// What the connection had taken when the deadline was last set.
    sent: u64,
    answer_began: bool,
}

struct Trouble {
    kind: ExchangeErrorKind,
    text: String,
}

impl From<BadAnswer> for Trouble {
    fn from(bad: BadAnswer) -> Self {
        Trouble { kind: ExchangeErrorKind::BadAnswer, text: format!("the upstream's answer is no valid HTTP: {bad}") }
    }
}

impl Attempt<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Trouble>> {
        let waiting = match self.poll_upload(cx) {
            Ok(waiting) => waiting,
            Err(trouble) => return Poll::Ready(Err(trouble)),
        };
        if let Poll::Ready(head) = self.poll_head(cx) {
            self.wire.deadline.clear();
            return Poll::Ready(head);
        }
        let patience = waiting.patience(self.body.idle(), self.timeouts);
        if self.waiting != Some(waiting) || self.sent != self.wire.sent {
            self.waiting = Some(waiting);
            self.sent = self.wire.sent;
            self.wire.deadline.set(patience);
        }
        self.wire.deadline.poll_expired(cx).map(|()| {
            let (kind, text) = waiting.expired(patience);
            Err(Trouble { kind, text })
        })
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<Waiting, Trouble> {
        if self.upload.is_done() || self.broken.is_some() {
            return Ok(Waiting::FirstByte);
        }
        match self.upload.poll(self.wire, self.body, cx) {
            Progress::Done => Ok(Waiting::FirstByte),
            Progress::AwaitsClient => Ok(Waiting::Client),
            Progress::AwaitsUpstream => Ok(Waiting::Upload),
            Progress::Client(error) => Err(Trouble {
                kind: ExchangeErrorKind::ClientBody,
                text: format!("reading the request's body from the client: {error}"),
            }),
            Progress::Broken(error) => {
                self.broken = Some(error);
                Ok(Waiting::FirstByte)
            }
        }
    }

    /// Reads until the head of a final answer is complete.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Trouble>> {
        loop {
            match std::task::ready!(self.wire.poll_read(cx, 0)) {
                Ok(0) => return Poll::Ready(Err(self.closed(None))),
                Ok(_) => self.answer_began = true,
                Err(error) => return Poll::Ready(Err(self.closed(Some(error)))),
            }
            match self.decode() {
                Ok(None) => {}
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Err(trouble) => return Poll::Ready(Err(trouble)),
            }
        }
    }

    /// The final answer's head, if it is complete. Interim ones are consumed, and not relayed.
    fn decode(&mut self) -> Result<Option<Head>, Trouble> {
        loop {
            let before = self.wire.input.len();
            let Some(head) = head::decode(&mut self.wire.input, &mut self.scan, self.answers_head, &mut self.headers)?
            else {
                return Ok(None);
            };
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(BadAnswer("it switches protocols (101), which was not asked for").into());
            }
            if !head.status.is_informational() {
                return Ok(Some(head));
            }
            self.interim += 1;
            self.interim_bytes += before - self.wire.input.len();
            if self.interim > INTERIM_MAX || self.interim_bytes > INTERIM_BYTES_MAX {
                return Err(Trouble {
                    kind: ExchangeErrorKind::TooManyInformational,
                    text: format!("the upstream sent more than {INTERIM_MAX} interim answers (1xx) or 64 KiB of them"),
                });
            }
            self.headers.clear();
        }
    }

    fn closed(&mut self, error: Option<io::Error>) -> Trouble {
        let how = match error.or(self.broken.take()) {
            Some(error) => error.to_string(),
            None => "it was closed".to_owned(),
        };
        let when = if self.answer_began { "within the answer's head" } else { "before the answer" };
        Trouble { kind: ExchangeErrorKind::Closed, text: format!("the connection broke {when}: {how}") }
    }
}

const _: () = assert!(INTERIM_BYTES_MAX >= HEAD_BYTES_MAX);
