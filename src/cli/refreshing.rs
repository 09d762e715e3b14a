//! What a command needs that exchanges a refresh token: the store, which has the one that is good, and nobody else who uses it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::running;
use crate::clock::SystemClock;
use crate::config::{self, Config, Store};
use crate::credential::live::{self, MayRotate};
use crate::snapshot::Living;
use crate::token::store::FileStore;

/// Where the refresh token that is good is to be had.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In the store, which nobody else has open meanwhile; or it is not needed.
    Ours,
    /// In the store, which could not be opened for this reason.
    Closed(String),
    /// There is no store: in an instance that runs, if it is reached by this admin listener; else only the seed is known.
    Unkept { admin: Option<SocketAddr> },
}

/// The state of a process, with the configuration's store if one of these credentials takes that.
pub(super) fn living<'a>(
    config: &Config,
    mut credentials: impl Iterator<Item = &'a Arc<config::Credential>>,
    may_rotate: MayRotate,
    control: Handle,
) -> (Living, Place) {
    let clock = Arc::new(SystemClock);
    let wanted = credentials.any(|credential| live::exchanges(credential, may_rotate));
    match &config.store {
        Store::File { path, key } if wanted => match FileStore::open(path, key) {
            Ok(store) => (Living::with_store(config, clock, control, Arc::new(store)), Place::Ours),
            Err(why) => (Living::new(config, clock, control), Place::Closed(why)),
        },
        Store::Memory if wanted => (Living::new(config, clock, control), Place::Unkept { admin: config.admin }),
        Store::File { .. } | Store::Memory => (Living::new(config, clock, control), Place::Ours),
    }
}

impl Place {
    /// Why a credential's refresh token is not exchanged, although it may be: the one that is good is elsewhere, and the seed, shown
    /// again, could end the authorization for good.
    pub(super) async fn refusal(&self, credential: &config::Credential, may_rotate: MayRotate) -> Option<String> {
        if !is_used_up(credential, may_rotate) {
            return None;
        }
        match self {
            Place::Ours => None,
            Place::Closed(why) => Some(format!("its refresh token is in the store, which cannot be used: {why}")),
            Place::Unkept { admin } => {
                let admin = (*admin)?;
                running::has(admin, &credential.name).await.then(|| {
                    "the instance that runs has its newest refresh token, and there is no `[store.file]` to take it from: stop \
                     that one first"
                        .to_owned()
                })
            }
        }
    }

    /// What may be lost by the exchange.
    pub(super) fn warning(&self, credential: &config::Credential, may_rotate: MayRotate) -> Option<&'static str> {
        let unkept = matches!(self, Place::Unkept { .. }) && is_used_up(credential, may_rotate);
        unkept.then_some(
            "there is no `[store.file]`: where the server gives another refresh token in place of the one in proxy.toml, this ends the \
             authorization",
        )
    }
}

/// Whether an exchange may be its refresh token's only use.
fn is_used_up(credential: &config::Credential, may_rotate: MayRotate) -> bool {
    let single_active = credential.kind.token_life().is_some_and(|life| life.single_active);
    single_active && live::exchanges(credential, may_rotate)
}
