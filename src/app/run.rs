//! `attache run`: start, obey signals, say with the exit code how it went.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::{Options, Running, StartError, log, problems, process, start_loaded};
use crate::config::{Load, Log, LogFormat, Problems, load};

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
        Err(problems) => {
            if problems.format == LogFormat::Json {
                // Its level and all else of it may be what is wrong.
                let log = Log { format: LogFormat::Json, level: "error".to_owned(), access: false };
                let _ = log::set_up(&log);
            }
            tell(&problems, "the configuration is invalid");
            log::flush();
            return ExitCode::from(INVALID_CONFIGURATION);
        }
    };
    let format = loaded.config.log.format;
    if let Err(error) = log::set_up(&loaded.config.log) {
        complain(&format!("error: {error}"));
        return ExitCode::from(INVALID_CONFIGURATION);
    }
    process::log_panics();
    process::harden();
    tell(&loaded.warnings, "in the configuration");
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot wait for signals: {error}").into(), format),
    };
    let code = runtime.block_on(async {
        // Before the start, so that a signal during it is not lost.
        let signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => return failed(&format!("cannot wait for signals: {error}").into(), format),
        };
        match tokio::task::spawn_blocking(|| start_loaded(options, loaded)).await {
            Ok(Ok(running)) => obey(running, signals).await,
            Ok(Err(error)) => failed(&error, format),
            Err(error) => failed(&format!("starting was interrupted: {error}").into(), format),
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

/// Says what is wrong with a configuration: to people as a report that underlines it, to machines in the log.
fn tell(problems: &Problems, what: &str) {
    match problems.format {
        LogFormat::Json => problems::log(problems, what),
        LogFormat::Text if problems.problems.is_empty() => {}
        LogFormat::Text => complain(&problems.to_string()),
    }
}

/// Says why it cannot go on.
fn failed(error: &StartError, format: LogFormat) -> ExitCode {
    for why in &error.0 {
        match format {
            LogFormat::Json => tracing::error!("attache cannot start: {why}"),
            LogFormat::Text => complain(&format!("error: {why}")),
        }
    }
    log::flush();
    ExitCode::from(FAILED)
}

fn complain(text: &str) {
    // Nothing can be done if nobody reads it.
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}
