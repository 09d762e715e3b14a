//! `[credentials.NAME.KIND]`: how we authenticate to upstreams.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;
use http::header::AUTHORIZATION;

use super::Reading;
use super::answer::{answer, refuse_refresh_token};
use super::api_key::api_keys;
use super::attach::attach;
use super::base_url;
use super::client_proof::{Clients, client_certificate, client_proof, require};
use super::dpop::dpop;
use super::fields::{Fields, Text, text};
use super::fields_grant::fields_grant;
use super::github_app::github_app;
use super::jwt_bearer::jwt_bearer;
use super::key_file::{ServiceAccount, key_file};
use super::known::Known;
use super::login::login;
use super::metadata::metadata;
use super::named::Named;
use super::process::refuse_bad_username;
use super::secrets::Alphabet;
use super::seeds::Seeds;
use super::signature::{aws_sigv4, hmac, jwt};
use crate::config::file::Format;
use crate::config::problem::either;
use crate::config::{
    Attach, Credential, CredentialKind, DPOP, Grant, HttpUrl, OAuth2, Problem, Signature, TokenEndpoint, TokenLife,
    TokenTimeouts, Warm,
};

/// TL-29.
pub(super) const KEEP_WARM: Duration = Duration::from_secs(24 * 3600);

/// Form fields of a token request that are not for `parameters` to set.
pub(super) const FORM_FIELDS: &[&str] =
    &["audience", "client_assertion", "client_assertion_type", "client_id", "client_secret", "resource", "scope"];

/// The same, of the kinds that have a key for them.
const FORM_FIELDS_OF_KINDS: &[&str] = &[
    "actor_token",
    "actor_token_type",
    "grant_type",
    "password",
    "refresh_token",
    "requested_token_type",
    "subject_token",
    "subject_token_type",
    "username",
];

pub(super) fn credentials(reading: &mut Reading<'_>, root: &Fields<'_>) -> Named<Credential> {
    let mut credentials = Named::new("credential");
    let base_urls = base_url::Named::by_upstreams(reading, root);
    let mut seeds = Seeds::default();
    for (name, fields) in root.named("credentials") {
        let kind = fields.and_then(|fields| {
            let kind = fields.kind()?;
            if kind == "api_key" {
                return api_keys(reading, &fields).map(CredentialKind::ApiKeys);
            }
            let fields = fields.table(kind)?;
            match kind {
                "login" => login(reading, &fields).map(|login| CredentialKind::Login(login.into())),
                "metadata" => metadata(reading, &fields).map(|metadata| CredentialKind::Metadata(Box::new(metadata))),
                "bearer" => bearer(reading, &fields),
                "basic" => basic(reading, &fields),
                "aws_sigv4" => aws_sigv4(reading, &fields).map(signature),
                "hmac" => hmac(reading, &fields).map(signature),
                "jwt" => jwt(reading, &fields).map(signature),
                "github_app" => github_app(reading, &fields).map(|oauth2| CredentialKind::OAuth2(Box::new(oauth2))),
                _ => {
                    let oauth2 = oauth2(reading, &fields, kind)?;
                    seeds.add(reading, &name.value, &fields, &oauth2.grant);
                    Some(CredentialKind::OAuth2(Box::new(oauth2)))
                }
            }
        });
        let credential = kind.map(|mut kind| {
            base_urls.settle(&name.value, &mut kind);
            Credential { name: name.value.as_str().into(), kind }
        });
        credentials.add(reading, name, credential);
    }
    credentials
}

impl Credential {
    /// The headers that it sets. A cookie is none of them: the client's other cookies stand beside it.
    pub(in crate::config) fn headers(&self) -> Vec<&HeaderName> {
        match &self.kind {
            CredentialKind::ApiKeys(keys) => keys.iter().filter_map(|key| key.place.header()).collect(),
            CredentialKind::OAuth2(oauth2) => {
                let proof = oauth2.dpop.is_some().then_some(&DPOP);
                oauth2.life.attach.headers().into_iter().chain(proof).collect()
            }
            CredentialKind::Login(login) => login.life.attach.headers(),
            CredentialKind::Metadata(metadata) => metadata.life.attach.headers(),
            CredentialKind::Signature(signature) => signature.headers(),
            CredentialKind::Bearer { .. } | CredentialKind::Basic { .. } | CredentialKind::BasicKey { .. } => {
                vec![&AUTHORIZATION]
            }
        }
    }

    /// The names of the query parameters that it sets, decoded.
    pub(in crate::config) fn query_names(&self) -> Vec<&str> {
        match &self.kind {
            CredentialKind::ApiKeys(keys) => keys.iter().filter_map(|key| key.place.query()).collect(),
            CredentialKind::OAuth2(oauth2) => oauth2.life.attach.query_names(),
            CredentialKind::Login(login) => login.life.attach.query_names(),
            CredentialKind::Metadata(metadata) => metadata.life.attach.query_names(),
            CredentialKind::Signature(signature) => signature.query_names(),
            CredentialKind::Bearer { .. } | CredentialKind::Basic { .. } | CredentialKind::BasicKey { .. } => {
                Vec::new()
            }
        }
    }
}

fn signature(signature: Signature) -> CredentialKind {
    CredentialKind::Signature(Box::new(signature))
}

fn bearer(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<CredentialKind> {
    Some(CredentialKind::Bearer { token: fields.attached_secret(reading, "token", Alphabet::HeaderValue)? })
}

fn basic(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<CredentialKind> {
    exactly_one(reading, fields, &["username", "key"])?;
    if fields.value("key").is_some() {
        return basic_key(reading, fields);
    }
    let username = fields.text(reading, "username");
    require(reading, fields, "password");
    let password = fields.attached_secret(reading, "password", Alphabet::Text);
    let username = username?;
    refuse_bad_username(reading, &username)?;
    Some(CredentialKind::Basic { username: username.value, password: password? })
}

/// What some APIs take for a user name is the secret, and what they take for a password is nothing.
fn basic_key(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Option<CredentialKind> {
    if let Some(password) = fields.value("password") {
        let problem = Problem::new("`password` has no use beside `key`", password.span());
        reading.problem(problem.hint("a key stands alone; a user name and its password are `username` and `password`"));
    }
    let key = fields.attached_secret(reading, "key", Alphabet::Text)?;
    if key.expose().contains(':') {
        let why = "`key` has a colon in it, at which the user name would end (RFC 7617 section 2)".to_owned();
        let hint = "what stands before the colon is the `username`, what stands behind it the `password`".to_owned();
        return reading.refuse((why, hint), &fields.value("key")?.span());
    }
    Some(CredentialKind::BasicKey { key })
}

/// Refuses none of the keys, and more than one.
pub(super) fn exactly_one(reading: &mut Reading<'_>, fields: &Fields<'_>, keys: &[&str]) -> Option<()> {
    let quoted = |key: &&str| format!("`{key}`");
    let all = either(&keys.iter().map(quoted).collect::<Vec<_>>());
    let present: Vec<String> = keys.iter().filter(|key| fields.value(key).is_some()).map(quoted).collect();
    let message = match present.len() {
        0 => format!("{all} is missing"),
        1 => return Some(()),
        _ => format!("{} exclude each other", present.join(" and ")),
    };
    reading.refuse((message, format!("write either {all}")), &fields.span)
}

/// The keys that all grants have, and those of this one.
fn oauth2(reading: &mut Reading<'_>, fields: &Fields<'_>, kind: &str) -> Option<OAuth2> {
    let cleartext = fields.boolean("cleartext").unwrap_or(false);
    let client_id = fields.text(reading, "client_id");
    let (grant, endpoint, clients) = match kind {
        "client_credentials" => (Some(Grant::ClientCredentials), endpoint(reading, fields, cleartext), Clients::Proven),
        "refresh_token" => {
            let seed = fields.secret(reading, "refresh_token", Alphabet::Text);
            let grant = seed.map(|seed| Grant::RefreshToken { seed });
            (grant, endpoint(reading, fields, cleartext), Clients::Proven)
        }
        "jwt_bearer" => {
            let account = key_file(reading, fields, cleartext);
            let endpoint = match fields.value("key_file") {
                Some(_) if ["token_url", "issuer"].iter().all(|key| fields.value(key).is_none()) => {
                    account.as_ref().map(ServiceAccount::endpoint)
                }
                _ => endpoint(reading, fields, cleartext),
            };
            let grant = jwt_bearer(reading, fields, endpoint.as_ref(), account.as_ref());
            (grant.map(|grant| Grant::JwtBearer(Box::new(grant))), endpoint, Clients::AnyWithoutAssertion)
        }
        _ => {
            let grant = fields_grant(reading, fields, kind);
            (grant.map(|grant| Grant::Fields(Box::new(grant))), endpoint(reading, fields, cleartext), Clients::Any)
        }
    };
    let issuer = endpoint.as_ref().and_then(TokenEndpoint::issuer);
    let proof = client_proof(reading, fields, issuer, clients);
    let client_certificate = client_certificate(reading, fields, endpoint.as_ref());
    let dpop = dpop(reading, fields, proof.as_ref().and_then(|proof| proof.method));
    let resource = fields.texts(reading, "resource");
    let audience = fields.text(reading, "audience").map(|text| text.value);
    let parameters = parameters(reading, fields);
    if kind != "refresh_token" {
        refuse_refresh_token(reading, fields, "remove it: this grant asks anew each time");
    }
    let answer = answer(reading, fields);
    let mut life = token_life(reading, fields);
    let mut scope = scope(reading, fields);
    if kind == "jwt_bearer" && fields.value("key_file").is_some() {
        // Google looks for it among the claims, where it is already.
        scope.clear();
    }
    let client_id = match client_id {
        Some(text) => text.value,
        None if clients == Clients::Proven || fields.value("client_id").is_some() => return None,
        None => String::new(),
    };
    let proof = proof?;
    let dpop = dpop?;
    if dpop.is_some() {
        life.attach = Attach::authorization("DPoP");
    }
    Some(OAuth2 {
        grant: grant?,
        endpoint: endpoint?,
        client_id,
        proof: proof.newer,
        older_proof: proof.older,
        dpop,
        client_certificate: client_certificate?,
        auth_method: proof.method,
        scope,
        audience,
        resource: resource.into_iter().map(|text| text.value).collect(),
        parameters,
        issuer_check: fields.boolean("issuer_check").unwrap_or(true),
        answer,
        life,
    })
}

/// RFC 6749 section 3.3: scopes are separated by spaces, as they are often copied.
pub(super) fn scope(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Vec<String> {
    let texts = fields.texts(reading, "scope");
    texts.iter().flat_map(|text| text.value.split_ascii_whitespace()).map(str::to_owned).collect()
}

/// The keys that every kind has whose token is fetched.
pub(super) fn token_life(reading: &mut Reading<'_>, fields: &Fields<'_>) -> TokenLife {
    let attach = attach(reading, fields, &Known::of_answer(fields));
    token_life_with(reading, fields, attach)
}

/// The same, with where the token goes.
pub(super) fn token_life_with(reading: &mut Reading<'_>, fields: &Fields<'_>, attach: Attach) -> TokenLife {
    TokenLife {
        refresh_before: fields.duration(reading, "refresh_before"),
        keep_warm: fields.duration(reading, "keep_warm").unwrap_or(KEEP_WARM),
        // An exchange may use a refresh token up.
        single_active: fields.boolean("single_active").unwrap_or_else(|| fields.declares("refresh_token")),
        warm: warm(reading, fields),
        stale_if_error: fields.duration(reading, "stale_if_error").unwrap_or(Duration::ZERO),
        attach,
        private: fields.boolean("private").unwrap_or(false),
        cleartext: fields.boolean("cleartext").unwrap_or(false),
        timeouts: timeouts(reading, fields),
    }
}

pub(super) fn warm(reading: &mut Reading<'_>, fields: &Fields<'_>) -> Warm {
    match fields.choice(reading, "warm") {
        Some("true") => Warm::Yes,
        Some("required") => Warm::Required,
        _ => Warm::No,
    }
}

fn endpoint(reading: &mut Reading<'_>, fields: &Fields<'_>, cleartext: bool) -> Option<TokenEndpoint> {
    let token_url = fields.text(reading, "token_url");
    let issuer = fields.text(reading, "issuer");
    exactly_one(reading, fields, &["token_url", "issuer"])?;
    if let Some(text) = token_url {
        let url = reading.url("token_url", &text)?;
        refuse_cleartext(reading, &url, cleartext, "a client secret", &text);
        return Some(TokenEndpoint::Url(url));
    }
    let text = issuer?;
    let url = reading.url("issuer", &text)?;
    if url.has_query() {
        let problem = Problem::new("an issuer has no query (RFC 8414 section 2)", text.span.clone());
        reading.problem(problem.hint("if this is the token endpoint itself, call it `token_url`"));
    }
    if url.path.contains("/.well-known/") {
        let problem = Problem::new("an issuer is the URL without `/.well-known/…`", text.span.clone());
        reading.problem(problem.hint("what follows it is added by discovery"));
    }
    refuse_cleartext(reading, &url, cleartext, "a client secret", &text);
    Some(TokenEndpoint::Issuer { issuer: text.value, url })
}

/// SEC-14: nothing secret goes over http, except to loopback or where the file says so.
pub(super) fn refuse_cleartext(reading: &mut Reading<'_>, url: &HttpUrl, allowed: bool, what: &str, text: &Text) {
    if url.https || allowed || url.is_loopback() {
        return;
    }
    let problem = Problem::new(format!("{what} would go over the network in cleartext"), text.span.clone());
    reading.problem(problem.hint("write https://, or say `cleartext = true` if it has to be"));
}

fn parameters(reading: &mut Reading<'_>, fields: &Fields<'_>) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    for (name, value) in fields.entries("parameters") {
        let own = name.value.as_str();
        if FORM_FIELDS.contains(&own)
            || (FORM_FIELDS_OF_KINDS.contains(&own) && fields.declares(own))
            || (own == "assertion" && fields.declares("issuer_claim"))
        {
            // It may be the client secret.
            reading.hide_value(value);
            let hint = match name.value.as_str() {
                "client_assertion" | "client_assertion_type" => {
                    "write `client_assertion` beside `client_id`; `token_endpoint_auth_method = \"private_key_jwt\"` makes one itself"
                        .to_owned()
                }
                key => format!("write `{key}` beside `parameters`, not in it"),
            };
            reading.problem(Problem::new(format!("`{}` is no further parameter", name.value), name.span).hint(hint));
        } else if let Some(text) = text(reading, value, Format::Plain) {
            parameters.insert(name.value, text.value);
        }
    }
    parameters
}

pub(super) fn timeouts(reading: &mut Reading<'_>, fields: &Fields<'_>) -> TokenTimeouts {
    let empty = toml::de::DeTable::new();
    let timeouts = fields.table_or(&empty, "timeouts");
    let [connect, attempt, total] = [("connect", 3), ("attempt", 10), ("total", 30)]
        .map(|(key, default)| (key, timeouts.duration(reading, key).unwrap_or(Duration::from_secs(default))));
    // A default is cut short by what is said. What is said and cannot happen is a mistake.
    for ((part, longer), wholes) in [(connect, &[attempt, total][..]), (attempt, &[total])] {
        let tightest = wholes.iter().filter(|(_, whole)| *whole < longer).min_by_key(|(_, whole)| *whole);
        if let (Some((whole, length)), Some(value)) = (tightest, timeouts.value(part)) {
            let message = format!("`{part}` is longer than `{whole}`, of which it is a part");
            let default = if timeouts.value(whole).is_some() { "" } else { " by default" };
            let hint = format!("lower `{part}`, or raise `{whole}`, which is {length:?}{default}");
            reading.problem(Problem::new(message, value.span()).hint(hint));
        }
    }
    TokenTimeouts { connect: connect.1, attempt: attempt.1, total: total.1 }
}
