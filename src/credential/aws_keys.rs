//! Temporary AWS keys to sign with: those of an instance's role, from its metadata server (IMDSv2); those of a container's or
//! pod's role, from the endpoint that ECS or EKS names; and those that STS gives for a token that somebody else has signed.
//! Their life is a token's: the session token is its value, the two keys go with it.
//!
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html>,
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>,
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>.

mod answer;
#[cfg(test)]
mod tests;

pub(super) use answer::shape;
#[cfg(any(test, fuzzing))]
pub(super) use answer::{keys, keys_of_sts, refusal};

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::endpoint::{Reach, Reply, exchange, origin, target};
use super::failure::{Failure, Step};
use super::sign::Signer;
use super::tape::Tape;
use super::token_request::with_fields;
use super::{Parts, TokenCredential};
use crate::clock::{Clock, timer_now};
use crate::config::{AwsKeyPlace, FetchedAwsKeys, FreshSecret, HttpUrl, TokenLife};
use crate::secret::Secret;
use crate::token::{
    self, FetchError, FetchErrorKind, FetchFuture, FetchRequest, Granted, IdentityFields, Reached, Source,
};
use crate::upstream::Connector;

/// What the metadata server wants of the first request: how long the session is to live, and then the session.
const SESSION_TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const SESSION: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
/// Each fetch begins a session, and needs it for two requests.
const SESSION_SECONDS: HeaderValue = HeaderValue::from_static("60");
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
const ROLE_BYTES_MAX: usize = 128;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
/// What CloudTrail shows beside the role.
const SESSION_NAME: &str = "attache";

/// The source of one credential's keys. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct AwsKeys {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    place: AwsKeyPlace,
    life: TokenLife,
    origin: Arc<str>,
    clock: Arc<dyn Clock>,
    connector: Arc<Connector>,
    tape: Option<Arc<Tape>>,
}

impl AwsKeys {
    pub(super) fn new(config: &FetchedAwsKeys, parts: &Parts) -> Self {
        let inner = Inner {
            place: config.place.clone(),
            life: config.life.clone(),
            origin: origin(config.place.url()),
            clock: parts.clock.clone(),
            connector: parts.connector.clone(),
            tape: parts.tape.clone(),
        };
        AwsKeys { inner: Arc::new(inner) }
    }

    /// One attempt: asks, and reads the answer.
    pub(super) async fn attempt(&self, deadline: Instant) -> Result<Granted, Failure> {
        match &self.inner.place {
            AwsKeyPlace::Instance { url } => self.inner.of_the_instance(url, deadline).await,
            AwsKeyPlace::Container { url, authorization } => {
                self.inner.of_the_container(url, authorization.as_ref(), deadline).await
            }
            AwsKeyPlace::WebIdentity { url, role, token } => self.inner.for_a_token(url, role, token, deadline).await,
        }
    }
}

impl Inner {
    /// A session, the role's name, the role's keys. Without a session the first version of the protocol would answer, too,
    /// to whoever makes somebody on this machine ask: it is not tried.
    async fn of_the_instance(&self, server: &HttpUrl, deadline: Instant) -> Result<Granted, Failure> {
        let host = server.authority();
        let at = |path: &str| HttpUrl { path: format!("{}{path}", server.path), ..server.clone() };
        let header = HeaderMap::from_iter([(SESSION_TTL, SESSION_SECONDS)]);
        let begin = Asking { url: at("/latest/api/token"), method: Method::PUT, headers: header, body: Bytes::new() };
        let begun = self.ask(begin, deadline, None).await.map_err(hop_limit)?;
        let session = Secret::new(text_of(&begun, &host)?);
        let headers = HeaderMap::from_iter([(SESSION, header_of(&session, &host)?)]);
        let asking = |path: &str| Asking::get(at(path), headers.clone());
        let roles = self.ask(asking(ROLES), deadline, Some(&session)).await.map_err(no_role)?;
        // An instance has one role, or none.
        let role = text_of(&roles, &host)?.lines().next().unwrap_or_default().trim();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
        if role.is_empty() || role.len() > ROLE_BYTES_MAX || !role.bytes().all(legal) {
            return Err(failure(&host, "what it calls the instance's role is no role's name"));
        }
        let reply = self.ask(asking(&format!("{ROLES}{role}")), deadline, Some(&session)).await?;
        let keys = answer::keys(&reply, &host, Some(&session), self.clock.wall())?;
        Ok(answer::with_static_stability(keys))
    }

    /// With the container's proof, which is replaced as time goes by.
    async fn of_the_container(
        &self,
        url: &HttpUrl,
        authorization: Option<&FreshSecret>,
        deadline: Instant,
    ) -> Result<Granted, Failure> {
        let host = url.authority();
        let authorization = match authorization {
            Some(fresh) => Some(read(fresh, "its authorization token", &host, deadline).await?),
            None => None,
        };
        let header = authorization.as_ref().map(|secret| header_of(secret, &host)).transpose()?;
        let headers = header.into_iter().map(|value| (AUTHORIZATION, value)).collect();
        let reply = self.ask(Asking::get(url.clone(), headers), deadline, authorization.as_ref()).await?;
        answer::keys(&reply, &host, authorization.as_ref(), self.clock.wall())
    }

    /// `AssumeRoleWithWebIdentity` needs no signature. STS speaks XML unless it is asked for JSON.
    async fn for_a_token(
        &self,
        url: &HttpUrl,
        role: &str,
        token: &FreshSecret,
        deadline: Instant,
    ) -> Result<Granted, Failure> {
        let host = url.authority();
        let token = read(token, "the web identity token", &host, deadline).await?;
        let headers = HeaderMap::from_iter([(ACCEPT, JSON), (CONTENT_TYPE, FORM)]);
        let body = Bytes::from_owner(web_identity_form(role, &token));
        let asking = Asking { url: url.clone(), method: Method::POST, headers, body };
        let reply = self.ask(asking, deadline, Some(&token)).await.map_err(not_assumed)?;
        answer::keys_of_sts(&reply, &host, self.clock.wall())
    }

    /// Sends one request; an answer that is no success is a failure. `sent`: what must not be repeated in its text.
    async fn ask(&self, asking: Asking, deadline: Instant, sent: Option<&Secret>) -> Result<Reply, Failure> {
        let Asking { url, method, headers, body } = asking;
        let host = &url.authority();
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() =
            target(&url).map_err(|cause| Failure { kind: FetchErrorKind::Refused, ..failure(host, cause) })?;
        *request.headers_mut() = headers;
        let reach = Reach {
            client_certificate: None,
            tape: self.tape.as_deref(),
            connector: &self.connector,
            private: self.life.private,
            cleartext: self.life.cleartext,
            connect_timeout: self.life.timeouts.connect,
            deadline,
        };
        let reply = exchange(reach, &url, request).await;
        let reply = reply.map_err(|broken| Failure::unanswered(broken, Step::Token, host))?;
        if reply.status.is_success() {
            return Ok(reply);
        }
        // A session that ended meanwhile is begun anew by the next attempt.
        let passes = reply.status == StatusCode::UNAUTHORIZED && matches!(self.place, AwsKeyPlace::Instance { .. });
        Err(answer::refusal(&reply, host, sent, passes, self.clock.wall()))
    }
}

impl TokenCredential {
    /// Signs with what it fetches.
    pub(super) fn aws_keys(name: &Arc<str>, config: &FetchedAwsKeys, signer: Arc<Signer>, parts: &Parts) -> Self {
        let identity = parts.tokens.identity(&IdentityFields {
            credential: name,
            endpoint: &config.place.url().to_string(),
            grant: "aws_keys",
            subject: Some(role(&config.place)),
            ..IdentityFields::default()
        });
        // What proves us there is another one each time.
        let proof = parts.tokens.proof(&[]);
        let source = Arc::new(AwsKeys::new(config, parts));
        let fetched = TokenCredential::new(name, &config.life, identity, proof, source, parts);
        TokenCredential { names: signer.names().clone(), signer: Some(signer), ..fetched }
    }
}

impl Source for AwsKeys {
    fn fetch(&self, request: FetchRequest) -> FetchFuture {
        let source = self.clone();
        Box::pin(async move {
            let deadline = timer_now() + request.attempt_timeout;
            source.attempt(deadline).await.map_err(FetchError::from)
        })
    }

    fn origin(&self) -> Arc<str> {
        self.inner.origin.clone()
    }

    fn client_id(&self) -> &str {
        role(&self.inner.place)
    }
}

/// Whose keys they are, where that is said.
fn role(place: &AwsKeyPlace) -> &str {
    match place {
        AwsKeyPlace::WebIdentity { role, .. } => role,
        AwsKeyPlace::Instance { .. } | AwsKeyPlace::Container { .. } => "",
    }
}

/// One request.
struct Asking {
    url: HttpUrl,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

impl Asking {
    fn get(url: HttpUrl, headers: HeaderMap) -> Self {
        Asking { url, method: Method::GET, headers, body: Bytes::new() }
    }
}

fn web_identity_form(role: &str, token: &Secret) -> Zeroizing<Vec<u8>> {
    let fields = [("RoleArn", role), ("RoleSessionName", SESSION_NAME), ("WebIdentityToken", token.expose())];
    with_fields("Action=AssumeRoleWithWebIdentity&Version=2011-06-15", &fields)
}

/// One that may pass.
fn failure(host: &str, cause: impl Into<String>) -> Failure {
    Failure::new(FetchErrorKind::Transient, Step::Token, host, cause)
}

/// Reads what somebody else replaces as time goes by.
async fn read(fresh: &FreshSecret, what: &str, host: &str, deadline: Instant) -> Result<Secret, Failure> {
    let fresh = fresh.clone();
    let unread = |why: String| Failure { reached: Reached::No, ..failure(host, format!("{what} cannot be read{why}")) };
    match timeout_at(deadline, tokio::task::spawn_blocking(move || fresh.read())).await {
        Ok(Ok(Ok(secret))) => Ok(secret),
        Ok(Ok(Err(flaw))) => Err(unread(format!(": {}", flaw.message)).with_hint(flaw.hint)),
        Ok(Err(_)) => Err(unread(": attache is ending".to_owned())),
        Err(_) => Err(unread(" in time".to_owned())),
    }
}

/// Lent, since it may be secret.
fn text_of<'r>(reply: &'r Reply, host: &str) -> Result<&'r str, Failure> {
    let body = reply.body.as_ref().map_err(|why| failure(host, why.clone()))?;
    let text = std::str::from_utf8(body).map_err(|_| failure(host, "its answer is no text"))?.trim();
    if text.is_empty() {
        return Err(failure(host, "its answer is empty"));
    }
    Ok(text)
}

fn header_of(secret: &Secret, host: &str) -> Result<HeaderValue, Failure> {
    token::sensitive(secret.expose()).ok_or_else(|| failure(host, "what is to prove us there is no legal header value"))
}

/// Its answer to the first request does not pass a router unless it is told to.
fn hop_limit(failure: Failure) -> Failure {
    match failure.reached {
        Reached::Silent => failure.with_hint("in a container, the instance's metadata options need a hop limit of 2"),
        Reached::No => failure.with_hint("only an EC2 instance reaches it, unless its metadata options forbid it"),
        Reached::Answered => failure,
    }
}

fn no_role(failure: Failure) -> Failure {
    match failure.status {
        Some(StatusCode::NOT_FOUND) => failure.with_hint("the instance has no IAM role: give it an instance profile"),
        _ => failure,
    }
}

fn not_assumed(failure: Failure) -> Failure {
    match failure.code.as_deref() {
        Some("AccessDenied") => failure.with_hint(
            "check the role's trust policy: it has to name the token's issuer, and the `aud` and `sub` that the token has",
        ),
        Some("InvalidIdentityToken") => {
            failure.with_hint("check that the token's issuer is an identity provider of the role's account in IAM")
        }
        Some("ExpiredTokenException") => failure.with_hint("whoever writes the token's file has to replace it in time"),
        // It asked the token's issuer for its keys.
        Some("IDPCommunicationError") => Failure { kind: FetchErrorKind::Transient, ..failure },
        _ => failure,
    }
}
