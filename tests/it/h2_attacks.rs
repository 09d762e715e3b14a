//! Attacks by HTTP/2 frames: what no well-behaved client library would send, so the frames are written by hand, in
//! cleartext with prior knowledge. The ids are those of the collection that `attacks` runs its part of.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use attache::clock::{Clock as _, SystemClock};

use crate::support::{DEADLINE, Proxy, Reply, TokenEndpoint, Upstream, Watched, get, one_route};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames, their flags and error codes: RFC 9113 sections 6 and 7.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

type Fields<'a> = [(&'a str, &'a str)];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames are short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// HPACK: literals without indexing and with new names (RFC 7541 section 6.2.2).
fn literals(fields: &Fields) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of 7 bits (RFC 7541 section 5.1).
fn integer(block: &mut Vec<u8>, value: usize) {
    let Some(mut rest) = value.checked_sub(0x7f) else { return block.push(value as u8) };
    block.push(0x7f);
    while rest >= 0x80 {
        block.push(0x80 | (rest % 0x80) as u8);
        rest /= 0x80;
    }
    block.push(rest as u8);
}

/// The head of a request for the route, with more fields.
fn head(method: &str, more: &Fields) -> Vec<u8> {
    let mut fields = vec![(":method", method), (":scheme", "http"), (":path", "/api/x"), (":authority", "p.test")];
    fields.extend(more);
    literals(&fields)
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

/// A client's streams have odd numbers.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

/// What became of a stream.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Answer(u16),
    Reset(u32),
    GoAway(u32),
    Closed,
}

#[derive(Debug)]
struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

struct Attacker(TcpStream);

impl Attacker {
    fn connect(address: SocketAddr) -> Attacker {
        Attacker::with_settings(address, &[])
    }

    fn with_settings(address: SocketAddr, settings: &[u8]) -> Attacker {
        let mut attacker = Attacker::silent(address);
        attacker.write(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).expect("a preface can be sent");
        attacker
    }

    fn silent(address: SocketAddr) -> Attacker {
        let stream = TcpStream::connect(address).expect("the proxy listens");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Attacker(stream)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Sends a request's head. Returns what became of it.
    fn ask(&mut self, flags: u8, block: &[u8]) -> Outcome {
        self.write(&frame(HEADERS, flags | END_HEADERS, 1, block)).expect("a head can be sent");
        self.outcome(1)
    }

    /// The next frame; `None` after the last one, however the connection ended.
    fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.read_all(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length as usize];
        self.read_all(&mut payload)?;
        Some(Frame { kind: head[3], stream, payload })
    }

    fn read_all(&mut self, buffer: &mut [u8]) -> Option<()> {
        match self.0.read_exact(buffer) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                panic!("the proxy neither answers nor closes")
            }
            Err(_) => None,
        }
    }

    fn outcome(&mut self, stream: u32) -> Outcome {
        while let Some(frame) = self.read() {
            match frame.kind {
                HEADERS if frame.stream == stream => return Outcome::Answer(status(&frame.payload)),
                RST_STREAM if frame.stream == stream => return Outcome::Reset(code(&frame.payload)),
                GOAWAY if code(&frame.payload[4..]) != NO_ERROR => {
                    return Outcome::GoAway(code(&frame.payload[4..]));
                }
                _ => {}
            }
        }
        Outcome::Closed
    }

    /// Reads to the end of the connection. Returns the error code of GOAWAY, and the frames before it.
    fn goaway(&mut self) -> (Option<u32>, Vec<Frame>) {
        let frames: Vec<Frame> = std::iter::from_fn(|| self.read()).collect();
        let goaway = frames.iter().rev().find(|frame| frame.kind == GOAWAY);
        (goaway.map(|frame| code(&frame.payload[4..])), frames)
    }
}

fn code(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().expect("an error code has four bytes"))
}

/// `:status` at the beginning of a connection's first block: an entry of the static table, or a literal under the name
/// of entry 8, as text or in the Huffman code of digits (RFC 7541 appendices A and B).
fn status(block: &[u8]) -> u16 {
    if block[0] & 0x80 != 0 {
        return [200, 204, 206, 304, 400, 404, 500][usize::from(block[0] & 0x7f) - 8];
    }
    assert_eq!(block[0] & 0x3f, 8, "{block:02x?}");
    let value = &block[2..2 + usize::from(block[1] & 0x7f)];
    if block[1] & 0x80 == 0 {
        return std::str::from_utf8(value).unwrap().parse().unwrap();
    }
    let mut bits = value.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    (0..3).fold(0, |status, _| {
        let five = bits.by_ref().take(5).fold(0, |code, bit| code << 1 | bit);
        let digit = if five < 3 { five } else { (five << 1 | bits.next().expect("a status has three digits")) - 0x16 };
        status * 10 + digit
    })
}

fn setup(more: &str) -> (TokenEndpoint, Upstream, Proxy) {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let proxy = Proxy::start(&one_route(&endpoint, &upstream, more));
    // The token is at hand from here on: no request of an attack waits for it.
    assert_eq!(proxy.get("/api/first").status, 200);
    (endpoint, upstream, proxy)
}

/// Writes what `next` makes until the proxy has had enough. Reads meanwhile, so that nobody is blocked; returns the error
/// code of GOAWAY and the frames that came.
fn flood(attacker: Attacker, blocks: impl Iterator<Item = Vec<u8>>) -> (bool, Option<u32>, Vec<Frame>) {
    let mut reader = Attacker(attacker.0.try_clone().expect("a socket can be cloned"));
    let reading = thread::spawn(move || reader.goaway());
    let mut writer = attacker;
    let refused = blocks.into_iter().any(|block| writer.write(&block).is_err());
    // Some say goodbye and then wait for our end.
    let _ = writer.0.shutdown(std::net::Shutdown::Write);
    let (goaway, frames) = reading.join().expect("reading frames does not panic");
    (refused, goaway, frames)
}

/// Attack H01: rapid reset (CVE-2023-44487). The connection ends long before its 10,000 requests; few reach the upstream,
/// and other clients are served meanwhile.
#[test]
fn rapid_resets_end_the_connection() {
    let (_endpoint, upstream, proxy) = setup("");
    let address = proxy.address();
    let others = thread::spawn(move || (0..50).map(|_| get(address, "/api/other").status).collect::<Vec<_>>());
    let request = head("GET", &[]);
    let pairs: Vec<_> = streams(10_000)
        .map(|stream| [frame(HEADERS, END_STREAM | END_HEADERS, stream, &request), reset(stream)].concat())
        .collect();
    let blocks = pairs.chunks(100).map(|block| block.concat()).collect::<Vec<_>>();
    let (_, goaway, frames) = flood(Attacker::connect(address), blocks.into_iter());
    assert_eq!(goaway, Some(ENHANCE_YOUR_CALM), "{frames:?}");
    assert_eq!(others.join().unwrap(), [200; 50]);
    let attacks = upstream.requests().iter().filter(|request| request.target == "/x").count();
    assert!(attacks < 1_000, "{attacks} requests of the attack reached the upstream");
}

/// Attack H02: a head that never ends (CVE-2024-27316), of large CONTINUATION frames and of empty ones.
#[test]
fn a_flood_of_continuations_ends_the_connection() {
    const FRAMES: usize = 100_000;
    let (_endpoint, upstream, proxy) = setup("");
    let large = literals(&[("x-flood", &"a".repeat(16_000))]);
    for (payload, at_a_time) in [(large, 1), (Vec::new(), 1_000)] {
        let first = frame(HEADERS, END_STREAM, 1, &head("GET", &[]));
        let more = frame(CONTINUATION, 0, 1, &payload).repeat(at_a_time);
        let blocks = std::iter::once(first).chain(std::iter::repeat_n(more, FRAMES / at_a_time));
        let (refused, goaway, frames) = flood(Attacker::connect(proxy.address()), blocks);
        assert_eq!(goaway, Some(ENHANCE_YOUR_CALM), "{frames:?}");
        // 1.6 GB would not fit into the buffers between us; 900 kB would.
        assert!(refused || payload.is_empty());
    }
    assert_eq!(upstream.requests().len(), 1);
}

/// Attack H03: MadeYouReset (CVE-2025-8671). What makes the proxy reset streams counts like the client's own resets.
#[test]
fn resets_that_a_client_provokes_end_the_connection() {
    let (_endpoint, upstream, proxy) = setup("");
    let open = |stream| frame(HEADERS, END_HEADERS, stream, &head("POST", &[]));
    let whole = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", &[]));
    type Provocation<'a> = (&'a str, &'a dyn Fn(u32) -> Vec<u8>);
    let provocations: [Provocation; 5] = [
        ("WINDOW_UPDATE of 0", &|stream| [open(stream), frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()),
        ("a window too large", &|stream| {
            [open(stream), frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())].concat()
        }),
        ("DATA after the end", &|stream| [whole(stream), frame(DATA, 0, stream, b"more")].concat()),
        ("HEADERS after the end", &|stream| [whole(stream), whole(stream)].concat()),
        ("PRIORITY of four bytes", &|stream| [open(stream), frame(PRIORITY, 0, stream, &[0; 4])].concat()),
    ];
    for (name, provocation) in provocations {
        let before = upstream.connections() + upstream.requests().len();
        let (_, goaway, frames) = flood(Attacker::connect(proxy.address()), streams(2_000).map(provocation));
        assert!(goaway.is_some_and(|code| code != NO_ERROR), "{name}: {goaway:?}");
        let resets = frames.iter().filter(|frame| frame.kind == RST_STREAM).count();
        assert!(resets < 1_000, "{name}: {resets} resets");
        let reached = upstream.connections() + upstream.requests().len() - before;
        assert!(reached < 1_000, "{name}: {reached} connections and requests reached the upstream");
    }
    assert_eq!(proxy.get("/api/x").status, 200);
}

/// Attack H06: DATA without data (CVE-2019-9518), on a stream whose body the upstream does not read.
#[test]
fn a_flood_of_empty_data_is_ended() {
    let (_endpoint, upstream, proxy) = setup("");
    upstream.answer_early();
    let over = Arc::new(Watched::new(false));
    let waiting = over.clone();
    upstream.script([Reply::custom(move |_, _| {
        waiting.wait("the end of the attack", |over| over.then_some(()));
        Ok(())
    })]);
    let first = frame(HEADERS, END_HEADERS, 1, &head("POST", &[]));
    let more = frame(DATA, 0, 1, &[]).repeat(1_000);
    let blocks = std::iter::once(first).chain(std::iter::repeat_n(more, 100));
    let (_, goaway, frames) = flood(Attacker::connect(proxy.address()), blocks);
    over.update(|over| *over = true);
    let was_reset = frames.iter().any(|frame| frame.kind == RST_STREAM);
    assert!(was_reset || goaway.is_some_and(|code| code != NO_ERROR), "{goaway:?} {frames:?}");
}

/// Attack H07: a client that asks for much and takes nothing, and says all the while that it is there. What it keeps
/// waiting is bounded; that the stream ends at the write limit, the listener's own tests show in shortened time.
#[test]
fn a_shut_window_stops_the_upstream() {
    const BYTES_MAX: usize = 64 << 20;
    let (_endpoint, upstream, proxy) = setup("");
    let state = Arc::new(Watched::new(None));
    let sent = state.clone();
    upstream.script([Reply::custom(move |_, connection| {
        connection.stream().write_all(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n")?;
        connection.stream().set_write_timeout(Some(Duration::from_secs(2)))?;
        let block = vec![b'x'; 64 << 10];
        let mut written = 0;
        while written < BYTES_MAX && connection.stream().write_all(&block).is_ok() {
            written += block.len();
        }
        sent.update(|sent| *sent = Some(written));
        Ok(())
    })]);
    // SETTINGS_INITIAL_WINDOW_SIZE = 0.
    let mut attacker = Attacker::with_settings(proxy.address(), &[0, 4, 0, 0, 0, 0]);
    assert_eq!(attacker.ask(END_STREAM, &head("GET", &[])), Outcome::Answer(200));
    let mut pings = 0;
    let written = loop {
        attacker.write(&frame(PING, 0, 0, &[7; 8])).expect("the connection lives");
        while attacker.read().expect("the connection lives").kind != PING {}
        pings += 1;
        if let Some(written) = state.wait_at_most(Duration::from_millis(20), |sent| *sent) {
            break written;
        }
    };
    assert!(pings > 10, "{pings}");
    assert!(written < BYTES_MAX, "{written} bytes went somewhere");
}

/// SEC-36: an answer is not taken for delivered because hyper has all of it. Here its last byte is never sent.
#[test]
fn an_answer_that_was_handed_over_but_not_sent_counts_as_cut_off() {
    const BODY: &[u8] = &[7; 20_000];
    let (_endpoint, upstream, proxy) = setup("[admin]\naddress = \"127.0.0.1:0\"");
    let failures = || {
        let scrape = proxy.admin("/metrics").text();
        let lines = scrape.lines().filter(|line| line.contains("request_failures") && line.contains("\"client\""));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    // SETTINGS_INITIAL_WINDOW_SIZE is once enough, once not.
    for (window, cut_off) in [(BODY.len(), 0), (BODY.len() - 1, 1)] {
        upstream.script([Reply::answer(200, &[("Content-Type", "image/png")], BODY)]);
        let window = u32::try_from(window).unwrap();
        let mut attacker = Attacker::with_settings(proxy.address(), &[&[0, 4], &window.to_be_bytes()[..]].concat());
        assert_eq!(attacker.ask(END_STREAM, &head("GET", &[])), Outcome::Answer(200));
        let mut left = window as usize;
        while left > 0 {
            let frame = attacker.read().expect("the connection lives");
            left -= if frame.kind == DATA { frame.payload.len() } else { 0 };
        }
        attacker.write(&reset(1)).unwrap();
        // The proxy reads the reset before it answers this.
        attacker.write(&frame(PING, 0, 0, &[7; 8])).unwrap();
        while attacker.read().expect("the connection lives").kind != PING {}
        let begun = SystemClock.now();
        while failures() < cut_off && SystemClock.now().since(begun) < DEADLINE {}
        assert_eq!(failures(), cut_off, "with a window of {window}");
    }
}

/// Attack H08: `:authority` and `host` that differ (RFC 9113 section 8.3.1).
#[test]
fn two_authorities_are_refused() {
    let (_endpoint, upstream, proxy) = setup("");
    for (host, outcome) in [("evil.test", Outcome::Answer(400)), ("P.test", Outcome::Answer(200))] {
        let block = head("GET", &[("host", host)]);
        assert_eq!(Attacker::connect(proxy.address()).ask(END_STREAM, &block), outcome, "{host}");
    }
    let block = head("GET", &[("host", "p.test"), ("host", "evil.test")]);
    assert_eq!(Attacker::connect(proxy.address()).ask(END_STREAM, &block), Outcome::Answer(400));
    let requests = upstream.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(request.headers.get("host"), Some(upstream.address().to_string().as_str()));
    }
}

/// Attack H09: fields of a connection, which HTTP/2 does not have (RFC 9113 section 8.2.2).
#[test]
fn fields_of_a_connection_are_protocol_errors() {
    let (_endpoint, upstream, proxy) = setup("");
    let fields = [
        ("transfer-encoding", "chunked"),
        ("connection", "x"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "websocket"),
        ("keep-alive", "timeout=5"),
        ("te", "gzip"),
    ];
    for field in fields {
        let outcome = Attacker::connect(proxy.address()).ask(END_STREAM, &head("POST", &[field]));
        assert_eq!(outcome, Outcome::Reset(PROTOCOL_ERROR), "{field:?}");
    }
    // A name in upper case is no field at all; the library ends the connection for it.
    let outcome = Attacker::connect(proxy.address()).ask(END_STREAM, &head("GET", &[("X-Upper", "1")]));
    assert_eq!(outcome, Outcome::GoAway(PROTOCOL_ERROR));
    assert_eq!(upstream.requests().len(), 1);
}

/// Attack H14: extended CONNECT (RFC 8441) is not offered, and plain CONNECT is refused.
#[test]
fn connect_is_refused() {
    let (_endpoint, upstream, proxy) = setup("");
    let extended = head("CONNECT", &[(":protocol", "websocket")]);
    let plain = literals(&[(":method", "CONNECT"), (":authority", "p.test:443")]);
    for block in [extended, plain] {
        for flags in [0, END_STREAM] {
            let outcome = Attacker::connect(proxy.address()).ask(flags, &block);
            let refused = matches!(outcome, Outcome::Reset(_) | Outcome::Answer(400..500));
            assert!(refused, "{outcome:?}");
        }
    }
    assert_eq!(upstream.requests().len(), 1);
}

/// SEC-10, attack H15: trailers that authenticate, route or frame: dropped, or the stream is reset.
#[test]
fn trailers_decide_nothing() {
    let (endpoint, upstream, proxy) = setup("");
    let send = |trailers: &Fields| {
        let mut attacker = Attacker::connect(proxy.address());
        let body = frame(DATA, 0, 1, b"body");
        let request = [frame(HEADERS, END_HEADERS, 1, &head("POST", &[])), body].concat();
        attacker.write(&request).unwrap();
        attacker.write(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &literals(trailers))).unwrap();
        attacker.outcome(1)
    };
    let dropped = [("authorization", "Bearer evil"), ("x-api-key", "evil"), ("host", "evil"), (":path", "/admin")];
    for trailer in dropped {
        assert_eq!(send(&[trailer, ("x-ok", "1")]), Outcome::Answer(200), "{trailer:?}");
        let requests = upstream.requests();
        let request = requests.last().unwrap();
        assert_eq!((request.target.as_str(), request.body.as_slice()), ("/x", b"body".as_slice()));
        assert_eq!(request.bearer(), Some(endpoint.grants().tokens()[0].as_str()));
        assert!(request.trailers.0.iter().all(|(name, _)| name == "x-ok"), "{:?}", request.trailers);
    }
    let whole = upstream.requests().len();
    for trailer in [("transfer-encoding", "chunked"), ("connection", "x")] {
        let outcome = send(&[trailer]);
        assert!(matches!(outcome, Outcome::Reset(_)), "{trailer:?}: {outcome:?}");
    }
    assert_eq!(upstream.requests().len(), whole, "a broken request was taken for a whole one");
}

/// Attack H17: a connection that does nothing, and a preface that does not end.
#[test]
fn idle_connections_are_closed() {
    let (_endpoint, _upstream, proxy) = setup("\n[server.timeouts]\nidle = \"1s\"\nheader = \"1s\"\n");
    let (code, _) = Attacker::connect(proxy.address()).goaway();
    assert_eq!(code, Some(NO_ERROR));
    let mut pinging = Attacker::connect(proxy.address());
    pinging.write(&frame(PING, 0, 0, &[7; 8])).unwrap();
    assert_eq!(pinging.goaway().0, Some(NO_ERROR));
    for part in [&PREFACE[..0], &PREFACE[..8], &PREFACE[..PREFACE.len() - 1]] {
        let mut attacker = Attacker::silent(proxy.address());
        attacker.write(part).unwrap();
        let (code, frames) = attacker.goaway();
        assert!(code.is_none() && frames.is_empty(), "{frames:?}");
    }
}

/// What HPACK unpacks is counted: one field too many, and one that is too long.
#[test]
fn large_heads_are_refused() {
    let (_endpoint, upstream, proxy) = setup("");
    let names: Vec<String> = (0..120).map(|number| format!("x-{number}")).collect();
    let fields: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let outcome = Attacker::connect(proxy.address()).ask(END_STREAM, &head("GET", &fields));
    assert_eq!(outcome, Outcome::Answer(431));

    let block = head("GET", &[("x-long", &"a".repeat(70_000))]);
    let mut attacker = Attacker::connect(proxy.address());
    let mut chunks = block.chunks(16_000);
    attacker.write(&frame(HEADERS, END_STREAM, 1, chunks.next().unwrap())).unwrap();
    let rest: Vec<_> = chunks.collect();
    for (index, chunk) in rest.iter().enumerate() {
        let flags = if index + 1 == rest.len() { END_HEADERS } else { 0 };
        attacker.write(&frame(CONTINUATION, flags, 1, chunk)).unwrap();
    }
    assert_eq!(attacker.outcome(1), Outcome::Answer(431));
    assert_eq!(upstream.requests().len(), 1);
}
