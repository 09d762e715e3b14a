//! What reached whom, by the last word: otherwise the absence of secrets would prove nothing.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Version;
use ring::hmac;

use super::grantor::{FETCHED_AWS_KEY, GRANTED, IMDS_SESSION};
use super::planted::{BY_COMMAND, CLIENT_QUERY_SECRET, GRANTED_OVER_TLS, IN_FILE, ROTATED, SUBJECT_TOKEN, secret};
use super::world::World;
use crate::support::TlsRequest;

/// After [`super::drive::drive`].
pub fn assert_arrived(world: &World) {
    let basic = world.basic.requests()[0].headers.get("authorization").unwrap().to_owned();
    let encoded: String = form_urlencoded::byte_serialize(secret("CLIENT_SECRET_BASIC").as_bytes()).collect();
    assert_eq!(basic, format!("Basic {}", STANDARD.encode(format!("basic:{encoded}"))));
    let raw = world.raw.requests()[0].headers.get("authorization").unwrap().to_owned();
    assert_eq!(raw, format!("Basic {}", STANDARD.encode(format!("raw:{}", secret("CLIENT_SECRET_RAW")))));
    assert_eq!(world.post.requests()[0].form("client_secret").as_deref(), Some(secret("CLIENT_SECRET_POST")));
    assert_eq!(world.wrong.requests()[0].form("client_secret").as_deref(), Some(secret("CLIENT_SECRET_WRONG")));

    let renewals = world.renewed.requests();
    let secrets = renewals.iter().map(|request| request.form("client_secret"));
    assert!(
        !renewals.is_empty() && secrets.into_iter().all(|it| it.as_deref() == Some(secret("CLIENT_SECRET_RENEWED")))
    );

    let requests = world.upstream.requests();
    let first = |name: &str| {
        let found = requests.iter().find(|request| request.target.starts_with(&format!("/{name}/")));
        found.unwrap_or_else(|| panic!("nothing reached {name}"))
    };
    let endpoints = [("basic", &world.basic), ("raw", &world.raw), ("post", &world.post), ("renewed", &world.renewed)];
    for (name, endpoint) in endpoints {
        assert_eq!(first(name).bearer(), Some(endpoint.grants().tokens()[0].as_str()));
        assert!(first(name).target.ends_with(CLIENT_QUERY_SECRET));
    }
    assert_eq!(first("bearer").bearer(), Some(secret("BEARER_TOKEN")));
    assert_eq!(first("file").bearer(), Some(secret(IN_FILE)));
    assert_eq!(first("command").bearer(), Some(secret(BY_COMMAND)));
    assert_arrived_over_tls(&world.tls.requests());
    assert_eq!(first("header").headers.get("x-their-key"), Some(secret("HEADER_KEY")));
    let (_, query) = first("query").target.split_once('?').expect("a key was added");
    let value = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "key").expect("a key was added").1;
    assert_eq!(value, secret("QUERY_KEY"));
    assert_eq!(first("aws").headers.get("x-amz-security-token"), Some(secret("AWS_SESSION")));
    assert!(first("aws").headers.get("authorization").unwrap().starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"));
    let [id, _, session] = FETCHED_AWS_KEY;
    assert_eq!(first("imds").headers.get("x-amz-security-token"), Some(session));
    assert!(first("imds").headers.get("authorization").unwrap().contains(&format!(" Credential={id}/")));
    assert_eq!(first("login").headers.get("x-session"), Some(GRANTED[0]));
    for (name, token) in [
        ("identity", GRANTED[1]),
        ("refreshed", GRANTED[2]),
        ("signed", GRANTED[3]),
        ("exchanged", GRANTED[9]),
        ("based", GRANTED[10]),
    ] {
        assert_eq!(first(name).bearer(), Some(token));
    }
    assert_eq!(first("bound").headers.get("authorization"), Some(format!("DPoP {}", GRANTED[8]).as_str()));
    assert!(first("bound").headers.get("dpop").is_some_and(|proof| proof.starts_with("eyJ")));
    assert!(requests.iter().all(|request| request.headers.get("x-subject-token").is_none()));
    assert_arrived_at_the_grantor(world);
    assert_eq!(first("mac").headers.get("x-phrase"), Some(secret("HMAC_PHRASE")));
    assert_eq!(first("mac").headers.get("x-signature").map(str::len), Some(64));
    let (message, signature) = first("own").bearer().unwrap().rsplit_once('.').expect("a token has three parts");
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret("JWT_SECRET").as_bytes());
    hmac::verify(&key, message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let pair = STANDARD.encode(format!("user:{}", secret("BASIC_PASSWORD")));
    assert_eq!(first("password").headers.get("authorization"), Some(format!("Basic {pair}").as_str()));
}

fn assert_arrived_at_the_grantor(world: &World) {
    let sent = |path: &str| world.grantor.request(path);
    assert!(String::from_utf8_lossy(&sent("/login").body).contains(secret("LOGIN_PASSWORD")));
    assert_eq!(sent("/identity").headers.get("x-identity-header"), Some(secret("IDENTITY_HEADER")));
    assert_eq!(sent("/refresh").form("refresh_token").as_deref(), Some(secret("REFRESH_SEED")));
    let keys = sent("/latest/meta-data/iam/security-credentials/my-role");
    assert_eq!(keys.headers.get("x-aws-ec2-metadata-token"), Some(IMDS_SESSION));
    assert_eq!(sent("/exchanged").form("subject_token").as_deref(), Some(SUBJECT_TOKEN));
    for (path, variable) in
        [("bound", "CLIENT_SECRET_BOUND"), ("exchanged", "CLIENT_SECRET_EXCHANGED"), ("based", "CLIENT_SECRET_BASED")]
    {
        let encoded: String = form_urlencoded::byte_serialize(secret(variable).as_bytes()).collect();
        let basic = format!("Basic {}", STANDARD.encode(format!("attache:{encoded}")));
        assert_eq!(sent(&format!("/{path}")).headers.get("authorization"), Some(basic.as_str()), "{path}");
    }
    assert_ne!(world.grantor.proofs()[0], world.grantor.proofs()[1]);
    assert_ne!(world.grantor.assertions()[0], world.grantor.assertions()[1]);
}

fn assert_arrived_over_tls(requests: &[TlsRequest]) {
    let first = |path: &str| {
        let found = requests.iter().find(|request| request.target.starts_with(path));
        found.unwrap_or_else(|| panic!("nothing reached {path}"))
    };
    assert!(!first("/.well-known/").headers.contains_key("authorization"));
    let form: Vec<_> = form_urlencoded::parse(&first("/token").body).collect();
    assert!(form.contains(&("client_secret".into(), secret("CLIENT_SECRET_DISCOVERED").into())));
    let api = first("/tls/");
    assert!(api.certified, "the client certificate was not shown");
    assert_eq!(api.version, Version::HTTP_2);
    assert_eq!(api.headers["authorization"], format!("Bearer {GRANTED_OVER_TLS}"));
    let others = requests.iter().filter(|request| !request.target.starts_with("/tls/"));
    assert!(others.into_iter().all(|request| !request.certified), "the upstream's certificate was shown to another");
}

/// After [`super::drive::drive_in_time`].
pub fn assert_arrived_in_time(world: &World) {
    let requests = world.upstream.requests();
    let at = |path: &str| requests.iter().filter(|request| request.target == path).collect::<Vec<_>>();
    let tokens = world.renewed.grants().tokens();
    let bearers = |path: &str| at(path).iter().filter_map(|request| request.bearer()).collect::<Vec<_>>();
    let which = |bearer: &str| tokens.iter().position(|token| token == bearer).expect("it was granted");
    let [first, background] = ["/renewed/first", "/renewed/background"].map(|path| which(bearers(path)[0]));
    let [rejected, replayed] = bearers("/renewed/replayed")[..] else { panic!("{:?}", at("/renewed/replayed")) };
    assert!(first < background && background <= which(rejected) && which(rejected) < which(replayed), "{tokens:?}");
    assert_eq!(bearers("/renewed/rejected").len(), 1);

    let ranges = |path: &str| at(path).iter().map(|request| request.headers.get("range").is_some()).collect::<Vec<_>>();
    assert_eq!((ranges("/bearer/part"), ranges("/bearer/parts")), (vec![true, false], vec![true, false]));
    for path in ["/bearer/part", "/bearer/parts", "/bearer/encoded"] {
        assert!(bearers(path).iter().all(|bearer| *bearer == secret("BEARER_TOKEN")), "{path}");
    }
    assert_eq!(bearers("/bearer/encoded").len(), 1);
    assert_eq!(bearers("/file/rotated"), [secret(ROTATED)]);
}
