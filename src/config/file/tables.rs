//! The tables of proxy.toml: every key with what it may hold, once.

/// The keys of these groups, one after the other.
macro_rules! keys {
    ($($group:expr),+ $(,)?) => {{
        const COUNT: usize = 0 $(+ $group.len())+;
        const KEYS: [Key; COUNT] = joined(&[$($group),+]);
        &KEYS
    }};
}

const fn joined<const COUNT: usize>(groups: &[&[Key]]) -> [Key; COUNT] {
    let mut keys = [groups[0][0]; COUNT];
    let (mut group, mut from, mut to) = (0, 0, 0);
    while to < COUNT {
        if from == groups[group].len() {
            (group, from) = (group + 1, 0);
        } else {
            keys[to] = groups[group][from];
            (from, to) = (from + 1, to + 1);
        }
    }
    keys
}

mod aggregate;
mod answer;
mod life;
mod login;
mod metadata;
mod oauth2;
mod signatures;

use super::{Format, Key, Shape, Table};
use aggregate::AGGREGATE;
use login::LOGIN;
use metadata::METADATA;
use oauth2::{CLIENT_CREDENTIALS, CUSTOM_GRANT, GITHUB_APP, JWT_BEARER, PASSWORD, REFRESH_TOKEN, TOKEN_EXCHANGE};
use signatures::{AWS_SIGV4, HMAC, JWT};

const fn required(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key { name, required: true, shape, doc }
}

const fn optional(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key { name, required: false, shape, doc }
}

const fn later(name: &'static str, doc: &'static str) -> Key {
    Key { name, required: false, shape: Shape::Later(doc), doc }
}

const fn table(doc: &'static str, keys: &'static [Key]) -> Table {
    Table { doc, keys, one_kind: false }
}

const TEXT: Shape = Shape::Text(Format::Plain);
const URL: Shape = Shape::Text(Format::Url);
const BASE_URL: Shape = Shape::Text(Format::BaseUrl);
const ADDRESS: Shape = Shape::Text(Format::Address);
const FILE: Shape = Shape::Text(Format::File);
/// A timeout of zero would always be over.
const TIMEOUT: Shape = Shape::Duration { zero: false };
const SPAN: Shape = Shape::Duration { zero: true };

const fn count(min: u64, max: u64) -> Shape {
    Shape::Integer { min, max }
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const TIB: u64 = 1024 * 1024 * MIB;

pub(in crate::config) static ROOT: Table = table(
    "The configuration of attache.",
    &[
        optional("listeners", Shape::Tables(&LISTENER), "Addresses that applications connect to."),
        optional("admin", Shape::Table(&ADMIN), "Health, status and metrics. Without it there is no admin listener."),
        optional("server", Shape::Table(&SERVER), "The process: workers, limits and timeouts towards clients."),
        optional(
            "egress",
            Shape::Table(&EGRESS),
            "How connections leave: for upstreams, token endpoints and discovery.",
        ),
        optional("log", Shape::Table(&LOG), "What is logged, and how."),
        optional("clients", Shape::Map { keys: "NAME", of: &Shape::Table(&CLIENT) }, "Who may call."),
        optional(
            "credentials",
            Shape::Map { keys: "NAME", of: &Shape::Table(&CREDENTIAL) },
            "How we authenticate to upstreams.",
        ),
        optional("upstreams", Shape::Map { keys: "NAME", of: &Shape::Table(&UPSTREAM) }, "Third-party APIs."),
        optional("routes", Shape::Tables(&ROUTE), "Which requests go to which upstream."),
        optional("store", Shape::Table(&STORE), "Where tokens outlive the process: [store.KIND]. Cannot be reloaded."),
    ],
);

static STORE: Table = Table {
    doc: "Where tokens outlive the process: [store.KIND].",
    one_kind: true,
    keys: &[
        optional("file", Shape::Table(&STORE_FILE), "An encrypted file on this machine, for one process."),
        later("redis", "a store that several machines share"),
    ],
};

static STORE_FILE: Table = table(
    "An encrypted file.",
    &[
        required("path", FILE, "Where it is; it is made if there is none. One process at a time has it."),
        required("key", Shape::Secret, "32 random bytes as base64 or hex: `openssl rand -base64 32` prints some."),
    ],
);

static LISTENER: Table = table(
    "An address that applications connect to.",
    &[
        required("address", ADDRESS, "Address and port, such as \"127.0.0.1:8080\"; HTTP/1.1 and HTTP/2 on one port."),
        optional("tls", Shape::Table(&LISTENER_TLS), "Serve TLS. Without it: cleartext."),
    ],
);

static LISTENER_TLS: Table = table(
    "TLS towards clients.",
    &[
        required(
            "certificates",
            Shape::List(&Shape::Table(&CERTIFICATE)),
            "Chosen by SNI; the first one serves clients without SNI or with an unknown name.",
        ),
        later("client_ca", "client certificates"),
    ],
);

static CERTIFICATE: Table = table(
    "A certificate chain and its private key.",
    &[
        required("cert", FILE, "PEM file of the chain, the owner's certificate first."),
        required("key", FILE, "PEM file of the private key."),
    ],
);

static ADMIN: Table = table(
    "The admin listener: /healthz, /readyz, /status and /metrics.",
    &[optional("address", ADDRESS, "Address and port. Default 127.0.0.1:9901. Cannot be reloaded.")],
);

static SERVER: Table = table(
    "The process.",
    &[
        optional("workers", count(1, 1024), "Threads that serve requests. Default min(cores, 4). Cannot be reloaded."),
        optional(
            "drain_delay",
            SPAN,
            "How long listeners go on accepting after readiness went off. Default 5s with [admin], else 0.",
        ),
        optional("drain_timeout", SPAN, "How long requests in flight may take after that. Default 30s."),
        optional("limits", Shape::Table(&LIMITS), "Bounds on what clients may send."),
        optional("timeouts", Shape::Table(&SERVER_TIMEOUTS), "Timeouts towards clients."),
    ],
);

static LIMITS: Table = table(
    "Bounds on what clients may send.",
    &[
        optional("connections_max", count(1, 10_000_000), "Connections over all workers. Default 10000."),
        optional(
            "request_line_bytes_max",
            count(256, MIB),
            "Method, target and version of a request, in bytes. Default 32768.",
        ),
        // hyper's read buffer cannot be smaller than 8 KiB.
        optional("header_bytes_max", count(8 * KIB, 16 * MIB), "All headers of a request, in bytes. Default 65536."),
        optional("headers_max", count(1, 10_000), "Number of headers of a request. Default 100."),
        optional(
            "replay_memory_bytes_max",
            count(0, TIB),
            "Copies of bodies kept for a replay, in bytes over the whole process. Default 67108864. Cannot be reloaded.",
        ),
        optional(
            "aggregate_memory_bytes_max",
            count(64 * KIB, TIB),
            "Answers of parts that aggregates hold, in bytes over the whole process. Default 268435456. Cannot be reloaded.",
        ),
        optional(
            "h2_receive_memory_bytes_max",
            count(64 * KIB, TIB),
            "Receive windows of clients' HTTP/2 connections, in bytes over the whole process; upstreams' are not counted. Default 268435456.",
        ),
    ],
);

static SERVER_TIMEOUTS: Table = table(
    "Timeouts towards clients.",
    &[
        optional(
            "header",
            TIMEOUT,
            "From a request's first byte to the end of its headers; also until a new connection's first byte. Default 10s.",
        ),
        optional("body_idle", TIMEOUT, "Without a byte of a request's body, until the answer's head. Default 30s."),
        optional("idle", TIMEOUT, "A kept-alive connection without a request. Default 75s."),
        optional("tls_handshake", TIMEOUT, "From a connection to the end of its TLS handshake. Default 10s."),
    ],
);

static EGRESS: Table = table(
    "How connections leave.",
    &[
        optional(
            "proxy",
            Shape::Either(&[URL, Shape::Table(&EGRESS_PROXY)]),
            "An HTTP proxy spoken to with CONNECT: its URL, or a table where it wants a password.",
        ),
        optional(
            "no_proxy",
            Shape::List(&TEXT),
            "What is reached directly: host names (with a leading dot their subdomains), addresses, networks, or \"*\".",
        ),
        optional("ca", FILE, "PEM file of roots that are trusted besides the system's."),
    ],
);

static EGRESS_PROXY: Table = table(
    "An HTTP proxy that wants a password.",
    &[
        required("url", URL, "Such as \"http://proxy.example:3128\"."),
        optional("username", TEXT, "For Basic authentication."),
        optional("password", Shape::Secret, "For Basic authentication."),
    ],
);

static LOG: Table = table(
    "What is logged, and how.",
    &[
        optional("format", Shape::Choice(&["text", "json"]), "Text for people, JSON for machines. Default text."),
        optional(
            "level",
            TEXT,
            "off, error, warn, info, debug, trace, or directives (\"info,attache=debug\"). Default info.",
        ),
        optional("access", Shape::Choice(&["on", "off", "true", "false"]), "One line for each request. Default on."),
    ],
);

static CLIENT: Table = Table {
    doc: "Who calls: [clients.NAME.KIND].",
    one_kind: true,
    keys: &[
        optional("key", Shape::Table(&CLIENT_KEY), "Known by its API key; `attache key new NAME` makes one."),
        later("jwt", "clients known by a JWT"),
        later("mtls", "clients known by a certificate"),
        later("basic", "clients known by a password"),
        later("introspection", "clients known by token introspection"),
    ],
};

static CLIENT_KEY: Table = table(
    "A client known by its API key.",
    &[required(
        "sha256",
        Shape::List(&TEXT),
        "SHA-256 of each accepted key, 64 hexadecimal digits; several during a rotation.",
    )],
);

pub(in crate::config) static CREDENTIAL: Table = Table {
    doc: "How we authenticate to an upstream: [credentials.NAME.KIND].",
    one_kind: true,
    keys: &[
        optional("client_credentials", Shape::Table(&CLIENT_CREDENTIALS), "The OAuth 2.0 client credentials grant."),
        optional("jwt_bearer", Shape::Table(&JWT_BEARER), "The JWT bearer grant: an assertion that attache signs."),
        optional("token_exchange", Shape::Table(&TOKEN_EXCHANGE), "Token exchange: a token of somebody else's."),
        optional("password", Shape::Table(&PASSWORD), "The OAuth 2.0 password grant."),
        optional("custom_grant", Shape::Table(&CUSTOM_GRANT), "An OAuth 2.0 grant of the server's own."),
        optional("refresh_token", Shape::Table(&REFRESH_TOKEN), "The OAuth 2.0 refresh token grant."),
        optional("github_app", Shape::Table(&GITHUB_APP), "Installation tokens of a GitHub App."),
        optional("login", Shape::Table(&LOGIN), "A login that is no OAuth 2.0."),
        optional("bearer", Shape::Table(&BEARER), "A fixed Bearer token."),
        optional(
            "api_key",
            Shape::OneOrMore(&Shape::Table(&API_KEY)),
            "A fixed key in a header, in the query or in a cookie; or several, sent together.",
        ),
        optional("basic", Shape::Table(&BASIC), "HTTP Basic authentication."),
        optional("aws_sigv4", Shape::Table(&AWS_SIGV4), "AWS Signature Version 4, over each request."),
        optional("hmac", Shape::Table(&HMAC), "An HMAC over parts of each request."),
        optional("jwt", Shape::Table(&JWT), "A JSON Web Token that attache signs itself."),
        later("authorization_code", "the authorization code grant"),
        later("device", "the device grant"),
        optional(
            "metadata",
            Shape::Table(&METADATA),
            "Tokens of the metadata server of the cloud that attache runs in.",
        ),
    ],
};

/// `alg` of the tokens that we sign.
const ALGORITHMS: &[&str] =
    &["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

static BEARER: Table = table("A fixed Bearer token.", &[required("token", Shape::Secret, "The token.")]);

static API_KEY: Table = table(
    "A fixed key in a header, in the query or in a cookie.",
    &[
        optional("header", TEXT, "The header's name. Either this, `query` or `cookie`."),
        optional("query", TEXT, "The query parameter's name, not encoded."),
        optional("cookie", TEXT, "The cookie's name. The client's own cookie of that name is replaced."),
        optional(
            "scheme",
            TEXT,
            "What stands before the key in a header, such as \"Token\" or \"Token token=\". Default: nothing.",
        ),
        required("value", Shape::Secret, "The key itself."),
    ],
);

static BASIC: Table = table(
    "HTTP Basic authentication, RFC 7617.",
    &[
        optional("username", TEXT, "Without colon. Either this or `key`."),
        optional("password", Shape::Secret, "The password of `username`."),
        optional("key", Shape::Secret, "A key that stands in place of the user name, with no password behind it."),
    ],
);

static UPSTREAM: Table = table(
    "A third-party API.",
    &[
        required(
            "url",
            Shape::Either(&[BASE_URL, Shape::Later("several addresses for one upstream")]),
            "Where it is, with the path that all its requests begin with. What its token says of it: \"{NAME}/path\".",
        ),
        optional("credential", TEXT, "The name of the credential that it wants."),
        optional("ca", FILE, "PEM file of the only roots to trust. Default: the system's and [egress] ca."),
        optional("client_certificate", Shape::Table(&CERTIFICATE), "The certificate that we show (mutual TLS)."),
        optional("private", Shape::Boolean, "Its name may resolve to private addresses. Default false."),
        optional("cleartext", Shape::Boolean, "Allow http:// with a credential beyond loopback. Default false."),
        optional("http", Shape::Choice(&["auto", "1", "2"]), "The version of HTTP. Default auto: what ALPN agrees on."),
        optional("timeouts", Shape::Table(&UPSTREAM_TIMEOUTS), "Timeouts towards the upstream."),
        optional(
            "reject_on",
            Shape::List(&Shape::Either(&[count(200, 599), Shape::Table(&REJECT_ON)])),
            "What counts as a rejection of the credential. Default [401]; with AWS keys that are fetched also what calls them expired.",
        ),
        optional(
            "replay",
            Shape::Choice(&["safe", "any"]),
            "Which rejected requests are sent again: after 401 any, after other statuses idempotent ones (safe) or any. Default safe.",
        ),
        optional("forwarded", Shape::Boolean, "Send our own X-Forwarded-* and Forwarded headers. Default false."),
        optional("openapi", FILE, "JSON file of its OpenAPI document, which the parts of aggregates are held to."),
    ],
);

static UPSTREAM_TIMEOUTS: Table = table(
    "Timeouts towards an upstream.",
    &[
        optional("connect", TIMEOUT, "Name, TCP and TLS together. Default 5s."),
        optional("first_byte", TIMEOUT, "From the request sent to the answer's head. Default 120s."),
        optional("idle", TIMEOUT, "Without progress while a body streams. Default 120s."),
    ],
);

static REJECT_ON: Table = table(
    "An answer that rejects the credential.",
    &[
        required("status", count(200, 599), "The answer's status."),
        optional("body_contains", TEXT, "Only if the complete answer, 8 KiB at most, contains this text."),
    ],
);

static ROUTE: Table = table(
    "Which requests go to which upstream. The most specific route wins.",
    &[
        optional("name", TEXT, "For logs and metrics. Default: methods, host and path."),
        optional("host", TEXT, "Only requests for this host, without port."),
        optional("methods", Shape::List(&TEXT), "Only requests with these methods. Default: all."),
        required("path", TEXT, "Such as \"/crm/{id}/{*rest}\"; {*rest} also matches nothing."),
        optional("upstream", TEXT, "The name of the upstream that answers. Either this or `aggregate`."),
        optional(
            "upstream_path",
            TEXT,
            "What is asked for, after the upstream URL's path. Default: /{*rest} where the route has a rest, else the \
             matched path.",
        ),
        required(
            "clients",
            Shape::Either(&[TEXT, Shape::List(&TEXT)]),
            "The names of the clients that may call, or \"anyone\".",
        ),
        optional("public", Shape::Boolean, "Say it again: anyone beyond this machine may call. Default false."),
        optional("request_headers", Shape::Table(&REQUEST_HEADERS), "Headers of the request to set and remove."),
        optional("response_headers", Shape::Table(&RESPONSE_HEADERS), "Headers of the answer to set and remove."),
        optional("cookies", Shape::Boolean, "Cookies pass, in both directions. Default false."),
        optional("redact_bodies", Shape::Boolean, "Textual answers are scanned for the secret. Default true."),
        optional("timeouts", Shape::Table(&UPSTREAM_TIMEOUTS), "Where they differ from the upstream's."),
        optional(
            "aggregate",
            Shape::Table(&AGGREGATE),
            "Several upstreams are called, and one JSON document is composed of their answers.",
        ),
    ],
);

static REQUEST_HEADERS: Table = table("Edits of the request's headers.", HEADER_EDITS);
static RESPONSE_HEADERS: Table = table("Edits of the answer's headers.", HEADER_EDITS);

const HEADER_EDITS: &[Key] = &[
    optional("set", Shape::Map { keys: "HEADER", of: &TEXT }, "Headers to set, in place of what is there."),
    optional("remove", Shape::List(&TEXT), "Names of headers to remove."),
];
