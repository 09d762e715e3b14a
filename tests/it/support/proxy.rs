//! The proxy in this process.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use attache::app::{self, Options, Running};
use attache::config::Environment;
use tempfile::TempDir;

use super::{Answer, Client, TokenEndpoint, Upstream, http};

/// What `{ env = "SECRET" }` says in [`one_route`].
pub const SECRET: &str = "s3cret+/=:x";

/// A running proxy with its configuration in a folder of its own. Dropped, it stops.
pub struct Proxy {
    running: Running,
    folder: TempDir,
}

impl Proxy {
    /// Starts with this proxy.toml. Listeners in it have port 0.
    pub fn start(toml: &str) -> Proxy {
        Proxy::start_with(toml, &[("SECRET", SECRET)])
    }

    pub fn start_with(toml: &str, environment: &[(&str, &str)]) -> Proxy {
        let folder = tempfile::tempdir().expect("there is room for a file");
        let config = folder.path().join("proxy.toml");
        fs::write(&config, toml).expect("there is room for a file");
        let pairs = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let environment = Environment(pairs.collect::<BTreeMap<_, _>>());
        let running = app::start(Options { config, environment, watch: false });
        Proxy { running: running.unwrap_or_else(|error| panic!("{error}")), folder }
    }

    /// Where the first listener is.
    pub fn address(&self) -> SocketAddr {
        self.running.addresses()[0]
    }

    /// Where all listeners are.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.running.addresses()
    }

    /// A page of the admin listener, which the configuration has to have.
    pub fn admin(&self, page: &str) -> Answer {
        http::send(self.admin_address(), "GET", page, &[("Host", "localhost")], b"")
    }

    /// Replaces proxy.toml and applies it.
    pub fn reload(&self, toml: &str) -> Result<(), String> {
        fs::write(self.folder.path().join("proxy.toml"), toml).expect("there is room for a file");
        self.running.reload()
    }

    /// Where the admin listener is, which the configuration has to have.
    pub fn admin_address(&self) -> SocketAddr {
        self.running.admin_address().expect("there is an admin listener")
    }

    /// Drains and stops (SEC-40); returns when everything has ended.
    pub fn shutdown(self) {
        self.running.shutdown();
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    pub fn get(&self, target: &str) -> Answer {
        http::get(self.address(), target)
    }

    pub fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        http::send(self.address(), method, target, headers, body)
    }
}

/// A proxy.toml with one listener, one client credentials credential and one route, `/api/{*rest}` for anyone. `more`
/// is appended: it belongs to the route until it opens a table.
pub fn one_route(endpoint: &TokenEndpoint, upstream: &Upstream, more: &str) -> String {
    let credential = client_credentials(&endpoint.url());
    one_route_of(&credential, &format!("url = \"{}\"", upstream.url()), more)
}

/// The table of a credential `api` whose tokens come from here.
pub fn client_credentials(token_url: &str) -> String {
    format!(
        r#"
[credentials.api.client_credentials]
token_url = "{token_url}"
client_id = "attache"
client_secret = {{ env = "SECRET" }}
"#
    )
}

/// As [`one_route`], with another table for the credential `api`, and these keys of its upstream.
pub fn one_route_of(credential: &str, upstream: &str, more: &str) -> String {
    format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"

[server]
workers = 2
{credential}
[upstreams.api]
{upstream}
credential = "api"

[[routes]]
path = "/api/{{*rest}}"
upstream = "api"
clients = "anyone"
{more}
"#
    )
}
