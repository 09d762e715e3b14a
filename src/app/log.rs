//! Logging that never blocks (SEC-43): lines go through a bounded channel to a thread that writes them to standard
//! error. When it cannot keep up, lines are dropped and counted.
//!
//! What comes from outside is escaped, so that an event is one line whatever a request contains.

mod format;

use std::fmt;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::clock::{Clock, SystemClock};
use crate::config::{self, LogFormat};

/// Lines on their way to the writer. A second of a busy worker.
const QUEUED_LINES_MAX: usize = 8192;

/// A line's length. What is longer is cut, and says so.
const LINE_BYTES_MAX: usize = 16 << 10;

/// How long the end of the process waits for the writer.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

static LOG: OnceLock<Log> = OnceLock::new();

/// The process's log, once it is set up.
#[derive(Debug)]
struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    lines: SyncSender<Line>,
}

/// Which format is in use; a reload may change it.
static JSON: AtomicU8 = AtomicU8::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

enum Line {
    Text(String),
    /// Answered when everything before it has been written.
    Flush(SyncSender<()>),
}

/// Lines that were dropped since the process began.
pub fn lines_dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Sets up the process's log. A subscriber that somebody else has set (a test, a program that uses the library) is left
/// alone.
///
/// The error says what is wrong with the level.
pub fn set_up(config: &config::Log) -> Result<(), String> {
    let filter = filter(config)?;
    JSON.store(u8::from(config.format == LogFormat::Json), Ordering::Relaxed);
    let (filter, handle) = reload::Layer::new(filter);
    let (lines, written) = sync_channel(QUEUED_LINES_MAX);
    let layer = Lines { lines: lines.clone() };
    if tracing_subscriber::registry().with(filter).with(layer).try_init().is_ok() {
        let writer = std::thread::Builder::new().name("attache-log".to_owned());
        writer
            .spawn(move || write_lines(&written, io::stderr()))
            .map_err(|error| format!("cannot start the thread that writes the log: {error}"))?;
        let _ = LOG.set(Log { filter: handle, lines });
    }
    Ok(())
}

/// Changes level and format, if the log was set up here.
pub(super) fn change(config: &config::Log) -> Result<(), String> {
    let filter = filter(config)?;
    if let Some(log) = LOG.get() {
        JSON.store(u8::from(config.format == LogFormat::Json), Ordering::Relaxed);
        // It fails only if the subscriber is gone, which is never while the process lives.
        let _ = log.filter.reload(filter);
    }
    Ok(())
}

fn filter(config: &config::Log) -> Result<EnvFilter, String> {
    EnvFilter::try_new(&config.level)
        .map_err(|error| format!("[log] level {:?} is not understood: {error}", config.level))
}

/// Waits until what was logged so far is written, a second at most.
pub fn flush() {
    let Some(log) = LOG.get() else { return };
    let (done, flushed) = sync_channel(1);
    if log.lines.try_send(Line::Flush(done)).is_ok() {
        let _ = flushed.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// Formats events and queues them.
struct Lines {
    lines: SyncSender<Line>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = String::with_capacity(256);
        let now = SystemClock.wall();
        match JSON.load(Ordering::Relaxed) {
            0 => format::text(&mut line, now, event),
            _ => format::json(&mut line, now, event),
        }
        self.queue(line);
    }
}

impl Lines {
    fn queue(&self, line: String) {
        if self.lines.try_send(Line::Text(line)).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}

/// Writes until nobody can log any more. Errors are not told to anybody: there is nobody left to tell.
fn write_lines(lines: &Receiver<Line>, output: impl Write) {
    let mut output = io::BufWriter::with_capacity(64 << 10, output);
    let mut told = 0;
    while let Ok(line) = lines.recv() {
        // Whatever is queued is written together, and flushed when nothing is.
        let mut next = Some(line);
        while let Some(line) = next {
            match line {
                Line::Text(text) => {
                    let _ = output.write_all(text.as_bytes());
                }
                Line::Flush(done) => {
                    let _ = output.flush();
                    let _ = done.try_send(());
                }
            }
            next = lines.try_recv().ok();
        }
        let dropped = lines_dropped();
        if dropped > told {
            let mut note = String::new();
            format::dropped(&mut note, SystemClock.wall(), dropped - told, JSON.load(Ordering::Relaxed) != 0);
            let _ = output.write_all(note.as_bytes());
            told = dropped;
        }
        let _ = output.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;

    /// A pipe that nobody reads from until it is let go.
    struct Blocked(Arc<Barrier>, SyncSender<Vec<u8>>);

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.wait();
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// SEC-43: when the log pipe blocks, lines are dropped and counted, and nobody waits.
    #[test]
    fn lines_are_dropped_and_counted_while_the_pipe_blocks() {
        let (lines, received) = sync_channel(4);
        let (barrier, (written, output)) = (Arc::new(Barrier::new(2)), sync_channel(1024));
        let blocked = Blocked(barrier.clone(), written);
        let writer = std::thread::spawn(move || write_lines(&received, blocked));
        let layer = Lines { lines };
        let before = lines_dropped();
        // More than the channel and the writer's buffer can hold together.
        let line = "x".repeat(LINE_BYTES_MAX) + "\n";
        for _ in 0..1000 {
            layer.queue(line.clone());
        }
        let dropped = lines_dropped() - before;
        assert!(dropped >= 900, "{dropped} lines were dropped");
        drop(layer);
        // The pipe flows again.
        let mut text = Vec::new();
        while !writer.is_finished() {
            if text.is_empty() || !String::from_utf8_lossy(&text).contains("log lines were dropped") {
                barrier.wait();
            }
            text.extend(output.recv_timeout(Duration::from_secs(10)).unwrap_or_default());
            text.extend(output.try_iter().flatten());
        }
        writer.join().unwrap();
        assert!(String::from_utf8_lossy(&text).contains("log lines were dropped"), "whoever reads the log is told");
    }
}
