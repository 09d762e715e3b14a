//! Logins that are no OAuth 2.0: requests one after the other, as they are declared.

mod request;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use tokio::time::Instant;

use super::answer::{self, Asked};
use super::endpoint::{Reach, exchange, origin};
use super::failure::{Failure, Step};
use super::tape::Tape;
use super::{Parts, TokenCredential};
use crate::clock::{Clock, timer_now};
use crate::config::{self, LoginRequest, LoginStep};
use crate::secret::Secret;
use crate::token::{FetchError, FetchErrorKind, FetchFuture, FetchRequest, Granted, IdentityFields, Source};
use crate::upstream::Connector;

/// How the requests of a renewal call what they send.
const REFRESH_TOKEN: &str = "refresh_token";

/// The source of one credential's tokens. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Login {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The credential's: nothing else tells for certain who logs in.
    name: Arc<str>,
    origin: Arc<str>,
    config: Arc<config::Login>,
    clock: Arc<dyn Clock>,
    connector: Arc<Connector>,
    tape: Option<Arc<Tape>>,
    /// What the last answer left for the next renewal. Ends with the process, and with a reload: then it is logged in.
    held: Mutex<Option<Held>>,
}

/// What a renewal takes, and what is attached beside the token that it brings.
#[derive(Debug)]
struct Held {
    refresh_token: Secret,
    /// All that the login was answered, the token among it.
    values: BTreeMap<String, Secret>,
}

impl Login {
    pub(super) fn new(name: &Arc<str>, config: &Arc<config::Login>, parts: &Parts) -> Self {
        let origin = config.steps.first().map_or_else(|| name.clone(), |step| origin(&step.request.origin));
        let inner = Inner {
            name: name.clone(),
            origin,
            config: config.clone(),
            clock: parts.clock.clone(),
            connector: parts.connector.clone(),
            tape: parts.tape.clone(),
            held: Mutex::default(),
        };
        Login { inner: Arc::new(inner) }
    }

    /// One attempt: every step, from the first.
    pub(super) async fn attempt(&self, deadline: Instant) -> Result<Granted, Failure> {
        let steps = &self.inner.config.steps;
        let mut values = BTreeMap::new();
        let mut granted: Option<Granted> = None;
        for (number, step) in steps.iter().enumerate() {
            let done = self.step(step, &mut values, deadline).await;
            let done = done.map_err(|failure| match steps.len() {
                1 => failure,
                count => Failure { cause: format!("in step {} of {count}, {}", number + 1, failure.cause), ..failure },
            });
            granted = done?.or(granted);
        }
        let granted = granted.ok_or_else(|| self.without_token())?;
        Ok(self.keep(values, granted))
    }

    /// One attempt of a credential that may have logged in before: by its refresh token, or from the first step. After one
    /// that failed there is a login, which takes nobody: who is answered 500, or nothing, does not know what has become of the
    /// refresh token, and would be for ever if it was that. Only a request to wait leaves it in force.
    async fn renewed(&self, deadline: Instant) -> Result<Granted, Failure> {
        let held = self.held().take();
        if let (Some(refresh), Some(held)) = (&self.inner.config.refresh, held) {
            match self.refresh(refresh, &held, deadline).await {
                Ok(granted) => return Ok(granted),
                Err(failure) if failure.status == Some(StatusCode::TOO_MANY_REQUESTS) => {
                    *self.held() = Some(held);
                    return Err(failure);
                }
                Err(failure) if !is_refused(&failure) => return Err(failure),
                Err(failure) => {
                    let error = failure.text();
                    tracing::info!(credential = &*self.inner.name, error, "the refresh token is of no use, logging in");
                }
            }
        }
        self.attempt(deadline).await
    }

    async fn refresh(&self, refresh: &LoginStep, held: &Held, deadline: Instant) -> Result<Granted, Failure> {
        let mut values = held.values.clone();
        values.insert(REFRESH_TOKEN.to_owned(), held.refresh_token.clone());
        let granted = self.step(refresh, &mut values, deadline).await;
        let granted =
            granted.map_err(|failure| Failure { cause: format!("renewing, {}", failure.cause), ..failure })?;
        let granted = granted.ok_or_else(|| self.without_token())?;
        Ok(self.keep(values, granted))
    }

    /// What of an attempt's values goes with its token, and what stays here for the next one.
    fn keep(&self, mut values: BTreeMap<String, Secret>, granted: Granted) -> Granted {
        if self.inner.config.refresh.is_some()
            && let Some(refresh_token) = values.remove(REFRESH_TOKEN)
        {
            *self.held() = Some(Held { refresh_token, values: values.clone() });
        }
        values.remove("token");
        Granted { further: values, ..granted }
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.inner.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn without_token(&self) -> Failure {
        let cause = "none of its steps brings a token";
        Failure::new(FetchErrorKind::Refused, Step::Token, &self.inner.origin, cause)
    }

    /// One request. What its answer holds is added to the values.
    async fn step(
        &self,
        step: &LoginStep,
        values: &mut BTreeMap<String, Secret>,
        deadline: Instant,
    ) -> Result<Option<Granted>, Failure> {
        let (url, inner) = (&step.request.origin, &*self.inner);
        let host = &url.authority();
        let request = request::of(&step.request, values)
            .map_err(|cause| Failure::new(FetchErrorKind::Refused, Step::Token, host, cause))?;
        let life = &self.inner.config.life;
        let reach = Reach {
            connector: &inner.connector,
            private: life.private,
            cleartext: life.cleartext,
            client_certificate: None,
            connect_timeout: life.timeouts.connect,
            deadline,
            tape: inner.tape.as_deref(),
        };
        let reply = exchange(reach, url, request).await;
        let reply = reply.map_err(|broken| Failure::unanswered(broken, Step::Token, host))?;
        let asked = Asked {
            host,
            hint: &hint,
            secrets: step.request.secrets().into_iter().chain(values.values()).collect(),
            bound: false,
            shape: &step.answer,
            wall: inner.clock.wall(),
        };
        // As in RFC 6749 section 6, an answer without one leaves the one before it in force.
        let may_renew = inner.config.refresh.is_some() && (step.has_token || step.answer.refresh_token.is_some());
        let refresh_token = may_renew.then(|| answer::refresh_token(&reply, &asked)).flatten();
        let refresh_token = refresh_token.map(|refresh_token| (REFRESH_TOKEN.to_owned(), refresh_token));
        if !step.has_token {
            let further = answer::read_values(&reply, &asked)?;
            values.extend(further.into_iter().chain(refresh_token));
            return Ok(None);
        }
        let granted = answer::read(&reply, &asked)?;
        values.extend(granted.further.clone().into_iter().chain(refresh_token));
        values.insert("token".to_owned(), granted.value.clone());
        Ok(Some(granted))
    }
}

/// Whether the server has answered a renewal, and not with trouble of its own: then there is no reason to wait with the login.
fn is_refused(failure: &Failure) -> bool {
    failure.kind.is_lasting() || failure.status.is_some_and(|status| status.is_success())
}

/// The likely cause of what a login was answered.
fn hint(status: StatusCode, _code: Option<&str>) -> Option<String> {
    let hint = match status.as_u16() {
        300..=399 => "redirects are not followed: put the final address into `url`",
        401 | 403 => {
            "check the `values` that log in, and where the server wants them: `basic`, `headers`, `form` or `json`"
        }
        404 | 405 | 410 => "check `url` and `method`",
        400 | 422 => "check the members of the request, and that the server wants it as `form` or as `json`",
        406 | 415 => "the server wants the request as `form` or as `json`, or another `Accept` among `headers`",
        _ => return None,
    };
    Some(hint.to_owned())
}

impl TokenCredential {
    pub(super) fn login(name: &Arc<str>, config: &Arc<config::Login>, parts: &Parts) -> Self {
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
}

impl Source for Login {
    fn fetch(&self, request: FetchRequest) -> FetchFuture {
        let source = self.clone();
        Box::pin(async move {
            let deadline = timer_now() + request.attempt_timeout;
            source.renewed(deadline).await.map_err(FetchError::from)
        })
    }

    fn origin(&self) -> Arc<str> {
        self.inner.origin.clone()
    }

    fn client_id(&self) -> &str {
        &self.inner.name
    }
}
