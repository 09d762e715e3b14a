//! `[upstreams.NAME]`: third-party APIs.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::base_url::{is_of_token, of_token};
use super::certificates::{certificate_and_key, roots};
use super::credential::refuse_cleartext;
use super::fields::{Fields, Text, integer};
use super::named::Named;
use super::{Reading, disk};
use crate::config::{
    Credential, CredentialKind, HttpUrl, HttpVersion, OpenApi, PathPattern, Problem, RejectOn, Replay, Upstream,
    UpstreamTimeouts, UpstreamUrl,
};

const OPENAPI_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

pub(super) const DEFAULT_TIMEOUTS: UpstreamTimeouts = UpstreamTimeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(120),
    idle: Duration::from_secs(120),
};

pub(super) fn upstreams(
    reading: &mut Reading<'_>,
    root: &Fields<'_>,
    credentials: &Named<Credential>,
) -> Named<Upstream> {
    let mut upstreams = Named::new("upstream");
    for (name, fields) in root.named("upstreams") {
        let upstream = fields.and_then(|fields| upstream(reading, &name, &fields, credentials));
        upstreams.add(reading, name, upstream);
    }
    upstreams
}

fn upstream(
    reading: &mut Reading<'_>,
    name: &Text,
    fields: &Fields<'_>,
    credentials: &Named<Credential>,
) -> Option<Upstream> {
    let credential = match fields.value("credential") {
        None => Some(None),
        Some(_) => fields.text(reading, "credential").and_then(|name| credentials.find(reading, &name)).map(Some),
    };
    let url = fields.text(reading, "url").and_then(|text| match is_of_token(&text) {
        true => of_token(reading, &text, credential.as_ref()?.as_deref()),
        false => base_url(reading, fields, &text).map(UpstreamUrl::Fixed),
    });
    let ca = roots(reading, fields);
    let client_certificate = match fields.table("client_certificate") {
        None => Some(None),
        Some(pair) => certificate_and_key(reading, &pair).map(Arc::new).map(Some),
    };
    let http = match fields.choice(reading, "http") {
        Some("1") => HttpVersion::Http1,
        Some("2") => HttpVersion::Http2,
        _ => HttpVersion::Auto,
    };
    let replay = match fields.choice(reading, "replay") {
        Some("any") => Replay::Any,
        _ => Replay::Safe,
    };
    let timeouts = timeouts(reading, fields, DEFAULT_TIMEOUTS);
    let signs_with_fetched_keys = credential.iter().flatten().any(|credential| match &credential.kind {
        CredentialKind::Signature(signature) => signature.fetched_keys().is_some(),
        _ => false,
    });
    let reject_on = reject_on(reading, fields, signs_with_fetched_keys);
    let openapi = openapi(reading, fields);
    Some(Upstream {
        name: name.value.as_str().into(),
        url: url?,
        credential: credential?,
        ca: ca?,
        client_certificate: client_certificate?,
        private: fields.boolean("private").unwrap_or(false),
        http,
        timeouts,
        reject_on,
        replay,
        forwarded: fields.boolean("forwarded").unwrap_or(false),
        openapi: openapi?,
    })
}

fn base_url(reading: &mut Reading<'_>, fields: &Fields<'_>, text: &Text) -> Option<HttpUrl> {
    let url = prefix(reading, text)?;
    if fields.value("credential").is_some() {
        let allowed = fields.boolean("cleartext").unwrap_or(false);
        refuse_cleartext(reading, &url, allowed, "the credential", text);
    }
    for key in ["ca", "client_certificate"] {
        if let Some(value) = fields.value(key).filter(|_| !url.https) {
            let problem = Problem::new(format!("`{key}` says something about TLS, but `url` is http://"), value.span());
            reading.problem(problem.hint(format!("write https://, or remove `{key}`")));
        }
    }
    Some(url)
}

/// What the URLs of all requests begin with, without a slash at its end.
pub(super) fn prefix(reading: &mut Reading<'_>, text: &Text) -> Option<HttpUrl> {
    let before_fragment = text.value.split('#').next().unwrap_or_default();
    if before_fragment.contains('?') {
        // Keys are often in queries.
        reading.hide(text);
        let problem = Problem::new("an upstream's URL has no query", text.span.clone());
        let hint = "what all requests need there is a `[credentials.NAME.api_key]` with `query = \"…\"`";
        reading.problem(problem.hint(hint));
    }
    let mut url = reading.url("url", text)?;
    url.path.truncate(url.path.find('?').unwrap_or(url.path.len()));
    url.path.truncate(url.path.trim_end_matches('/').len());
    if let Err(error) = PathPattern::parse(&format!("{}/", url.path)) {
        let problem = Problem::new(format!("`url`: {}", error.message), text.span.clone());
        reading.problem(problem.hint("write the path as it is sent"));
    }
    Some(url)
}

/// `None` within: there is none.
fn openapi(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<Option<Arc<OpenApi>>> {
    let Some(text) = fields.text(reading, "openapi") else {
        return fields.value("openapi").is_none().then_some(None);
    };
    let file = reading.path(&text.value);
    reading.watched.insert(file.clone());
    let parsed = disk::read(&file, OPENAPI_FILE_BYTES_MAX).and_then(|(bytes, _)| {
        OpenApi::parse(&bytes).map_err(|(message, hint)| (format!("{}: {message}", file.display()), hint))
    });
    match parsed {
        Ok(openapi) => Some(Some(Arc::new(openapi))),
        Err(why) => reading.refuse(why, &text.span),
    }
}

/// The timeouts of an upstream, or those of a route over them.
pub(super) fn timeouts(reading: &mut Reading<'_>, fields: &Fields<'_>, defaults: UpstreamTimeouts) -> UpstreamTimeouts {
    let Some(timeouts) = fields.table("timeouts") else { return defaults };
    UpstreamTimeouts {
        connect: timeouts.duration(reading, "connect").unwrap_or(defaults.connect),
        first_byte: timeouts.duration(reading, "first_byte").unwrap_or(defaults.first_byte),
        idle: timeouts.duration(reading, "idle").unwrap_or(defaults.idle),
    }
}

/// How AWS says that keys are over: by an error's code, 400 from S3 and DynamoDB, else 403; API Gateway by its message alone.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>,
/// <https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html>
const KEYS_ARE_OVER: [(StatusCode, &str); 3] = [
    (StatusCode::BAD_REQUEST, "ExpiredToken"),
    (StatusCode::FORBIDDEN, "ExpiredToken"),
    (StatusCode::FORBIDDEN, "The security token included in the request is expired"),
];

fn reject_on(reading: &mut Reading<'_>, fields: &Fields<'_>, signs_with_fetched_keys: bool) -> Vec<RejectOn> {
    if fields.value("reject_on").is_none() {
        let over = KEYS_ARE_OVER.iter().filter(|_| signs_with_fetched_keys);
        let over = over.map(|(status, text)| RejectOn { status: *status, body_contains: Some((*text).to_owned()) });
        return [RejectOn { status: StatusCode::UNAUTHORIZED, body_contains: None }].into_iter().chain(over).collect();
    }
    // The table of each item that is one, and nothing for numbers.
    let mut tables = fields.tables("reject_on").into_iter();
    let mut rejections = Vec::new();
    for item in fields.list("reject_on") {
        let (status, body_contains) = match item.get_ref().is_table() {
            false => (integer(item), None),
            true => match tables.next() {
                Some(table) => (table.integer("status"), table.text(reading, "body_contains").map(|text| text.value)),
                None => continue,
            },
        };
        let Some(status) = status.and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok()) else {
            continue;
        };
        if status.as_u16() < 400 && body_contains.is_none() {
            let problem =
                Problem::new(format!("every answer with status {} would be a rejection", status.as_u16()), item.span());
            reading.problem(problem.hint("say what tells them apart: `{ status = …, body_contains = \"…\" }`"));
        }
        if body_contains.as_deref() == Some("") {
            let problem = Problem::new("`body_contains` is empty, and would match every answer", item.span());
            reading.problem(problem.hint("leave it out if the status is enough"));
        }
        rejections.push(RejectOn { status, body_contains });
    }
    rejections
}
