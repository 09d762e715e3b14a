//! What the integration tests stand on: the real proxy, in process or as a child, between scripted peers.
//!
//! Peers and clients are plain blocking code on threads of their own, so that they share nothing with what they test.
//! Nothing here sleeps to wait for something: see [`Watched`]. A peer's panic fails its test.

mod child;
mod grants;
mod http;
mod hyper_client;
mod peer;
mod problem;
mod process;
mod proxy;
mod tls_peer;
mod token_endpoint;
mod tool;
mod tunnel;
mod upstream;
mod watched;

pub use child::{Child, free_address, program};
pub use grants::Grants;
pub use http::{Answer, Client, Request, get, send};
pub use hyper_client::{HyperClient, SERVER, Speaks, client_config, roots, server_name};
pub use peer::{Connection, Peer};
pub use problem::assert_problem;
pub use process::Process;
pub use proxy::{Proxy, SECRET, client_credentials, one_route, one_route_of};
pub use tls_peer::{Frames, Identity, TlsPeer, TlsRequest};
pub use token_endpoint::{Grant, TokenEndpoint};
pub use tool::{Tool, run};
pub use tunnel::tunnel;
pub use upstream::{Reply, Upstream};
pub use watched::Watched;

use std::time::Duration;

/// How long anything may take that a test waits for. Generous: it is only reached by a test that fails.
pub const DEADLINE: Duration = Duration::from_secs(30);
