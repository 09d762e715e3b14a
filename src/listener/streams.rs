//! The streams of an HTTP/2 connection, each from its request to the last byte of its answer, and their write deadlines.
//!
//! hyper gives a chunk to h2 as soon as one byte of it may be sent, drops an answer's body with its last chunk, and can
//! reset no stream. So the chunks themselves tell how they are sent: h2 advances through them as it writes, and drops
//! them. A stream of which nothing was sent for too long is reset by ending its task: what h2 keeps of a stream that
//! nobody holds is discarded, and `RST_STREAM` with `CANCEL` sent.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use pin_project_lite::pin_project;
use slab::Slab;
use tokio::task::AbortHandle;

use super::activity::{Activity, Exchange};
use super::serve::AnswerBody;
use crate::clock::{Tick, Ticker};

/// Up to this many bytes of an answer go to h2 together with its end, which costs least and leaves nothing to reset the
/// stream by. Less than every usual client's window; those of a client that does not take even that end the connection.
const UNWATCHED_BYTES_MAX: usize = 16 << 10;

/// The streams of one connection that are in progress.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: RefCell<Slab<Weak<OpenStream>>>,
    /// The one whose task is to be spawned next.
    begun: RefCell<Weak<OpenStream>>,
}

/// One stream. It is in progress while its answer is being made or some of it is unsent: so long this is held, by the
/// body and by each [`Piece`].
#[derive(Debug)]
pub(super) struct OpenStream {
    exchange: Exchange,
    key: usize,
    /// Runs until the whole answer was given to h2; gone then.
    task: RefCell<Option<AbortHandle>>,
    unsent_bytes: Cell<usize>,
    /// When nothing of what is unsent was sent for too long.
    due_at: Cell<Tick>,
    was_reset: Cell<bool>,
    /// Waits until nothing is unsent.
    waiting: RefCell<Option<Waker>>,
}

impl Streams {
    pub(super) fn begin(&self, exchange: Exchange) -> Rc<OpenStream> {
        let mut open = self.open.borrow_mut();
        let entry = open.vacant_entry();
        let stream = Rc::new(OpenStream {
            exchange,
            key: entry.key(),
            task: RefCell::default(),
            unsent_bytes: Cell::new(0),
            due_at: Cell::new(Tick::NEVER),
            was_reset: Cell::new(false),
            waiting: RefCell::default(),
        });
        entry.insert(Rc::downgrade(&stream));
        *self.begun.borrow_mut() = Rc::downgrade(&stream);
        stream
    }

    /// Resets what is due, and says how many that were; `Err` if one of them can no longer be reset.
    pub(super) fn reset_due(&self, ticker: &Ticker) -> Result<u64, Unresettable> {
        let mut resets = 0;
        for (_, stream) in self.open.borrow().iter() {
            let Some(stream) = stream.upgrade().filter(|stream| ticker.is_due(stream.due_at.get())) else { continue };
            // This ends the task when it runs next, not here.
            stream.task.borrow().as_ref().ok_or(Unresettable)?.abort();
            stream.was_reset.set(true);
            stream.due_at.set(Tick::NEVER);
            resets += 1;
        }
        Ok(resets)
    }

    /// When the first of them is due.
    pub(super) fn due_at(&self) -> Tick {
        let open = self.open.borrow();
        open.iter().filter_map(|(_, stream)| Some(stream.upgrade()?.due_at.get())).min().unwrap_or(Tick::NEVER)
    }

    pub(super) fn remove(&self, key: usize) {
        self.open.borrow_mut().remove(key);
    }
}

/// The whole of a stream's answer was given to h2, which only the end of the connection takes back.
#[derive(Debug)]
pub(super) struct Unresettable;

impl OpenStream {
    fn handed_over(&self, bytes: usize) {
        let activity = self.exchange.activity();
        if self.unsent_bytes.replace(self.unsent_bytes.get() + bytes) == 0 && bytes > 0 {
            self.due_at.set(activity.write_due_at());
            activity.look_at(self.due_at.get());
        }
    }

    fn sent(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.unsent_bytes.set(self.unsent_bytes.get() - bytes);
        if self.unsent_bytes.get() == 0 {
            self.due_at.set(Tick::NEVER);
            self.waiting.take().into_iter().for_each(Waker::wake);
        } else if !self.was_reset.get() {
            self.due_at.set(self.exchange.activity().write_due_at());
        }
    }

    fn poll_sent(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.unsent_bytes.get() == 0 {
            return Poll::Ready(());
        }
        *self.waiting.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.exchange.activity().streams().remove(self.key);
    }
}

/// Runs the streams of a connection as tasks of its own worker.
#[derive(Debug, Clone)]
pub(super) struct StreamTasks(pub(super) Rc<Activity>);

impl<F: Future + 'static> Executor<F> for StreamTasks {
    /// hyper gives us the task of a stream right after it called the service for its request.
    fn execute(&self, future: F) {
        let task = tokio::task::spawn_local(async move {
            future.await;
        });
        if let Some(stream) = self.0.streams().begun.take().upgrade() {
            *stream.task.borrow_mut() = Some(task.abort_handle());
        }
    }
}

pin_project! {
    /// An answer's body on its way to h2.
    ///
    /// The end of an answer that is not small is held back until everything before it was sent: until then its stream
    /// can be reset, and its request is not taken for answered.
    pub(super) struct StreamBody<B: AnswerBody> {
        #[pin]
        body: B,
        stream: Rc<OpenStream>,
        handed_over_bytes: usize,
        end: End,
    }

    impl<B: AnswerBody> PinnedDrop for StreamBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let held_back = *this.handed_over_bytes > UNWATCHED_BYTES_MAX && !matches!(this.end, End::Given);
            if held_back || this.stream.was_reset.get() {
                this.body.cut_off();
            }
            this.stream.task.take();
        }
    }
}

#[derive(Debug)]
enum End {
    ToCome,
    Held(Option<HeaderMap>),
    Given,
}

impl<B: AnswerBody> StreamBody<B> {
    pub(super) fn new(body: B, stream: Rc<OpenStream>) -> Self {
        StreamBody { body, stream, handed_over_bytes: 0, end: End::ToCome }
    }
}

impl<B: AnswerBody> Body for StreamBody<B> {
    type Data = Piece;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, B::Error>>> {
        let this = self.project();
        if matches!(this.end, End::ToCome) {
            let trailers = match ready!(this.body.poll_frame(cx)?) {
                Some(frame) => match frame.into_data() {
                    Ok(bytes) => {
                        *this.handed_over_bytes = this.handed_over_bytes.saturating_add(bytes.len());
                        return Poll::Ready(Some(Ok(Frame::data(Piece::new(bytes, this.stream)))));
                    }
                    Err(frame) => frame.into_trailers().ok(),
                },
                None => None,
            };
            *this.end = End::Held(trailers);
        }
        if *this.handed_over_bytes > UNWATCHED_BYTES_MAX {
            ready!(this.stream.poll_sent(cx));
        }
        Poll::Ready(match std::mem::replace(this.end, End::Given) {
            End::Held(Some(trailers)) => Some(Ok(Frame::trailers(trailers))),
            _ => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.handed_over_bytes <= UNWATCHED_BYTES_MAX && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A chunk of an answer that tells its stream how it is sent.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    stream: Rc<OpenStream>,
}

impl Piece {
    fn new(bytes: Bytes, stream: &Rc<OpenStream>) -> Self {
        stream.handed_over(bytes.len());
        Piece { bytes, stream: stream.clone() }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, bytes: usize) {
        self.bytes.advance(bytes);
        self.stream.sent(bytes);
    }
}

impl Drop for Piece {
    /// What was not sent is not going to be.
    fn drop(&mut self) {
        self.stream.sent(self.bytes.len());
    }
}
