//! A connection that speaks HTTP/1, with its buffers and its one deadline.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::super::connect::{Connection, Transport};
use crate::clock::Deadline;

/// The least that a read has room for. Most API answers fit, and a read that does not fill its buffer tells the
/// reactor that the socket is empty, which saves the read that would say so.
const READ_BYTES_MIN: usize = 4 * 1024;
/// The most that one read takes. Measured: 256 to 400 KiB is best on bulk, 8 KiB loses by two.
const READ_BYTES_MAX: usize = 256 * 1024;
/// Buffers of an idle connection that are larger are given back.
const IDLE_BUFFER_BYTES_MAX: usize = 32 * 1024;

/// Where a connection came from, for the pool.
#[derive(Debug, Clone, Copy)]
pub(in crate::upstream) struct Origin {
    /// The key of the pool's slot.
    pub(in crate::upstream) slot: usize,
    /// The address that it was opened to; `None` through an egress proxy.
    pub(in crate::upstream) address: Option<IpAddr>,
    /// The generation of the name's answer that its address was last seen in.
    pub(in crate::upstream) generation: u64,
    /// The pool's beat when it was opened.
    pub(in crate::upstream) born: u32,
}

/// A connection and what an exchange needs of memory.
pub(in crate::upstream) struct Wire {
    stream: Connection,
    /// Read and not consumed yet.
    pub(super) input: BytesMut,
    /// Encoded and not written yet; kept for its memory.
    pub(super) output: Vec<u8>,
    written: usize,
    unflushed: bool,
    /// Bytes of this exchange that the connection took.
    pub(super) sent: u64,
    /// How much the next read has room for: follows what reads bring.
    read_bytes: usize,
    /// Serves every wait of an exchange, and the pool's idle timeout.
    pub(in crate::upstream) deadline: Deadline,
    pub(in crate::upstream) origin: Origin,
    /// How long the server promised to keep it open (`Keep-Alive: timeout`).
    pub(in crate::upstream) promised: Option<Duration>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Wire {
    pub(in crate::upstream) fn new(stream: Connection, deadline: Deadline, origin: Origin) -> Self {
        Wire {
            stream,
            input: BytesMut::new(),
            output: Vec::new(),
            written: 0,
            unflushed: false,
            sent: 0,
            read_bytes: READ_BYTES_MIN,
            deadline,
            origin,
            promised: None,
        }
    }

    /// Whether nothing has happened on an idle connection since its last exchange. The end of the stream, an error,
    /// or a byte that nobody asked for (the next client would get it) make it unfit. Costs no system call unless
    /// the reactor has seen something.
    pub(in crate::upstream) fn is_quiet(&mut self) -> bool {
        if !self.input.is_empty() {
            return false;
        }
        let mut byte = [0];
        match &mut self.stream.transport {
            Transport::Plain(stream) => {
                matches!(stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            // Through the session, which may have tickets to read.
            Transport::Tls(stream) => Pin::new(stream)
                .poll_read(&mut Context::from_waker(Waker::noop()), &mut ReadBuf::new(&mut byte))
                .is_pending(),
        }
    }

    /// Makes it ready to lie idle.
    pub(in crate::upstream) fn rest(&mut self) {
        self.sent = 0;
        self.read_bytes = self.read_bytes.min(IDLE_BUFFER_BYTES_MAX);
        if self.input.capacity() > IDLE_BUFFER_BYTES_MAX {
            self.input = BytesMut::new();
        }
        if self.output.capacity() > IDLE_BUFFER_BYTES_MAX {
            self.output = Vec::new();
        }
    }

    /// Takes bytes off the front of what was read. `copied` are some of them, as far as they were copied already.
    pub(super) fn take(&mut self, bytes: usize, mut copied: Bytes) -> Bytes {
        if bytes > copied.len() {
            return self.input.split_to(bytes).freeze();
        }
        self.input.advance(bytes);
        copied.truncate(bytes);
        copied
    }

    /// Reads once. `expected` is how much the body still has, as far as it is known. `Ok(0)` is the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, expected: u64) -> Poll<io::Result<usize>> {
        let expected = usize::try_from(expected).unwrap_or(usize::MAX);
        let room = self.read_bytes.max(expected.min(READ_BYTES_MAX));
        self.input.reserve(room);
        // The future holds no state but its borrows, so that it can be made anew for each poll.
        let Poll::Ready(read) = pin!(self.stream.read_buf(&mut self.input)).poll(cx) else {
            return Poll::Pending;
        };
        if let Ok(bytes) = read {
            self.adapt(bytes);
        }
        Poll::Ready(read)
    }

    fn adapt(&mut self, bytes: usize) {
        if bytes >= self.read_bytes {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        } else if bytes < self.read_bytes / 8 && self.read_bytes > READ_BYTES_MIN {
            self.read_bytes /= 2;
        }
    }

    /// Writes `output` and then `chunk`, as far as the connection takes them. Ready with whether anything was taken
    /// since the last call once all is written.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let bytes = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output[self.written..]))?;
            self.took(bytes)?;
            self.written += bytes;
        }
        self.output.clear();
        self.written = 0;
        while !chunk.is_empty() {
            let bytes = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, chunk))?;
            self.took(bytes)?;
            chunk.advance(bytes);
        }
        if self.unflushed {
            std::task::ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn took(&mut self, bytes: usize) -> io::Result<()> {
        self.sent += bytes as u64;
        self.unflushed = matches!(self.stream.transport, Transport::Tls(_));
        if bytes == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }
}
