//! The grants of OAuth 2.0: where their tokens come from.

pub(super) mod identity;
#[cfg(test)]
pub(super) mod tests;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use ring::error::Unspecified;
use tokio::time::{Instant, timeout_at};

use super::answer::{self, Asked};
use super::discovery::{Discovered, DiscoveryCache, Issuer};
use super::dpop;
use super::either_secret::EitherSecret;
use super::endpoint::{self, Reach, origin, target};
use super::failure::{self, Failure, Step};
use super::tape::Tape;
use super::token_request::{Signed, TokenRequest};
use super::{Parts, TokenCredential};
use crate::clock::{Clock, timer_now};
use crate::config::{
    self, AnswerShape, CertificateAndKey, DPOP, Grant, HttpUrl, TokenEndpoint, TokenEndpointAuthMethod,
};
use crate::jws::{ProofKey, Proven};
use crate::secret::Secret;
use crate::token::{
    Exchange, FetchError, FetchErrorKind, FetchFuture, FetchRequest, Granted, PlaceNames, ProofVersion, Reached,
    Source, lifetime,
};
use crate::upstream::Connector;

/// The source of one credential's tokens. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct OAuth2 {
    inner: Arc<Inner>,
    /// What is exchanged, where that is another one for each subject.
    subject: Option<Secret>,
    /// What one fetch asks for besides (TL-45).
    claims: Option<Arc<str>>,
}

#[derive(Debug)]
struct Inner {
    place: Place,
    /// Scheme, host and port of what is configured.
    origin: Arc<str>,
    request: TokenRequest,
    client_certificate: Option<Arc<CertificateAndKey>>,
    seed: Option<Secret>,
    asks_for: Option<ProofVersion>,
    proof_key: Option<Arc<ProofKey>>,
    auth_method: Option<TokenEndpointAuthMethod>,
    shape: AnswerShape,
    private: bool,
    cleartext: bool,
    connect_timeout: Duration,
    clock: Arc<dyn Clock>,
    connector: Arc<Connector>,
    discoveries: Arc<DiscoveryCache>,
    tape: Option<Arc<Tape>>,
}

#[derive(Debug)]
enum Place {
    Url(HttpUrl),
    Issuer(Issuer),
}

/// Where to send a token request, and how to authenticate there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub url: HttpUrl,
    pub method: TokenEndpointAuthMethod,
}

impl OAuth2 {
    pub(super) fn new(config: &config::OAuth2, parts: &Parts) -> Self {
        let (configured, place) = match &config.endpoint {
            TokenEndpoint::Url(url) => (url, Place::Url(url.clone())),
            TokenEndpoint::Issuer { issuer, url } => {
                let issuer = Issuer {
                    name: issuer.clone(),
                    url: url.clone(),
                    check: config.issuer_check,
                    cleartext: config.life.cleartext,
                };
                (url, Place::Issuer(issuer))
            }
        };
        let proof_key = parts.proof_keys.of(config);
        let inner = Inner {
            origin: origin(configured),
            place,
            request: TokenRequest::new(config),
            client_certificate: config.client_certificate.clone(),
            asks_for: identity::asks_for(config, proof_key.as_deref(), &parts.tokens),
            proof_key,
            seed: match &config.grant {
                Grant::RefreshToken { seed } => Some(seed.clone()),
                _ => None,
            },
            auth_method: config.auth_method,
            shape: config.answer.clone(),
            private: config.life.private,
            cleartext: config.life.cleartext,
            connect_timeout: config.life.timeouts.connect,
            clock: parts.clock.clone(),
            connector: parts.connector.clone(),
            discoveries: parts.discoveries.clone(),
            tape: parts.tape.clone(),
        };
        OAuth2 { inner: Arc::new(inner), subject: None, claims: None }
    }

    /// The same for this subject.
    pub(super) fn for_subject(&self, token: Secret) -> Self {
        OAuth2 { subject: Some(token), ..self.clone() }
    }

    /// The same for a fetch that asks for these claims besides.
    pub(super) fn with_claims(&self, claims: Option<Arc<str>>) -> Self {
        OAuth2 { claims, ..self.clone() }
    }

    /// One attempt from its beginning: the endpoint is found, then asked.
    pub(super) async fn attempt(&self, deadline: Instant, exchange: Option<&Exchange>) -> Result<Granted, Failure> {
        let attempted = match self.endpoint(deadline).await {
            Ok(endpoint) => self.ask(&endpoint, deadline, exchange).await,
            Err(failure) => Err(failure),
        };
        attempted.map_err(|failure| if self.subject.is_some() { failure.of_subject() } else { failure })
    }

    /// Where to ask, which discovery may have to find out first (TL-38).
    pub(super) async fn endpoint(&self, deadline: Instant) -> Result<Endpoint, Failure> {
        let inner = &*self.inner;
        let (url, discovered) = match &inner.place {
            Place::Url(url) => (url.clone(), None),
            Place::Issuer(issuer) => {
                // What an issuer publishes, it shows to anybody.
                let reach = Reach { client_certificate: None, ..inner.reach(deadline) };
                let found = inner.discoveries.find(issuer, reach, &*inner.clock).await?;
                (inner.endpoint_of(&found).clone(), Some(found.auth_method))
            }
        };
        let method = inner.auth_method.or(discovered).unwrap_or(TokenEndpointAuthMethod::ClientSecretBasic);
        Ok(Endpoint { url, method })
    }

    /// Asks for a token; once more at once if the server only wants the nonce in the proof that it gives, which is no failure
    /// (RFC 9449 section 8).
    pub(super) async fn ask(
        &self,
        endpoint: &Endpoint,
        deadline: Instant,
        exchange: Option<&Exchange>,
    ) -> Result<Granted, Failure> {
        let mut heard = false;
        match self.ask_once(endpoint, deadline, exchange, &mut heard).await {
            // Without one, the second proof would be no better.
            Err(failure) if heard && failure.asks_for_nonce() => {
                self.ask_once(endpoint, deadline, exchange, &mut heard).await
            }
            asked => asked,
        }
    }

    /// Sends the token request and reads the answer. A refresh token in it is put into the exchange before anything else
    /// is made of the answer (TL-53). `heard` becomes whether the answer gave a nonce for the proofs after this one.
    async fn ask_once(
        &self,
        endpoint: &Endpoint,
        deadline: Instant,
        exchange: Option<&Exchange>,
        heard: &mut bool,
    ) -> Result<Granted, Failure> {
        let inner = &*self.inner;
        let Endpoint { url, method } = endpoint;
        let host = &url.authority();
        let failed = |cause| Failure::new(FetchErrorKind::Refused, Step::Token, host, cause);
        let target = target(url).map_err(failed)?;
        let path = target.to_string();
        let proven = Proven { method: "POST", origin: &origin(url), target: &path, token: None };
        let signed = inner.sign(url, &proven, deadline).await?.with_subject(self.subject.as_ref());
        let refresh_token = exchange.map(Exchange::refresh_token);
        let request = inner.request.to(target, *method, &signed, refresh_token, self.claims.as_deref());
        exchange.inspect(|exchange| exchange.set_sent(true));
        let reply = endpoint::exchange(inner.reach(deadline), url, request).await;
        let mut reply = reply.map_err(|broken| {
            exchange.inspect(|exchange| exchange.set_sent(broken.reached != Reached::No));
            Failure::unanswered(broken, Step::Token, host)
        })?;
        if let (Place::Issuer(issuer), StatusCode::NOT_FOUND | StatusCode::GONE) = (&inner.place, reply.status) {
            inner.discoveries.doubt(issuer);
        }
        let heard_now = inner.proof_key.as_ref().is_some_and(|key| dpop::hear(key, &proven, &mut reply.headers));
        *heard = heard_now;
        let asked = Asked {
            host,
            hint: &|status, code| {
                dpop::hint(code, inner.proof_key.is_some(), heard_now)
                    .or_else(|| failure::hint(status, code, *method, inner.request.grant()))
            },
            secrets: inner.request.secrets(&signed).into_iter().chain(refresh_token).collect(),
            shape: &inner.shape,
            bound: inner.proof_key.is_some(),
            wall: inner.clock.wall(),
        };
        if let Some(subject) = &self.subject {
            let life = lifetime::jwt_life(subject.expose(), answer::date(&reply.headers), asked.wall);
            return answer::read(&reply, &asked).map(|granted| granted.within(life));
        }
        let Some(exchange) = exchange else { return answer::read(&reply, &asked) };
        answer::refresh_token(&reply, &asked).into_iter().for_each(|token| exchange.received(token));
        answer::read(&reply, &asked).map_err(|failure| {
            if failure.code.is_some() {
                exchange.set_named();
            }
            failure.of_refresh_token()
        })
    }

    /// The client's secret, if it sends it as it is, which several methods do.
    pub(super) fn sent_secret(&self) -> Option<&Secret> {
        self.inner.request.sent_secret()
    }

    /// Whether form-encoding changes the id or the secret, so that servers may differ over it.
    pub(super) fn is_changed_by_encoding(&self) -> bool {
        self.inner.request.is_changed_by_encoding()
    }
}

impl Inner {
    /// What is sent in place of a secret: signed now, or read as it is now. Reading is not for this thread.
    async fn sign(&self, token_url: &HttpUrl, proven: &Proven<'_>, deadline: Instant) -> Result<Signed, Failure> {
        let host = &token_url.authority();
        let failed = |cause: String| Failure {
            reached: Reached::No,
            ..Failure::new(FetchErrorKind::Transient, Step::Token, host, cause)
        };
        let no_random_bytes = |Unspecified| failed("the system gives no random bytes to sign with".to_owned());
        let mut signed = self.request.sign(token_url, self.clock.wall()).map_err(no_random_bytes)?;
        if let Some(key) = &self.proof_key {
            signed.proof = Some(key.proof(proven, self.clock.wall()).map_err(no_random_bytes)?);
        }
        let Some(fresh) = self.request.foreign_assertion().cloned() else { return Ok(signed) };
        match timeout_at(deadline, tokio::task::spawn_blocking(move || fresh.read())).await {
            Ok(Ok(Ok(assertion))) => Ok(signed.with_client(assertion)),
            Ok(Ok(Err(unread))) => {
                Err(failed(format!("the client assertion cannot be read: {}", unread.message)).with_hint(unread.hint))
            }
            Ok(Err(_)) => Err(failed("the client assertion cannot be read: attache is ending".to_owned())),
            Err(_) => Err(failed("the client assertion cannot be read in time".to_owned())),
        }
    }

    /// RFC 8705 section 5: who shows a certificate goes where the server says that it looks at one.
    fn endpoint_of<'d>(&self, found: &'d Discovered) -> &'d HttpUrl {
        match (&self.client_certificate, &found.mtls_token_endpoint) {
            (Some(_), Some(alias)) => alias,
            _ => &found.token_endpoint,
        }
    }

    fn reach(&self, deadline: Instant) -> Reach<'_> {
        Reach {
            connector: &self.connector,
            private: self.private,
            cleartext: self.cleartext,
            client_certificate: self.client_certificate.as_ref(),
            connect_timeout: self.connect_timeout,
            deadline,
            tape: self.tape.as_deref(),
        }
    }
}

impl TokenCredential {
    pub(super) fn oauth2(name: &Arc<str>, config: &config::OAuth2, parts: &Parts) -> Self {
        let identity = identity::identity(name, config, &parts.tokens);
        let source: Arc<dyn Source> = match &config.older_proof {
            None => Arc::new(OAuth2::new(config, parts)),
            Some(older) => Arc::new(EitherSecret::new(config, older, parts)),
        };
        let proof = identity::proof(config, &parts.tokens);
        let credential = TokenCredential::new(name, &config.life, identity, proof, source, parts);
        TokenCredential { names: names(config), ..credential }
    }
}

/// What requests with tokens of this grant carry.
pub(super) fn names(config: &config::OAuth2) -> Arc<PlaceNames> {
    let mut names = PlaceNames::of(config.life.attach.parts.iter().map(|part| &part.place));
    names.headers.extend(config.dpop.as_ref().map(|_| DPOP.clone()));
    Arc::new(names)
}

impl Source for OAuth2 {
    fn fetch(&self, request: FetchRequest) -> FetchFuture {
        let source = self.with_claims(request.claims);
        Box::pin(async move {
            let deadline = timer_now() + request.attempt_timeout;
            source.attempt(deadline, request.exchange.as_ref()).await.map_err(FetchError::from)
        })
    }

    fn origin(&self) -> Arc<str> {
        match &self.inner.place {
            Place::Url(_) => self.inner.origin.clone(),
            Place::Issuer(issuer) => {
                let known = self.inner.discoveries.known(issuer);
                known.map_or_else(|| self.inner.origin.clone(), |found| origin(self.inner.endpoint_of(&found)))
            }
        }
    }

    fn client_id(&self) -> &str {
        self.inner.request.client_id()
    }

    fn asks_for(&self) -> Option<ProofVersion> {
        self.inner.asks_for
    }

    fn proof_key(&self) -> Option<&Arc<ProofKey>> {
        self.inner.proof_key.as_ref()
    }

    fn subject_bytes(&self) -> usize {
        self.subject.as_ref().map_or(0, |token| token.expose().len())
    }

    fn seed(&self) -> Option<&Secret> {
        self.inner.seed.as_ref()
    }
}
