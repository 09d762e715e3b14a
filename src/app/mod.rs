//! Build, bind, serve, reload, drain.
//!
//! `start` runs a control thread, which starts the workers and then does what is not traffic. Everything that outlives
//! a configuration is made there, once.

mod control;
mod essential;
pub mod log;
mod problems;
mod process;
mod reload;
mod run;
mod watch;
mod worker;

#[cfg(test)]
pub(crate) mod tests;

pub use process::harden;
pub use run::run;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use control::Controller;

use crate::config::{Environment, Load, Loaded, load};
use crate::metrics::Metrics;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    pub config: PathBuf,
    pub environment: Environment,
    /// Apply changes of the file by themselves (SEC-44).
    pub watch: bool,
}

/// A running proxy. Dropping it stops it at once.
#[derive(Debug)]
pub struct Running {
    controller: Controller,
    addresses: Addresses,
    admin_address: Option<SocketAddr>,
    metrics: Arc<Metrics>,
}

/// Where the listeners are; a reload changes it.
type Addresses = Arc<Mutex<Vec<SocketAddr>>>;

/// Why it could not start: everything that was found, each with what, where, why, and what to do.
#[derive(Debug)]
pub struct StartError(pub Vec<String>);

/// Starts workers and the control thread, and returns when all listeners are bound. Blocking.
pub fn start(options: Options) -> Result<Running, StartError> {
    let loaded = read(&options)?;
    start_loaded(options, loaded)
}

fn read(options: &Options) -> Result<Loaded, StartError> {
    load(&options.config, &options.environment, Load::Full).map_err(|problems| problems.to_string().into())
}

/// As [`start`], and logs as the configuration says: for programs, which have one log.
pub fn start_with_log(options: Options) -> Result<Running, StartError> {
    let loaded = read(&options)?;
    log::set_up(&loaded.config.log)?;
    start_loaded(options, loaded)
}

/// As [`start`], with a configuration that was read from `options.config` just now.
pub fn start_loaded(options: Options, loaded: Loaded) -> Result<Running, StartError> {
    let (controller, started) = Controller::start(options, loaded)?;
    let control::Started { addresses, admin_address, metrics } = started;
    Ok(Running { controller, addresses, admin_address, metrics })
}

impl Running {
    /// Where the listeners are, in the order of the configuration (port 0 is replaced by what was given).
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Reads the file again and applies it, or says why it was refused. Blocking.
    pub fn reload(&self) -> Result<(), String> {
        self.controller.reload()
    }

    /// Drains and stops (SEC-40). Blocking; returns when everything has ended.
    pub fn shutdown(self) {
        self.controller.shutdown();
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl From<String> for StartError {
    fn from(error: String) -> Self {
        StartError(vec![error])
    }
}

impl std::error::Error for StartError {}
