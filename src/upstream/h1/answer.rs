//! An answer's body, streamed off its connection; the connection's way back to the pool.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Frame;

use super::chunked::{Chunked, Step};
use super::exchange::Answered;
use super::head::{Framing, Persistence};
use super::wire::Wire;
use crate::upstream::body::{AnswerBody, AnswerBodyError};
use crate::upstream::pool::Pool;
use crate::upstream::trailers::strip;

/// What a connection needs to find its way home once its answer is complete.
#[derive(Debug)]
pub(in crate::upstream) struct Home {
    pub(in crate::upstream) pool: Rc<Pool>,
    /// How long the upstream may send nothing while its answer streams.
    pub(in crate::upstream) idle: Duration,
}

/// Turns an answer's head into its parts. A small answer that has arrived whole is ready, and its connection goes
/// back to the pool at once.
pub(in crate::upstream) fn receive(answered: Answered, home: Home) -> (StatusCode, HeaderMap, AnswerBody) {
    let Answered { head, headers, request_complete, mut wire } = answered;
    let keep = match head.persistence {
        Persistence::Keep(promised) if request_complete => {
            wire.promised = promised;
            true
        }
        _ => false,
    };
    let body = match head.framing {
        Framing::Empty => {
            finish(wire, &home.pool, keep);
            AnswerBody::empty()
        }
        Framing::Length(length) if length <= wire.input.len() as u64 => {
            let data = wire.take(length as usize, head.behind);
            finish(wire, &home.pool, keep);
            AnswerBody::ready(data)
        }
        Framing::Length(length) => Streaming::body(wire, home, keep, Coding::Length(length)),
        Framing::Chunked => chunked(wire, home, keep),
        Framing::UntilClose => Streaming::body(wire, home, keep, Coding::UntilClose),
    };
    (head.status, headers, body)
}

/// A chunked answer of one chunk that has arrived whole has a known length after all.
fn chunked(mut wire: Box<Wire>, home: Home, keep: bool) -> AnswerBody {
    let mut chunked = Chunked::new();
    match chunked.decode(&mut wire.input) {
        Ok(Step::Data(data)) if chunked.take_plain_end(&mut wire.input) => {
            finish(wire, &home.pool, keep);
            AnswerBody::ready(data)
        }
        Ok(Step::Data(data)) => Streaming::body(wire, home, keep, Coding::Chunked { chunked, first: Some(data) }),
        Ok(Step::End(trailers)) => {
            finish(wire, &home.pool, keep);
            trailers.and_then(strip).map_or_else(AnswerBody::empty, AnswerBody::trailers)
        }
        // Decoding meets an error again, and then has somebody to tell it to.
        Ok(Step::Incomplete) | Err(_) => Streaming::body(wire, home, keep, Coding::Chunked { chunked, first: None }),
    }
}

/// The end of an answer: back to the pool, unless the connection is not to be used again. Bytes behind the end answer
/// nothing that was asked: they must never reach the next client.
fn finish(wire: Box<Wire>, pool: &Rc<Pool>, keep: bool) {
    if keep && wire.input.is_empty() {
        pool.put(wire);
    }
}

/// A body that still arrives. Dropping it closes the connection (SEC-36).
#[derive(Debug)]
pub(in crate::upstream) struct Streaming {
    /// `None` once the end was reached or the body broke.
    wire: Option<Box<Wire>>,
    home: Home,
    keep: bool,
    coding: Coding,
}

#[derive(Debug)]
enum Coding {
    /// Bytes still to come.
    Length(u64),
    Chunked {
        chunked: Chunked,
        /// A piece that was decoded while looking for the end.
        first: Option<Bytes>,
    },
    UntilClose,
}

type Next = Option<Result<Frame<Bytes>, AnswerBodyError>>;

impl Streaming {
    fn body(wire: Box<Wire>, home: Home, keep: bool, coding: Coding) -> AnswerBody {
        AnswerBody::http1(Box::new(Streaming { wire: Some(wire), home, keep, coding }))
    }

    /// Whether there is nothing more to come. A broken body has an error to come.
    pub(in crate::upstream) fn is_ended(&self) -> bool {
        self.wire.is_none()
    }

    /// The bytes still to come, if that is known.
    pub(in crate::upstream) fn exact_length(&self) -> Option<u64> {
        match (&self.wire, &self.coding) {
            (None, _) => Some(0),
            (_, Coding::Length(left)) => Some(*left),
            _ => None,
        }
    }

    pub(in crate::upstream) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let Some(mut wire) = self.wire.take() else {
            return Poll::Ready(None);
        };
        loop {
            match self.take(&mut wire) {
                Ok(Taken::Frame(frame)) => {
                    self.wire = Some(wire);
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(Taken::End(last)) => {
                    finish(wire, &self.home.pool, self.keep);
                    return Poll::Ready(last.map(Ok));
                }
                Ok(Taken::Incomplete) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            match self.poll_read(&mut wire, cx) {
                Poll::Pending => {
                    self.wire = Some(wire);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(None),
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// Takes what has arrived.
    fn take(&mut self, wire: &mut Wire) -> Result<Taken, AnswerBodyError> {
        match &mut self.coding {
            Coding::Length(_) | Coding::UntilClose if wire.input.is_empty() => Ok(Taken::Incomplete),
            Coding::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(wire.input.len());
                *left -= here as u64;
                let frame = Frame::data(wire.input.split_to(here).freeze());
                Ok(if *left == 0 { Taken::End(Some(frame)) } else { Taken::Frame(frame) })
            }
            Coding::Chunked { first, .. } if first.is_some() => {
                Ok(Taken::Frame(Frame::data(first.take().unwrap_or_default())))
            }
            Coding::Chunked { chunked, .. } => match chunked.decode(&mut wire.input)? {
                Step::Data(data) if chunked.take_plain_end(&mut wire.input) => Ok(Taken::End(Some(Frame::data(data)))),
                Step::Data(data) => Ok(Taken::Frame(Frame::data(data))),
                Step::End(trailers) => Ok(Taken::End(trailers.and_then(strip).map(Frame::trailers))),
                Step::Incomplete => Ok(Taken::Incomplete),
            },
            Coding::UntilClose => Ok(Taken::Frame(Frame::data(wire.input.split().freeze()))),
        }
    }

    /// Reads once. False: the end, where that is the body's end, too. The deadline runs only while we wait, so that a
    /// slow client does not count against the upstream.
    fn poll_read(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Result<bool, AnswerBodyError>> {
        let expected = match &self.coding {
            Coding::Length(left) => *left,
            Coding::Chunked { chunked, .. } => chunked.expected_bytes(),
            Coding::UntilClose => 0,
        };
        let Poll::Ready(read) = wire.poll_read(cx, expected) else {
            if !wire.deadline.is_set() && !wire.deadline.is_expired() {
                wire.deadline.set(self.home.idle);
            }
            return wire.deadline.poll_expired(cx).map(|()| Err(AnswerBodyError::IdleTimeout));
        };
        wire.deadline.clear();
        Poll::Ready(match read {
            Ok(0) if matches!(self.coding, Coding::UntilClose) => Ok(false),
            Ok(0) | Err(_) => Err(AnswerBodyError::Closed),
            Ok(_) => Ok(true),
        })
    }
}

enum Taken {
    Frame(Frame<Bytes>),
    /// The end, and what came with it.
    End(Option<Frame<Bytes>>),
    Incomplete,
}
