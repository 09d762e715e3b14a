//! Signatures: the second step, after everything else is settled, over what will really be sent. A signature is good for
//! one attempt, so that a retry or a replay is signed anew.

mod aws_canonical;
mod aws_chunks;
mod aws_sigv4;
mod dpop;
mod hmac;
mod jwt;

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderValue;

use super::Attachment;
use crate::clock::Clock;
use crate::config::Signature;
use crate::token::{self, Attached, PlaceNames, Token};
use crate::upstream::{OutgoingBody, OutgoingHead, Recoder};
use aws_sigv4::AwsSigV4;
pub(super) use aws_sigv4::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
pub use dpop::Bound;
use hmac::Hmac;
use jwt::Jwt;

/// The largest body that is held to be signed. Most APIs that want signatures over bodies take no larger ones.
pub const SIGNED_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A request as it will be sent, but for its signature.
#[derive(Debug)]
pub struct Unsigned<'a> {
    pub https: bool,
    /// What `Host` will be.
    pub authority: &'a str,
    pub head: &'a OutgoingHead<'a>,
    pub body: &'a OutgoingBody,
}

/// What a signer makes of a request.
#[derive(Debug)]
pub struct Signed {
    /// What to set, for this attempt alone.
    pub attachment: Attachment,
    /// How the body has to be sent, if not as it is.
    pub recoder: Option<Recoder>,
}

/// Why a request cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsignable {
    /// The signature covers the body, which is larger than what is held.
    BodyTooLarge,
    /// The signature covers the body, and others take all the memory that there is for bodies.
    NoMemory,
    /// Its chunks would have to be signed, and that begins with the length of them all.
    LengthUnknown,
    /// The client has signed the chunks of its body with a key of its own.
    SignedByClient,
    /// The client has coded its body in chunks that are not signed, and the upstream is reached in cleartext.
    UnsignedChunks,
    /// The system gave none.
    NoRandomBytes,
}

/// Signs requests. Shared by all workers.
#[derive(Debug)]
pub struct Signer {
    scheme: Scheme,
    names: Arc<PlaceNames>,
}

/// What signs each attempt of one request: a replay with another token, too.
#[derive(Debug, Clone, Copy)]
pub enum Signing<'a> {
    /// With what was fetched to sign with, if something was.
    Signer(&'a Signer, Option<&'a Token>),
    Bound(Bound<'a>),
}

#[derive(Debug)]
enum Scheme {
    AwsSigV4(AwsSigV4),
    Hmac(Hmac),
    Jwt(Jwt),
}

impl Unsigned<'_> {
    /// Scheme and authority.
    fn origin(&self) -> String {
        format!("{}://{}", if self.https { "https" } else { "http" }, self.authority)
    }
}

impl Signer {
    pub(super) fn new(config: &Signature) -> Self {
        let scheme = match config {
            Signature::AwsSigV4(config) => Scheme::AwsSigV4(AwsSigV4::new(config)),
            Signature::Hmac(config) => Scheme::Hmac(Hmac::new(config)),
            Signature::Jwt(config) => Scheme::Jwt(Jwt::new(config)),
        };
        let names = match &scheme {
            Scheme::AwsSigV4(aws) => aws.names(),
            Scheme::Hmac(hmac) => hmac.names(),
            Scheme::Jwt(jwt) => jwt.names(),
        };
        Signer { scheme, names: Arc::new(names) }
    }

    /// What it sets for every request.
    pub(super) fn names(&self) -> &Arc<PlaceNames> {
        &self.names
    }

    fn holds(&self, request: &Unsigned<'_>) -> Result<Option<usize>, Unsignable> {
        match &self.scheme {
            Scheme::AwsSigV4(aws) => aws.holds(request),
            Scheme::Hmac(hmac) => Ok(hmac.holds()),
            Scheme::Jwt(_) => Ok(None),
        }
    }

    fn sign(&self, request: &Unsigned<'_>, token: Option<&Token>, clock: &dyn Clock) -> Result<Signed, Unsignable> {
        match &self.scheme {
            Scheme::AwsSigV4(aws) => aws.sign(request, token, clock.wall()),
            Scheme::Hmac(hmac) => hmac.sign(request, clock.wall()),
            Scheme::Jwt(jwt) => jwt.sign(clock),
        }
    }
}

impl<'a> Signing<'a> {
    /// How many bytes of the body may have to be held before the request is signed; `None`: the signature does not cover it.
    ///
    /// # Errors
    /// Says why the request cannot be signed.
    pub fn holds(&self, request: &Unsigned<'_>) -> Result<Option<usize>, Unsignable> {
        match self {
            Signing::Signer(signer, _) => signer.holds(request),
            Signing::Bound(_) => Ok(None),
        }
    }

    /// Signs a request, whose body is held if it has to be.
    ///
    /// # Errors
    /// Says why the request cannot be signed.
    pub fn sign(&self, request: &Unsigned<'_>, clock: &dyn Clock) -> Result<Signed, Unsignable> {
        match self {
            Signing::Signer(signer, token) => signer.sign(request, *token, clock),
            Signing::Bound(bound) => bound.sign(request, clock.wall()),
        }
    }

    /// Whom an answer tells something about the next signature. The other schemes have nothing to hear.
    pub fn hearer(self) -> Option<Bound<'a>> {
        match self {
            Signing::Signer(..) => None,
            Signing::Bound(bound) => Some(bound),
        }
    }
}

/// Sets these, for one attempt.
fn attached(attached: &Arc<Attached>) -> Signed {
    Signed { attachment: Attachment::fixed(attached), recoder: None }
}

/// # Panics
/// If the value is no legal header value. That is seen to where it comes from: the configuration refuses such a secret, with
/// its place, a fetch such a key, and what is made here is ASCII.
fn sensitive(value: &str) -> HeaderValue {
    token::sensitive(value).expect("what is signed with is legal in headers, and so is what is made of it")
}

/// A time in the format of `strftime`, in UTC.
fn utc(now: SystemTime, format: &str) -> String {
    let timestamp = jiff::Timestamp::try_from(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    timestamp.strftime(format).to_string()
}

/// In lower case, as all these schemes have it.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

/// The SHA-256 of what is held of a body.
fn body_sha256(body: &OutgoingBody) -> ring::digest::Digest {
    #[cfg(test)]
    BODIES_HASHED.with(|hashed| hashed.set(hashed.get() + 1));
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    body.each_held(|piece| hash.update(piece));
    hash.finish()
}

#[cfg(test)]
thread_local! {
    /// How many bodies this thread has hashed.
    static BODIES_HASHED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
