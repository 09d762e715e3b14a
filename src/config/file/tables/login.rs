//! `[credentials.NAME.login]`.

use super::answer::ANSWER;
use super::life::LIFE;
use super::oauth2::REACH;
use super::{Key, Shape, TEXT, Table, URL, joined, optional, required, table};

pub(super) static LOGIN: Table = table(
    "A login that is no OAuth 2.0: requests that bring a token, as they are declared.",
    keys![
        &[optional(
            "values",
            Shape::Map { keys: "NAME", of: &Shape::Either(&[TEXT, Shape::Secret]) },
            "What `{NAME}` stands for in the texts of a request: a secret, or a text that is none.",
        )],
        REQUEST,
        &[
            optional(
                "steps",
                Shape::Tables(&STEP),
                "Several requests one after the other, in place of one: each has the keys of a request, and `answer`.",
            ),
            optional(
                "refresh",
                Shape::Table(&REFRESH),
                "A request that renews the token with `{refresh_token}`, which the login was answered. Default: to log in anew.",
            )
        ],
        REACH,
        LIFE,
    ],
);

static STEP: Table = table("One request of a login. Its texts can name what the answers before it held.", REQUEST);

static REFRESH: Table = table(
    "The request that renews a login's token. Its texts can name all that the login was answered. Default of `answer`: that of \
     the token.",
    REQUEST,
);

const REQUEST: &[Key] = &[
    optional("method", Shape::Choice(&["POST", "GET", "PUT", "PATCH"]), "The request's method. Default POST."),
    optional("url", URL, "Where the request goes. Its host holds no secret, and nothing of an answer."),
    optional("query", TEXTS, "Query parameters, which are encoded."),
    optional("headers", TEXTS, "Headers of the request."),
    optional("basic", Shape::Table(&LOGIN_BASIC), "HTTP Basic authentication of the request."),
    optional("form", TEXTS, "A form as the body. Either this or `json`."),
    optional("json", Shape::Any, "A JSON document as the body, written as TOML."),
    optional("answer", Shape::Table(&ANSWER), "Where token and lifetime are in the answer."),
];

const TEXTS: Shape = Shape::Map { keys: "NAME", of: &TEXT };

static LOGIN_BASIC: Table = table(
    "HTTP Basic authentication of a login's request.",
    &[required("username", TEXT, "Without colon."), required("password", TEXT, "Such as \"{password}\".")],
);
