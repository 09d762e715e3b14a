//! Bodies of HTTP/2 streams.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::link::Entered;
use crate::clock::{Deadline, Ticker};
use crate::upstream::body::{AnswerBodyError, ClientBodyError, SharedBody};
use crate::upstream::trailers::strip;

/// A request's body as hyper takes it.
#[derive(Debug)]
pub(super) enum RequestBody {
    Empty,
    Streamed { body: SharedBody, length: Option<u64>, left: Option<u64>, upload: Rc<Upload> },
}

/// How an upload fares, seen from the exchange.
#[derive(Debug, Default)]
pub(super) struct Upload {
    /// Bytes that were taken.
    pub(super) taken: Cell<u64>,
    pub(super) awaits_client: Cell<bool>,
    pub(super) done: Cell<bool>,
    pub(super) failure: RefCell<Option<ClientBodyError>>,
    cancelled: Cell<bool>,
    /// Of hyper's task, which waits for the client.
    waker: RefCell<Option<Waker>>,
    /// Of the exchange, which has a deadline to set with each change.
    watcher: RefCell<Option<Waker>>,
}

impl Upload {
    /// Has this task woken, once, when something changes.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        *self.watcher.borrow_mut() = Some(cx.waker().clone());
    }

    fn tell(&self) {
        let watcher = self.watcher.borrow_mut().take();
        if let Some(watcher) = watcher {
            watcher.wake();
        }
    }

    /// Nobody wants it any more: the stream is reset, unless the upload is complete.
    pub(super) fn cancel(&self) {
        self.cancelled.set(true);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Cancels an upload when the exchange or its answer is let go (SEC-35, SEC-36).
#[derive(Debug)]
pub(super) struct CancelOnDrop(pub(super) Rc<Upload>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        let RequestBody::Streamed { body, left, upload, .. } = self.get_mut() else {
            return Poll::Ready(None);
        };
        if upload.cancelled.get() {
            return Poll::Ready(Some(Err(ClientBodyError::Abandoned)));
        }
        let polled = body.poll_frame(cx);
        let awaited = upload.awaits_client.replace(polled.is_pending());
        if !awaited || polled.is_ready() {
            upload.tell();
        }
        let failed = |error| {
            *upload.failure.borrow_mut() = Some(error);
            // The exchange says why; hyper needs to know that.
            Poll::Ready(Some(Err(ClientBodyError::Abandoned)))
        };
        match polled {
            Poll::Pending => {
                *upload.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                upload.taken.set(upload.taken.get() + bytes);
                if let Some(announced) = left {
                    match announced.checked_sub(bytes) {
                        Some(rest) => *announced = rest,
                        None => return failed(ClientBodyError::Length),
                    }
                }
                upload.done.set(frame.is_trailers());
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) if left.is_some_and(|left| left > 0) => failed(ClientBodyError::Length),
            Poll::Ready(None) => {
                upload.done.set(true);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => failed(error),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, RequestBody::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Streamed { length, .. } => length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// An answer's body that still arrives. Dropping it resets the stream.
#[derive(Debug)]
pub(in crate::upstream) struct Streaming {
    pub(super) incoming: hyper::body::Incoming,
    pub(super) idle: Duration,
    pub(super) ticker: Ticker,
    /// Made when there is something to wait for.
    pub(super) deadline: Option<Deadline>,
    pub(super) _upload: Option<CancelOnDrop>,
    pub(super) _entered: Entered,
}

impl Streaming {
    pub(in crate::upstream) fn is_ended(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(in crate::upstream) fn exact_length(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    pub(in crate::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerBodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            let deadline = self.deadline.get_or_insert_with(|| self.ticker.deadline());
            if !deadline.is_set() && !deadline.is_expired() {
                deadline.set(self.idle);
            }
            return deadline.poll_expired(cx).map(|()| Some(Err(AnswerBodyError::IdleTimeout)));
        };
        if let Some(deadline) = &self.deadline {
            deadline.clear();
        }
        Poll::Ready(match frame {
            None => None,
            Some(Err(error)) => Some(Err(AnswerBodyError::Http2(error))),
            Some(Ok(frame)) => match frame.into_trailers() {
                Ok(trailers) => strip(trailers).map(|trailers| Ok(Frame::trailers(trailers))),
                Err(frame) => Some(Ok(frame)),
            },
        })
    }
}
