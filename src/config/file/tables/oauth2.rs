//! The tables of the OAuth 2.0 grants: their keys in groups, since the grants have most of them in common.

use super::answer::ANSWER;
use super::life::LIFE;
use super::{CERTIFICATE, Key, Shape, TEXT, Table, URL, count, joined, optional, required, table};

pub(super) static CLIENT_CREDENTIALS: Table = table(
    "The OAuth 2.0 client credentials grant, RFC 6749 section 4.4.",
    keys![
        ENDPOINT,
        &[required("client_id", TEXT, "As registered at the authorization server.")],
        PROOF,
        ASSERTION,
        ASKED,
        REACH,
        ANSWERS,
        LIFE,
    ],
);

pub(super) static JWT_BEARER: Table = table(
    "The JWT bearer grant, RFC 7523 section 2.1: an assertion that attache signs stands for a token.",
    keys![
        ENDPOINT,
        &[
            optional(
                "key_file",
                Shape::Secret,
                "A Google service account's key file, which says token endpoint, issuer and key.",
            ),
            optional(
                "private_key",
                Shape::Secret,
                "What signs the assertion: a PEM file of the key (PKCS#8, or PKCS#1 for RSA). Either this or `key_file`.",
            ),
            optional("key_id", TEXT, "The `kid` that the server knows the key by, in the assertion's header."),
            optional(
                "algorithm",
                Shape::Choice(&["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]),
                "What signs the assertion. Default: by the key RS256, ES256, ES384 or EdDSA.",
            ),
            optional("issuer_claim", TEXT, "The assertion's `iss`. Default: `client_id`."),
            optional(
                "subject",
                TEXT,
                "The assertion's `sub`: on whose behalf. Default: `iss`; with `key_file` there is none then.",
            ),
            optional(
                "assertion_audience",
                TEXT,
                "The assertion's `aud`: \"issuer\", \"token_url\" or a text of its own. Default: the issuer if one is \
                 configured, else the token URL.",
            ),
            optional("claims", Shape::Map { keys: "CLAIM", of: &TEXT }, "Further claims of the assertion."),
        ],
        CLIENT,
        PROOF,
        ASKED,
        REACH,
        ANSWERS,
        LIFE,
    ],
);

pub(super) static REFRESH_TOKEN: Table = table(
    "The OAuth 2.0 refresh token grant, RFC 6749 section 6.",
    keys![
        ENDPOINT,
        &[
            required("client_id", TEXT, "As registered at the authorization server."),
            required(
                "refresh_token",
                Shape::Secret,
                "The refresh token to begin with. What the server gives in its place is kept in the store.",
            ),
        ],
        PROOF,
        ASSERTION,
        ASKED,
        REACH,
        ANSWERS,
        LIFE,
    ],
);

pub(super) static PASSWORD: Table = table(
    "The resource owner password credentials grant, RFC 6749 section 4.3.",
    keys![
        ENDPOINT,
        &[
            required("username", TEXT, "Whose tokens these are."),
            required("password", Shape::Secret, "The user's password."),
        ],
        CLIENT,
        PROOF,
        ASSERTION,
        ASKED,
        REACH,
        ANSWERS,
        LIFE,
    ],
);

pub(super) static CUSTOM_GRANT: Table = table(
    "A grant of the server's own, RFC 6749 section 4.5.",
    keys![
        ENDPOINT,
        &[
            required("grant_type", TEXT, "The grant's name, as the server calls it."),
            optional(
                "secret_parameters",
                Shape::Map { keys: "PARAMETER", of: &Shape::Secret },
                "Further form fields that are secret.",
            ),
        ],
        CLIENT,
        PROOF,
        ASSERTION,
        ASKED,
        REACH,
        ANSWERS,
        LIFE,
    ],
);

pub(super) static TOKEN_EXCHANGE: Table = table(
    "Token exchange, RFC 8693: a token of somebody else's stands for one of this server's.",
    keys![
        ENDPOINT,
        &[
            required(
                "subject_token",
                Shape::SecretOr(&SUBJECT_TOKEN),
                "The token to exchange: on whose behalf. A secret, or the header in which clients say it.",
            ),
            optional(
                "subject_token_type",
                TEXT,
                "What it is: jwt, access_token, id_token, refresh_token, saml1, saml2 or a URI. Default: jwt.",
            ),
            optional("actor_token", Shape::Secret, "The token of the party that acts."),
            optional("actor_token_type", TEXT, "What the actor's token is, in the same words. Default: jwt."),
            optional(
                "requested_token_type",
                TEXT,
                "What to exchange it for, in the same words. Default: the server decides.",
            ),
        ],
        CLIENT,
        PROOF,
        ASSERTION,
        ASKED,
        REACH,
        ANSWERS,
        LIFE,
    ],
);

static SUBJECT_TOKEN: Table = table(
    "A subject token that comes with each request.",
    &[
        required("header", TEXT, "The header that it comes in, alone. It is never forwarded."),
        required("clients", Shape::List(&TEXT), "The names of the clients that may say on whose behalf they call."),
    ],
);

pub(super) static GITHUB_APP: Table = table(
    "Installation tokens of a GitHub App.",
    keys![
        &[
            required("app_id", Shape::Either(&[TEXT, count(1, u64::MAX)]), "The App's client id, or its app id."),
            required("private_key", Shape::Secret, "A PEM file of the private key that GitHub made for the App."),
            required(
                "installation_id",
                Shape::Either(&[TEXT, count(1, u64::MAX)]),
                "The App's installation: the number at the end of the address of its settings.",
            ),
            optional(
                "repositories",
                Shape::OneOrMore(&TEXT),
                "Names, without owner, of the only repositories that tokens are for. Default: all of the installation.",
            ),
            optional(
                "permissions",
                Shape::Map { keys: "PERMISSION", of: &Shape::Choice(&["read", "write", "admin"]) },
                "The only permissions of tokens, such as { contents = \"read\" }. Default: all of the App.",
            ),
            optional(
                "api_url",
                URL,
                "Of an enterprise server, such as \"https://github.example/api/v3\". Default https://api.github.com.",
            ),
        ],
        REACH,
        LIFE,
    ],
);

/// Where tokens come from.
const ENDPOINT: &[Key] = &[
    optional("token_url", URL, "The token endpoint. Either this or `issuer`."),
    optional("issuer", URL, "The authorization server, whose token endpoint is discovered (RFC 8414)."),
];

/// The client, where what is presented may be proof enough.
const CLIENT: &[Key] = &[optional(
    "client_id",
    TEXT,
    "As registered at the authorization server. Default: no client is named beside what is presented.",
)];

/// How the client proves itself.
const PROOF: &[Key] = &[
    optional(
        "client_assertion",
        Shape::Secret,
        "A JWT of somebody whom the server trusts, from a file or command that is read anew for every token request.",
    ),
    optional(
        "client_secret",
        Shape::OneOrMore(&Shape::Secret),
        "As registered at the authorization server; two while it is rotated, the newer first. Required by every method \
         with `secret` in its name.",
    ),
    optional(
        "token_endpoint_auth_method",
        TEXT,
        "client_secret_basic, client_secret_basic_raw (not form-encoded), client_secret_post, client_secret_jwt, \
         private_key_jwt, client_assertion, tls_client_auth, self_signed_tls_client_auth or none. Default: client_assertion \
         where there is one; else what discovery says of basic and post, else client_secret_basic.",
    ),
    optional(
        "client_certificate",
        Shape::Table(&CERTIFICATE),
        "The certificate that we show at the token endpoint (mutual TLS). Required by every method with `tls` in its name.",
    ),
    optional(
        "dpop",
        DPOP,
        "Bind tokens to a key, and prove with each request that we have it (RFC 9449). true: a key that is made at start; or \
         a table with one. Default false.",
    ),
];

/// A constant, so that the list lives for ever.
const DPOP: Shape = Shape::Either(&[Shape::Boolean, Shape::Table(&DPOP_KEY)]);

static DPOP_KEY: Table = table(
    "The key that tokens are bound to.",
    &[required("key", Shape::Secret, "A PEM file of the private key (PKCS#8, or PKCS#1 for RSA).")],
);

/// What signs its assertion.
const ASSERTION: &[Key] = &[
    optional(
        "private_key",
        Shape::Secret,
        "For private_key_jwt: a PEM file of the key (PKCS#8, or PKCS#1 for RSA), whose public half is registered.",
    ),
    optional("key_id", TEXT, "The `kid` that the server knows the key by, in the assertion's header."),
    optional(
        "algorithm",
        Shape::Choice(&[
            "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
        ]),
        "What signs the assertion. Default: by the key RS256, ES256, ES384 or EdDSA; HS256 for client_secret_jwt.",
    ),
    optional(
        "assertion_audience",
        TEXT,
        "The assertion's `aud`: \"issuer\", \"token_url\" or a text of its own. Default: the issuer if one is \
         configured, else the token URL.",
    ),
];

/// What is asked for.
const ASKED: &[Key] = &[
    optional("scope", Shape::OneOrMore(&TEXT), "Scopes to ask for."),
    optional("audience", TEXT, "The `audience` parameter that some servers want."),
    optional("resource", Shape::OneOrMore(&TEXT), "RFC 8707 resource indicators."),
    optional(
        "parameters",
        Shape::Map { keys: "PARAMETER", of: &TEXT },
        "Further form fields of the token request; a `grant_type` stands in place of ours.",
    ),
];

/// How the endpoint is reached.
pub(super) const REACH: &[Key] = &[
    optional("private", Shape::Boolean, "The token endpoint's name may resolve to private addresses. Default false."),
    optional("cleartext", Shape::Boolean, "Allow an http:// token endpoint beyond loopback. Default false."),
];

/// What is believed of what servers answer.
const ANSWERS: &[Key] = &[
    optional("issuer_check", Shape::Boolean, "A discovered issuer has to equal `issuer`. Default true."),
    optional(
        "answer",
        Shape::Table(&ANSWER),
        "Where token and lifetime are in an answer that is not as RFC 6749 says.",
    ),
];
