//! Sixty-four applications, each with a connection of its own and ten requests a second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use attache::clock::{Clock as _, SystemClock};

use crate::support::{Client, Watched};

pub const CONNECTIONS: u32 = 64;
const INTERVAL: Duration = Duration::from_millis(100);

/// One request as its client saw it.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// 0: no answer.
    pub status: u16,
    /// From the first byte sent to the last byte received.
    pub time: Duration,
}

/// A running load.
pub struct Load {
    stopped: Arc<Watched<bool>>,
    clients: Vec<JoinHandle<Vec<Sample>>>,
}

impl Load {
    /// The connections' requests are spread evenly over the interval.
    pub fn start(address: SocketAddr) -> Load {
        let stopped = Arc::new(Watched::new(false));
        let clients = (0..CONNECTIONS).map(|index| {
            let (stopped, offset) = (stopped.clone(), INTERVAL * index / CONNECTIONS);
            thread::spawn(move || run(address, offset, &stopped))
        });
        Load { clients: clients.collect(), stopped }
    }

    /// Lets every client have its last answer.
    pub fn stop(self) -> Vec<Sample> {
        self.stopped.update(|stopped| *stopped = true);
        self.clients.into_iter().flat_map(|client| client.join().expect("a client does not panic")).collect()
    }
}

fn run(address: SocketAddr, offset: Duration, stopped: &Watched<bool>) -> Vec<Sample> {
    let mut due = SystemClock.now().after(offset);
    let mut client = Client::connect(address);
    let mut samples = Vec::new();
    loop {
        let pause = due.since(SystemClock.now());
        if stopped.wait_at_most(pause, |stopped| stopped.then_some(())).is_some() {
            return samples;
        }
        let begin = SystemClock.now();
        client.write_request("GET", "/api/load", &[], b"");
        let answer = client.read_answer("GET");
        let time = SystemClock.now().since(begin);
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        samples.push(Sample { status, time });
        if answer.is_err() {
            client = Client::connect(address);
        }
        // After a long wait what was missed is not made up for: that would be another load.
        due = due.after(INTERVAL).max(SystemClock.now());
    }
}
