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
use crate::upstream::bulkhead::Permit;

/// How long an attempt is alone before the next one joins it, RFC 8305 section 5.
const HEAD_START: Duration = Duration::from_millis(250);
/// The most addresses that are tried for one connection.
const TRIED_MAX: usize = 8;

struct Attempt {
    address: IpAddr,
    connecting: Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>,
    /// What its socket takes. Below the socket, so that it is given back after the socket was closed.
    permit: Permit,
}

/// The attempt that came first.
#[derive(Debug)]
pub(super) struct Raced {
    pub(super) stream: TcpStream,
    pub(super) address: IpAddr,
    pub(super) permit: Permit,
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
/// others needs a permit of its own, and waits where there is none.
pub(super) async fn race(addresses: &[IpAddr], port: u16, permit: Permit) -> Result<Raced, Lost> {
    // That of the attempt that failed last, while there is an address for another.
    let mut free = Some(permit);
    let mut no_descriptor = false;
    let mut waiting = interleave(addresses);
    let mut running: Vec<Attempt> = Vec::new();
    let mut failures = Vec::new();
    let head_start = tokio::time::sleep(HEAD_START);
    tokio::pin!(head_start);
    loop {
        // Each event, be it a failure or the end of a head start, lets the next one begin.
        if !waiting.is_empty() {
            let permit = free.take().or_else(|| running.first()?.permit.another());
            if let Some(permit) = permit
                && let Some(address) = waiting.pop_front()
            {
                let connecting = Box::pin(TcpStream::connect(SocketAddr::new(address, port)));
                running.push(Attempt { address, connecting, permit });
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
            let Attempt { address, permit, .. } = running.swap_remove(index);
            match result {
                Ok(stream) => return Ok(Raced { stream, address, permit }),
                Err(error) => {
                    free = (!waiting.is_empty()).then_some(permit);
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
    use std::net::Ipv4Addr;

    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::Instant;

    use super::*;
    use crate::upstream::bulkhead::Bulkhead;

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
            race(&addresses(&["127.0.0.3", "127.0.0.2", "127.0.0.1"]), port, Permit::of_the_reserve()).await.unwrap();
        assert_eq!((raced.address.to_string().as_str(), begin.elapsed()), ("127.0.0.1", Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn the_error_names_every_address() {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().port()
        };
        let error =
            race(&addresses(&["127.0.0.1", "127.0.0.2"]), port, Permit::of_the_reserve()).await.unwrap_err().text;
        assert!(error.contains("127.0.0.1: ") && error.contains("127.0.0.2: "), "{error}");
        assert_eq!(race(&[], port, Permit::of_the_reserve()).await.unwrap_err().text, "there is no address");
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
        let raced = race(&addresses(&["127.0.0.2", "127.0.0.1"]), port, Permit::of_the_reserve()).await.unwrap();
        assert_eq!((raced.address.to_string().as_str(), begin.elapsed()), ("127.0.0.1", HEAD_START));
    }

    /// SEC-41: an attempt beside another takes a permit of its own, and waits for it; whoever loses gives his back.
    #[tokio::test(start_paused = true)]
    async fn each_attempt_takes_a_permit() {
        let (port, _peers) = half_silent().await;
        let bulkhead = Bulkhead::new(1);
        let addresses = addresses(&["127.0.0.2", "127.0.0.1"]);
        let racing = race(&addresses, port, bulkhead.take(0, false).unwrap());
        tokio::pin!(racing);
        assert!(tokio::time::timeout(10 * HEAD_START, &mut racing).await.is_err(), "one permit, one attempt");
        bulkhead.set_max(2);
        let raced = racing.await.unwrap();
        assert_eq!((raced.address.to_string().as_str(), bulkhead.taken()), ("127.0.0.1", 1));
    }

    /// SEC-41: while the last attempts run, those that failed hold nothing.
    #[tokio::test(start_paused = true)]
    async fn a_failed_attempt_gives_its_permit_back_at_once() {
        let (port, _peers) = half_silent().await;
        let bulkhead = Bulkhead::new(2);
        let addresses = addresses(&["127.0.0.2", "127.0.0.9"]);
        let racing = race(&addresses, port, bulkhead.take(0, false).unwrap());
        tokio::pin!(racing);
        assert!(tokio::time::timeout(10 * HEAD_START, &mut racing).await.is_err(), "the first one is silent");
        assert_eq!(bulkhead.taken(), 1, "the second one was refused");
    }

    /// SEC-41: whoever gets the permit of an attempt that has lost finds its descriptor free.
    #[test]
    fn a_socket_is_closed_before_its_permit_is_free() {
        struct Socket(std::sync::Arc<Bulkhead>);
        impl Drop for Socket {
            fn drop(&mut self) {
                assert_eq!(self.0.taken(), 1, "closed too late");
            }
        }
        let bulkhead = Bulkhead::new(1);
        let socket = Socket(bulkhead.clone());
        let connecting = Box::pin(async move {
            let _socket = socket;
            std::future::pending().await
        });
        let permit = bulkhead.take(0, false).unwrap();
        drop(Attempt { address: Ipv4Addr::LOCALHOST.into(), connecting, permit });
        assert_eq!(bulkhead.taken(), 0);
    }
}
