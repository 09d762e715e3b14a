//! The keys of `[credentials.NAME.aws_sigv4]`: two that the file has, or where temporary ones are fetched.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;

use super::super::Reading;
use super::super::client_proof::require;
use super::super::credential::{KEEP_WARM, exactly_one, timeouts, warm};
use super::super::fields::{Fields, Text};
use super::super::secrets::Alphabet;
use super::scope_word;
use crate::config::{
    ApiKeyPlace, Attach, AttachPart, AwsKey, AwsKeyPlace, AwsKeys, FetchedAwsKeys, HttpUrl, Piece, Problem, Template,
    TokenLife,
};

/// Where every EC2 instance finds its metadata server.
const INSTANCE: &str = "http://169.254.169.254";
/// Where what `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` says is.
const CONTAINER: &str = "http://169.254.170.2";

const FIXED_KEYS: [&str; 3] = ["access_key_id", "secret_access_key", "session_token"];
const FETCHED_KEYS: [&str; 9] = [
    "url",
    "authorization_token",
    "role_arn",
    "web_identity_token",
    "private",
    "refresh_before",
    "keep_warm",
    "warm",
    "timeouts",
];
const CONTAINER_KEYS: [&str; 1] = ["authorization_token"];
const WEB_IDENTITY_KEYS: [&str; 2] = ["role_arn", "web_identity_token"];

pub(super) fn aws_keys(reading: &mut Reading<'_>, fields: &Fields<'_>, region: Option<&Text>) -> Option<AwsKeys> {
    if !fields.is_misspelt("access_key_id") && !fields.is_misplaced("access_key_id") {
        exactly_one(reading, fields, &["access_key_id", "keys"])?;
    }
    if fields.value("keys").is_none() {
        refuse_keys(reading, fields, &FETCHED_KEYS, "it says how keys are fetched");
        return fixed(reading, fields).map(AwsKeys::Fixed);
    }
    let place = fields.choice(reading, "keys")?;
    refuse_keys(reading, fields, &FIXED_KEYS, "the keys are fetched, all of them");
    if place != "container" {
        refuse_keys(reading, fields, &CONTAINER_KEYS, "it is for `keys = \"container\"`");
    }
    if place != "web_identity" {
        refuse_keys(reading, fields, &WEB_IDENTITY_KEYS, "it is for `keys = \"web_identity\"`");
    }
    let life = life(reading, fields);
    let place = match place {
        "instance" => instance(reading, fields),
        "container" => container(reading, fields),
        _ => web_identity(reading, fields, region),
    };
    let place = place?;
    // What stays on this machine or its link, no network sees.
    let life = TokenLife { cleartext: place.url().is_link_local(), ..life };
    Some(AwsKeys::Fetched(Box::new(FetchedAwsKeys { place, life })))
}

fn fixed(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<AwsKey> {
    let access_key_id = scope_word(reading, fields, "access_key_id");
    require(reading, fields, "secret_access_key");
    let secret_access_key = fields.secret(reading, "secret_access_key", Alphabet::Text);
    let session_token = match fields.value("session_token") {
        None => Some(None),
        Some(_) => fields.attached_secret(reading, "session_token", Alphabet::HeaderValue).map(Some),
    };
    if let (Some(id), None) = (&access_key_id, &session_token.as_ref().and_then(Option::as_ref))
        && id.value.starts_with("ASIA")
    {
        let problem =
            Problem::new("this access key is a temporary one, which needs its `session_token`", id.span.clone());
        reading.warning(problem.hint("keys that begin with ASIA come from STS, together with a session token"));
    }
    Some(AwsKey {
        access_key_id: access_key_id?.value,
        secret_access_key: secret_access_key?,
        session_token: session_token?,
    })
}

fn instance(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<AwsKeyPlace> {
    let mut url = match fields.text(reading, "url") {
        Some(text) => url(reading, text)?,
        None => HttpUrl::parse(INSTANCE).ok()?,
    };
    url.path.truncate(url.path.trim_end_matches('/').len());
    Some(AwsKeyPlace::Instance { url })
}

fn container(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<AwsKeyPlace> {
    let authorization = match fields.value("authorization_token") {
        None => Some(None),
        Some(_) => fields.fresh_secret(reading, "authorization_token").map(Some),
    };
    let Some(text) = fields.text(reading, "url") else {
        if fields.value("url").is_none() && !fields.is_misspelt("url") {
            let hint = "write `url = { env = \"AWS_CONTAINER_CREDENTIALS_FULL_URI\" }`, or on ECS \
                        `url = { env = \"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI\" }`";
            reading.problem(Problem::new("`url` is missing", fields.span.clone()).hint(hint));
        }
        return None;
    };
    let url = url(reading, text)?;
    Some(AwsKeyPlace::Container { url, authorization: authorization? })
}

fn web_identity(reading: &mut Reading<'_>, fields: &Fields<'_>, region: Option<&Text>) -> Option<AwsKeyPlace> {
    let role = role(reading, fields);
    require(reading, fields, "web_identity_token");
    let token = fields.fresh_secret(reading, "web_identity_token");
    let url = match fields.text(reading, "url") {
        Some(text) => url(reading, text),
        None => sts_of(reading, region?),
    };
    Some(AwsKeyPlace::WebIdentity { url: url?, role: role?, token: token? })
}

fn role(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<String> {
    let Some(role) = fields.text(reading, "role_arn") else {
        if fields.value("role_arn").is_none() && !fields.is_misspelt("role_arn") {
            let hint = "write `role_arn = { env = \"AWS_ROLE_ARN\" }`, or the ARN itself";
            reading.problem(Problem::new("`role_arn` is missing", fields.span.clone()).hint(hint));
        }
        return None;
    };
    if role.in_file && !role.value.starts_with("arn:") {
        let hint = "it looks like arn:aws:iam::123456789012:role/attache".to_owned();
        return reading.refuse(("`role_arn` is no ARN".to_owned(), hint), &role.span);
    }
    Some(role.value)
}

/// Where STS is for a region of AWS's open partitions: `eu-west-1`, `cn-north-1`, `us-gov-east-1`. Those of others have more
/// words (`us-isob-east-1`, `eusc-de-east-1`), and domains of their own.
/// <https://docs.aws.amazon.com/general/latest/gr/sts.html>
fn sts_of(reading: &mut Reading<'_>, region: &Text) -> Option<HttpUrl> {
    let name = &region.value;
    let words: Vec<&str> = name.split('-').collect();
    let domain = match words[..] {
        ["cn", _, _] => "amazonaws.com.cn",
        [_, _, _] | ["us", "gov", _, _] => "amazonaws.com",
        _ => {
            let why = "where STS is for this `region` is not known".to_owned();
            let hint = "write it: `url = \"https://sts.REGION.DOMAIN\"`".to_owned();
            return reading.refuse((why, hint), &region.span);
        }
    };
    HttpUrl::parse(&format!("https://sts.{name}.{domain}")).ok()
}

fn url(reading: &mut Reading<'_>, text: Text) -> Option<HttpUrl> {
    let below = text.value.starts_with('/').then(|| format!("{CONTAINER}{}", text.value));
    let text = Text { value: below.unwrap_or(text.value), ..text };
    let url = reading.url("url", &text)?;
    if url.https || url.is_link_local() || url.is_loopback() {
        return Some(url);
    }
    let why = "the keys would go over the network in cleartext".to_owned();
    reading.refuse(
        (why, "write https://: AWS's own cleartext endpoints are on this machine's link".to_owned()),
        &text.span,
    )
}

fn life(reading: &mut Reading<'_>, fields: &Fields<'_>) -> TokenLife {
    let place = ApiKeyPlace::Header(HeaderName::from_static("x-amz-security-token"));
    let value = Template { pieces: vec![Piece::Value("token".to_owned())] };
    TokenLife {
        refresh_before: fields.duration(reading, "refresh_before"),
        keep_warm: fields.duration(reading, "keep_warm").unwrap_or(KEEP_WARM),
        single_active: false,
        warm: warm(reading, fields),
        // AWS takes no keys that are over.
        stale_if_error: Duration::ZERO,
        attach: Attach { parts: vec![AttachPart { place, value }], base_urls: BTreeMap::new() },
        private: fields.boolean("private").unwrap_or(false),
        cleartext: false,
        timeouts: timeouts(reading, fields),
    }
}

fn refuse_keys(reading: &mut Reading<'_>, fields: &Fields<'_>, keys: &[&str], why: &str) {
    for key in keys {
        let Some(value) = fields.value(key) else { continue };
        let problem = Problem::new(format!("`{key}` has no use here: {why}"), value.span());
        reading.problem(problem.hint("remove it"));
    }
}
