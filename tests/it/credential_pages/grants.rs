//! The pages of the grants of OAuth 2.0.

use super::expected::{ATTACHED, Body, Call, GET, GRANTED, Page, Received, SENT};
use super::signed::{assert_proven, field, header, verified};

const BOUND: &str = r#"{"access_token":"token-0123456789abcdef","token_type":"DPoP","expires_in":3600}"#;
const ASSERTED: &[(&str, &str)] = &[("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", "*")];

pub const PAGES: &[Page] = &[
    Page {
        path: "docs/credentials/client_credentials.md",
        calls: &[Call {
            client: ("GET /bank/x", ""),
            asked: &[
                (
                    Received { line: "GET https://login.bank.example/.well-known/oauth-authorization-server", ..SENT },
                    r#"{"issuer":"https://login.bank.example","token_endpoint":"https://login.bank.example/token",
                        "mtls_endpoint_aliases":{"token_endpoint":"https://mtls.bank.example/token"}}"#,
                ),
                (
                    Received {
                        line: "POST https://mtls.bank.example/token",
                        body: Body::Form(&[("grant_type", "client_credentials"), ("client_id", "attache")]),
                        also: |request| assert!(request.certified, "the certificate is shown to the token endpoint"),
                        ..SENT
                    },
                    GRANTED,
                ),
            ],
            api: Received {
                line: "GET https://api.bank.example/x",
                headers: ATTACHED,
                also: |request| assert!(request.certified, "the certificate is shown to the API"),
                ..SENT
            },
        }],
    },
    Page {
        path: "docs/credentials/custom_grant.md",
        calls: &[Call {
            client: GET,
            asked: &[(
                Received {
                    line: "POST https://zoom.us/oauth/token",
                    headers: &[("authorization", "Basic CLIENT:a-secret-of-the-examples")],
                    body: Body::Form(&[("grant_type", "account_credentials"), ("account_id", "ACCOUNT")]),
                    ..SENT
                },
                GRANTED,
            )],
            api: Received { line: "GET https://api.zoom.us/v2/x", headers: ATTACHED, ..SENT },
        }],
    },
    Page {
        path: "docs/credentials/dpop.md",
        calls: &[
            Call {
                client: ("GET /bank/x?y", ""),
                asked: &[
                    (
                        Received {
                            line: "GET https://login.bank.example/.well-known/oauth-authorization-server",
                            ..SENT
                        },
                        r#"{"issuer":"https://login.bank.example","token_endpoint":"https://login.bank.example/token"}"#,
                    ),
                    (
                        Received {
                            line: "POST https://login.bank.example/token",
                            headers: &[("authorization", "Basic attache:a-secret-of-the-examples")],
                            body: Body::Form(&[("grant_type", "client_credentials")]),
                            also: |request| {
                                let (_, claims) = verified(header(request, "dpop"), None);
                                assert_eq!(claims["htu"], "https://login.bank.example/token");
                            },
                        },
                        BOUND,
                    ),
                ],
                api: Received {
                    line: "GET https://api.bank.example/x?y",
                    headers: &[("authorization", "DPoP token-0123456789abcdef")],
                    also: |request| {
                        assert_proven(request, "token-0123456789abcdef", "https://api.bank.example/x", None);
                    },
                    ..SENT
                },
            },
            Call {
                client: ("GET /archive/x", ""),
                asked: &[
                    (
                        Received {
                            line: "GET https://login.archive.example/.well-known/oauth-authorization-server",
                            ..SENT
                        },
                        r#"{"issuer":"https://login.archive.example","token_endpoint":"https://login.archive.example/token"}"#,
                    ),
                    (
                        Received {
                            line: "POST https://login.archive.example/token",
                            body: Body::Form(&[
                                ("grant_type", "refresh_token"),
                                ("client_id", "attache"),
                                ("refresh_token", "a-secret-of-the-examples"),
                            ]),
                            also: |request| drop(verified(header(request, "dpop"), Some("p256.pem"))),
                            ..SENT
                        },
                        BOUND,
                    ),
                ],
                api: Received {
                    line: "GET https://api.archive.example/x",
                    headers: &[("authorization", "DPoP token-0123456789abcdef")],
                    also: |request| {
                        let url = "https://api.archive.example/x";
                        assert_proven(request, "token-0123456789abcdef", url, Some("p256.pem"));
                    },
                    ..SENT
                },
            },
        ],
    },
    Page {
        path: "docs/credentials/jwt_bearer.md",
        calls: &[
            Call {
                client: ("GET /drive/x", ""),
                asked: &[(
                    Received {
                        line: "POST https://oauth2.googleapis.com/token",
                        body: Body::Form(ASSERTED),
                        also: |request| {
                            let (_, claims) = verified(&field(request, "assertion"), Some("rsa.pem"));
                            assert_eq!(claims["iss"], "robot@example.iam.gserviceaccount.com");
                            assert_eq!(claims["sub"], "ada@example.com");
                            assert_eq!(claims["scope"], "https://www.googleapis.com/auth/drive.readonly");
                        },
                        ..SENT
                    },
                    GRANTED,
                )],
                api: Received { line: "GET https://www.googleapis.com/drive/v3/x", headers: ATTACHED, ..SENT },
            },
            Call {
                client: ("GET /crm/x", ""),
                asked: &[(
                    Received {
                        line: "POST https://login.salesforce.com/services/oauth2/token",
                        body: Body::Form(ASSERTED),
                        also: |request| {
                            let (_, claims) = verified(&field(request, "assertion"), Some("p256.pem"));
                            assert_eq!(claims["iss"], "3MVG9.CONSUMER.KEY");
                            assert_eq!(claims["sub"], "integration@example.com");
                            assert_eq!(claims["aud"], "https://login.salesforce.com");
                        },
                        ..SENT
                    },
                    GRANTED,
                )],
                api: Received {
                    line: "GET https://example.my.salesforce.com/services/data/v62.0/x",
                    headers: ATTACHED,
                    ..SENT
                },
            },
        ],
    },
    Page {
        path: "docs/credentials/password.md",
        calls: &[Call {
            client: GET,
            asked: &[(
                Received {
                    line: "POST https://erp.example/oauth/token",
                    body: Body::Form(&[
                        ("grant_type", "password"),
                        ("client_id", "attache"),
                        ("username", "attache@example.com"),
                        ("password", "a-secret-of-the-examples"),
                    ]),
                    ..SENT
                },
                GRANTED,
            )],
            api: Received { line: "GET https://erp.example/api/x", headers: ATTACHED, ..SENT },
        }],
    },
    Page {
        path: "docs/credentials/refresh_token.md",
        calls: &[Call {
            client: ("GET /books/x", ""),
            asked: &[(
                Received {
                    line: "POST https://login.example.com/oauth2/token",
                    headers: &[("authorization", "Basic attache:a-secret-of-the-examples")],
                    body: Body::Form(&[("grant_type", "refresh_token"), ("refresh_token", "a-secret-of-the-examples")]),
                    ..SENT
                },
                GRANTED,
            )],
            api: Received { line: "GET https://api.books.example/x", headers: ATTACHED, ..SENT },
        }],
    },
    Page {
        path: "docs/credentials/token_exchange.md",
        calls: &[Call {
            client: GET,
            asked: &[(
                Received {
                    line: "POST https://sts.googleapis.com/v1/token",
                    body: Body::Form(&[
                        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                        ("subject_token", "a-secret-of-the-examples"),
                        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
                        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                        (
                            "audience",
                            "//iam.googleapis.com/projects/7/locations/global/workloadIdentityPools/pool/providers/cluster",
                        ),
                        ("scope", "https://www.googleapis.com/auth/cloud-platform"),
                    ]),
                    ..SENT
                },
                GRANTED,
            )],
            api: Received { line: "GET https://storage.googleapis.com/x", headers: ATTACHED, ..SENT },
        }],
    },
    Page {
        path: "docs/credentials/workload-identity.md",
        calls: &[Call {
            client: ("GET /graph/x", ""),
            asked: &[(
                Received {
                    line: "POST https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/oauth2/v2.0/token",
                    body: Body::Form(&[
                        ("grant_type", "client_credentials"),
                        ("client_id", "1b2c3d4e-0000-4000-8000-000000000001"),
                        ("client_assertion", "a-secret-of-the-examples"),
                        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                        ("scope", "https://graph.microsoft.com/.default"),
                    ]),
                    ..SENT
                },
                GRANTED,
            )],
            api: Received { line: "GET https://graph.microsoft.com/v1.0/x", headers: ATTACHED, ..SENT },
        }],
    },
];
