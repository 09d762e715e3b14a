//! Clients that do not take their answers over HTTP/2, told frame by frame what to take.

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// A client that answers PINGs and otherwise does what it is told to.
struct Frames {
    input: OwnedReadHalf,
    output: OwnedWriteHalf,
}

#[derive(Debug)]
struct Received {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frames {
    /// `window`: what the server may send on each stream before it is given more.
    async fn connect(server: &Server, window: u32) -> Self {
        let (input, output) = server.connect().await.tcp.into_split();
        let mut client = Frames { input, output };
        client.output.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        client.send(SETTINGS, 0, 0, &[&[0, 4], &window.to_be_bytes()[..]].concat()).await;
        client
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = &(payload.len() as u32).to_be_bytes()[1..];
        let frame = [length, &[kind, flags], &stream.to_be_bytes(), payload].concat();
        self.output.write_all(&frame).await.unwrap();
    }

    /// Asks for one of the paths that are a single letter.
    async fn get(&mut self, stream: u32, path: u8) {
        // GET, http, and literals for the path and the authority.
        self.send(HEADERS, 0x5, stream, &[0x82, 0x86, 0x04, 2, b'/', path, 0x41, 1, b'a']).await;
    }

    async fn give(&mut self, stream: u32, bytes: u32) {
        self.send(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes()).await;
    }

    /// The next frame that matters to a test; none once the server has closed.
    async fn next(&mut self) -> Option<Received> {
        loop {
            let mut head = [0; 9];
            self.input.read_exact(&mut head).await.ok()?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.input.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match (head[3], head[4]) {
                (PING, 0) => self.send(PING, ACK, 0, &payload).await,
                (PING | SETTINGS | WINDOW_UPDATE, _) => {}
                (kind, flags) => return Some(Received { kind, flags, stream, payload }),
            }
        }
    }

    /// The bytes of a stream's answer until `enough` of them came, and whether it ended with them.
    async fn data(&mut self, stream: u32, enough: usize) -> (usize, bool) {
        let mut bytes = 0;
        loop {
            let frame = self.next().await.expect("the connection lives");
            assert!(frame.stream == stream && matches!(frame.kind, HEADERS | DATA), "{frame:?}");
            if frame.kind == DATA {
                bytes += frame.payload.len();
            }
            let ended = frame.flags & END_STREAM != 0;
            if ended || frame.kind == DATA && bytes >= enough {
                return (bytes, ended);
            }
        }
    }
}

/// A body of zeros in chunks, that notes whether it was said to be cut off.
struct Zeros {
    chunks: Vec<usize>,
    cut_off: Rc<Cell<bool>>,
}

impl Body for Zeros {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Poll::Ready(self.chunks.pop().map(|bytes| Ok(Frame::data(vec![0; bytes].into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty()
    }
}

impl AnswerBody for Zeros {
    fn cut_off(self: Pin<&mut Self>) {
        self.cut_off.set(true);
    }
}

/// Answers every request with these chunks. Also returns whether one was said to be cut off.
fn zeros(chunks: &[usize]) -> (Server, Rc<Cell<bool>>) {
    let chunks: Vec<_> = chunks.iter().rev().copied().collect();
    let cut_off = Rc::new(Cell::new(false));
    let noted = cut_off.clone();
    let server = Server::start(move |_| {
        std::future::ready(Response::new(Zeros { chunks: chunks.clone(), cut_off: noted.clone() }))
    });
    (server, cut_off)
}

fn assert_write_deadline(took: Duration) {
    assert!((Duration::from_secs(120)..Duration::from_secs(121)).contains(&took), "{took:?}");
}

/// Attack H07: a stream that its client takes nothing of is reset, and nothing else. That the client answers PINGs shows
/// that it is there, not that it takes its answer.
#[test]
fn a_paused_stream_is_reset_and_its_siblings_go_on() {
    on_a_worker(async {
        let frames = Rc::new(Cell::new(0));
        let counted = Rc::downgrade(&frames);
        let paused = Rc::new(RefCell::new(Some(frames)));
        let server = Server::start(move |request: Request<Incoming>| {
            std::future::ready(match request.uri().path() {
                "/p" => endless(paused.take().expect("one such request")),
                "/e" => {
                    let mut pause = tokio::time::interval(Duration::from_secs(10));
                    streamed(move |cx| pause.poll_tick(cx).map(|_| Some(Ok(Bytes::from_static(b"event")))))
                }
                _ => full("hello"),
            })
        });
        let mut client = Frames::connect(&server, 0).await;
        let begun = Instant::now();
        client.get(1, b'p').await;
        client.get(3, b'e').await;
        client.give(3, 60_000).await;
        let (mut events, mut reset) = (0, None);
        while events < 100 {
            let frame = client.next().await.expect("the connection lives");
            match (frame.kind, frame.stream) {
                (HEADERS, 1 | 3) => {}
                (DATA, 3) => events += 1,
                (RST_STREAM, 1) => {
                    assert_eq!(frame.payload, CANCEL);
                    assert_eq!(counted.strong_count(), 0, "the answer's body is released");
                    assert!(reset.replace(begun.elapsed()).is_none());
                }
                _ => panic!("{frame:?}"),
            }
        }
        assert_write_deadline(reset.expect("a reset"));
        assert!(begun.elapsed() > Duration::from_secs(900));
        client.get(5, b'h').await;
        client.give(5, 5).await;
        loop {
            let frame = client.next().await.expect("the connection lives");
            if frame.stream == 5 && frame.kind == DATA {
                assert_eq!(frame.payload, b"hello");
                break;
            }
        }
        assert_eq!(server.shared.metrics.write_timeouts.get(), 1);
    });
}

/// Once a stream was reset, the connection is as idle as any other.
#[test]
fn a_connection_whose_only_stream_was_reset_is_idle() {
    on_a_worker(async {
        let server = Server::start(|_| std::future::ready(endless(Rc::default())));
        let mut client = Frames::connect(&server, 1_000).await;
        client.get(1, b'p').await;
        assert_eq!(client.data(1, 1_000).await, (1_000, false));
        let begun = Instant::now();
        assert_eq!(client.next().await.unwrap().kind, RST_STREAM);
        assert_write_deadline(begun.elapsed());
        client.next().await.expect("GOAWAY");
        assert_about(begun.elapsed() - Duration::from_secs(120), 75);
    });
}

/// Of small answers nothing is left that could be reset: the connection ends for them.
#[test]
fn small_answers_that_are_not_taken_end_the_connection() {
    on_a_worker(async {
        let (server, cut_off) = zeros(&[3_000]);
        let mut client = Frames::connect(&server, 1).await;
        for stream in 0..95 {
            client.get(1 + 2 * stream, b'x').await;
        }
        let begun = Instant::now();
        while client.next().await.is_some() {}
        assert_write_deadline(begun.elapsed());
        assert_eq!(server.shared.metrics.write_timeouts.get(), 1);
        assert!(!cut_off.get(), "they were taken for answered when h2 had them");
        server.shared.connections.closed().await;
    });
}

/// The last chunk is no exception: an answer that is not small can be reset until all of it was sent.
#[test]
fn a_large_answer_is_reset_although_its_last_chunk_was_handed_over() {
    on_a_worker(async {
        let (server, cut_off) = zeros(&[10_000, 10_000]);
        let mut client = Frames::connect(&server, 19_999).await;
        client.get(1, b'x').await;
        assert_eq!(client.data(1, 19_999).await, (19_999, false));
        let begun = Instant::now();
        let frame = client.next().await.unwrap();
        assert_eq!((frame.kind, &frame.payload[..]), (RST_STREAM, &CANCEL[..]));
        assert_write_deadline(begun.elapsed());
        assert!(cut_off.get());
        // The connection goes on.
        client.get(3, b'x').await;
        client.give(3, 1).await;
        assert_eq!(client.data(3, usize::MAX).await, (20_000, true));
        assert_eq!(server.shared.metrics.write_timeouts.get(), 1);
    });
}

/// However slowly: as long as something is taken in time, an answer goes on, and a connection with one is not idle.
#[test]
fn a_slow_client_is_not_cut_off() {
    on_a_worker(async {
        for (chunk, step) in [(8, 1), (40_000, 10_000)] {
            let (server, cut_off) = zeros(&[chunk]);
            let mut client = Frames::connect(&server, 0).await;
            client.get(1, b'x').await;
            let begun = Instant::now();
            let (mut taken, mut ended) = (0, false);
            while taken < chunk {
                let pause_until = begun + Duration::from_secs(100) * (taken / step + 1) as u32;
                while let Ok(frame) = tokio::time::timeout_at(pause_until, client.next()).await {
                    assert_eq!(frame.expect("the connection lives").kind, HEADERS);
                }
                client.give(1, step as u32).await;
                let (bytes, end) = client.data(1, step).await;
                (taken, ended) = (taken + bytes, end);
            }
            if !ended {
                ended = client.data(1, 1).await == (0, true);
            }
            assert!(ended && !cut_off.get());
            assert!(begun.elapsed() > Duration::from_secs(390), "{:?}", begun.elapsed());
            assert_eq!(server.shared.metrics.write_timeouts.get(), 0);
        }
    });
}

/// Trailers are an end, too, and come after all data.
#[test]
fn trailers_follow_a_large_answer() {
    on_a_worker(async {
        let server = Server::start(|_| {
            let body = Full::new(Bytes::from_static(&[0; 20_000])).map_err(|never| match never {});
            let trailers = http::HeaderMap::from_iter([("a".parse().unwrap(), "b".parse().unwrap())]);
            let body: TestBody = Box::pin(body.with_trailers(std::future::ready(Some(Ok(trailers)))));
            std::future::ready(Response::new(body))
        });
        let mut client = Frames::connect(&server, 19_999).await;
        client.get(1, b'x').await;
        assert_eq!(client.data(1, 19_999).await, (19_999, false));
        client.give(1, 1).await;
        assert_eq!(client.data(1, 1).await, (1, false));
        let end = client.next().await.unwrap();
        assert_eq!((end.kind, end.flags & END_STREAM), (HEADERS, END_STREAM));
    });
}
