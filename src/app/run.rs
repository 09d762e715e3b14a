//! `attache run`: start, obey signals, say with the exit code how it went.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::{Options, Running, log, process, start_loaded};
use crate::config::{Load, load};

/// Ended as it was told to.
const OK: u8 = 0;
/// Could not start, or was ended before it had drained.
const FAILED: u8 = 1;
/// The configuration is invalid. (2 is what the command line's own mistakes end with.)
const INVALID_CONFIGURATION: u8 = 3;

/// Runs until SIGTERM or SIGINT. SIGHUP reloads. A second SIGTERM or SIGINT ends at once (SEC-40).
///
/// Exit codes: 0 after a drain, 1 if it could not start or was ended before it had drained, 3 if the configuration is
/// invalid.
pub fn run(options: Options) -> ExitCode {
    let loaded = match load(&options.config, &options.environment, Load::Full) {
        Ok(loaded) => loaded,
        Err(problems) => return complain(&problems.to_string(), INVALID_CONFIGURATION),
    };
    if let Err(error) = log::set_up(&loaded.config.log) {
        return complain(&error, INVALID_CONFIGURATION);
    }
    process::log_panics();
    process::harden();
    if !loaded.warnings.problems.is_empty() {
        complain(&loaded.warnings.to_string(), OK);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot wait for signals: {error}"), FAILED),
    };
    let code = runtime.block_on(async {
        // Before the start, so that a signal during it is not lost.
        let signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => return complain(&format!("cannot wait for signals: {error}"), FAILED),
        };
        match tokio::task::spawn_blocking(|| start_loaded(options, loaded)).await {
            Ok(Ok(running)) => obey(running, signals).await,
            Ok(Err(error)) => complain(&error.to_string(), FAILED),
            Err(error) => complain(&format!("starting was interrupted: {error}"), FAILED),
        }
    });
    // A reload or a drain that a second signal has overtaken is not waited for.
    runtime.shutdown_background();
    log::flush();
    code
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn ended<T>(task: &mut Option<JoinHandle<T>>) {
    if let Some(task) = task {
        // It cannot have panicked in a way that matters here: the control thread's panics abort.
        let _ = task.await;
    }
}

async fn obey(running: Running, mut signals: Signals) -> ExitCode {
    let running = Arc::new(running);
    // What came of a reload is logged where it happens.
    let mut reloading = None;
    loop {
        let Signals { hangup, terminate, interrupt } = &mut signals;
        tokio::select! {
            // Any number of SIGHUPs during a reload are one further reload.
            _ = hangup.recv(), if reloading.is_none() => {
                let running = running.clone();
                reloading = Some(tokio::task::spawn_blocking(move || running.reload()));
            }
            () = ended(&mut reloading), if reloading.is_some() => reloading = None,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    let metrics = running.metrics.clone();
    let draining = tokio::task::spawn_blocking(move || running.controller.shutdown());
    tokio::select! {
        _ = draining => ExitCode::from(OK),
        () = signals.end() => {
            let requests = metrics.requests_in_progress();
            tracing::warn!(requests, "a second signal: attache ends at once, and cuts off the requests in progress");
            log::flush();
            // Returning would wait for the threads.
            std::process::exit(i32::from(FAILED))
        }
    }
}

/// Says on standard error what is wrong; people read it there before there is a log.
fn complain(text: &str, code: u8) -> ExitCode {
    // Nothing can be done if nobody reads it.
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
    ExitCode::from(code)
}
