//! What every kind of credential has whose token is fetched: when that is, and where the token goes.

use super::{Key, SPAN, Shape, TEXT, TIMEOUT, Table, optional, table};

const REFRESH_BEFORE: Key = optional(
    "refresh_before",
    SPAN,
    "Begin to renew this long before expiry. Default: a quarter of the lifetime, at most 1h.",
);
const KEEP_WARM: Key =
    optional("keep_warm", SPAN, "Renew without traffic if used within this time; \"0\": never. Default 24h.");
const WARM: Key = optional(
    "warm",
    Shape::Choice(&["false", "true", "required"]),
    "Fetch at start; \"required\": before ready. Default false.",
);
const TIMEOUTS: Key = optional("timeouts", Shape::Table(&TOKEN_TIMEOUTS), "Timeouts of token requests.");

pub(super) const LIFE: &[Key] = &[
    REFRESH_BEFORE,
    optional(
        "single_active",
        Shape::Boolean,
        "A new token ends the one before it: none is fetched to try something out, nor to renew one of unknown lifetime. \
         Default false; true for `refresh_token`.",
    ),
    KEEP_WARM,
    WARM,
    optional("stale_if_error", SPAN, "Send an expired token for this long if none can be had. Default 0."),
    optional(
        "attach",
        PLACES,
        "Where the token goes; or several places. Default: the header Authorization, with the scheme Bearer.",
    ),
    TIMEOUTS,
];

/// The same for what is fetched to sign with, and goes nowhere as it is.
pub(super) const RENEWAL: &[Key] = &[REFRESH_BEFORE, KEEP_WARM, WARM, TIMEOUTS];

static TOKEN_TIMEOUTS: Table = table(
    "Timeouts of token requests.",
    &[
        optional("connect", TIMEOUT, "Name, TCP and TLS together. Default 3s."),
        optional("attempt", TIMEOUT, "One attempt, from connecting to the end of the answer. Default 10s."),
        optional("total", TIMEOUT, "All attempts of one fetch together. Default 30s."),
    ],
);

const PLACES: Shape = Shape::OneOrMore(&Shape::Table(&ATTACH));

static ATTACH: Table = table(
    "A place that a token goes to.",
    &[
        optional("header", TEXT, "The header's name. Either this, `query` or `cookie`."),
        optional("query", TEXT, "The query parameter's name, not encoded."),
        optional("cookie", TEXT, "The cookie's name. The client's own cookie of that name is replaced."),
        optional("scheme", TEXT, "What stands before the token in a header, such as \"Bearer\". Default: nothing."),
        optional("value", TEXT, "What is sent, such as \"id={id}, token={token}\". Default: the token alone."),
    ],
);
