//! How upstreams want us to authenticate, kind by kind.

use std::sync::Arc;

use http::HeaderName;

use super::{HttpUrl, Login, OAuth2, Signature, SubjectHeader, TokenLife};
use crate::secret::Secret;

/// How we authenticate to an upstream.
#[derive(Debug)]
pub struct Credential {
    pub name: Arc<str>,
    pub kind: CredentialKind,
}

#[derive(Debug)]
pub enum CredentialKind {
    OAuth2(Box<OAuth2>),
    Metadata(Box<Metadata>),
    Login(Arc<Login>),
    Bearer {
        token: Secret,
    },
    /// At least one; no two of them go to one place.
    ApiKeys(Vec<ApiKey>),
    Basic {
        username: String,
        password: Secret,
    },
    /// A key in place of the user name, and no password.
    BasicKey {
        key: Secret,
    },
    /// Made anew for each request; with AWS, by keys that may be fetched.
    Signature(Box<Signature>),
}

impl CredentialKind {
    /// The life of its tokens, if they are fetched, or of the keys that it signs with.
    pub fn token_life(&self) -> Option<&TokenLife> {
        match self {
            CredentialKind::OAuth2(oauth2) => Some(&oauth2.life),
            CredentialKind::Metadata(metadata) => Some(&metadata.life),
            CredentialKind::Login(login) => Some(&login.life),
            CredentialKind::Signature(signature) => signature.fetched_keys().map(|keys| &keys.life),
            CredentialKind::Bearer { .. }
            | CredentialKind::ApiKeys(_)
            | CredentialKind::Basic { .. }
            | CredentialKind::BasicKey { .. } => None,
        }
    }
}

impl Credential {
    /// The header in which some clients say on whose behalf they call, if the credential is of that kind.
    pub fn subject_header(&self) -> Option<&SubjectHeader> {
        match &self.kind {
            CredentialKind::OAuth2(oauth2) => oauth2.grant.subject_header(),
            _ => None,
        }
    }

    /// The same for the one subject whose token this is; `None`: its tokens are no subject's.
    pub fn for_subject(&self, token: Secret) -> Option<Credential> {
        let CredentialKind::OAuth2(oauth2) = &self.kind else { return None };
        oauth2.grant.subject_header()?;
        let grant = oauth2.grant.clone().with_subject_token(token);
        let kind = CredentialKind::OAuth2(Box::new(OAuth2 { grant, ..(**oauth2).clone() }));
        Some(Credential { name: self.name.clone(), kind })
    }
}

/// A fixed key, and where it goes.
#[derive(Debug)]
pub struct ApiKey {
    pub place: ApiKeyPlace,
    /// What stands before the key, the blank between them included. Empty: nothing.
    pub scheme: String,
    pub value: Secret,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKeyPlace {
    Header(HeaderName),
    /// The parameter's name, decoded.
    Query(String),
    /// The cookie's name.
    Cookie(String),
}

/// Tokens of the metadata server of the cloud that attache runs in.
#[derive(Debug)]
pub struct Metadata {
    /// Where it is: the fixed address of the clouds, or one that is configured. No slash at the end, no query.
    pub url: HttpUrl,
    pub request: MetadataRequest,
    pub life: TokenLife,
}

/// What a metadata server is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataRequest {
    /// The token of a managed identity for an API. On a virtual machine; or, with the secret of `IDENTITY_HEADER`, on App
    /// Service, whose URL is that of `IDENTITY_ENDPOINT`, path included.
    Azure { resource: String, client_id: Option<String>, identity_header: Option<Secret> },
    /// An access token of a service account; no scopes: all that the machine has.
    Google { account: String, scope: Vec<String> },
    /// An identity token of a service account for this audience, such as a Cloud Run service.
    GoogleIdentity { account: String, audience: String },
}
