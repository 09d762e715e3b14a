//! The I/O wrapper under hyper: it tells the connection's `Activity` what goes in and out, and closes with care.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::activity::Activity;
use crate::tcp;

/// What every HTTP/2 connection begins with (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Buffers of up to this many bytes together are joined and sent with one `send`, which is cheaper than `writev`.
const JOIN_BYTES_MAX: usize = 2048;

/// What a client may still send after we closed our side.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// A client's connection.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A client's connection under hyper.
#[derive(Debug)]
pub(super) struct Io {
    socket: Rc<RefCell<Socket>>,
    activity: Rc<Activity>,
    /// Bytes discarded since our side was closed.
    lingered: Option<usize>,
}

/// The same connection, as who waits for its client to leave sees it.
#[derive(Debug)]
pub(super) struct Watch(Rc<RefCell<Socket>>);

#[derive(Debug)]
struct Socket {
    stream: Stream,
    /// What was read to learn something of the client: `ahead[given..read]` is still to be given to hyper.
    ahead: [u8; HTTP2_PREFACE.len()],
    read: usize,
    given: usize,
}

impl Io {
    pub(super) fn new(stream: Stream, activity: Rc<Activity>) -> Self {
        let socket = Rc::new(RefCell::new(Socket { stream, ahead: [0; 24], read: 0, given: 0 }));
        Io { socket, activity, lingered: None }
    }

    pub(super) fn watch(&self) -> Watch {
        Watch(self.socket.clone())
    }

    /// Reads until it is clear whether the client begins with HTTP/2's preface. Most often the first byte tells.
    pub(super) fn poll_speaks_http2(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let socket = &mut *self.socket.borrow_mut();
        loop {
            let mut buffer = ReadBuf::new(&mut socket.ahead[socket.read..]);
            ready!(Pin::new(&mut socket.stream).poll_read(cx, &mut buffer))?;
            let read = buffer.filled().len();
            if read == 0 {
                return Poll::Ready(Ok(false));
            }
            self.activity.received();
            socket.read += read;
            if socket.ahead[..socket.read] != HTTP2_PREFACE[..socket.read] {
                return Poll::Ready(Ok(false));
            }
            if socket.read == HTTP2_PREFACE.len() {
                return Poll::Ready(Ok(true));
            }
        }
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>, discarded: usize) -> Poll<io::Result<()>> {
        let stream = &mut self.socket.borrow_mut().stream;
        let mut discarded = discarded;
        let mut buffer = [0; 4096];
        while discarded < LINGER_BYTES_MAX {
            let mut buffer = ReadBuf::new(&mut buffer);
            // An error is as good an end as any: nobody waits for these bytes.
            if ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)).is_err() || buffer.filled().is_empty() {
                break;
            }
            discarded += buffer.filled().len();
            self.lingered = Some(discarded);
        }
        Poll::Ready(Ok(()))
    }

    fn note_write<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &result {
            Poll::Pending => self.activity.write_blocked(),
            Poll::Ready(_) => self.activity.wrote(),
        }
        result
    }
}

impl Watch {
    /// Ready when the client has closed its side, or the connection has broken. Should the client send something instead
    /// (its next request, say), that is kept for hyper, and until hyper has taken it nothing is watched for.
    pub(super) fn poll_left(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = &mut *self.0.borrow_mut();
        if socket.given < socket.read {
            return Poll::Pending;
        }
        let mut buffer = ReadBuf::new(&mut socket.ahead);
        ready!(Pin::new(&mut socket.stream).poll_read(cx, &mut buffer))?;
        (socket.given, socket.read) = (0, buffer.filled().len());
        if socket.read == 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = &mut *self.socket.borrow_mut();
        let before = buffer.filled().len();
        if socket.given < socket.read {
            let length = buffer.remaining().min(socket.read - socket.given);
            buffer.put_slice(&socket.ahead[socket.given..socket.given + length]);
            socket.given += length;
            // The rest of the head is most often there already; if it is not, what was there is enough for now.
            if buffer.remaining() > 0 {
                let _ = Pin::new(&mut socket.stream).poll_read(cx, buffer)?;
            }
        } else {
            ready!(Pin::new(&mut socket.stream).poll_read(cx, buffer))?;
        }
        if buffer.filled().len() > before {
            self.activity.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.socket.borrow_mut().stream).poll_write(cx, buffer);
        self.note_write(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.socket.borrow_mut();
        let stream = Pin::new(&mut socket.stream);
        let length: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        let result = match buffers {
            [one] => stream.poll_write(cx, one),
            _ if length <= JOIN_BYTES_MAX => {
                let mut space = [const { MaybeUninit::uninit() }; JOIN_BYTES_MAX];
                let mut joined = ReadBuf::uninit(&mut space);
                buffers.iter().for_each(|buffer| joined.put_slice(buffer));
                stream.poll_write(cx, joined.filled())
            }
            _ => stream.poll_write_vectored(cx, buffers),
        };
        self.note_write(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket.borrow_mut().stream {
            // There is nothing between us and the kernel.
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(tls) => {
                let result = Pin::new(tls).poll_flush(cx);
                self.note_write(result)
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = &mut *self;
        let discarded = match io.lingered {
            Some(discarded) => discarded,
            None => {
                let result = Pin::new(&mut io.socket.borrow_mut().stream).poll_shutdown(cx);
                ready!(io.note_write(result))?;
                io.activity.linger();
                *io.lingered.insert(0)
            }
        };
        io.poll_discard(cx, discarded)
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if self.activity.reset_on_close()
            && let Stream::Plain(tcp) = &self.socket.borrow().stream
        {
            // Closing then sends a reset instead of an end. If it fails, the connection is gone anyway.
            let _ = tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(tcp) => tcp::poll_read(tcp, cx, buffer),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Plain(tcp) => tcp::poll_write(tcp, cx, buffer),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, buffer),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, buffers),
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, buffers),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
