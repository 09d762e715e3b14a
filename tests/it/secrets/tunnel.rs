//! An egress proxy.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

use super::world::NAME;
use crate::support::{Connection, Peer, Request, Watched};

/// CONNECT, then bytes both ways.
pub struct Tunnel {
    pub peer: Peer,
    pub requests: Arc<Watched<Vec<Request>>>,
}

impl Tunnel {
    pub fn start() -> Tunnel {
        let requests = Arc::new(Watched::<Vec<Request>>::default());
        let seen = requests.clone();
        Tunnel { peer: Peer::start(move |connection| tunnel(connection, &seen)), requests }
    }
}

fn tunnel(connection: &mut Connection, seen: &Watched<Vec<Request>>) -> io::Result<()> {
    let Some(request) = Request::read_head(&mut connection.reader)? else { return Ok(()) };
    assert_eq!(request.method, "CONNECT");
    let (name, port) = request.target.split_once(':').expect("CONNECT names host and port");
    assert_eq!(name, NAME);
    let port = port.parse::<u16>().expect("CONNECT names host and port");
    seen.update(|seen| seen.push(request));
    let mut upstream = TcpStream::connect(("127.0.0.1", port))?;
    let (mut from_upstream, mut to_client) = (upstream.try_clone()?, connection.stream().try_clone()?);
    io::Write::write_all(connection.stream(), b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let answers = thread::spawn(move || io::copy(&mut from_upstream, &mut to_client));
    io::copy(&mut connection.reader, &mut upstream)?;
    upstream.shutdown(std::net::Shutdown::Write)?;
    answers.join().expect("copying does not panic").map(drop)
}
