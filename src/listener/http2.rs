//! HTTP/2 as we serve it: its bounds, and the memory that clients may fill in spite of them.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::TokioTimer;

use super::activity::Activity;
use super::streams::StreamTasks;

/// Streams that a client may have open at once.
const STREAMS_MAX: u32 = 100;

/// What one stream's body may have in flight towards us.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;

/// What a connection may have in flight towards us while the process's memory for it lasts.
const CONNECTION_WINDOW_BYTES_MAX: usize = 1 << 20;

/// What it may have when nothing is left: the window that RFC 9113 section 6.9.2 begins with, which cannot be shrunk.
const CONNECTION_WINDOW_BYTES_MIN: usize = (64 << 10) - 1;

/// A connection gets at most this part of what is left, so that the memory fades out instead of ending.
const SHARE: usize = 32;

/// Resets that may be pending before the connection is ended: those of clients that open and reset streams in a row
/// (CVE-2023-44487), and those that we answer to protocol errors (CVE-2025-8671).
const RESETS_MAX: usize = 50;

/// What an answer's stream may buffer while the connection is not writable.
const SEND_BUFFER_BYTES_MAX: usize = 64 << 10;

/// How often a silent client is asked whether it is still there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What the receive windows of all HTTP/2 connections of the process may sum up to (`h2_receive_memory_bytes_max`).
/// A window is a promise to keep what was sent into it, so it is reserved while the connection lives. When nothing is
/// left, connections still get the smallest window there is: the bound then gives way by 64 KiB for each.
#[derive(Debug)]
pub struct ReceiveMemory {
    bytes_max: AtomicUsize,
    reserved: AtomicUsize,
}

impl ReceiveMemory {
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(ReceiveMemory { bytes_max: AtomicUsize::new(bytes_max), reserved: AtomicUsize::new(0) })
    }

    /// Changes the bound for connections to come.
    pub fn set_bytes_max(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    pub fn reserved(&self) -> usize {
        self.reserved.load(Ordering::Relaxed)
    }

    /// The window of a new connection. Workers may race here and give out a window too many: a bound that is kept to
    /// within the number of workers is as good as one that costs a lock.
    pub(super) fn reserve(self: &Arc<Self>) -> Reserved {
        let left = self.bytes_max.load(Ordering::Relaxed).saturating_sub(self.reserved());
        let bytes = (left / SHARE).clamp(CONNECTION_WINDOW_BYTES_MIN, CONNECTION_WINDOW_BYTES_MAX);
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        Reserved { memory: self.clone(), bytes }
    }
}

/// One connection's window; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    memory: Arc<ReceiveMemory>,
    pub(super) bytes: usize,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.memory.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// hyper's server for one connection with this window.
pub(super) fn builder(activity: &Rc<Activity>, window: &Reserved) -> http2::Builder<StreamTasks> {
    let header_bytes_max = activity.settings().limits.header_bytes_max;
    let mut builder = http2::Builder::new(StreamTasks(activity.clone()));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES.min(window.bytes as u32))
        .initial_connection_window_size(window.bytes as u32)
        .max_header_list_size(u32::try_from(header_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_shrink_as_the_memory_is_used_up_and_come_back() {
        let memory = ReceiveMemory::new(64 << 20);
        let first = memory.reserve();
        assert_eq!(first.bytes, CONNECTION_WINDOW_BYTES_MAX);
        let many: Vec<_> = (0..200).map(|_| memory.reserve()).collect();
        assert!(many.is_sorted_by(|a, b| a.bytes >= b.bytes));
        assert_eq!(many.last().unwrap().bytes, CONNECTION_WINDOW_BYTES_MIN);
        let above = many.iter().filter(|window| window.bytes > CONNECTION_WINDOW_BYTES_MIN);
        assert!(first.bytes + above.map(|window| window.bytes).sum::<usize>() <= 64 << 20);
        drop((first, many));
        assert_eq!(memory.reserved(), 0);
    }
}
