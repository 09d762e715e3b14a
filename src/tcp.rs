//! Reads and writes a TCP connection by system calls of our own.
//!
//! The C library makes every `recv` and `send` of a program with threads a point where the thread could be cancelled, which
//! costs two atomic exchanges a call: one part in a hundred of a small request.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Larger reads go straight to where they are wanted; up to this many bytes a copy costs less than the call's detour.
const COPIED_BYTES_MAX: usize = 8 * 1024;

/// As [`AsyncRead::poll_read`].
pub fn poll_read(tcp: &mut TcpStream, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    let room = buffer.remaining();
    if room > COPIED_BYTES_MAX {
        return Pin::new(tcp).poll_read(cx, buffer);
    }
    let mut space = [const { MaybeUninit::uninit() }; COPIED_BYTES_MAX];
    loop {
        ready!(tcp.poll_read_ready(cx))?;
        let mut read = None;
        let result = tcp.try_io(Interest::READABLE, || {
            let ((bytes, _), _) = recv(&*tcp, &mut space[..room], RecvFlags::empty())?;
            buffer.put_slice(bytes);
            read = Some(bytes.len());
            // What does not fill the buffer was all there is. To say so saves the call that would find nothing.
            if (1..room).contains(&bytes.len()) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match result {
            Err(error) if read.is_none() => {
                if error.kind() != io::ErrorKind::WouldBlock && error.kind() != io::ErrorKind::Interrupted {
                    return Poll::Ready(Err(error));
                }
            }
            _ => return Poll::Ready(Ok(())),
        }
    }
}

/// As [`tokio::io::AsyncWrite::poll_write`].
pub fn poll_write(tcp: &TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(tcp.poll_write_ready(cx))?;
        match tcp.try_io(Interest::WRITABLE, || Ok(send(tcp, bytes, SendFlags::NOSIGNAL)?)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            result => return Poll::Ready(result),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (ours.unwrap(), theirs.unwrap().0)
    }

    async fn read(tcp: &mut TcpStream, room: usize) -> Vec<u8> {
        let mut space = vec![0; room];
        let mut buffer = ReadBuf::new(&mut space);
        poll_fn(|cx| poll_read(tcp, cx, &mut buffer)).await.unwrap();
        buffer.filled().to_vec()
    }

    #[tokio::test]
    async fn nothing_is_lost_whatever_room_there_is() {
        for room in [1, 7, 100, COPIED_BYTES_MAX, COPIED_BYTES_MAX + 1] {
            let (mut ours, mut theirs) = pair().await;
            for sent in [b"a".to_vec(), vec![b'b'; 100], vec![b'c'; 3 * COPIED_BYTES_MAX]] {
                theirs.write_all(&sent).await.unwrap();
                let mut got = Vec::new();
                while got.len() < sent.len() {
                    got.extend(read(&mut ours, room.min(sent.len() - got.len())).await);
                }
                assert_eq!(got, sent, "{room}");
            }
            drop(theirs);
            assert!(read(&mut ours, room).await.is_empty(), "the end is told");
        }
    }

    #[tokio::test]
    async fn a_full_connection_takes_more_when_it_is_read() {
        let (ours, mut theirs) = pair().await;
        let chunk = vec![b'x'; 1 << 16];
        let mut written = 0;
        let mut full = false;
        while !full {
            poll_fn(|cx| {
                match poll_write(&ours, cx, &chunk) {
                    Poll::Ready(result) => written += result.unwrap(),
                    Poll::Pending => full = true,
                }
                Poll::Ready(())
            })
            .await;
        }
        let mut got = vec![0; written];
        theirs.read_exact(&mut got).await.unwrap();
        assert_eq!(poll_fn(|cx| poll_write(&ours, cx, b"more")).await.unwrap(), 4);
    }

    #[tokio::test]
    async fn a_connection_that_broke_says_so() {
        let (mut ours, theirs) = pair().await;
        theirs.set_zero_linger().unwrap();
        drop(theirs);
        let mut space = [0; 8];
        let error = poll_fn(|cx| poll_read(&mut ours, cx, &mut ReadBuf::new(&mut space))).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let error = poll_fn(|cx| poll_write(&ours, cx, b"x")).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
