//! The grants of OAuth 2.0: what is presented for a token.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderName;

use crate::jws::SigningKey;
use crate::secret::Secret;

/// The header of a proof, RFC 9449 section 4.1.
pub static DPOP: HeaderName = HeaderName::from_static("dpop");

/// The key that tokens are bound to, RFC 9449.
#[derive(Debug, Clone)]
pub enum Dpop {
    /// One that is made when it is needed first, and lives as long as the process.
    Made,
    Given(Arc<SigningKey>),
}

/// What is presented for a token.
#[derive(Debug, Clone)]
pub enum Grant {
    /// Nothing but the client itself, RFC 6749 section 4.4.
    ClientCredentials,
    /// A refresh token, RFC 6749 section 6. The seed is the one to begin with.
    RefreshToken { seed: Secret },
    /// An assertion that we sign, RFC 7523 section 2.1.
    JwtBearer(Box<JwtBearer>),
    /// Form fields that are what they are.
    Fields(Box<FieldsGrant>),
    /// GitHub's installation tokens, which are no grant of OAuth 2.0 but live as its tokens do.
    GithubApp(Box<GithubApp>),
}

/// A GitHub App, and what of its installation a token is for.
#[derive(Debug, Clone)]
pub struct GithubApp {
    pub key: Arc<SigningKey>,
    /// By their names without owner. Empty: all of the installation.
    pub repositories: Vec<String>,
    /// Name to level. Empty: all of the App.
    pub permissions: BTreeMap<String, String>,
}

/// A grant whose request is its form fields.
#[derive(Debug, Clone)]
pub struct FieldsGrant {
    pub kind: FieldsKind,
    /// The form's `grant_type`.
    pub grant_type: String,
    /// In the order in which they are sent.
    pub plain: Vec<(String, String)>,
    /// The same, of those that are secret.
    pub secret: Vec<(String, Secret)>,
    /// Where the subject token comes from, if it comes with requests: then it is none of those.
    pub subject: Option<SubjectHeader>,
}

/// The header in which some clients say on whose behalf they call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectHeader {
    pub name: HeaderName,
    /// The names of the clients that may set it. At least one.
    pub clients: Vec<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldsKind {
    /// A user's name and password, RFC 6749 section 4.3.
    Password,
    /// A token of somebody else's, RFC 8693.
    TokenExchange,
    /// Whatever the server calls by a name of its own, RFC 6749 section 4.5.
    Custom,
}

/// How the assertion of a JWT bearer grant is made, RFC 7523 section 3.
#[derive(Debug, Clone)]
pub struct JwtBearer {
    pub key: Arc<SigningKey>,
    /// `kid` of the header.
    pub key_id: Option<String>,
    /// `iss`.
    pub issuer: String,
    /// `sub`. `None`: the assertion has none, which Google takes for the issuer itself.
    pub subject: Option<String>,
    /// `aud`. `None`: the token endpoint's URL.
    pub audience: Option<String>,
    /// What else it claims.
    pub claims: BTreeMap<String, String>,
}

impl Grant {
    /// Where the subject token comes from, if it comes with requests.
    pub fn subject_header(&self) -> Option<&SubjectHeader> {
        match self {
            Grant::Fields(grant) => grant.subject.as_ref(),
            Grant::ClientCredentials | Grant::RefreshToken { .. } | Grant::JwtBearer(_) | Grant::GithubApp(_) => None,
        }
    }

    /// The same for the one subject whose token this is, as if it stood in the configuration.
    pub fn with_subject_token(mut self, token: Secret) -> Grant {
        if let Grant::Fields(grant) = &mut self
            && grant.subject.take().is_some()
        {
            grant.secret.push(("subject_token".to_owned(), token));
        }
        self
    }

    /// The kind of the credential in proxy.toml, which is also what tells its tokens from those of another grant (TL-02).
    pub fn name(&self) -> &'static str {
        match self {
            Grant::ClientCredentials => "client_credentials",
            Grant::RefreshToken { .. } => "refresh_token",
            Grant::JwtBearer(_) => "jwt_bearer",
            Grant::Fields(grant) => match grant.kind {
                FieldsKind::Password => "password",
                FieldsKind::TokenExchange => "token_exchange",
                FieldsKind::Custom => "custom_grant",
            },
            Grant::GithubApp(_) => "github_app",
        }
    }

    /// What people call it.
    pub fn title(&self) -> &str {
        match self {
            Grant::ClientCredentials => "client credentials",
            Grant::RefreshToken { .. } => "refresh token",
            Grant::JwtBearer(_) => "JWT bearer",
            Grant::Fields(grant) => match grant.kind {
                FieldsKind::Password => "password",
                FieldsKind::TokenExchange => "token exchange",
                FieldsKind::Custom => &grant.grant_type,
            },
            Grant::GithubApp(_) => "GitHub App",
        }
    }

    /// The form's `grant_type`, if what is sent is a form.
    pub fn grant_type(&self) -> Option<&str> {
        match self {
            Grant::ClientCredentials => Some("client_credentials"),
            Grant::RefreshToken { .. } => Some("refresh_token"),
            Grant::JwtBearer(_) => Some("urn:ietf:params:oauth:grant-type:jwt-bearer"),
            Grant::Fields(grant) => Some(&grant.grant_type),
            Grant::GithubApp(_) => None,
        }
    }
}
