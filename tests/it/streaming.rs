//! Bodies that take their time, and what happens when one side does not stay to the end.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use crate::support::{Client, DEADLINE, Proxy, Reply, TokenEndpoint, Upstream, Watched, one_route};

fn setup() -> (TokenEndpoint, Upstream, Proxy) {
    let endpoint = TokenEndpoint::start();
    let upstream = Upstream::guarded(endpoint.grants());
    let proxy = Proxy::start(&one_route(&endpoint, &upstream, ""));
    (endpoint, upstream, proxy)
}

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// SEC-13: events are scanned for the token and yet not delayed: each arrives before the next one is written.
#[test]
fn server_sent_events_arrive_one_by_one() {
    const EVENTS: usize = 20;
    let (_endpoint, upstream, proxy) = setup();
    let wanted = Arc::new(Watched::new(0_usize));
    let sender = wanted.clone();
    upstream.script([Reply::custom(move |_, connection| {
        connection.stream().write_all(STREAM_HEAD)?;
        for number in 0..EVENTS {
            sender.wait("the client to want an event", |wanted| (*wanted > number).then_some(()));
            let event = format!("data: event {number}\n\n");
            write!(connection.stream(), "{:x}\r\n{event}\r\n", event.len())?;
        }
        connection.stream().write_all(b"0\r\n\r\n")
    })]);
    let mut client = proxy.connect();
    client.write_request("GET", "/api/events", &[("Accept", "text/event-stream")], b"");
    assert_eq!(client.read_answer_head().unwrap().status, 200);
    for number in 0..EVENTS {
        wanted.update(|wanted| *wanted += 1);
        let expected = format!("data: event {number}\n\n");
        let mut event = Vec::new();
        while event.len() < expected.len() {
            event.extend(client.read_chunk().unwrap().expect("the stream goes on"));
        }
        assert_eq!(String::from_utf8(event).unwrap(), expected);
    }
    assert_eq!(client.read_chunk().unwrap(), None);
}

/// SEC-33: an answer that broke off never looks complete.
#[test]
fn an_answer_that_breaks_off_is_aborted() {
    let (_endpoint, upstream, proxy) = setup();
    let broken: [&[u8]; 2] = [
        b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 100\r\n\r\nnot all of it",
        b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
    ];
    for bytes in broken {
        upstream.script([Reply::RawThenClose(bytes.to_vec())]);
        let mut client = proxy.connect();
        client.write_request("GET", "/api/x", &[], b"");
        let answer = client.read_answer("GET");
        assert!(answer.is_err(), "{answer:?}");
    }
}

/// SEC-36: a client that leaves within its head has asked for nothing: no connection is made for it.
#[test]
fn a_client_that_leaves_within_its_head_calls_nobody() {
    let (endpoint, upstream, proxy) = setup();
    let beginnings: [&[u8]; 5] = [
        b"GET /api/x HT",
        b"GET /api/x HTTP/1.1\r\nHost: a\r\n",
        b"POST /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r",
        // SETTINGS, and a HEADERS frame that wants 100 bytes.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x64\x01\x05\0\0\0\x01",
        // SETTINGS, and HEADERS of `GET http://a/api/x` that CONTINUATION is to end.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
          \0\0\x0d\x01\x01\0\0\0\x01\x82\x86\x04\x06/api/x\x01\x01a",
    ];
    let begin = |beginning: &[u8]| {
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(beginning).unwrap();
        stream
    };
    let leaving: Vec<TcpStream> = beginnings.into_iter().map(begin).collect();
    // Another one is served meanwhile.
    assert_eq!(proxy.get("/api/whole").status, 200);
    for mut stream in leaving {
        stream.shutdown(Shutdown::Write).unwrap();
        // The proxy is done with it once it closes.
        let _ = std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    }
    assert_eq!((upstream.connections(), endpoint.requests().len()), (1, 1), "the other's");
}

/// SEC-36: when the client leaves, the upstream is let go.
#[test]
fn an_abandoned_stream_ends_upstream() {
    let (_endpoint, upstream, proxy) = setup();
    let ended = Arc::new(Watched::new(false));
    let end = ended.clone();
    upstream.script([Reply::custom(move |_, connection| {
        connection.stream().write_all(STREAM_HEAD)?;
        // Writes until the proxy has closed: the socket's buffers are finite.
        let event = [b"400\r\n".as_slice(), &[b'x'; 0x400], b"\r\n"].concat();
        while connection.stream().write_all(&event).is_ok() {}
        end.update(|ended| *ended = true);
        Ok(())
    })]);
    let mut client = proxy.connect();
    client.write_request("GET", "/api/events", &[], b"");
    assert_eq!(client.read_answer_head().unwrap().status, 200);
    drop(client);
    ended.wait("the end of the exchange", |ended| ended.then_some(()));
}

/// The upload is not gathered first: its beginning is with the upstream before its end is sent.
#[test]
fn an_upload_streams() {
    let (_endpoint, upstream, proxy) = setup();
    upstream.answer_early();
    upstream.script([Reply::custom(|_, connection| {
        let mut line = String::new();
        for expected in ["5\r\n", "first\r\n"] {
            line.clear();
            std::io::BufRead::read_line(&mut connection.reader, &mut line)?;
            assert_eq!(line, expected);
        }
        connection.stream().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ngot")
    })]);
    let mut client = Client::connect(proxy.address());
    client.write(b"POST /api/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").unwrap();
    // SEC-35: the answer comes though the upload has not ended, and never will.
    assert_eq!(client.read_answer("POST").unwrap().text(), "got");
}

/// Backpressure: an upstream that writes without end to a client that does not read is stopped by its socket, not by the
/// proxy's memory.
#[test]
fn a_client_that_does_not_read_stops_the_upstream() {
    const BYTES_MAX: usize = 64 * 1024 * 1024;
    let (_endpoint, upstream, proxy) = setup();
    let state = Arc::new(Watched::new((0_usize, false)));
    let sent = state.clone();
    upstream.script([Reply::custom(move |_, connection| {
        connection.stream().write_all(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n")?;
        connection.stream().set_write_timeout(Some(std::time::Duration::from_secs(2)))?;
        let block = vec![b'x'; 64 * 1024];
        let mut written = 0;
        while written < BYTES_MAX && connection.stream().write_all(&block).is_ok() {
            written += block.len();
        }
        sent.update(|state| *state = (written, true));
        Ok(())
    })]);
    let mut client = proxy.connect();
    client.write_request("GET", "/api/x", &[], b"");
    assert_eq!(client.read_answer_head().unwrap().status, 200);
    let written = state.wait("the upstream to be stopped", |(written, stopped)| stopped.then_some(*written));
    assert!(written < BYTES_MAX, "{written} bytes went somewhere");
}
