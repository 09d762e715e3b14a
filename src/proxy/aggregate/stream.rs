//! An answer that is sent while parts are still under way (`stream = true`). They run in a task of their own, because a client
//! that takes its time must not take that of the parts; the task ends with the answer.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::asked::Asked;
use super::compose::Stream;
use super::{head, in_body, schedule, with_head};
use crate::proxy::body::Content;
use crate::proxy::failure::Failure;

/// An answer on its way.
#[derive(Debug)]
pub(in crate::proxy) struct Streaming {
    /// The piece that was waited for before there was an answer.
    first: Option<Bytes>,
    pieces: UnboundedReceiver<Piece>,
    task: JoinHandle<()>,
    ended: bool,
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
    let task = tokio::task::spawn_local(write(asked, sender));
    let mut streaming = Streaming { first: None, pieces, task, ended: false };
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
            let data = memory.hold().count(data).ok_or(Failure::NoAggregateMemory)?;
            // Where nobody takes it any more, this task is about to be ended.
            let _ = sender.send(Piece::Data(data));
        }
        Ok(())
    };
    let ended = match schedule::run(&asked, |index, content| send(stream.part(index, content))).await {
        Ok(ended) => send(stream.finish(in_body(&aggregate, &ended.told).as_ref())),
        Err(failure) => Err(failure),
    };
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
    /// Nobody wants it any more: what is under way is cancelled.
    fn drop(&mut self) {
        self.task.abort();
    }
}
