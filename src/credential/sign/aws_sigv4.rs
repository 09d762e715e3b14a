//! AWS Signature Version 4, in the header.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>

use std::sync::Arc;
use std::time::SystemTime;

use http::header::{AUTHORIZATION, CONTENT_ENCODING};
use http::{HeaderName, HeaderValue};
use ring::digest::{SHA256, digest};
use ring::hmac;

use super::aws_canonical::{self, Fields, Paths};
use super::aws_chunks::{self, Chain};
use super::{SIGNED_BODY_BYTES_MAX, Signed, Unsignable, Unsigned, attached, body_sha256, hex, sensitive, utc};
use crate::config::{self, AwsKey};
use crate::secret::{Masks, Secret};
use crate::token::{Attached, PlaceNames, Token};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const X_AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const X_AMZ_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const X_AMZ_DECODED_CONTENT_LENGTH: HeaderName = HeaderName::from_static("x-amz-decoded-content-length");

/// The client's own signature in the query would stand beside ours.
const PRESIGNED: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
];

const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
/// How AWS's own clients upload to S3 over TLS: chunks that are not signed, and a checksum behind them.
const UNSIGNED_CHUNKS: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

/// Up to here a body that S3 would also take unsigned, or in chunks, is hashed.
const HASHED_FOR_S3_BYTES_MAX: u64 = 64 * 1024;

/// By the names that fetched keys have in a token, whose value is the session token.
pub(in crate::credential) const ACCESS_KEY_ID: &str = "access_key_id";
pub(in crate::credential) const SECRET_ACCESS_KEY: &str = "secret_access_key";

/// What one request is signed with.
#[derive(Debug, Clone, Copy)]
struct Keys<'k> {
    access_key_id: &'k str,
    secret_access_key: &'k Secret,
    session_token: Option<&'k Secret>,
}

/// Signs for one service, with keys of its own or with those of a token.
#[derive(Debug)]
pub(super) struct AwsSigV4 {
    /// `None`: they come with each request.
    fixed: Option<AwsKey>,
    region: String,
    service: String,
}

/// What the signature says of the body.
#[derive(Debug, PartialEq, Eq)]
enum Payload {
    /// Its hash.
    Hash,
    /// A word in place of its hash, or the hash as the client says it: the service holds the body to that.
    Said(String),
    /// Its chunks are signed one by one. Its length in bytes.
    Chunks(u64),
}

impl AwsSigV4 {
    pub(super) fn new(config: &config::AwsSigV4) -> Self {
        let fixed = match &config.keys {
            config::AwsKeys::Fixed(key) => Some(key.clone()),
            config::AwsKeys::Fetched(_) => None,
        };
        AwsSigV4 { fixed, region: config.region.clone(), service: config.service.clone() }
    }

    /// What it sets for every request, and parameters of which the client must not set any beside it. Not
    /// `x-amz-content-sha256`, which is looked at before it is replaced: it may say how the client has coded its body.
    pub(super) fn names(&self) -> PlaceNames {
        PlaceNames {
            headers: vec![AUTHORIZATION, X_AMZ_DATE, X_AMZ_SECURITY_TOKEN],
            query: PRESIGNED.map(str::to_owned).to_vec(),
            cookies: Vec::new(),
        }
    }

    pub(super) fn holds(&self, request: &Unsigned<'_>) -> Result<Option<usize>, Unsignable> {
        Ok((self.payload(request)? == Payload::Hash).then_some(SIGNED_BODY_BYTES_MAX))
    }

    /// `token`: what was fetched, where the keys are.
    pub(super) fn sign(
        &self,
        request: &Unsigned<'_>,
        token: Option<&Token>,
        now: SystemTime,
    ) -> Result<Signed, Unsignable> {
        let keys = self.keys(token);
        let payload = self.payload(request)?;
        let time = utc(now, "%Y%m%dT%H%M%SZ");
        let said = match &payload {
            Payload::Hash => hex(body_sha256(request.body).as_ref()),
            Payload::Said(word) => word.clone(),
            Payload::Chunks(_) => aws_chunks::PAYLOAD.to_owned(),
        };
        let set = set(request, keys.session_token, &time, &said, &payload);
        let mut fields = Fields::default();
        fields.add("host", request.authority.as_bytes());
        request.head.each_field(|name, value| {
            if is_signed(name) && set.iter().all(|(set, _)| set != name) {
                fields.add(name.as_str(), value.as_bytes());
            }
        });
        set.iter().for_each(|(name, value)| fields.add(name.as_str(), value.as_bytes()));
        let (method, target) = (request.head.method.as_str(), request.head.target);
        let canonical = aws_canonical::request(method, target, self.paths(), &fields, &said);
        let (authorization, chain) = self.authorization(keys, &canonical, &fields, time);
        let signature = Secret::new(&*chain.previous);
        let secrets = [keys.secret_access_key, &signature].into_iter().chain(keys.session_token);
        let masks = Arc::new(Masks::new(secrets));
        let headers = [(AUTHORIZATION, sensitive(&authorization))].into_iter().chain(set).collect();
        let mut signed = attached(&Arc::new(Attached::of_one_request(headers, None, masks)));
        if let Payload::Chunks(length) = payload {
            signed.recoder = Some(chain.recoder(length));
        }
        Ok(signed)
    }

    fn keys<'k>(&'k self, token: Option<&'k Token>) -> Keys<'k> {
        if let Some(key) = &self.fixed {
            let session_token = key.session_token.as_ref();
            return Keys {
                access_key_id: &key.access_key_id,
                secret_access_key: &key.secret_access_key,
                session_token,
            };
        }
        let token = token.expect("a signer without keys is attached with a token");
        let part = |name: &str| token.further.get(name).expect("its source gives both keys");
        Keys {
            access_key_id: part(ACCESS_KEY_ID).expose(),
            secret_access_key: part(SECRET_ACCESS_KEY),
            session_token: Some(&token.value),
        }
    }

    /// The value of `Authorization`, and what its signature begins.
    fn authorization(&self, keys: Keys<'_>, canonical: &[u8], fields: &Fields, time: String) -> (String, Chain) {
        let date = &time[..8];
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = string_to_sign(canonical, &time, &scope);
        let key = signing_key(keys.secret_access_key, date, &self.region, &self.service);
        let signature = hex(hmac::sign(&key, to_sign.as_bytes()).as_ref());
        let (id, names) = (keys.access_key_id, fields.names());
        let value = format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
        (value, Chain { key, time, scope, previous: signature })
    }

    fn payload(&self, request: &Unsigned<'_>) -> Result<Payload, Unsignable> {
        if !is_s3(&self.service) {
            return Ok(Payload::Hash);
        }
        if let Some(said) = said_by_client(request)? {
            return Ok(Payload::Said(said));
        }
        if request.body.is_empty() {
            return Ok(Payload::Hash);
        }
        match request.body.length() {
            Some(length) if length <= HASHED_FOR_S3_BYTES_MAX => Ok(Payload::Hash),
            // TLS protects it, as it does with AWS's own clients.
            _ if request.https => Ok(Payload::Said(UNSIGNED_PAYLOAD.to_owned())),
            Some(length) => Ok(Payload::Chunks(length)),
            None => Err(Unsignable::LengthUnknown),
        }
    }

    fn paths(&self) -> Paths {
        if is_s3(&self.service) { Paths::AsTheyAre } else { Paths::Normalised }
    }
}

/// The fields that it sets beside `Authorization`, all of them signed.
fn set(
    request: &Unsigned<'_>,
    session_token: Option<&Secret>,
    time: &str,
    said: &str,
    payload: &Payload,
) -> Vec<(HeaderName, HeaderValue)> {
    let value = |text: &str| HeaderValue::try_from(text).expect("digits, hashes and words are legal");
    // S3 wants the hash in a field, and so does OpenSearch Serverless; the others take it.
    let mut set = vec![(X_AMZ_DATE, value(time)), (X_AMZ_CONTENT_SHA256, value(said))];
    if let Some(token) = session_token {
        set.push((X_AMZ_SECURITY_TOKEN, sensitive(token.expose())));
    }
    if let Payload::Chunks(length) = payload {
        set.push((X_AMZ_DECODED_CONTENT_LENGTH, value(&length.to_string())));
        let mut codings = b"aws-chunked".to_vec();
        for coding in request.head.headers.get_all(CONTENT_ENCODING) {
            codings.extend_from_slice(b",");
            codings.extend_from_slice(coding.as_bytes());
        }
        let codings = HeaderValue::try_from(codings).expect("legal values, joined, are a legal value");
        set.push((CONTENT_ENCODING, codings));
    }
    set
}

/// What the client says of its body, where that can be signed: that saves holding it, and a body that is coded in chunks has
/// to be announced as what it is. Where nothing but the signature protects the body, one that does not cover it is not made:
/// the client's word was about its own way to us.
fn said_by_client(request: &Unsigned<'_>) -> Result<Option<String>, Unsignable> {
    let said = request.head.headers.get(X_AMZ_CONTENT_SHA256).and_then(|value| value.to_str().ok());
    match said {
        Some(UNSIGNED_PAYLOAD | UNSIGNED_CHUNKS) if request.https => Ok(said.map(str::to_owned)),
        Some(UNSIGNED_CHUNKS) => Err(Unsignable::UnsignedChunks),
        Some(hash) if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Ok(Some(hash.to_owned()))
        }
        Some(other) if other.starts_with("STREAMING-") => Err(Unsignable::SignedByClient),
        _ => Ok(None),
    }
}

/// S3 and what speaks its protocol under a signing name of its own.
fn is_s3(service: &str) -> bool {
    matches!(service, "s3" | "s3-object-lambda" | "s3-outposts")
}

/// What AWS asks for. A field more would break the signature where something on the way touches it.
fn is_signed(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-amz-") || matches!(name, "content-type" | "content-md5")
}

fn string_to_sign(canonical: &[u8], time: &str, scope: &str) -> String {
    [ALGORITHM, time, scope, &hex(digest(&SHA256, canonical).as_ref())].join("\n")
}

/// The key of one day, region and service.
pub(super) fn signing_key(secret: &Secret, date: &str, region: &str, service: &str) -> hmac::Key {
    let secret = Secret::new(format!("AWS4{}", secret.expose()));
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    for word in [date, region, service, "aws4_request"] {
        key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, word.as_bytes()).as_ref());
    }
    key
}

#[cfg(test)]
mod tests;
