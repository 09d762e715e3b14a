//! What an exchange waits for before the head of its answer has come, and how long it may.

use std::time::Duration;

use super::ExchangeErrorKind;
use crate::config::UpstreamTimeouts;

/// What an exchange waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// More of the request's body.
    Client,
    /// That the upstream takes more of it.
    Upload,
    FirstByte,
}

impl Waiting {
    /// How long nothing may change; `client_idle`: that limit for clients.
    pub(super) fn patience(self, client_idle: Duration, timeouts: &UpstreamTimeouts) -> Duration {
        match self {
            Waiting::Client => client_idle,
            Waiting::Upload => timeouts.idle,
            Waiting::FirstByte => timeouts.first_byte,
        }
    }

    /// What it is, and how to say it, when nothing has changed for so long.
    pub(super) fn expired(self, patience: Duration) -> (ExchangeErrorKind, String) {
        let (kind, what) = match self {
            Waiting::Client => (ExchangeErrorKind::ClientBodyTimeout, "the client sent nothing of its body"),
            Waiting::Upload => (ExchangeErrorKind::FirstByteTimeout, "the upstream took nothing of the body"),
            Waiting::FirstByte => (ExchangeErrorKind::FirstByteTimeout, "the upstream sent no complete head"),
        };
        (kind, format!("{what} for {patience:?}"))
    }
}
