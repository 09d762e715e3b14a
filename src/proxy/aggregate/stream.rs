//! An answer that is sent while parts are still under way (`stream = true`). They run in a task of their own, because a client
//! that takes its time must not take that of the parts; the task ends with the answer.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::asked::Asked;
use super::compose::Stream;
use super::{head, in_body, schedule, value, with_head};
use crate::proxy::body::Content;
use crate::proxy::failure::Failure;

/// An answer on its way.
#[derive(Debug)]
pub(in crate::proxy) struct Streaming {
    /// The piece that was waited for before there was an answer.
    first: Option<Bytes>,
    pieces: UnboundedReceiver<Piece>,
    writing: Writing,
    ended: bool,
}

type Boxed = Pin<Box<dyn Future<Output = ()>>>;

/// Runs in a task of its own, and is dropped by whoever sends the answer: a task that is aborted is dropped later.
struct Writing {
    future: Rc<RefCell<Option<Boxed>>>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
enum Piece {
    Data(Bytes),
    /// The answer is complete.
    End,
    Failed(Box<Failure>),
}

/// Why an answer does not come to its end.
#[derive(Debug)]
pub(in crate::proxy) enum Cut {
    Failed(Box<Failure>),
    Panicked,
}

/// Begins the answer once there is something to send: what fails before that is a failure as any other.
pub(super) async fn begin(asked: Asked) -> Result<Response<Content>, Failure> {
    let mut response = with_head(&asked, head(None), Content::Empty);
    let metrics = asked.worker.metrics.clone();
    // What is in it is counted, each piece until it has been sent.
    let (sender, pieces) = unbounded_channel();
    let writing = Writing::begin(write(asked, sender));
    let mut streaming = Streaming { first: None, pieces, writing, ended: false };
    match streaming.pieces.recv().await {
        Some(Piece::Data(first)) => streaming.first = Some(first),
        Some(Piece::End) => streaming.ended = true,
        Some(Piece::Failed(failure)) => return Err(*failure),
        None => {
            metrics.panics.add(1);
            return Err(Failure::Panicked);
        }
    }
    *response.body_mut() = Content::Composed(Box::new(streaming));
    Ok(response)
}

/// Writes each part as soon as it and those before it are complete.
async fn write(asked: Asked, sender: UnboundedSender<Piece>) {
    let aggregate = asked.aggregate().config.clone();
    let memory = &asked.worker.living.aggregate_memory;
    let mut stream = Stream::new(aggregate.clone());
    let send = |data: Bytes| {
        if !data.is_empty() {
            // Where nobody takes it any more, this task is about to be ended.
            let _ = sender.send(Piece::Data(data));
        }
    };
    let counted = |data: Bytes| memory.hold().count(data).ok_or(Failure::NoAggregateMemory);
    let mut part = |index: usize, content: &value::Content| {
        let pieces = stream.part(index, content, memory).ok_or(Failure::NoAggregateMemory)?;
        pieces.into_iter().for_each(send);
        Ok(())
    };
    let ended = schedule::run(&asked, Some(&mut part)).await.and_then(|ended| {
        send(counted(stream.finish(in_body(&aggregate, &ended.told).as_ref()))?);
        Ok(())
    });
    let last = match ended {
        Ok(()) => Piece::End,
        Err(failure) => Piece::Failed(Box::new(failure)),
    };
    let _ = sender.send(last);
}

impl Streaming {
    pub(in crate::proxy) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.pieces.poll_recv(cx)) {
            Some(Piece::Data(data)) => Some(Ok(data)),
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            Some(Piece::Failed(failure)) => Some(Err(Cut::Failed(failure))),
            None => Some(Err(Cut::Panicked)),
        })
    }

    pub(in crate::proxy) fn is_ended(&self) -> bool {
        self.ended && self.first.is_none()
    }
}

impl Drop for Streaming {
    /// Nobody wants it any more: what is under way is cancelled, here and now, so that the request's record has it.
    fn drop(&mut self) {
        self.writing.end();
    }
}

impl Writing {
    fn begin(future: impl Future<Output = ()> + 'static) -> Writing {
        let future = Rc::new(RefCell::new(Some(Box::pin(future) as Boxed)));
        let shared = future.clone();
        let task = tokio::task::spawn_local(poll_fn(move |cx| {
            let mut future = shared.borrow_mut();
            let polled = future.as_mut().map_or(Poll::Ready(()), |future| future.as_mut().poll(cx));
            if polled.is_ready() {
                *future = None;
            }
            polled
        }));
        Writing { future, task }
    }

    fn end(&self) {
        self.future.take();
        self.task.abort();
    }
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writing")
    }
}
