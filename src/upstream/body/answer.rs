//! An answer's body on its way to the client.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::upstream::{h1, h2};

/// The answer's body as it arrives. Dropping it before its end closes the connection (SEC-36).
#[derive(Debug)]
pub struct AnswerBody {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// None, or read to its end, or broken.
    Ended,
    /// It arrived whole with its head.
    Ready(Bytes),
    /// Nothing but trailers is left.
    Trailers(Box<HeaderMap>),
    Http1(Box<h1::Streaming>),
    Http2(Box<h2::Streaming>),
}

/// The answer's body broke: the client's answer has to be aborted, never ended cleanly (SEC-33).
#[derive(Debug)]
pub enum AnswerBodyError {
    Closed,
    BadFraming,
    IdleTimeout,
    Http2(hyper::Error),
}

impl fmt::Display for AnswerBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnswerBodyError::Closed => f.write_str("the upstream closed the connection within the answer's body"),
            AnswerBodyError::BadFraming => f.write_str("the framing of the answer's body is invalid"),
            AnswerBodyError::IdleTimeout => f.write_str("the upstream sent nothing of the answer's body in time"),
            AnswerBodyError::Http2(error) => write!(f, "the stream of the answer's body broke: {error}"),
        }
    }
}

impl std::error::Error for AnswerBodyError {}

impl From<h1::BadAnswer> for AnswerBodyError {
    fn from(_: h1::BadAnswer) -> Self {
        AnswerBodyError::BadFraming
    }
}

impl AnswerBody {
    /// No body.
    pub fn empty() -> Self {
        AnswerBody { kind: Kind::Ended }
    }

    /// A body that is complete.
    pub fn ready(data: Bytes) -> Self {
        AnswerBody { kind: if data.is_empty() { Kind::Ended } else { Kind::Ready(data) } }
    }

    pub(in crate::upstream) fn trailers(trailers: HeaderMap) -> Self {
        AnswerBody { kind: Kind::Trailers(Box::new(trailers)) }
    }

    pub(in crate::upstream) fn http1(streaming: Box<h1::Streaming>) -> Self {
        AnswerBody { kind: Kind::Http1(streaming) }
    }

    pub(in crate::upstream) fn http2(streaming: Box<h2::Streaming>) -> Self {
        AnswerBody { kind: Kind::Http2(streaming) }
    }

    /// The whole body, if it has arrived already: no need to stream it.
    pub fn into_ready(self) -> Result<Bytes, AnswerBody> {
        match self.kind {
            Kind::Ended => Ok(Bytes::new()),
            Kind::Ready(data) => Ok(data),
            kind => Err(AnswerBody { kind }),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerBodyError>>> {
        let polled = match &mut self.kind {
            Kind::Http1(streaming) => streaming.poll_frame(cx),
            Kind::Http2(streaming) => streaming.poll_frame(cx),
            other => {
                return Poll::Ready(match std::mem::replace(other, Kind::Ended) {
                    Kind::Ready(data) => Some(Ok(Frame::data(data))),
                    Kind::Trailers(trailers) => Some(Ok(Frame::trailers(*trailers))),
                    _ => None,
                });
            }
        };
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.kind = Kind::Ended;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Ended => true,
            Kind::Ready(_) | Kind::Trailers(_) => false,
            Kind::Http1(streaming) => streaming.is_ended(),
            Kind::Http2(streaming) => streaming.is_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Ended | Kind::Trailers(_) => SizeHint::with_exact(0),
            Kind::Ready(data) => SizeHint::with_exact(data.len() as u64),
            Kind::Http1(streaming) => exactly(streaming.exact_length()),
            Kind::Http2(streaming) => exactly(streaming.exact_length()),
        }
    }
}

fn exactly(length: Option<u64>) -> SizeHint {
    length.map_or_else(SizeHint::default, SizeHint::with_exact)
}
