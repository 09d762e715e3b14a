//! What cannot be foreseen of a request, since a key has signed it: it is verified.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use ring::rsa::{KeyPair, PublicKeyComponents};
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use ring::{digest, hmac};
use serde_json::Value;

use crate::examples::SECRET;
use crate::sources::file;
use crate::support::TlsRequest;

/// The only value of a header.
pub fn header<'r>(request: &'r TlsRequest, name: &str) -> &'r str {
    request.headers[name].to_str().expect("it is a text")
}

/// A field of a form.
pub fn field(request: &TlsRequest, name: &str) -> String {
    let mut fields = form_urlencoded::parse(&request.body);
    fields.find(|(field, _)| field == name).map(|(_, value)| value.into_owned()).expect("the field is there")
}

/// The JSON Web Token of `Authorization: Bearer`.
pub fn bearer(request: &TlsRequest) -> &str {
    header(request, "authorization").strip_prefix("Bearer ").expect("it is a bearer token")
}

/// Header and claims of a token that this key of the tests has signed: a PEM file's name, or the secret of the examples.
pub fn verified(token: &str, key: Option<&str>) -> (Value, Value) {
    let (message, signature) = token.rsplit_once('.').expect("a token has three parts");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("it is base64url");
    let (header, claims) = message.split_once('.').expect("a token has three parts");
    let [header, claims]: [Value; 2] =
        [header, claims].map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap());
    let algorithm = header["alg"].as_str().expect("it says what has signed it");
    let verified = match (algorithm, key) {
        ("HS256", None) => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
            hmac::verify(&key, message.as_bytes(), &signature)
        }
        ("RS256", Some(pem)) => {
            let pair = KeyPair::from_pkcs8(&der(pem)).expect("it is a key for RSA");
            let public = PublicKeyComponents::<Vec<u8>>::from(pair.public());
            public.verify(&RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &signature)
        }
        ("ES256", None) => verified_by_its_own_key(&header, message, &signature),
        ("ES256", Some(pem)) => {
            use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
            let random = ring::rand::SystemRandom::new();
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der(pem), &random);
            let public = pair.expect("it is a key for P-256").public_key().as_ref().to_vec();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public).verify(message.as_bytes(), &signature)
        }
        other => panic!("signed by {other:?}"),
    };
    verified.unwrap_or_else(|_| panic!("the signature of {claims} is wrong"));
    (header, claims)
}

/// RFC 9449 section 4.2: the key stands in the proof's header.
fn verified_by_its_own_key(header: &Value, message: &str, signature: &[u8]) -> Result<(), ring::error::Unspecified> {
    let part = |name: &str| URL_SAFE_NO_PAD.decode(header["jwk"][name].as_str().unwrap()).unwrap();
    let public = [&[4][..], &part("x"), &part("y")].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public).verify(message.as_bytes(), signature)
}

/// A private key of the tests.
fn der(pem: &str) -> Vec<u8> {
    let text = file(&format!("src/jws/keys/{pem}")).text;
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(body).expect("it is base64")
}

/// A DPoP proof for this request to an API, over the token that it carries.
pub fn assert_proven(request: &TlsRequest, token: &str, url: &str, key: Option<&str>) {
    let (_, claims) = verified(header(request, "dpop"), key);
    assert_eq!((&claims["htm"], &claims["htu"]), (&request.method.as_str().into(), &url.into()));
    let hash = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, token.as_bytes()));
    assert_eq!(claims["ath"], hash);
}

fn hmac_sha256(key: &[u8], message: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes())
}

/// An HMAC by the secret of the examples, in hex.
pub fn hmac_hex(message: &str) -> String {
    hmac_sha256(SECRET.as_bytes(), message).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same where that secret is the key in base64, in base64.
pub fn hmac_base64(message: &str) -> String {
    STANDARD.encode(hmac_sha256(&URL_SAFE.decode(SECRET).unwrap(), message))
}
