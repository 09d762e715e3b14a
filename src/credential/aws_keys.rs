//! Temporary AWS keys, for whoever signs with them: those of an instance's role, from its metadata server (IMDSv2), and those of
//! a container's or pod's role, from the endpoint that ECS or EKS names.
//!
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html>,
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, DATE};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use super::Parts;
use super::answer::{check_token, retry_after};
use super::endpoint::{Reach, Reply, exchange};
use super::failure::{Failure, Step, kind};
use super::oauth2::target;
use super::reflection::Reflections;
use crate::clock::Clock;
use crate::config::{AnswerShape, AwsKeyPlace, HttpUrl};
use crate::secret::Secret;
use crate::token::lifetime::lifetime;
use crate::token::{FetchErrorKind, Reached};
use crate::upstream::Connector;

/// What the metadata server wants of the first request: how long the session is to live, and then the session.
const SESSION_TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const SESSION: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
/// Each fetch begins a session, and needs it for two requests.
const SESSION_SECONDS: HeaderValue = HeaderValue::from_static("60");
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

const ROLE_BYTES_MAX: usize = 128;
const SAID_BYTES_MAX: usize = 200;

/// Keys that sign until they are over.
#[derive(Debug)]
pub struct TemporaryKeys {
    /// It is no secret.
    pub access_key_id: String,
    pub secret_access_key: Secret,
    /// Sent as `X-Amz-Security-Token` with what is signed.
    pub session_token: Secret,
    /// From now; `None`: the answer named no end. Zero: they are over already.
    pub lifetime: Option<Duration>,
}

/// Where they come from.
#[derive(Debug, Clone)]
pub struct AwsKeys {
    place: AwsKeyPlace,
    connect_timeout: Duration,
    clock: Arc<dyn Clock>,
    connector: Arc<Connector>,
}

impl AwsKeys {
    /// `connect_timeout` bounds each of at most three connections.
    pub fn new(place: &AwsKeyPlace, connect_timeout: Duration, parts: &Parts) -> Self {
        AwsKeys {
            place: place.clone(),
            connect_timeout,
            clock: parts.clock.clone(),
            connector: parts.connector.clone(),
        }
    }

    /// One attempt, until `deadline` at most.
    ///
    /// # Errors
    /// Says whether it passes by itself or needs an operator, such as one that gives the instance a role.
    pub async fn attempt(&self, deadline: Instant) -> Result<TemporaryKeys, Failure> {
        match &self.place {
            AwsKeyPlace::Instance { url } => self.of_the_instance(url, deadline).await,
            AwsKeyPlace::Container { url, .. } => {
                let authorization = self.authorization(deadline).await?;
                let asking = Asking { url: url.clone(), method: Method::GET, header: None };
                let header = authorization.as_ref().map(|secret| header_of(secret, &url.authority())).transpose()?;
                let asking = Asking { header: header.map(|value| (AUTHORIZATION, value)), ..asking };
                let reply = self.ask(asking, deadline, authorization.as_ref()).await?;
                self.keys(&reply, &url.authority(), authorization.as_ref())
            }
        }
    }

    /// A session, the role's name, the role's keys.
    async fn of_the_instance(&self, server: &HttpUrl, deadline: Instant) -> Result<TemporaryKeys, Failure> {
        let host = server.authority();
        let at = |path: &str| HttpUrl { path: format!("{}{path}", server.path), ..server.clone() };
        let header = Some((SESSION_TTL, SESSION_SECONDS));
        let begin = Asking { url: at("/latest/api/token"), method: Method::PUT, header };
        let begun = self.ask(begin, deadline, None).await.map_err(hop_limit)?;
        let session = Secret::new(text_of(&begun, &host)?);
        let header = Some((SESSION, header_of(&session, &host)?));
        let asking = |path: &str| Asking { url: at(path), method: Method::GET, header: header.clone() };
        let roles = self.ask(asking(ROLES), deadline, Some(&session)).await.map_err(no_role)?;
        // An instance has one role, or none.
        let role = text_of(&roles, &host)?.lines().next().unwrap_or_default().trim().to_owned();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
        if role.is_empty() || role.len() > ROLE_BYTES_MAX || !role.bytes().all(legal) {
            return Err(failure(
                FetchErrorKind::Transient,
                &host,
                "what it calls the instance's role is no role's name",
            ));
        }
        let reply = self.ask(asking(&format!("{ROLES}{role}")), deadline, Some(&session)).await?;
        self.keys(&reply, &host, Some(&session))
    }

    /// The container's proof, which is replaced as time goes by.
    async fn authorization(&self, deadline: Instant) -> Result<Option<Secret>, Failure> {
        let AwsKeyPlace::Container { url, authorization: Some(fresh) } = &self.place else { return Ok(None) };
        let (fresh, host) = (fresh.clone(), url.authority());
        let unread = |why: String| Failure {
            reached: Reached::No,
            ..failure(FetchErrorKind::Transient, &host, format!("its authorization token cannot be read{why}"))
        };
        match timeout_at(deadline, tokio::task::spawn_blocking(move || fresh.read())).await {
            Ok(Ok(Ok(secret))) => Ok(Some(secret)),
            Ok(Ok(Err(flaw))) => Err(unread(format!(": {}", flaw.message)).with_hint(flaw.hint)),
            Ok(Err(_)) => Err(unread(": attache is ending".to_owned())),
            Err(_) => Err(unread(" in time".to_owned())),
        }
    }

    /// Sends one request; an answer that is no success is a failure.
    async fn ask(&self, asking: Asking, deadline: Instant, sent: Option<&Secret>) -> Result<Reply, Failure> {
        let Asking { url, method, header } = asking;
        let host = &url.authority();
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.method_mut() = method;
        *request.uri_mut() = target(&url).map_err(|cause| failure(FetchErrorKind::Refused, host, cause))?;
        request.headers_mut().extend(header);
        let reach = Reach {
            client_certificate: None,
            tape: None,
            connector: &self.connector,
            private: false,
            // It stays on this machine's link.
            cleartext: url.is_link_local(),
            connect_timeout: self.connect_timeout,
            deadline,
        };
        let reply = exchange(reach, &url, request).await;
        let reply = reply.map_err(|broken| Failure::unanswered(broken, Step::Token, host))?;
        if reply.status.is_success() {
            return Ok(reply);
        }
        let kind = match reply.status {
            // The session ended meanwhile.
            StatusCode::UNAUTHORIZED if matches!(self.place, AwsKeyPlace::Instance { .. }) => FetchErrorKind::Transient,
            status => kind(status, None, retry_after(&reply.headers, self.clock.wall())),
        };
        let said = reply.body.as_ref().ok().and_then(|body| std::str::from_utf8(body).ok());
        let secrets: Vec<&Secret> = sent.into_iter().collect();
        let said = said.and_then(|said| Reflections::of(&secrets).quotable(said.trim(), SAID_BYTES_MAX));
        let said = said.filter(|said| !said.is_empty()).map(|said| format!(" and says \"{said}\"")).unwrap_or_default();
        let cause = format!("it answered {}{said}", reply.status);
        Err(Failure { status: Some(reply.status), ..failure(kind, host, cause) })
    }

    /// Both kinds of server answer alike. `sent`: what must not be repeated in a failure's text.
    fn keys(&self, reply: &Reply, host: &str, sent: Option<&Secret>) -> Result<TemporaryKeys, Failure> {
        let unreadable =
            |what: String| failure(FetchErrorKind::Transient, host, format!("its answer has no keys: {what}"));
        let body = reply.body.as_ref().map_err(|why| unreadable(why.clone()))?;
        let Ok(Value::Object(mut members)) = serde_json::from_slice(body) else {
            return Err(unreadable("it is no JSON object".to_owned()));
        };
        refuse_unsuccessful(&members, host, sent)?;
        let date = reply.headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let shape = AnswerShape { lifetime: Some("Expiration".into()), ..AnswerShape::default() };
        let mut take = |name: &str| match members.remove(name) {
            // Moved, so that no copy of it is left behind.
            Some(Value::String(text)) => {
                let text = Secret::new(text);
                check_token(text.expose()).map_err(|_| unreadable(format!("`{name}` cannot be sent")))?;
                Ok(text)
            }
            _ => Err(unreadable(format!("`{name}` is missing"))),
        };
        let access_key_id = take("AccessKeyId")?.expose().to_owned();
        let (secret_access_key, session_token) = (take("SecretAccessKey")?, take("Token")?);
        let lifetime = lifetime(&Value::Object(members), &shape, "", date, self.clock.wall());
        Ok(TemporaryKeys { access_key_id, secret_access_key, session_token, lifetime })
    }
}

/// One request.
struct Asking {
    url: HttpUrl,
    method: Method,
    header: Option<(HeaderName, HeaderValue)>,
}

fn failure(kind: FetchErrorKind, host: &str, cause: impl Into<String>) -> Failure {
    Failure::new(kind, Step::Token, host, cause)
}

/// The metadata server says in a 200 why there are no keys, such as `AssumeRoleUnauthorizedAccess`.
fn refuse_unsuccessful(members: &Map<String, Value>, host: &str, sent: Option<&Secret>) -> Result<(), Failure> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let Some(code) = text("Code").filter(|code| *code != "Success") else { return Ok(()) };
    let secrets: Vec<&Secret> = sent.into_iter().collect();
    let quoted = |text: &str| Reflections::of(&secrets).quotable(text, SAID_BYTES_MAX).unwrap_or_default();
    let says = text("Message").map(quoted).filter(|says| !says.is_empty());
    let says = says.map(|says| format!(" and says \"{says}\"")).unwrap_or_default();
    let cause = format!("it gives no keys, with the error {}{says}", quoted(code));
    Err(failure(FetchErrorKind::Refused, host, cause)
        .with_hint("check the role's trust policy: the instance has to be able to take it"))
}

fn text_of(reply: &Reply, host: &str) -> Result<String, Failure> {
    let body = reply.body.as_ref().map_err(|why| failure(FetchErrorKind::Transient, host, why.clone()))?;
    let text = String::from_utf8_lossy(body).trim().to_owned();
    if text.is_empty() {
        return Err(failure(FetchErrorKind::Transient, host, "its answer is empty"));
    }
    Ok(text)
}

fn header_of(secret: &Secret, host: &str) -> Result<HeaderValue, Failure> {
    let illegal = |_| failure(FetchErrorKind::Transient, host, "what is to prove us there is no legal header value");
    let mut value = HeaderValue::from_str(secret.expose()).map_err(illegal)?;
    value.set_sensitive(true);
    Ok(value)
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
