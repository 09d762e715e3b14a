//! HTTP/1.1 as tests need it: strict enough to notice what is wrong, raw enough to do what is wrong.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::DEADLINE;

/// Header fields as they came, in order. Bytes are Latin-1 characters, so none is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The only field of this name.
    ///
    /// # Panics
    /// If there are several.
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} occurs {} times: {all:?}", all.len());
        all.first().copied()
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }
}

/// A request as a peer received it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Headers,
    pub body: Vec<u8>,
    pub trailers: Headers,
}

impl Request {
    /// Reads the head; the body is read with [`read_body`]. `None`: the connection was closed between requests.
    pub fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
        let Some((start, headers)) = read_head(reader)? else { return Ok(None) };
        let mut words = start.split(' ');
        let (Some(method), Some(target), Some("HTTP/1.1"), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(malformed(format!("request line {start:?}")));
        };
        let (method, target) = (method.to_owned(), target.to_owned());
        Ok(Some(Request { method, target, headers, body: Vec::new(), trailers: Headers::default() }))
    }

    /// Reads the body that the head announces.
    pub fn read_body(&mut self, reader: &mut impl BufRead) -> io::Result<()> {
        if self.headers.get("transfer-encoding").is_some() {
            (self.body, self.trailers) = read_chunked(reader)?;
        } else if let Some(length) = self.headers.get("content-length") {
            self.body = read_exactly(reader, length)?;
        }
        Ok(())
    }

    pub fn bearer(&self) -> Option<&str> {
        self.headers.get("authorization")?.strip_prefix("Bearer ")
    }

    /// A token that is bound to a key.
    pub fn bound_token(&self) -> Option<&str> {
        self.headers.get("authorization")?.strip_prefix("DPoP ")
    }

    /// A field of a form body, decoded.
    pub fn form(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(&self.body).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }
}

/// An answer as a client received it.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
    pub trailers: Headers,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {:?} {:?}", self.status, self.headers.0, self.text(), self.trailers.0)
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
    /// What `Host` says unless a request says it itself.
    authority: String,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::with_capacity(64 * 1024, stream), authority: address.to_string() }
    }

    /// Sends a request and reads its answer.
    pub fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.write_request(method, target, headers, body);
        self.read_answer(method).unwrap_or_else(|error| panic!("{method} {target} has no answer: {error}"))
    }

    pub fn write_request(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += &format!("Host: {}\r\n", self.authority);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        self.write(&[head.as_bytes(), body].concat()).expect("the request can be sent");
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads the final answer to a request of this method; interim ones are skipped.
    pub fn read_answer(&mut self, method: &str) -> io::Result<Answer> {
        loop {
            let mut answer = self.read_answer_head()?;
            if answer.status >= 200 {
                self.read_answer_body(method, &mut answer)?;
                return Ok(answer);
            }
        }
    }

    /// Reads the next head, interim or final.
    pub fn read_answer_head(&mut self) -> io::Result<Answer> {
        let (start, headers) = read_head(&mut self.stream)?.ok_or(ErrorKind::UnexpectedEof)?;
        let status = start.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| malformed(format!("status line {start:?}")))?;
        Ok(Answer { status, headers, body: Vec::new(), trailers: Headers::default() })
    }

    fn read_answer_body(&mut self, method: &str, answer: &mut Answer) -> io::Result<()> {
        if method == "HEAD" || answer.status == 204 || answer.status == 304 {
            return Ok(());
        }
        if answer.headers.get("transfer-encoding").is_some() {
            (answer.body, answer.trailers) = read_chunked(&mut self.stream)?;
        } else if let Some(length) = answer.headers.get("content-length") {
            answer.body = read_exactly(&mut self.stream, length)?;
        } else {
            self.stream.read_to_end(&mut answer.body)?;
        }
        Ok(())
    }

    /// The next chunk of a chunked answer whose head was read; `None` after the last one.
    pub fn read_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        read_chunk(&mut self.stream)
    }

    /// Whatever comes until the server closes.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset also ends it; what came before is what counts.
        let _ = self.stream.read_to_end(&mut bytes);
        bytes
    }
}

/// One GET on a connection of its own.
pub fn get(address: SocketAddr, target: &str) -> Answer {
    Client::connect(address).send("GET", target, &[], b"")
}

/// One request on a connection of its own.
pub fn send(address: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    Client::connect(address).send(method, target, headers, body)
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Option<(String, Headers)>> {
    let Some(start) = read_line(reader)? else { return Ok(None) };
    let mut headers = Headers::default();
    loop {
        let line = read_line(reader)?.ok_or(ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(Some((start, headers)));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed(format!("header line {line:?}")))?;
        headers.0.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
}

/// A line without its CRLF, bytes as Latin-1. `None` at the end of the stream.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    match line.strip_suffix(b"\r\n") {
        Some(line) => Ok(Some(line.iter().map(|&byte| char::from(byte)).collect())),
        None => Err(malformed(format!("a line that does not end in CRLF: {:?}", String::from_utf8_lossy(&line)))),
    }
}

fn read_exactly(reader: &mut impl Read, length: &str) -> io::Result<Vec<u8>> {
    let length = length.parse().map_err(|_| malformed(format!("content-length {length:?}")))?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}

fn read_chunked(reader: &mut impl BufRead) -> io::Result<(Vec<u8>, Headers)> {
    let mut body = Vec::new();
    loop {
        let size = chunk_size(reader)?;
        if size == 0 {
            break;
        }
        body.extend(read_chunk_data(reader, size)?);
    }
    let mut trailers = Headers::default();
    loop {
        let line = read_line(reader)?.ok_or(ErrorKind::UnexpectedEof)?;
        match line.split_once(':') {
            Some((name, value)) => trailers.0.push((name.to_owned(), value.trim().to_owned())),
            None => return Ok((body, trailers)),
        }
    }
}

fn read_chunk(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    match chunk_size(reader)? {
        0 => Ok(None),
        size => read_chunk_data(reader, size).map(Some),
    }
}

fn chunk_size(reader: &mut impl BufRead) -> io::Result<usize> {
    let line = read_line(reader)?.ok_or(ErrorKind::UnexpectedEof)?;
    let digits = line.split(';').next().unwrap_or_default().trim();
    usize::from_str_radix(digits, 16).map_err(|_| malformed(format!("chunk size {line:?}")))
}

fn read_chunk_data(reader: &mut impl BufRead, size: usize) -> io::Result<Vec<u8>> {
    let mut data = vec![0; size];
    reader.read_exact(&mut data)?;
    match read_line(reader)?.as_deref() {
        Some("") => Ok(data),
        other => Err(malformed(format!("after a chunk: {other:?}"))),
    }
}

fn malformed(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
