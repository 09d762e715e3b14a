use std::time::Duration;

use super::super::endpoint::tests::{Peer, answer};
use super::super::live::{MayRotate, Outcome, Report, probe};
use super::super::oauth2::tests::{grant, parts};
use super::*;
use crate::config::{self, ClientProof, CredentialKind, TokenEndpoint};
use crate::secret::Secret;

/// What providers answer, from their documentation and from what their users report, and a word of the cause that is named.
const ANSWERS: &[(&str, u16, &str, &str)] = &[
    // learn.microsoft.com/entra/identity-platform/reference-error-codes
    (
        "Entra",
        401,
        r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '11111111-2222-3333-4444-555555555555'. Trace ID: 1","error_codes":[7000215]}"#,
        "not the ID",
    ),
    (
        "Entra",
        401,
        r#"{"error":"invalid_client","error_description":"AADSTS7000222: The provided client secret keys for app '11111111-2222-3333-4444-555555555555' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret","error_codes":[7000222]}"#,
        "has expired",
    ),
    (
        "Entra",
        401,
        r#"{"error":"invalid_client","error_description":"AADSTS7000218: The request body must contain the following parameter: 'client_assertion' or 'client_secret'."}"#,
        "token_endpoint_auth_method",
    ),
    (
        "Entra",
        400,
        r#"{"error":"unauthorized_client","error_description":"AADSTS700016: Application with identifier 'x' was not found in the directory 'Contoso'. This can happen if the application has not been installed by the administrator of the tenant"}"#,
        "tenant",
    ),
    (
        "Entra",
        400,
        r#"{"error":"invalid_request","error_description":"AADSTS90002: Tenant 'x' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."}"#,
        "no such tenant",
    ),
    (
        "Entra",
        400,
        r#"{"error":"invalid_request","error_description":"AADSTS900023: Specified tenant identifier 'x' is neither a valid DNS name, nor a valid external domain."}"#,
        "neither an ID nor a domain",
    ),
    (
        "Entra",
        401,
        r#"{"error":"invalid_client","error_description":"AADSTS700027: The certificate with identifier used to sign the client assertion is not registered on application."}"#,
        "register its public half",
    ),
    (
        "Entra",
        401,
        r#"{"error":"invalid_client","error_description":"AADSTS700024: Client assertion is not within its valid time range. Current time: 2026-01-01T00:00:00.0000000Z"}"#,
        "clock",
    ),
    (
        "Entra",
        401,
        r#"{"error":"invalid_client","error_description":"AADSTS700023: Client assertion audience claim does not match Realm issuer."}"#,
        "assertion_audience",
    ),
    (
        "Entra",
        400,
        r#"{"error":"invalid_scope","error_description":"AADSTS1002012: The provided value for scope User.Read is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI)."}"#,
        "/.default",
    ),
    (
        "Entra",
        400,
        r#"{"error":"invalid_scope","error_description":"AADSTS70011: The provided value for the input parameter 'scope' isn't valid. The scope https://example.contoso.com/activity.read isn't valid."}"#,
        "/.default",
    ),
    (
        "Entra",
        400,
        r#"{"error":"invalid_resource","error_description":"AADSTS500011: The resource principal named api://x was not found in the tenant named Contoso."}"#,
        "consented",
    ),
    // github.com/okta/okta-sdk-dotnet/issues/600
    (
        "Okta",
        401,
        r#"{"error":"invalid_client","error_description":"The audience claim for client_assertion must be the endpoint invoked for the request."}"#,
        "assertion_audience",
    ),
    (
        "Okta",
        401,
        r#"{"error":"invalid_client","error_description":"The client_assertion token is expired."}"#,
        "clock",
    ),
    (
        "Okta",
        400,
        r#"{"error":"unauthorized_client","error_description":"The client is not authorized to use the provided grant type. Configured grant types: [authorization_code]."}"#,
        "does not allow this client this grant",
    ),
    (
        "Okta",
        400,
        r#"{"error":"invalid_scope","error_description":"One or more scopes are not configured for the authorization server resource."}"#,
        "scope",
    ),
    // github.com/auth0/auth0-python/issues/173, /ruby-auth0/issues/190 and /terraform-provider-auth0/issues/951
    (
        "Auth0",
        403,
        r#"{"error":"access_denied","error_description":"Service not enabled within domain: https://sample.api.com"}"#,
        "`audience`",
    ),
    (
        "Auth0",
        403,
        r#"{"error":"access_denied","error_description":"Client is not authorized to access \"https://x.auth0.com/api/v2/\". You need to create a \"client-grant\" associated to this API."}"#,
        "authorize it",
    ),
    (
        "Auth0",
        403,
        r#"{"error":"unauthorized_client","error_description":"Grant type 'client_credentials' not allowed for the client.","error_uri":"https://auth0.com/docs/clients/client-grant-types"}"#,
        "does not allow this client this grant",
    ),
    ("Auth0", 401, r#"{"error":"access_denied","error_description":"Unauthorized"}"#, "client_secret"),
    // github.com/louislam/uptime-kuma/issues/4202, and Keycloak's own sources
    (
        "Keycloak",
        401,
        r#"{"error":"unauthorized_client","error_description":"Client not enabled to retrieve service account"}"#,
        "Service accounts roles",
    ),
    (
        "Keycloak",
        401,
        r#"{"error":"unauthorized_client","error_description":"Invalid client or Invalid client credentials"}"#,
        "client_secret",
    ),
    (
        "Keycloak",
        400,
        r#"{"error":"invalid_client","error_description":"Client authentication with signed JWT failed: Invalid token audience"}"#,
        "assertion_audience",
    ),
    (
        "Keycloak",
        400,
        r#"{"error":"invalid_client","error_description":"Client authentication with signed JWT failed: Token is not active"}"#,
        "clock",
    ),
    ("Keycloak", 404, r#"{"error":"Realm does not exist"}"#, "realm"),
    // developers.google.com/identity/protocols/oauth2/service-account#error-codes
    (
        "Google",
        400,
        r#"{"error":"invalid_grant","error_description":"Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim."}"#,
        "clock",
    ),
    (
        "Google",
        400,
        r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#,
        "register its public half",
    ),
    // help.salesforce.com: the client credentials flow
    (
        "Salesforce",
        400,
        r#"{"error":"invalid_grant","error_description":"no client credentials user enabled"}"#,
        "Run As",
    ),
    (
        "Salesforce",
        400,
        r#"{"error":"invalid_grant","error_description":"request not supported on this domain"}"#,
        "my.salesforce.com",
    ),
    // node-oidc-provider
    (
        "oidc-provider",
        400,
        r#"{"error":"unauthorized_client","error_description":"requested grant type is not allowed for this client"}"#,
        "does not allow this client this grant",
    ),
    (
        "oidc-provider",
        401,
        r#"{"error":"invalid_client","error_description":"client authentication failed"}"#,
        "client_secret",
    ),
    // developers.zoom.us/docs/internal-apps/s2s-oauth
    ("Zoom", 400, r#"{"reason":"Invalid client_id or client_secret","error":"invalid_client"}"#, "client_secret"),
    // developers.weixin.qq.com: global return codes
    (
        "WeChat",
        200,
        r#"{"errcode":40164,"errmsg":"invalid ip 1.2.3.4, not in whitelist hint: [x]"}"#,
        "add this machine's",
    ),
];

/// The report of a client with this secret that asks an endpoint which answers like this.
async fn report(secret: &str, status: u16, head: &str, body: &str) -> Report {
    let peer = Peer::answering(answer(status, head, body)).await;
    let grant = grant(TokenEndpoint::Url(peer.url("/token")));
    let grant = config::OAuth2 { proof: ClientProof::Secret(Secret::new(secret)), ..grant };
    let credential = config::Credential { name: "crm".into(), kind: CredentialKind::OAuth2(Box::new(grant)) };
    probe(&credential, &parts(), MayRotate::No).await
}

#[tokio::test]
async fn what_providers_say_is_traced_to_its_cause() {
    for (provider, status, body, cause) in ANSWERS {
        let report = report("s3cret-of-the-client", *status, "", body).await;
        assert!(matches!(report.outcome, Outcome::Failed { .. }), "{provider}: {body}");
        let told = report.likely_cause().unwrap_or_else(|| panic!("{provider}: no cause for {body}"));
        assert!(told.contains(cause), "{provider}: {cause} is not in {told}");
    }
    assert_eq!(ANSWERS.len(), 33);
}

/// Each row but for the last word on addresses is what some provider's text leads to, so none stands unused before another.
#[test]
fn no_row_hides_another() {
    for (index, (words, _)) in SAID.iter().enumerate() {
        let said = words.join(" ");
        let first = SAID.iter().position(|(all, _)| all.iter().all(|part| said.contains(part)));
        assert_eq!(first, Some(index), "{words:?}");
    }
}

#[tokio::test]
async fn an_odd_secret_is_named_where_the_client_is_not_recognised() {
    let refused = r#"{"error":"invalid_client"}"#;
    for (secret, flaw) in [
        ("\"quoted-secret\"", "stands in quotes"),
        ("'quoted-secret'", "stands in quotes"),
        (" spaced-secret", "begins or ends with a space"),
        ("escaped-secret\\n", "written out"),
        ("\u{feff}marked-secret", "byte order mark"),
        ("Bearer schemed-secret", "name of a scheme"),
    ] {
        let told = report(secret, 401, "", refused).await.likely_cause().unwrap();
        assert!(told.contains(flaw), "{secret}: {told}");
        assert!(!told.contains("-secret"), "{told}");
        let told = report(secret, 400, "", r#"{"error":"invalid_scope"}"#).await.likely_cause().unwrap();
        assert!(!told.contains(flaw), "what is not about the client: {told}");
    }
    assert_eq!(of_secret("a good\"secret"), None);
    assert_eq!(of_secret("\""), None);
}

/// The test's clock shows Tue, 14 Nov 2023 22:13:20 GMT.
#[tokio::test]
async fn a_clock_that_is_off_is_named_whether_there_is_a_token_or_not() {
    let granted = r#"{"access_token":"T","expires_in":300}"#;
    for (date, told) in [
        ("Tue, 14 Nov 2023 22:13:20 GMT", None),
        ("Tue, 14 Nov 2023 22:14:20 GMT", None),
        ("Tue, 14 Nov 2023 22:14:21 GMT", Some("this machine's clock is 61 s behind the server's")),
        ("Tue, 14 Nov 2023 21:13:20 GMT", Some("this machine's clock is 3600 s ahead of the server's")),
    ] {
        let cause = report("s3cret", 200, &format!("date: {date}\r\n"), granted).await.likely_cause();
        assert_eq!(cause.is_some(), told.is_some(), "{date}: {cause:?}");
        assert!(told.is_none_or(|told| cause.unwrap().contains(told)), "{date}");
    }
    let date = "date: Tue, 14 Nov 2023 21:13:20 GMT\r\n";
    let cause = report("s3cret", 401, date, r#"{"error":"invalid_client"}"#).await.likely_cause().unwrap();
    assert!(cause.contains("3600 s ahead") && cause.contains("; else check client_id"), "{cause}");
    assert_eq!(of_clocks(Clocks::Ahead(Duration::from_secs(60))), None);
}
