//! The pages of keys that are sent, and of keys that sign each request.

use super::expected::{Body, Call, GET, Page, Received, SENT};
use super::signed::{bearer, header, hmac_base64, hmac_hex, verified};
use crate::support::TlsRequest;

pub const PAGES: &[Page] = &[
    Page {
        path: "docs/credentials/api_key.md",
        calls: &[Call {
            client: ("GET /maps/x?q=1&key=own", ""),
            asked: &[],
            api: Received { line: "GET https://maps.example/x?q=1&key=a-secret-of-the-examples", ..SENT },
        }],
    },
    Page {
        path: "docs/credentials/aws_sigv4.md",
        calls: &[
            Call {
                client: ("POST /orders", "{}"),
                asked: &[],
                api: Received {
                    line: "POST https://dynamodb.eu-central-1.amazonaws.com/",
                    headers: &[("authorization", "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/*")],
                    body: Body::Text("{}"),
                    also: |request| assert_signed_for(request, "/eu-central-1/dynamodb/aws4_request, SignedHeaders="),
                },
            },
            Call {
                client: ("GET /files/x", ""),
                asked: &[],
                api: Received {
                    line: "GET https://files.s3.eu-central-1.amazonaws.com/x",
                    headers: &[("authorization", "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/*")],
                    also: |request| assert_signed_for(request, "/eu-central-1/s3/aws4_request, SignedHeaders="),
                    ..SENT
                },
            },
        ],
    },
    Page {
        path: "docs/credentials/basic.md",
        calls: &[Call {
            client: GET,
            asked: &[],
            api: Received {
                line: "GET https://api.example/x",
                headers: &[("authorization", "Basic attache:a-secret-of-the-examples")],
                ..SENT
            },
        }],
    },
    Page {
        path: "docs/credentials/bearer.md",
        calls: &[Call {
            client: GET,
            asked: &[],
            api: Received {
                line: "GET https://api.example/x",
                headers: &[("authorization", "Bearer a-secret-of-the-examples")],
                ..SENT
            },
        }],
    },
    Page {
        path: "docs/credentials/hmac.md",
        calls: &[
            Call {
                client: ("GET /binance/x?symbol=BTCEUR", ""),
                asked: &[],
                api: Received {
                    line: "GET https://api.binance.com/x?symbol=BTCEUR&timestamp=*",
                    headers: &[("x-mbx-apikey", "a-secret-of-the-examples")],
                    also: |request| {
                        let query = request.target.split_once('?').unwrap().1;
                        let (signed, signature) = query.split_once("&signature=").unwrap();
                        assert_eq!(signature, hmac_hex(signed));
                    },
                    ..SENT
                },
            },
            Call {
                client: ("POST /coinbase/x?y", "body"),
                asked: &[],
                api: Received {
                    line: "POST https://api.exchange.coinbase.com/x?y",
                    headers: &[
                        ("cb-access-key", "a-secret-of-the-examples"),
                        ("cb-access-passphrase", "a-secret-of-the-examples"),
                    ],
                    body: Body::Text("body"),
                    also: |request| {
                        let signed = format!("{}POST/x?ybody", header(request, "cb-access-timestamp"));
                        assert_eq!(header(request, "cb-access-sign"), hmac_base64(&signed));
                    },
                },
            },
            Call {
                client: ("POST /hooks/x", "body"),
                asked: &[],
                api: Received {
                    line: "POST https://hooks.customer.example/x",
                    headers: &[("x-hub-signature-256", "sha256=*")],
                    body: Body::Text("body"),
                    also: |request| {
                        let expected = format!("sha256={}", hmac_hex("body"));
                        assert_eq!(header(request, "x-hub-signature-256"), expected);
                    },
                },
            },
        ],
    },
    Page {
        path: "docs/credentials/jwt.md",
        calls: &[
            Call {
                client: ("GET /appstore/x", ""),
                asked: &[],
                api: Received {
                    line: "GET https://api.appstoreconnect.apple.com/v1/x",
                    headers: &[("authorization", "Bearer *")],
                    also: |request| {
                        let (header, claims) = verified(bearer(request), Some("p256.pem"));
                        assert_eq!(
                            (&header["kid"], &claims["aud"]),
                            (&"2X9R4HXF34".into(), &"appstoreconnect-v1".into())
                        );
                        assert_eq!(claims["exp"].as_u64(), claims["iat"].as_u64().map(|issued| issued + 900));
                    },
                    ..SENT
                },
            },
            Call {
                client: ("GET /app/x", ""),
                asked: &[],
                api: Received {
                    line: "GET https://api.github.com/x",
                    headers: &[("authorization", "Bearer *")],
                    also: |request| {
                        assert_eq!(verified(bearer(request), Some("rsa.pem")).1["iss"], "Iv23liABCDEFGHIJKLMN");
                    },
                    ..SENT
                },
            },
            Call {
                client: ("GET /video/x", ""),
                asked: &[],
                api: Received {
                    line: "GET https://api.zoom.us/v2/videosdk/x",
                    headers: &[("authorization", "Bearer *")],
                    also: |request| {
                        let (_, claims) = verified(bearer(request), None);
                        assert_eq!((&claims["iss"], &claims["role_type"]), (&"sdk-key".into(), &1.into()));
                    },
                    ..SENT
                },
            },
        ],
    },
];

/// That the signature, which is verified elsewhere, is for this region and service.
fn assert_signed_for(request: &TlsRequest, scope: &str) {
    let authorization = header(request, "authorization");
    assert!(authorization.contains(scope) && authorization.contains(", Signature="), "{authorization}");
    assert!(header(request, "x-amz-date").ends_with('Z'));
}
