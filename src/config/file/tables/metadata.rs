//! The table of cloud metadata servers.

use super::life::LIFE;
use super::{Key, Shape, TEXT, Table, URL, joined, optional, required, table};

pub(super) static METADATA: Table = table(
    "Tokens of the metadata server of the cloud that attache runs in.",
    keys![
        &[
            required("provider", Shape::Choice(&["azure", "google"]), "Whose server it is: azure or google."),
            optional(
                "resource",
                TEXT,
                "For azure: the API that the token is for, such as \"https://graph.microsoft.com\".",
            ),
            optional("client_id", TEXT, "For azure: which user-assigned identity. Default: the machine's own."),
            optional(
                "identity_header",
                Shape::Secret,
                "For azure, on App Service, Functions and Container Apps: the secret of IDENTITY_HEADER; `url` is then \
             IDENTITY_ENDPOINT.",
            ),
            optional("account", TEXT, "For google: which service account. Default \"default\"."),
            optional("scope", Shape::OneOrMore(&TEXT), "For google: scopes to ask for. Default: those of the machine."),
            optional(
                "audience",
                TEXT,
                "For google: ask for an identity token for this audience, in place of an access token.",
            ),
            optional("url", URL, "Where the server is, if not at the address that the cloud documents."),
            optional("private", Shape::Boolean, "The name in `url` may resolve to private addresses. Default false."),
            optional(
                "cleartext",
                Shape::Boolean,
                "Allow http:// in `url` beyond this machine and its link. Default false.",
            ),
        ],
        LIFE
    ],
);
