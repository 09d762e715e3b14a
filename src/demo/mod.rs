//! `attache demo`: an authorization server, an API and the proxy in one process, to see with one's own eyes what a
//! token's life is like. Nothing of it leaves the loopback address.
#![expect(clippy::print_stderr, reason = "what the demo prints is what it is for")]

mod addresses;
mod api;
mod authorization_server;
mod directory;
mod lines;
mod serve;
mod tokens;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::{env, fs, thread};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;

use crate::app::{self, Options, Running};
use crate::clock::SystemClock;
use crate::config::Environment;
use addresses::{Addresses, Own};
use authorization_server::AuthorizationServer;
use tokens::{Tokens, random_text};

const CLIENT_ID: &str = "attache-demo";

/// The variable that proxy.toml reads the client secret from.
const CLIENT_SECRET_VARIABLE: &str = "DEMO_CLIENT_SECRET";

/// And the key of the other API.
const DIRECTORY_KEY_VARIABLE: &str = "DEMO_DIRECTORY_KEY";

/// What the demo makes up whenever it starts.
#[derive(Debug)]
struct Secrets {
    client_secret: String,
    directory_key: String,
}

/// Runs the demo until it is interrupted.
pub fn run() -> ExitCode {
    app::harden();
    let demo = match start() {
        Ok(demo) => demo,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::FAILURE;
        }
    };
    if io::stdout().write_all(demo.text().as_bytes()).is_err() {
        // Nobody is there to try anything.
        return ExitCode::SUCCESS;
    }
    match wait_for_the_end() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot wait for signals: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is running. Dropped, it is gone: a demo has nothing to drain.
#[derive(Debug)]
struct Demo {
    authorization_server: SocketAddr,
    api: SocketAddr,
    proxy: SocketAddr,
    admin: Option<SocketAddr>,
    _running: Running,
}

fn start() -> Result<Demo, String> {
    let addresses = Addresses::choose().map_err(cannot("listen on the loopback address"))?;
    let authorization_server = addresses.authorization_server.local_addr().map_err(cannot("find an address"))?;
    let api = addresses.api.local_addr().map_err(cannot("find an address"))?;
    let secrets = Secrets { client_secret: random_text(), directory_key: random_text() };
    let proxy_toml = |own| addresses.proxy_toml(own).map_err(cannot("find an address"));
    // Between finding a port free and binding it somebody else may take it.
    let running = start_proxy(&proxy_toml(Own::Preferred)?, &secrets)
        .or_else(|_| start_proxy(&proxy_toml(Own::Any)?, &secrets))?;
    serve_peers(addresses, secrets).map_err(cannot("start a thread"))?;
    let proxy = *running.addresses().first().ok_or("the demo's configuration has no listener")?;
    Ok(Demo { authorization_server, api, proxy, admin: running.admin_address(), _running: running })
}

/// What starts the proxy reads files, as it does for everybody. This one is gone again as soon as it was read, so that
/// nothing is left behind however the demo ends.
fn start_proxy(proxy_toml: &str, secrets: &Secrets) -> Result<Running, String> {
    let config = write_config(proxy_toml).map_err(cannot("write a configuration file"))?;
    let environment = Environment(BTreeMap::from([
        (CLIENT_SECRET_VARIABLE.to_owned(), secrets.client_secret.clone()),
        (DIRECTORY_KEY_VARIABLE.to_owned(), secrets.directory_key.clone()),
    ]));
    let running = app::start_with_log(Options { config: config.clone(), environment, watch: false });
    let removed = fs::remove_file(&config);
    let running = running.map_err(|error| error.to_string())?;
    removed.map_err(cannot("remove the configuration file"))?;
    Ok(running)
}

fn cannot(what: &'static str) -> impl Fn(io::Error) -> String {
    move |error| format!("cannot {what} for the demo: {error}")
}

/// The authorization server and the two APIs, on a thread of their own until the process ends.
fn serve_peers(addresses: Addresses, secrets: Secrets) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = move || {
        let tokens = Tokens::new(Arc::new(SystemClock));
        let server = Arc::new(AuthorizationServer {
            client_id: CLIENT_ID,
            client_secret: secrets.client_secret,
            tokens: tokens.clone(),
            stop: watch::Sender::new(false),
        });
        // The APIs have no switch: this one is never pulled.
        let never = watch::Sender::new(false);
        let stopped = server.stop.subscribe();
        let peers = LocalSet::new();
        let Addresses { authorization_server, api, directory } = addresses;
        let key: Arc<str> = secrets.directory_key.into();
        peers.spawn_local(serve::serve(authorization_server, stopped, move |asked| server.clone().handle(asked)));
        peers.spawn_local(serve::serve(api, never.subscribe(), move |asked| api::handle(tokens.clone(), asked)));
        peers.spawn_local(serve::serve(directory, never.subscribe(), move |asked| {
            directory::handle(key.clone(), asked)
        }));
        runtime.block_on(peers);
    };
    thread::Builder::new().name("demo-peers".into()).spawn(serve).map(drop)
}

fn write_config(text: &str) -> io::Result<PathBuf> {
    let path = unused_name(&env::temp_dir());
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(text.as_bytes())?;
    Ok(path)
}

fn unused_name(folder: &Path) -> PathBuf {
    folder.join(format!("attache-demo-{}.toml", random_text()))
}

#[tokio::main(flavor = "current_thread")]
async fn wait_for_the_end() -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
        Ok(()) = unread() => Ok(()),
    }
}

/// Resolves when whoever read what was printed is gone, as `head` is after ten lines. A file or a terminal never is.
fn unread() -> oneshot::Receiver<()> {
    let (tell, gone) = oneshot::channel();
    let wait = move || {
        let stdout = io::stdout();
        // Nothing is asked for: what cannot be written any more is told unasked.
        let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
        if retry_on_intr(|| poll(&mut watched, None)).is_ok() {
            let _ = tell.send(());
        }
    };
    thread::spawn(wait);
    gone
}

impl Demo {
    /// What is running, and what to try.
    fn text(&self) -> String {
        let mut text = format!(
            "attache stands between you and an API that wants tokens, with the repository's proxy.toml:\n\n   \
             attache               http://{}\n",
            self.proxy
        );
        if let Some(admin) = self.admin {
            text += &format!("   its status, metrics   http://{admin}/status  http://{admin}/metrics\n");
        }
        text += &format!(
            "   API                   http://{}\n   authorization server  http://{}  (its tokens live {} s)\n\nTry these in \
             another terminal. Each says what to expect; the log goes on below. Ctrl-C ends it all.\n",
            self.api,
            self.authorization_server,
            tokens::LIFETIME.as_secs()
        );
        for (index, line) in lines::lines(self.authorization_server, self.api, self.proxy).iter().enumerate() {
            text += &format!("\n{}. {}\n   {}\n", index + 1, line.expect, line.command);
        }
        text + "\n"
    }
}
