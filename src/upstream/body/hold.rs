//! Holding a whole body before any of it is sent, for what has to see all of it: a signature.

use std::fmt;
use std::future::poll_fn;
use std::task::Poll;

use super::outgoing::OutgoingBody;
use super::reader::{ClientBodyError, Reader};

/// Why a body could not be held.
#[derive(Debug)]
pub enum HoldError {
    TooLarge,
    /// All copies of the process together are as large as they may be (`replay_memory_bytes_max`).
    NoMemory,
    Client(ClientBodyError),
    /// The client sent nothing for too long.
    Timeout,
}

impl fmt::Display for HoldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HoldError::TooLarge => f.write_str("the request's body is too large to be held"),
            HoldError::NoMemory => f.write_str("there is no memory left for another request's body"),
            HoldError::Client(error) => write!(f, "reading the request's body from the client: {error}"),
            HoldError::Timeout => f.write_str("the client sent nothing of the request's body in time"),
        }
    }
}

impl OutgoingBody {
    /// Reads the whole body, of at most `bytes_max` bytes, and keeps it: it can be looked at, sent and sent again. Once it
    /// is held, doing it again changes nothing.
    ///
    /// # Errors
    /// What was read of a body that could not be held is lost: the request cannot be sent.
    pub async fn hold(&mut self, bytes_max: usize) -> Result<(), HoldError> {
        let Some(deadline) = self.read(None, |reader| Some(reader.ticker.deadline())) else { return Ok(()) };
        if self.length().is_some_and(|length| length > bytes_max as u64) {
            return Err(HoldError::TooLarge);
        }
        self.write((), |reader| reader.copy.allow(bytes_max));
        while !self.read(true, Reader::is_read) {
            deadline.set(self.idle());
            poll_fn(|cx| match self.write(Poll::Ready(None), |reader| reader.poll_source(cx)) {
                Poll::Ready(Some(Err(error))) => Poll::Ready(Err(HoldError::Client(error))),
                Poll::Ready(_) => Poll::Ready(Ok(())),
                Poll::Pending => deadline.poll_expired(cx).map(|()| Err(HoldError::Timeout)),
            })
            .await?;
            if !self.is_kept() {
                let too_large = self.bytes() > bytes_max as u64;
                return Err(if too_large { HoldError::TooLarge } else { HoldError::NoMemory });
            }
        }
        self.write((), |reader| {
            reader.copy.seal();
            // Now that it is known, many servers prefer it to chunks, which alone can bring trailers.
            if !reader.has_trailers() {
                reader.length = Some(reader.read);
            }
        });
        Ok(())
    }

    /// Hands over all that is held, piece by piece.
    pub fn each_held(&self, mut take: impl FnMut(&[u8])) {
        self.read((), |reader| reader.copy.slices().into_iter().for_each(&mut take));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use http::HeaderMap;
    use http_body::Frame;
    use tokio::sync::mpsc;

    use super::super::replay::ReplayBudget;
    use super::*;
    use crate::clock::Ticker;

    fn body(frames: Vec<Frame<Bytes>>, length: Option<u64>, budget: &Arc<ReplayBudget>) -> OutgoingBody {
        let (sender, receiver) = mpsc::channel(64);
        frames.into_iter().for_each(|frame| sender.try_send(frame).unwrap());
        OutgoingBody::scripted(receiver, length, budget.clone(), &Ticker::default(), Duration::from_secs(30))
    }

    fn zeros(sizes: &[usize]) -> Vec<Frame<Bytes>> {
        sizes.iter().map(|size| Frame::data(vec![0; *size].into())).collect()
    }

    async fn sent(body: &mut OutgoingBody) -> usize {
        let mut bytes = 0;
        while let Some(frame) = poll_fn(|cx| body.poll_frame(cx)).await {
            bytes += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
        bytes
    }

    #[tokio::test]
    async fn a_body_that_is_held_can_be_looked_at_and_sent_twice() {
        let budget = ReplayBudget::new(1 << 20);
        // Beyond what is usually kept.
        for length in [None, Some(160_000)] {
            let mut body = body(zeros(&[100_000, 10_000, 50_000]), length, &budget);
            for _ in 0..2 {
                body.hold(200_000).await.unwrap();
                let mut held = 0;
                body.each_held(|piece| held += piece.len());
                assert_eq!((held, body.length(), budget.used()), (160_000, Some(160_000), 160_000));
                assert_eq!(sent(&mut body).await, 160_000);
                body.rewind();
            }
        }
        assert_eq!(budget.used(), 0);
        assert!(OutgoingBody::empty().hold(0).await.is_ok());
    }

    /// The length that a body turns out to have is said, unless trailers follow.
    #[tokio::test]
    async fn a_body_with_trailers_stays_without_a_length() {
        let mut frames = zeros(&[3]);
        frames.push(Frame::trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), "3".parse().unwrap())])));
        let mut body = body(frames, None, &ReplayBudget::new(1 << 20));
        body.hold(10).await.unwrap();
        assert_eq!(body.length(), None);
    }

    #[tokio::test]
    async fn a_body_that_cannot_be_held_says_why() {
        let (large, small) = (ReplayBudget::new(1 << 20), ReplayBudget::new(10));
        for (length, budget, bytes_max, expected) in [
            (Some(60), &large, 50, "too large"),
            (None, &large, 50, "too large"),
            (None, &large, 30, "too large"),
            (None, &small, 60, "no memory left"),
        ] {
            let error = body(zeros(&[20, 20, 20]), length, budget).hold(bytes_max).await.unwrap_err();
            assert!(error.to_string().contains(expected), "{length:?} {bytes_max}: {error}");
            assert_eq!(budget.used(), 0);
        }
    }
}
