//! Where the demo's parts listen: where proxy.toml says, or on free ports if those are taken.

use std::io;
use std::net::{SocketAddr, TcpListener};

/// The repository's own example, which is what the demo runs with.
pub(super) const PROXY_TOML: &str = include_str!("../../proxy.toml");

/// What stands in proxy.toml.
const PROXY: &str = "127.0.0.1:8080";
const ADMIN: &str = "127.0.0.1:9901";
const AUTHORIZATION_SERVER: &str = "127.0.0.1:9101";
const API: &str = "127.0.0.1:9102";
const DIRECTORY: &str = "127.0.0.1:9103";

/// What attache replaces by a free port.
const ANY: &str = "127.0.0.1:0";

/// The listeners of attache's neighbours.
#[derive(Debug)]
pub(super) struct Addresses {
    pub authorization_server: TcpListener,
    pub api: TcpListener,
    pub directory: TcpListener,
}

/// Which addresses attache itself is to listen on. Its own two are only known to be free when it has bound them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// Those of proxy.toml, where nobody else listens on them.
    Preferred,
    Any,
}

impl Addresses {
    pub(super) fn choose() -> io::Result<Self> {
        Ok(Addresses {
            authorization_server: bind(AUTHORIZATION_SERVER)?,
            api: bind(API)?,
            directory: bind(DIRECTORY)?,
        })
    }

    /// proxy.toml with these addresses.
    pub(super) fn proxy_toml(&self, own: Own) -> io::Result<String> {
        let own = |preferred| if own == Own::Preferred { free_or_any(preferred) } else { ANY };
        Ok(PROXY_TOML
            .replace(PROXY, own(PROXY))
            .replace(ADMIN, own(ADMIN))
            .replace(AUTHORIZATION_SERVER, &self.authorization_server.local_addr()?.to_string())
            .replace(API, &self.api.local_addr()?.to_string())
            .replace(DIRECTORY, &self.directory.local_addr()?.to_string()))
    }
}

fn bind(preferred: &str) -> io::Result<TcpListener> {
    TcpListener::bind(preferred).or_else(|_| TcpListener::bind(ANY))
}

/// The address if nobody listens there, else one with port 0: then attache itself takes a free one.
fn free_or_any(preferred: &'static str) -> &'static str {
    let free = preferred.parse::<SocketAddr>().is_ok_and(|address| TcpListener::bind(address).is_ok());
    if free { preferred } else { ANY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_toml_names_every_address_of_the_demo() {
        for address in [PROXY, ADMIN, AUTHORIZATION_SERVER, API, DIRECTORY] {
            let keys = PROXY_TOML.lines().filter(|line| !line.starts_with('#') && line.contains(address));
            assert_eq!(keys.count(), 1, "{address}");
        }
    }

    #[test]
    fn busy_ports_are_replaced() {
        let _taken: Vec<_> =
            [PROXY, ADMIN, AUTHORIZATION_SERVER, API, DIRECTORY].map(TcpListener::bind).into_iter().collect();
        let chosen = Addresses::choose().unwrap();
        let api = chosen.api.local_addr().unwrap().to_string();
        for own in [Own::Preferred, Own::Any] {
            let toml = chosen.proxy_toml(own).unwrap();
            for address in [PROXY, ADMIN, AUTHORIZATION_SERVER, API, DIRECTORY] {
                assert!(!toml.contains(address), "{address}");
            }
            assert!(toml.contains(&api));
            assert_eq!(toml.matches("127.0.0.1:0\"").count(), 2);
        }
    }
}
