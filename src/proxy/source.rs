//! An answer's body of which the beginning may have been read already, to see whether it says that the credential was
//! rejected.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::upstream::{AnswerBody, AnswerBodyError};

/// What of a discarded answer is read at most, so that its connection can serve again.
const DISCARD_BYTES_MAX: usize = 64 * 1024;

/// An answer's body, with what was read ahead of it.
#[derive(Debug)]
pub(super) struct Source {
    body: AnswerBody,
    read_ahead: Bytes,
    /// What ended the reading ahead: delivered after what was read.
    end: Option<End>,
}

#[derive(Debug)]
enum End {
    Complete,
    Trailers(Box<HeaderMap>),
    Broken(AnswerBodyError),
}

impl Source {
    pub(super) fn new(body: AnswerBody) -> Self {
        Source { body, read_ahead: Bytes::new(), end: None }
    }

    /// Reads the whole body if it has at most `bytes_max` bytes, and returns it without taking it.
    pub(super) async fn peek_all(&mut self, bytes_max: usize) -> Option<&[u8]> {
        if self.body.size_hint().lower() > bytes_max as u64 {
            return None;
        }
        let mut read = BytesMut::new();
        while self.end.is_none() && read.len() <= bytes_max && !self.body.is_end_stream() {
            match poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await {
                None => self.end = Some(End::Complete),
                Some(Err(error)) => self.end = Some(End::Broken(error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => read.extend_from_slice(&data),
                    Err(frame) => {
                        self.end = frame.into_trailers().ok().map(|trailers| End::Trailers(Box::new(trailers)))
                    }
                },
            }
        }
        let complete = match self.end {
            None => self.body.is_end_stream(),
            Some(End::Complete | End::Trailers(_)) => true,
            Some(End::Broken(_)) => false,
        };
        self.read_ahead = read.freeze();
        (complete && self.read_ahead.len() <= bytes_max).then_some(&self.read_ahead[..])
    }

    /// The whole body, if it has arrived already and nothing but data is in it.
    pub(super) fn into_ready(self) -> Result<Bytes, Source> {
        match self {
            Source { body, read_ahead, end: None } if read_ahead.is_empty() => body.into_ready().map_err(Source::new),
            read => Err(read),
        }
    }

    /// Lets go of an answer that nobody gets. What has arrived of it is read, without waiting: at its end the connection
    /// goes back to the pool; before its end it is closed.
    pub(super) async fn discard(mut self) {
        poll_fn(|cx| {
            let mut read = 0;
            while read < DISCARD_BYTES_MAX && self.end.is_none() {
                match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => read += frame.data_ref().map_or(0, Bytes::len),
                    Poll::Ready(Some(Err(_)) | None) | Poll::Pending => break,
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerBodyError>>> {
        if !self.read_ahead.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.read_ahead)))));
        }
        match self.end.take() {
            None => {}
            Some(End::Broken(error)) => return Poll::Ready(Some(Err(error))),
            Some(End::Trailers(trailers)) => {
                self.end = Some(End::Complete);
                return Poll::Ready(Some(Ok(Frame::trailers(*trailers))));
            }
            Some(End::Complete) => {
                self.end = Some(End::Complete);
                return Poll::Ready(None);
            }
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() {
            self.end = Some(End::Complete);
        }
        Poll::Ready(frame)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let ended = match &self.end {
            None => self.body.is_end_stream(),
            Some(End::Complete) => true,
            Some(End::Trailers(_) | End::Broken(_)) => false,
        };
        ended && self.read_ahead.is_empty()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let ahead = self.read_ahead.len() as u64;
        match &self.end {
            None => {}
            Some(End::Complete) => return SizeHint::with_exact(ahead),
            // A length would be a promise that nothing follows.
            Some(End::Trailers(_) | End::Broken(_)) => return SizeHint::default(),
        }
        let mut hint = self.body.size_hint();
        if ahead > 0 {
            if let Some(upper) = hint.upper() {
                hint.set_upper(upper + ahead);
            }
            hint.set_lower(hint.lower() + ahead);
        }
        hint
    }
}
