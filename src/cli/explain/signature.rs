//! What a signature would set, in the words of its configuration.

use http::HeaderName;
use http::header::AUTHORIZATION;

use crate::config::{AwsKeyPlace, AwsKeys, AwsSigV4, Signature};

/// What stands in this header; `None`: nothing, though a client's own is removed.
pub(super) fn header(signature: &Signature, name: &HeaderName) -> Option<String> {
    match signature {
        Signature::AwsSigV4(aws) if *name == AUTHORIZATION => {
            let scope = format!("{}/<date>/{}/{}/aws4_request", access_key_id(aws), aws.region, aws.service);
            Some(format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=<names>, Signature=<signature>"))
        }
        Signature::AwsSigV4(aws) => match name.as_str() {
            "x-amz-date" => Some("<timestamp>".to_owned()),
            "x-amz-security-token" => has_session_token(aws).then(|| "<session_token>".to_owned()),
            _ => None,
        },
        Signature::Jwt(jwt) if jwt.scheme.is_empty() => Some("<token>".to_owned()),
        Signature::Jwt(jwt) => Some(format!("{} <token>", jwt.scheme)),
        Signature::Hmac(hmac) => hmac.headers.iter().find(|(set, _)| set == name).map(|(_, template)| template.shown()),
    }
}

fn access_key_id(aws: &AwsSigV4) -> &str {
    match &aws.keys {
        AwsKeys::Fixed(key) => &key.access_key_id,
        AwsKeys::Fetched(_) => "<access_key_id>",
    }
}

fn has_session_token(aws: &AwsSigV4) -> bool {
    match &aws.keys {
        AwsKeys::Fixed(key) => key.session_token.is_some(),
        AwsKeys::Fetched(_) => true,
    }
}

fn of_whom(keys: &AwsKeys) -> String {
    match keys {
        AwsKeys::Fixed(key) => format!("of {}", key.access_key_id),
        AwsKeys::Fetched(fetched) => match &fetched.place {
            AwsKeyPlace::Instance { url } => format!("by keys of the instance's role, from {url}"),
            AwsKeyPlace::Container { url, .. } => format!("by keys of the container's role, from {url}"),
            AwsKeyPlace::WebIdentity { url, role, .. } => format!("by keys of {role}, from {url}"),
        },
    }
}

/// The parameters that are added to the query.
pub(super) fn query(signature: &Signature) -> Option<String> {
    let Signature::Hmac(hmac) = signature else { return None };
    let pairs: Vec<String> = hmac.query.iter().map(|(name, template)| format!("{name}={}", template.shown())).collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

/// What it is, in a few words.
pub(super) fn described(signature: &Signature) -> String {
    match signature {
        Signature::AwsSigV4(aws) => {
            format!("AWS Signature Version 4 {}, for {} in {}", of_whom(&aws.keys), aws.service, aws.region)
        }
        Signature::Jwt(jwt) => {
            let kid = jwt.key_id.as_ref().map(|kid| format!(" by the key {kid}")).unwrap_or_default();
            let until = if jwt.per_request {
                "one for each request".to_owned()
            } else {
                format!("good for {:?}", jwt.lifetime)
            };
            format!("a token that is signed with {}{kid}, {until}", jwt.key.algorithm().name())
        }
        Signature::Hmac(hmac) => format!("an HMAC over {:?}", hmac.string_to_sign.shown()),
    }
}
