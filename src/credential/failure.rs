//! Why an attempt at a token endpoint brought no token: what it means for the cell, and what a person is told.

use std::time::Duration;

use http::StatusCode;

use super::endpoint::Broken;
use crate::config::{FieldsKind, Grant, TokenEndpointAuthMethod};
use crate::token::{FetchError, FetchErrorKind, Reached};

/// At which step of a fetch something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Finding the issuer's token endpoint.
    Discovery,
    /// The token request itself.
    Token,
}

/// A failed attempt, taken apart: `check --live` shows the parts, logs and answers their text. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: FetchErrorKind,
    pub step: Step,
    pub reached: Reached,
    /// Host, and port unless it is the scheme's own, that was asked.
    pub host: String,
    pub status: Option<StatusCode>,
    /// The error's name, as the server gave it.
    pub code: Option<String>,
    /// What went wrong, without the step and the host.
    pub cause: String,
    /// What probably explains it, and what to do.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure that an answer shows, without what the answer says.
    pub(super) fn new(kind: FetchErrorKind, step: Step, host: &str, cause: impl Into<String>) -> Self {
        let (host, cause) = (host.to_owned(), cause.into());
        Failure { kind, step, reached: Reached::Answered, host, status: None, code: None, cause, hint: None }
    }

    /// A failure without a complete answer.
    pub(super) fn unanswered(broken: Broken, step: Step, host: &str) -> Self {
        let hint = broken.hint.map(str::to_owned);
        Failure { reached: broken.reached, hint, ..Failure::new(broken.kind, step, host, broken.cause) }
    }

    pub(super) fn with_hint(self, hint: impl Into<String>) -> Self {
        Failure { hint: Some(hint.into()), ..self }
    }

    /// Whether the server said that this is not how the client proves itself, and nothing else.
    pub(super) fn refuses_the_client(&self) -> bool {
        self.step == Step::Token && self.code.as_deref() == Some("invalid_client")
    }

    /// Whether the server says, by code or by status, that it does not recognise the client (RFC 6749 section 5.2).
    pub(super) fn is_unrecognised(&self) -> bool {
        let by_status = self.status == Some(StatusCode::UNAUTHORIZED) && self.code.is_none();
        self.step == Step::Token && (by_status || self.code.as_deref() == Some("invalid_client"))
    }

    /// Whether the server asked for a proof with a nonce of its own (RFC 9449 section 8).
    pub(super) fn asks_for_nonce(&self) -> bool {
        let refused = self.status.is_some_and(|status| status.is_client_error());
        refused && self.code.as_deref() == Some("use_dpop_nonce")
    }

    /// What it means where a refresh token was exchanged: one that is refused by name is of no more use (RFC 6749 section
    /// 5.2; Slack says `invalid_refresh_token`).
    pub(super) fn of_refresh_token(self) -> Self {
        let passes = self.status.is_some_and(|status| status.is_server_error() || status.as_u16() == 429);
        let refused = matches!(self.code.as_deref(), Some("invalid_grant" | "invalid_refresh_token"));
        if passes || !refused {
            return self;
        }
        let hint = "the refresh token expired, was revoked, or was used elsewhere: authorize again, and put the new one where \
                    `refresh_token` points to";
        Failure { kind: FetchErrorKind::NeedsReauthorization, ..self.with_hint(hint) }
    }

    /// What it means where the token of a request's subject was exchanged. Only what no subject token can bring about is about
    /// all of them: who they are decides about everything else (RFC 8693 section 2.2.2; policies of consent and of where from
    /// somebody signs in have codes of their own), and nobody's answer may take the service from others.
    pub(super) fn of_subject(self) -> Self {
        use FetchErrorKind::{Refused, RefusedForAll, RefusedUnclear, SubjectRefused};
        let kind = match (self.step, self.code.as_deref(), self.status.map(|status| status.as_u16())) {
            _ if self.kind != Refused => self.kind,
            (Step::Discovery, ..) => RefusedForAll,
            (_, Some("invalid_client" | "unauthorized_client" | "unsupported_grant_type"), _) => RefusedForAll,
            // Some mean the client, and gateways in front of a server the subject's token.
            (_, None, Some(401)) => RefusedUnclear,
            // About our key, and about an endpoint or its answer: no subject can do anything about that.
            (_, Some("invalid_dpop_proof" | "use_dpop_nonce"), _) => Refused,
            (_, Some(_), _) | (_, None, Some(400 | 403)) => SubjectRefused,
            (_, None, _) => Refused,
        };
        Failure { kind, ..self }
    }

    /// Step, host, cause and hint in one sentence.
    pub fn text(&self) -> String {
        let step = match self.step {
            Step::Discovery => "discovering the token endpoint at",
            Step::Token => "the token request to",
        };
        let (host, cause) = (&self.host, &self.cause);
        match &self.hint {
            Some(hint) => format!("{step} {host} failed: {cause}; {hint}"),
            None => format!("{step} {host} failed: {cause}"),
        }
    }
}

impl From<Failure> for FetchError {
    fn from(failure: Failure) -> Self {
        let code = failure.code.as_deref().and_then(registered);
        FetchError { kind: failure.kind, reached: failure.reached, code, text: failure.text().into() }
    }
}

/// The code, if it is one of the OAuth extensions error registry that a token endpoint answers with. Others are words of the
/// server's own, and may say anything.
fn registered(code: &str) -> Option<&'static str> {
    const REGISTERED: [&str; 12] = [
        "access_denied",
        "invalid_client",
        "invalid_dpop_proof",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_grant_type",
        "use_dpop_nonce",
    ];
    REGISTERED.into_iter().find(|registered| *registered == code)
}

/// Codes of answers with status 200 that say of themselves that they pass: of WeChat, WeCom and DingTalk, for a busy system and
/// for a quota that is used up. A code that is not listed is a refusal: to ask again soon may lock an account.
/// Source: developers.weixin.qq.com/doc/offiaccount/en/Getting_Started/Global_Return_Code.html
const PASSING_CODES: [&str; 3] = ["-1", "45009", "45011"];

/// What an answer that is no success means (TL-26, TL-32, TL-33; the codes are those of RFC 6749 section 5.2).
///
/// The status decides first where a gateway in front of the server made it (429, 5xx). A redirect is refused as a 4xx is: it
/// is a wrong URL, and needs an operator.
pub(super) fn kind(status: StatusCode, code: Option<&str>, retry_after: Option<Duration>) -> FetchErrorKind {
    match (status.as_u16(), code) {
        (429, _) => FetchErrorKind::RateLimited { retry_after },
        (503, _) if retry_after.is_some() => FetchErrorKind::RateLimited { retry_after },
        (408 | 425 | 500..=599, _) => FetchErrorKind::Transient,
        (_, Some("temporarily_unavailable" | "server_error")) => FetchErrorKind::Transient,
        (200..=299, Some(code)) if PASSING_CODES.contains(&code) => FetchErrorKind::Transient,
        _ => FetchErrorKind::Refused,
    }
}

/// The likely cause of what a token endpoint answered, from what its users report most.
pub(super) fn hint(
    status: StatusCode,
    code: Option<&str>,
    method: TokenEndpointAuthMethod,
    grant: &Grant,
) -> Option<String> {
    use TokenEndpointAuthMethod::{
        ClientSecretJwt, ForeignAssertion, PrivateKeyJwt, Public, SelfSignedTlsClientAuth, TlsClientAuth,
    };
    let about_grant = match grant {
        Grant::GithubApp(_) => github_hint(status),
        grant => presented_hint(code, grant),
    };
    if let Some(about_grant) = about_grant {
        return Some(about_grant.to_owned());
    }
    let unrecognised = matches!((code, status.as_u16()), (Some("invalid_client"), _) | (None, 401));
    match method {
        PrivateKeyJwt if unrecognised => {
            return Some(
                "check client_id, that the public half of this private_key is registered there (and under this key_id), \
                 this machine's clock, and which `algorithm` and `assertion_audience` the server wants"
                    .to_owned(),
            );
        }
        ClientSecretJwt if unrecognised => {
            return Some(
                "check client_id and client_secret, this machine's clock, and which `algorithm` and `assertion_audience` \
                 the server wants"
                    .to_owned(),
            );
        }
        TlsClientAuth | SelfSignedTlsClientAuth if unrecognised => {
            return Some(
                "check client_id, that this client_certificate (or its subject and issuer) is registered there, and that the \
                 token endpoint is the one that looks at certificates: servers often have another host for it"
                    .to_owned(),
            );
        }
        ForeignAssertion if unrecognised => {
            return Some(
                "check client_id, and that the server trusts the assertion: its `iss`, `sub` and `aud` have to be what is \
                 registered there for this client, and it must not be over"
                    .to_owned(),
            );
        }
        Public if unrecognised => {
            return Some(
                "check client_id: the server may want a proof of this client, which `none` does not give".to_owned(),
            );
        }
        _ => {}
    }
    let (method, grant) = (method.name(), grant.title());
    Some(match (code, status.as_u16()) {
        (Some("invalid_client"), _) | (None, 401) => format!(
            "check client_id and client_secret, and whether the server wants another token_endpoint_auth_method than \
             `{method}`"
        ),
        (Some("unauthorized_client"), _) => {
            format!("the server knows this client but does not allow it the {grant} grant: allow it there")
        }
        (Some("invalid_scope"), _) => "the server does not know or not grant what `scope` asks for".to_owned(),
        (Some("unsupported_grant_type"), _) => {
            format!("check token_url: this endpoint does not speak the {grant} grant")
        }
        (Some("invalid_target"), _) => "check `resource` and `audience`: the server does not know them".to_owned(),
        (Some("invalid_request"), _) => format!(
            "the server misses or dislikes a parameter: some want `audience` or `resource`, or another \
             token_endpoint_auth_method than `{method}`"
        ),
        (_, 300..=399) => "redirects are not followed: put the final address into token_url".to_owned(),
        (None, 403) => "a firewall or an address list may stand before the token endpoint".to_owned(),
        (None, 404 | 405 | 410) => "check token_url: there is no token endpoint there".to_owned(),
        (None, 415) => "the server wants another request format than a form".to_owned(),
        _ => return None,
    })
}

/// GitHub says it by the status.
fn github_hint(status: StatusCode) -> Option<&'static str> {
    match status.as_u16() {
        401 => Some("check app_id, that private_key is one of this App's, and this machine's clock"),
        403 => Some("the installation may be suspended, or the App lacks what `permissions` asks for"),
        404 => Some("check installation_id, and that it is an installation of this App"),
        422 => Some("check `repositories` and `permissions`: a token gets no more than the installation has"),
        _ => None,
    }
}

/// The same for what is about the thing that the grant presents, and not about the client.
fn presented_hint(code: Option<&str>, grant: &Grant) -> Option<&'static str> {
    match (grant, code?) {
        (Grant::JwtBearer(_), "invalid_grant") => Some(
            "check the assertion: this machine's clock, `iss`, `sub` and `aud` as the server wants them, that the public \
             half of the key is registered there, and that the owner of the key may act for `subject`",
        ),
        (Grant::JwtBearer(_), "unauthorized_client") => Some(
            "the server knows who signs, but does not allow him these scopes, or to act for `subject`: allow it there",
        ),
        (Grant::Fields(grant), code) => match (grant.kind, code) {
            (FieldsKind::Password, "invalid_grant") => {
                Some("check username and password, and that this user needs no second factor and no new password")
            }
            (FieldsKind::TokenExchange, "invalid_grant" | "invalid_request") => Some(
                "check subject_token: that it has not expired, is what `subject_token_type` says, and is from whom and for \
                 whom the server trusts",
            ),
            (FieldsKind::Custom, "invalid_grant") => Some("check `parameters` and `secret_parameters`"),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// What is likely depends on what was presented, and how the client proves itself.
    #[test]
    fn the_likely_cause_is_about_what_was_presented() {
        use TokenEndpointAuthMethod::{Public, SelfSignedTlsClientAuth, TlsClientAuth};
        let key = || std::sync::Arc::new(crate::jws::SigningKey::from_pem(crate::jws::tests::RSA, None).unwrap());
        let none = std::collections::BTreeMap::new;
        let app = || config::GithubApp { key: key(), repositories: Vec::new(), permissions: none() };
        let app = || Grant::GithubApp(Box::new(app()));
        let asserted = || {
            Grant::JwtBearer(Box::new(config::JwtBearer {
                key: key(),
                key_id: None,
                issuer: "robot".to_owned(),
                subject: None,
                audience: None,
                claims: none(),
            }))
        };
        for (grant, method, status, code, likely) in [
            (app(), Public, 401, None, Some("app_id")),
            (app(), Public, 403, None, Some("suspended")),
            (app(), Public, 404, None, Some("installation_id")),
            (app(), Public, 422, None, Some("`repositories`")),
            (app(), Public, 500, None, None),
            (asserted(), Public, 400, Some("invalid_grant"), Some("check the assertion")),
            (asserted(), Public, 401, Some("unauthorized_client"), Some("to act for `subject`")),
            (asserted(), Public, 400, Some("unsupported_grant_type"), Some("does not speak the JWT bearer grant")),
            (Grant::ClientCredentials, TlsClientAuth, 401, None, Some("client_certificate")),
            (
                Grant::ClientCredentials,
                SelfSignedTlsClientAuth,
                400,
                Some("invalid_client"),
                Some("client_certificate"),
            ),
            (Grant::ClientCredentials, Public, 400, Some("unauthorized_client"), Some("the client credentials grant")),
        ] {
            let told = hint(StatusCode::from_u16(status).unwrap(), code, method, &grant);
            let fits =
                likely.map_or(told.is_none(), |likely| told.as_deref().is_some_and(|told| told.contains(likely)));
            assert!(fits, "{} {status} {code:?}: {told:?}", grant.name());
        }
    }

    /// S04: of what a server says, only a registered code is fit for clients.
    #[test]
    fn only_registered_codes_are_fit_for_clients() {
        let code = |code: &str| {
            let failure = Failure::new(FetchErrorKind::Refused, Step::Token, "login.test", "it refused");
            FetchError::from(Failure { code: Some(code.to_owned()), ..failure }).code
        };
        assert_eq!(code("invalid_scope"), Some("invalid_scope"));
        assert_eq!(code("see https://10.1.2.3/why"), None);
        assert_eq!(code(""), None);
    }

    /// TL-26: a refusal concerns all subjects only if no subject token can bring it about.
    #[test]
    fn only_what_is_about_the_client_is_about_all_subjects() {
        use FetchErrorKind::{Refused, RefusedForAll, RefusedUnclear, SubjectRefused, Transient};
        let cases = [
            (Refused, 401, Some("invalid_client"), RefusedForAll),
            (Refused, 400, Some("unauthorized_client"), RefusedForAll),
            (Refused, 400, Some("unsupported_grant_type"), RefusedForAll),
            (Refused, 401, None, RefusedUnclear),
            (Refused, 400, Some("invalid_request"), SubjectRefused),
            (Refused, 400, Some("invalid_grant"), SubjectRefused),
            (Refused, 401, Some("invalid_token"), SubjectRefused),
            (Refused, 400, Some("invalid_target"), SubjectRefused),
            (Refused, 400, Some("invalid_scope"), SubjectRefused),
            (Refused, 403, Some("consent_required"), SubjectRefused),
            (Refused, 400, Some("login_required"), SubjectRefused),
            (Refused, 400, None, SubjectRefused),
            (Refused, 403, None, SubjectRefused),
            (Refused, 400, Some("invalid_dpop_proof"), Refused),
            (Refused, 404, None, Refused),
            (Refused, 200, None, Refused),
            (Transient, 500, Some("invalid_request"), Transient),
            (Transient, 500, Some("invalid_client"), Transient),
        ];
        assert_eq!(cases.len(), 18);
        for (kind, status, code, expected) in cases {
            let failure = Failure::new(kind, Step::Token, "login.test", "it refused");
            let (status, code) = (StatusCode::from_u16(status).ok(), code.map(str::to_owned));
            let failure = Failure { status, code, ..failure }.of_subject();
            assert_eq!(failure.kind, expected, "{status:?} {:?}", failure.code);
        }
        let undiscovered = Failure::new(Refused, Step::Discovery, "login.test", "it is another issuer's");
        assert_eq!(undiscovered.of_subject().kind, RefusedForAll);
    }

    /// TL-26, TL-32, TL-33: what passes by itself, what is held back, and what needs an operator.
    #[test]
    fn every_answer_has_its_meaning() {
        use FetchErrorKind::{RateLimited, Refused, Transient};
        let ten = Some(Duration::from_secs(10));
        let table = [
            (400, Some("invalid_client"), None, Refused),
            (401, Some("invalid_client"), None, Refused),
            (400, Some("unauthorized_client"), None, Refused),
            (400, Some("invalid_scope"), None, Refused),
            (400, Some("unsupported_grant_type"), None, Refused),
            (400, Some("anything_else"), None, Refused),
            (400, None, None, Refused),
            (401, None, None, Refused),
            (403, None, ten, Refused),
            (404, None, None, Refused),
            (418, None, None, Refused),
            (200, Some("invalid_client"), None, Refused),
            (302, None, None, Refused),
            (408, None, None, Transient),
            (425, None, None, Transient),
            (500, None, None, Transient),
            (500, Some("invalid_client"), None, Transient),
            (502, None, None, Transient),
            (503, None, None, Transient),
            (504, None, ten, Transient),
            (599, None, None, Transient),
            (400, Some("temporarily_unavailable"), None, Transient),
            (200, Some("temporarily_unavailable"), None, Transient),
            (400, Some("server_error"), None, Transient),
            (200, Some("-1"), None, Transient),
            (200, Some("45009"), None, Transient),
            (200, Some("45011"), None, Transient),
            (400, Some("-1"), None, Refused),
            (200, Some("40013"), None, Refused),
            (429, None, None, RateLimited { retry_after: None }),
            (429, Some("invalid_client"), ten, RateLimited { retry_after: ten }),
            (503, None, ten, RateLimited { retry_after: ten }),
            (503, Some("temporarily_unavailable"), ten, RateLimited { retry_after: ten }),
        ];
        for (status, code, retry_after, expected) in table {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(kind(status, code, retry_after), expected, "{status} {code:?} {retry_after:?}");
        }
    }
}
