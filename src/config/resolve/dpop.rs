//! `dpop` of a grant: the key that its tokens are bound to.

use std::sync::Arc;

use super::Reading;
use super::fields::Fields;
use crate::config::{Dpop, Problem, TokenEndpointAuthMethod};

/// The key, if tokens are to be bound to one. `method`: how the client proves itself. The outer `None`: it cannot be used.
pub(super) fn dpop(
    reading: &mut Reading<'_>,
    fields: &Fields<'_>,
    method: Option<TokenEndpointAuthMethod>,
) -> Option<Option<Dpop>> {
    let Some(value) = fields.value("dpop") else { return Some(None) };
    let dpop = match (fields.boolean("dpop"), fields.table("dpop")) {
        (Some(false), _) => return Some(None),
        (Some(true), _) => {
            // RFC 9449 section 5: of such a client the refresh token itself is bound.
            if fields.declares("refresh_token") && method == Some(TokenEndpointAuthMethod::Public) {
                let why = "`refresh_token` of a client without a secret is bound to the key that it was obtained with, which \
                           `true` does not name";
                let hint = "write `dpop = { key = { file = \"PATH\" } }`, with that key";
                return reading.refuse((why.to_owned(), hint.to_owned()), &value.span());
            }
            Dpop::Made
        }
        (None, Some(table)) => Dpop::Given(Arc::new(table.signing_key(reading, "key", None)?)),
        // It was reported.
        (None, None) => return None,
    };
    if let Some(attach) = fields.value("attach") {
        let problem = Problem::new("`attach` has no use with `dpop`: where such a token goes is fixed", attach.span());
        reading
            .problem(problem.hint("remove `attach`; the token goes into `Authorization: DPoP`, the proof into `DPoP`"));
    }
    Some(Some(dpop))
}
