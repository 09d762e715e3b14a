//! `[credentials.NAME.github_app]`: installation tokens of a GitHub App.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Reading;
use super::credential::{refuse_cleartext, token_life};
use super::fields::{Fields, Text, integer, text};
use crate::config::file::Format;
use crate::config::{
    AnswerShape, ClientProof, GithubApp, Grant, HttpUrl, OAuth2, TokenEndpoint, TokenEndpointAuthMethod,
};
use crate::jws::Algorithm;

const API_URL: &str = "https://api.github.com";

pub(super) fn github_app(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<OAuth2> {
    let app_id = id(reading, fields, "app_id");
    let installation_id = id(reading, fields, "installation_id");
    let key = fields.signing_key(reading, "private_key", Some(Algorithm::Rs256));
    let repositories = fields.texts(reading, "repositories");
    let permissions = fields.entries("permissions").into_iter();
    let permissions: BTreeMap<String, String> = permissions
        .filter_map(|(name, value)| Some((name.value, text(reading, value, Format::Plain)?.value)))
        .collect();
    let life = token_life(reading, fields);
    let api_url = api_url(reading, fields, life.cleartext);
    let installation_id = installation_id?;
    if !installation_id.value.bytes().all(|byte| byte.is_ascii_digit()) || installation_id.value.is_empty() {
        let why = "`installation_id` is a number".to_owned();
        let hint = "it ends the address of the page where the App's installation is configured";
        return reading.refuse((why, hint.to_owned()), &installation_id.span);
    }
    let mut url = api_url?;
    let folder = url.path.trim_end_matches('/').to_owned();
    url.path = format!("{folder}/app/installations/{}/access_tokens", installation_id.value);
    let grant = GithubApp {
        key: Arc::new(key?),
        repositories: repositories.into_iter().map(|text| text.value).collect(),
        permissions,
    };
    Some(OAuth2 {
        older_proof: None,
        dpop: None,
        grant: Grant::GithubApp(Box::new(grant)),
        endpoint: TokenEndpoint::Url(url),
        client_id: app_id?.value,
        proof: ClientProof::Nothing,
        client_certificate: None,
        auth_method: Some(TokenEndpointAuthMethod::Public),
        scope: Vec::new(),
        audience: None,
        resource: Vec::new(),
        parameters: BTreeMap::new(),
        issuer_check: true,
        answer: AnswerShape { token: Some("token".into()), ..AnswerShape::default() },
        life,
    })
}

/// An id, which may be written as a number.
fn id(reading: &mut Reading<'_>, fields: &Fields<'_>, key: &str) -> Option<Text> {
    let value = fields.value(key)?;
    match integer(value) {
        Some(number) => Some(Text { value: number.to_string(), span: value.span(), in_file: true }),
        None => fields.text(reading, key),
    }
}

fn api_url(reading: &mut Reading<'_>, fields: &Fields<'_>, cleartext: bool) -> Option<HttpUrl> {
    if fields.value("api_url").is_none() {
        return HttpUrl::parse(API_URL).ok();
    }
    let text = fields.text(reading, "api_url")?;
    let url = reading.url("api_url", &text)?;
    refuse_cleartext(reading, &url, cleartext, "an assertion", &text);
    if url.has_query() {
        let why = ("`api_url` has no query".to_owned(), "such as \"https://github.example/api/v3\"".to_owned());
        return reading.refuse(why, &text.span);
    }
    Some(url)
}
