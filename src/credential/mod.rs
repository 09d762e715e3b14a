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

pub use attachment::Attachment;
pub use discovery::DiscoveryCache;
pub use dpop::ProofKeys;
pub use failure::{Failure, Step};
pub use subject::{NoSubject, PerSubject, SubjectFlaw};
pub use tape::Tape;

pub use crate::token::{Cookies, Rest};

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderName;
use serde_json::json;

use crate::clock::{Boot, Clock};
use crate::config::{
    self, ClientProof, CredentialKind, DPOP, Dpop, Grant, LoginRequest, TokenEndpoint, TokenEndpointAuthMethod, Warm,
};
use crate::jws::ProofKey;
use crate::secret::Secret;
use crate::token::{
    Attached, Generation, Identity, IdentityFields, PlaceNames, Policy, ProofVersion, Rejected, Source, Token,
    TokenCache, TokenCell, TokenUnavailable,
};
use crate::upstream::Connector;
use claims::issuer_and_subject;
use either_secret::EitherSecret;
use login::Login;
use metadata::Metadata;
use oauth2::OAuth2;
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

/// A credential at work, made from its configuration by the snapshot.
#[derive(Debug)]
pub enum Credential {
    Fixed(Arc<Attached>),
    Token(TokenCredential),
    /// The credential of a request is that of its subject.
    PerSubject(PerSubject),
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

impl Credential {
    /// What its tokens are kept by; `None`: it has none.
    pub fn identity(&self) -> Option<Identity> {
        match self {
            Credential::Token(token) => Some(token.identity),
            Credential::PerSubject(subject) => Some(subject.subjects().identity()),
            Credential::Fixed(_) | Credential::Signed(_) => None,
        }
    }

    /// That of the subject that a request is for, if the credential has one for each.
    pub fn per_subject(&self) -> Option<&PerSubject> {
        match self {
            Credential::PerSubject(subject) => Some(subject),
            Credential::Fixed(_) | Credential::Token(_) | Credential::Signed(_) => None,
        }
    }

    /// Builds the running credential. Declares its cell, if it has one.
    pub fn new(config: &config::Credential, parts: &Parts) -> Credential {
        match &config.kind {
            CredentialKind::OAuth2(oauth2) => match oauth2.grant.subject_header() {
                Some(header) => Credential::PerSubject(PerSubject::new(&config.name, oauth2, header, parts)),
                None => Credential::Token(TokenCredential::oauth2(&config.name, oauth2, parts)),
            },
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

    /// The names of the headers it sets: a client's own of that name are removed, as are query parameters and cookies (SEC-10).
    pub fn header_names(&self) -> &[HeaderName] {
        match self {
            Credential::Fixed(fixed) => &fixed.names().headers,
            Credential::Token(token) => &token.names.headers,
            Credential::PerSubject(subject) => &subject.names().headers,
            Credential::Signed(signer) => signer.header_names(),
        }
    }

    /// The decoded names of the query parameters it sets.
    pub fn query_names(&self) -> &[String] {
        match self {
            Credential::Fixed(fixed) => &fixed.names().query,
            Credential::Token(token) => &token.names.query,
            Credential::PerSubject(subject) => &subject.names().query,
            Credential::Signed(signer) => signer.query_names(),
        }
    }

    /// The names of the cookies it sets.
    pub fn cookie_names(&self) -> &[String] {
        match self {
            Credential::Fixed(fixed) => &fixed.names().cookies,
            Credential::Token(token) => &token.names.cookies,
            Credential::PerSubject(subject) => &subject.names().cookies,
            Credential::Signed(_) => &[],
        }
    }

    /// Whether what it attaches is looked for in answers' bodies, as far as that is known before there is a token.
    pub fn concerns_bodies(&self) -> bool {
        match self {
            Credential::Fixed(fixed) => fixed.masks().concern_bodies(),
            Credential::Token(_) | Credential::PerSubject(_) | Credential::Signed(_) => true,
        }
    }

    /// What to attach, at once if that is possible: the hot path. `now`: as the request has read it already.
    pub fn ready(&self, now: Boot) -> Option<Attachment> {
        match self {
            Credential::Fixed(fixed) => Some(Attachment::fixed(fixed)),
            Credential::Token(token) => token.cell.ready_at(now).map(|ready| token.attachment(ready)),
            Credential::PerSubject(_) => None,
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
            Credential::PerSubject(_) => unreachable!("what a request takes a token of is its subject's"),
            Credential::Signed(signer) => Ok(Attachment::signer(signer)),
        }
    }

    /// After a rejection: what to attach to the replay, or `None` if the upstream's answer stands.
    pub async fn rejected(&self, sent: Generation, can_replay: bool, deadline: Duration) -> Option<Attachment> {
        match self {
            Credential::Fixed(_) | Credential::Signed(_) | Credential::PerSubject(_) => None,
            Credential::Token(token) => token.rejected(sent, can_replay, deadline).await,
        }
    }

    /// The upstream misses claims in the token of this generation; `encoded`: as its challenge has them. What it does not
    /// say legibly is not heeded.
    pub fn lacks(&self, sent: Generation, encoded: &str) {
        match self {
            Credential::Fixed(_) | Credential::Signed(_) | Credential::PerSubject(_) => {}
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
            Credential::Fixed(_) | Credential::Signed(_) | Credential::PerSubject(_) => {}
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

    fn oauth2(name: &Arc<str>, config: &config::OAuth2, parts: &Parts) -> Self {
        let identity = identity(name, config, &parts.tokens);
        let source: Arc<dyn Source> = match &config.older_proof {
            None => Arc::new(OAuth2::new(config, parts)),
            Some(older) => Arc::new(EitherSecret::new(config, older, parts)),
        };
        let proof = proof(config, &parts.tokens);
        let credential = TokenCredential::new(name, &config.life, identity, proof, source, parts);
        TokenCredential { names: names(config), ..credential }
    }

    fn login(name: &Arc<str>, config: &Arc<config::Login>, parts: &Parts) -> Self {
        // Secrets do not show in it: they are the proof. Whoever logs in by a name in plain text is told apart by it.
        let requests: Vec<_> = config.steps.iter().map(|step| format!("{:?}", step.request)).collect();
        let requests: Vec<_> = requests.iter().map(|request| ("request", request.as_str())).collect();
        let origin = config.steps.first().map(|step| step.request.origin.to_string()).unwrap_or_default();
        let identity = parts.tokens.identity(&IdentityFields {
            credential: name,
            endpoint: &origin,
            grant: "login",
            parameters: &requests,
            ..IdentityFields::default()
        });
        let answers = config.steps.iter().map(|step| format!("{:?}", step.answer));
        let answers: Vec<_> = answers.chain(config.refresh.iter().map(|refresh| format!("{refresh:?}"))).collect();
        let secrets = config.requests().flat_map(LoginRequest::secrets).map(|secret| secret.expose().as_bytes());
        let proof: Vec<_> = secrets.chain(answers.iter().map(|answer| answer.as_bytes())).collect();
        let source = Arc::new(Login::new(name, config, parts));
        TokenCredential::new(name, &config.life, identity, parts.tokens.proof(&proof), source, parts)
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

    fn metadata(name: &Arc<str>, config: &config::Metadata, parts: &Parts) -> Self {
        let source = Metadata::new(config, parts);
        // What is asked for stands in the URL, all of it.
        let endpoint = source.url().to_string();
        let fields =
            IdentityFields { credential: name, endpoint: &endpoint, grant: "metadata", ..IdentityFields::default() };
        let identity = parts.tokens.identity(&fields);
        let proof = parts.tokens.proof(&[source.secret().map_or(&[][..], |secret| secret.expose().as_bytes())]);
        TokenCredential::new(name, &config.life, identity, proof, Arc::new(source), parts)
    }
}

/// What requests with tokens of this grant carry.
fn names(config: &config::OAuth2) -> Arc<PlaceNames> {
    let mut names = PlaceNames::of(config.life.attach.parts.iter().map(|part| &part.place));
    names.headers.extend(config.dpop.as_ref().map(|_| DPOP.clone()));
    Arc::new(names)
}

/// What makes this credential's token another one (TL-02).
fn identity(name: &str, config: &config::OAuth2, tokens: &TokenCache) -> Identity {
    let endpoint = match &config.endpoint {
        TokenEndpoint::Url(url) => url.to_string(),
        TokenEndpoint::Issuer { issuer, .. } => issuer.clone(),
    };
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
        // What is asked for with it is no part of this: the refresh token that took the seed's place is good for that, too.
        return tokens.identity(&own);
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

/// What is asked for with a refresh token, and the key that tokens are bound to; a token for something else is not sent
/// (TL-02), nor one whose key has vanished (TL-03).
fn asks_for(config: &config::OAuth2, key: Option<&ProofKey>, tokens: &TokenCache) -> Option<ProofVersion> {
    let asked = match &config.grant {
        Grant::RefreshToken { .. } => {
            let mut scope = config.scope.clone();
            scope.sort_unstable();
            Some(format!("{:?}", (scope, &config.audience, &config.resource, &config.parameters)))
        }
        _ => None,
    };
    let parts: Vec<_> = asked.iter().map(|asked| asked.as_bytes()).chain(key.map(ProofKey::identity)).collect();
    (!parts.is_empty()).then(|| tokens.proof(&parts))
}

/// How the client proves itself (TL-03). The declared places in the answer belong to it: when they change, a token read
/// by the old ones serves until one is read by the new ones, and a refused state ends.
fn proof(config: &config::OAuth2, tokens: &TokenCache) -> ProofVersion {
    let method = config.auth_method.map_or("discovered", TokenEndpointAuthMethod::name);
    let shape = format!("{:?}", config.answer);
    let (key, signed) = parts_of(&config.proof);
    let (older_key, older_signed) = config.older_proof.as_ref().map_or((&[][..], String::new()), parts_of);
    let mut parts =
        vec![key, signed.as_bytes(), older_key, older_signed.as_bytes(), method.as_bytes(), shape.as_bytes()];
    parts.extend(config.client_certificate.iter().flat_map(|own| &own.chain).map(|certificate| &**certificate));
    match &config.grant {
        Grant::ClientCredentials | Grant::RefreshToken { .. } => {}
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
