//! How a client proves itself at the token endpoint: the method, and the keys of the file that it takes.

use std::sync::Arc;

use super::Reading;
use super::certificates::certificate_and_key;
use super::fields::Fields;
use crate::config::file::unknown_choice;
use crate::config::{CertificateAndKey, ClientAssertion, ClientProof, Problem, TokenEndpoint, TokenEndpointAuthMethod};
use crate::jws::{Algorithm, SigningKey};

const METHOD: &str = "token_endpoint_auth_method";

/// Every key that only some of the methods take.
const KEYS: [&str; 6] =
    ["client_secret", "client_assertion", "private_key", "key_id", "algorithm", "assertion_audience"];

/// Which clients a grant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clients {
    /// One that proves itself, since nothing else is presented.
    Proven,
    /// One that proves itself, one that shows its id, or none.
    Any,
    /// The same, where the keys that sign are those of what is presented.
    AnyWithoutAssertion,
}

/// How a client proves itself.
pub(super) struct Proofs {
    /// Without one, discovery chooses among those that send a secret.
    pub method: Option<TokenEndpointAuthMethod>,
    pub newer: ClientProof,
    pub older: Option<ClientProof>,
}

/// The method, if one is configured, and what it takes.
pub(super) fn client_proof(
    reading: &mut Reading<'_>,
    fields: &Fields<'_>,
    issuer: Option<&str>,
    clients: Clients,
) -> Option<Proofs> {
    use TokenEndpointAuthMethod::{
        ClientSecretJwt, ForeignAssertion, PrivateKeyJwt, Public, SelfSignedTlsClientAuth, TlsClientAuth,
    };
    if clients != Clients::Proven {
        if fields.value("client_id").is_none() {
            refuse_proof_of_nobody(reading, fields)?;
        }
        if ["client_secret", "client_assertion"].iter().all(|key| fields.value(key).is_none())
            && fields.value(METHOD).is_none()
        {
            refuse_useless_keys(reading, fields, None, clients);
            return Some(Proofs { method: Some(Public), newer: ClientProof::Nothing, older: None });
        }
    }
    let method = method(reading, fields);
    if let (Some(ClientSecretJwt | PrivateKeyJwt), Clients::AnyWithoutAssertion) = (method, clients) {
        return refuse_second_assertion(reading, fields);
    }
    if method.is_none() && fields.value(METHOD).is_some() {
        // It was reported, and what goes with it is anybody's guess: only the secret is looked at.
        fields.secret_and_older(reading, "client_secret");
        return None;
    }
    // Whoever has one has nothing else to prove itself with.
    let has_assertion = fields.value("client_assertion").is_some() && fields.value("client_secret").is_none();
    let method = method.or(has_assertion.then_some(ForeignAssertion));
    refuse_useless_keys(reading, fields, method, clients);
    let mut older = None;
    let newer = match method {
        Some(Public) => ClientProof::Nothing,
        Some(TlsClientAuth | SelfSignedTlsClientAuth) => {
            require_certificate(reading, fields);
            ClientProof::Nothing
        }
        Some(ForeignAssertion) => {
            require(reading, fields, "client_assertion");
            ClientProof::ForeignAssertion(fields.fresh_secret(reading, "client_assertion")?)
        }
        Some(PrivateKeyJwt) => {
            let algorithm = algorithm(reading, fields);
            require(reading, fields, "private_key");
            let key = fields.signing_key(reading, "private_key", algorithm);
            ClientProof::Assertion(assertion(reading, fields, issuer, key)?)
        }
        Some(ClientSecretJwt) => {
            let (key, older_key) = shared_keys(reading, fields).unzip();
            let newer = assertion(reading, fields, issuer, key)?;
            older = older_key
                .flatten()
                .map(|key| ClientProof::Assertion(ClientAssertion { key: Arc::new(key), ..newer.clone() }));
            ClientProof::Assertion(newer)
        }
        _ => {
            if clients == Clients::AnyWithoutAssertion || fields.value("private_key").is_none() {
                require(reading, fields, "client_secret");
            }
            let secrets = fields.secret_and_older(reading, "client_secret")?;
            older = secrets.1.map(ClientProof::Secret);
            ClientProof::Secret(secrets.0)
        }
    };
    Some(Proofs { method, newer, older })
}

fn method(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<TokenEndpointAuthMethod> {
    let text = fields.text(reading, METHOD)?;
    let known = TokenEndpointAuthMethod::ALL.into_iter().find(|method| method.name() == text.value);
    if known.is_none() {
        let names = TokenEndpointAuthMethod::ALL.map(TokenEndpointAuthMethod::name);
        reading.problem(unknown_choice(METHOD, &text.value, &names, "How the client authenticates.", text.span));
    }
    known
}

fn require_certificate(reading: &mut Reading<'_>, fields: &Fields<'_>) {
    if fields.value("client_certificate").is_none() && !fields.is_misspelt("client_certificate") {
        let hint = "write `client_certificate = { cert = \"PATH\", key = \"PATH\" }`";
        reading.problem(Problem::new("`client_certificate` is missing", fields.span.clone()).hint(hint));
    }
}

/// The certificate to show at this endpoint, if there is one. The outer `None`: it cannot be used.
pub(super) fn client_certificate(
    reading: &mut Reading<'_>,
    fields: &Fields<'_>,
    endpoint: Option<&TokenEndpoint>,
) -> Option<Option<Arc<CertificateAndKey>>> {
    let Some(pair) = fields.table("client_certificate") else {
        return fields.value("client_certificate").is_none().then_some(None);
    };
    if let Some(TokenEndpoint::Url(url)) = endpoint
        && !url.https
    {
        let why = "`client_certificate` says something about TLS, but `token_url` is http://".to_owned();
        return reading.refuse((why, "write https://, or remove `client_certificate`".to_owned()), &pair.span);
    }
    certificate_and_key(reading, &pair).map(Arc::new).map(Some)
}

/// A proof without a client whom it would prove.
fn refuse_proof_of_nobody(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<()> {
    let Some((key, value)) = ["client_secret", METHOD].into_iter().find_map(|key| Some((key, fields.value(key)?)))
    else {
        return Some(());
    };
    if fields.is_misspelt("client_id") || fields.is_misplaced("client_id") {
        return None;
    }
    let why = format!("`{key}` has no use without `client_id`");
    reading.refuse((why, format!("add `client_id`, or remove `{key}`")), &value.span())
}

/// The keys of the table sign one assertion, which is that of the grant.
fn refuse_second_assertion<T>(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<T> {
    let why = format!("`{METHOD}` is not for an assertion here: the grant presents one already");
    let hint = "leave it out if the server wants nothing else, or write a method that sends `client_secret`, or `none`";
    reading.refuse((why, hint.to_owned()), &fields.value(METHOD)?.span())
}

/// What a method takes of [`KEYS`].
fn keys_of(method: Option<TokenEndpointAuthMethod>) -> &'static [&'static str] {
    use TokenEndpointAuthMethod::{
        ClientSecretBasic, ClientSecretBasicRaw, ClientSecretJwt, ClientSecretPost, ForeignAssertion, PrivateKeyJwt,
        Public, SelfSignedTlsClientAuth, TlsClientAuth,
    };
    match method {
        None | Some(ClientSecretBasic | ClientSecretBasicRaw | ClientSecretPost) => &["client_secret"],
        Some(ClientSecretJwt) => &["client_secret", "key_id", "algorithm", "assertion_audience"],
        Some(PrivateKeyJwt) => &["private_key", "key_id", "algorithm", "assertion_audience"],
        Some(ForeignAssertion) => &["client_assertion"],
        Some(Public | TlsClientAuth | SelfSignedTlsClientAuth) => &[],
    }
}

fn refuse_useless_keys(
    reading: &mut Reading<'_>,
    fields: &Fields<'_>,
    method: Option<TokenEndpointAuthMethod>,
    clients: Clients,
) {
    let keys = if clients == Clients::AnyWithoutAssertion { &KEYS[..2] } else { &KEYS };
    for key in keys.iter().copied().filter(|key| !keys_of(method).contains(key)) {
        let Some(value) = fields.value(key) else { continue };
        let wanted = match key {
            "client_secret" => "client_secret_basic",
            "client_assertion" => "client_assertion",
            _ => "private_key_jwt",
        };
        let (message, hint) = match method {
            Some(method) => (
                format!("`{key}` has no use with `{METHOD} = \"{}\"`", method.name()),
                format!("remove it, or say `{METHOD} = \"{wanted}\"`"),
            ),
            None => (
                format!("`{key}` has no use without `{METHOD} = \"{wanted}\"`"),
                format!("add that line, or remove `{key}`"),
            ),
        };
        reading.problem(Problem::new(message, value.span()).hint(hint));
    }
}

/// Reports a key that is missing and was not reported under another name or in another place.
pub(super) fn require(reading: &mut Reading<'_>, fields: &Fields<'_>, key: &str) {
    if fields.value(key).is_none() && !fields.is_misspelt(key) && !fields.is_misplaced(key) {
        let hint = format!("write `{key} = {{ file = \"PATH\" }}`, or from where else it is to be read");
        reading.problem(Problem::new(format!("`{key}` is missing"), fields.span.clone()).hint(hint));
    }
}

pub(super) fn algorithm(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<Algorithm> {
    let name = fields.choice(reading, "algorithm")?;
    Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)
}

/// The secret as the key of an HMAC, and the older one.
fn shared_keys(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<(SigningKey, Option<SigningKey>)> {
    let algorithm = algorithm(reading, fields).unwrap_or(Algorithm::Hs256);
    require(reading, fields, "client_secret");
    let secrets = fields.secret_and_older(reading, "client_secret");
    let Some(bytes_min) = algorithm.secret_bytes_min() else {
        let why = format!("a secret does not sign with {}", algorithm.name());
        let hint = "HS256, HS384 and HS512 take a secret; with a private key, the method is `private_key_jwt`";
        return reading.refuse((why, hint.to_owned()), &fields.value("algorithm")?.span());
    };
    let (newer, older) = secrets?;
    if newer.expose().len() < bytes_min
        && let Some(value) = fields.value("client_secret")
    {
        let message = format!("`client_secret` is shorter than the {bytes_min} bytes of {}", algorithm.name());
        let hint = "RFC 7518 section 3.2 asks for as many, and some servers refuse fewer";
        reading.warning(Problem::new(message, value.span()).hint(hint));
    }
    let older = older.and_then(|older| SigningKey::shared(older, algorithm));
    Some((SigningKey::shared(newer, algorithm)?, older))
}

fn assertion(
    reading: &mut Reading<'_>,
    fields: &Fields<'_>,
    issuer: Option<&str>,
    key: Option<SigningKey>,
) -> Option<ClientAssertion> {
    let key_id = fields.text(reading, "key_id").map(|text| text.value);
    let audience = assertion_audience(reading, fields, issuer)?;
    Some(ClientAssertion { key: Arc::new(key?), key_id, audience })
}

/// Whom an assertion is for. The inner `None`: the token endpoint's URL.
pub(super) fn assertion_audience(
    reading: &mut Reading<'_>,
    fields: &Fields<'_>,
    issuer: Option<&str>,
) -> Option<Option<String>> {
    let Some(text) = fields.text(reading, "assertion_audience") else { return Some(issuer.map(str::to_owned)) };
    match (text.value.as_str(), issuer) {
        ("token_url", _) => Some(None),
        ("issuer", Some(issuer)) => Some(Some(issuer.to_owned())),
        ("issuer", None) if fields.value("issuer").is_none() => {
            let why = "`assertion_audience` is the issuer, and none is configured".to_owned();
            reading.refuse((why, "write the issuer's URL itself, or \"token_url\"".to_owned()), &text.span)
        }
        ("", _) => {
            let why = "`assertion_audience` is empty".to_owned();
            reading.refuse((why, "leave it out for the default".to_owned()), &text.span)
        }
        (own, _) => Some(Some(own.to_owned())),
    }
}
