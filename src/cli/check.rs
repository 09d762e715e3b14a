//! `attache check`: every problem of a configuration at once.

use std::path::Path;

use super::{Failure, load};
use crate::config::{Config, Load};

pub(super) fn check(file: &Path, no_secrets: bool) -> Result<String, Failure> {
    let how = if no_secrets { Load::WithoutSecrets } else { Load::WithoutCommands };
    let loaded = load(file, how)?;
    Ok(valid(file, &loaded.config))
}

/// The line that says so.
pub(super) fn valid(file: &Path, config: &Config) -> String {
    let things = [
        counted(config.listeners.len(), "listener"),
        counted(config.clients.len(), "client"),
        counted(config.credentials.len(), "credential"),
        counted(config.upstreams.len(), "upstream"),
        counted(config.routes.len(), "route"),
    ];
    format!("{} is valid: {}\n", file.display(), things.join(", "))
}

pub(super) fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
