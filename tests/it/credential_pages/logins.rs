//! The pages of whatever else brings a token, and of presets.

use super::expected::{ATTACHED, Body, Call, GRANTED, Page, Received, SENT};
use super::signed::{bearer, verified};

pub const PAGES: &[Page] = &[
    Page {
        path: "docs/credentials/github_app.md",
        calls: &[Call {
            client: ("GET /github/x", ""),
            asked: &[(
                Received {
                    line: "POST https://api.github.com/app/installations/11223344/access_tokens",
                    headers: &[("authorization", "Bearer *")],
                    body: Body::Json(
                        r#"{"repositories":["website"],"permissions":{"contents":"read","issues":"write"}}"#,
                    ),
                    also: |request| {
                        assert_eq!(verified(bearer(request), Some("rsa.pem")).1["iss"], "Iv23liEXAMPLE");
                    },
                },
                r#"{"token":"ghs_0123456789abcdef","expires_at":"2099-01-01T00:00:00Z"}"#,
            )],
            api: Received {
                line: "GET https://api.github.com/x",
                headers: &[("authorization", "Bearer ghs_0123456789abcdef")],
                ..SENT
            },
        }],
    },
    Page {
        path: "docs/credentials/login.md",
        calls: &[
            Call {
                client: ("GET /feishu/x", ""),
                asked: &[(
                    Received {
                        line: "POST https://open.feishu.cn/open-apis/auth/v3/tenant_access_token/internal",
                        body: Body::Json(r#"{"app_id":"cli_a1b2c3","app_secret":"a-secret-of-the-examples"}"#),
                        ..SENT
                    },
                    r#"{"code":0,"msg":"ok","tenant_access_token":"token-0123456789abcdef","expire":7200}"#,
                )],
                api: Received { line: "GET https://open.feishu.cn/x", headers: ATTACHED, ..SENT },
            },
            Call {
                client: ("GET /tableau/x", ""),
                asked: &[(
                    Received {
                        line: "POST https://tableau.example.com/api/3.22/auth/signin",
                        body: Body::Json(
                            r#"{"credentials":{"personalAccessTokenName":"attache",
                                "personalAccessTokenSecret":"a-secret-of-the-examples","site":{"contentUrl":"acme"}}}"#,
                        ),
                        ..SENT
                    },
                    r#"{"credentials":{"site":{"id":"s"},"token":"0123456789abcdef|T","estimatedTimeToExpiration":"177:05:38"}}"#,
                )],
                api: Received {
                    line: "GET https://tableau.example.com/x",
                    headers: &[("x-tableau-auth", "0123456789abcdef|T")],
                    ..SENT
                },
            },
            Call {
                client: ("GET /sap/x", ""),
                asked: &[(
                    Received {
                        line: "POST https://sap.example.com:50000/b1s/v1/Login",
                        body: Body::Json(
                            r#"{"CompanyDB":"SBODEMO","Password":"a-secret-of-the-examples","UserName":"manager"}"#,
                        ),
                        ..SENT
                    },
                    "Set-Cookie: B1SESSION=S-0123456789; Path=/b1s/v1; HttpOnly\nSet-Cookie: ROUTEID=.node1-of-3456; Path=/b1s\n\n\
                     {\"SessionId\":\"S\",\"Version\":\"10\",\"SessionTimeout\":30}",
                )],
                api: Received {
                    line: "GET https://sap.example.com:50000/x",
                    headers: &[("cookie", "B1SESSION=S-0123456789; ROUTEID=.node1-of-3456")],
                    ..SENT
                },
            },
        ],
    },
    Page {
        path: "docs/credentials/metadata.md",
        calls: &[
            Call {
                client: ("GET /graph/x", ""),
                asked: &[(
                    Received {
                        line: "GET http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fgraph.microsoft.com",
                        headers: &[("metadata", "true")],
                        ..SENT
                    },
                    GRANTED,
                )],
                api: Received { line: "GET https://graph.microsoft.com/v1.0/x", headers: ATTACHED, ..SENT },
            },
            Call {
                client: ("GET /pubsub/x", ""),
                asked: &[(
                    Received {
                        line: "GET http://169.254.169.254/computeMetadata/v1/instance/service-accounts/default/token",
                        headers: &[("metadata-flavor", "Google")],
                        ..SENT
                    },
                    GRANTED,
                )],
                api: Received { line: "GET https://pubsub.googleapis.com/x", headers: ATTACHED, ..SENT },
            },
            Call {
                client: ("GET /report/x", ""),
                asked: &[(
                    Received {
                        line: "GET http://169.254.169.254/computeMetadata/v1/instance/service-accounts/default/identity?audience=*",
                        headers: &[("metadata-flavor", "Google")],
                        ..SENT
                    },
                    "eyJhbGciOiJub25lIn0.eyJleHAiOjQwMDAwMDAwMDB9.c2lnbmVkLWJ5LWdvb2dsZQ",
                )],
                api: Received {
                    line: "GET https://report-abc123-ew.a.run.app/x",
                    headers: &[(
                        "authorization",
                        "Bearer eyJhbGciOiJub25lIn0.eyJleHAiOjQwMDAwMDAwMDB9.c2lnbmVkLWJ5LWdvb2dsZQ",
                    )],
                    ..SENT
                },
            },
        ],
    },
    Page {
        path: "docs/providers.md",
        calls: &[
            Call {
                client: ("GET /graph/x", ""),
                asked: &[(
                    Received {
                        line: "POST https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token",
                        body: Body::Form(&[
                            ("grant_type", "client_credentials"),
                            ("client_id", "00001111-aaaa-2222-bbbb-3333cccc4444"),
                            ("client_secret", "a-secret-of-the-examples"),
                            ("scope", "https://graph.microsoft.com/.default"),
                        ]),
                        ..SENT
                    },
                    GRANTED,
                )],
                api: Received { line: "GET https://graph.microsoft.com/v1.0/x", headers: ATTACHED, ..SENT },
            },
            Call {
                client: ("GET /support/x", ""),
                asked: &[],
                api: Received {
                    line: "GET https://example.zendesk.com/api/v2/x",
                    headers: &[("authorization", "Basic agent@example.com/token:a-secret-of-the-examples")],
                    ..SENT
                },
            },
        ],
    },
];
