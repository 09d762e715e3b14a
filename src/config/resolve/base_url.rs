//! `url = "{NAME}/path"` of an upstream, and `answer.base_urls` of its credential: where the token's answer says the base URL.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Reading;
use super::fields::{Fields, Text, text};
use super::known::is_value_name;
use crate::config::file::{Format, Value};
use crate::config::problem::did_you_mean;
use crate::config::{
    AllowedHost, AnswerPlace, AnswerShape, BaseUrl, Credential, CredentialKind, HttpUrl, Problem, UpstreamUrl,
};

/// What stands before the country in names that are registered below it: `co.uk`, `com.au`.
const REGISTRIES: &[&str] = &["ac", "co", "com", "edu", "gob", "gov", "go", "gv", "ne", "net", "or", "org"];

/// `answer.base_urls`: every value that may be named in an upstream's `url`.
pub(super) fn base_urls(reading: &mut Reading<'_>, answer: &Fields<'_>) -> BTreeMap<String, BaseUrl> {
    let mut found = BTreeMap::new();
    for (name, value) in answer.entries("base_urls") {
        let hosts = allowed_hosts(reading, value);
        if is_value_name(reading, &name) {
            // What the upstreams say of cleartext is known later.
            found.insert(name.value, BaseUrl { hosts, cleartext: false });
        }
    }
    found
}

fn allowed_hosts(reading: &mut Reading<'_>, value: &Value<'_>) -> Vec<AllowedHost> {
    let items: Vec<&Value<'_>> = match value.get_ref().as_array() {
        Some(items) => items.iter().collect(),
        None => vec![value],
    };
    if items.is_empty() {
        let problem = Problem::new("no host is allowed, so that no token could ever be used", value.span());
        reading.problem(problem.hint("list those of the provider, such as \"*.my.salesforce.com\""));
    }
    let texts: Vec<Text> = items.into_iter().filter_map(|item| text(reading, item, Format::Plain)).collect();
    texts.iter().filter_map(|text| allowed_host(reading, text)).collect()
}

fn allowed_host(reading: &mut Reading<'_>, text: &Text) -> Option<AllowedHost> {
    let refuse = |reading: &mut Reading<'_>, why: &str, hint: &str| {
        reading.refuse((why.to_owned(), hint.to_owned()), &text.span)
    };
    let (name, below) = match text.value.strip_prefix("*.") {
        Some(suffix) => (suffix, true),
        None => (text.value.as_str(), false),
    };
    if name.contains('*') {
        return refuse(
            reading,
            "`*` stands for the beginning of a name, up to a dot",
            "write such as \"*.my.salesforce.com\", or the whole name",
        );
    }
    if name.contains("://") {
        return refuse(reading, "an allowed host is a name, not a URL", "leave out the scheme and the path");
    }
    let url = match HttpUrl::parse(&format!("https://{name}")) {
        Ok(url) if url.path.is_empty() && !(below && url.ip.is_some()) => url,
        _ => {
            if name.contains('@') {
                // There may be a password before it.
                reading.hide(text);
            }
            let hint = "write a name, \"*.\" and a name, or an address, with a port unless that is the scheme's own";
            return refuse(reading, "this is no host", hint);
        }
    };
    if below && is_public(&url.host) {
        return refuse(
            reading,
            "anybody can have a host under that name",
            "write the name under which only the provider gives out hosts, such as \"*.my.salesforce.com\"",
        );
    }
    let has_port = name.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    Some(AllowedHost { name: url.host, below, port: has_port.then_some(url.port) })
}

/// Whether names are registered directly below: `com`, `co.uk`. A guard against a slip, not a list of all registries.
fn is_public(name: &str) -> bool {
    match *name.split('.').collect::<Vec<_>>() {
        [_] => true,
        [second, country] => country.len() == 2 && REGISTRIES.contains(&second),
        _ => false,
    }
}

/// Which values of a credential's answer its upstreams name, each with whether all of them allow cleartext.
#[derive(Debug, Default)]
pub(super) struct Named(BTreeMap<String, BTreeMap<String, bool>>);

impl Named {
    /// Read before the credentials, which only ask of an answer what somebody uses.
    pub(super) fn by_upstreams(reading: &mut Reading<'_>, root: &Fields<'_>) -> Self {
        let mut named = Named::default();
        for (_, fields) in root.named("upstreams") {
            let Some(fields) = fields else { continue };
            // What is wrong with them is said once, whoever reads them.
            let [credential, url] = ["credential", "url"].map(|key| fields.text(reading, key));
            if let (Some(credential), Some((value, _))) = (credential, url.as_ref().and_then(|url| split(&url.value))) {
                let cleartext = fields.boolean("cleartext").unwrap_or(false);
                let values = named.0.entry(credential.value).or_default();
                values.entry(value.to_owned()).and_modify(|all| *all &= cleartext).or_insert(cleartext);
            }
        }
        named
    }

    /// Leaves a credential the base URLs that its upstreams name.
    pub(super) fn settle(&self, credential: &str, kind: &mut CredentialKind) {
        let nothing = BTreeMap::new();
        let named = self.0.get(credential).unwrap_or(&nothing);
        let mut used = BTreeMap::new();
        let (answers, life): (Vec<&mut AnswerShape>, _) = match kind {
            CredentialKind::OAuth2(oauth2) => (vec![&mut oauth2.answer], &mut oauth2.life),
            CredentialKind::Login(login) => {
                let login = Arc::get_mut(login).expect("nobody else has it yet");
                let steps = login.steps.iter_mut().chain(&mut login.refresh);
                (steps.map(|step| &mut step.answer).collect(), &mut login.life)
            }
            CredentialKind::Metadata(_)
            | CredentialKind::Bearer { .. }
            | CredentialKind::ApiKeys(_)
            | CredentialKind::Basic { .. }
            | CredentialKind::BasicKey { .. }
            | CredentialKind::Signature(_) => return,
        };
        for answer in answers {
            answer.base_urls.retain(|name, _| named.contains_key(name));
            for (name, rule) in &mut answer.base_urls {
                rule.cleartext = named.get(name).copied().unwrap_or(false);
                // Without a place of its own, it is the member that is called so.
                answer.values.entry(name.clone()).or_insert_with(|| AnswerPlace::Path(name.clone()));
                used.insert(name.clone(), rule.clone());
            }
        }
        life.attach.base_urls = used;
    }
}

/// The name and the path of `{NAME}/path`.
fn split(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix('{')?.split_once('}')
}

/// Whether a text begins with a value of an answer.
pub(super) fn is_of_token(text: &Text) -> bool {
    text.value.starts_with('{')
}

/// The URL of an upstream that begins with a value of its credential's answer.
pub(super) fn of_token(reading: &mut Reading<'_>, text: &Text, credential: Option<&Credential>) -> Option<UpstreamUrl> {
    let mut refuse = |why: String, hint: &str| reading.refuse((why, hint.to_owned()), &text.span);
    let path = split(&text.value).filter(|(_, path)| path.is_empty() || path.starts_with('/'));
    let Some((value, path)) = path else {
        let why = "`url`: a value of the token's answer stands for scheme, host and port".to_owned();
        return refuse(why, "write such as \"{instance_url}/services/data\"");
    };
    // Parsed behind a host that is of no account, so that paths are the same everywhere.
    let behind = Text { value: format!("https://host.invalid{path}"), ..text.clone() };
    let Some(credential) = credential else {
        let why = format!("`url` names `{{{}}}`, which the answer of a credential would hold", value.escape_debug());
        return refuse(why, "say which: `credential = \"NAME\"`");
    };
    let Some(life) = credential.kind.token_life() else {
        let why = format!("`url` names `{{{}}}`, but no answer comes with `{}`", value.escape_debug(), credential.name);
        return refuse(why, "write the URL itself: this is for credentials whose token is fetched");
    };
    let known = &life.attach.base_urls;
    if !known.contains_key(value) {
        let why = format!("`url`: `{}` has no base URL called `{}`", credential.name, value.escape_debug());
        let mut hint =
            format!("write `answer.base_urls.{value} = [\"*.HOSTS\"]` into its table: the hosts that it may lead to");
        if let Some(meant) = did_you_mean(value, known.keys().map(String::as_str)) {
            hint = meant;
        }
        return refuse(why, &hint);
    }
    let value = value.to_owned();
    let url = super::upstream::prefix(reading, &behind)?;
    Some(UpstreamUrl::OfToken { value, path: url.path })
}
