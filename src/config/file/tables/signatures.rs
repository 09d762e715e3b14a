//! The credentials that sign each request.

use super::life::RENEWAL;
use super::{ALGORITHMS, Key, TEXT, TIMEOUT, Table, URL, joined, optional, required, table};
use crate::config::file::Shape;

pub(super) static AWS_SIGV4: Table = table(
    "AWS Signature Version 4, in the header.",
    keys![
        &[
            optional("access_key_id", TEXT, "Says whose key it is; no secret. Either this or `keys`."),
            optional("secret_access_key", Shape::Secret, "The key of `access_key_id`. Signs, and is never sent."),
            optional("session_token", Shape::Secret, "Of temporary credentials: sent with each request."),
            optional(
                "keys",
                Shape::Choice(&["instance", "container", "web_identity"]),
                "Temporary keys that are fetched: of the EC2 instance's role, of the container's or pod's, or what STS gives \
                 for a token. Default: `access_key_id` and `secret_access_key`.",
            ),
            optional(
                "url",
                URL,
                "For \"container\": AWS_CONTAINER_CREDENTIALS_FULL_URI or AWS_CONTAINER_CREDENTIALS_RELATIVE_URI. For the \
                 others: where the server is, if not where AWS documents it.",
            ),
            optional(
                "authorization_token",
                Shape::Secret,
                "For \"container\": the file that AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names; read for every request.",
            ),
            optional("role_arn", TEXT, "For \"web_identity\": the role to take, AWS_ROLE_ARN."),
            optional(
                "web_identity_token",
                Shape::Secret,
                "For \"web_identity\": the file that AWS_WEB_IDENTITY_TOKEN_FILE names; read for every request.",
            ),
            required("region", TEXT, "Such as \"eu-central-1\"."),
            required("service", TEXT, "The service's signing name, such as \"execute-api\", \"dynamodb\" or \"s3\"."),
            optional("private", Shape::Boolean, "The name in `url` may resolve to private addresses. Default false."),
        ],
        RENEWAL
    ],
);

pub(super) static HMAC: Table = table(
    "An HMAC (RFC 2104) over parts of each request. Texts with placeholders: {method}, {host}, {path}, {query}, {target}, \
     {timestamp}, {nonce}, {body}, {body_sha256}, {body_sha256_base64}, {header:NAME}, {signature}, and the names in `secrets`.",
    &[
        required("key", Shape::Secret, "Signs, and is never sent."),
        optional("key_encoding", Shape::Choice(&["text", "base64", "hex"]), "How the key is written. Default text."),
        optional("algorithm", Shape::Choice(&["sha1", "sha256", "sha512"]), "The hash. Default sha256."),
        required(
            "string_to_sign",
            TEXT,
            "What is signed, with placeholders, such as \"{timestamp}{method}{target}{body}\".",
        ),
        optional("signature_encoding", Shape::Choice(&["hex", "base64"]), "How {signature} is written. Default hex."),
        optional(
            "timestamp",
            Shape::Choice(&["seconds", "milliseconds", "iso8601", "http_date"]),
            "How {timestamp} is written. Default seconds.",
        ),
        optional(
            "secrets",
            Shape::Map { keys: "NAME", of: &Shape::Secret },
            "Further secrets, such as a key's id or a passphrase; each is a placeholder of its name.",
        ),
        optional(
            "headers",
            Shape::Map { keys: "HEADER", of: &TEXT },
            "Headers to set, with placeholders. Those without {signature} are set before anything is signed.",
        ),
        optional(
            "query",
            Shape::Map { keys: "PARAMETER", of: &TEXT },
            "Query parameters to add, with placeholders. Those without {signature} are added before anything is signed.",
        ),
    ],
);

pub(super) static JWT: Table = table(
    "A JSON Web Token that attache signs itself, in place of one that is fetched.",
    &[
        optional(
            "private_key",
            Shape::Secret,
            "A PEM file of the key (PKCS#8, or PKCS#1 for RSA), whose public half the API knows. Either this or `secret`.",
        ),
        optional("secret", Shape::Secret, "The secret that the API knows, too; it signs, and is never sent."),
        optional("key_id", TEXT, "The `kid` that the API knows the key by, in the token's header."),
        optional(
            "algorithm",
            Shape::Choice(ALGORITHMS),
            "What signs the token. Default: by the key RS256, ES256, ES384 or EdDSA; HS256 for a secret.",
        ),
        optional("issuer", TEXT, "`iss`: whose token it is."),
        optional("subject", TEXT, "`sub`: on whose behalf."),
        optional("audience", Shape::OneOrMore(&TEXT), "`aud`: which API it is for."),
        optional(
            "claims",
            Shape::Map { keys: "CLAIM", of: &Shape::Either(CLAIM) },
            "Further claims: texts, whole numbers, true or false, lists of texts.",
        ),
        optional("lifetime", TIMEOUT, "From `iat`, which lies up to 60s back, to `exp`. Default 5m."),
        optional(
            "per_request",
            Shape::Boolean,
            "Sign another token for each request, with a `jti`. Default false: one is used until shortly before its end.",
        ),
        optional("header", TEXT, "The header that carries the token. Default Authorization."),
        optional("scheme", TEXT, "What stands before the token. Default Bearer in Authorization, else nothing."),
    ],
);

const CLAIM: &[Shape] = &[TEXT, Shape::Integer { min: 0, max: i64::MAX as u64 }, Shape::Boolean, Shape::List(&TEXT)];
