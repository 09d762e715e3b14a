//! A body that is sent in another coding than the client brings it in: collected to chunks, each written by whoever knows
//! how. S3's signed chunks need that.

use std::fmt;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::Frame;

use super::outgoing::OutgoingBody;
use super::reader::{ClientBodyError, Reader};

/// Writes a body chunk by chunk. Trailers are dropped.
pub struct Recoder {
    chunk_bytes: usize,
    length: u64,
    encode: Box<Encode>,
    collected: BytesMut,
    ended: bool,
}

/// Makes of a chunk what is sent. The last chunk is empty.
type Encode = dyn FnMut(&[u8]) -> Bytes;

impl Recoder {
    /// `chunk_bytes`: what every chunk has, but for the last but one, which has the rest, and the last, which is empty.
    /// `length`: of all that `encode` returns for the whole body.
    pub fn new(chunk_bytes: usize, length: u64, encode: impl FnMut(&[u8]) -> Bytes + 'static) -> Self {
        Recoder { chunk_bytes, length, encode: Box::new(encode), collected: BytesMut::new(), ended: false }
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The next chunk, as it is sent.
    pub(super) fn poll_frame(
        &mut self,
        reader: &mut Reader,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        while !self.ended {
            if self.collected.len() >= self.chunk_bytes {
                let chunk = self.collected.split_to(self.chunk_bytes);
                return Poll::Ready(Some(Ok(Frame::data((self.encode)(&chunk)))));
            }
            match ready!(reader.poll_uncoded(cx)) {
                Some(Ok(frame)) => self.collected.extend(frame.into_data().ok()),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.ended = self.collected.is_empty();
                    let chunk = self.collected.split();
                    return Poll::Ready(Some(Ok(Frame::data((self.encode)(&chunk)))));
                }
            }
        }
        Poll::Ready(None)
    }
}

impl fmt::Debug for Recoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recoder({} bytes in chunks of {})", self.length, self.chunk_bytes)
    }
}

impl OutgoingBody {
    /// Has this attempt's body sent by a recoder. Rewinding ends that.
    pub fn recode(&mut self, recoder: Recoder) {
        self.write((), |reader| reader.recoder = Some(Box::new(recoder)));
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::super::replay::ReplayBudget;
    use super::*;
    use crate::clock::Ticker;

    #[tokio::test]
    async fn chunks_have_their_size_whatever_the_client_sends() {
        for pieces in [&["abcdefghijk"][..], &["ab", "cdefg", "h", "ijk"], &["abcde", "fghij", "k"]] {
            let (sender, receiver) = mpsc::channel(8);
            let frames = pieces.iter().map(|piece| Frame::data(Bytes::from_static(piece.as_bytes())));
            frames.for_each(|frame| sender.try_send(frame).unwrap());
            drop(sender);
            let budget = ReplayBudget::new(100);
            let mut body =
                OutgoingBody::scripted(receiver, Some(11), budget, &Ticker::default(), Duration::from_secs(30));
            for _ in 0..2 {
                body.recode(Recoder::new(5, 17, |chunk| [b"<", chunk, b">"].concat().into()));
                assert_eq!((body.sent_length(), body.length()), (Some(17), Some(11)));
                let mut sent = Vec::new();
                while let Some(frame) = poll_fn(|cx| body.poll_frame(cx)).await {
                    sent.extend_from_slice(frame.unwrap().data_ref().unwrap());
                }
                assert_eq!(sent, b"<abcde><fghij><k><>");
                body.rewind();
                assert_eq!(body.sent_length(), Some(11));
            }
        }
    }
}
