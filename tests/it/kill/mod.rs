//! A process that rotates a refresh token is killed with -9 at every step of it, some hundred times over, and no refresh token is lost.
//!
//! `life` is the process that is killed: a child of this test, which runs the real credential over the real store. `disk` is the
//! file under its store, which dies at the write that it is told. `family` is the authorization server.

mod by_hand;
mod disk;
mod family;
mod life;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use disk::Death;
use family::{Family, Moment};
use rustix::process::Signal;

use crate::support::{Process, Upstream, one_route_of};

const KILLS_MIN: usize = 500;
/// How many writes a life makes at least: fewer would be no rotation.
const WRITES_MIN: usize = 20;
/// Authorizations that live through this at the same time.
const FAMILIES: usize = 4;

/// Where a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By itself, after a rotation.
    Natural,
    /// At the so-manieth write, sync or change of length of the store's file.
    Disk(Death, usize),
    /// At a moment of the exchange.
    Exchange(Moment),
}

/// What the lives of all families came to.
#[derive(Debug, Default)]
struct Tally {
    kills: AtomicUsize,
    points: Mutex<BTreeMap<String, usize>>,
}

/// SEC-37, TL-50, TL-53, TL-55: whenever the process is killed, the next one goes on: a refresh token whose access token was used is never
/// followed by an older one, and the server, which revokes everything at the first reuse, never sees one.
#[test]
#[expect(clippy::print_stdout, reason = "how often it killed, and where, is what a person wants to know")]
fn no_refresh_token_is_lost_to_kill_9() {
    let writes = writes_of_a_life();
    let deaths = [Death::Before, Death::Torn, Death::PowerLoss];
    let disk = (1..=writes).flat_map(|at| deaths.map(|death| End::Disk(death, at)));
    let exchange = (0..15).flat_map(|_| Moment::ALL.map(End::Exchange));
    let round: Vec<End> = disk.chain(exchange).collect();
    let tally = Tally::default();
    let next = AtomicUsize::new(0);
    let rotations: u64 = thread::scope(|scope| {
        let live = || {
            let mut family = Authorized::new();
            while tally.kills.load(Ordering::Relaxed) < KILLS_MIN + FAMILIES {
                let at = next.fetch_add(1, Ordering::Relaxed);
                assert!(at < 20 * KILLS_MIN, "most lives end by themselves");
                family.live(round[at % round.len()], &tally);
            }
            family.live(End::Natural, &tally);
            family.server.rotations()
        };
        let families: Vec<_> = (0..FAMILIES).map(|_| scope.spawn(live)).collect();
        families.into_iter().map(|family| family.join().expect("no refresh token is lost")).sum()
    });
    let (kills, points) = (tally.kills.into_inner(), tally.points.into_inner().unwrap());
    let write_points = points.keys().filter(|point| point.starts_with("write")).count();
    println!(
        "{kills} kills at {write_points} write points of {writes} and {} others; {rotations} rotations",
        points.len() - write_points
    );
    assert!(kills >= KILLS_MIN, "{kills} kills");
    assert!(writes >= WRITES_MIN && write_points == writes, "of {writes} writes, {write_points} were hit: {points:?}");
    assert!(Moment::ALL.iter().all(|moment| points.contains_key(&format!("{moment:?}"))), "{points:?}");
    // Most lives end before theirs: how many do not depends on how the families take turns.
    assert!(rotations >= 50, "there were {rotations} rotations only");
}

/// How many writes an undisturbed life makes, after the first one, which makes the store.
fn writes_of_a_life() -> usize {
    let (mut family, tally) = (Authorized::new(), Tally::default());
    family.live(End::Natural, &tally);
    family.live(End::Natural, &tally)
}

/// An authorization: the server's side of it, and the folder that its processes live in, one after the other.
struct Authorized {
    server: Family,
    folder: tempfile::TempDir,
    _upstream: Upstream,
    lives: usize,
}

impl Authorized {
    fn new() -> Self {
        let (server, upstream) = (Family::start(), Upstream::open());
        let folder = tempfile::tempdir().expect("there is room for a file");
        let credential = format!(
            "[store.file]\npath = \"tokens.db\"\nkey = {{ env = \"STORE_KEY\" }}\n\n[credentials.api.refresh_token]\n\
             token_url = \"{}\"\nclient_id = \"attache\"\nclient_secret = {{ env = \"SECRET\" }}\n\
             refresh_token = {{ env = \"SEED\" }}\n",
            server.url()
        );
        let toml = one_route_of(&credential, &format!("url = \"{}\"", upstream.url()), "");
        std::fs::write(folder.path().join("proxy.toml"), toml).expect("there is room for a file");
        Authorized { server, folder, _upstream: upstream, lives: 0 }
    }

    /// One process, from its start to its end. Returns how many writes its store saw, if it lived to say so.
    fn live(&mut self, end: End, tally: &Tally) -> usize {
        self.lives += 1;
        let mut command = child(self.folder.path());
        // Another secret: the token is renewed although it is fresh (TL-03), so that every life rotates.
        command.env("SECRET", format!("the secret of life {}", self.lives));
        if let End::Disk(death, at) = end {
            command.env("DEATH", death.to_string()).env("DEATH_AT", at.to_string());
        }
        self.server.expect(match end {
            End::Exchange(moment) => Some(moment),
            End::Natural | End::Disk(..) => None,
        });
        let mut process = Process::spawn(command, "it is this test itself");
        self.server.serve(process.process().id());
        let status = process.wait();
        let lines = process.lines();
        lines.iter().filter_map(|line| line.strip_prefix("used ")).for_each(|token| self.server.used(token));
        self.server.check();
        if status.signal() == Some(Signal::KILL.as_raw()) {
            tally.kills.fetch_add(1, Ordering::Relaxed);
            let point = match end {
                End::Disk(_, at) => format!("write {at}"),
                End::Exchange(moment) => format!("{moment:?}"),
                End::Natural => panic!("nobody was to kill it"),
            };
            *tally.points.lock().unwrap().entry(point).or_default() += 1;
            return 0;
        }
        assert!(status.success(), "life {} ended with {status} at {end:?}:\n{}", self.lives, lines.join("\n"));
        let writes = lines.iter().find_map(|line| line.strip_prefix("writes ")?.parse().ok());
        writes.unwrap_or_else(|| panic!("life {} said nothing of its writes: {lines:?}", self.lives))
    }
}

/// This test program once more, as the process that is killed.
fn child(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a file"));
    command.args(["--exact", "--ignored", "--nocapture", "kill::life::a_life"]).current_dir(folder);
    command.env_clear().env("LIFE", "1").env("SEED", family::SEED).env("STORE_KEY", "00".repeat(32));
    command
}
