//! Sixty-four applications, each with a connection of its own and ten requests a second: half of them speak HTTP/1 in
//! cleartext, a quarter HTTP/1 over TLS and a quarter HTTP/2 over TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use attache::clock::{Clock as _, SystemClock};

use rustls::RootCertStore;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::support::{Client, DEADLINE, HyperClient, Speaks, Watched};

pub const CONNECTIONS: u32 = 64;
const INTERVAL: Duration = Duration::from_millis(100);
const PATH: &str = "/api/load";

/// One request as its client saw it.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// 0: no answer.
    pub status: u16,
    /// From the first byte sent to the last byte received.
    pub time: Duration,
}

/// Where attache is, and what its clients trust.
#[derive(Debug, Clone)]
pub struct Place {
    pub cleartext: SocketAddr,
    pub tls: SocketAddr,
    pub roots: Arc<RootCertStore>,
}

/// A running load.
pub struct Load {
    stopped: Arc<Watched<bool>>,
    clients: Vec<JoinHandle<Vec<Sample>>>,
}

impl Load {
    /// The connections' requests are spread evenly over the interval.
    pub fn start(place: &Place) -> Load {
        let stopped = Arc::new(Watched::new(false));
        let clients = (0..CONNECTIONS).map(|index| {
            let (place, stopped, offset) = (place.clone(), stopped.clone(), INTERVAL * index / CONNECTIONS);
            thread::spawn(move || run(|| Application::connect(&place, index), offset, &stopped))
        });
        Load { clients: clients.collect(), stopped }
    }

    /// Lets every client have its last answer.
    pub fn stop(self) -> Vec<Sample> {
        self.stopped.update(|stopped| *stopped = true);
        self.clients.into_iter().flat_map(|client| client.join().expect("a client does not panic")).collect()
    }
}

/// An application's connection.
enum Application {
    Cleartext(Client),
    Tls(Runtime, HyperClient),
}

impl Application {
    fn connect(place: &Place, index: u32) -> Application {
        let speaks = match index % 4 {
            0 => Speaks::Http1OverTls,
            1 => Speaks::Http2OverTls,
            _ => return Application::Cleartext(Client::connect(place.cleartext)),
        };
        let runtime = Builder::new_current_thread().enable_all().build().expect("there is a runtime");
        let client = runtime.block_on(HyperClient::connect(place.tls, speaks, &place.roots));
        Application::Tls(runtime, client)
    }

    /// The status of an answer that was read to its end; 0: none came in time.
    fn ask(&mut self) -> u16 {
        match self {
            Application::Cleartext(client) => {
                client.write_request("GET", PATH, &[], b"");
                client.read_answer("GET").map_or(0, |answer| answer.status)
            }
            Application::Tls(runtime, client) => {
                let asked = runtime.block_on(async { timeout(DEADLINE, client.get(PATH)).await });
                asked.ok().and_then(Result::ok).map_or(0, |(status, _)| status.as_u16())
            }
        }
    }
}

fn run(connect: impl Fn() -> Application, offset: Duration, stopped: &Watched<bool>) -> Vec<Sample> {
    let mut application = connect();
    let mut due = SystemClock.now().after(offset);
    let mut samples = Vec::new();
    loop {
        let pause = due.since(SystemClock.now());
        if stopped.wait_at_most(pause, |stopped| stopped.then_some(())).is_some() {
            return samples;
        }
        let begin = SystemClock.now();
        let status = application.ask();
        samples.push(Sample { status, time: SystemClock.now().since(begin) });
        if status == 0 {
            application = connect();
        }
        // After a long wait what was missed is not made up for: that would be another load.
        due = due.after(INTERVAL).max(SystemClock.now());
    }
}
