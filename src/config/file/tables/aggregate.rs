//! `[routes.aggregate]`: a route that calls several upstreams and composes one JSON document of their answers.

use super::{MIB, TEXT, TIMEOUT, count, optional, required, table};
use crate::config::file::{Shape, Table};

pub(super) static AGGREGATE: Table = table(
    "Several upstreams are called, and one JSON document is composed of their answers.",
    &[
        optional("deadline", TIMEOUT, "For all of it; then 504. Default 30s."),
        optional(
            "report",
            Shape::Choice(&["header", "body"]),
            "Where the answer says which parts failed, and why: `Attache-Parts` or the member `_parts`. Default header; \
             body where `stream` is on.",
        ),
        optional(
            "stream",
            Shape::Boolean,
            "Parts are sent as they are complete; a failure then aborts the connection. Default false.",
        ),
        optional(
            "collision",
            Shape::Choice(&["first", "last", "deep", "concat"]),
            "What happens where two parts say something of one place, in declared order. Default: no two may.",
        ),
        optional("answer", Shape::Any, "A template for the whole answer, in place of the parts' own places."),
        required(
            "parts",
            Shape::Map { keys: "NAME", of: &Shape::Table(&PART) },
            "The calls: [routes.aggregate.parts.NAME], 32 at most.",
        ),
    ],
);

static PART: Table = table(
    "One call of an aggregate.",
    &[
        required("upstream", TEXT, "The name of the upstream that is called."),
        required(
            "path",
            TEXT,
            "What is asked for, after the upstream URL's path, such as \"/customers/{id}\"; may have a query.",
        ),
        optional("method", TEXT, "Default GET; POST where there is a `body`."),
        optional("query", Shape::Map { keys: "PARAMETER", of: &PARAMETER }, "Parameters of the query."),
        optional("headers", Shape::Map { keys: "HEADER", of: &TEXT }, "Headers to send."),
        optional("body", Shape::Any, "JSON to send, with placeholders in its texts."),
        optional(
            "when",
            Shape::Either(&[TEXT, Shape::Table(&WHEN)]),
            "Whether it is called at all: a placeholder that is neither absent, null nor false, or a table that compares one.",
        ),
        optional("for_each", TEXT, "A placeholder of a list: one call for each `{item}`, the answers in its order."),
        optional("concurrency", count(1, 64), "With `for_each`: how many calls run at once. Default 8, at most 64."),
        optional(
            "items_max",
            count(1, 10_000),
            "With `for_each`: with more items the part fails. Default 100, at most 10000.",
        ),
        optional(
            "timeout",
            TIMEOUT,
            "Of one call, with its retries and the wait for a token. Default: the upstream's `first_byte`.",
        ),
        optional(
            "retries",
            count(0, 5),
            "How often a call that can be repeated is made again after a lost connection, 429, 502, 503 or 504. Default 0, at most 5.",
        ),
        optional(
            "success",
            Shape::List(&Shape::Either(&[TEXT, count(200, 599)])),
            "Statuses, and classes of them, that are no failure. Default [\"2xx\"].",
        ),
        optional(
            "bytes_max",
            count(1, 1024 * MIB),
            "Of one answer, decoded, in bytes. Default 4194304, at most 1 GiB.",
        ),
        optional(
            "on_failure",
            Shape::Either(&[Shape::Choice(&["fail", "null", "omit"]), Shape::Table(&ON_FAILURE)]),
            "What becomes of its failure: \"fail\" (the default), \"null\", \"omit\", `{ value = … }`, `{ part = \"NAME\" }` or `{ status = … }`.",
        ),
        optional("target", TEXT, "What of its answer counts: a dotted path, or JSONPath that begins with `$`."),
        optional("into", TEXT, "The dotted path of its place in the answer. Default: its name."),
        optional("merge", Shape::Boolean, "Its members stand there, in place of itself. Default false."),
        optional("hidden", Shape::Boolean, "It is there for other parts only. Default false."),
        optional("pick", Shape::List(&TEXT), "Paths of what is kept; they enter lists by themselves. Default: all."),
        optional("drop", Shape::List(&TEXT), "Paths of what is left out."),
        optional("rename", Shape::Map { keys: "PATH", of: &TEXT }, "New names of members."),
        optional("pages", Shape::Table(&PAGES), "How the pages of a list are followed: one of the four ways."),
    ],
);

/// What a parameter of a query may be.
static PARAMETER: Shape = Shape::Either(&[TEXT, Shape::Boolean, count(0, i64::MAX as u64)]);

static WHEN: Table = table(
    "Compares a value: with `equals` or with `not_equals`.",
    &[
        required("value", TEXT, "The placeholder of the value."),
        optional("equals", Shape::Any, "The value is this, or one of these."),
        optional("not_equals", Shape::Any, "The value is not this, or none of these."),
    ],
);

static ON_FAILURE: Table = table(
    "What stands in place of a part that failed, or the status that the whole fails with.",
    &[
        optional("value", Shape::Any, "This value."),
        optional("part", TEXT, "The answer of another part, which is called only then."),
        optional(
            "status",
            Shape::Either(&[count(400, 599), TEXT]),
            "The whole fails with this status, or with that of the part (\"own\").",
        ),
    ],
);

static PAGES: Table = table(
    "How the pages of a list are followed.",
    &[
        optional("link", Shape::Boolean, "By the `Link` header with rel=\"next\", RFC 8288. Default false."),
        optional("next", TEXT, "By a URL in the answer: its dotted path."),
        optional("cursor", TEXT, "By a cursor in the answer: its dotted path. `parameter` takes it."),
        optional("parameter", TEXT, "The query parameter that takes the cursor."),
        optional("number", TEXT, "By this query parameter, which counts up until a page is empty."),
        optional("first", count(0, 1_000_000), "With `number`: the number of the first page. Default 1."),
        optional(
            "pages_max",
            count(1, 1000),
            "What lies beyond is left out, and the answer says so. Default 10, at most 1000.",
        ),
    ],
);
