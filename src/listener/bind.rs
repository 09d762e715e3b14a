//! Listening sockets: one per worker by SO_REUSEPORT.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel keeps for a worker that has not accepted them yet.
const BACKLOG: i32 = 4096;

/// A port that the kernel chose for port 0 can be taken by another process before it is bound again: then another one.
const ANY_PORT_TRIES: usize = 16;

/// One address, bound once for each worker.
#[derive(Debug)]
pub struct Bound {
    /// With the port that was given for port 0.
    pub address: SocketAddr,
    /// Non-blocking.
    pub sockets: Vec<TcpListener>,
}

/// Binds an address for `workers`. The error says which address and what to do about it.
///
/// SO_REUSEPORT lets a second instance of ours bind the same address and take half of the connections, which is never
/// what was meant: the address is first bound without it.
pub fn bind(address: SocketAddr, workers: usize) -> Result<Bound, String> {
    let mut tries = if address.port() == 0 { ANY_PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        match bind_once(address, workers) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            bound => return bound.map_err(|error| explain(address, &error)),
        }
    }
}

/// Binds an address for one thread, without SO_REUSEPORT. Returns the socket, which does not block, and the address with
/// the port that was given for port 0. The error says which address and what to do about it.
pub fn bind_alone(address: SocketAddr) -> Result<(TcpListener, SocketAddr), String> {
    let bound = listening(address, false).and_then(|socket| Ok((socket.local_addr()?, socket)));
    bound.map(|(address, socket)| (socket, address)).map_err(|error| explain(address, &error))
}

fn explain(address: SocketAddr, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the address is in use, perhaps by another instance: stop that one, or choose another port"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need the capability CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
        _ => "see the error",
    };
    format!("cannot listen on {address}: {error} (hint: {hint})")
}

fn bind_once(address: SocketAddr, workers: usize) -> io::Result<Bound> {
    let probe = socket(address, false)?;
    let address = as_inet(probe.local_addr()?)?;
    // Two that are bound without SO_REUSEPORT and do not listen yet do not see each other, so it listens for a moment.
    probe.listen(1)?;
    drop(probe);
    let sockets = (0..workers).map(|_| listening(address, true)).collect::<io::Result<_>>()?;
    Ok(Bound { address, sockets })
}

fn listening(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = socket(address, reuse_port)?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier run that linger in TIME_WAIT do not keep us from starting.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    if address.is_ipv6() {
        // What `[::]` means must not depend on a sysctl.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn as_inet(address: socket2::SockAddr) -> io::Result<SocketAddr> {
    address.as_socket().ok_or_else(|| io::Error::other("the socket has no internet address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_0_becomes_one_port_for_all_workers() {
        let bound = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert_ne!(bound.address.port(), 0);
        assert_eq!(bound.sockets.len(), 3);
        assert!(bound.sockets.iter().all(|socket| socket.local_addr().unwrap() == bound.address));
    }

    #[test]
    fn a_second_instance_is_told_that_the_address_is_in_use() {
        let bound = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let error = bind(bound.address, 2).unwrap_err();
        assert!(error.contains(&bound.address.to_string()), "{error}");
        assert!(error.contains("another instance"), "{error}");
    }

    #[test]
    fn what_is_bound_alone_is_not_shared() {
        let (_socket, address) = bind_alone("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind_alone(address).unwrap_err();
        assert!(error.contains(&address.to_string()) && error.contains("another instance"), "{error}");
        assert!(bind(address, 2).is_err());
    }

    #[test]
    fn an_address_that_was_left_can_be_bound_again() {
        let address = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap().address;
        bind(address, 2).unwrap();
    }
}
