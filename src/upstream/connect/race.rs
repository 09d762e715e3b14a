//! Connecting to the first of several addresses that answers, RFC 8305 ("happy eyeballs").

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;

/// How long an attempt is alone before the next one joins it, RFC 8305 section 5.
const HEAD_START: Duration = Duration::from_millis(250);
/// The most addresses that are tried for one connection.
const TRIED_MAX: usize = 8;

type Attempt = (IpAddr, Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>);

/// Connects to one of the addresses. The families take turns, beginning with that of the first address. The error
/// names every address and why it failed.
pub(super) async fn race(addresses: &[IpAddr], port: u16) -> Result<(TcpStream, IpAddr), String> {
    let mut waiting = interleave(addresses);
    let mut running: Vec<Attempt> = Vec::new();
    let mut failures = Vec::new();
    let head_start = tokio::time::sleep(HEAD_START);
    tokio::pin!(head_start);
    loop {
        // Each event, be it a failure or the end of a head start, lets the next one begin.
        if let Some(address) = waiting.pop_front() {
            running.push((address, Box::pin(TcpStream::connect(SocketAddr::new(address, port)))));
            head_start.as_mut().reset(tokio::time::Instant::now() + HEAD_START);
        }
        if running.is_empty() {
            return Err(if failures.is_empty() { "there is no address".to_owned() } else { failures.join("; ") });
        }
        let event = poll_fn(|cx| {
            for (index, (address, attempt)) in running.iter_mut().enumerate() {
                if let Poll::Ready(result) = attempt.as_mut().poll(cx) {
                    return Poll::Ready(Some((index, *address, result)));
                }
            }
            if waiting.is_empty() { Poll::Pending } else { head_start.as_mut().poll(cx).map(|()| None) }
        });
        match event.await {
            Some((_, address, Ok(stream))) => return Ok((stream, address)),
            Some((index, address, Err(error))) => {
                drop(running.swap_remove(index));
                failures.push(format!("{address}: {error}"));
            }
            None => {}
        }
    }
}

/// RFC 8305 section 4.
fn interleave(addresses: &[IpAddr]) -> VecDeque<IpAddr> {
    let Some(first) = addresses.first() else {
        return VecDeque::new();
    };
    let (same, other): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.iter().copied().partition(|address| address.is_ipv4() == first.is_ipv4());
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut mixed = VecDeque::new();
    while mixed.len() < TRIED_MAX {
        let before = mixed.len();
        mixed.extend(same.next());
        mixed.extend(other.next());
        if mixed.len() == before {
            break;
        }
    }
    mixed.truncate(TRIED_MAX);
    mixed
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::Instant;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let mixed = interleave(&addresses(&["::1", "::2", "::3", "192.0.2.1", "192.0.2.2"]));
        assert_eq!(mixed, addresses(&["::1", "192.0.2.1", "::2", "192.0.2.2", "::3"]));
        assert_eq!(interleave(&addresses(&["192.0.2.1"; 100])).len(), TRIED_MAX);
        assert!(interleave(&[]).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_address_makes_way_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let begin = Instant::now();
        let port = listener.local_addr().unwrap().port();
        let (_, address) = race(&addresses(&["127.0.0.3", "127.0.0.2", "127.0.0.1"]), port).await.unwrap();
        assert_eq!((address.to_string().as_str(), begin.elapsed()), ("127.0.0.1", Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn the_error_names_every_address() {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().port()
        };
        let error = race(&addresses(&["127.0.0.1", "127.0.0.2"]), port).await.unwrap_err();
        assert!(error.contains("127.0.0.1: ") && error.contains("127.0.0.2: "), "{error}");
        assert_eq!(race(&[], port).await.unwrap_err(), "there is no address");
    }

    /// SEC-20: the second address begins 250 ms after the first, which does not answer.
    #[tokio::test(start_paused = true)]
    async fn a_silent_address_has_a_head_start_of_250_ms() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // A full accept queue answers nothing.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new("127.0.0.2".parse().unwrap(), port)).unwrap();
        let _silent = socket.listen(0).unwrap();
        let _fills = TcpStream::connect(("127.0.0.2", port)).await.unwrap();
        let begin = Instant::now();
        let (_, address) = race(&addresses(&["127.0.0.2", "127.0.0.1"]), port).await.unwrap();
        assert_eq!((address.to_string().as_str(), begin.elapsed()), ("127.0.0.1", HEAD_START));
    }
}
