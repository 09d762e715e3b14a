//! How we authenticate to an upstream: a closed enum, one file per variant. `attach` adds headers, cookies or
//! query parameters; `sign` is a second step, over the final request.

mod answer;
mod assertion;
mod attachment;
mod aws_keys;
mod cause;
mod claims;
mod discovery;
mod dpop;
mod either_secret;
mod endpoint;
mod failure;
mod fixed;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod github_app;
mod lacking_claims;
pub mod live;
mod login;
mod mask;
mod metadata;
mod oauth2;
#[cfg(test)]
mod quirks;
mod reflection;
pub mod sign;
mod subject;
mod tape;
#[cfg(test)]
mod tests;
mod token_request;
mod told;

pub use answer::retry_after;
pub use attachment::Attachment;
pub use discovery::DiscoveryCache;
pub use dpop::ProofKeys;
pub use failure::{Failure, Step};
pub use subject::{NoSubject, PerSubject, SubjectFlaw};
pub use tape::Tape;

pub use crate::token::{Cookies, Rest};

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::clock::{Boot, Clock};
use crate::config::{self, CredentialKind, Warm};
use crate::token::{
    Attached, Generation, Identity, PlaceNames, Policy, ProofVersion, Rejected, Source, Token, TokenCache, TokenCell,
    TokenUnavailable,
};
use crate::upstream::Connector;
use sign::Signer;

/// What credentials need of the process.
#[derive(Clone, Debug)]
pub struct Parts {
    pub clock: Arc<dyn Clock>,
    pub tokens: Arc<TokenCache>,
    /// Connects to token endpoints and for discovery (DNS, address check, TLS, egress proxy).
    pub connector: Arc<Connector>,
    /// What issuers said; made once, so that it outlives reloads.
    pub discoveries: Arc<DiscoveryCache>,
    /// Keys that tokens are bound to; made once, so that they outlive reloads.
    pub proof_keys: Arc<ProofKeys>,
    /// Where a person wants to see what is said at token endpoints; proxies have none.
    pub tape: Option<Arc<Tape>>,
}

/// A credential of the configuration at work, made by the snapshot.
#[derive(Debug, Clone)]
pub enum Declared {
    /// One for all requests.
    Shared(Arc<Credential>),
    /// Each request has that of its subject.
    PerSubject(Arc<PerSubject>),
}

/// What a request is sent with.
#[derive(Debug)]
pub enum Credential {
    Fixed(Arc<Attached>),
    Token(TokenCredential),
    Signed(Arc<Signer>),
}

/// A credential whose token lives in a cell.
#[derive(Debug)]
pub struct TokenCredential {
    pub cell: Arc<TokenCell>,
    pub identity: Identity,
    names: Arc<PlaceNames>,
    /// What signs with it, where it is not attached as it is.
    signer: Option<Arc<Signer>>,
}

impl Declared {
    /// Builds the running credential. Declares its cells, if it has some.
    pub fn new(config: &config::Credential, parts: &Parts) -> Declared {
        if let CredentialKind::OAuth2(oauth2) = &config.kind
            && let Some(header) = oauth2.grant.subject_header()
        {
            return Declared::PerSubject(Arc::new(PerSubject::new(&config.name, oauth2, header, parts)));
        }
        Declared::Shared(Arc::new(Credential::new(config, parts)))
    }

    /// What its tokens are kept by; `None`: it has none.
    pub fn identity(&self) -> Option<Identity> {
        match self {
            Declared::Shared(credential) => match &**credential {
                Credential::Token(token) => Some(token.identity),
                Credential::Fixed(_) | Credential::Signed(_) => None,
            },
            Declared::PerSubject(subject) => Some(subject.subjects().identity()),
        }
    }

    /// The header in which requests say whose they are, if each has the credential of its subject.
    pub fn subject_header(&self) -> Option<&HeaderName> {
        match self {
            Declared::Shared(_) => None,
            Declared::PerSubject(subject) => Some(subject.header()),
        }
    }

    /// The names of all that it sets: a client's own of those names is removed (SEC-10).
    pub fn names(&self) -> &PlaceNames {
        match self {
            Declared::Shared(credential) => credential.names(),
            Declared::PerSubject(subject) => subject.names(),
        }
    }

    /// Whether what it attaches is looked for in answers' bodies, as far as that is known before there is a token.
    pub fn concerns_bodies(&self) -> bool {
        match self {
            Declared::Shared(credential) => match &**credential {
                Credential::Fixed(fixed) => fixed.masks().concern_bodies(),
                Credential::Token(_) | Credential::Signed(_) => true,
            },
            Declared::PerSubject(_) => true,
        }
    }
}

impl Credential {
    /// That of a configuration whose tokens are nobody's in particular.
    fn new(config: &config::Credential, parts: &Parts) -> Credential {
        match &config.kind {
            CredentialKind::OAuth2(oauth2) => Credential::Token(TokenCredential::oauth2(&config.name, oauth2, parts)),
            CredentialKind::Login(login) => Credential::Token(TokenCredential::login(&config.name, login, parts)),
            CredentialKind::Metadata(metadata) => {
                Credential::Token(TokenCredential::metadata(&config.name, metadata, parts))
            }
            CredentialKind::Bearer { token } => Credential::Fixed(Arc::new(fixed::bearer(token))),
            CredentialKind::ApiKeys(keys) => Credential::Fixed(Arc::new(fixed::api_keys(keys))),
            CredentialKind::Basic { username, password } => {
                Credential::Fixed(Arc::new(fixed::basic(username, password)))
            }
            CredentialKind::BasicKey { key } => Credential::Fixed(Arc::new(fixed::basic_key(key))),
            CredentialKind::Signature(signature) => {
                let signer = Arc::new(Signer::new(signature));
                match signature.fetched_keys() {
                    None => Credential::Signed(signer),
                    Some(keys) => Credential::Token(TokenCredential::aws_keys(&config.name, keys, signer, parts)),
                }
            }
        }
    }

    /// The names of all that it sets.
    pub fn names(&self) -> &PlaceNames {
        match self {
            Credential::Fixed(fixed) => fixed.names(),
            Credential::Token(token) => &token.names,
            Credential::Signed(signer) => signer.names(),
        }
    }

    /// What to attach, at once if that is possible: the hot path. `now`: as the request has read it already.
    pub fn ready(&self, now: Boot) -> Option<Attachment> {
        match self {
            Credential::Fixed(fixed) => Some(Attachment::fixed(fixed)),
            Credential::Token(token) => token.cell.ready_at(now).map(|ready| token.attachment(ready)),
            Credential::Signed(signer) => Some(Attachment::signer(signer)),
        }
    }

    /// What to attach, waiting for a token if need be, at most `deadline`.
    ///
    /// # Errors
    /// Says whether that passes or needs an operator (TL-71).
    pub async fn take(&self, deadline: Duration) -> Result<Attachment, TokenUnavailable> {
        match self {
            Credential::Fixed(fixed) => Ok(Attachment::fixed(fixed)),
            Credential::Token(token) => token.cell.take(deadline).await.map(|taken| token.attachment(taken)),
            Credential::Signed(signer) => Ok(Attachment::signer(signer)),
        }
    }

    /// After a rejection: what to attach to the replay, or `None` if the upstream's answer stands.
    pub async fn rejected(&self, sent: Generation, can_replay: bool, deadline: Duration) -> Option<Attachment> {
        match self {
            Credential::Fixed(_) | Credential::Signed(_) => None,
            Credential::Token(token) => token.rejected(sent, can_replay, deadline).await,
        }
    }

    /// The upstream misses claims in the token of this generation; `encoded`: as its challenge has them. What it does not
    /// say legibly is not heeded.
    pub fn lacks(&self, sent: Generation, encoded: &str) {
        match self {
            Credential::Fixed(_) | Credential::Signed(_) => {}
            Credential::Token(token) => {
                if let Some(claims) = lacking_claims::decoded(encoded) {
                    token.cell.lacks(sent, claims);
                }
            }
        }
    }

    /// How a replay went.
    pub fn replayed(&self, generation: Generation, accepted: bool) {
        match self {
            Credential::Fixed(_) | Credential::Signed(_) => {}
            Credential::Token(token) => token.cell.replayed(generation, accepted),
        }
    }
}

impl TokenCredential {
    async fn rejected(&self, sent: Generation, can_replay: bool, deadline: Duration) -> Option<Attachment> {
        match self.cell.rejected(sent, can_replay, deadline).await {
            Rejected::Replay(renewed) => Some(self.attachment(renewed)),
            Rejected::PassThrough => None,
        }
    }

    /// A credential with a cell at this source. Whatever its kind is, the rest is the same.
    fn new(
        name: &Arc<str>,
        life: &config::TokenLife,
        identity: Identity,
        proof: ProofVersion,
        source: Arc<dyn Source>,
        parts: &Parts,
    ) -> Self {
        let cell = parts.tokens.declare(identity, proof, policy(name, life), source);
        let names = PlaceNames::of(life.attach.parts.iter().map(|part| &part.place));
        TokenCredential { cell, identity, names: Arc::new(names), signer: None }
    }

    /// What a request carries for this token of its cell.
    fn attachment(&self, token: Arc<Token>) -> Attachment {
        match &self.signer {
            None => Attachment::token(token),
            Some(signer) => Attachment::signed_token(signer, token),
        }
    }
}

fn policy(name: &Arc<str>, life: &config::TokenLife) -> Policy {
    Policy {
        name: name.clone(),
        refresh_before: life.refresh_before,
        keep_warm: life.keep_warm,
        single_active: life.single_active,
        warm: match life.warm {
            Warm::No => false,
            Warm::Yes | Warm::Required => true,
        },
        stale_if_error: life.stale_if_error,
        attach: Arc::new(life.attach.clone()),
        attempt_timeout: life.timeouts.attempt,
        total_timeout: life.timeouts.total,
    }
}
