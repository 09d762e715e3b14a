//! The HTTP/1 codec towards upstreams: strict framing; leftover bytes kill the connection.
//!
//! One exchange at a time, no pipelining, everything in the task of the client's request: measured, a task or a
//! channel in between costs more than the codec itself.

mod answer;
mod chunked;
mod encode;
mod exchange;
mod fields;
mod head;
mod piece;
mod upload;
mod wire;

pub(super) use answer::{Home, Streaming, receive};
pub(super) use encode::{is_ours_to_write, safe_target};
pub(super) use exchange::{Failure, Outgoing, exchange};
pub(super) use head::{FIELDS_MAX, HEAD_BYTES_MAX};
pub(super) use wire::{Origin, Wire};

use std::fmt;

/// An answer that breaks HTTP/1, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadAnswer(pub(super) &'static str);

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
