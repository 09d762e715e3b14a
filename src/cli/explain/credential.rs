//! What a credential is, and what it would set, in the words of its configuration.

use http::HeaderName;

use super::signature;
use crate::config::{
    ApiKey, ApiKeyPlace, Attach, AttachPart, Credential, CredentialKind, DPOP, Piece, TokenEndpoint, Upstream,
};

/// What stands in a header of the credential, its name in place of its value.
pub(super) fn header(credential: &Credential, header: &HeaderName) -> Option<String> {
    let name = &credential.name;
    Some(match &credential.kind {
        CredentialKind::OAuth2(_) if *header == DPOP => format!("<proof of the key of {name}>"),
        CredentialKind::OAuth2(oauth2) => of_token(name, &oauth2.life.attach, header.as_str()),
        CredentialKind::Metadata(metadata) => of_token(name, &metadata.life.attach, header.as_str()),
        CredentialKind::Login(login) => of_token(name, &login.life.attach, header.as_str()),
        CredentialKind::Bearer { .. } => format!("Bearer <{name}>"),
        CredentialKind::Basic { username, .. } => format!("Basic <{username}:{name}>"),
        CredentialKind::BasicKey { .. } => format!("Basic <{name}:>"),
        CredentialKind::ApiKeys(keys) => {
            let is_it = |key: &&ApiKey| matches!(&key.place, ApiKeyPlace::Header(name) if name == header);
            let scheme = keys.iter().find(is_it).map(|key| key.scheme.as_str()).unwrap_or_default();
            format!("{scheme}<{name}>")
        }
        CredentialKind::Signature(config) => return signature::header(config, header),
    })
}

/// The same for a token: what is secret or not known yet is only named.
fn of_token(name: &str, attach: &Attach, header: &str) -> String {
    let is_it = |part: &&AttachPart| matches!(&part.place, ApiKeyPlace::Header(name) if name == header);
    let pieces = attach.parts.iter().find(is_it).into_iter().flat_map(|part| &part.value.pieces);
    pieces
        .map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Secret(_) => format!("<secret of {name}>"),
            Piece::Value(value) => format!("<{value} of {name}>"),
        })
        .collect()
}

/// What it is and where it comes from.
pub(super) fn described(upstream: &Upstream) -> String {
    let Some(credential) = &upstream.credential else { return "none".to_owned() };
    let name = &credential.name;
    match &credential.kind {
        CredentialKind::OAuth2(oauth2) => {
            let grant = oauth2.grant.title();
            let of = if oauth2.client_id.is_empty() { String::new() } else { format!(" of {}", oauth2.client_id) };
            let at = match &oauth2.endpoint {
                TokenEndpoint::Url(url) => url.to_string(),
                TokenEndpoint::Issuer { issuer, .. } => format!("the token endpoint of {issuer}"),
            };
            let subject = oauth2.grant.subject_header().map(|subject| {
                let who = subject.clients.join(", ");
                format!(", for the subject whose token comes in {}, which only {who} may set", subject.name)
            });
            format!("{name}: {grant}{of} at {at}{}", subject.unwrap_or_default())
        }
        CredentialKind::Metadata(metadata) => format!("{name}: a token of the metadata server {}", metadata.url),
        CredentialKind::Login(login) => match &login.steps[..] {
            [step] => format!("{name}: a login at {}", step.request.origin),
            steps => format!("{name}: a login in {} steps at {}", steps.len(), steps[0].request.origin),
        },
        CredentialKind::Bearer { .. } => format!("{name}: a fixed Bearer token"),
        CredentialKind::ApiKeys(keys) if keys.len() > 1 => format!("{name}: {} fixed keys", keys.len()),
        CredentialKind::ApiKeys(_) => format!("{name}: a fixed key"),
        CredentialKind::Basic { username, .. } => format!("{name}: Basic, as {username}"),
        CredentialKind::BasicKey { .. } => format!("{name}: Basic, with a key in place of the user name"),
        CredentialKind::Signature(signature) => format!("{name}: {}", signature::described(signature)),
    }
}
