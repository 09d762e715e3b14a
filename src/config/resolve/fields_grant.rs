//! `[credentials.NAME.password]`, `.token_exchange` and `.custom_grant`: grants that are form fields.

use super::Reading;
use super::credential::FORM_FIELDS;
use super::fields::{Fields, Text};
use super::secrets::Alphabet;
use super::subject::subject_header;
use crate::config::file::unknown_choice;
use crate::config::{FieldsGrant, FieldsKind, Problem, SubjectHeader};
use crate::secret::Secret;

/// RFC 8693 section 3: what stands behind the URI that all token types of the registry begin with.
const TOKEN_TYPES: [&str; 6] = ["jwt", "access_token", "id_token", "refresh_token", "saml1", "saml2"];
const TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:";

/// The grant of a kind.
pub(super) fn fields_grant(reading: &mut Reading<'_>, fields: &Fields<'_>, kind: &str) -> Option<FieldsGrant> {
    match kind {
        "password" => password(reading, fields),
        "token_exchange" => token_exchange(reading, fields),
        "custom_grant" => custom(reading, fields),
        _ => None,
    }
}

fn password(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<FieldsGrant> {
    let username = fields.text(reading, "username");
    let password = fields.secret(reading, "password", Alphabet::Text);
    Some(FieldsGrant {
        kind: FieldsKind::Password,
        grant_type: "password".to_owned(),
        plain: vec![("username".to_owned(), username?.value)],
        secret: vec![("password".to_owned(), password?)],
        subject: None,
    })
}

/// Whose token is exchanged.
enum Subject {
    /// Always this one.
    Token(Secret),
    /// That of whoever a request is for.
    Header(SubjectHeader),
}

fn token_exchange(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<FieldsGrant> {
    let subject = match fields.table("subject_token") {
        Some(from) => subject_header(reading, fields, &from).map(Subject::Header),
        None => fields.secret(reading, "subject_token", Alphabet::Text).map(Subject::Token),
    };
    let subject_type = token_type(reading, fields, "subject_token_type");
    let actor = fields.secret(reading, "actor_token", Alphabet::Text);
    let actor_type = token_type(reading, fields, "actor_token_type");
    if let (None, Some(value)) = (fields.value("actor_token"), fields.value("actor_token_type")) {
        let problem = Problem::new("`actor_token_type` has no use without `actor_token`", value.span());
        reading.problem(problem.hint("add `actor_token`, or remove this line"));
    }
    let requested = token_type(reading, fields, "requested_token_type");
    let default = || format!("{TOKEN_TYPE}jwt");
    let mut plain = vec![("subject_token_type".to_owned(), subject_type.unwrap_or_else(default))];
    let (mut secret, subject) = match subject? {
        Subject::Token(token) => (vec![("subject_token".to_owned(), token)], None),
        Subject::Header(header) => (Vec::new(), Some(header)),
    };
    if let Some(actor) = actor {
        plain.push(("actor_token_type".to_owned(), actor_type.unwrap_or_else(default)));
        secret.push(("actor_token".to_owned(), actor));
    }
    plain.extend(requested.map(|requested| ("requested_token_type".to_owned(), requested)));
    let grant_type = "urn:ietf:params:oauth:grant-type:token-exchange".to_owned();
    Some(FieldsGrant { kind: FieldsKind::TokenExchange, grant_type, plain, secret, subject })
}

/// A token type as a URI, which may be written as its last word.
fn token_type(reading: &mut Reading<'_>, fields: &Fields<'_>, key: &str) -> Option<String> {
    let Text { value, span, .. } = fields.text(reading, key)?;
    if TOKEN_TYPES.contains(&value.as_str()) {
        return Some(format!("{TOKEN_TYPE}{value}"));
    }
    if !value.contains(':') {
        reading.problem(unknown_choice(key, &value, &TOKEN_TYPES, "One of these words, or a URI.", span));
        return None;
    }
    Some(value)
}

fn custom(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<FieldsGrant> {
    let grant_type = fields.text(reading, "grant_type");
    let mut secret = Vec::new();
    let parameters = fields.entries("parameters");
    for (name, value) in fields.entries("secret_parameters") {
        let own = name.value.as_str();
        if FORM_FIELDS.contains(&own) || own == "grant_type" {
            let problem = Problem::new(format!("`{own}` is no further parameter"), name.span);
            reading.problem(problem.hint(format!("write `{own}` beside `secret_parameters`, not in it")));
        } else if parameters.iter().any(|(plain, _)| plain.value == own) {
            let problem = Problem::new(format!("`{own}` is a parameter twice"), name.span);
            reading.problem(problem.hint("leave it in `parameters`, or in `secret_parameters` if it is secret"));
        } else if let Some(value) = reading.secret(own, value, Alphabet::Text) {
            secret.push((name.value, value));
        }
    }
    let (kind, grant_type) = (FieldsKind::Custom, grant_type?.value);
    Some(FieldsGrant { kind, grant_type, plain: Vec::new(), secret, subject: None })
}
