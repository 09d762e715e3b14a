//! The secrets that are planted, and the search for them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::world::World;

/// Name of the variable, and the secret. Each has characters that encodings change.
const SECRETS: [(&str, &str); 25] = [
    ("CLIENT_SECRET_BASIC", "planted+basic/secret=:0001"),
    ("CLIENT_SECRET_RAW", "planted+raw/secret=:000002"),
    ("CLIENT_SECRET_POST", "planted+post/secret=:00003"),
    ("CLIENT_SECRET_WRONG", "planted+wrong/secret=:0004"),
    ("CLIENT_SECRET_RENEWED", "planted+renewed/secret=:18"),
    ("BEARER_TOKEN", "planted+bearer/token=:00005"),
    ("HEADER_KEY", "planted+header/key=:0000006"),
    ("QUERY_KEY", "planted+query/key=&:0000007"),
    ("BASIC_PASSWORD", "planted+basic/password=:008"),
    ("EGRESS_PASSWORD", "planted+egress/password=:09"),
    ("CLIENT_SECRET_DISCOVERED", "planted+discovered/secret=:14"),
    (IN_FILE, "planted+file/secret=:000015"),
    (ROTATED, "planted+rotated/secret=:0019"),
    (BY_COMMAND, "planted+command/secret=:0016"),
    ("AWS_SECRET", "planted+aws/secret=:00000020"),
    ("AWS_SESSION", "planted+aws/session=:0000021"),
    ("HMAC_KEY", "planted+hmac/key=:00000000022"),
    ("HMAC_PHRASE", "planted+hmac/phrase=:000023"),
    ("JWT_SECRET", "planted+jwt/secret=:000000000000024"),
    ("LOGIN_PASSWORD", "planted+login/password=:00025"),
    ("IDENTITY_HEADER", "planted+identity/header=:0026"),
    ("REFRESH_SEED", "planted+refresh/seed=:0000027"),
    ("CLIENT_SECRET_BOUND", "planted+bound/secret=:00041"),
    ("CLIENT_SECRET_EXCHANGED", "planted+exchanged/secret=:42"),
    ("CLIENT_SECRET_BASED", "planted+based/secret=:00043"),
];

/// Signs assertions.
const PRIVATE_KEY: &str = include_str!("../../../src/jws/keys/rsa.pem");

/// Tokens are bound to it.
const DPOP_KEY: &str = include_str!("../../../src/jws/keys/p256.pem");

/// On whose behalf the client calls.
pub const SUBJECT_TOKEN: &str = "planted.subject~token_000-44";

/// Secrets that do not come by the environment.
pub const IN_FILE: &str = "the file";
/// What stands in that file later.
pub const ROTATED: &str = "the file, later";
pub const BY_COMMAND: &str = "the command";

/// What the TLS peer grants.
pub const GRANTED_OVER_TLS: &str = "planted-by-discovery-access-token-0017";

/// What the client presents: known here by its hash only.
pub const CLIENT_KEY: &str = "planted-client-key-0010";
pub const CLIENT_KEY_SHA256: &str = "95e4a114e1d1d8ff78e919af1ab35600319fe5bc4293626568e1cda136453e51";
pub const WRONG_CLIENT_KEY: &str = "planted-wrong-key-00011";
/// A query that is none of our business may still hold a secret.
pub const CLIENT_QUERY_SECRET: &str = "planted-query-of-the-client-0012";

pub fn secret(variable: &str) -> &'static str {
    SECRETS.iter().find(|(name, _)| *name == variable).expect("it is planted").1
}

/// Every spelling of a secret that a careless program could print.
fn spellings(secret: &str) -> Vec<String> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let partly: String = percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC).collect();
    let escaped = secret.replace('/', "\\/");
    let debugged = format!("{:?}", secret.as_bytes());
    let mut all = vec![secret.to_owned(), hex.to_uppercase(), hex, percent.to_lowercase(), percent, form, partly];
    all.extend([escaped, debugged.trim_matches(['[', ']']).to_owned()]);
    // In base64 a secret looks different at each of three offsets; the characters at its borders depend on neighbours.
    for offset in 0..3 {
        let padded = ["a".repeat(offset).as_bytes(), secret.as_bytes()].concat();
        for encoded in [STANDARD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            let inner = encoded.trim_end_matches('=');
            all.push(inner[4..inner.len() - 4].to_owned());
        }
    }
    all
}

/// The variables that attache is started with.
pub fn environment() -> Vec<(&'static str, &'static str)> {
    let planted = SECRETS.into_iter().filter(|(name, _)| ![IN_FILE, ROTATED, BY_COMMAND].contains(name));
    planted.chain([("PRIVATE_KEY", PRIVATE_KEY), ("DPOP_KEY", DPOP_KEY)]).collect()
}

/// Asserts that no secret stands there, nor any of `more`.
pub fn assert_absent<'a>(haystack: &str, what: &str, more: impl IntoIterator<Item = &'a str>) {
    let planted = SECRETS.iter().map(|(_, secret)| *secret).chain([CLIENT_KEY, WRONG_CLIENT_KEY, SUBJECT_TOKEN]);
    let mut looked_for = 0;
    for secret in planted.chain(more) {
        for spelling in spellings(secret) {
            looked_for += 1;
            let found = haystack.lines().find(|line| line.contains(&spelling));
            assert!(found.is_none(), "{secret} as {spelling} in {what}: {}", found.unwrap_or_default());
        }
    }
    assert!(looked_for > 100);
}

/// The key that signs assertions: the lines of its PEM, and a part of what only its owner knows.
fn assert_signing_key_absent(haystack: &str) {
    let lines: Vec<&str> = PRIVATE_KEY.lines().filter(|line| !line.starts_with('-')).collect();
    assert!(lines.len() > 20);
    lines.iter().for_each(|line| assert!(!haystack.contains(line), "a private key as {line}"));
    let der = STANDARD.decode(lines.concat()).expect("PEM is base64");
    // In PKCS #8 of RSA with 2048 bits the private exponent stands around here, behind the modulus (RFC 8017 appendix A.1.2).
    let part = &der[400..424];
    let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers = format!("{part:?}");
    for spelling in [hex.to_uppercase(), hex, numbers.trim_matches(['[', ']']).to_owned()] {
        assert!(!haystack.contains(&spelling), "a private key as {spelling}");
    }
}

/// A private key, or the half of it that is secret, in hexadecimal, in base64 and as numbers.
pub fn assert_keys_absent(haystack: &str, world: &World) {
    assert_signing_key_absent(haystack);
    let own =
        [&world.server, &world.client].map(|identity| (identity.key.serialize_der(), identity.key.serialize_pem()));
    let body: Vec<&str> = DPOP_KEY.lines().filter(|line| !line.starts_with('-')).collect();
    let bound = (STANDARD.decode(body.concat()).expect("PEM is base64"), DPOP_KEY.to_owned());
    for (der, pem) in own.into_iter().chain([bound]) {
        // In PKCS #8 of P-256 the scalar begins here (RFC 5208, RFC 5915).
        let scalar = &der[36..68];
        let hex: String = scalar.iter().map(|byte| format!("{byte:02x}")).collect();
        let numbers = format!("{scalar:?}");
        let line = pem.lines().nth(1).expect("PEM has lines").to_owned();
        for spelling in [hex.to_uppercase(), hex, numbers.trim_matches(['[', ']']).to_owned(), line] {
            assert!(!haystack.contains(&spelling), "a private key as {spelling}");
        }
        assert!(!haystack.contains("PRIVATE KEY"));
    }
}
