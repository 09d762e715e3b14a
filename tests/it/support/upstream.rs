//! A scripted upstream.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;

use super::http::Request;
use super::peer::{Connection, Mood, Peer};
use super::{Grants, Watched};

/// No test looks at more, and a load would fill the memory.
const REQUESTS_KEPT_MAX: usize = 10_000;

/// One answer of the upstream.
pub enum Reply {
    /// A complete answer; the connection stays open.
    Answer { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// These bytes as they are; the connection stays open.
    Raw(Vec<u8>),
    /// These bytes as they are, then the connection is closed.
    RawThenClose(Vec<u8>),
    /// Answers with code; an error closes the connection.
    Custom(Box<Code>),
}

type Code = dyn FnOnce(&Request, &mut Connection) -> io::Result<()> + Send;

impl Reply {
    pub fn text(body: &str) -> Reply {
        Reply::answer(200, &[("Content-Type", "text/plain")], body.as_bytes())
    }

    pub fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Reply::Answer { status, headers, body: body.to_vec() }
    }

    pub fn custom(code: impl FnOnce(&Request, &mut Connection) -> io::Result<()> + Send + 'static) -> Reply {
        Reply::Custom(Box::new(code))
    }
}

#[derive(Default)]
struct State {
    script: VecDeque<Reply>,
    requests: Vec<Request>,
    asked: usize,
    /// Answers before the body is read.
    early: bool,
}

/// Answers `200 ok` to every request, unless its script says otherwise; 401 where the token is not valid.
pub struct Upstream {
    peer: Peer,
    state: Arc<Watched<State>>,
}

impl Upstream {
    /// One that lets everybody in.
    pub fn open() -> Upstream {
        Upstream::start(None)
    }

    /// One that answers 401, and does not play its script, without a token that is valid.
    pub fn guarded(grants: Arc<Grants>) -> Upstream {
        Upstream::start(Some(grants))
    }

    fn start(grants: Option<Arc<Grants>>) -> Upstream {
        let state = Arc::new(Watched::<State>::default());
        let peer = Peer::start({
            let state = state.clone();
            move |connection| serve(connection, &state, grants.as_deref())
        });
        Upstream { peer, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.peer.address)
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.peer.address
    }

    /// What is answered next, each once; then `200 ok` again.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.state.update(|state| state.script.extend(replies));
    }

    /// Plays its script as soon as a request's head was read, and never reads the body.
    pub fn answer_early(&self) {
        self.state.update(|state| state.early = true);
    }

    pub fn refuse_connections(&mut self) {
        self.peer.set_mood(Mood::Refusing);
    }

    pub fn resume(&mut self) {
        self.peer.set_mood(Mood::Serving);
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.peer.connections()
    }

    /// What it was asked, refused requests included; of a load the beginning.
    pub fn requests(&self) -> Vec<Request> {
        self.state.look(|state| state.requests.clone())
    }

    /// How often it was asked, refused requests included.
    pub fn asked(&self) -> usize {
        self.state.look(|state| state.asked)
    }

    /// The only request.
    pub fn request(&self) -> Request {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.into_iter().next().expect("there is one")
    }
}

fn serve(connection: &mut Connection, state: &Watched<State>, grants: Option<&Grants>) -> io::Result<()> {
    while let Some(mut request) = Request::read_head(&mut connection.reader)? {
        let early = state.look(|state| state.early);
        if !early {
            request.read_body(&mut connection.reader)?;
        }
        let accepted = grants
            .is_none_or(|grants| request.bearer().or(request.bound_token()).is_some_and(|token| grants.accepts(token)));
        let reply = state.update(|state| {
            state.asked += 1;
            if state.requests.len() < REQUESTS_KEPT_MAX {
                state.requests.push(request.clone());
            }
            if accepted { state.script.pop_front() } else { None }
        });
        let refused = || Reply::answer(401, &[("WWW-Authenticate", "Bearer error=\"invalid_token\"")], b"");
        let reply = reply.unwrap_or_else(|| if accepted { Reply::text("ok") } else { refused() });
        if !connection.is_serving() {
            return Ok(());
        }
        match reply {
            Reply::Answer { status, headers, body } => {
                let bytes = bytes_of(&request.method, status, &headers, &body);
                connection.stream().write_all(&bytes)?;
            }
            Reply::Raw(bytes) => connection.stream().write_all(&bytes)?,
            Reply::RawThenClose(bytes) => return connection.stream().write_all(&bytes),
            Reply::Custom(code) => code(&request, connection)?,
        }
        if early {
            return Ok(());
        }
    }
    Ok(())
}

fn bytes_of(method: &str, status: u16, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Answer\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").expect("a string can be written to");
    }
    if !matches!(status, 204 | 304) {
        write!(head, "Content-Length: {}\r\n", body.len()).expect("a string can be written to");
    }
    head += "\r\n";
    let body = if method == "HEAD" { &[] } else { body };
    [head.as_bytes(), body].concat()
}
