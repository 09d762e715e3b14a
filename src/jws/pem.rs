//! Private keys as people have them: what is read, and what is said of the rest.

use ring::error::KeyRejected;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use super::{Algorithm, Key, SigningKey, rsa_encoding};

/// What is wrong with a private key, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFlaw {
    pub message: String,
    pub hint: String,
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

pub(super) fn read(text: &str, algorithm: Option<Algorithm>) -> Result<SigningKey, KeyFlaw> {
    let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| no_key(text))?;
    let der = Zeroizing::new(der);
    let pair = match &*der {
        PrivateKeyDer::Pkcs8(der) => pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).map(Pair::Rsa),
        _ => {
            let message = "an EC key in the form of SEC 1 (`BEGIN EC PRIVATE KEY`), which is not read";
            return Err(flaw(message, "convert it: `openssl pkcs8 -topk8 -nocrypt -in OLD.pem -out NEW.pem`"));
        }
    };
    with_algorithm(pair.map_err(unusable)?, algorithm)
}

/// Tries each kind, since the kind is said inside.
fn pkcs8(der: &[u8]) -> Result<Pair, KeyRejected> {
    let random = SystemRandom::new();
    // Without its public half is how OpenSSL writes an Ed25519 key.
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        return Ok(Pair::Ed25519(pair));
    }
    if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random) {
        return Ok(Pair::P256(pair));
    }
    if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der, &random) {
        return Ok(Pair::P384(pair));
    }
    RsaKeyPair::from_pkcs8(der).map(Pair::Rsa)
}

fn with_algorithm(pair: Pair, algorithm: Option<Algorithm>) -> Result<SigningKey, KeyFlaw> {
    use Algorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    let (kind, its): (_, &[Algorithm]) = match &pair {
        Pair::Rsa(_) => ("an RSA key", &[Rs256, Rs384, Rs512, Ps256, Ps384, Ps512]),
        Pair::P256(_) => ("a key of the curve P-256", &[Es256]),
        Pair::P384(_) => ("a key of the curve P-384", &[Es384]),
        Pair::Ed25519(_) => ("an Ed25519 key", &[EdDsa]),
    };
    let algorithm = algorithm.unwrap_or(its[0]);
    let key = match pair {
        Pair::Rsa(pair) => rsa_encoding(algorithm).map(|encoding| Key::Rsa(Box::new(pair), encoding)),
        Pair::P256(pair) | Pair::P384(pair) => Some(Key::Ecdsa(Box::new(pair))),
        Pair::Ed25519(pair) => Some(Key::Ed25519(Box::new(pair))),
    };
    match key.filter(|_| its.contains(&algorithm)) {
        Some(key) => Ok(SigningKey { algorithm, key }),
        None => {
            let names: Vec<_> = its.iter().map(|algorithm| algorithm.name()).collect();
            let message = format!("{kind} does not sign with {}", algorithm.name());
            Err(KeyFlaw { message, hint: format!("it signs with {}", names.join(", ")) })
        }
    }
}

/// What a text is that has no private key in it.
fn no_key(text: &str) -> KeyFlaw {
    let has = |label: &str| text.contains(&format!("-----BEGIN {label}-----"));
    if has("ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        let hint = "decrypt it, and keep the file from others: `openssl pkcs8 -in OLD.pem -out NEW.pem`";
        return flaw("a key with a passphrase, which is not read", hint);
    }
    if has("PUBLIC KEY") || has("RSA PUBLIC KEY") || has("CERTIFICATE") {
        return flaw("this is the public half", "the private key begins with `-----BEGIN PRIVATE KEY-----`");
    }
    if text.trim_start().starts_with('{') {
        return flaw("this is JSON, where a PEM file is wanted", "convert the key to PEM (PKCS#8)");
    }
    let hint = "a PEM file has `-----BEGIN PRIVATE KEY-----` in a line of its own, and whole lines after it";
    flaw("there is no private key in it", hint)
}

fn unusable(rejected: KeyRejected) -> KeyFlaw {
    const KINDS: &str = "RSA keys of 2048 to 4096 bits and keys of P-256, P-384 and Ed25519 are supported";
    // ring has no other way to ask.
    match rejected.to_string().as_str() {
        "TooSmall" => flaw("an RSA key of fewer than 2048 bits", KINDS),
        "TooLarge" => flaw("an RSA key of more than 4096 bits", KINDS),
        "WrongAlgorithm" => flaw("a key of a kind or curve that is not supported", KINDS),
        _ => flaw("a private key that cannot be used", "is it damaged? `openssl pkey -check -noout -in FILE` tells"),
    }
}

fn flaw(message: &str, hint: &str) -> KeyFlaw {
    KeyFlaw { message: message.to_owned(), hint: hint.to_owned() }
}
