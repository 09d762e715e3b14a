//! The token requests of the grants: RFC 6749 section 4, with the extensions that servers ask for.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use ring::error::Unspecified;
use zeroize::Zeroizing;

use super::assertion::{ASSERTION_TYPE, client_assertion, grant_assertion};
use super::{github_app, lacking_claims};
use crate::config::{self, ClientProof, DPOP, FreshSecret, Grant, HttpUrl, TokenEndpointAuthMethod};
use crate::secret::Secret;
use crate::token;

/// OpenID Connect Core section 5.5.
const CLAIMS: &str = "claims";

/// Everything of the request but the address, and how the client authenticates.
#[derive(Debug)]
pub(super) struct TokenRequest {
    client_id: String,
    proof: ClientProof,
    grant: Grant,
    /// What is the same in each request: the form without what is secret, and without the client's own fields; or JSON.
    fixed: String,
    /// `claims` of the configured parameters.
    claims: Option<String>,
}

/// What was signed for one request.
#[derive(Debug, Default)]
pub(super) struct Signed {
    /// What proves the client, if it is not the secret itself.
    client: Option<Secret>,
    /// What the grant presents, if that is an assertion of our own or the token of whoever a request is for.
    grant: Option<Secret>,
    /// What proves that we have the key which the token will be bound to.
    pub(super) proof: Option<Secret>,
}

impl Signed {
    /// With an assertion of somebody else's for the client.
    pub(super) fn with_client(self, assertion: Secret) -> Self {
        Signed { client: Some(assertion), ..self }
    }

    /// With the token of this subject, if there is one, for the grant.
    pub(super) fn with_subject(self, token: Option<&Secret>) -> Self {
        Signed { grant: token.cloned().or(self.grant), ..self }
    }
}

impl TokenRequest {
    pub(super) fn new(config: &config::OAuth2) -> Self {
        TokenRequest {
            client_id: config.client_id.clone(),
            proof: config.proof.clone(),
            grant: config.grant.clone(),
            fixed: match &config.grant {
                Grant::GithubApp(app) => github_app::body(app),
                grant => form(config, grant.grant_type()),
            },
            claims: config.parameters.get(CLAIMS).cloned(),
        }
    }

    pub(super) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Whom the server counts the requests of.
    pub(super) fn client_id(&self) -> &str {
        match &self.grant {
            Grant::JwtBearer(grant) if self.client_id.is_empty() => &grant.issuer,
            _ => &self.client_id,
        }
    }

    /// The secret that client and server share.
    fn client_secret(&self) -> Option<&Secret> {
        match &self.proof {
            ClientProof::Nothing => None,
            ClientProof::Secret(secret) => Some(secret),
            ClientProof::Assertion(assertion) => assertion.key.shared_secret(),
            ClientProof::ForeignAssertion(_) => None,
        }
    }

    /// The secret, where it is sent as it is.
    pub(super) fn sent_secret(&self) -> Option<&Secret> {
        match &self.proof {
            ClientProof::Secret(secret) => Some(secret),
            ClientProof::Nothing | ClientProof::Assertion(_) | ClientProof::ForeignAssertion(_) => None,
        }
    }

    /// Where the assertion is read from, if somebody else makes it.
    pub(super) fn foreign_assertion(&self) -> Option<&FreshSecret> {
        match &self.proof {
            ClientProof::ForeignAssertion(fresh) => Some(fresh),
            ClientProof::Nothing | ClientProof::Secret(_) | ClientProof::Assertion(_) => None,
        }
    }

    /// Whether the two spellings of Basic differ for this client.
    pub(super) fn is_changed_by_encoding(&self) -> bool {
        let changed = |text: &str| !form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().eq(text);
        changed(&self.client_id) || self.sent_secret().is_some_and(|secret| changed(secret.expose()))
    }

    /// Signs what this request needs. `now` is the wall clock's.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub(super) fn sign(&self, token_url: &HttpUrl, now: SystemTime) -> Result<Signed, Unspecified> {
        let mut signed = Signed::default();
        if let ClientProof::Assertion(config) = &self.proof {
            signed.client = Some(client_assertion(config, &self.client_id, token_url, now)?);
        }
        signed.grant = match &self.grant {
            Grant::ClientCredentials | Grant::RefreshToken { .. } | Grant::Fields(_) => None,
            Grant::JwtBearer(grant) => Some(grant_assertion(grant, token_url, now)?),
            Grant::GithubApp(app) => Some(github_app::assertion(app, &self.client_id, now)?),
        };
        Ok(signed)
    }

    /// Whatever of a request must not be repeated to anybody.
    pub(super) fn secrets<'a>(&'a self, signed: &'a Signed) -> Vec<&'a Secret> {
        let presented: &[(String, Secret)] = match &self.grant {
            Grant::Fields(grant) => &grant.secret,
            Grant::ClientCredentials | Grant::RefreshToken { .. } | Grant::JwtBearer(_) | Grant::GithubApp(_) => &[],
        };
        let presented = presented.iter().map(|(_, secret)| secret);
        self.client_secret()
            .into_iter()
            .chain(presented)
            .chain(&signed.client)
            .chain(&signed.grant)
            .chain(&signed.proof)
            .collect()
    }

    /// The request to send to this target. `lacking`: claims that an upstream misses in the last token.
    pub(super) fn to(
        &self,
        target: Uri,
        method: TokenEndpointAuthMethod,
        signed: &Signed,
        refresh_token: Option<&Secret>,
        lacking: Option<&str>,
    ) -> Request<Full<Bytes>> {
        if let (Grant::GithubApp(_), Some(assertion)) = (&self.grant, &signed.grant) {
            return github_app::request(target, &self.fixed, assertion);
        }
        let mut request = Request::new(Full::new(Bytes::from_owner(self.body(method, signed, refresh_token, lacking))));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        if let Some(authorization) = self.authorization(method) {
            headers.insert(AUTHORIZATION, authorization);
        }
        if let Some(proof) = &signed.proof {
            headers.insert(&DPOP, token::sensitive(proof.expose()).expect("a JWT is a legal header value"));
        }
        request
    }

    fn body(
        &self,
        method: TokenEndpointAuthMethod,
        signed: &Signed,
        refresh_token: Option<&Secret>,
        lacking: Option<&str>,
    ) -> Zeroizing<Vec<u8>> {
        let claims = lacking_claims::asked_for(self.claims.as_deref(), lacking);
        let mut fields = self.presented(signed);
        fields.extend(claims.as_deref().map(|claims| (CLAIMS, claims)));
        fields.extend(refresh_token.map(|token| ("refresh_token", token.expose())));
        fields.extend(self.own_fields(method, signed.client.as_ref()));
        with_fields(&self.fixed, &fields)
    }

    /// The fields that the grant presents, of those that may be secret.
    fn presented<'a>(&'a self, signed: &'a Signed) -> Vec<(&'a str, &'a str)> {
        match &self.grant {
            Grant::ClientCredentials | Grant::RefreshToken { .. } | Grant::GithubApp(_) => Vec::new(),
            Grant::JwtBearer(_) => signed.grant.iter().map(|assertion| ("assertion", assertion.expose())).collect(),
            Grant::Fields(grant) => {
                let subject = signed.grant.iter().map(|subject| ("subject_token", subject.expose()));
                subject.chain(grant.secret.iter().map(|(name, value)| (name.as_str(), value.expose()))).collect()
            }
        }
    }

    /// The fields that say who asks.
    fn own_fields<'a>(
        &'a self,
        method: TokenEndpointAuthMethod,
        assertion: Option<&'a Secret>,
    ) -> Vec<(&'static str, &'a str)> {
        let id = ("client_id", self.client_id.as_str());
        match (&self.proof, assertion) {
            (ClientProof::Secret(secret), _) if method == TokenEndpointAuthMethod::ClientSecretPost => {
                vec![id, ("client_secret", secret.expose())]
            }
            (ClientProof::Secret(_), _) => Vec::new(),
            // The id is in the assertion, too, but some servers look for it in the form only.
            (ClientProof::Assertion(_) | ClientProof::ForeignAssertion(_), Some(assertion)) => {
                // Whose assertion it is may be all that the server wants to know (RFC 7521 section 4.2).
                let id = (!self.client_id.is_empty()).then_some(id);
                let assertion = [("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion.expose())];
                id.into_iter().chain(assertion).collect()
            }
            (ClientProof::Nothing, _) if self.client_id.is_empty() => Vec::new(),
            (ClientProof::Nothing | ClientProof::Assertion(_) | ClientProof::ForeignAssertion(_), _) => vec![id],
        }
    }

    /// The `Authorization` of Basic. RFC 6749 section 2.3.1 has both parts form-encoded first, which is the only way to
    /// have a `:` in an id; `raw` is for servers that do not decode.
    fn authorization(&self, method: TokenEndpointAuthMethod) -> Option<HeaderValue> {
        let encoded = |text: &str| Zeroizing::new(form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>());
        let (id, secret) = (self.client_id.as_str(), self.sent_secret()?.expose());
        let pair = match method {
            TokenEndpointAuthMethod::ClientSecretBasic => format!("{}:{}", *encoded(id), *encoded(secret)),
            TokenEndpointAuthMethod::ClientSecretBasicRaw => format!("{id}:{secret}"),
            TokenEndpointAuthMethod::ClientSecretPost
            | TokenEndpointAuthMethod::ClientSecretJwt
            | TokenEndpointAuthMethod::PrivateKeyJwt
            | TokenEndpointAuthMethod::TlsClientAuth
            | TokenEndpointAuthMethod::SelfSignedTlsClientAuth
            | TokenEndpointAuthMethod::ForeignAssertion
            | TokenEndpointAuthMethod::Public => return None,
        };
        let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(Zeroizing::new(pair).as_bytes())));
        Some(token::sensitive(&value).expect("base64 is a legal header value"))
    }
}

/// A form with these fields after those that it has, which leaves no copy behind.
pub(super) fn with_fields(form: &str, fields: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    // Made as large as it can get: growing would leave one.
    let bytes_max: usize = fields.iter().map(|(name, value)| 2 + 3 * (name.len() + value.len())).sum();
    let mut body = Zeroizing::new(Vec::with_capacity(form.len() + bytes_max));
    body.extend_from_slice(form.as_bytes());
    for (name, value) in fields {
        for (before, text) in [(b'&', name), (b'=', value)] {
            body.push(before);
            let encoded = form_urlencoded::byte_serialize(text.as_bytes());
            encoded.for_each(|part| body.extend_from_slice(part.as_bytes()));
        }
    }
    body
}

/// The form's fields. Of ours only the grant type can be among the configured parameters: Zoom has one of its own.
fn form(config: &config::OAuth2, grant_type: Option<&str>) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    if let Some(grant_type) = grant_type.filter(|_| !config.parameters.contains_key("grant_type")) {
        form.append_pair("grant_type", grant_type);
    }
    if let Grant::Fields(grant) = &config.grant {
        form.extend_pairs(&grant.plain);
    }
    if !config.scope.is_empty() {
        form.append_pair("scope", &config.scope.join(" "));
    }
    if let Some(audience) = &config.audience {
        form.append_pair("audience", audience);
    }
    config.resource.iter().for_each(|resource| {
        form.append_pair("resource", resource);
    });
    form.extend_pairs(config.parameters.iter().filter(|(name, _)| *name != CLAIMS));
    form.finish()
}
