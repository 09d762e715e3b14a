//! `[credentials.NAME.metadata]`: tokens of the metadata server of the cloud that attache runs in.

use super::Reading;
use super::credential::{refuse_cleartext, token_life};
use super::fields::{Fields, Text};
use super::secrets::Alphabet;
use crate::config::{HttpUrl, Metadata, MetadataRequest, Problem};

/// Where the machines of every cloud find their metadata server. An address, which no name server can bend.
const SERVER: &str = "http://169.254.169.254";
/// Names of Google's server, which mean that address.
const GOOGLE_NAMES: [&str; 2] = ["metadata.google.internal", "metadata"];

/// What only one of the providers takes.
const AZURE_KEYS: [&str; 3] = ["resource", "client_id", "identity_header"];
const GOOGLE_KEYS: [&str; 3] = ["account", "scope", "audience"];

pub(super) fn metadata(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<Metadata> {
    let mut life = token_life(reading, fields);
    let url = url(reading, fields, life.cleartext);
    let provider = fields.choice(reading, "provider");
    let request = match provider? {
        "azure" => {
            refuse_keys(reading, fields, &GOOGLE_KEYS, "google");
            azure(reading, fields)
        }
        _ => {
            refuse_keys(reading, fields, &AZURE_KEYS, "azure");
            google(reading, fields)
        }
    };
    let url = url?;
    // What stays on this machine or its link, no network sees.
    life.cleartext |= url.is_link_local();
    Some(Metadata { url, request: request?, life })
}

fn url(reading: &mut Reading<'_>, fields: &Fields<'_>, cleartext: bool) -> Option<HttpUrl> {
    let Some(text) = fields.text(reading, "url") else {
        // A value of the wrong type was reported.
        return HttpUrl::parse(SERVER).ok().filter(|_| fields.value("url").is_none());
    };
    let mut url = reading.url("url", &text)?;
    if GOOGLE_NAMES.contains(&url.host.as_str()) {
        let why = format!("`url`: {} is only a name of the address that is asked anyway", url.host);
        return reading.refuse((why, "leave `url` out".to_owned()), &text.span);
    }
    if url.has_query() {
        let why = "`url` has no query here".to_owned();
        return reading.refuse((why, "leave it out: attache adds what is asked for".to_owned()), &text.span);
    }
    if !url.is_link_local() {
        refuse_cleartext(reading, &url, cleartext, "a token", &text);
    }
    url.path.truncate(url.path.trim_end_matches('/').len());
    Some(url)
}

fn azure(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<MetadataRequest> {
    let resource = fields.text(reading, "resource");
    let client_id = fields.text(reading, "client_id").map(|text| text.value);
    let identity_header = fields.secret(reading, "identity_header", Alphabet::HeaderValue);
    let Some(resource) = resource else {
        if fields.value("resource").is_none() && !fields.is_misspelt("resource") && !fields.is_misplaced("resource") {
            let hint = "write the API that the token is for, such as `resource = \"https://graph.microsoft.com\"`";
            reading.problem(Problem::new("`resource` is missing", fields.span.clone()).hint(hint));
        }
        return None;
    };
    if let Some(meant) = resource.value.strip_suffix("/.default") {
        let hint = format!("write \"{meant}\": a metadata server knows no scopes");
        return reading.refuse(("`resource` is a scope".to_owned(), hint), &resource.span);
    }
    if identity_header.is_some() && fields.value("url").is_none() {
        let why = "`identity_header` has no use without `url`".to_owned();
        let hint = "add `url = { env = \"IDENTITY_ENDPOINT\" }`, which is where App Service wants it".to_owned();
        return reading.refuse((why, hint), &fields.span);
    }
    Some(MetadataRequest::Azure { resource: resource.value, client_id, identity_header })
}

fn google(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<MetadataRequest> {
    let account = fields.text(reading, "account");
    let scope = fields.texts(reading, "scope");
    let audience = fields.text(reading, "audience").map(|text| text.value);
    if let Some(account) = &account {
        refuse_no_account(reading, account)?;
    }
    let account = account.map_or_else(|| "default".to_owned(), |text| text.value);
    let Some(audience) = audience else {
        let scopes = scope.iter().flat_map(|text| text.value.split_ascii_whitespace());
        return Some(MetadataRequest::Google { account, scope: scopes.map(str::to_owned).collect() });
    };
    if let Some(scope) = scope.first() {
        let why = "`scope` and `audience` exclude each other".to_owned();
        let hint = "an access token has scopes, an identity token an audience".to_owned();
        return reading.refuse((why, hint), &scope.span);
    }
    Some(MetadataRequest::GoogleIdentity { account, audience })
}

/// It stands in the path that is asked for.
fn refuse_no_account(reading: &mut Reading<'_>, account: &Text) -> Option<()> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'@' | b'.');
    if account.value.bytes().all(legal) && account.value.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
        return Some(());
    }
    let why = "`account` is no service account".to_owned();
    reading.refuse((why, "write its e-mail address, or \"default\"".to_owned()), &account.span)
}

fn refuse_keys(reading: &mut Reading<'_>, fields: &Fields<'_>, keys: &[&str], provider: &str) {
    for key in keys {
        let Some(value) = fields.value(key) else { continue };
        let message = format!("`{key}` has no use with this provider");
        let problem = Problem::new(message, value.span());
        reading.problem(problem.hint(format!("remove it, or say `provider = \"{provider}\"`")));
    }
}
