//! A request's body on its way to the upstream.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body, Frame};

use super::reader::{ClientBodyError, Reader, Source};
use super::replay::ReplayBudget;
use crate::clock::Ticker;

/// A request's body, read from the client as the upstream takes it. Keeps a copy of up to 64 KiB while the process's
/// budget lasts, so that the request can be sent again (TL-44).
#[derive(Debug)]
pub struct OutgoingBody {
    holder: Holder,
}

/// Who holds the reader. HTTP/2 reads in a task of its own, beside the exchange; HTTP/1 does not.
#[derive(Debug)]
enum Holder {
    /// There is no body, as in most requests.
    Nobody,
    /// Boxed, because requests are moved, and those without a body too.
    Own(Box<Reader>),
    Shared(Rc<RefCell<Reader>>),
}

/// The body as one attempt over HTTP/2 reads it. Reads nothing more once the body is rewound.
#[derive(Debug)]
pub(in crate::upstream) struct SharedBody {
    reader: Rc<RefCell<Reader>>,
    attempt: u32,
}

impl OutgoingBody {
    /// `idle`: how long the client may send nothing (body_idle). Needs the worker's ticker.
    pub fn new(incoming: hyper::body::Incoming, budget: &Arc<ReplayBudget>, ticker: &Ticker, idle: Duration) -> Self {
        if incoming.is_end_stream() {
            return OutgoingBody::empty();
        }
        let length = incoming.size_hint().exact();
        let reader = Reader::new(Source::Client(incoming), length, budget.clone(), ticker, idle);
        OutgoingBody { holder: Holder::Own(Box::new(reader)) }
    }

    /// A body that is known whole: it can be sent, and sent again, whatever its length.
    pub fn whole(data: Bytes, ticker: &Ticker) -> Self {
        if data.is_empty() {
            return OutgoingBody::empty();
        }
        OutgoingBody { holder: Holder::Own(Box::new(Reader::whole(data, ticker))) }
    }

    /// No body.
    pub fn empty() -> Self {
        OutgoingBody { holder: Holder::Nobody }
    }

    #[cfg(test)]
    pub(crate) fn scripted(
        frames: tokio::sync::mpsc::Receiver<Frame<Bytes>>,
        length: Option<u64>,
        budget: Arc<ReplayBudget>,
        ticker: &Ticker,
        idle: Duration,
    ) -> Self {
        let reader = Reader::new(Source::Scripted(frames), length, budget, ticker, idle);
        OutgoingBody { holder: Holder::Own(Box::new(reader)) }
    }

    /// Trailers of these names are not sent: those that the credential sets (SEC-10).
    pub fn strip_trailers(&mut self, names: &[HeaderName]) {
        self.write((), |reader| reader.stripped.extend_from_slice(names));
    }

    /// Whether there is no body at all.
    pub fn is_empty(&self) -> bool {
        matches!(self.holder, Holder::Nobody)
    }

    /// Its length, if the client said it.
    pub fn length(&self) -> Option<u64> {
        self.read(Some(0), |reader| reader.length)
    }

    /// The length of what is sent, if it is known: another one than the client's where the body is recoded.
    pub(in crate::upstream) fn sent_length(&self) -> Option<u64> {
        self.read(Some(0), |reader| reader.recoder.as_ref().map_or(reader.length, |recoder| Some(recoder.length())))
    }

    /// How long the client may send nothing.
    pub fn idle(&self) -> Duration {
        self.read(Duration::ZERO, |reader| reader.idle)
    }

    /// Whether the request can be sent again as far as its body is concerned: all that was read is kept.
    pub fn is_kept(&self) -> bool {
        self.read(true, |reader| !reader.copy.is_lost())
    }

    /// Reads what is left of a body that fits the copy (TL-40), so that it can be sent again. False: it does not fit,
    /// or the client's part failed.
    pub async fn keep_all(&mut self) -> bool {
        if !self.read(true, Reader::fits_copy) {
            return false;
        }
        self.write((), |reader| reader.attempt += 1);
        let Some(deadline) = self.read(None, |reader| Some(reader.ticker.deadline())) else { return true };
        while self.is_kept() && !self.read(true, Reader::is_read) {
            deadline.set(self.idle());
            let read = poll_fn(|cx| match self.write(Poll::Ready(None), |reader| reader.poll_source(cx)) {
                Poll::Ready(read) => Poll::Ready(!matches!(read, Some(Err(_)))),
                Poll::Pending => deadline.poll_expired(cx).map(|()| false),
            });
            if !read.await {
                return false;
            }
        }
        self.is_kept()
    }

    /// Begins again from the copy. Only after `is_kept`.
    pub fn rewind(&mut self) {
        debug_assert!(self.is_kept(), "what was not kept cannot be sent again");
        self.write((), Reader::rewind);
    }

    /// Bytes read from the client so far, for the log.
    pub fn bytes(&self) -> u64 {
        self.read(0, |reader| reader.read)
    }

    /// The next frame: what is kept and was not sent in this attempt, then what the client brings.
    pub(in crate::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        self.write(Poll::Ready(None), |reader| reader.poll_frame(cx))
    }

    /// A handle for one attempt, to be read in another task; `None` if there is no body.
    pub(in crate::upstream) fn share(&mut self) -> Option<SharedBody> {
        let reader = match std::mem::replace(&mut self.holder, Holder::Nobody) {
            Holder::Nobody => return None,
            Holder::Own(reader) => Rc::new(RefCell::new(*reader)),
            Holder::Shared(reader) => reader,
        };
        self.holder = Holder::Shared(reader.clone());
        let attempt = reader.borrow().attempt;
        Some(SharedBody { reader, attempt })
    }

    pub(super) fn read<R>(&self, nobody: R, read: impl FnOnce(&Reader) -> R) -> R {
        match &self.holder {
            Holder::Nobody => nobody,
            Holder::Own(reader) => read(reader),
            Holder::Shared(reader) => read(&reader.borrow()),
        }
    }

    pub(super) fn write<R>(&mut self, nobody: R, write: impl FnOnce(&mut Reader) -> R) -> R {
        match &mut self.holder {
            Holder::Nobody => nobody,
            Holder::Own(reader) => write(reader),
            Holder::Shared(reader) => write(&mut reader.borrow_mut()),
        }
    }
}

impl SharedBody {
    pub(in crate::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        let mut reader = self.reader.borrow_mut();
        if reader.attempt != self.attempt {
            return Poll::Ready(Some(Err(ClientBodyError::Abandoned)));
        }
        reader.poll_frame(cx)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use tokio::sync::mpsc;

    use super::*;

    fn body(frames: Vec<Frame<Bytes>>, length: Option<u64>, budget: &Arc<ReplayBudget>) -> OutgoingBody {
        let (sender, receiver) = mpsc::channel(64);
        for frame in frames {
            sender.try_send(frame).unwrap();
        }
        OutgoingBody::scripted(receiver, length, budget.clone(), &Ticker::default(), Duration::from_secs(30))
    }

    async fn read_all(body: &mut OutgoingBody) -> (Vec<u8>, Option<HeaderMap>) {
        let (mut data, mut trailers) = (Vec::new(), None);
        while let Some(frame) = poll_fn(|cx| body.poll_frame(cx)).await {
            match frame.unwrap().into_data() {
                Ok(bytes) => data.extend_from_slice(&bytes),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        (data, trailers)
    }

    fn text_frames(pieces: &[&'static str]) -> Vec<Frame<Bytes>> {
        pieces.iter().map(|piece| Frame::data(Bytes::from_static(piece.as_bytes()))).collect()
    }

    /// TL-44: what was kept is sent again byte for byte, trailers included.
    #[tokio::test]
    async fn a_kept_body_is_the_same_after_rewinding() {
        let budget = ReplayBudget::new(1000);
        let mut frames = text_frames(&["one ", "two ", "three"]);
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "6".parse().unwrap());
        frames.push(Frame::trailers(trailers.clone()));
        let mut body = body(frames, None, &budget);
        let first = read_all(&mut body).await;
        assert_eq!(first, (b"one two three".to_vec(), Some(trailers)));
        for _ in 0..2 {
            assert!(body.is_kept());
            body.rewind();
            assert_eq!(read_all(&mut body).await, first);
        }
        assert_eq!(body.bytes(), 13);
    }

    /// TL-40: a body that was cut short by an early answer is read to its end, and then sent whole.
    #[tokio::test]
    async fn keeping_all_reads_what_the_first_attempt_did_not() {
        let budget = ReplayBudget::new(1000);
        let mut body = body(text_frames(&["one ", "two ", "three"]), None, &budget);
        let first = poll_fn(|cx| body.poll_frame(cx)).await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "one ");
        assert!(body.keep_all().await);
        body.rewind();
        assert_eq!(read_all(&mut body).await.0, b"one two three");
    }

    /// TL-44: beyond 64 KiB nothing is kept.
    #[tokio::test]
    async fn a_large_body_is_not_kept_but_passes_whole() {
        let budget = ReplayBudget::new(1 << 20);
        for length in [None, Some(70_000)] {
            let mut body = body([0; 2].map(|_| Frame::data(vec![7; 35_000].into())).into(), length, &budget);
            assert!(body.is_kept(), "nothing was read yet");
            assert_eq!(read_all(&mut body).await.0, vec![7; 70_000]);
            assert!(!body.is_kept());
            assert_eq!(budget.used(), 0);
        }
    }

    /// SEC-10: no credential, framing or routing slips in behind the body.
    #[tokio::test]
    async fn trailers_are_stripped_of_framing_routing_and_credentials() {
        let names =
            ["authorization", "content-length", "host", "x-forwarded-for", "x_api_key", "cookie", "x-set-by-us"];
        let mut trailers = HeaderMap::new();
        for name in names {
            trailers.insert(name, "evil".parse().unwrap());
        }
        trailers.insert("grpc-status", "0".parse().unwrap());
        let mut body = body(vec![Frame::trailers(trailers)], None, &ReplayBudget::new(0));
        body.strip_trailers(&[HeaderName::from_static("x-set-by-us")]);
        let (_, sent) = read_all(&mut body).await;
        assert_eq!(sent.unwrap().keys().collect::<Vec<_>>(), ["grpc-status"]);
    }
}
