//! Credentials that sign each request: what they sign with, and where the signature goes.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderName;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{FreshSecret, HttpUrl, RequestTemplate, TokenLife};
use crate::jws::SigningKey;
use crate::secret::Secret;

/// What signs a request.
#[derive(Debug)]
pub enum Signature {
    AwsSigV4(AwsSigV4),
    Hmac(Hmac),
    Jwt(SelfSigned),
}

/// AWS Signature Version 4.
#[derive(Debug)]
pub struct AwsSigV4 {
    pub keys: AwsKeys,
    pub region: String,
    /// As it stands in the credential scope: `execute-api`, `s3`.
    pub service: String,
}

/// What AWS knows us by.
#[derive(Debug)]
pub enum AwsKeys {
    Fixed(AwsKey),
    Fetched(Box<FetchedAwsKeys>),
}

#[derive(Debug, Clone)]
pub struct AwsKey {
    /// It is no secret.
    pub access_key_id: String,
    pub secret_access_key: Secret,
    /// Of temporary credentials.
    pub session_token: Option<Secret>,
}

/// Temporary keys, which are renewed as tokens are: the session token is the token, the two keys go with it.
#[derive(Debug)]
pub struct FetchedAwsKeys {
    pub place: AwsKeyPlace,
    pub life: TokenLife,
}

/// Where temporary AWS keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AwsKeyPlace {
    /// The metadata server of an EC2 instance (IMDSv2), which AWS documents at http://169.254.169.254. No slash at the end.
    Instance { url: HttpUrl },
    /// The endpoint of a container or pod: `AWS_CONTAINER_CREDENTIALS_FULL_URI`, or `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`
    /// below http://169.254.170.2. Its proof is in the file of `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`.
    Container { url: HttpUrl, authorization: Option<FreshSecret> },
    /// STS, for a role that trusts whoever has signed this token: `AWS_WEB_IDENTITY_TOKEN_FILE` in a pod of EKS.
    WebIdentity { url: HttpUrl, role: String, token: FreshSecret },
}

impl AwsKeyPlace {
    /// All of them are asked here, and some below.
    pub fn url(&self) -> &HttpUrl {
        match self {
            AwsKeyPlace::Instance { url }
            | AwsKeyPlace::Container { url, .. }
            | AwsKeyPlace::WebIdentity { url, .. } => url,
        }
    }
}

impl Signature {
    /// The keys that it signs with, if they are fetched.
    pub fn fetched_keys(&self) -> Option<&FetchedAwsKeys> {
        match self {
            Signature::AwsSigV4(AwsSigV4 { keys: AwsKeys::Fetched(fetched), .. }) => Some(fetched),
            Signature::AwsSigV4(_) | Signature::Hmac(_) | Signature::Jwt(_) => None,
        }
    }
}

/// An HMAC (RFC 2104) over parts of the request.
#[derive(Debug)]
pub struct Hmac {
    pub algorithm: HmacAlgorithm,
    /// As it was read; `key_encoding` says what its bytes are.
    pub key: Secret,
    pub key_encoding: KeyEncoding,
    pub string_to_sign: RequestTemplate,
    pub signature_encoding: SignatureEncoding,
    pub timestamp: TimestampFormat,
    /// What templates name besides.
    pub secrets: Vec<(String, Secret)>,
    pub headers: Vec<(HeaderName, RequestTemplate)>,
    /// The parameters' names are decoded.
    pub query: Vec<(String, RequestTemplate)>,
}

/// A JSON Web Token of our own in place of one that is fetched.
#[derive(Debug, Clone)]
pub struct SelfSigned {
    pub key: Arc<SigningKey>,
    /// `kid` of the header.
    pub key_id: Option<String>,
    /// All but `iat`, `exp` and `jti`.
    pub claims: Map<String, Value>,
    /// From `iat` to `exp`.
    pub lifetime: Duration,
    /// Signs each request's own, with a `jti`.
    pub per_request: bool,
    pub header: HeaderName,
    /// What stands before the token, with a space between. Empty: nothing.
    pub scheme: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HmacAlgorithm {
    Sha1,
    Sha256,
    Sha512,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyEncoding {
    Text,
    Base64,
    Hex,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureEncoding {
    Hex,
    Base64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampFormat {
    /// Since the epoch.
    Seconds,
    Milliseconds,
    /// `2020-12-08T09:08:57.715Z`
    Iso8601,
    /// `Tue, 08 Dec 2020 09:08:57 GMT`, RFC 9110 section 5.6.7.
    HttpDate,
}

impl KeyEncoding {
    /// The bytes of a key. Both alphabets of base64 are read, with padding or without.
    pub fn decode(self, key: &Secret) -> Option<Zeroizing<Vec<u8>>> {
        let text = key.expose();
        let bytes = match self {
            KeyEncoding::Text => Some(text.as_bytes().to_vec()),
            KeyEncoding::Base64 => {
                let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
                let decoded = |alphabet| GeneralPurpose::new(alphabet, config).decode(text).ok();
                decoded(&STANDARD).or_else(|| decoded(&URL_SAFE))
            }
            KeyEncoding::Hex => hex(text),
        };
        bytes.map(Zeroizing::new)
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some((digit(*high)? << 4 | digit(*low)?) as u8),
        _ => None,
    };
    text.as_bytes().chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_encoded() {
        for (encoding, text, expected) in [
            (KeyEncoding::Text, "0aff", Some(&b"0aff"[..])),
            (KeyEncoding::Hex, "0aFf", Some(&[10, 255])),
            (KeyEncoding::Hex, "0af", None),
            (KeyEncoding::Hex, "+aff", None),
            (KeyEncoding::Base64, "+/8=", Some(&[251, 255])),
            (KeyEncoding::Base64, "-_8", Some(&[251, 255])),
            (KeyEncoding::Base64, "+_8", None),
        ] {
            let decoded = encoding.decode(&Secret::new(text));
            assert_eq!(decoded.as_deref().map(Vec::as_slice), expected, "{text}");
        }
    }
}
