//! Where an issuer's token endpoint is: RFC 8414 section 3, then OpenID Connect Discovery 1.0 section 4 (TL-38).

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests measure by the clock that they pause")]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;

use super::answer::retry_after;
use super::endpoint::{Broken, Reach, Reply, exchange, refuse_cleartext};
use super::failure::{Failure, Step, kind};
use crate::clock::{Boot, Clock, timer_now};
use crate::config::{HttpUrl, TokenEndpointAuthMethod};
use crate::token::{FetchErrorKind, Reached};

/// How long a discovered endpoint is used without asking again.
const KEPT: Duration = Duration::from_secs(3600);
/// After a failure while a good answer is at hand, the issuer is left alone for this long.
const KEPT_AFTER_FAILURE: Duration = Duration::from_secs(60);
/// While a good answer is at hand, asking again takes no more than this of the fetch's time.
const ASKING_AGAIN: Duration = Duration::from_secs(2);
/// More issuers than one process has; the stalest makes room.
const ISSUERS_MAX: usize = 1000;

/// What was discovered. Outlives reloads, so that the last good answer serves for ever.
#[derive(Default)]
pub struct DiscoveryCache {
    kept: Mutex<HashMap<Issuer, Kept>>,
}

impl fmt::Debug for DiscoveryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiscoveryCache")
    }
}

/// Whom to ask, and what of the answer is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Issuer {
    /// As configured: what the answer's `issuer` has to equal.
    pub name: String,
    pub url: HttpUrl,
    pub check: bool,
    pub cleartext: bool,
}

#[derive(Debug, Clone)]
struct Kept {
    discovered: Arc<Discovered>,
    ask_again_at: Boot,
}

/// An issuer's token endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Discovered {
    pub token_endpoint: HttpUrl,
    /// For clients that show a certificate (RFC 8705 section 5).
    pub mtls_token_endpoint: Option<HttpUrl>,
    /// The first of basic and post that it lists, else basic.
    pub auth_method: TokenEndpointAuthMethod,
}

impl DiscoveryCache {
    /// The issuer's endpoint: remembered, or asked for within the fetch's own deadline.
    pub(super) async fn find(
        &self,
        issuer: &Issuer,
        reach: Reach<'_>,
        clock: &dyn Clock,
    ) -> Result<Arc<Discovered>, Failure> {
        let kept = self.lock().get(issuer).cloned();
        let deadline = match &kept {
            Some(kept) if clock.now() < kept.ask_again_at => return Ok(kept.discovered.clone()),
            Some(_) => reach.deadline.min(timer_now() + ASKING_AGAIN),
            None => reach.deadline,
        };
        match (ask(issuer, Reach { deadline, ..reach }, clock).await, kept) {
            (Ok(discovered), _) => Ok(self.keep(issuer, Arc::new(discovered), clock.now().after(KEPT))),
            (Err(failure), Some(kept)) => {
                tracing::warn!("{}; what it said last is used", failure.text());
                Ok(self.keep(issuer, kept.discovered, clock.now().after(KEPT_AFTER_FAILURE)))
            }
            (Err(failure), None) => Err(failure),
        }
    }

    /// What is remembered of the issuer, however old.
    pub(super) fn known(&self, issuer: &Issuer) -> Option<Arc<Discovered>> {
        self.lock().get(issuer).map(|kept| kept.discovered.clone())
    }

    /// Asks anew at the next fetch: the endpoint is gone.
    pub(super) fn doubt(&self, issuer: &Issuer) {
        if let Some(kept) = self.lock().get_mut(issuer) {
            kept.ask_again_at = Boot::default();
        }
    }

    fn keep(&self, issuer: &Issuer, discovered: Arc<Discovered>, ask_again_at: Boot) -> Arc<Discovered> {
        let mut all = self.lock();
        if all.len() >= ISSUERS_MAX && !all.contains_key(issuer) {
            let stalest = all.iter().min_by_key(|(_, kept)| kept.ask_again_at).map(|(issuer, _)| issuer.clone());
            stalest.map(|stalest| all.remove(&stalest));
        }
        all.insert(issuer.clone(), Kept { discovered: discovered.clone(), ask_again_at });
        discovered
    }

    /// Nothing in here can be left half done by a panic.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Issuer, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks at both places. Without any answer at the first, the second, on the same host, is not tried.
async fn ask(issuer: &Issuer, reach: Reach<'_>, clock: &dyn Clock) -> Result<Discovered, Failure> {
    let [first, second] = places(&issuer.url);
    let failed = |broken| Failure::unanswered(broken, Step::Discovery, &issuer.url.authority());
    let one = match document(&first, reach, issuer, clock).await {
        Ok(Ok(discovered)) => return Ok(discovered),
        Ok(Err(wrong)) => wrong,
        Err(broken) => return Err(failed(broken)),
    };
    let other = match document(&second, reach, issuer, clock).await {
        Ok(Ok(discovered)) => return Ok(discovered),
        Ok(Err(wrong)) => wrong,
        Err(broken) => return Err(failed(broken)),
    };
    // Whatever may pass by itself keeps the other from counting as final.
    let kind = if one.kind == FetchErrorKind::Refused { other.kind } else { one.kind };
    let cause = format!("{}: {}; {}: {}", first.path, one.cause, second.path, other.cause);
    Err(failed(Broken { kind, reached: Reached::Answered, cause, hint: other.hint.or(one.hint) }))
}

/// RFC 8414 puts its suffix between host and path, OpenID puts its own behind the path.
fn places(issuer: &HttpUrl) -> [HttpUrl; 2] {
    let path = issuer.path.split('?').next().unwrap_or_default().trim_end_matches('/');
    let at = |path: String| HttpUrl { path, ..issuer.clone() };
    [
        at(format!("/.well-known/oauth-authorization-server{path}")),
        at(format!("{path}/.well-known/openid-configuration")),
    ]
}

/// Asks at one place. The outer error: no answer at all; the inner: no good one.
async fn document(
    place: &HttpUrl,
    reach: Reach<'_>,
    issuer: &Issuer,
    clock: &dyn Clock,
) -> Result<Result<Discovered, Broken>, Broken> {
    let mut request = Request::new(Full::new(Bytes::new()));
    // A path that was parsed as part of a URL is a legal target; if not, the request for it is refused below.
    let Ok(target) = place.path.parse() else {
        return Ok(Err(wrong("the issuer's path is no legal request target")));
    };
    *request.uri_mut() = target;
    let reply = exchange(reach, place, request).await?;
    Ok(read(&reply, issuer, clock))
}

/// Reads a metadata document (RFC 8414 section 2; OpenID's has the same members).
fn read(reply: &Reply, issuer: &Issuer, clock: &dyn Clock) -> Result<Discovered, Broken> {
    if reply.status != StatusCode::OK {
        let kind = kind(reply.status, None, retry_after(&reply.headers, clock.wall()));
        let not_followed = if reply.status.is_redirection() { " (redirects are not followed)" } else { "" };
        let cause = format!("it answered {}{not_followed}", reply.status);
        return Err(Broken { kind, reached: Reached::Answered, cause, hint: None });
    }
    let body = reply.body.as_ref().map_err(|unreadable| transient(unreadable))?;
    let Ok(metadata @ Value::Object(_)) = serde_json::from_slice::<Value>(body) else {
        return Err(transient("it answered 200, but not with a JSON object"));
    };
    if issuer.check && metadata.get("issuer").and_then(Value::as_str) != Some(&issuer.name) {
        return Err(other_issuer(&metadata));
    }
    let token_endpoint = endpoint(&metadata, issuer)?.ok_or_else(|| wrong("it names no token_endpoint"))?;
    // An alias that cannot be used is none: most clients have no need of it.
    let aliases = metadata.get("mtls_endpoint_aliases");
    let mtls_token_endpoint = aliases.and_then(|aliases| endpoint(aliases, issuer).ok().flatten());
    Ok(Discovered { token_endpoint, mtls_token_endpoint, auth_method: auth_method(&metadata) })
}

/// The `token_endpoint` among these members, if there is one.
fn endpoint(members: &Value, issuer: &Issuer) -> Result<Option<HttpUrl>, Broken> {
    let Some(endpoint) = members.get("token_endpoint").and_then(Value::as_str) else { return Ok(None) };
    let endpoint = HttpUrl::parse(endpoint).map_err(|_| wrong("its token_endpoint is no http(s) URL"))?;
    check_endpoint(&endpoint, issuer)?;
    Ok(Some(endpoint))
}

/// RFC 8414 section 3.3: else the answer is somebody else's, and the secret would go to him.
fn other_issuer(metadata: &Value) -> Broken {
    let named = metadata.get("issuer").and_then(Value::as_str).unwrap_or_default();
    let shown: String = named.chars().filter(|char| char.is_ascii_graphic()).take(200).collect();
    Broken {
        kind: FetchErrorKind::Refused,
        reached: Reached::Answered,
        cause: format!("its issuer is \"{shown}\", not the configured one"),
        hint: Some(
            "`issuer` has to be written exactly as the server writes it, a slash at the end included; \
             `issuer_check = false` is for issuers with a placeholder, such as Microsoft's `common`",
        ),
    }
}

/// The operator wrote down the issuer and not the endpoint: an address in the document speaks only for a neighbour, so
/// that no document sends the secret to a service of this machine or network.
fn check_endpoint(endpoint: &HttpUrl, issuer: &Issuer) -> Result<(), Broken> {
    refuse_cleartext(endpoint, issuer.cleartext)?;
    let is_address = endpoint.ip.is_some() || endpoint.is_loopback();
    let is_neighbour = endpoint.host == issuer.url.host || (endpoint.is_loopback() && issuer.url.is_loopback());
    if is_address && !is_neighbour {
        return Err(wrong("its token_endpoint is an address and not a name; to use it, configure it as token_url"));
    }
    Ok(())
}

/// The first of basic and post that the server lists, else basic, which is the default (RFC 8414 section 2).
fn auth_method(metadata: &Value) -> TokenEndpointAuthMethod {
    let listed = metadata.get("token_endpoint_auth_methods_supported").and_then(Value::as_array);
    let lists = |name: &str| listed.is_some_and(|listed| listed.iter().any(|method| method.as_str() == Some(name)));
    if !lists("client_secret_basic") && lists("client_secret_post") {
        TokenEndpointAuthMethod::ClientSecretPost
    } else {
        TokenEndpointAuthMethod::ClientSecretBasic
    }
}

fn wrong(cause: &str) -> Broken {
    Broken { kind: FetchErrorKind::Refused, reached: Reached::Answered, cause: cause.to_owned(), hint: None }
}

fn transient(cause: &str) -> Broken {
    Broken { kind: FetchErrorKind::Transient, reached: Reached::Answered, cause: cause.to_owned(), hint: None }
}
