//! The public half of a key, as a JSON Web Key (RFC 7517).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rsa::PublicKeyComponents;
use ring::signature::KeyPair;
use serde_json::{Value, json};

use super::{Algorithm, Key, SigningKey};

impl SigningKey {
    /// The members that RFC 7638 section 3.2 requires, and no others. `None`: a shared secret has no public half.
    pub(super) fn public_jwk(&self) -> Option<Value> {
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        Some(match &self.key {
            Key::Shared(..) => return None,
            Key::Rsa(pair, _) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({ "kty": "RSA", "n": encoded(&public.n), "e": encoded(&public.e) })
            }
            Key::Ecdsa(pair) => {
                let curve = if self.algorithm == Algorithm::Es384 { "P-384" } else { "P-256" };
                // An uncompressed point (SEC 1 section 2.3.3): 4, then both coordinates.
                let coordinates = &pair.public_key().as_ref()[1..];
                let (x, y) = coordinates.split_at(coordinates.len() / 2);
                json!({ "kty": "EC", "crv": curve, "x": encoded(x), "y": encoded(y) })
            }
            Key::Ed25519(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key().as_ref()) }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jws::tests::{ED25519_PEM, P256, P384, RSA};
    use crate::secret::Secret;

    /// RFC 8037 appendix A.2, and what `openssl pkey -text` says of the keys of the tests.
    #[test]
    fn public_halves_are_written_as_the_standard_has_them() {
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let der = [b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".as_slice(), &seed].concat();
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
        let jwk = |pem: &str| SigningKey::from_pem(pem, None).unwrap().public_jwk().unwrap();
        let expected = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        assert_eq!(jwk(&pem), expected);
        for (pem, kty, curve, bytes) in [
            (P256, "EC", Some("P-256"), 32),
            (P384, "EC", Some("P-384"), 48),
            (ED25519_PEM, "OKP", Some("Ed25519"), 32),
        ] {
            let jwk = jwk(pem);
            assert_eq!((jwk["kty"].as_str(), jwk["crv"].as_str()), (Some(kty), curve));
            for coordinate in ["x", "y"].into_iter().take(if kty == "EC" { 2 } else { 1 }) {
                assert_eq!(URL_SAFE_NO_PAD.decode(jwk[coordinate].as_str().unwrap()).unwrap().len(), bytes);
            }
        }
        let rsa = jwk(RSA);
        assert_eq!((rsa["kty"].as_str(), rsa["e"].as_str()), (Some("RSA"), Some("AQAB")));
        assert_eq!(URL_SAFE_NO_PAD.decode(rsa["n"].as_str().unwrap()).unwrap().len(), 256);
        let secret = SigningKey::shared(Secret::new("a-secret-of-thirty-two-bytes-1234"), Algorithm::Hs256).unwrap();
        assert_eq!(secret.public_jwk(), None);
    }
}
