//! What tells the token of one grant from that of another (TL-02), and what proves its client (TL-03).

#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::config::{self, ClientProof, Dpop, Grant, TokenEndpoint, TokenEndpointAuthMethod};
use crate::credential::claims::issuer_and_subject;
use crate::jws::ProofKey;
use crate::secret::Secret;
use crate::token::{Identity, IdentityFields, ProofVersion, TokenCache};

/// What makes this credential's token another one (TL-02).
pub(in crate::credential) fn identity(name: &str, config: &config::OAuth2, tokens: &TokenCache) -> Identity {
    let endpoint = endpoint_of(config);
    let subject = subject(&config.grant, tokens);
    let own = IdentityFields {
        credential: name,
        endpoint: &endpoint,
        grant: config.grant.name(),
        client_id: &config.client_id,
        subject: subject.as_deref(),
        ..IdentityFields::default()
    };
    if let Grant::RefreshToken { .. } = &config.grant {
        // The seed alone says which authorization it is. Whatever else of the configuration changes, the refresh token that took
        // its place is the one that is good; the seed, shown again, could end it.
        return tokens.identity(&IdentityFields { credential: "", endpoint: "", client_id: "", ..own });
    }
    let parameters: Vec<_> = config.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    tokens.identity(&IdentityFields {
        scope: &config.scope,
        audience: config.audience.as_deref(),
        resource: &config.resource,
        parameters: &parameters,
        ..own
    })
}

/// Issuer or token URL, as configured.
fn endpoint_of(config: &config::OAuth2) -> String {
    match &config.endpoint {
        TokenEndpoint::Url(url) => url.to_string(),
        TokenEndpoint::Issuer { issuer, .. } => issuer.clone(),
    }
}

/// On whose behalf the token is, and what else of the grant makes it another one.
fn subject(grant: &Grant, tokens: &TokenCache) -> Option<String> {
    match grant {
        Grant::ClientCredentials => None,
        // Another seed is another authorization, perhaps of somebody else: nothing of the old one's is used for it.
        Grant::RefreshToken { seed } => Some(URL_SAFE_NO_PAD.encode(tokens.proof(&[seed.expose().as_bytes()]).0)),
        Grant::JwtBearer(grant) => Some(json!([grant.issuer, grant.subject, grant.audience, grant.claims]).to_string()),
        // What is secret is the proof of the same token, but for whom a JWT among it is about: after a rotation that makes
        // it somebody else's, nothing of the old one's is used.
        Grant::Fields(grant) => {
            let about = |(name, secret): &(String, Secret)| Some(json!([name, issuer_and_subject(secret.expose())?]));
            let about: Vec<_> = grant.secret.iter().filter_map(about).collect();
            Some(json!([grant.grant_type, grant.plain, about]).to_string())
        }
        Grant::GithubApp(app) => Some(json!([app.repositories, app.permissions]).to_string()),
    }
}

/// What is asked for with a refresh token, of whom and by whom, and the key that tokens are bound to; a token for something
/// else is not sent (TL-02), nor one whose key has vanished (TL-03).
pub(in crate::credential) fn asks_for(
    config: &config::OAuth2,
    key: Option<&ProofKey>,
    tokens: &TokenCache,
) -> Option<ProofVersion> {
    let asked = match &config.grant {
        Grant::RefreshToken { .. } => {
            let mut scope = config.scope.clone();
            scope.sort_unstable();
            let asker = (endpoint_of(config), &config.client_id);
            Some(format!("{:?}", (asker, scope, &config.audience, &config.resource, &config.parameters)))
        }
        _ => None,
    };
    let parts: Vec<_> = asked.iter().map(|asked| asked.as_bytes()).chain(key.map(ProofKey::identity)).collect();
    (!parts.is_empty()).then(|| tokens.proof(&parts))
}

/// How the client proves itself (TL-03). The declared places in the answer belong to it: when they change, a token read
/// by the old ones serves until one is read by the new ones, and a refused state ends.
pub(in crate::credential) fn proof(config: &config::OAuth2, tokens: &TokenCache) -> ProofVersion {
    let method = config.auth_method.map_or("discovered", TokenEndpointAuthMethod::name);
    let shape = format!("{:?}", config.answer);
    let (key, signed) = parts_of(&config.proof);
    let (older_key, older_signed) = config.older_proof.as_ref().map_or((&[][..], String::new()), parts_of);
    let mut parts =
        vec![key, signed.as_bytes(), older_key, older_signed.as_bytes(), method.as_bytes(), shape.as_bytes()];
    parts.extend(config.client_certificate.iter().flat_map(|own| &own.chain).map(|certificate| &**certificate));
    let endpoint = endpoint_of(config);
    match &config.grant {
        Grant::ClientCredentials => {}
        // No part of its identity; where a wrong one was the reason of a refusal, another one ends that.
        Grant::RefreshToken { .. } => parts.extend([endpoint.as_bytes(), config.client_id.as_bytes()]),
        Grant::JwtBearer(grant) => {
            let key_id = grant.key_id.as_deref().unwrap_or_default();
            parts.extend([grant.key.identity(), grant.key.algorithm().name().as_bytes(), key_id.as_bytes()]);
        }
        Grant::Fields(grant) => {
            parts.extend(grant.secret.iter().flat_map(|(name, secret)| [name.as_bytes(), secret.expose().as_bytes()]));
        }
        Grant::GithubApp(app) => parts.push(app.key.identity()),
    }
    match &config.dpop {
        None => {}
        // There is only one of it.
        Some(Dpop::Made) => parts.push(b"dpop"),
        Some(Dpop::Given(key)) => parts.push(key.identity()),
    }
    tokens.proof(&parts)
}

/// What tells one proof from another: secret bytes, and all else about it.
fn parts_of(proof: &ClientProof) -> (&[u8], String) {
    match proof {
        ClientProof::Nothing => (&[][..], String::new()),
        ClientProof::Secret(secret) => (secret.expose().as_bytes(), String::new()),
        // Of the key it says its algorithm.
        ClientProof::Assertion(assertion) => (assertion.key.identity(), format!("{assertion:?}")),
        // Where it comes from: that it is another one each time is its nature.
        ClientProof::ForeignAssertion(fresh) => (&[][..], format!("{fresh:?}")),
    }
}
