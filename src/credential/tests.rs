use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};

use super::endpoint::tests::{Peer, answer};
use super::oauth2::tests::{grant, parts};
use super::*;
use crate::config::{ApiKey, ApiKeyPlace, Piece, TokenEndpoint};
use crate::secret::Secret;

fn credential(kind: CredentialKind) -> config::Credential {
    config::Credential { name: "crm".into(), kind }
}

fn sets(attachment: &Attachment, name: &HeaderName) -> bool {
    attachment.attached().unwrap().names().headers.contains(name)
}

fn headers(attachment: &Attachment) -> Vec<(&str, &HeaderValue)> {
    attachment
        .attached()
        .and_then(Attached::first_header)
        .into_iter()
        .map(|(name, value)| (name.as_str(), value))
        .collect()
}

/// SEC-10: what a credential sets is known before it sets it, so that a client's own of that name can be removed.
#[tokio::test]
async fn a_fixed_credential_is_always_ready_and_never_renewed() {
    let parts = parts();
    let header = ApiKeyPlace::Header(HeaderName::from_static("x-shop-key"));
    let query = ApiKeyPlace::Query("api key".into());
    let value = || Secret::new("a-key-of-20-bytes-..");
    let api_key = |place| CredentialKind::ApiKeys(vec![ApiKey { place, scheme: String::new(), value: value() }]);
    for (kind, header, query_name, query) in [
        (CredentialKind::Bearer { token: value() }, Some("authorization"), None, None),
        (CredentialKind::Basic { username: "u".into(), password: value() }, Some("authorization"), None, None),
        (CredentialKind::BasicKey { key: value() }, Some("authorization"), None, None),
        (api_key(header), Some("x-shop-key"), None, None),
        (api_key(query), None, Some("api key"), Some("api%20key=a-key-of-20-bytes-..")),
        (api_key(ApiKeyPlace::Cookie("sid".into())), None, None, None),
    ] {
        let credential = Credential::new(&credential(kind), &parts);
        let attachment = credential.ready(parts.clock.now()).expect("there is nothing to wait for");
        let names: Vec<_> = credential.names().headers.iter().map(HeaderName::as_str).collect();
        assert_eq!(names, header.into_iter().collect::<Vec<_>>());
        assert_eq!(headers(&attachment).iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
        assert!(header.is_none_or(|name| sets(&attachment, &HeaderName::from_static(name))));
        assert_eq!(
            (credential.names().query.first().map(String::as_str), attachment.attached().and_then(Attached::query)),
            (query_name, query)
        );
        let has_cookie = header.is_none() && query.is_none();
        assert_eq!(
            (&credential.names().cookies[..], attachment.attached().and_then(Attached::rest).is_some()),
            (&["sid".to_owned()][..usize::from(has_cookie)], has_cookie)
        );
        assert_eq!(attachment.generation(), None);
        assert!(!attachment.attached().unwrap().masks().is_empty());
        let taken = credential.take(Duration::ZERO).await.unwrap();
        assert_eq!(
            (headers(&taken), taken.attached().and_then(Attached::query)),
            (headers(&attachment), attachment.attached().and_then(Attached::query))
        );
        assert!(credential.rejected(Generation(1), true, Duration::from_secs(1)).await.is_none());
        assert!(!format!("{credential:?} {attachment:?}").contains("a-key-of"));
    }
}

/// TL-01: a token is fetched once and attached to every request after that.
#[tokio::test]
async fn a_token_credential_attaches_what_its_cell_holds() {
    let peer = Peer::answering(answer(200, "", r#"{"access_token":"T","expires_in":300}"#)).await;
    let config = credential(CredentialKind::OAuth2(Box::new(grant(TokenEndpoint::Url(peer.url("/"))))));
    let parts = parts();
    let credential = Credential::new(&config, &parts);
    assert_eq!((&credential.names().headers[..], credential.names().query.len()), ([AUTHORIZATION].as_slice(), 0));
    assert!(credential.ready(parts.clock.now()).is_none(), "nothing was fetched yet");
    for _ in 0..2 {
        let attachment = credential.take(Duration::from_secs(10)).await.unwrap();
        assert_eq!(headers(&attachment), [("authorization", &HeaderValue::from_static("Bearer T"))]);
        assert!(headers(&attachment)[0].1.is_sensitive() && attachment.generation().is_some());
    }
    assert!(credential.ready(parts.clock.now()).is_some());
    assert_eq!(peer.requests().len(), 1);
}

/// SEC-10: where a token goes is configured, and what it sets there is known before there is one. A reload that moves it
/// takes the one that is held along, and fetches none.
#[tokio::test]
async fn a_token_goes_where_the_configuration_says() {
    let peer = Peer::answering(answer(200, "", r#"{"access_token":"T+1","expires_in":300}"#)).await;
    let parts = parts();
    let moved_to = |places: Vec<(ApiKeyPlace, &str)>| {
        let mut grant = grant(TokenEndpoint::Url(peer.url("/")));
        let part = |(place, before): (ApiKeyPlace, &str)| {
            let pieces = vec![Piece::Text(before.to_owned()), Piece::Value("token".to_owned())];
            config::AttachPart { place, value: config::Template { pieces } }
        };
        grant.life.attach = config::Attach { parts: places.into_iter().map(part).collect(), ..Default::default() };
        Credential::new(&credential(CredentialKind::OAuth2(Box::new(grant))), &parts)
    };
    let header = |name| ApiKeyPlace::Header(HeaderName::from_static(name));
    let first = moved_to(vec![(header("x-shopify-access-token"), "")]);
    assert_eq!(first.names().headers, ["x-shopify-access-token"]);
    let generation = first.take(Duration::from_secs(10)).await.unwrap().generation();
    let attached = first.ready(parts.clock.now()).unwrap();
    assert_eq!(headers(&attached), [("x-shopify-access-token", &HeaderValue::from_static("T+1"))]);
    assert!(!sets(&attached, &AUTHORIZATION));

    let second = moved_to(vec![
        (header("x-token"), "Token "),
        (ApiKeyPlace::Query("access_token".into()), ""),
        (ApiKeyPlace::Cookie("sid".into()), ""),
    ]);
    assert_eq!(
        (&second.names().query[..], &second.names().cookies[..]),
        (&["access_token".into()][..], &["sid".into()][..])
    );
    let attached = second.ready(parts.clock.now()).expect("the token is held");
    assert_eq!(headers(&attached), [("x-token", &HeaderValue::from_static("Token T+1"))]);
    assert_eq!(attached.attached().and_then(Attached::query), Some("access_token=T%2B1"));
    assert_eq!(attached.attached().and_then(Attached::rest).unwrap().cookies.as_ref().unwrap().pairs, "sid=T+1");
    assert_eq!((attached.generation(), peer.requests().len()), (generation, 1));
}

/// What came with a token can go with it; what does not come, fails the fetch and not the request.
#[tokio::test]
async fn a_declared_value_goes_with_its_token() {
    let peer = Peer::answering(answer(200, "", r#"{"access_token":"T","site":{"id":"acme-site"}}"#)).await;
    let mut grant = grant(TokenEndpoint::Url(peer.url("/")));
    grant.answer.values.insert("site".to_owned(), "site.id".into());
    let site = ApiKeyPlace::Header(HeaderName::from_static("x-site"));
    grant.life.attach.parts.push(config::AttachPart { place: site, value: config::Template::value("site") });
    let credential = Credential::new(&credential(CredentialKind::OAuth2(Box::new(grant))), &parts());
    let attachment = credential.take(Duration::from_secs(10)).await.unwrap();
    assert_eq!(headers(&attachment), [("authorization", &HeaderValue::from_static("Bearer T"))]);
    let (name, value) = &attachment.attached().and_then(Attached::rest).unwrap().headers[0];
    assert_eq!((name.as_str(), value.as_bytes(), value.is_sensitive()), ("x-site", &b"acme-site"[..], true));
    let mut echoed = http::HeaderMap::from_iter([(name.clone(), value.clone())]);
    assert_eq!(attachment.attached().unwrap().masks().mask_headers(&mut echoed), 1);
}
