//! Exchanges with scripted peers on loopback, in paused time.

mod connecting;
mod flags;
mod framing;
mod http2;
mod http2_links;
mod limits;
mod places;
mod reuse;
mod rig;
mod tls;
