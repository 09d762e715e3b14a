//! A Google service account's key file: JSON that says who signs, with which key, and where tokens come from.

use std::ops::Range;

use serde::Deserialize;

use super::Reading;
use super::fields::{Fields, Text};
use super::secrets::{Alphabet, placeholder_key};
use crate::config::{HttpUrl, TokenEndpoint};
use crate::jws::{Algorithm, SigningKey};
use crate::secret::Secret;

/// What a key file says.
pub(super) struct ServiceAccount {
    pub email: String,
    pub key_id: String,
    pub token_url: HttpUrl,
    /// `None`: no secret is read.
    key: Option<Secret>,
}

/// As Google writes it; the rest of its members are for other protocols.
#[derive(Deserialize)]
struct Written {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    client_email: String,
    #[serde(default)]
    private_key_id: String,
    #[serde(default)]
    private_key: String,
    #[serde(default)]
    token_uri: String,
}

/// Reads `key_file`.
pub(super) fn key_file(reading: &mut Reading<'_>, fields: &Fields<'_>, cleartext: bool) -> Option<ServiceAccount> {
    let span = fields.value("key_file")?.span();
    if fields.is_withheld(reading, "key_file") {
        return Some(ServiceAccount {
            email: "placeholder".to_owned(),
            key_id: "placeholder".to_owned(),
            token_url: HttpUrl::parse("https://placeholder.invalid").ok()?,
            key: None,
        });
    }
    let text = fields.secret(reading, "key_file", Alphabet::Lines)?;
    let Ok(mut written) = serde_json::from_str::<Written>(text.expose()) else {
        let hint = "it is the JSON that Google makes for a service account's key; a PEM file is a `private_key`";
        return reading.refuse(("`key_file` is no key file of a service account".to_owned(), hint.to_owned()), &span);
    };
    let key = Secret::new(std::mem::take(&mut written.private_key));
    refuse_other_kind(reading, &written.kind, &span)?;
    for (name, value) in [
        ("client_email", written.client_email.as_str()),
        ("private_key", key.expose()),
        ("private_key_id", &written.private_key_id),
        ("token_uri", &written.token_uri),
    ] {
        if value.is_empty() {
            let why = format!("`key_file` has no `{name}`");
            return reading.refuse((why, "make a new key for the service account".to_owned()), &span);
        }
    }
    let token_uri = Text { value: written.token_uri, span, in_file: false };
    let token_url = reading.url("token_uri", &token_uri)?;
    super::credential::refuse_cleartext(reading, &token_url, cleartext, "an assertion", &token_uri);
    Some(ServiceAccount { email: written.client_email, key_id: written.private_key_id, token_url, key: Some(key) })
}

/// Google writes other credentials into files of the same name.
fn refuse_other_kind(reading: &mut Reading<'_>, kind: &str, span: &Range<usize>) -> Option<()> {
    let (why, hint) = match kind {
        "service_account" => return Some(()),
        "authorized_user" => ("`key_file` is a person's credentials", "make a key for a service account"),
        "external_account" => (
            "`key_file` is a configuration for workload identity federation",
            "that is `[credentials.NAME.token_exchange]`",
        ),
        _ => ("`key_file` is no key file of a service account", "its `type` has to be `service_account`"),
    };
    reading.refuse((why.to_owned(), hint.to_owned()), span)
}

impl ServiceAccount {
    pub(super) fn endpoint(&self) -> TokenEndpoint {
        TokenEndpoint::Url(self.token_url.clone())
    }

    pub(super) fn signing_key(
        &self,
        reading: &mut Reading<'_>,
        fields: &Fields<'_>,
        algorithm: Option<Algorithm>,
    ) -> Option<SigningKey> {
        match &self.key {
            None => placeholder_key(),
            Some(pem) => fields.key_from_pem(reading, "key_file", pem, algorithm),
        }
    }
}
