//! `answer` of a credential whose token is fetched.

use super::{Shape, TEXT, TIMEOUT, Table, optional, required, table};

pub(super) static ANSWER: Table = table(
    "Where things are in a token answer. Paths are dotted member names and indices, such as \"accounts.0.token\".",
    &[
        optional(
            "token",
            PLACE,
            "Path of the token, such as \"credentials.token\", or its place beside the members. Default: access_token.",
        ),
        optional("lifetime", PLACE, "Path of the lifetime, or its place. Default: where servers usually have it."),
        optional(
            "lifetime_unit",
            Shape::Choice(&["milliseconds", "seconds", "minutes", "hours"]),
            "The lifetime's unit; it is then relative. Default: seconds for small numbers and for expires_in; larger ones are dates.",
        ),
        optional(
            "lifetime_format",
            TEXT,
            "The lifetime's format: a duration of D, H, MM and SS, such as \"H:MM:SS\", or a date of yyyy, M, d, H (or h with \
             [AM|PM]), mm, ss and ±zz:zz, such as \"M/d/yyyy h:mm:ss [AM|PM] ±zz:zz\". Default: a number, or ISO 8601.",
        ),
        optional(
            "lifetime_default",
            TIMEOUT,
            "How long a token lives whose answer does not say. Default: until it is rejected.",
        ),
        optional(
            "refresh_token",
            PLACE,
            "Path of the refresh token, or its place. Default: refresh_token beside the token, or at the top.",
        ),
        optional(
            "values",
            Shape::Map { keys: "NAME", of: &PLACE },
            "Further values of the answer: `attach` and the requests of later steps can name them, as `{NAME}`.",
        ),
        optional(
            "base_urls",
            Shape::Map { keys: "NAME", of: &Shape::List(&TEXT) },
            "Values, or members, that say where an upstream is whose `url` begins with {NAME}; each with the hosts that it may \
             name, such as \"*.my.salesforce.com\".",
        ),
        optional("success", Shape::Table(&SUCCESS), "What tells a success from an error with status 200."),
        optional("error", TEXT, "Path of what the server says of an error. Default: where servers usually have it."),
    ],
);

const PLACE: Shape = Shape::Either(&[TEXT, Shape::Table(&ANSWER_PLACE)]);

static ANSWER_PLACE: Table = table(
    "A place beside the members of the answer's body: one of these.",
    &[
        optional("header", TEXT, "The header's name."),
        optional("cookie", TEXT, "The name of a cookie that the answer sets."),
        optional(
            "body",
            Shape::Choice(&["whole"]),
            "The whole body, which is a text or a JSON string. Default: its members.",
        ),
    ],
);

static SUCCESS: Table = table(
    "What a success holds, and an error does not.",
    &[
        required("path", TEXT, "Path of a member."),
        required("equals", Shape::Any, "What it then is: a text, a number, or true or false."),
        optional(
            "or_absent",
            Shape::Boolean,
            "Whether an answer without that member is a success, too. Default false.",
        ),
    ],
);
