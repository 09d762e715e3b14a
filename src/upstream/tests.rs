//! Exchanges with scripted peers on loopback, in paused time.

mod bulkhead;
mod connecting;
mod flags;
mod framing;
mod http2;
mod http2_limits;
mod http2_links;
mod limits;

mod reuse;
pub(super) mod rig;
mod tls;
