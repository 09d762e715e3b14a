//! The credentials that sign each request.

mod aws_keys;
mod hmac;
mod jwt;

pub(super) use hmac::hmac;
pub(super) use jwt::jwt;

use http::HeaderName;
use http::header::AUTHORIZATION;

use super::Reading;
use super::fields::{Fields, Text};
use crate::config::{AwsSigV4, Signature};

static AWS_HEADERS: [HeaderName; 4] = [
    AUTHORIZATION,
    HeaderName::from_static("x-amz-content-sha256"),
    HeaderName::from_static("x-amz-date"),
    HeaderName::from_static("x-amz-security-token"),
];

impl Signature {
    /// The headers that it sets.
    pub(in crate::config) fn headers(&self) -> Vec<&HeaderName> {
        match self {
            Signature::AwsSigV4(_) => AWS_HEADERS.iter().collect(),
            Signature::Jwt(jwt) => vec![&jwt.header],
            Signature::Hmac(hmac) => hmac.headers.iter().map(|(name, _)| name).collect(),
        }
    }

    /// The query parameters that it sets.
    pub(in crate::config) fn query_names(&self) -> Vec<&str> {
        match self {
            Signature::AwsSigV4(_) | Signature::Jwt(_) => Vec::new(),
            Signature::Hmac(hmac) => hmac.query.iter().map(|(name, _)| name.as_str()).collect(),
        }
    }
}

pub(super) fn aws_sigv4(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<Signature> {
    let region = scope_word(reading, fields, "region");
    let keys = aws_keys::aws_keys(reading, fields, region.as_ref());
    let service = scope_word(reading, fields, "service");
    Some(Signature::AwsSigV4(AwsSigV4 { keys: keys?, region: region?.value, service: service?.value }))
}

/// A word of `Credential=ID/DATE/REGION/SERVICE/aws4_request`.
fn scope_word(reading: &mut Reading<'_>, fields: &Fields<'_>, key: &str) -> Option<Text> {
    let text = fields.text(reading, key)?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !text.value.is_empty() && text.value.bytes().all(legal) {
        return Some(text);
    }
    if key == "access_key_id" {
        // The two keys are easily swapped.
        reading.hide(&text);
    }
    let hint = match key {
        "access_key_id" => "it looks like AKIAIOSFODNN7EXAMPLE; the longer one is the `secret_access_key`",
        "region" => "such as \"eu-central-1\", as it stands in the host's name",
        _ => "such as \"execute-api\" or \"s3\": the first word of most AWS hosts",
    };
    reading.refuse((format!("`{key}` is made of letters, digits and `-`, `_`, `.`"), hint.to_owned()), &text.span)
}
