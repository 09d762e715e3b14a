//! Sending a request: the head, and the body as the client brings it and the upstream takes it.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

use super::encode::{self, RequestFraming};
use super::exchange::Outgoing;
use super::wire::Wire;
use crate::upstream::body::{ClientBodyError, OutgoingBody};

/// Up to here, head and body are copied together and sent at once: one `send` is cheaper than a `writev`, and copying
/// 16 KiB did not hurt.
const FLATTEN_BYTES_MAX: usize = 16 * 1024;

/// A request on its way.
#[derive(Debug)]
pub(super) struct Upload {
    framing: RequestFraming,
    /// Bytes of the body that a `Content-Length` still announces.
    announced: u64,
    /// A piece of the body that is too large to be copied.
    chunk: Bytes,
    /// The piece is a chunk whose CRLF is not encoded yet.
    chunk_is_open: bool,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Stage {
    /// The head is encoded; the body has not been looked at.
    Head,
    /// The body was looked at and had nothing yet; the head waits for one turn, to leave together with it.
    Held,
    Body,
    /// All is encoded.
    Rest,
    Done,
}

/// What the upload is at.
#[derive(Debug)]
pub(super) enum Progress {
    Done,
    AwaitsClient,
    AwaitsUpstream,
    /// The client's part failed.
    Client(ClientBodyError),
    /// The connection failed; an answer may still be there.
    Broken(io::Error),
}

impl Upload {
    /// Encodes the head. Nothing is sent yet.
    pub(super) fn begin(wire: &mut Wire, request: &Outgoing<'_>, body: &OutgoingBody) -> Self {
        let framing = RequestFraming::choose(request.head.method, body.is_empty(), body.sent_length());
        encode::head(&mut wire.output, request, framing);
        let announced = if let RequestFraming::Length(length) = framing { length } else { 0 };
        let stage = if body.is_empty() { Stage::Rest } else { Stage::Head };
        Upload { framing, announced, chunk: Bytes::new(), chunk_is_open: false, stage }
    }

    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    pub(super) fn poll(&mut self, wire: &mut Wire, body: &mut OutgoingBody, cx: &mut Context<'_>) -> Progress {
        loop {
            let dry = match self.collect(wire, body, cx) {
                Ok(dry) => dry,
                Err(error) => return Progress::Client(error),
            };
            if dry && self.stage == Stage::Head {
                // The body of a small request is often there one turn later, and then leaves in the same segment.
                self.stage = Stage::Held;
                cx.waker().wake_by_ref();
                return Progress::AwaitsClient;
            }
            if matches!(self.stage, Stage::Head | Stage::Held) {
                self.stage = Stage::Body;
            }
            match wire.poll_write(cx, &mut self.chunk) {
                Poll::Pending => return Progress::AwaitsUpstream,
                Poll::Ready(Err(error)) => return Progress::Broken(error),
                Poll::Ready(Ok(())) => {}
            }
            if self.chunk_is_open {
                wire.output.extend_from_slice(b"\r\n");
                self.chunk_is_open = false;
            }
            if self.stage == Stage::Rest && wire.output.is_empty() {
                self.stage = Stage::Done;
                return Progress::Done;
            }
            if dry && wire.output.is_empty() {
                return Progress::AwaitsClient;
            }
        }
    }

    /// Encodes what the body has, until there is enough to be written. True: the client has to bring more first.
    fn collect(
        &mut self,
        wire: &mut Wire,
        body: &mut OutgoingBody,
        cx: &mut Context<'_>,
    ) -> Result<bool, ClientBodyError> {
        while self.stage < Stage::Rest && self.chunk.is_empty() && wire.output.len() < FLATTEN_BYTES_MAX {
            match body.poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(Some(frame)) => self.encode(wire, frame?)?,
                Poll::Ready(None) => self.end(wire, None)?,
            }
        }
        Ok(false)
    }

    fn encode(&mut self, wire: &mut Wire, frame: Frame<Bytes>) -> Result<(), ClientBodyError> {
        let data = match frame.into_data() {
            Ok(data) if data.is_empty() => return Ok(()),
            Ok(data) => data,
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                return self.end(wire, Some(trailers));
            }
        };
        if self.framing == RequestFraming::Chunked {
            encode::chunk_size(&mut wire.output, data.len());
        } else {
            let announced = self.announced.checked_sub(data.len() as u64);
            self.announced = announced.ok_or(ClientBodyError::Length)?;
            if self.announced == 0 {
                // Not asked for its end: that would cost a turn, and whoever parsed the length has checked it.
                self.stage = Stage::Rest;
            }
        }
        if wire.output.len() + data.len() > FLATTEN_BYTES_MAX {
            self.chunk = data;
            self.chunk_is_open = self.framing == RequestFraming::Chunked;
            return Ok(());
        }
        wire.output.extend_from_slice(&data);
        if self.framing == RequestFraming::Chunked {
            wire.output.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    /// The body has ended. Trailers need the chunked coding (RFC 9112 section 7.1.2); otherwise they are dropped.
    fn end(&mut self, wire: &mut Wire, trailers: Option<http::HeaderMap>) -> Result<(), ClientBodyError> {
        if self.framing == RequestFraming::Chunked {
            encode::end_of_chunks(&mut wire.output, trailers.as_ref());
        } else if self.announced > 0 {
            return Err(ClientBodyError::Length);
        }
        self.stage = Stage::Rest;
        Ok(())
    }
}
