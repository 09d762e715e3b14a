//! `attache check --live`: fetches a token as the proxy would, and says what failed and why it probably did.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use super::Parts;
use super::failure::{Failure, Step};
use super::metadata::Metadata;
use super::oauth2::{Endpoint, OAuth2};
use crate::clock::timer_now;
use crate::config::{self, CredentialKind, TokenEndpointAuthMethod};

/// What became of one credential. Holds no secret, and no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub credential: Arc<str>,
    /// Host, and port unless it is the scheme's own, that was asked, once it is known.
    pub host: Option<String>,
    /// How the client authenticated there.
    pub auth_method: Option<&'static str>,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The credential is a key that is sent as it is: only the upstream can tell whether it is right.
    NothingToFetch,
    Granted {
        /// As TL-10 reads it; `None`: the server named none.
        lifetime: Option<Duration>,
        took: Duration,
    },
    Failed {
        failure: Failure,
        /// An authentication method that works in place of the one that failed: the certain cause.
        method_that_works: Option<&'static str>,
    },
}

impl Report {
    /// The probable cause of a failure, and what to do about it, in a sentence.
    pub fn likely_cause(&self) -> Option<String> {
        match &self.outcome {
            Outcome::NothingToFetch | Outcome::Granted { .. } => None,
            Outcome::Failed { method_that_works: Some(method), .. } => Some(format!(
                "the server takes this client with another method: say `token_endpoint_auth_method = \"{method}\"`"
            )),
            Outcome::Failed { failure, .. } => failure.hint.clone().or_else(|| usual_cause(failure).map(str::to_owned)),
        }
    }
}

/// What is most often behind a failure that its answer does not explain.
fn usual_cause(failure: &Failure) -> Option<&'static str> {
    match (failure.step, failure.status) {
        (Step::Discovery, _) => Some(
            "check `issuer`, and that this machine reaches it; a server that publishes no metadata wants its \
             `token_url` instead",
        ),
        (Step::Token, None) => Some(
            "check host and port of the token endpoint, and that this machine reaches them; where connections have to \
             leave by a proxy, set `[egress] proxy`",
        ),
        (Step::Token, Some(_)) => None,
    }
}

/// Fetches a token for a credential once, outside of its cell, and gives it up. Where the client is refused, the other
/// authentication methods are tried, once each, for the cause is most often there. Runs on a control thread; takes at
/// most the credential's total timeout.
pub async fn probe(config: &config::Credential, parts: &Parts) -> Report {
    let grant = match &config.kind {
        CredentialKind::OAuth2(grant) => grant,
        CredentialKind::Metadata(metadata) => return probe_metadata(config.name.clone(), metadata, parts).await,
        CredentialKind::Bearer { .. }
        | CredentialKind::ApiKeys(_)
        | CredentialKind::Basic { .. }
        | CredentialKind::BasicKey { .. }
        | CredentialKind::Signature(_) => {
            let credential = config.name.clone();
            return Report { credential, host: None, auth_method: None, outcome: Outcome::NothingToFetch };
        }
    };
    let source = OAuth2::new(grant, parts);
    let end = timer_now() + grant.life.timeouts.total;
    let attempt = || end.min(timer_now() + grant.life.timeouts.attempt);
    let report = |endpoint: Option<&Endpoint>, outcome| Report {
        credential: config.name.clone(),
        host: endpoint.map(|endpoint| endpoint.url.authority()),
        auth_method: endpoint.map(|endpoint| endpoint.method.name()),
        outcome,
    };

    let deadline = attempt();
    let endpoint = match source.endpoint(deadline).await {
        Ok(endpoint) => endpoint,
        Err(failure) => return report(None, Outcome::Failed { failure, method_that_works: None }),
    };
    let begun = parts.clock.now();
    let failure = match source.ask(&endpoint, deadline).await {
        Ok(granted) => {
            let took = parts.clock.now().since(begun);
            return report(Some(&endpoint), Outcome::Granted { lifetime: granted.lifetime, took });
        }
        Err(failure) => failure,
    };
    let mut method_that_works = None;
    if is_about_the_client(&failure) {
        for method in other_methods(&source, endpoint.method) {
            let endpoint = Endpoint { method, ..endpoint.clone() };
            if source.ask(&endpoint, attempt()).await.is_ok() {
                method_that_works = Some(method.name());
                break;
            }
        }
    }
    report(Some(&endpoint), Outcome::Failed { failure, method_that_works })
}

async fn probe_metadata(credential: Arc<str>, config: &config::Metadata, parts: &Parts) -> Report {
    let source = Metadata::new(config, parts);
    let begun = parts.clock.now();
    let outcome = match source.attempt(timer_now() + config.life.timeouts.attempt).await {
        Ok(granted) => Outcome::Granted { lifetime: granted.lifetime, took: parts.clock.now().since(begun) },
        Err(failure) => Outcome::Failed { failure, method_that_works: None },
    };
    Report { credential, host: Some(source.url().authority()), auth_method: None, outcome }
}

/// Whether the server did not recognise the client, as opposed to what it asked for.
fn is_about_the_client(failure: &Failure) -> bool {
    let unrecognised = match failure.code.as_deref() {
        Some(code) => matches!(code, "invalid_client" | "invalid_request"),
        None => failure.status.is_some_and(|status| matches!(status.as_u16(), 400 | 401)),
    };
    failure.step == Step::Token && unrecognised
}

fn other_methods(source: &OAuth2, tried: TokenEndpointAuthMethod) -> Vec<TokenEndpointAuthMethod> {
    use TokenEndpointAuthMethod::{ClientSecretBasic, ClientSecretBasicRaw, ClientSecretPost};
    // A secret that only signs is not sent to find something out.
    if !source.sends_its_secret() {
        return Vec::new();
    }
    let mut methods = vec![ClientSecretBasic, ClientSecretPost];
    // The two spellings of Basic are one where nothing needs encoding.
    if source.is_changed_by_encoding() {
        methods.push(ClientSecretBasicRaw);
    } else if tried == ClientSecretBasicRaw {
        methods.remove(0);
    }
    methods.retain(|method| *method != tried);
    methods
}
