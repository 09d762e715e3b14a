//! An authorization server with reuse detection: the refresh token that was replaced last may be shown once more, as long as its
//! successor was not, and gets the same successor (as servers allow for answers that were lost); any other old one revokes everything.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{Connection, Peer, Request, Watched};

pub(super) const SEED: &str = "refresh-0";

/// When the process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// The request is here, and nothing was done.
    Received,
    /// The refresh token was replaced, and no answer was sent.
    Replaced,
    /// Half of the answer was sent.
    HalfAnswered,
    /// All of it was sent.
    Answered,
    /// So long after that, in some part of what the process does with it.
    Later(u16),
}

impl Moment {
    pub(super) const ALL: [Moment; 8] = [
        Moment::Received,
        Moment::Replaced,
        Moment::HalfAnswered,
        Moment::Answered,
        Moment::Later(500),
        Moment::Later(2_000),
        Moment::Later(5_000),
        Moment::Later(10_000),
    ];
}

#[derive(Debug, Default)]
struct State {
    /// The refresh token that is good, and whether it was shown already.
    current: u64,
    shown: bool,
    /// An access token of this refresh token was used: it, or a later one, is what has to come next.
    used: u64,
    rotations: u64,
    kill_at: Option<Moment>,
    process: Option<u32>,
    wrong: Option<String>,
}

pub(super) struct Family {
    peer: Peer,
    state: Arc<Watched<State>>,
}

impl Family {
    pub(super) fn start() -> Self {
        let state = Arc::new(Watched::<State>::default());
        let peer = Peer::start({
            let state = state.clone();
            move |connection| answer(connection, &state)
        });
        Family { peer, state }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/token", self.peer.address)
    }

    /// Before a process begins: when it is to be killed.
    pub(super) fn expect(&self, kill_at: Option<Moment>) {
        self.state.update(|state| (state.kill_at, state.process) = (kill_at, None));
    }

    /// The process has begun.
    pub(super) fn serve(&self, process: u32) {
        self.state.update(|state| state.process = Some(process));
    }

    /// The process used this access token.
    pub(super) fn used(&self, token: &str) {
        let number = token.strip_prefix("access-").and_then(|number| number.parse().ok());
        let number: u64 = number.unwrap_or_else(|| panic!("{token} is none of ours"));
        self.state.update(|state| state.used = state.used.max(number));
    }

    pub(super) fn rotations(&self) -> u64 {
        self.state.look(|state| state.rotations)
    }

    pub(super) fn check(&self) {
        self.state.look(|state| assert_eq!(state.wrong, None));
    }
}

fn answer(connection: &mut Connection, state: &Watched<State>) -> io::Result<()> {
    while let Some(mut request) = Request::read_head(&mut connection.reader)? {
        request.read_body(&mut connection.reader)?;
        let process = state.wait("the process to be known", |state| state.process);
        let kill_at = state.look(|state| state.kill_at);
        let kill_if = |moment| {
            if kill_at == Some(moment) {
                kill(process);
            }
        };
        kill_if(Moment::Received);
        if kill_at == Some(Moment::Received) {
            return Ok(());
        }
        let presented = request.form("refresh_token").unwrap_or_default();
        let (status, body) = match state.update(|state| state.exchange(&presented)) {
            Ok(next) => {
                let tokens = json!({ "access_token": format!("access-{next}"), "refresh_token": format!("refresh-{next}"),
                    "token_type": "Bearer", "expires_in": 3600 });
                (200, tokens.to_string())
            }
            Err(()) => (400, json!({ "error": "invalid_grant" }).to_string()),
        };
        kill_if(Moment::Replaced);
        let head = format!(
            "HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let (first, second) = body.split_at(body.len() / 2);
        connection.stream().write_all((head + first).as_bytes())?;
        kill_if(Moment::HalfAnswered);
        connection.stream().write_all(second.as_bytes())?;
        kill_if(Moment::Answered);
        if let Some(Moment::Later(micros)) = kill_at {
            connection.pause(Duration::from_micros(micros.into()));
            kill(process);
        }
    }
    Ok(())
}

impl State {
    /// The number of the new refresh token.
    fn exchange(&mut self, presented: &str) -> Result<u64, ()> {
        let number: Option<u64> = presented.strip_prefix("refresh-").and_then(|number| number.parse().ok());
        let Some(number) = number.filter(|number| *number >= self.used) else {
            self.wrong = Some(format!("{presented} was exchanged, although {} was used", self.used));
            return Err(());
        };
        if number == self.current {
            (self.current, self.shown) = (self.current + 1, false);
            self.rotations += 1;
            return Ok(self.current);
        }
        if number + 1 == self.current && !self.shown {
            return Ok(self.current);
        }
        self.wrong = Some(format!("{presented} was exchanged again, after refresh-{}", self.current));
        Err(())
    }
}

fn kill(process: u32) {
    let process = Pid::from_raw(process as i32).expect("a process has an id");
    // It may have ended by itself; it is a child that nobody has waited for yet, so the id is still its own.
    let _ = kill_process(process, Signal::KILL);
}
