//! A scripted token endpoint.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::http::Request;
use super::peer::{Connection, Mood, Peer};
use super::{Grants, Watched};

/// One answer of the endpoint.
#[derive(Clone, Debug)]
pub enum Grant {
    /// A new token, as the endpoint grants them by default.
    New,
    /// This token.
    Token { value: String, expires_in: Option<u64> },
    /// A status with JSON.
    Json(u16, Value),
    /// A status with `Retry-After`.
    RetryAfter(u16, u64),
    /// These bytes, then the connection is closed.
    Raw(Vec<u8>),
}

#[derive(Debug)]
struct State {
    script: VecDeque<Grant>,
    lifetime: Option<Duration>,
    latency: Duration,
    requests: Vec<Request>,
    name: String,
    token_type: &'static str,
    /// Its tokens tell whose they are.
    for_subjects: bool,
}

/// Grants a new token for every request, unless its script says otherwise.
pub struct TokenEndpoint {
    peer: Peer,
    state: Arc<Watched<State>>,
    grants: Arc<Grants>,
}

impl TokenEndpoint {
    /// Its tokens live an hour and its answers take no time.
    pub fn start() -> TokenEndpoint {
        TokenEndpoint::named("demo")
    }

    /// The name stands in its tokens, so that tests see whose they are.
    pub fn named(name: &str) -> TokenEndpoint {
        let state = Arc::new(Watched::new(State {
            script: VecDeque::new(),
            lifetime: Some(Duration::from_secs(3600)),
            latency: Duration::ZERO,
            requests: Vec::new(),
            name: name.to_owned(),
            token_type: "Bearer",
            for_subjects: false,
        }));
        let grants = Arc::new(Grants::default());
        let peer = Peer::start({
            let (state, grants) = (state.clone(), grants.clone());
            move |connection| serve(connection, &state, &grants)
        });
        TokenEndpoint { peer, state, grants }
    }

    pub fn url(&self) -> String {
        format!("http://{}/token", self.peer.address)
    }

    pub fn grants(&self) -> Arc<Grants> {
        self.grants.clone()
    }

    /// How long its tokens live; `None`: it does not say.
    pub fn set_lifetime(&self, lifetime: Option<Duration>) {
        self.state.update(|state| state.lifetime = lifetime);
    }

    /// What it calls its tokens.
    pub fn set_token_type(&self, token_type: &'static str) {
        self.state.update(|state| state.token_type = token_type);
    }

    /// From now on its tokens say for which `subject_token` they were granted, as [`TokenEndpoint::is_for`] knows.
    pub fn grant_for_subjects(&self) {
        self.state.update(|state| state.for_subjects = true);
    }

    /// Whether a token was granted for this subject token.
    pub fn is_for(token: &str, subject: &str) -> bool {
        token.split_once("-for-").is_some_and(|(_, told)| told == mark_of(subject))
    }

    /// How long each answer takes.
    pub fn set_latency(&self, latency: Duration) {
        self.state.update(|state| state.latency = latency);
    }

    /// What is answered next, each once; then it grants again.
    pub fn script(&self, grants: impl IntoIterator<Item = Grant>) {
        self.state.update(|state| state.script.extend(grants));
    }

    pub fn refuse_connections(&mut self) {
        self.peer.set_mood(Mood::Refusing);
    }

    pub fn stop_answering(&mut self) {
        self.peer.set_mood(Mood::Silent);
    }

    pub fn resume(&mut self) {
        self.peer.set_mood(Mood::Serving);
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state.look(|state| state.requests.clone())
    }

    /// Waits until this many requests were made.
    pub fn wait_for_requests(&self, count: usize) {
        self.state.wait(&format!("{count} token requests"), |state| (state.requests.len() >= count).then_some(()));
    }
}

/// Tells subject tokens apart, and is none.
fn mark_of(subject: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, subject.as_bytes());
    digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn serve(connection: &mut Connection, state: &Watched<State>, grants: &Grants) -> io::Result<()> {
    while let Some(mut request) = Request::read_head(&mut connection.reader)? {
        request.read_body(&mut connection.reader)?;
        let serving = connection.is_serving();
        let subject = request.form("subject_token");
        let (grant, latency) = state.update(|state| {
            state.requests.push(request);
            (state.script.pop_front().unwrap_or(Grant::New), state.latency)
        });
        connection.pause(latency);
        if !(serving && connection.is_serving()) {
            connection.stay_silent();
            return Ok(());
        }
        let (status, extra, body) = match grant {
            Grant::New => {
                let (name, lifetime, token_type, for_subjects) =
                    state.look(|state| (state.name.clone(), state.lifetime, state.token_type, state.for_subjects));
                let whose = subject.filter(|_| for_subjects).map(|subject| format!("-for-{}", mark_of(&subject)));
                let value = format!("{name}-access-token-{:06}{}", grants.count() + 1, whose.unwrap_or_default());
                granted(grants, &value, lifetime, token_type)
            }
            Grant::Token { value, expires_in } => {
                granted(grants, &value, expires_in.map(Duration::from_secs), "Bearer")
            }
            Grant::Json(status, body) => (status, String::new(), body),
            Grant::RetryAfter(status, seconds) => (status, format!("Retry-After: {seconds}\r\n"), json!({})),
            Grant::Raw(bytes) => return connection.stream().write_all(&bytes),
        };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\n{extra}Content-Length: {}\r\n\r\n",
            body.len()
        );
        connection.stream().write_all((head + &body).as_bytes())?;
    }
    Ok(())
}

fn granted(grants: &Grants, value: &str, lifetime: Option<Duration>, token_type: &str) -> (u16, String, Value) {
    grants.add(value, lifetime);
    let mut body = json!({ "access_token": value, "token_type": token_type });
    if let Some(lifetime) = lifetime {
        body["expires_in"] = json!(lifetime.as_secs());
    }
    (200, String::new(), body)
}
