use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};

use super::*;

pub const RSA: &str = include_str!("keys/rsa.pem");
pub const RSA_PKCS1: &str = include_str!("keys/rsa-pkcs1.pem");
pub const P256: &str = include_str!("keys/p256.pem");
pub const P384: &str = include_str!("keys/p384.pem");
pub const ED25519_PEM: &str = include_str!("keys/ed25519.pem");
const SHARED: &str = "a-secret-of-sixty-four-bytes-which-is-what-an-HMAC-of-512-wants!";

/// Header and claims of a token whose signature is right.
pub fn verified(token: &str, key: &SigningKey) -> (Value, Value) {
    let (message, signature) = token.rsplit_once('.').expect("a token has three parts");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let verify: &'static dyn VerificationAlgorithm = match key.algorithm() {
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => {
            let hash = hash(key.algorithm()).expect("it is one of HMAC");
            hmac::verify(&hmac::Key::new(hash, key.identity()), message.as_bytes(), &signature).expect("it is right");
            return parts(message);
        }
        Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &RSA_PSS_2048_8192_SHA512,
        Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDsa => &ED25519,
    };
    UnparsedPublicKey::new(verify, key.identity()).verify(message.as_bytes(), &signature).expect("it is right");
    parts(message)
}

fn parts(message: &str) -> (Value, Value) {
    let (header, claims) = message.split_once('.').expect("a header and claims");
    let read = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON");
    (read(header), read(claims))
}

/// Every algorithm, with each key that it takes; the others refuse it.
#[test]
fn every_algorithm_signs_what_its_own_key_verifies() {
    let claims = json!({ "iss": "attache" });
    let mut signed = 0;
    for algorithm in Algorithm::ALL {
        let pem = [RSA, RSA_PKCS1, P256, P384, ED25519_PEM].map(|pem| SigningKey::from_pem(pem, Some(algorithm)).ok());
        let shared = SigningKey::shared(Secret::new(SHARED), algorithm);
        let keys: Vec<SigningKey> = pem.into_iter().chain([shared]).flatten().collect();
        assert_eq!(keys.len(), if algorithm.name().contains('S') && rsa_encoding(algorithm).is_some() { 2 } else { 1 });
        for key in keys {
            let token = key.sign(Some("2026"), &claims).unwrap();
            let (header, said) = verified(token.expose(), &key);
            assert_eq!(header, json!({ "alg": algorithm.name(), "typ": "JWT", "kid": "2026" }));
            assert_eq!(said, claims);
            signed += 1;
        }
    }
    assert_eq!(signed, 3 + 2 * 6 + 3);
    let key = SigningKey::from_pem(P256, None).unwrap();
    assert_eq!(verified(key.sign(None, &claims).unwrap().expose(), &key).0, json!({ "alg": "ES256", "typ": "JWT" }));
}

/// RFC 8037 appendix A.4: Ed25519 signs the same text always in the same way.
#[test]
fn a_signature_is_the_one_of_the_standard() {
    // The key of appendix A.1, as PKCS#8.
    let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    let der = [b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".as_slice(), &seed].concat();
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    let key = SigningKey::from_pem(&pem, None).unwrap();
    let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let expected = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(URL_SAFE_NO_PAD.encode(key.signature(message.as_bytes()).unwrap()), expected);
}

#[test]
fn the_algorithm_is_the_keys_own_unless_another_is_named() {
    for (pem, name) in [(RSA, "RS256"), (RSA_PKCS1, "RS256"), (P256, "ES256"), (P384, "ES384"), (ED25519_PEM, "EdDSA")]
    {
        assert_eq!(SigningKey::from_pem(pem, None).unwrap().algorithm().name(), name);
    }
    let flaw = SigningKey::from_pem(P256, Some(Algorithm::Rs256)).unwrap_err();
    assert_eq!(flaw.message, "a key of the curve P-256 does not sign with RS256");
    assert_eq!(flaw.hint, "it signs with ES256");
}

/// What people have in place of a key is told by its name, and nothing of it is shown.
#[test]
fn what_is_no_usable_key_is_told_by_its_name() {
    let cases = [
        (include_str!("keys/p256-sec1.pem"), "SEC 1", "openssl pkcs8 -topk8"),
        (include_str!("keys/p256-encrypted.pem"), "a passphrase", "openssl pkcs8 -in"),
        (include_str!("keys/rsa-1024.pem"), "fewer than 2048 bits", "2048 to 4096"),
        (include_str!("keys/p521.pem"), "not supported", "P-256, P-384"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "public half", "BEGIN PRIVATE KEY"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be used", "openssl pkey"),
        ("{\"kty\":\"EC\"}", "JSON", "PEM"),
        ("s3cret", "no private key", "BEGIN PRIVATE KEY"),
    ];
    for (text, message, hint) in cases {
        let flaw = SigningKey::from_pem(text, None).unwrap_err();
        assert!(flaw.message.contains(message) && flaw.hint.contains(hint), "{flaw:?}");
        let planted = text.lines().nth(1).unwrap_or("s3cret");
        assert!(!format!("{flaw:?}").contains(planted), "{flaw:?}");
    }
}

#[test]
fn a_key_does_not_print_itself() {
    assert_eq!(format!("{:?}", SigningKey::from_pem(RSA, None).unwrap()), "SigningKey(RS256)");
    let shared = SigningKey::shared(Secret::new(SHARED), Algorithm::Hs512).unwrap();
    assert_eq!(format!("{shared:?}"), "SigningKey(HS512)");
}
