//! Reading a client's body, with the copy that makes it possible to send it again.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Body, Frame};

use super::recode::Recoder;
use super::replay::{COPY_BYTES_MAX, Copy, ReplayBudget};
use crate::clock::Ticker;
use crate::upstream::trailers::is_trailer_allowed;

/// A client's body, what was kept of it, and how far an attempt to send it has come.
#[derive(Debug)]
pub(super) struct Reader {
    source: Source,
    pub(super) length: Option<u64>,
    pub(super) copy: Copy,
    /// The next piece of the copy that is sent; beyond its pieces: the client's body is read on.
    next_piece: usize,
    trailers: Trailers,
    pub(super) stripped: Vec<HeaderName>,
    pub(super) read: u64,
    pub(super) ticker: Ticker,
    pub(super) idle: Duration,
    /// Counts beginnings, so that an attempt that is over reads nothing any more.
    pub(super) attempt: u32,
    /// Writes this attempt's body in another coding.
    pub(super) recoder: Option<Box<Recoder>>,
}

/// Where the body comes from.
#[derive(Debug)]
pub(super) enum Source {
    Client(hyper::body::Incoming),
    #[cfg(test)]
    Scripted(tokio::sync::mpsc::Receiver<Frame<Bytes>>),
    /// Read to its end.
    Ended,
}

/// Trailers come once, after all data, and once more when the copy is replayed.
#[derive(Debug)]
enum Trailers {
    None,
    Due(HeaderMap),
    Sent(HeaderMap),
}

/// Why a client's body could not be read.
#[derive(Debug)]
pub enum ClientBodyError {
    /// It ended badly or broke HTTP.
    Broken(hyper::Error),
    /// It is longer or shorter than its `Content-Length`.
    Length,
    /// The attempt that read it is over.
    Abandoned,
}

impl fmt::Display for ClientBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientBodyError::Broken(error) => write!(f, "it broke off: {error}"),
            ClientBodyError::Length => f.write_str("its length is not the announced one"),
            ClientBodyError::Abandoned => f.write_str("it is no longer wanted"),
        }
    }
}

impl std::error::Error for ClientBodyError {}

impl Reader {
    pub(super) fn new(
        source: Source,
        length: Option<u64>,
        budget: Arc<ReplayBudget>,
        ticker: &Ticker,
        idle: Duration,
    ) -> Self {
        let mut copy = Copy::new(budget);
        if length.is_some_and(|length| length > COPY_BYTES_MAX as u64) {
            copy.give_up_when_read();
        }
        Reader {
            source,
            length,
            copy,
            next_piece: 0,
            trailers: Trailers::None,
            stripped: Vec::new(),
            read: 0,
            ticker: ticker.clone(),
            idle,
            attempt: 0,
            recoder: None,
        }
    }

    /// Nobody is waited for: all there is has been read, and is kept.
    pub(super) fn whole(data: Bytes, ticker: &Ticker) -> Self {
        let length = Some(data.len() as u64);
        // Its own budget: whoever made it has seen to the memory.
        let budget = ReplayBudget::new(data.len());
        let mut reader = Reader::new(Source::Ended, length, budget, ticker, Duration::MAX);
        reader.copy.allow(data.len());
        reader.copy.push(&data);
        reader
    }

    pub(super) fn is_read(&self) -> bool {
        matches!(self.source, Source::Ended)
    }

    pub(super) fn fits_copy(&self) -> bool {
        let held = self.is_read() && !self.copy.is_lost();
        held || self.length.is_none_or(|length| length <= COPY_BYTES_MAX as u64)
    }

    pub(super) fn rewind(&mut self) {
        self.attempt += 1;
        self.next_piece = 0;
        self.recoder = None;
        self.trailers = match std::mem::replace(&mut self.trailers, Trailers::None) {
            Trailers::Sent(trailers) => Trailers::Due(trailers),
            other => other,
        };
    }

    /// The next frame as it is sent.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        let Some(mut recoder) = self.recoder.take() else { return self.poll_uncoded(cx) };
        let polled = recoder.poll_frame(self, cx);
        self.recoder = Some(recoder);
        polled
    }

    /// The next frame: what is kept and was not sent in this attempt, then what the client brings.
    pub(super) fn poll_uncoded(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        if let Some(piece) = self.copy.piece(self.next_piece) {
            self.next_piece += 1;
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match std::task::ready!(self.poll_source(cx)) {
            Some(Ok(data)) => {
                self.next_piece = self.copy.pieces();
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => Poll::Ready(self.due_trailers().map(|trailers| Ok(Frame::trailers(trailers)))),
        }
    }

    pub(super) fn has_trailers(&self) -> bool {
        !matches!(self.trailers, Trailers::None)
    }

    fn due_trailers(&mut self) -> Option<HeaderMap> {
        let Trailers::Due(due) = &mut self.trailers else { return None };
        let trailers = std::mem::take(due);
        self.trailers = Trailers::Sent(trailers.clone());
        Some(trailers)
    }

    /// Reads the client's body on: its data is copied and returned, its trailers are put aside.
    pub(super) fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ClientBodyError>>> {
        loop {
            let frame = match &mut self.source {
                Source::Ended => return Poll::Ready(None),
                Source::Client(incoming) => std::task::ready!(Pin::new(incoming).poll_frame(cx)),
                #[cfg(test)]
                Source::Scripted(frames) => std::task::ready!(frames.poll_recv(cx)).map(Ok),
            };
            match frame {
                None => {
                    self.source = Source::Ended;
                    return Poll::Ready(None);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(ClientBodyError::Broken(error)))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.read += data.len() as u64;
                        self.copy.push(&data);
                        return Poll::Ready(Some(Ok(data)));
                    }
                    Err(frame) => self.put_aside(frame.into_trailers().unwrap_or_default()),
                },
            }
        }
    }

    /// Trailers without framing, routing and credentials, in whichever way they are spelled.
    fn put_aside(&mut self, trailers: HeaderMap) {
        let mut kept = HeaderMap::new();
        for (name, value) in &trailers {
            if is_trailer_allowed(name) && !self.stripped.contains(name) {
                kept.append(name, value.clone());
            }
        }
        if !kept.is_empty() {
            self.trailers = Trailers::Due(kept);
        }
    }
}
