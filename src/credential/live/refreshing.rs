//! Refresh tokens that a person asks to be exchanged: as a cell does it, so that the one that comes is kept.

use super::MayRotate;
use crate::config::{self, CredentialKind, Grant};
use crate::credential::Parts;
use crate::credential::oauth2::OAuth2;
use crate::credential::oauth2::identity::{identity, proof};
use crate::token::ByHand;

/// Whether a token is had for a refresh token, which is exchanged for it.
pub fn exchanges(config: &config::Credential, may_rotate: MayRotate) -> bool {
    let CredentialKind::OAuth2(grant) = &config.kind else { return false };
    let asked = may_rotate == MayRotate::Yes || !grant.life.single_active;
    asked && matches!(grant.grant, Grant::RefreshToken { .. })
}

/// The exchange, begun, if this grant makes one.
pub(super) fn begin(
    name: &str,
    grant: &config::OAuth2,
    source: &OAuth2,
    parts: &Parts,
) -> Result<Option<ByHand>, String> {
    let tokens = &parts.tokens;
    tokens.begin_by_hand(name, identity(name, grant, tokens), proof(grant, tokens), source)
}
