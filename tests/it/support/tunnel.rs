//! An egress proxy that leads every host to one peer.

use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;

use super::{Connection, Peer, Request};

/// Answers CONNECT, and passes bytes both ways, whatever the host is called: so that a real URL can be asked without a network.
pub fn tunnel(to: SocketAddr) -> Peer {
    Peer::start(move |connection| pass(connection, to))
}

fn pass(connection: &mut Connection, to: SocketAddr) -> io::Result<()> {
    let Some(request) = Request::read_head(&mut connection.reader)? else { return Ok(()) };
    assert_eq!(request.method, "CONNECT");
    let mut peer = TcpStream::connect(to)?;
    let (mut answers, mut to_client) = (peer.try_clone()?, connection.stream().try_clone()?);
    connection.stream().write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let answers = thread::spawn(move || io::copy(&mut answers, &mut to_client));
    io::copy(&mut connection.reader, &mut peer)?;
    peer.shutdown(Shutdown::Write)?;
    answers.join().expect("copying does not panic").map(drop)
}
