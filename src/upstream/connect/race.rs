//! Connecting to the first of several addresses that answers, RFC 8305 ("happy eyeballs").

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::clock::timer_now;
use crate::descriptors::Place;

/// How long an attempt is alone before the next one joins it, RFC 8305 section 5.
const HEAD_START: Duration = Duration::from_millis(250);
/// The most addresses that are tried for one connection.
const TRIED_MAX: usize = 8;

struct Attempt {
    address: IpAddr,
    /// What its socket takes.
    place: Place,
    connecting: Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>,
}

/// The attempt that came first.
#[derive(Debug)]
pub(super) struct Raced {
    pub(super) stream: TcpStream,
    pub(super) address: IpAddr,
    pub(super) place: Place,
}

/// Why none came.
#[derive(Debug)]
pub(super) struct Lost {
    /// Names every address and why it failed.
    pub(super) text: String,
    /// An address was not even tried, since there was no file descriptor for it.
    pub(super) no_descriptor: bool,
}

/// Connects to one of the addresses. The families take turns, beginning with that of the first address. An attempt beside
/// others needs a place of its own, and waits where there is none.
pub(super) async fn race(addresses: &[IpAddr], port: u16, place: Place) -> Result<Raced, Lost> {
    // That of the attempt that failed last, if no other has it.
    let mut free = Some(place);
    let mut no_descriptor = false;
    let mut waiting = interleave(addresses);
    let mut running: Vec<Attempt> = Vec::new();
    let mut failures = Vec::new();
    let head_start = tokio::time::sleep(HEAD_START);
    tokio::pin!(head_start);
    loop {
        // Each event, be it a failure or the end of a head start, lets the next one begin.
        if !waiting.is_empty() {
            let place = free.take().or_else(|| running.first()?.place.another());
            if let Some(place) = place
                && let Some(address) = waiting.pop_front()
            {
                let connecting = Box::pin(TcpStream::connect(SocketAddr::new(address, port)));
                running.push(Attempt { address, place, connecting });
            }
            head_start.as_mut().reset(timer_now() + HEAD_START);
        }
        if running.is_empty() {
            let text = if failures.is_empty() { "there is no address".to_owned() } else { failures.join("; ") };
            return Err(Lost { text, no_descriptor });
        }
        let event = poll_fn(|cx| {
            for (index, attempt) in running.iter_mut().enumerate() {
                if let Poll::Ready(result) = attempt.connecting.as_mut().poll(cx) {
                    return Poll::Ready(Some((index, result)));
                }
            }
            if waiting.is_empty() { Poll::Pending } else { head_start.as_mut().poll(cx).map(|()| None) }
        });
        if let Some((index, result)) = event.await {
            let Attempt { address, place, .. } = running.swap_remove(index);
            match result {
                Ok(stream) => return Ok(Raced { stream, address, place }),
                Err(error) => {
                    free = Some(place);
                    no_descriptor |= is_of_descriptors(&error);
                    failures.push(format!("{address}: {error}"));
                }
            }
        }
    }
}

/// Whether the process or the system has no file descriptor left.
fn is_of_descriptors(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(errno, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
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
#[expect(clippy::disallowed_methods, reason = "tests measure by the clock that they pause")]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::Instant;

    use super::*;
    use crate::descriptors::Places;

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
        let raced =
            race(&addresses(&["127.0.0.3", "127.0.0.2", "127.0.0.1"]), port, Place::of_the_reserve()).await.unwrap();
        assert_eq!((raced.address.to_string().as_str(), begin.elapsed()), ("127.0.0.1", Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn the_error_names_every_address() {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().port()
        };
        let error =
            race(&addresses(&["127.0.0.1", "127.0.0.2"]), port, Place::of_the_reserve()).await.unwrap_err().text;
        assert!(error.contains("127.0.0.1: ") && error.contains("127.0.0.2: "), "{error}");
        assert_eq!(race(&[], port, Place::of_the_reserve()).await.unwrap_err().text, "there is no address");
    }

    /// A port that answers at 127.0.0.1 and is silent at 127.0.0.2, for as long as the rest is kept.
    async fn half_silent() -> (u16, impl Sized) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // A full accept queue answers nothing.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new("127.0.0.2".parse().unwrap(), port)).unwrap();
        let silent = socket.listen(0).unwrap();
        let fills = TcpStream::connect(("127.0.0.2", port)).await.unwrap();
        (port, (listener, silent, fills))
    }

    /// SEC-20: the second address begins 250 ms after the first, which does not answer.
    #[tokio::test(start_paused = true)]
    async fn a_silent_address_has_a_head_start_of_250_ms() {
        let (port, _peers) = half_silent().await;
        let begin = Instant::now();
        let raced = race(&addresses(&["127.0.0.2", "127.0.0.1"]), port, Place::of_the_reserve()).await.unwrap();
        assert_eq!((raced.address.to_string().as_str(), begin.elapsed()), ("127.0.0.1", HEAD_START));
    }

    /// SEC-41: an attempt beside another takes a place of its own, and waits for it; whoever loses gives his back.
    #[tokio::test(start_paused = true)]
    async fn each_attempt_takes_a_place() {
        let (port, _peers) = half_silent().await;
        let places = Places::new(1);
        let addresses = addresses(&["127.0.0.2", "127.0.0.1"]);
        let racing = race(&addresses, port, places.take().unwrap());
        tokio::pin!(racing);
        assert!(tokio::time::timeout(10 * HEAD_START, &mut racing).await.is_err(), "one place, one attempt");
        places.set_max(2);
        let raced = racing.await.unwrap();
        assert_eq!((raced.address.to_string().as_str(), places.taken()), ("127.0.0.1", 1));
    }
}
