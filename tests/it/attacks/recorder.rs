//! An upstream that keeps every byte it is sent, and answers what a case says.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::corpus::Case;
use crate::support::{Connection, Peer, Watched};

const BIG_BODY_BYTES: usize = 200_000_000;

#[derive(Default)]
struct State {
    /// What came on each connection, also what was no complete request.
    connections: Vec<Vec<u8>>,
    open: usize,
    complete_requests: usize,
    /// Sent once in place of the usual answer; empty: nothing.
    reply: Option<Vec<u8>>,
    /// Sent once, unasked, after the usual answer.
    idle_bytes: Option<Vec<u8>>,
}

#[derive(Clone, Copy)]
struct Manner {
    /// Replies as soon as it has the head.
    early: bool,
    /// Closes after the reply.
    closes: bool,
}

pub(super) struct Recorder {
    peer: Peer,
    state: Arc<Watched<State>>,
}

impl Recorder {
    /// Answers as the case says.
    pub(super) fn start(case: &Case, trap: SocketAddr) -> Recorder {
        let state = State { reply: case.reply(trap), idle_bytes: case.idle_bytes(trap), ..State::default() };
        Recorder::serving(state, Manner { early: case.answers_early(), closes: case.closes_after_reply() })
    }

    /// Answers as usual, to whoever comes.
    pub(super) fn trap() -> Recorder {
        Recorder::serving(State::default(), Manner { early: false, closes: false })
    }

    fn serving(state: State, manner: Manner) -> Recorder {
        let state = Arc::new(Watched::new(state));
        let serving = state.clone();
        let peer = Peer::start(move |connection| {
            serving.update(|state| state.open += 1);
            let result = serve(connection, &serving, manner);
            serving.update(|state| state.open -= 1);
            result
        });
        Recorder { peer, state }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.peer.address
    }

    /// Waits until nobody is connected any more, so that all that was sent has been kept.
    pub(super) fn settle(&self) {
        self.state.wait("the end of the connections to the upstream", |state| (state.open == 0).then_some(()));
    }

    pub(super) fn connections(&self) -> Vec<Vec<u8>> {
        self.state.look(|state| state.connections.clone())
    }

    pub(super) fn complete_requests(&self) -> usize {
        self.state.look(|state| state.complete_requests)
    }
}

/// A reader that keeps what it reads.
struct Recording<'a> {
    stream: TcpStream,
    state: &'a Watched<State>,
    index: usize,
}

impl io::Read for Recording<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(buffer)?;
        self.state.update(|state| state.connections[self.index].extend(&buffer[..length]));
        Ok(length)
    }
}

fn serve(connection: &mut Connection, state: &Watched<State>, manner: Manner) -> io::Result<()> {
    let index = state.update(|state| {
        state.connections.push(Vec::new());
        state.connections.len() - 1
    });
    let stream = connection.stream().try_clone()?;
    let mut reader = BufReader::new(Recording { stream, state, index });
    loop {
        let head = read_head(&mut reader)?;
        if manner.early
            && let Some(reply) = state.update(|state| state.reply.take())
        {
            connection.stream().write_all(&reply)?;
            if !manner.closes {
                // What else comes is kept, though nobody will answer it.
                io::copy(&mut reader, &mut io::sink())?;
            }
            return Ok(());
        }
        read_body(&mut reader, &head)?;
        let (reply, idle) = state.update(|state| {
            state.complete_requests += 1;
            (state.reply.take(), state.idle_bytes.take())
        });
        match reply {
            Some(reply) => connection.stream().write_all(&reply)?,
            None => connection.stream().write_all(&usual_answer(&head))?,
        }
        if manner.closes {
            return Ok(());
        }
        if head.split(' ').nth(1).is_some_and(|target| target.ends_with("/big")) {
            io::copy(&mut io::repeat(b'x').take(BIG_BODY_BYTES as u64), connection.stream())?;
        }
        if let Some(idle) = idle {
            // Only once the answer has been taken for complete do these bytes come unasked.
            connection.pause(Duration::from_millis(150));
            connection.stream().write_all(&idle)?;
        }
    }
}

fn usual_answer(head: &str) -> Vec<u8> {
    if head.split(' ').nth(1).is_some_and(|target| target.ends_with("/big")) {
        return format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG_BODY_BYTES}\r\n\r\n").into_bytes();
    }
    let body = if head.starts_with("HEAD") { "" } else { "ok" };
    format!("HTTP/1.1 200 OK\r\nX-Up: 1\r\nContent-Length: 2\r\n\r\n{body}").into_bytes()
}

fn read_head(reader: &mut BufReader<Recording<'_>>) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head.iter().map(|&byte| char::from(byte)).collect())
}

/// Reads as a simple server would; one that the attack confuses is exactly what is to be seen in the bytes.
fn read_body(reader: &mut BufReader<Recording<'_>>, head: &str) -> io::Result<()> {
    let field = |name: &str| {
        let fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.clone().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    if field("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked")) {
        loop {
            let mut line = Vec::new();
            reader.read_until(b'\n', &mut line)?;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let digits = line.split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(digits, 16).map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
            if size == 0 {
                return read_trailers(reader);
            }
            io::copy(&mut reader.by_ref().take(size + 2), &mut io::sink())?;
        }
    }
    let length = field("content-length").and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    if io::copy(&mut reader.take(length), &mut io::sink())? < length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn read_trailers(reader: &mut BufReader<Recording<'_>>) -> io::Result<()> {
    loop {
        let mut line = Vec::new();
        match reader.read_until(b'\n', &mut line)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            2 => return Ok(()),
            _ => {}
        }
    }
}
