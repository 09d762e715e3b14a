//! A server on a thread, and what can go wrong with one.

use std::io::{self, BufReader};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use socket2::{Domain, Socket, Type};

use super::{DEADLINE, Watched};

/// What the peer's listener does at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Serving,
    /// Nobody listens; open connections were closed.
    Refusing,
    /// Connections are accepted and requests are read, but nothing is answered until the mood changes; then what was
    /// asked is dropped.
    Silent,
}

#[derive(Debug, Default)]
struct State {
    mood: Mood,
    /// Only ever grows; a connection that ended is a number and a dead socket.
    connections: Vec<TcpStream>,
    panics: Vec<String>,
    ended: bool,
}

/// A connection that the peer accepted.
pub struct Connection {
    pub reader: BufReader<TcpStream>,
    state: Arc<Watched<State>>,
}

/// A listening server, one thread a connection. Dropped, it closes everything, and panics if one of its threads did.
pub struct Peer {
    pub address: SocketAddr,
    /// Bound and never listening, so that the port stays ours while it refuses.
    _reserved: Socket,
    listener: Option<Socket>,
    state: Arc<Watched<State>>,
    serve: Arc<Serve>,
}

type Serve = dyn Fn(&mut Connection) -> io::Result<()> + Send + Sync;

impl Peer {
    /// `serve` handles one connection to its end; an error is how connections end, a panic fails the test.
    pub fn start(serve: impl Fn(&mut Connection) -> io::Result<()> + Send + Sync + 'static) -> Peer {
        let reserved = bound(&"127.0.0.1:0".parse().unwrap());
        let address = reserved.local_addr().unwrap().as_socket().unwrap();
        let state = Arc::new(Watched::default());
        let mut peer = Peer { address, _reserved: reserved, listener: None, state, serve: Arc::new(serve) };
        peer.listen();
        peer
    }

    pub fn set_mood(&mut self, mood: Mood) {
        self.state.update(|state| state.mood = mood);
        match mood {
            Mood::Refusing => self.close(),
            Mood::Serving | Mood::Silent if self.listener.is_none() => self.listen(),
            Mood::Serving | Mood::Silent => {}
        }
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.state.look(|state| state.connections.len())
    }

    fn listen(&mut self) {
        let socket = bound(&self.address);
        socket.listen(1024).expect("a bound socket can listen");
        let listener = TcpListener::from(socket.try_clone().expect("a socket can be cloned"));
        self.listener = Some(socket);
        let (state, serve) = (self.state.clone(), self.serve.clone());
        thread::spawn(move || {
            // It ends when the socket is shut down.
            while let Ok((stream, _)) = listener.accept() {
                let (state, serve) = (state.clone(), serve.clone());
                thread::spawn(move || run(stream, state, &*serve));
            }
        });
    }

    fn close(&mut self) {
        if let Some(socket) = self.listener.take() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        self.state.look(|state| state.connections.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both))));
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.state.update(|state| state.ended = true);
        self.close();
        let panics = self.state.look(|state| state.panics.clone());
        if !thread::panicking() {
            assert!(panics.is_empty(), "a peer panicked: {panics:?}");
        }
    }
}

impl Connection {
    /// Whether the peer answers at present. Ask before a request is shown to the test, and again before answering: a test
    /// that has seen a request may already have changed the mood.
    pub fn is_serving(&self) -> bool {
        self.state.look(|state| state.mood == Mood::Serving)
    }

    /// Holds still while the peer is silent.
    pub fn stay_silent(&self) {
        self.state.wait_at_most(DEADLINE, |state| (state.mood != Mood::Silent || state.ended).then_some(()));
    }

    /// Passes this much time, unless the peer ends first.
    pub fn pause(&self, time: std::time::Duration) {
        self.state.wait_at_most(time, |state| state.ended.then_some(()));
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        self.reader.get_mut()
    }
}

fn run(stream: TcpStream, state: Arc<Watched<State>>, serve: &Serve) {
    stream.set_nodelay(true).expect("a socket takes options");
    let kept = stream.try_clone().expect("a socket can be cloned");
    let late = state.update(|state| {
        state.connections.push(kept);
        state.mood == Mood::Refusing || state.ended
    });
    if late {
        return drop(stream.shutdown(Shutdown::Both));
    }
    let mut connection = Connection { reader: BufReader::new(stream), state: state.clone() };
    let served = catch_unwind(AssertUnwindSafe(|| serve(&mut connection)));
    if let Err(panic) = served {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        state.update(|state| state.panics.push(text.unwrap_or_default()));
    }
    // The clone above keeps the socket open, so closing has to be said; last, so that who sees it closed can rely on the
    // panic being known.
    let _ = connection.stream().shutdown(Shutdown::Both);
}

fn bound(address: &SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are sockets");
    socket.set_reuse_port(true).expect("a socket takes options");
    socket.bind(&(*address).into()).unwrap_or_else(|error| panic!("cannot bind {address}: {error}"));
    socket
}
