//! `attache token` and `attache check --live`: fetch a token as the proxy would, and say what was said, what failed, and why
//! it probably did.

mod login;
mod refreshing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, StatusCode};

use super::answer::{self, document::Document};
use super::aws_keys::{self, AwsKeys};
use super::claims::claims;
use super::either_secret::EitherSecret;
use super::failure::{Failure, Step};
use super::login::Login;
use super::mask::mask;
use super::metadata::Metadata;
use super::oauth2::{Endpoint, OAuth2};
use super::told::{self, Clocks, Showing, Told};
use super::{Parts, Tape, cause};
use crate::clock::timer_now;
use crate::config::{self, AnswerPlace, AnswerShape, CredentialKind, Grant, TokenEndpoint, TokenEndpointAuthMethod};
use crate::secret::Secret;
use crate::token::{ByHand, Granted, Rotated, lifetime};

pub use refreshing::exchanges;

/// What became of one credential. Holds no secret, and no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub credential: Arc<str>,
    /// Host, and port unless it is the scheme's own, that was asked, once it is known.
    pub host: Option<String>,
    /// How the client authenticated there.
    pub auth_method: Option<&'static str>,
    /// Who said that it should: "as configured", "as the server lists it", "the default"; or why it does not.
    pub auth_method_from: Option<&'static str>,
    /// Every request that was made, and what came of it.
    pub said: Vec<Told>,
    /// How this machine's clock and the server's agree, if the server said what time it is.
    pub clocks: Option<Clocks>,
    pub outcome: Outcome,
    /// What became of the refresh token that was exchanged, if one was.
    pub rotated: Rotated,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The credential is a key that is sent as it is: only the upstream can tell whether it is right.
    NothingToFetch,
    /// A token is for a subject, and subjects come with requests, in this header.
    NeedsSubject { header: HeaderName },
    /// What the store has of the refresh token could not be read or saved; why, and what that means.
    Unkept(String),
    /// A token would end the one that is in use (`single_active`), and nobody said that it may.
    LeftAlone,
    Granted {
        /// As TL-10 reads it; `None`: the server named none.
        lifetime: Option<Duration>,
        took: Duration,
        token: GrantedToken,
    },
    Failed {
        failure: Failure,
        /// An authentication method that works in place of the one that failed: the certain cause.
        method_that_works: Option<&'static str>,
        /// What is odd about the secret, where the client was not recognised.
        secret_flaw: Option<&'static str>,
    },
}

/// A token that was granted, without itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantedToken {
    /// Its length and the beginning of its SHA-256.
    pub fingerprint: String,
    /// The member of the answer that it was taken from.
    pub member: String,
    /// The member that decided its lifetime.
    pub lifetime_member: Option<String>,
    /// What it says of itself if it is a JWT, names with values.
    pub claims: Option<Vec<(&'static str, String)>>,
}

/// Whether a token may be fetched where that ends the one in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayRotate {
    Yes,
    No,
}

impl Report {
    /// The probable cause of a failure, and what to do about it; also what is wrong though a token was granted.
    pub fn likely_cause(&self) -> Option<String> {
        let clocks = self.clocks.and_then(cause::of_clocks);
        let cause = match &self.outcome {
            Outcome::NothingToFetch
            | Outcome::NeedsSubject { .. }
            | Outcome::LeftAlone
            | Outcome::Unkept(_)
            | Outcome::Granted { .. } => None,
            Outcome::Failed { method_that_works: Some(method), .. } => Some(format!(
                "the server takes this client with another method: say `token_endpoint_auth_method = \"{method}\"`"
            )),
            Outcome::Failed { failure, secret_flaw, .. } => secret_flaw
                .or_else(|| cause::of_words(&failure.cause))
                .map(str::to_owned)
                .or_else(|| failure.hint.clone())
                .or_else(|| usual_cause(failure).map(str::to_owned)),
        };
        match (cause, clocks) {
            (Some(cause), Some(clocks)) => Some(format!("{clocks}; else {cause}")),
            (cause, clocks) => cause.or(clocks),
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
pub async fn probe(config: &config::Credential, parts: &Parts, may_rotate: MayRotate) -> Report {
    if let Some(subject) = config.subject_header() {
        return unasked(config, Outcome::NeedsSubject { header: subject.name.clone() });
    }
    if may_rotate == MayRotate::No && config.kind.token_life().is_some_and(|life| life.single_active) {
        return unasked(config, Outcome::LeftAlone);
    }
    let tape = Arc::new(Tape::new(parts.clock.clone()));
    let parts = Parts { tape: Some(tape.clone()), ..parts.clone() };
    let mut report = match &config.kind {
        CredentialKind::OAuth2(grant) => {
            let (endpoint, outcome, rotated) = ask(&config.name, grant, &parts, &tape).await;
            Report {
                rotated,
                host: endpoint.as_ref().map(|endpoint| endpoint.url.authority()),
                auth_method: endpoint.as_ref().map(|endpoint| endpoint.method.name()),
                auth_method_from: endpoint.as_ref().map(|_| method_from(grant)),
                ..unasked(config, outcome)
            }
        }
        CredentialKind::Metadata(metadata) => {
            let (host, outcome) = probe_metadata(metadata, &parts, &tape).await;
            Report { host, ..unasked(config, outcome) }
        }
        CredentialKind::Login(login) => {
            let (host, outcome) = login::probe(&config.name, login, &parts, &tape).await;
            Report { host, ..unasked(config, outcome) }
        }
        CredentialKind::Signature(signature) => {
            let Some(keys) = signature.fetched_keys() else { return unasked(config, Outcome::NothingToFetch) };
            let (host, outcome) = probe_aws_keys(keys, &parts, &tape).await;
            Report { host: Some(host), ..unasked(config, outcome) }
        }
        CredentialKind::Bearer { .. }
        | CredentialKind::ApiKeys(_)
        | CredentialKind::Basic { .. }
        | CredentialKind::BasicKey { .. } => return unasked(config, Outcome::NothingToFetch),
    };
    report.clocks = tape.last_reply(|reply, wall| told::clocks(&reply.headers, wall));
    let exchanges = tape.take();
    let showing = match &config.kind {
        // What stands in proxy.toml as text may be shown.
        CredentialKind::OAuth2(grant) => of_grant(grant),
        CredentialKind::Login(login) => login::showing(login, &exchanges),
        // What the form says beside the token: a form has no secret of these names.
        CredentialKind::Signature(_) => {
            Showing { configured: vec!["Action".into(), "RoleArn".into()], ..Showing::default() }
        }
        _ => Showing::default(),
    };
    report.said = exchanges.iter().map(|exchange| Told::of(exchange, &showing)).collect();
    report
}

fn of_grant(grant: &config::OAuth2) -> Showing<'_> {
    let mut showing = Showing {
        configured: grant.parameters.keys().map(Into::into).collect(),
        shapes: vec![&grant.answer],
        secrets: Vec::new(),
    };
    if let Grant::Fields(fields) = &grant.grant {
        showing.configured.extend(fields.plain.iter().map(|(name, _)| name.into()));
        // Whatever its field is called.
        showing.secrets.extend(fields.secret.iter().map(|(_, secret)| secret.clone()));
    }
    showing
}

/// What is said of a refresh token that nobody kept.
pub const LOST: &str = "the server gave another refresh token, which is not kept: if it takes the old one no more, authorize \
                               again, and put the new one where `refresh_token` points to";

/// Fetches a token for whoever will use it himself. Says also what became of the refresh token that was exchanged for it.
///
/// # Errors
/// Why there is none, in a sentence.
pub async fn fetch(
    config: &config::Credential,
    parts: &Parts,
    may_rotate: MayRotate,
) -> Result<(Secret, Rotated), String> {
    let name = &config.name;
    let Some(life) = config.kind.token_life() else {
        return Err(format!("`{name}` has no token to fetch: it is sent as it is"));
    };
    if let Some(subject) = config.subject_header() {
        return Err(format!(
            "`{name}` has a token for each subject, which requests bring in {}: --subject-token-file names a file with one",
            subject.name
        ));
    }
    if life.single_active && may_rotate == MayRotate::No {
        return Err(format!(
            "a new token of `{name}` would end the one that is in use (`single_active`): --may-rotate says that it may"
        ));
    }
    let deadline = timer_now() + life.timeouts.attempt;
    let mut rotated = Rotated::No;
    let granted = match &config.kind {
        CredentialKind::OAuth2(grant) => {
            let source = OAuth2::new(grant, parts);
            let mut by_hand = refreshing::begin(name, grant, &source, parts)?;
            let exchange = by_hand.as_ref().map(ByHand::exchange);
            let granted = match &grant.older_proof {
                None => source.attempt(deadline, exchange).await,
                Some(older) => EitherSecret::new(grant, older, parts).attempt(deadline, exchange).await,
            };
            if let (Some(by_hand), Ok(granted)) = (&mut by_hand, &granted) {
                by_hand.granted(granted);
            }
            rotated = by_hand.map_or(Ok(rotated), ByHand::end)?;
            granted
        }
        CredentialKind::Metadata(metadata) => Metadata::new(metadata, parts).attempt(deadline).await,
        CredentialKind::Login(login) => Login::new(name, login, parts).attempt(deadline).await,
        CredentialKind::Signature(_) => return Err(format!("`{name}` signs requests: what it fetches is no token")),
        _ => unreachable!("only tokens that are fetched have a life"),
    };
    granted.map(|granted| (granted.value, rotated)).map_err(|failure| match rotated {
        Rotated::Lost => format!("{}; {LOST}", failure.text()),
        Rotated::No | Rotated::Kept => failure.text(),
    })
}

fn unasked(config: &config::Credential, outcome: Outcome) -> Report {
    let credential = config.name.clone();
    Report {
        credential,
        host: None,
        auth_method: None,
        auth_method_from: None,
        said: Vec::new(),
        clocks: None,
        outcome,
        rotated: Rotated::No,
    }
}

/// Asks for a token, and keeps the refresh token that comes with it.
async fn ask(name: &str, grant: &config::OAuth2, parts: &Parts, tape: &Tape) -> (Option<Endpoint>, Outcome, Rotated) {
    let source = OAuth2::new(grant, parts);
    let mut by_hand = match refreshing::begin(name, grant, &source, parts) {
        Ok(by_hand) => by_hand,
        Err(why) => return (None, Outcome::Unkept(why), Rotated::No),
    };
    let (endpoint, outcome) = ask_by_methods(&source, grant, parts, tape, &mut by_hand).await;
    match by_hand.map_or(Ok(Rotated::No), ByHand::end) {
        Ok(rotated) => (endpoint, outcome, rotated),
        Err(why) => (endpoint, Outcome::Unkept(why), Rotated::No),
    }
}

/// Asks for a token, once by each method that is worth it.
async fn ask_by_methods(
    source: &OAuth2,
    grant: &config::OAuth2,
    parts: &Parts,
    tape: &Tape,
    by_hand: &mut Option<ByHand>,
) -> (Option<Endpoint>, Outcome) {
    let exchange = by_hand.as_ref().map(|by_hand| by_hand.exchange().clone());
    let mut keep = |granted: &Granted| by_hand.iter_mut().for_each(|by_hand| by_hand.granted(granted));
    let end = timer_now() + grant.life.timeouts.total;
    let attempt = || end.min(timer_now() + grant.life.timeouts.attempt);
    let failed = |failure, method_that_works, secret_flaw| Outcome::Failed { failure, method_that_works, secret_flaw };

    let deadline = attempt();
    let endpoint = match source.endpoint(deadline).await {
        Ok(endpoint) => endpoint,
        Err(failure) => return (None, failed(failure, None, None)),
    };
    let begun = parts.clock.now();
    let failure = match source.ask(&endpoint, deadline, exchange.as_ref()).await {
        Ok(granted) => {
            keep(&granted);
            let took = parts.clock.now().since(begun);
            let token = granted_token(&granted, &grant.answer, tape);
            return (Some(endpoint), Outcome::Granted { lifetime: granted.lifetime, took, token });
        }
        Err(failure) => failure,
    };
    if let Some(older) = grant.older_proof.as_ref().filter(|_| failure.refuses_the_client()) {
        let older = EitherSecret::with_proof(grant, older, parts);
        if let Ok(granted) = older.ask(&endpoint, attempt(), exchange.as_ref()).await {
            keep(&granted);
            let took = parts.clock.now().since(begun);
            let token = granted_token(&granted, &grant.answer, tape);
            return (Some(endpoint), Outcome::Granted { lifetime: granted.lifetime, took, token });
        }
    }
    if !is_about_the_client(&failure) {
        return (Some(endpoint), failed(failure, None, None));
    }
    let mut method_that_works = None;
    let mut refused = if failure.is_unrecognised() { vec![endpoint.method.name()] } else { Vec::new() };
    let others = other_methods(source, endpoint.method);
    for method in &others {
        let other = Endpoint { method: *method, ..endpoint.clone() };
        match source.ask(&other, attempt(), exchange.as_ref()).await {
            Ok(granted) => {
                keep(&granted);
                method_that_works = Some(method.name());
                break;
            }
            Err(failure) if failure.is_unrecognised() => refused.push(method.name()),
            Err(_) => {}
        }
    }
    let failure = match others.len() {
        others if others > 0 && refused.len() == others + 1 => failure.with_hint(refused_by_all(&refused)),
        _ => failure,
    };
    let secret_flaw = source.sent_secret().and_then(|secret| cause::of_secret(secret.expose()));
    (Some(endpoint), failed(failure, method_that_works, secret_flaw))
}

/// The cause that is left where no way of sending the secret is taken.
fn refused_by_all(methods: &[&str]) -> String {
    format!(
        "check client_id and client_secret, of which one is wrong, or of another environment: the server refuses them by {} \
         alike",
        methods.join(", ")
    )
}

fn method_from(grant: &config::OAuth2) -> &'static str {
    let presents_something = !matches!(grant.grant, Grant::ClientCredentials | Grant::RefreshToken { .. });
    match (grant.auth_method, &grant.endpoint) {
        // Nobody has to say so.
        (Some(TokenEndpointAuthMethod::Public), _) if presents_something => "no client secret or key is configured",
        (Some(_), _) => "as configured",
        (None, TokenEndpoint::Issuer { .. }) => "as the server lists it",
        (None, TokenEndpoint::Url(_)) => "the default",
    }
}

/// What is told of a token, from the answer that brought it.
fn granted_token(granted: &Granted, shape: &AnswerShape, tape: &Tape) -> GrantedToken {
    let token = granted.value.expose();
    let lifetime_member = tape.last_reply(|reply, wall| {
        if let Some(beside) = answer::lifetime_beside(reply, shape) {
            return Some(beside.to_owned());
        }
        let body = reply.body.as_ref().ok()?;
        let Document::Members(members) = Document::parse(body, answer::content_type(&reply.headers)) else {
            return None;
        };
        let decisive = lifetime::decisive(&members, shape, token, answer::date(&reply.headers), wall);
        decisive.map(|(member, _)| member.to_owned())
    });
    GrantedToken {
        fingerprint: mask(token),
        member: shape.token.as_ref().map_or("access_token", AnswerPlace::name).to_owned(),
        lifetime_member,
        claims: claims(token, tape.wall()),
    }
}

async fn probe_metadata(config: &config::Metadata, parts: &Parts, tape: &Tape) -> (Option<String>, Outcome) {
    let source = Metadata::new(config, parts);
    let begun = parts.clock.now();
    let outcome = match source.attempt(timer_now() + config.life.timeouts.attempt).await {
        Ok(granted) => {
            let took = parts.clock.now().since(begun);
            let token = granted_token(&granted, &AnswerShape::default(), tape);
            Outcome::Granted { lifetime: granted.lifetime, took, token }
        }
        Err(failure) => Outcome::Failed { failure, method_that_works: None, secret_flaw: None },
    };
    (Some(source.url().authority()), outcome)
}

async fn probe_aws_keys(config: &config::FetchedAwsKeys, parts: &Parts, tape: &Tape) -> (String, Outcome) {
    let begun = parts.clock.now();
    let outcome = match AwsKeys::new(config, parts).attempt(timer_now() + config.life.timeouts.attempt).await {
        Ok(granted) => {
            let took = parts.clock.now().since(begun);
            let token = granted_token(&granted, &aws_keys::shape(&config.place), tape);
            Outcome::Granted { lifetime: granted.lifetime, took, token }
        }
        Err(failure) => Outcome::Failed { failure, method_that_works: None, secret_flaw: None },
    };
    (config.place.url().authority(), outcome)
}

/// Whether the server did not recognise the client, as opposed to what it asked for.
fn is_about_the_client(failure: &Failure) -> bool {
    let by_code = match failure.code.as_deref() {
        Some(code) => matches!(code, "invalid_client" | "invalid_request"),
        None => failure.status == Some(StatusCode::BAD_REQUEST),
    };
    // Auth0 and Keycloak name other errors for it, but with this status.
    let unrecognised = by_code || failure.status == Some(StatusCode::UNAUTHORIZED);
    failure.step == Step::Token && unrecognised
}

fn other_methods(source: &OAuth2, tried: TokenEndpointAuthMethod) -> Vec<TokenEndpointAuthMethod> {
    use TokenEndpointAuthMethod::{ClientSecretBasic, ClientSecretBasicRaw, ClientSecretPost};
    // A secret that only signs is not sent to find something out.
    if source.sent_secret().is_none() {
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
