//! Credentials whose tokens an OAuth 2.0 token endpoint grants.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{AnswerShape, CertificateAndKey, Dpop, FreshSecret, Grant, HttpUrl, TokenLife};
use crate::jws::SigningKey;
use crate::secret::Secret;

/// A grant of OAuth 2.0, and how its tokens are asked for.
#[derive(Debug, Clone)]
pub struct OAuth2 {
    pub grant: Grant,
    pub endpoint: TokenEndpoint,
    /// Empty: no client is named beside what the grant presents.
    pub client_id: String,
    pub proof: ClientProof,
    /// Shown at the token endpoint: the proof itself (RFC 8705 section 2), or what a server wants besides.
    pub client_certificate: Option<Arc<CertificateAndKey>>,
    /// The one before it, which the server may still want while secrets are rotated.
    pub older_proof: Option<ClientProof>,
    /// What tokens are bound to, if they are to be.
    pub dpop: Option<Dpop>,
    /// As configured; `None`: what discovery says, else basic (TL-38).
    pub auth_method: Option<TokenEndpointAuthMethod>,
    pub scope: Vec<String>,
    pub audience: Option<String>,
    /// RFC 8707, repeatable.
    pub resource: Vec<String>,
    /// Further form fields.
    pub parameters: BTreeMap<String, String>,
    /// Whether a discovered issuer must equal the configured one (TL-38).
    pub issuer_check: bool,
    /// Where token and lifetime are in an answer that says it in words of its own (TL-10).
    pub answer: AnswerShape,
    pub life: TokenLife,
}

/// What a client has to prove itself with at a token endpoint.
#[derive(Debug, Clone)]
pub enum ClientProof {
    /// Its id, if it has one, is all it shows.
    Nothing,
    /// Sent as it is, in the header or the form.
    Secret(Secret),
    /// Signs, and is never sent.
    Assertion(ClientAssertion),
    /// An assertion that somebody else has signed: Kubernetes, a CI system, another cloud.
    ForeignAssertion(FreshSecret),
}

/// How a client's assertions are made, RFC 7523 section 2.2.
#[derive(Debug, Clone)]
pub struct ClientAssertion {
    pub key: Arc<SigningKey>,
    /// `kid` of the header.
    pub key_id: Option<String>,
    /// `aud`. `None`: the token endpoint's URL.
    pub audience: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenEndpoint {
    Url(HttpUrl),
    /// The issuer as configured, and as a URL to discover from.
    Issuer {
        issuer: String,
        url: HttpUrl,
    },
}

impl TokenEndpoint {
    /// The issuer, if one is configured.
    pub fn issuer(&self) -> Option<&str> {
        match self {
            TokenEndpoint::Issuer { issuer, .. } => Some(issuer),
            TokenEndpoint::Url(_) => None,
        }
    }
}

/// `token_endpoint_auth_methods` of the IANA registry, and one spelling for servers that break on the standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenEndpointAuthMethod {
    /// Id and secret form-urlencoded before base64 (RFC 6749 section 2.3.1).
    ClientSecretBasic,
    /// Id and secret as they are.
    ClientSecretBasicRaw,
    ClientSecretPost,
    /// An assertion signed with the client's secret.
    ClientSecretJwt,
    /// An assertion signed with the client's private key.
    PrivateKeyJwt,
    /// The certificate of the connection, which an authority issued, RFC 8705 section 2.1.
    TlsClientAuth,
    /// The certificate of the connection, which is registered itself, RFC 8705 section 2.2.
    SelfSignedTlsClientAuth,
    /// An assertion that somebody else has signed, which the server trusts by federation. No registered name says that.
    ForeignAssertion,
    /// `none`: the client's id alone.
    Public,
}

impl TokenEndpointAuthMethod {
    pub const ALL: [TokenEndpointAuthMethod; 9] = [
        TokenEndpointAuthMethod::ClientSecretBasic,
        TokenEndpointAuthMethod::ClientSecretBasicRaw,
        TokenEndpointAuthMethod::ClientSecretPost,
        TokenEndpointAuthMethod::ClientSecretJwt,
        TokenEndpointAuthMethod::PrivateKeyJwt,
        TokenEndpointAuthMethod::TlsClientAuth,
        TokenEndpointAuthMethod::SelfSignedTlsClientAuth,
        TokenEndpointAuthMethod::ForeignAssertion,
        TokenEndpointAuthMethod::Public,
    ];

    /// As proxy.toml and the IANA registry write it.
    pub fn name(self) -> &'static str {
        match self {
            TokenEndpointAuthMethod::ClientSecretBasic => "client_secret_basic",
            TokenEndpointAuthMethod::ClientSecretBasicRaw => "client_secret_basic_raw",
            TokenEndpointAuthMethod::ClientSecretPost => "client_secret_post",
            TokenEndpointAuthMethod::ClientSecretJwt => "client_secret_jwt",
            TokenEndpointAuthMethod::PrivateKeyJwt => "private_key_jwt",
            TokenEndpointAuthMethod::TlsClientAuth => "tls_client_auth",
            TokenEndpointAuthMethod::SelfSignedTlsClientAuth => "self_signed_tls_client_auth",
            TokenEndpointAuthMethod::ForeignAssertion => "client_assertion",
            TokenEndpointAuthMethod::Public => "none",
        }
    }
}
