//! The body of every answer to a client. It streams, masks what has to be masked, and closes the request's record when
//! it has ended or was dropped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};

use super::access_log::Record;
use super::aggregate::{Cut, Streaming};
use super::redact::{self, Redactor, Unscannable};
use super::source::Source;
use crate::listener::AnswerBody;
use crate::metrics::Fault;
use crate::secret::Masks;
use crate::upstream::AnswerBodyError;

/// The body of every answer to a client.
#[derive(Debug)]
pub struct ClientBody {
    content: Content,
    /// Closed, and so recorded, by being dropped.
    record: Option<Box<Record>>,
}

/// Aborts the client's answer: it must never look complete (SEC-33).
#[derive(Debug)]
pub struct Aborted;

/// What the client is sent.
#[derive(Debug)]
pub(super) enum Content {
    Empty,
    /// Whole, and final. Once it is handed over, nothing is left here.
    Ready(Bytes),
    /// Boxed, because answers are moved, and most are not streamed.
    Streamed(Box<Streamed>),
    /// Of several upstreams' answers, while some are still under way.
    Composed(Box<Streaming>),
}

/// An upstream's body on its way.
#[derive(Debug)]
pub(super) struct Streamed {
    source: Source,
    redactor: Option<Redactor>,
    /// What to mask in trailers.
    masks: Option<Arc<Masks>>,
    /// Trailers that wait for the redactor's last bytes to go first.
    trailers: Option<HeaderMap>,
    ended: bool,
    /// What the answer's `Content-Length` leaves to come.
    left: Option<u64>,
}

impl ClientBody {
    pub(super) fn new(content: Content, record: Box<Record>) -> Self {
        ClientBody { content, record: Some(record) }
    }

    /// Whether everything was handed over.
    fn is_complete(&self) -> bool {
        match &self.content {
            Content::Streamed(streamed) => streamed.is_end_stream() || streamed.left == Some(0),
            Content::Composed(streaming) => streaming.is_ended(),
            Content::Ready(bytes) => bytes.is_empty(),
            Content::Empty => true,
        }
    }

    /// Ends the answer so that it cannot look complete; `why` tells the record.
    fn abort(&mut self, why: impl FnOnce(&mut Record)) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        self.content = Content::Empty;
        if let Some(mut record) = self.record.take() {
            why(&mut record);
        }
        Poll::Ready(Some(Err(Aborted)))
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let this = self.get_mut();
        if this.record.as_ref().is_some_and(|record| record.is_over()) {
            return this.abort(|record| record.abort("a reload removed its route, client or credential", Fault::Proxy));
        }
        // SEC-42: on HTTP/2 a panic here would end every other request of the connection.
        let polled = catch_unwind(AssertUnwindSafe(|| this.content.poll_frame(cx)));
        match polled {
            Err(_) => this.abort(Record::panicked),
            Ok(Poll::Pending) => {
                if let Some(record) = &mut this.record {
                    record.wait(cx.waker());
                }
                Poll::Pending
            }
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                if let (Some(data), Some(record)) = (frame.data_ref(), &mut this.record) {
                    record.sent(data.len());
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Ok(Poll::Ready(Some(Err(error)))) => this.abort(|record| error.tell(record)),
            Ok(Poll::Ready(None)) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Ready(bytes) => bytes.is_empty(),
            Content::Streamed(streamed) => streamed.is_end_stream(),
            Content::Composed(streaming) => streaming.is_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Ready(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Streamed(streamed) => streamed.size_hint(),
            Content::Composed(_) => SizeHint::default(),
        }
    }
}

impl AnswerBody for ClientBody {
    fn cut_off(mut self: Pin<&mut Self>) {
        if let Some(record) = &mut self.record {
            record.cut_off();
        }
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        let complete = self.is_complete();
        if let Some(record) = &mut self.record
            && !complete
        {
            record.cut_off();
        }
    }
}

impl Content {
    /// The content of an upstream's answer with these headers, cleaned. What has arrived whole need not be streamed.
    pub(super) fn of_answer(
        source: Source,
        redactor: Option<Redactor>,
        masks: Option<Arc<Masks>>,
        headers: &HeaderMap,
    ) -> Result<Content, Unscannable> {
        Ok(match (source.into_ready(), redactor) {
            (Ok(data), _) if data.is_empty() => Content::Empty,
            (Ok(data), None) => Content::Ready(data),
            (Ok(data), Some(redactor)) => Content::Ready(redactor.whole(data)?),
            (Err(source), redactor) => {
                let left = content_length(headers);
                Content::Streamed(Box::new(Streamed { source, redactor, masks, trailers: None, ended: false, left }))
            }
        })
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self {
            Content::Streamed(streamed) => streamed.poll_frame(cx),
            Content::Composed(streaming) => {
                streaming.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data).map_err(Broken::Composed)))
            }
            Content::Ready(bytes) if !bytes.is_empty() => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Empty | Content::Ready(_) => Poll::Ready(None),
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl Streamed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if let Some(trailers) = self.trailers.take() {
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match ready!(self.source.poll_frame(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(Broken::Upstream(error)))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let data = match &mut self.redactor {
                            Some(redactor) => redactor.pass(data).map_err(Broken::Unscannable)?,
                            None => data,
                        };
                        if !data.is_empty() {
                            return Poll::Ready(Some(Ok(self.data(data))));
                        }
                    }
                    Err(frame) => self.end_with(frame.into_trailers().ok()),
                },
                None => self.end_with(None),
            }
            if self.ended
                && let Some(redactor) = &mut self.redactor
            {
                let last = redactor.finish();
                if !last.is_empty() {
                    return Poll::Ready(Some(Ok(self.data(last))));
                }
            }
        }
    }

    fn data(&mut self, data: Bytes) -> Frame<Bytes> {
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        Frame::data(data)
    }

    fn end_with(&mut self, trailers: Option<HeaderMap>) {
        self.ended = true;
        self.trailers = trailers.and_then(|mut trailers| {
            if self.redactor.is_some() {
                redact::remove_digests(&mut trailers);
            }
            if let Some(masks) = &self.masks {
                masks.mask_headers(&mut trailers);
            }
            (!trailers.is_empty()).then_some(trailers)
        });
    }

    fn held_bytes(&self) -> u64 {
        self.redactor.as_ref().map_or(0, Redactor::held_bytes)
    }

    fn is_end_stream(&self) -> bool {
        (self.ended || self.source.is_end_stream()) && self.trailers.is_none() && self.held_bytes() == 0
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held_bytes();
        if self.ended {
            return SizeHint::with_exact(held);
        }
        let mut hint = self.source.size_hint();
        if held > 0 {
            if let Some(upper) = hint.upper() {
                hint.set_upper(upper + held);
            }
            hint.set_lower(hint.lower() + held);
        }
        hint
    }
}

/// Why an answer's body does not come to its end.
#[derive(Debug)]
enum Broken {
    Upstream(AnswerBodyError),
    Unscannable(Unscannable),
    Composed(Cut),
}

impl Broken {
    fn tell(&self, record: &mut Record) {
        match self {
            Broken::Upstream(error) => record.abort(&error.to_string(), Fault::Upstream),
            Broken::Unscannable(error) => record.abort(&error.to_string(), Fault::Upstream),
            Broken::Composed(Cut::Failed(failure)) => record.cut_by(failure),
            Broken::Composed(Cut::Panicked) => record.panicked(),
        }
    }
}

impl std::fmt::Display for Aborted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer was aborted")
    }
}

impl std::error::Error for Aborted {}
