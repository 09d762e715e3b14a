//! What a file without problems becomes.

use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use http::HeaderName;

use super::*;
use crate::config::{
    Access, AllowedHost, AnswerPlace, AnswerShape, ApiKeyPlace, Attach, AwsKeyPlace, BaseUrl, ClientAuthentication,
    ClientProof, CredentialKind, DPOP, Dpop, Egress, FreshSecret, Grant, HttpUrl, HttpVersion, JsonTemplate,
    LifetimeFormat, LifetimeUnit, Limits, LogFormat, LoginBody, MetadataRequest, Piece, RejectOn, Replay,
    ServerTimeouts, Store, Success, Template, TemplatePiece, TokenEndpoint, TokenEndpointAuthMethod, TokenLife,
    TokenTimeouts, UpstreamTimeouts, UpstreamUrl, Warm,
};
use crate::config::{Answers, Forward, Route};
use crate::config::{HmacAlgorithm, KeyEncoding, SignatureEncoding, TimestampFormat};
use crate::jws::Algorithm;
use crate::secret::{Secret, StoreKey};

pub(super) const FULL: &str = include_str!("full.toml");

const VARIABLES: &[(&str, &str)] = &[
    ("ADDRESS", "127.0.0.1:8080"),
    ("EGRESS_PASSWORD", "pass:word-of-the-proxy"),
    ("CLIENT_ID", "attache-client"),
    ("TOKEN", "a-token-of-enough-length"),
    ("CONTAINER", "/v2/credentials/7"),
    ("STORE_KEY", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="),
];

/// A folder with the files that `full.toml` names.
pub(super) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(["proxy.example".to_owned()]).unwrap();
    std::fs::create_dir(folder.path().join("certs")).unwrap();
    write(folder.path(), "certs/proxy.crt", &pair.cert.pem(), 0o644);
    write(folder.path(), "certs/proxy.key", &pair.signing_key.serialize_pem(), 0o600);
    write(folder.path(), "certs/ca.pem", &pair.cert.pem(), 0o644);
    write(folder.path(), "legacy.openapi.json", r#"{"openapi":"3.1.0","paths":{}}"#, 0o644);
    write(folder.path(), "secret", "a-secret-in-a-file\r\n", 0o600);
    let rsa = include_str!("../../../jws/keys/rsa.pem");
    write(folder.path(), "rsa.pem", rsa, 0o600);
    let account = serde_json::json!({
        "type": "service_account", "client_email": "robot@p.example", "private_key_id": "key-7",
        "private_key": rsa, "token_uri": "https://oauth2.googleapis.com/token",
    });
    write(folder.path(), "service-account.json", &account.to_string(), 0o600);
    folder
}

pub(super) fn write(folder: &Path, name: &str, text: &str, mode: u32) {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
}

pub(super) fn full(how: Load) -> (tempfile::TempDir, Loaded) {
    let folder = folder();
    let loaded = resolve_in(folder.path(), FULL, VARIABLES, how).unwrap_or_else(|problems| panic!("{problems}"));
    (folder, loaded)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_process_is_configured_as_the_file_says() {
    let (_folder, Loaded { config, .. }) = full(Load::Full);
    assert_eq!(config.admin, Some("127.0.0.1:9902".parse().unwrap()));
    assert_eq!(config.server.workers, NonZeroUsize::new(3).unwrap());
    assert_eq!((config.server.drain_delay, config.server.drain_timeout), (seconds(7), seconds(60)));
    let limits = Limits {
        connections_max: 11,
        request_line_bytes_max: 1000,
        header_bytes_max: 0x4000,
        headers_max: 14,
        replay_memory_bytes_max: 15,
        aggregate_memory_bytes_max: 70_000,
        h2_receive_memory_bytes_max: 100_000,
    };
    assert_eq!(config.server.limits, limits);
    let timeouts =
        ServerTimeouts { header: seconds(11), body_idle: seconds(12), idle: seconds(13), tls_handshake: seconds(14) };
    assert_eq!(config.server.timeouts, timeouts);
    let addresses: Vec<String> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!(addresses, ["127.0.0.1:8080", "0.0.0.0:8443"]);
    assert_eq!(config.listeners.iter().map(|listener| listener.certificates.len()).collect::<Vec<_>>(), [0, 1]);
    let Egress { proxy: Some(proxy), no_proxy, ca } = config.egress else { panic!("there is a proxy") };
    assert_eq!((proxy.host.as_str(), proxy.port), ("egress.example", 3128));
    let authorization = proxy.authorization.unwrap();
    assert_eq!(authorization.expose(), "Basic YXR0YWNoZTpwYXNzOndvcmQtb2YtdGhlLXByb3h5");
    assert_eq!(no_proxy, ["localhost", ".internal.example", "10.0.0.0/8"]);
    assert_eq!(ca.len(), 1);
    assert_eq!((config.log.format, config.log.access), (LogFormat::Json, false));
    assert_eq!(config.log.level, "info,attache=debug");
}

#[test]
fn clients_and_credentials_are_as_the_file_says() {
    let (_folder, Loaded { config, .. }) = full(Load::Full);
    let [client] = &config.clients[..] else { panic!("one client") };
    let ClientAuthentication::Key { sha256 } = &client.authentication;
    assert_eq!((&*client.name, sha256.len(), sha256[0][..3].to_vec()), ("billing", 2, vec![0x9f, 0x86, 0xd0]));
    let names: Vec<&str> = config.credentials.iter().map(|credential| &*credential.name).collect();
    let usual = ["crm", "legacy", "whole", "plain", "stepwise", "fixed", "maps", "search", "old", "signed"];
    assert_eq!(names[..10], usual);
    let kinds: Vec<&CredentialKind> = config.credentials.iter().map(|credential| &credential.kind).collect();
    let CredentialKind::OAuth2(legacy) = kinds[1] else { panic!() };
    assert!(
        matches!(&legacy.endpoint, TokenEndpoint::Url(url) if url.to_string() == "http://localhost:9000/token?x=1")
    );
    assert!(matches!(&legacy.proof, ClientProof::Secret(secret) if secret.expose() == "a-secret-in-a-file"));
    assert_eq!((legacy.auth_method, legacy.life.warm, legacy.life.keep_warm), (None, Warm::No, seconds(24 * 3600)));
    assert_eq!((legacy.life.refresh_before, legacy.life.stale_if_error), (None, Duration::ZERO));
    assert!(!legacy.life.single_active);
    assert_eq!((legacy.issuer_check, legacy.life.private, legacy.life.cleartext), (true, false, false));
    let timeouts = TokenTimeouts { connect: seconds(3), attempt: seconds(10), total: seconds(30) };
    assert_eq!(legacy.life.timeouts, timeouts);
    let attached: Vec<_> = legacy.life.attach.parts.iter().map(|part| (&part.place, part.value.pieces.len())).collect();
    let header = ApiKeyPlace::Header(HeaderName::from_static("x-token"));
    assert_eq!(
        attached,
        [(&header, 2), (&ApiKeyPlace::Query("auth".into()), 3), (&ApiKeyPlace::Cookie("sid".into()), 1)]
    );
    assert_eq!(legacy.answer.lifetime_format, LifetimeFormat::parse("H:MM:SS").ok());
    assert!(matches!(kinds[5], CredentialKind::Bearer { token } if token.expose() == "a-token-of-enough-length"));
    let places = |kind: &CredentialKind| match kind {
        CredentialKind::ApiKeys(keys) => keys.iter().map(|key| key.place.clone()).collect(),
        _ => Vec::new(),
    };
    assert_eq!(places(kinds[6]), [ApiKeyPlace::Query("key".into())]);
    let header = HeaderName::from_static("x-api-key");
    assert_eq!(places(kinds[7]), [ApiKeyPlace::Header(header), ApiKeyPlace::Cookie("__Host-sid".into())]);
    let schemes = |kind: &CredentialKind| match kind {
        CredentialKind::ApiKeys(keys) => keys.iter().map(|key| key.scheme.clone()).collect(),
        _ => Vec::new(),
    };
    assert_eq!(schemes(kinds[7]), ["Token token=", ""]);
    assert!(matches!(kinds[8], CredentialKind::Basic { username, .. } if username == "someone"));
    let named = |name: &str| kinds[names.iter().position(|other| *other == name).expect(name)];
    assert!(matches!(named("paid"), CredentialKind::BasicKey { key } if key.expose() == "a-token-of-enough-length"));
    let CredentialKind::Signature(orders) = named("orders") else { panic!() };
    let crate::config::Signature::AwsSigV4(aws) = &**orders else { panic!() };
    let crate::config::AwsKeys::Fixed(key) = &aws.keys else { panic!() };
    assert_eq!(
        (&*key.access_key_id, &*aws.region, &*aws.service),
        ("AKIAIOSFODNN7EXAMPLE", "eu-central-1", "dynamodb")
    );
    let secrets = [&key.secret_access_key, key.session_token.as_ref().unwrap()].map(Secret::expose);
    assert_eq!(secrets, ["a-token-of-enough-length"; 2]);
    let CredentialKind::Signature(exchange) = named("exchange") else { panic!() };
    let crate::config::Signature::Hmac(hmac) = &**exchange else { panic!() };
    assert_eq!((hmac.algorithm, hmac.key_encoding), (HmacAlgorithm::Sha512, KeyEncoding::Base64));
    assert_eq!((hmac.signature_encoding, hmac.timestamp), (SignatureEncoding::Base64, TimestampFormat::Milliseconds));
    assert_eq!((hmac.key.expose(), hmac.string_to_sign.pieces.len()), ("a-token-of-enough-length", 4));
    let names: Vec<_> = hmac.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names, hmac.query.len()), (vec!["x-signature", "x-passphrase"], 1));
    let CredentialKind::Signature(appstore) = named("appstore") else { panic!() };
    let crate::config::Signature::Jwt(jwt) = &**appstore else { panic!() };
    assert_eq!((jwt.key.algorithm(), jwt.key_id.as_deref()), (Algorithm::Es256, Some("2X9R4HXF34")));
    assert_eq!((jwt.lifetime, jwt.per_request), (seconds(900), true));
    assert_eq!((jwt.header.as_str(), &*jwt.scheme), ("x-token", "JWT"));
    let claims = serde_json::json!({
        "iss": "57246542", "sub": "user", "aud": "appstoreconnect-v1", "scope": ["GET /v1/apps"], "beta": true,
        "level": 7, "note": "x",
    });
    assert_eq!(serde_json::Value::Object(jwt.claims.clone()), claims);
    let CredentialKind::Signature(video) = named("video") else { panic!() };
    let crate::config::Signature::Jwt(jwt) = &**video else { panic!() };
    assert_eq!((jwt.key.algorithm(), jwt.lifetime, jwt.per_request), (Algorithm::Hs256, seconds(300), false));
    assert_eq!((jwt.header.as_str(), &*jwt.scheme, jwt.claims.len()), ("authorization", "Bearer", 0));
    let CredentialKind::OAuth2(signed) = named("signed") else { panic!() };
    let ClientProof::Assertion(assertion) = &signed.proof else { panic!() };
    assert_eq!(assertion.key.algorithm(), Algorithm::Es256);
    assert_eq!(assertion.key_id.as_deref(), Some("2026"));
    assert_eq!(assertion.audience.as_deref(), Some("https://login.example"));
}

#[test]
fn an_assertion_from_elsewhere_needs_no_method() {
    let (folder, Loaded { config, watched, .. }) = full(Load::Full);
    let federated = oauth2(&config, "federated");
    assert_eq!(federated.auth_method, Some(TokenEndpointAuthMethod::ForeignAssertion));
    let file = folder.path().join("secret");
    assert!(matches!(&federated.proof, ClientProof::ForeignAssertion(FreshSecret::File(path)) if *path == file));
    // It is read anew each time, so that its change is no reason for a reload; here another secret's is.
    let text = "[[listeners]]\naddress = \"127.0.0.1:0\"\n[credentials.a.client_credentials]\nclient_id = \"a\"\n\
                token_url = \"https://login.example\"\nclient_assertion = { file = \"secret\" }\n";
    assert!(watched.contains(&file));
    assert_eq!(resolve_in(folder.path(), text, &[], Load::Full).unwrap().watched, Vec::<std::path::PathBuf>::new());
}

#[test]
fn aws_keys_are_fetched_from_where_the_file_says() {
    let (folder, Loaded { config, .. }) = full(Load::Full);
    let fetched = |name: &str| match &config.credentials.iter().find(|one| &*one.name == name).unwrap().kind {
        CredentialKind::Signature(signature) => signature.fetched_keys().unwrap(),
        _ => panic!("{name} signs"),
    };
    let url = |url: &str| HttpUrl::parse(url).unwrap();
    let instance = fetched("queue");
    assert_eq!(
        instance.place,
        AwsKeyPlace::Instance { url: HttpUrl { path: String::new(), ..url("http://169.254.169.254") } }
    );
    let timeouts = TokenTimeouts { connect: seconds(1), attempt: seconds(2), total: seconds(3) };
    let life = &instance.life;
    assert_eq!((life.refresh_before, life.keep_warm, life.warm), (Some(seconds(1200)), Duration::ZERO, Warm::Required));
    assert_eq!((life.timeouts, life.cleartext, life.private), (timeouts, true, false));
    let token = FreshSecret::File(folder.path().join("secret"));
    let container = fetched("streams");
    let authorization = Some(token.clone());
    assert_eq!(
        container.place,
        AwsKeyPlace::Container { url: url("http://169.254.170.2/v2/credentials/7"), authorization }
    );
    let role = "arn:aws:iam::123456789012:role/attache".to_owned();
    let models = fetched("models");
    assert_eq!(
        models.place,
        AwsKeyPlace::WebIdentity { url: url("https://sts.cn-north-1.amazonaws.com.cn"), role, token }
    );
    assert_eq!((models.life.cleartext, models.life.private), (false, true));
    let rejected_on = |name: &str| config.upstreams.iter().find(|one| &*one.name == name).unwrap().reject_on.len();
    assert_eq!([rejected_on("queue"), rejected_on("streams"), rejected_on("orders")], [4, 1, 1]);
}

#[test]
fn metadata_servers_are_asked_for_what_the_file_says() {
    let (_folder, Loaded { config, .. }) = full(Load::Full);
    let metadata = |name: &str| match &config.credentials.iter().find(|one| &*one.name == name).unwrap().kind {
        CredentialKind::Metadata(metadata) => metadata,
        _ => panic!("{name} is from a metadata server"),
    };
    let azure = metadata("azure");
    assert_eq!(azure.url.to_string(), "http://169.254.129.4:8081/msi/token");
    let (resource, client_id) = ("https://graph.microsoft.com".to_owned(), Some("attache-client".to_owned()));
    let identity_header = Some(crate::secret::Secret::new("a-token-of-enough-length"));
    assert_eq!(azure.request, MetadataRequest::Azure { resource, client_id, identity_header });
    let timeouts = TokenTimeouts { connect: seconds(1), attempt: seconds(2), total: seconds(3) };
    let life = TokenLife {
        refresh_before: Some(seconds(90)),
        keep_warm: Duration::ZERO,
        warm: Warm::Yes,
        stale_if_error: seconds(300),
        single_active: false,
        attach: Attach::default(),
        private: true,
        // It does not leave the link.
        cleartext: true,
        timeouts,
    };
    assert_eq!(azure.life, life);
    let (run, pubsub) = (metadata("run"), metadata("pubsub"));
    assert_eq!((run.url.to_string(), run.life.cleartext), ("http://169.254.169.254".to_owned(), true));
    let account = "run@project.iam.gserviceaccount.com".to_owned();
    assert_eq!(run.request, MetadataRequest::GoogleIdentity { account, audience: "https://run.example".to_owned() });
    let scope = vec!["https://www.googleapis.com/auth/pubsub".to_owned()];
    assert_eq!(pubsub.request, MetadataRequest::Google { account: "default".to_owned(), scope });
}

#[test]
fn refresh_tokens_and_their_store_are_as_the_file_says() {
    let (folder, Loaded { config, .. }) = full(Load::Full);
    let seeds = config.credentials.iter().filter_map(|credential| match &credential.kind {
        CredentialKind::OAuth2(oauth2) => match &oauth2.grant {
            Grant::RefreshToken { seed } => Some((seed.expose(), oauth2.life.warm, oauth2.life.single_active)),
            _ => None,
        },
        _ => None,
    });
    let expected = [("a-token-of-enough-length", Warm::Yes, false), ("a-secret-in-a-file", Warm::No, true)];
    assert_eq!(seeds.collect::<Vec<_>>(), expected);
    let path = folder.path().join("state/tokens.db");
    assert_eq!(config.store, Store::File { path, key: StoreKey::from_bytes([1; 32]) });
}

#[test]
fn client_credentials_have_every_key() {
    let (_folder, Loaded { config, .. }) = full(Load::Full);
    let CredentialKind::OAuth2(crm) = &config.credentials[0].kind else { panic!() };
    let TokenEndpoint::Issuer { issuer, url } = &crm.endpoint else { panic!() };
    assert_eq!((issuer.as_str(), url.path.as_str()), ("https://login.example/Tenant", "/Tenant"));
    assert_eq!(crm.client_id, "attache-client");
    assert!(matches!(&crm.proof, ClientProof::Secret(secret) if secret.expose() == "a-secret-in-a-file"));
    assert_eq!(crm.auth_method, Some(TokenEndpointAuthMethod::ClientSecretPost));
    assert_eq!(crm.client_certificate.as_ref().map(|own| own.chain.len()), Some(1));
    assert_eq!(crm.scope, ["customers.read", "customers.write"]);
    assert_eq!(crm.audience.as_deref(), Some("crm"));
    assert_eq!(crm.resource, ["https://a.example", "https://b.example"]);
    assert_eq!(crm.parameters.iter().collect::<Vec<_>>(), [(&"tenant".to_owned(), &"7".to_owned())]);
    assert_eq!((crm.life.refresh_before, crm.life.keep_warm), (Some(seconds(90)), Duration::ZERO));
    assert!(crm.life.single_active);
    assert_eq!((crm.life.warm, crm.life.stale_if_error), (Warm::Required, seconds(300)));
    assert_eq!((crm.issuer_check, crm.life.private, crm.life.cleartext), (false, true, true));
    assert_eq!(crm.life.attach.parts, Attach::default().parts);
    let timeouts = TokenTimeouts { connect: seconds(1), attempt: seconds(2), total: seconds(3) };
    assert_eq!(crm.life.timeouts, timeouts);
    // Only what an upstream names is asked for.
    let allowed = |name: &str, below, port| AllowedHost { name: name.to_owned(), below, port };
    let hosts = vec![allowed("my.crm.example", true, None), allowed("crm.example", false, Some(8443))];
    let placed = BaseUrl { hosts, cleartext: false };
    let answer = AnswerShape {
        token: Some("credentials.token".into()),
        lifetime: Some("valid.for".into()),
        lifetime_unit: Some(LifetimeUnit::Minutes),
        lifetime_format: None,
        lifetime_default: Some(seconds(1200)),
        refresh_token: None,
        values: [
            ("site".to_owned(), "site.0.id".into()),
            ("session".to_owned(), AnswerPlace::Cookie("SID".into())),
            ("instance_url".to_owned(), "instance_url".into()),
        ]
        .into(),
        values_may_lack: false,
        base_urls: [("instance_url".to_owned(), placed.clone())].into(),
        success: Some(Success { path: "code".into(), equals: 0.into(), or_absent: true }),
        error: Some("status.text".into()),
    };
    assert_eq!(crm.answer, answer);
    assert_eq!(crm.life.attach.base_urls, answer.base_urls);
}

/// The OAuth 2.0 grant of the credential with this name.
fn oauth2<'c>(config: &'c Config, name: &str) -> &'c crate::config::OAuth2 {
    let credential = config.credentials.iter().find(|credential| &*credential.name == name);
    let CredentialKind::OAuth2(oauth2) = &credential.expect(name).kind else { panic!("{name} is no grant") };
    oauth2
}

#[test]
fn a_bound_token_goes_where_its_standard_says() {
    let (_folder, Loaded { config, .. }) = full(Load::Full);
    let bound = oauth2(&config, "federated");
    assert!(matches!(&bound.dpop, Some(Dpop::Given(key)) if format!("{key:?}").contains("RS256")));
    assert_eq!(bound.life.attach, Attach::authorization("DPoP"));
    let credential = config.credentials.iter().find(|credential| &*credential.name == "federated").unwrap();
    assert_eq!(credential.headers(), [&http::header::AUTHORIZATION, &DPOP]);
    assert!(oauth2(&config, "legacy").dpop.is_none());
}

#[test]
fn an_assertion_is_as_the_file_or_the_key_file_says() {
    let (_folder, Loaded { config, .. }) = full(Load::Full);
    let robot = oauth2(&config, "robot");
    let Grant::JwtBearer(grant) = &robot.grant else { panic!() };
    assert!(
        matches!(&robot.endpoint, TokenEndpoint::Url(url) if url.to_string() == "https://oauth2.googleapis.com/token")
    );
    assert!(robot.client_id.is_empty() && robot.scope.is_empty() && matches!(robot.proof, ClientProof::Nothing));
    assert_eq!((grant.issuer.as_str(), grant.subject.as_deref()), ("robot@p.example", Some("ada@example.com")));
    assert_eq!((grant.key_id.as_deref(), grant.audience.as_deref()), (Some("key-7"), None));
    assert_eq!((grant.key.algorithm(), grant.claims["scope"].as_str()), (Algorithm::Rs256, "drive openid"));

    let asserted = oauth2(&config, "asserted");
    let Grant::JwtBearer(grant) = &asserted.grant else { panic!() };
    assert_eq!(asserted.auth_method, Some(TokenEndpointAuthMethod::ClientSecretPost));
    assert!(matches!(&asserted.proof, ClientProof::Secret(secret) if secret.expose() == "a-secret-in-a-file"));
    assert_eq!((asserted.client_id.as_str(), asserted.scope.join(" ").as_str()), ("asserted", "read"));
    assert_eq!((grant.issuer.as_str(), grant.subject.as_deref()), ("consumer", Some("consumer")));
    assert_eq!((grant.key_id.as_deref(), grant.audience.as_deref()), (Some("2026"), Some("https://audience.example")));
    assert_eq!(grant.claims["tenant"], "7");
}

#[test]
fn what_is_presented_is_as_the_file_says() {
    let (_folder, Loaded { config, .. }) = full(Load::Full);
    let presented = |name: &str| {
        let oauth2 = oauth2(&config, name);
        let Grant::Fields(grant) = &oauth2.grant else { panic!("{name} presents no fields") };
        assert!(matches!(oauth2.proof, ClientProof::Nothing));
        assert_eq!(oauth2.auth_method, Some(TokenEndpointAuthMethod::Public));
        let plain = grant.plain.iter().map(|(name, value)| format!("{name}={value}"));
        let secret = grant.secret.iter().map(|(name, value)| format!("{name}={}", value.expose()));
        (oauth2.client_id.as_str(), grant.grant_type.as_str(), plain.chain(secret).collect::<Vec<_>>().join(" "))
    };
    let person = ("person", "password", "username=ada password=a-token-of-enough-length".to_owned());
    assert_eq!(presented("person"), person);
    assert_eq!(presented("own"), ("own", "account_credentials", "pin=a-token-of-enough-length".to_owned()));
    assert_eq!(oauth2(&config, "own").parameters["account_id"], "7");
    let exchanged = "subject_token_type=urn:ietf:params:oauth:token-type:id_token actor_token_type=urn:example:actor \
                     requested_token_type=urn:ietf:params:oauth:token-type:access_token \
                     subject_token=a-secret-in-a-file actor_token=a-token-of-enough-length";
    let grant_type = "urn:ietf:params:oauth:grant-type:token-exchange";
    assert_eq!(presented("exchanged"), ("exchanged", grant_type, exchanged.to_owned()));
    let subject = oauth2(&config, "for-people").grant.subject_header().expect("its subjects come with requests");
    assert_eq!((subject.name.as_str(), subject.clients.len(), &*subject.clients[0]), ("x-subject-token", 1, "billing"));
    assert!(matches!(&oauth2(&config, "for-people").grant, Grant::Fields(grant) if grant.secret.is_empty()));
    assert!(oauth2(&config, "exchanged").grant.subject_header().is_none());
}

#[test]
fn a_github_app_is_as_the_file_says() {
    let (_folder, Loaded { config, .. }) = full(Load::Full);
    let hub = oauth2(&config, "hub");
    let Grant::GithubApp(app) = &hub.grant else { panic!() };
    let TokenEndpoint::Url(url) = &hub.endpoint else { panic!() };
    assert_eq!(url.to_string(), "https://github.example/api/v3/app/installations/11223344/access_tokens");
    assert_eq!((hub.client_id.as_str(), hub.answer.token.clone()), ("7", Some("token".into())));
    assert_eq!((app.repositories.join(" ").as_str(), app.permissions["contents"].as_str()), ("hello world", "read"));
    assert_eq!(app.key.algorithm(), Algorithm::Rs256);
}

/// A login is resolved to requests whose texts hold what the file knows already.
#[test]
fn a_login_is_what_its_requests_say() {
    let (_folder, Loaded { config, .. }) = full(Load::Full);
    let [CredentialKind::Login(whole), CredentialKind::Login(stepwise)] =
        [2, 4].map(|index| &config.credentials[index].kind)
    else {
        panic!()
    };
    let [step] = &whole.steps[..] else { panic!() };
    let (request, text) = (&step.request, |text: &str| Piece::Text(text.to_owned()));
    let secret = || Piece::Secret(Secret::new("a-secret-in-a-file"));
    assert_eq!((&request.method, request.origin.to_string().as_str()), (&http::Method::PUT, "https://someone.example"));
    assert_eq!(request.target.pieces, [text("/someone/"), secret(), text("?a=b")]);
    assert_eq!(request.query, [("q".to_owned(), Template { pieces: vec![text("someone")] })]);
    assert_eq!(request.headers[0].0, "x-version");
    assert_eq!(request.basic.as_ref().unwrap().1.pieces, [secret()]);
    assert!(matches!(&request.body, LoginBody::Form(fields) if fields[0].0 == "name"));
    assert_eq!((step.answer.token.as_ref(), step.has_token), (Some(&AnswerPlace::Body), true));
    assert_eq!(step.answer.lifetime, Some(AnswerPlace::Header(HeaderName::from_static("x-lifetime"))));
    assert_eq!(whole.life.attach.parts[0].value.pieces, [text("someone:"), Piece::Value("token".into())]);
    assert_eq!((whole.life.warm, whole.life.private, whole.life.cleartext), (Warm::Yes, true, true));

    let [first, second] = &stepwise.steps[..] else { panic!() };
    assert_eq!((&first.request.method, first.has_token, second.has_token), (&http::Method::GET, false, true));
    let LoginBody::Json(JsonTemplate::Object(members)) = &second.request.body else { panic!() };
    let JsonTemplate::List(items) = &members[0].1 else { panic!() };
    assert!(matches!(&items[0], JsonTemplate::Text(template) if template.pieces == [Piece::Value("ticket".into())]));
    assert!(matches!(&items[2], JsonTemplate::Other(number) if *number == serde_json::json!(1.5)));
    assert_eq!((items.len(), first.request.secrets().len()), (5, 1));

    let own = whole.refresh.as_ref().unwrap();
    assert_eq!((&own.request.method, own.request.names("refresh_token")), (&http::Method::PUT, true));
    assert_eq!(
        (own.answer.token.as_ref(), own.answer.refresh_token.as_ref()),
        (Some(&"new".into()), Some(&"next".into()))
    );
    let same = stepwise.refresh.as_ref().unwrap();
    let of_the_token = AnswerShape { values_may_lack: true, ..second.answer.clone() };
    assert_eq!(same.answer, of_the_token);
    assert!(same.has_token && same.request.names("ticket"));
}

#[test]
fn upstreams_and_routes_refer_to_what_they_name() {
    let (_folder, Loaded { config, .. }) = full(Load::Full);
    let crm = &config.upstreams[0];
    assert_eq!(crm.url.to_string(), "https://api.crm.example:8443/v2");
    assert!(Arc::ptr_eq(crm.credential.as_ref().unwrap(), &config.credentials[0]));
    assert_eq!((crm.ca.len(), crm.client_certificate.as_ref().unwrap().chain.len()), (1, 1));
    assert_eq!((crm.private, crm.http, crm.replay, crm.forwarded), (true, HttpVersion::Http2, Replay::Any, true));
    let timeouts = UpstreamTimeouts { connect: seconds(1), first_byte: seconds(2), idle: seconds(3) };
    assert_eq!(crm.timeouts, timeouts);
    let reject = |status: u16, text: Option<&str>| RejectOn {
        status: http::StatusCode::from_u16(status).unwrap(),
        body_contains: text.map(str::to_owned),
    };
    assert_eq!(crm.reject_on, [reject(401, None), reject(403, Some("expired"))]);
    let placed = &config.upstreams[1].url;
    assert_eq!(*placed, UpstreamUrl::OfToken { value: "instance_url".to_owned(), path: "/data".to_owned() });
    assert_eq!(placed.to_string(), "{instance_url}/data");
    assert_eq!(config.upstreams[2].reject_on, [reject(401, None)]);

    let route = &config.routes[0];
    let sent = forward(route);
    assert!(Arc::ptr_eq(&sent.upstream, crm));
    assert_eq!((&*route.name, route.host.as_deref()), ("customers", Some("proxy.internal")));
    assert_eq!(route.methods, [http::Method::GET, http::Method::POST]);
    let pieces = [TemplatePiece::Literal("/customers/".into()), TemplatePiece::Parameter(1), TemplatePiece::Rest];
    assert_eq!(sent.upstream_path.pieces, pieces);
    assert!(matches!(&route.access, Access::Clients(clients) if Arc::ptr_eq(&clients[0], &config.clients[0])));
    assert_eq!(format!("{:?}", sent.request_headers.set), r#"[("x-team", "billing")]"#);
    assert_eq!(sent.request_headers.remove, ["x-debug"]);
    assert_eq!(format!("{:?}", route.response_headers.set), r#"[("x-served-by", "attache-client")]"#);
    assert_eq!(route.response_headers.remove, ["server"]);
    assert!(sent.cookies && !sent.redact_bodies);
    let timeouts = UpstreamTimeouts { connect: seconds(7), first_byte: seconds(8), idle: seconds(9) };
    assert_eq!(sent.timeouts, timeouts);
    let legacy = forward(&config.routes[2]);
    assert_eq!(legacy.timeouts, UpstreamTimeouts { idle: seconds(9), ..legacy.upstream.timeouts });

    let maps = &config.routes[1];
    assert_eq!(&*maps.name, "GET /maps");
    assert_eq!(forward(maps).upstream_path.pieces, [TemplatePiece::MatchedPath]);
    assert!(matches!(maps.access, Access::Anyone));
    assert!(!forward(maps).cookies && forward(maps).redact_bodies);
}

/// What a route sends on.
fn forward(route: &Route) -> &Forward {
    match &route.answers {
        Answers::Upstream(forward) => forward,
        Answers::Aggregate(_) => panic!("{} is an aggregate", route.name),
    }
}

#[test]
fn files_are_watched_and_nothing_is_warned_of() {
    let (folder, loaded) = full(Load::Full);
    assert_eq!(loaded.warnings.to_string(), "");
    let watched: Vec<_> =
        loaded.watched.iter().map(|path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap()).collect();
    assert_eq!(
        watched,
        [
            "certs/ca.pem",
            "certs/proxy.crt",
            "certs/proxy.key",
            "legacy.openapi.json",
            "rsa.pem",
            "secret",
            "service-account.json"
        ]
    );
}

#[test]
fn what_is_left_out_has_its_default() {
    let text = r#"
        [[listeners]]
        address = "127.0.0.1:8080"
        [upstreams.api]
        url = "https://api.example"
        [[routes]]
        path = "/api/{*rest}"
        upstream = "api"
        clients = "anyone"
    "#;
    let config = resolve(text, &[]).unwrap().config;
    assert_eq!((config.admin, config.server.drain_delay), (None, Duration::ZERO));
    assert!((1..=4).contains(&config.server.workers.get()));
    let limits = Limits {
        connections_max: 10_000,
        request_line_bytes_max: 32_768,
        header_bytes_max: 65_536,
        headers_max: 100,
        replay_memory_bytes_max: 67_108_864,
        aggregate_memory_bytes_max: 268_435_456,
        h2_receive_memory_bytes_max: 268_435_456,
    };
    assert_eq!(config.server.limits, limits);
    assert_eq!((config.log.format, config.log.level.as_str(), config.log.access), (LogFormat::Text, "info", true));
    assert!(config.egress.proxy.is_none() && config.egress.ca.is_empty());
    let upstream = &config.upstreams[0];
    assert_eq!((upstream.http, upstream.replay, upstream.forwarded), (HttpVersion::Auto, Replay::Safe, false));
    let timeouts = UpstreamTimeouts { connect: seconds(5), first_byte: seconds(120), idle: seconds(120) };
    assert_eq!((upstream.timeouts, forward(&config.routes[0]).timeouts), (timeouts, timeouts));
    assert_eq!(&*config.routes[0].name, "/api/{*rest}");
    let with_admin = resolve(&format!("{text}\n[admin]"), &[]).unwrap().config;
    assert_eq!(with_admin.admin, Some("127.0.0.1:9901".parse().unwrap()));
    assert_eq!(with_admin.server.drain_delay, seconds(5));
}

#[test]
fn narrower_routes_are_no_conflict() {
    let route = |more: &str| format!("[[routes]]\npath = \"/a\"\nupstream = \"api\"\nclients = \"anyone\"\n{more}\n");
    let text = ["[[listeners]]\naddress = \"[::1]:1\"\n[upstreams.api]\nurl = \"https://api.example\"\n".to_owned()]
        .into_iter()
        .chain(["", "methods = [\"GET\"]", "methods = [\"POST\", \"PUT\"]", "host = \"a.example\""].map(route))
        .collect::<String>();
    assert_eq!(resolve(&text, &[]).unwrap().config.routes.len(), 4);
}

/// Whatever is missing from a file, or added to it, ends in a configuration or in a report, never in a panic.
#[test]
fn every_line_of_a_file_can_be_left_out_or_broken() {
    let folder = folder();
    let lines: Vec<&str> = FULL.lines().collect();
    for broken in 0..lines.len() {
        let cases = [
            lines.iter().enumerate().filter(|(index, _)| *index != broken).map(|(_, line)| *line).collect::<Vec<_>>(),
            lines[..broken].to_vec(),
            [&lines[..broken], &["nonsense = true"], &lines[broken..]].concat(),
            [&lines[..broken], &["[[server]]"], &lines[broken..]].concat(),
        ];
        for case in cases {
            let text = case.join("\n");
            if let Err(problems) = resolve_in(folder.path(), &text, VARIABLES, Load::WithoutCommands) {
                assert!(!problems.to_string().is_empty());
            }
        }
    }
    assert!(lines.len() > 100);
}

/// A declared key that nothing reads would be accepted and do nothing: the example has every one, and the tests above
/// say what becomes of it.
#[test]
fn the_full_example_has_every_key() {
    let tree = DeTable::parse(FULL).unwrap();
    let keys = crate::config::file::tests::absent_keys(tree.get_ref());
    assert_eq!(keys, Vec::<String>::new());
}
