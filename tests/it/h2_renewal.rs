//! Upstreams that end their HTTP/2 connections after some requests and expect others in their place, as nginx does by
//! `keepalive_requests`. No server library ignores requests that come too late, so the frames are written by hand.

use std::io::{self, Read as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use crate::support::{Connection, Peer, Proxy, TokenEndpoint, client_credentials, one_route_of};

/// RFC 9113 section 6.
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` by the static table (RFC 7541 appendix A).
const STATUS_200: &[u8] = &[0x88];

const PREFACE_BYTES: usize = 24;
const FRAME_HEAD_BYTES: usize = 9;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames are short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Answers this many requests of a connection. With the head of the last one it says that it is the last, and it
/// ignores what comes behind it.
fn serve(connection: &mut Connection, requests: usize, answered: &AtomicUsize) -> io::Result<()> {
    connection.reader.read_exact(&mut [0; PREFACE_BYTES])?;
    connection.stream().write_all(&frame(SETTINGS, 0, 0, &[]))?;
    let (mut begun, mut last) = (0, 0);
    loop {
        let mut head = [0; FRAME_HEAD_BYTES];
        connection.reader.read_exact(&mut head)?;
        let [_, _, _, kind, flags, a, b, c, d] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        connection.reader.read_exact(&mut payload)?;
        let stream = u32::from_be_bytes([a, b, c, d]);
        if kind == PING && flags & ACK == 0 {
            connection.stream().write_all(&frame(PING, ACK, 0, &payload))?;
        }
        if kind == HEADERS && begun < requests {
            begun += 1;
            last = stream;
            if begun == requests {
                let go_away = [stream.to_be_bytes(), [0; 4]].concat();
                connection.stream().write_all(&frame(GOAWAY, 0, 0, &go_away))?;
            }
        }
        // Of a HEADERS or DATA frame; the same bit is ACK elsewhere, and there the stream is 0.
        if stream != 0 && stream <= last && flags & END_STREAM != 0 {
            answered.fetch_add(1, Ordering::Relaxed);
            connection.stream().write_all(&frame(HEADERS, END_STREAM | END_HEADERS, stream, STATUS_200))?;
        }
    }
}

/// SEC-32: whatever came too late for its connection is sent over another one, once and not twice, whatever it is.
#[test]
fn an_upstream_that_renews_its_connections_loses_no_request() {
    const CLIENTS: usize = 16;
    const REQUESTS_OF_EACH: usize = 100;
    for requests_of_a_connection in [20, 5] {
        let endpoint = TokenEndpoint::start();
        let answered = Arc::new(AtomicUsize::new(0));
        let upstream = Peer::start({
            let answered = answered.clone();
            move |connection| serve(connection, requests_of_a_connection, &answered)
        });
        let keys = format!("url = \"http://{}\"\nhttp = \"2\"", upstream.address);
        let proxy = Proxy::start(&one_route_of(&client_credentials(&endpoint.url()), &keys, ""));
        let begin = Barrier::new(CLIENTS);
        let statuses: Vec<u16> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| ask(&proxy, &begin, REQUESTS_OF_EACH))).collect();
            clients.into_iter().flat_map(|client| client.join().expect("a client's thread")).collect()
        });
        let lost = statuses.iter().filter(|status| **status != 200).count();
        assert_eq!((statuses.len(), lost), (CLIENTS * REQUESTS_OF_EACH, 0), "of {requests_of_a_connection} each");
        assert_eq!(answered.load(Ordering::Relaxed), CLIENTS * REQUESTS_OF_EACH);
        assert!(upstream.connections() >= CLIENTS * REQUESTS_OF_EACH / requests_of_a_connection);
    }
}

/// Every other request has a body.
fn ask(proxy: &Proxy, begin: &Barrier, requests: usize) -> Vec<u16> {
    let mut client = proxy.connect();
    begin.wait();
    (0..requests)
        .map(|request| match request % 2 {
            0 => client.send("GET", "/api/x", &[], b"").status,
            _ => client.send("POST", "/api/x", &[], b"abc").status,
        })
        .collect()
}
