//! An HMAC (RFC 2104) over parts of the request, as the configuration names them.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use percent_encoding::{percent_encode, utf8_percent_encode};
use ring::digest::Digest;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use super::{SIGNED_BODY_BYTES_MAX, Signed, Unsignable, Unsigned, attached, body_sha256, hex, utc};
use crate::config::{
    self, HmacAlgorithm, Placeholder, RequestPiece, RequestTemplate, SignatureEncoding, TimestampFormat,
};
use crate::secret::{Masks, Secret};
use crate::token::{Attached, NOT_UNRESERVED, PlaceNames};

const NONCE_BYTES: usize = 16;

/// An HMAC's key at work.
#[derive(Debug)]
pub(super) struct Hmac {
    key: hmac::Key,
    /// Of the configuration: never sent, but an upstream knows the key, too.
    secrets: Vec<Secret>,
    string_to_sign: RequestTemplate,
    signature_encoding: SignatureEncoding,
    timestamp: TimestampFormat,
    headers: Vec<(HeaderName, RequestTemplate)>,
    query: Vec<(String, RequestTemplate)>,
    needs_body: bool,
}

impl Hmac {
    pub(super) fn new(config: &config::Hmac) -> Self {
        let algorithm = match config.algorithm {
            HmacAlgorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            HmacAlgorithm::Sha256 => hmac::HMAC_SHA256,
            HmacAlgorithm::Sha512 => hmac::HMAC_SHA512,
        };
        // Undecodable is only what stands in for a key that is not read: nothing is signed with that.
        let key = config.key_encoding.decode(&config.key).unwrap_or_default();
        let templates = config.headers.iter().map(|(_, template)| template);
        let templates =
            templates.chain(config.query.iter().map(|(_, template)| template)).chain([&config.string_to_sign]);
        Hmac {
            key: hmac::Key::new(algorithm, &key),
            secrets: config.secrets.iter().map(|(_, secret)| secret).chain([&config.key]).cloned().collect(),
            needs_body: templates.into_iter().any(RequestTemplate::needs_body),
            string_to_sign: config.string_to_sign.clone(),
            signature_encoding: config.signature_encoding,
            timestamp: config.timestamp,
            headers: config.headers.clone(),
            query: config.query.clone(),
        }
    }

    /// What it sets for every request.
    pub(super) fn names(&self) -> PlaceNames {
        PlaceNames {
            headers: self.headers.iter().map(|(name, _)| name.clone()).collect(),
            query: self.query.iter().map(|(name, _)| name.clone()).collect(),
            cookies: Vec::new(),
        }
    }

    pub(super) fn holds(&self) -> Option<usize> {
        self.needs_body.then_some(SIGNED_BODY_BYTES_MAX)
    }

    /// What has no signature in it is set first, and may be signed; then what carries the signature.
    pub(super) fn sign(&self, request: &Unsigned<'_>, now: SystemTime) -> Result<Signed, Unsignable> {
        let mut filling = Filling {
            request,
            timestamp: timestamp(now, self.timestamp),
            nonce: nonce()?,
            target: request.head.target.to_owned(),
            headers: Vec::new(),
            parameters: Vec::new(),
            signature: String::new(),
            body_sha256: OnceCell::new(),
        };
        filling.set(self, false);
        let mut hmac = hmac::Context::with_key(&self.key);
        filling.fill(&self.string_to_sign, &mut |part| hmac.update(part));
        let tag = hmac.sign();
        filling.signature = match self.signature_encoding {
            SignatureEncoding::Hex => hex(tag.as_ref()),
            SignatureEncoding::Base64 => STANDARD.encode(tag),
        };
        filling.set(self, true);
        let signature = Secret::new(filling.signature);
        let masks = Arc::new(Masks::new(self.secrets.iter().chain([&signature])));
        let query = (!filling.parameters.is_empty()).then(|| Secret::joined(&filling.parameters, "&"));
        Ok(attached(&Arc::new(Attached::of_one_request(filling.headers, query, masks))))
    }
}

/// A request while what is set for it is filled in.
struct Filling<'a> {
    request: &'a Unsigned<'a>,
    timestamp: String,
    nonce: String,
    /// With the parameters that have been added.
    target: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// `name=value`, encoded.
    parameters: Vec<Secret>,
    /// Empty until it is known.
    signature: String,
    /// Of the whole body, which may be large: made when it is first asked for.
    body_sha256: OnceCell<Digest>,
}

impl Filling<'_> {
    /// Sets the headers and parameters that carry the signature, or those that do not.
    fn set(&mut self, config: &Hmac, signed: bool) {
        for (name, template) in
            config.query.iter().filter(|(_, template)| template.has(Placeholder::Signature) == signed)
        {
            let name = utf8_percent_encode(name, NOT_UNRESERVED);
            let pair = format!("{name}={}", percent_encode(&self.filled(template), NOT_UNRESERVED));
            let separator = match self.target.find('?') {
                None => "?",
                Some(at) if at + 1 == self.target.len() => "",
                Some(_) => "&",
            };
            self.target.extend([separator, &pair]);
            self.parameters.push(Secret::new(pair));
        }
        for (name, template) in
            config.headers.iter().filter(|(_, template)| template.has(Placeholder::Signature) == signed)
        {
            // Nothing that is filled in can hold a control character: paths and queries were checked, and so were secrets.
            let mut value = HeaderValue::from_bytes(&self.filled(template)).unwrap_or(HeaderValue::from_static(""));
            value.set_sensitive(true);
            self.headers.push((name.clone(), value));
        }
    }

    fn filled(&self, template: &RequestTemplate) -> Vec<u8> {
        let mut filled = Vec::new();
        self.fill(template, &mut |part| filled.extend_from_slice(part));
        filled
    }

    fn fill(&self, template: &RequestTemplate, take: &mut dyn FnMut(&[u8])) {
        for piece in &template.pieces {
            match piece {
                RequestPiece::Text(text) => take(text.as_bytes()),
                RequestPiece::Secret { value, .. } => take(value.expose().as_bytes()),
                RequestPiece::Header(name) => self.header(name, take),
                RequestPiece::Value(placeholder) => self.value(*placeholder, take),
            }
        }
    }

    fn value(&self, placeholder: Placeholder, take: &mut dyn FnMut(&[u8])) {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let text = match placeholder {
            Placeholder::Method => self.request.head.method.as_str(),
            Placeholder::Host => self.request.authority,
            Placeholder::Path => path,
            Placeholder::Query => query,
            Placeholder::Target => &self.target,
            Placeholder::Timestamp => &self.timestamp,
            Placeholder::Nonce => &self.nonce,
            Placeholder::Signature => &self.signature,
            Placeholder::BodySha256 => &hex(self.body_sha256().as_ref()),
            Placeholder::BodySha256Base64 => &STANDARD.encode(self.body_sha256()),
            Placeholder::Body => return self.request.body.each_held(take),
        };
        take(text.as_bytes());
    }

    fn body_sha256(&self) -> &Digest {
        self.body_sha256.get_or_init(|| body_sha256(self.request.body))
    }

    /// As it will be sent; several values of one name with `, ` between.
    fn header(&self, wanted: &HeaderName, take: &mut dyn FnMut(&[u8])) {
        if let Some((_, value)) = self.headers.iter().find(|(name, _)| name == wanted) {
            return take(value.as_bytes());
        }
        let mut is_first = true;
        self.request.head.each_field(|name, value| {
            if name == wanted {
                if !is_first {
                    take(b", ");
                }
                take(value.as_bytes());
                is_first = false;
            }
        });
    }
}

fn timestamp(now: SystemTime, format: TimestampFormat) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    match format {
        TimestampFormat::Seconds => since.as_secs().to_string(),
        TimestampFormat::Milliseconds => since.as_millis().to_string(),
        TimestampFormat::Iso8601 => utc(now, "%Y-%m-%dT%H:%M:%S.%3fZ"),
        TimestampFormat::HttpDate => httpdate::fmt_http_date(now),
    }
}

/// Never used before.
fn nonce() -> Result<String, Unsignable> {
    let mut nonce = [0; NONCE_BYTES];
    SystemRandom::new().fill(&mut nonce).map_err(|_| Unsignable::NoRandomBytes)?;
    Ok(hex(&nonce))
}

#[cfg(test)]
mod tests;
