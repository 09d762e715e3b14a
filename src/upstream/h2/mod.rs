//! HTTP/2 towards upstreams: hyper's, with one connection of a worker shared by many requests.

mod body;
mod exchange;
mod link;

pub(super) use body::Streaming;
pub(super) use exchange::exchange;
pub(super) use link::{Link, LinkSlot};
