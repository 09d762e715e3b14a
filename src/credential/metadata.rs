//! Tokens of cloud metadata servers. They ask for no proof: whoever reaches them is the machine.
//!
//! Azure: <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>,
//! <https://learn.microsoft.com/azure/app-service/overview-managed-identity>.
//! Google: <https://cloud.google.com/compute/docs/metadata/querying-metadata>,
//! <https://cloud.google.com/compute/docs/instances/verifying-instance-identity>.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::answer::{self, Asked};
use super::endpoint::{Reach, Reply, exchange, origin, target};
use super::failure::{Failure, Step, hint};
use super::tape::Tape;
use super::{Parts, TokenCredential};
use crate::clock::{Clock, timer_now};
use crate::config::{self, AnswerShape, Grant, HttpUrl, MetadataRequest, TokenEndpointAuthMethod, TokenLife};
use crate::secret::Secret;
use crate::token::{
    self, FetchError, FetchErrorKind, FetchFuture, FetchRequest, Granted, IdentityFields, Reached, Source,
};
use crate::upstream::Connector;

/// What Google's server wants of a request, and says of itself: no other server would.
const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");
const GOOGLE: HeaderValue = HeaderValue::from_static("Google");

/// The source of one credential's tokens. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// All of what is asked for, query included.
    url: HttpUrl,
    origin: Arc<str>,
    headers: HeaderMap,
    request: MetadataRequest,
    life: TokenLife,
    clock: Arc<dyn Clock>,
    connector: Arc<Connector>,
    tape: Option<Arc<Tape>>,
}

impl Metadata {
    pub(super) fn new(config: &config::Metadata, parts: &Parts) -> Self {
        let inner = Inner {
            url: url(&config.url, &config.request),
            origin: origin(&config.url),
            headers: headers(&config.request),
            request: config.request.clone(),
            life: config.life.clone(),
            clock: parts.clock.clone(),
            connector: parts.connector.clone(),
            tape: parts.tape.clone(),
        };
        Metadata { inner: Arc::new(inner) }
    }

    /// All of what is asked for, query included.
    pub(super) fn url(&self) -> &HttpUrl {
        &self.inner.url
    }

    /// What it is asked with, where it wants a secret.
    pub(super) fn secret(&self) -> Option<&Secret> {
        self.inner.secret()
    }

    /// One attempt: asks, and reads the answer.
    pub(super) async fn attempt(&self, deadline: Instant) -> Result<Granted, Failure> {
        let inner = &*self.inner;
        let host = &inner.url.authority();
        let failed = |cause| Failure::new(FetchErrorKind::Refused, Step::Token, host, cause);
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = target(&inner.url).map_err(failed)?;
        request.headers_mut().clone_from(&inner.headers);
        let reach = Reach {
            client_certificate: None,
            tape: inner.tape.as_deref(),
            connector: &inner.connector,
            private: inner.life.private,
            cleartext: inner.life.cleartext,
            connect_timeout: inner.life.timeouts.connect,
            deadline,
        };
        let reply = exchange(reach, &inner.url, request).await;
        let reply = reply.map_err(|broken| unanswered(Failure::unanswered(broken, Step::Token, host)))?;
        inner.read(&reply, host)
    }
}

impl Inner {
    fn secret(&self) -> Option<&Secret> {
        match &self.request {
            MetadataRequest::Azure { identity_header, .. } => identity_header.as_ref(),
            MetadataRequest::Google { .. } | MetadataRequest::GoogleIdentity { .. } => None,
        }
    }

    fn read(&self, reply: &Reply, host: &str) -> Result<Granted, Failure> {
        let success = reply.status.is_success();
        if success && !self.is_the_clouds(&reply.headers) {
            let cause = "it is not Google's metadata server: its answer lacks `Metadata-Flavor: Google`";
            let failure = Failure::new(FetchErrorKind::Refused, Step::Token, host, cause);
            return Err(failure.with_hint("check `provider`, and `url` if there is one"));
        }
        let asked = Asked {
            host,
            hint: &|status, code| hint(status, code, TokenEndpointAuthMethod::Public, &Grant::ClientCredentials),
            secrets: self.secret().into_iter().collect(),
            shape: &AnswerShape::default(),
            bound: false,
            wall: self.clock.wall(),
        };
        let granted = match &self.request {
            MetadataRequest::GoogleIdentity { .. } if success => answer::read(&in_json(reply), &asked),
            _ => answer::read(reply, &asked),
        };
        granted.map_err(|failure| self.explained(failure))
    }

    fn is_the_clouds(&self, headers: &HeaderMap) -> bool {
        match &self.request {
            MetadataRequest::Azure { .. } => true,
            MetadataRequest::Google { .. } | MetadataRequest::GoogleIdentity { .. } => {
                headers.get(FLAVOR) == Some(&GOOGLE)
            }
        }
    }

    /// What an answer means here, which is not always what a token endpoint means by it.
    fn explained(&self, failure: Failure) -> Failure {
        let Some(status) = failure.status.filter(|status| !status.is_success()) else { return failure };
        match (&self.request, status) {
            // Azure says so while its server is renewed, for at most 70 s.
            (MetadataRequest::Azure { .. }, StatusCode::NOT_FOUND | StatusCode::GONE) => {
                Failure { kind: FetchErrorKind::Transient, hint: None, ..failure }
                    .with_hint("it answers so while it is renewed, for about a minute")
            }
            (MetadataRequest::Azure { .. }, StatusCode::BAD_REQUEST) => failure.with_hint(
                "check `resource`, and that this machine has a managed identity; of several user-assigned ones, name one \
                 with `client_id`",
            ),
            (MetadataRequest::Azure { identity_header: Some(_), .. }, StatusCode::UNAUTHORIZED) => {
                failure.with_hint("check `identity_header`: it is what IDENTITY_HEADER holds, anew at every start")
            }
            (MetadataRequest::Google { .. } | MetadataRequest::GoogleIdentity { .. }, StatusCode::NOT_FOUND) => {
                failure.with_hint("this machine has no such service account: check `account`")
            }
            (MetadataRequest::Google { .. } | MetadataRequest::GoogleIdentity { .. }, StatusCode::FORBIDDEN) => {
                failure.with_hint("this machine or pod may not use the service account: check its IAM binding")
            }
            _ => Failure { hint: None, ..failure },
        }
    }
}

/// Elsewhere the address leads nowhere, and connecting to it takes its time.
fn unanswered(failure: Failure) -> Failure {
    if failure.reached != Reached::No || failure.hint.is_some() {
        return failure;
    }
    failure.with_hint(
        "only a machine in that cloud reaches it: check `provider`, and that this process may reach the address",
    )
}

/// An identity token is the whole body; as the member that it would be elsewhere, it is read as everywhere.
fn in_json(reply: &Reply) -> Reply {
    let body = reply.body.as_ref().map_err(String::clone).map(|body| {
        let text = Zeroizing::new(String::from_utf8_lossy(body.trim_ascii()).into_owned());
        Zeroizing::new(json!({ "access_token": *text }).to_string().into_bytes())
    });
    Reply { status: reply.status, headers: reply.headers.clone(), body }
}

fn url(server: &HttpUrl, request: &MetadataRequest) -> HttpUrl {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let path = match request {
        MetadataRequest::Azure { resource, client_id, identity_header } => {
            let app_service = identity_header.is_some();
            query.append_pair("api-version", if app_service { "2019-08-01" } else { "2018-02-01" });
            query.append_pair("resource", resource);
            if let Some(client_id) = client_id {
                query.append_pair("client_id", client_id);
            }
            if app_service { String::new() } else { "/metadata/identity/oauth2/token".to_owned() }
        }
        MetadataRequest::Google { account, scope } => {
            if !scope.is_empty() {
                query.append_pair("scopes", &scope.join(","));
            }
            format!("/computeMetadata/v1/instance/service-accounts/{account}/token")
        }
        MetadataRequest::GoogleIdentity { account, audience } => {
            query.append_pair("audience", audience).append_pair("format", "full");
            format!("/computeMetadata/v1/instance/service-accounts/{account}/identity")
        }
    };
    let query = query.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    HttpUrl { path: format!("{}{path}{mark}{query}", server.path), ..server.clone() }
}

fn headers(request: &MetadataRequest) -> HeaderMap {
    let (name, value) = match request {
        MetadataRequest::Azure { identity_header: Some(secret), .. } => (
            HeaderName::from_static("x-identity-header"),
            token::sensitive(secret.expose()).expect("the configuration takes no other secret for a header"),
        ),
        MetadataRequest::Azure { .. } => (HeaderName::from_static("metadata"), HeaderValue::from_static("true")),
        MetadataRequest::Google { .. } | MetadataRequest::GoogleIdentity { .. } => (FLAVOR, GOOGLE),
    };
    HeaderMap::from_iter([(name, value)])
}

impl TokenCredential {
    pub(super) fn metadata(name: &Arc<str>, config: &config::Metadata, parts: &Parts) -> Self {
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

impl Source for Metadata {
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
        match &self.inner.request {
            MetadataRequest::Azure { client_id, .. } => client_id.as_deref().unwrap_or_default(),
            MetadataRequest::Google { account, .. } | MetadataRequest::GoogleIdentity { account, .. } => account,
        }
    }
}
