//! Credentials that sign each request: what they sign with, and where the signature goes.

use crate::secret::Secret;

/// What signs a request.
#[derive(Debug)]
pub enum Signature {
    AwsSigV4(AwsSigV4),
}

impl Signature {
    /// Its kind in proxy.toml.
    pub fn kind(&self) -> &'static str {
        match self {
            Signature::AwsSigV4(_) => "aws_sigv4",
        }
    }
}

/// AWS Signature Version 4.
#[derive(Debug)]
pub struct AwsSigV4 {
    pub access_key_id: String,
    pub secret_access_key: Secret,
    /// Of temporary credentials.
    pub session_token: Option<Secret>,
    pub region: String,
    /// As it stands in the credential scope: `execute-api`, `s3`.
    pub service: String,
}
