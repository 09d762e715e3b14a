//! JSON Web Tokens that we sign ourselves (RFC 7515, 7518, 7519): the key, from a PEM file or a shared secret, and what
//! it makes of claims.

mod dpop;
mod jwk;
mod pem;
#[cfg(test)]
pub mod tests;

pub use dpop::{ProofKey, Proven};
pub use pem::KeyFlaw;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::error::Unspecified;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::secret::Secret;

const JTI_BYTES: usize = 16;

/// `alg` of RFC 7518 section 3.1 and RFC 8037, as far as it is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    pub const ALL: [Algorithm; 12] = [
        Algorithm::Hs256,
        Algorithm::Hs384,
        Algorithm::Hs512,
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
    ];

    /// As proxy.toml and a token's header write it.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Hs256 => "HS256",
            Algorithm::Hs384 => "HS384",
            Algorithm::Hs512 => "HS512",
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Ps256 => "PS256",
            Algorithm::Ps384 => "PS384",
            Algorithm::Ps512 => "PS512",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    /// How many bytes a shared secret has to have (RFC 7518 section 3.2). `None`: it signs with a private key.
    pub fn secret_bytes_min(self) -> Option<usize> {
        Some(hash(self)?.digest_algorithm().output_len())
    }
}

/// The HMAC of an algorithm for shared secrets.
fn hash(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::Hs256 => Some(hmac::HMAC_SHA256),
        Algorithm::Hs384 => Some(hmac::HMAC_SHA384),
        Algorithm::Hs512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

/// The padding and hash of an algorithm for RSA keys.
fn rsa_encoding(algorithm: Algorithm) -> Option<&'static dyn RsaEncoding> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_SHA512),
        _ => None,
    }
}

/// A key that signs with one algorithm. Prints nothing of itself but that.
pub struct SigningKey {
    algorithm: Algorithm,
    key: Key,
}

enum Key {
    Shared(hmac::Algorithm, Secret),
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
    Ecdsa(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl SigningKey {
    /// The key that a shared secret is. `None` if the algorithm takes none.
    pub fn shared(secret: Secret, algorithm: Algorithm) -> Option<Self> {
        Some(SigningKey { algorithm, key: Key::Shared(hash(algorithm)?, secret) })
    }

    /// Reads a private key: PKCS#8, or PKCS#1 for RSA. Without an algorithm, the key's own: RS256, ES256, ES384 or EdDSA.
    ///
    /// # Errors
    /// Says what is wrong with the text or the algorithm, and what to do. Quotes nothing of the text.
    pub fn from_pem(text: &str, algorithm: Option<Algorithm>) -> Result<Self, KeyFlaw> {
        pem::read(text, algorithm)
    }

    /// A new key that signs with ES256, which every server has to know that asks for proofs of possession.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn generate() -> Result<Self, Unspecified> {
        let (kind, random) = (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(kind, &random)?;
        let pair = EcdsaKeyPair::from_pkcs8(kind, document.as_ref(), &random).map_err(|_| Unspecified)?;
        Ok(SigningKey { algorithm: Algorithm::Es256, key: Key::Ecdsa(Box::new(pair)) })
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What is the same for the same key only: a secret's text, or a private key's public half.
    pub fn identity(&self) -> &[u8] {
        match &self.key {
            Key::Shared(_, secret) => secret.expose().as_bytes(),
            Key::Rsa(pair, _) => pair.public_key().as_ref(),
            Key::Ecdsa(pair) => pair.public_key().as_ref(),
            Key::Ed25519(pair) => pair.public_key().as_ref(),
        }
    }

    /// The secret that the server has, too.
    pub fn shared_secret(&self) -> Option<&Secret> {
        match &self.key {
            Key::Shared(_, secret) => Some(secret),
            Key::Rsa(..) | Key::Ecdsa(_) | Key::Ed25519(_) => None,
        }
    }

    /// A JWT of these claims in the compact form (RFC 7515 section 7.1). Takes up to some milliseconds with RSA.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn sign(&self, key_id: Option<&str>, claims: &Value) -> Result<Secret, Unspecified> {
        let mut header = json!({ "alg": self.algorithm.name(), "typ": "JWT" });
        if let Some(key_id) = key_id {
            header["kid"] = key_id.into();
        }
        self.sign_with(&header, claims)
    }

    /// The same with a header that says more.
    fn sign_with(&self, header: &Value, claims: &Value) -> Result<Secret, Unspecified> {
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut token = Zeroizing::new(format!("{}.{}", encoded(header), encoded(claims)));
        let signature = self.signature(token.as_bytes())?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(Secret::new(token.as_str()))
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let random = SystemRandom::new();
        Ok(match &self.key {
            Key::Shared(hash, secret) => {
                hmac::sign(&hmac::Key::new(*hash, secret.expose().as_bytes()), message).as_ref().to_vec()
            }
            Key::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature)?;
                signature
            }
            Key::Ecdsa(pair) => pair.sign(&random, message)?.as_ref().to_vec(),
            Key::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        })
    }
}

/// A `jti` that was never used before.
///
/// # Errors
/// The system gave no random bytes.
pub fn jti() -> Result<String, Unspecified> {
    let mut jti = [0; JTI_BYTES];
    SystemRandom::new().fill(&mut jti)?;
    Ok(URL_SAFE_NO_PAD.encode(jti))
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.algorithm.name())
    }
}
