//! The credentials that sign each request.

use super::{TEXT, Table, optional, required, table};
use crate::config::file::Shape;

pub(super) static AWS_SIGV4: Table = table(
    "AWS Signature Version 4, in the header.",
    &[
        required("access_key_id", TEXT, "Says whose key it is; no secret."),
        required("secret_access_key", Shape::Secret, "Signs, and is never sent."),
        optional("session_token", Shape::Secret, "Of temporary credentials: sent with each request."),
        required("region", TEXT, "Such as \"eu-central-1\"."),
        required("service", TEXT, "The service's signing name, such as \"execute-api\", \"dynamodb\" or \"s3\"."),
    ],
);
