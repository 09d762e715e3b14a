//! The likely cause of a refusal, as far as the server's own words or our own configuration tell it. What the error's code
//! alone tells is in [`super::failure::hint`].

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::told::Clocks;

/// Assertions live for a minute, so that a clock further off than that breaks them.
const CLOCK_OFF_MIN: Duration = Duration::from_secs(60);

/// What servers say, in lower case, and what is behind it. All words of a row have to be there; the first such row counts.
const SAID: &[(&[&str], &str)] = &[
    // Microsoft Entra: learn.microsoft.com/entra/identity-platform/reference-error-codes
    (&["aadsts7000222:"], "the secret has expired: make a new one in the app registration"),
    (&["aadsts7000215:"], "the secret is wrong: it has to be the secret's value, and not the ID that stands beside it"),
    (&["aadsts7000216:"], EXPECTS_PROOF),
    (&["aadsts7000218:"], EXPECTS_PROOF),
    (&["aadsts700016:"], "check client_id, and the tenant in the URL: the app is not registered in that tenant"),
    (&["aadsts90002:"], "check the tenant in the URL: there is no such tenant"),
    (&["aadsts900023:"], "check the tenant in the URL: it is neither an ID nor a domain"),
    (&["aadsts700027:"], KEY_UNKNOWN),
    (&["aadsts700030:"], KEY_UNKNOWN),
    (&["aadsts700024:"], CLOCK),
    (&["aadsts700023:"], AUDIENCE),
    (&["aadsts50027:"], "the assertion is malformed for this server: check `assertion_audience` and `algorithm`"),
    (
        &["aadsts1002012:"],
        "Microsoft wants a scope that ends in `/.default`, such as \"https://graph.microsoft.com/.default\"",
    ),
    (&["aadsts70011:"], "check `scope`: with Microsoft it is one resource with `/.default` behind it"),
    (
        &["aadsts500011:"],
        "check `scope` or `resource`: the API is unknown in this tenant, or nobody has consented to it there",
    ),
    (&["aadsts7000112:"], "the app is disabled in this tenant"),
    (
        &["aadsts7000229:"],
        "the app has no service principal in this tenant: an administrator has to consent to it first",
    ),
    // Client assertions: Okta, Keycloak, Google, oidc-provider, AWS and others.
    (&["audience claim for client_assertion"], AUDIENCE),
    (&["client assertion", "audience"], AUDIENCE),
    (&["client_assertion", "aud"], AUDIENCE),
    (&["invalid token audience"], AUDIENCE),
    (&["audience is invalid"], AUDIENCE),
    (&["iat and exp"], CLOCK),
    (&["iat", "in the future"], CLOCK),
    (&["assertion", "expired"], CLOCK),
    (&["assertion", "not yet valid"], CLOCK),
    (&["token is not active"], CLOCK),
    (&["expiration time", "claim", "too far in the future"], CLOCK),
    (&["signature", "kid"], KEY_UNKNOWN),
    (&["no matching key"], KEY_UNKNOWN),
    (&["unable to load public key"], KEY_UNKNOWN),
    (&["invalid jwt signature"], KEY_UNKNOWN),
    (&["jwks", "kid"], KEY_UNKNOWN),
    // Auth0
    (&["access_denied", "\"unauthorized\""], WRONG_SECRET),
    (&["service not enabled within domain"], "check `audience`: this tenant has no API of that identifier"),
    (&["client-grant"], "this client is not authorized for the API that `audience` names: authorize it there"),
    // Keycloak
    (&["not enabled to retrieve service account"], "switch on `Service accounts roles` for this client"),
    (&["invalid client or invalid client credentials"], WRONG_SECRET),
    (&["realm does not exist"], "check the realm in the URL"),
    // Salesforce
    (
        &["no client credentials user enabled"],
        "choose a `Run As` user for the client credentials flow of the connected app",
    ),
    (&["request not supported on this domain"], "use the org's own domain (https://NAME.my.salesforce.com) in the URL"),
    // A grant that is not allowed: Auth0, Okta, oidc-provider, Keycloak.
    (&["grant type", "not allowed"], GRANT),
    (&["not authorized to use the provided grant type"], GRANT),
    (&["not allowed", "for this client", "grant"], GRANT),
    // Addresses: WeChat and others.
    (
        &["not in whitelist"],
        "the provider takes requests only from addresses that are listed with it: add this machine's",
    ),
    (
        &["ip address", "not allowed"],
        "the provider takes requests only from addresses that are listed with it: add this machine's",
    ),
    // A secret that has run out, in whose words ever.
    (&["secret", "expired"], "the secret has expired: make a new one at the provider"),
];

const AUDIENCE: &str = "the server wants another audience in the client assertion: set `assertion_audience` to \"token_url\", \"issuer\" \
                        or the text that its documentation names";
const CLOCK: &str = "the assertion's times do not agree with the server's clock: synchronise this machine's";
const KEY_UNKNOWN: &str = "the server does not know the key that signed: register its public half there, and set `key_id` to the ID that \
                           the server gave it";
const EXPECTS_PROOF: &str = "the server found no secret in the request: it wants another `token_endpoint_auth_method`";
const WRONG_SECRET: &str = "check client_id and client_secret: one of them is wrong";
const GRANT: &str =
    "the server does not allow this client this grant: allow it there, or use a credential of another kind";

/// What the words of a failure tell.
pub(super) fn of_words(words: &str) -> Option<&'static str> {
    let words = words.to_lowercase();
    let row = SAID.iter().find(|(all, _)| all.iter().all(|part| words.contains(part)));
    row.map(|(_, cause)| *cause)
}

/// What is odd about a secret that a server does not recognise. (A line break at its end was taken off as it was read.)
pub(super) fn of_secret(secret: &str) -> Option<&'static str> {
    let is_in = |quote: char| secret.len() > 1 && secret.starts_with(quote) && secret.ends_with(quote);
    if is_in('"') || is_in('\'') {
        Some("client_secret stands in quotes, which are sent with it: take them off where it is stored")
    } else if secret.trim() != secret {
        Some("client_secret begins or ends with a space: take it off where it is stored")
    } else if secret.ends_with("\\n") || secret.ends_with("\\r") {
        Some("client_secret ends with a backslash and a letter, as a line break that was written out: take it off")
    } else if secret.starts_with('\u{feff}') {
        Some("client_secret begins with a byte order mark: store it without")
    } else if secret.starts_with("Basic ") || secret.starts_with("Bearer ") {
        Some("client_secret begins with the name of a scheme: store the secret alone")
    } else {
        None
    }
}

/// What a difference of the clocks is worth saying, whatever came of the request.
pub(super) fn of_clocks(clocks: Clocks) -> Option<String> {
    let (by, how) = match clocks {
        Clocks::Ahead(by) => (by, "ahead of"),
        Clocks::Behind(by) => (by, "behind"),
        Clocks::Agree => return None,
    };
    (by > CLOCK_OFF_MIN).then(|| {
        format!(
            "this machine's clock is {} s {how} the server's, by which assertions are judged: synchronise it",
            by.as_secs()
        )
    })
}
