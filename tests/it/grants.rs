//! The grants that no real server at hand speaks: scripted token endpoints, of which the tests check what
//! they were sent as a server would.

use std::time::UNIX_EPOCH;

use attache::clock::{Clock as _, SystemClock};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::body::Frame;
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};

use crate::support::{
    Child, Grant, Identity, Proxy, TlsPeer, TokenEndpoint, Upstream, assert_problem, free_address, get, one_route_of,
};

/// The private key of the tests.
const RSA: &str = include_str!("../../src/jws/keys/rsa.pem");

/// A proxy with this table for the credential `api`.
fn proxy(credential: &str, environment: &[(&str, &str)], upstream: &Upstream) -> Proxy {
    Proxy::start_with(&one_route_of(credential, &format!("url = \"{}\"", upstream.url()), ""), environment)
}

/// The fields of the only token request, in order.
fn only_form(endpoint: &TokenEndpoint) -> Vec<(String, String)> {
    let requests = endpoint.requests();
    let [request] = &requests[..] else { panic!("{} token requests", requests.len()) };
    form_urlencoded::parse(&request.body).into_owned().collect()
}

fn names(form: &[(String, String)]) -> Vec<&str> {
    form.iter().map(|(name, _)| name.as_str()).collect()
}

fn value<'f>(form: &'f [(String, String)], name: &str) -> &'f str {
    &form.iter().find(|(field, _)| field == name).unwrap_or_else(|| panic!("no {name} in {form:?}")).1
}

/// Header and claims of an assertion that the private key of the tests signed with RS256, and that is good now.
fn verified(assertion: &str) -> (Value, Value) {
    let der = PrivatePkcs8KeyDer::from_pem_slice(RSA.as_bytes()).expect("it is a key");
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).expect("it is an RSA key");
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
    let (message, signature) = assertion.rsplit_once('.').expect("three parts");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    key.verify(message.as_bytes(), &signature).expect("the key signed it");
    let (header, claims) = message.split_once('.').expect("three parts");
    let read = |part: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
    };
    let (header, claims) = (read(header), read(claims));
    let now_s = SystemClock.wall().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let [iat, exp] = ["iat", "exp"].map(|claim| claims[claim].as_u64().expect("a time"));
    assert!(iat <= now_s && now_s <= exp, "{claims} at {now_s}");
    (header, claims)
}

/// Claims but for those that differ each time.
fn lasting(claims: &Value) -> Value {
    let mut claims = claims.clone();
    for fresh in ["iat", "exp", "jti"] {
        claims.as_object_mut().expect("an object").remove(fresh).unwrap_or_else(|| panic!("no {fresh}"));
    }
    claims
}

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// As https://developers.google.com/identity/protocols/oauth2/service-account says: issuer, key and token endpoint come
/// from the key file, the scope is a claim, and `sub` is there for domain-wide delegation only.
#[test]
fn a_google_service_account_signs_for_itself_or_for_a_person() {
    for (subject, more) in [(None, ""), (Some("ada@example.com"), "subject = \"ada@example.com\"")] {
        let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
        let key_file = json!({
            "type": "service_account", "project_id": "p", "private_key_id": "key-7", "private_key": RSA,
            "client_email": "robot@p.iam.gserviceaccount.com", "client_id": "108", "token_uri": endpoint.url(),
        });
        let credential = format!(
            "[credentials.api.jwt_bearer]\nkey_file = {{ env = \"KEY_FILE\" }}\n\
             scope = [\"https://www.googleapis.com/auth/drive\", \"openid\"]\n{more}\n"
        );
        let proxy = proxy(&credential, &[("KEY_FILE", &key_file.to_string())], &upstream);
        assert_eq!(proxy.get("/api/x").status, 200);
        assert_eq!(upstream.request().bearer(), Some("demo-access-token-000001"));
        let form = only_form(&endpoint);
        assert_eq!(names(&form), ["grant_type", "assertion"]);
        assert_eq!(value(&form, "grant_type"), JWT_BEARER);
        let (header, claims) = verified(value(&form, "assertion"));
        assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT", "kid": "key-7" }));
        let mut expected = json!({
            "iss": "robot@p.iam.gserviceaccount.com", "aud": endpoint.url(),
            "scope": "https://www.googleapis.com/auth/drive openid",
        });
        if let Some(subject) = subject {
            expected["sub"] = subject.into();
        }
        assert_eq!(lasting(&claims), expected);
        assert_eq!(endpoint.requests()[0].headers.get("authorization"), None);
    }
}

/// As Salesforce's "OAuth 2.0 JWT Bearer Flow" says: the consumer key signs, for a user, towards the login host, for at most
/// three minutes.
#[test]
fn a_client_signs_for_a_user_towards_an_audience_of_its_own() {
    let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
    let credential = format!(
        "[credentials.api.jwt_bearer]\ntoken_url = \"{}\"\nissuer_claim = \"3MVG9.consumer\"\n\
         subject = \"ada@example.com\"\nassertion_audience = \"https://login.salesforce.com\"\n\
         private_key = {{ env = \"KEY\" }}\nscope = \"api\"\nclaims = {{ tenant = \"7\" }}\n",
        endpoint.url()
    );
    let proxy = proxy(&credential, &[("KEY", RSA)], &upstream);
    assert_eq!(proxy.get("/api/x").status, 200);
    let form = only_form(&endpoint);
    assert_eq!(names(&form), ["grant_type", "scope", "assertion"]);
    let (_, claims) = verified(value(&form, "assertion"));
    let [iat, exp] = ["iat", "exp"].map(|claim| claims[claim].as_u64().expect("a time"));
    assert!(exp - iat <= 180);
    let expected = json!({
        "iss": "3MVG9.consumer", "sub": "ada@example.com", "aud": "https://login.salesforce.com",
        "scope": "api", "tenant": "7",
    });
    assert_eq!(lasting(&claims), expected);
}

/// TL-32: each attempt has an assertion of its own, since a server takes a `jti` once.
#[test]
fn each_attempt_signs_anew() {
    let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
    endpoint.script([Grant::Json(503, json!({}))]);
    let credential = format!(
        "[credentials.api.jwt_bearer]\ntoken_url = \"{}\"\nissuer_claim = \"robot\"\nprivate_key = {{ env = \"KEY\" }}\n",
        endpoint.url()
    );
    let proxy = proxy(&credential, &[("KEY", RSA)], &upstream);
    assert_eq!(proxy.get("/api/x").status, 200);
    let requests = endpoint.requests();
    let ids = requests.iter().map(|request| verified(&request.form("assertion").expect("one")).1["jti"].clone());
    let ids: Vec<Value> = ids.collect();
    assert!(ids.len() == 2 && ids[0].is_string() && ids[0] != ids[1], "{ids:?}");
}

/// As Box's "JWT without SDKs" says: the client proves itself by its secret beside the assertion. TL-26: what the server
/// says of a refused assertion is passed on.
#[test]
fn a_client_with_a_secret_signs_too() {
    let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
    let refusal = json!({ "error": "invalid_grant", "error_description": "Invalid JWT Signature." });
    endpoint.script([Grant::Json(400, refusal)]);
    let credential = format!(
        "[credentials.api.jwt_bearer]\ntoken_url = \"{}\"\nclient_id = \"box-client\"\n\
         client_secret = {{ env = \"SECRET\" }}\ntoken_endpoint_auth_method = \"client_secret_post\"\n\
         subject = \"11446498\"\nclaims = {{ box_sub_type = \"enterprise\" }}\nprivate_key = {{ env = \"KEY\" }}\n",
        endpoint.url()
    );
    let proxy = proxy(&credential, &[("KEY", RSA), ("SECRET", "s3cret-of-the-box-client")], &upstream);
    let problem = assert_problem(&proxy.get("/api/x"), 502);
    let detail = problem["detail"].as_str().expect("a text");
    assert!(detail.contains("invalid_grant"), "{problem}");
    let form = only_form(&endpoint);
    assert_eq!(names(&form), ["grant_type", "assertion", "client_id", "client_secret"]);
    assert_eq!(value(&form, "client_secret"), "s3cret-of-the-box-client");
    let (_, claims) = verified(value(&form, "assertion"));
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("box-client"), &json!("11446498")));
    assert_eq!(claims["box_sub_type"], "enterprise");
    assert!(upstream.requests().is_empty());
}

/// Some servers want a certificate on the connection and a secret in the request, as ADP does.
#[test]
fn a_certificate_goes_with_every_method() {
    let folder = tempfile::tempdir().expect("there is room for files");
    let own = Identity::new(folder.path(), "own", &["localhost", "127.0.0.1"]);
    let client = Identity::new(folder.path(), "client", &["client.example"]);
    let granted = r#"{"access_token":"T","token_type":"Bearer","expires_in":300}"#;
    let endpoint = TlsPeer::start(&own, &client, move |_| http::Response::new(vec![Frame::data(granted.into())]));
    for (certificate, certified) in [
        (String::new(), false),
        (format!("client_certificate = {{ cert = {:?}, key = {:?} }}", client.cert_file, client.key_file), true),
    ] {
        let upstream = Upstream::open();
        let credential = format!(
            "[egress]\nca = {:?}\n[credentials.api.client_credentials]\ntoken_url = \"https://localhost:{}/token\"\n\
             client_id = \"app\"\nclient_secret = {{ env = \"SECRET\" }}\n{certificate}\n",
            own.cert_file,
            endpoint.address.port()
        );
        let proxy = proxy(&credential, &[("SECRET", "s3cret")], &upstream);
        assert_eq!(proxy.get("/api/x").status, 200);
        assert_eq!(upstream.request().bearer(), Some("T"));
        let request = endpoint.requests().pop().expect("it was asked");
        assert_eq!(request.certified, certified);
        assert_eq!(request.headers["authorization"], "Basic YXBwOnMzY3JldA==");
    }
}

/// RFC 6749 section 4.3: name and password in the form, and the client's own proof as ever.
#[test]
fn a_users_password_is_presented_beside_the_client() {
    for (client, authorization, fields) in [
        ("", None, vec!["grant_type", "username", "scope", "password"]),
        ("client_id = \"app\"", None, vec!["grant_type", "username", "scope", "password", "client_id"]),
        (
            "client_id = \"app\"\nclient_secret = { env = \"SECRET\" }",
            Some("Basic YXBwOnMzY3JldA=="),
            vec!["grant_type", "username", "scope", "password"],
        ),
    ] {
        let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
        let credential = format!(
            "[credentials.api.password]\ntoken_url = \"{}\"\nusername = \"ada\"\npassword = {{ env = \"PASSWORD\" }}\n\
             scope = \"read\"\n{client}\n",
            endpoint.url()
        );
        let proxy = proxy(&credential, &[("PASSWORD", "pass+word&=:"), ("SECRET", "s3cret")], &upstream);
        assert_eq!(proxy.get("/api/x").status, 200);
        let form = only_form(&endpoint);
        assert_eq!(names(&form), fields);
        assert_eq!(
            ["grant_type", "username", "password"].map(|name| value(&form, name)),
            ["password", "ada", "pass+word&=:"]
        );
        assert_eq!(endpoint.requests()[0].headers.get("authorization"), authorization);
    }
}

/// As https://developers.zoom.us/docs/internal-apps/s2s-oauth/ says, with a field that is secret besides.
#[test]
fn a_grant_of_the_servers_own_is_as_configured() {
    let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
    let credential = format!(
        "[credentials.api.custom_grant]\ntoken_url = \"{}\"\ngrant_type = \"account_credentials\"\n\
         client_id = \"app\"\nclient_secret = {{ env = \"SECRET\" }}\nparameters = {{ account_id = \"7\" }}\n\
         secret_parameters = {{ \"pin&code\" = {{ env = \"PIN\" }} }}\n",
        endpoint.url()
    );
    let proxy = proxy(&credential, &[("PIN", "12=34&56"), ("SECRET", "s3cret")], &upstream);
    assert_eq!(proxy.get("/api/x").status, 200);
    let pairs = [("grant_type", "account_credentials"), ("account_id", "7"), ("pin&code", "12=34&56")];
    assert_eq!(only_form(&endpoint), pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(endpoint.requests()[0].headers.get("authorization"), Some("Basic YXBwOnMzY3JldA=="));
}

/// RFC 8693 section 2.1: the subject's token, who acts, and what for.
#[test]
fn a_token_is_exchanged() {
    const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
    const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
    let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
    let credential = format!(
        "[credentials.api.token_exchange]\ntoken_url = \"{}\"\nsubject_token = {{ env = \"SUBJECT\" }}\n\
         actor_token = {{ env = \"ACTOR\" }}\nactor_token_type = \"access_token\"\n\
         requested_token_type = \"access_token\"\naudience = \"crm\"\nscope = \"read\"\n\
         resource = [\"https://a.example\", \"https://b.example\"]\n",
        endpoint.url()
    );
    let proxy = proxy(&credential, &[("SUBJECT", "ey.subject.token"), ("ACTOR", "ey.actor.token")], &upstream);
    assert_eq!(proxy.get("/api/x").status, 200);
    let pairs = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", JWT),
        ("actor_token_type", ACCESS_TOKEN),
        ("requested_token_type", ACCESS_TOKEN),
        ("scope", "read"),
        ("audience", "crm"),
        ("resource", "https://a.example"),
        ("resource", "https://b.example"),
        ("subject_token", "ey.subject.token"),
        ("actor_token", "ey.actor.token"),
    ];
    assert_eq!(only_form(&endpoint), pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

/// TL-03: a subject token that rotates in its file is presented from the next fetch on, and the old access token serves
/// until that has brought a new one.
#[test]
fn a_subject_token_that_rotates_is_read_again() {
    let folder = tempfile::tempdir().expect("there is room for a file");
    let file = folder.path().join("subject");
    let write = |text: &str| {
        std::fs::write(&file, text).expect("there is room for a file");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, mode).expect("it is ours");
    };
    write("the-first-subject-token");
    let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
    let credential = format!(
        "[credentials.api.token_exchange]\ntoken_url = \"{}\"\nsubject_token = {{ file = \"{}\" }}\n",
        endpoint.url(),
        file.display()
    );
    let toml = one_route_of(&credential, &format!("url = \"{}\"", upstream.url()), "");
    let proxy = Proxy::start(&toml);
    assert_eq!(proxy.get("/api/x").status, 200);
    write("the-second-subject-token");
    proxy.reload(&toml).expect("nothing is wrong with it");
    // A request that finds the token soft takes it, and starts the fetch that another one may have started.
    assert_eq!(proxy.get("/api/x").status, 200);
    endpoint.wait_for_requests(2);
    let subjects: Vec<_> = endpoint.requests().iter().map(|request| request.form("subject_token").unwrap()).collect();
    assert_eq!(subjects, ["the-first-subject-token", "the-second-subject-token"]);
    assert!(upstream.requests().iter().all(|request| request.bearer().is_some()));
}

/// As GitHub's "Generating an installation access token for a GitHub App" says: a JWT of the App is the Bearer token of the
/// request, the answer is a 201 whose `expires_at` is a date.
#[test]
fn a_github_app_gets_tokens_of_its_installation() {
    let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
    let answer = json!({ "token": "ghs_16C7e42F292c6912E7710c838347Ae178B4a", "expires_at": "2126-07-11T22:14:10Z" });
    endpoint.script([Grant::Json(201, answer)]);
    let api_url = endpoint.url().replace("/token", "/api/v3/");
    let credential = format!(
        "[credentials.api.github_app]\napp_id = 7\ninstallation_id = 11223344\nprivate_key = {{ env = \"KEY\" }}\n\
         api_url = \"{api_url}\"\nrepositories = \"hello\"\npermissions = {{ contents = \"read\" }}\n"
    );
    let proxy = proxy(&credential, &[("KEY", RSA)], &upstream);
    assert_eq!(proxy.get("/api/x").status, 200);
    assert_eq!(proxy.get("/api/x").status, 200);
    let tokens: Vec<_> = upstream.requests().iter().map(|request| request.bearer().map(str::to_owned)).collect();
    assert_eq!(tokens, vec![Some("ghs_16C7e42F292c6912E7710c838347Ae178B4a".to_owned()); 2]);
    let requests = endpoint.requests();
    let [request] = &requests[..] else { panic!("{} token requests", requests.len()) };
    assert_eq!((&*request.method, &*request.target), ("POST", "/api/v3/app/installations/11223344/access_tokens"));
    assert_eq!(request.headers.get("content-type"), Some("application/json"));
    let body: Value = serde_json::from_slice(&request.body).expect("it is JSON");
    assert_eq!(body, json!({ "repositories": ["hello"], "permissions": { "contents": "read" } }));
    let (_, claims) = verified(request.bearer().expect("the App says who it is"));
    let [iat, exp] = ["iat", "exp"].map(|claim| claims[claim].as_u64().expect("a time"));
    assert_eq!((&claims["iss"], exp - iat), (&json!("7"), 600));
}

/// SEC-13, and the attack K14: at trace level neither the log nor an answer has what a grant presents, though the
/// server repeats it.
#[test]
fn what_grants_present_is_in_no_log_and_no_answer() {
    const PLANTED: [(&str, &str); 5] = [
        ("SECRET", "planted-client+secret/0001"),
        ("PASSWORD", "planted-password+secret/0002"),
        ("PIN", "planted-pin+secret/0003"),
        ("SUBJECT", "planted-subject+secret/0004"),
        ("ACTOR", "planted-actor+secret/0005"),
    ];
    let (endpoint, upstream) = (TokenEndpoint::start(), Upstream::open());
    let kinds = [
        ("password", "username = \"ada\"\npassword = { env = \"PASSWORD\" }"),
        ("custom_grant", "grant_type = \"pin\"\nsecret_parameters = { pin = { env = \"PIN\" } }"),
        ("token_exchange", "subject_token = { env = \"SUBJECT\" }\nactor_token = { env = \"ACTOR\" }"),
        ("jwt_bearer", "private_key = { env = \"KEY\" }"),
    ];
    let address = free_address();
    let mut toml = format!("[log]\nlevel = \"trace,hyper=trace\"\n[[listeners]]\naddress = \"{address}\"\n");
    for (kind, keys) in kinds {
        toml += &format!(
            "[credentials.{kind}.{kind}]\ntoken_url = \"{}\"\nclient_id = \"app\"\nclient_secret = {{ env = \"SECRET\" }}\n\
             token_endpoint_auth_method = \"client_secret_post\"\n{keys}\n[upstreams.{kind}]\nurl = \"{}\"\n\
             credential = \"{kind}\"\n[[routes]]\npath = \"/{kind}/{{*rest}}\"\nupstream = \"{kind}\"\nclients = \"anyone\"\n",
            endpoint.url(),
            upstream.url()
        );
    }
    let environment: Vec<_> = PLANTED.into_iter().chain([("KEY", RSA)]).collect();
    let proxy = Child::run(&toml, &environment);
    let mut answers = String::new();
    for (kind, _) in kinds {
        let says = format!("you sent {}", PLANTED.map(|(_, secret)| secret).join(" "));
        let refusal = json!({ "error": "invalid_grant", "error_description": says });
        endpoint.script([Grant::Json(400, refusal)]);
        let refused = get(address, &format!("/{kind}/x"));
        assert_problem(&refused, 502);
        answers += &refused.text();
    }
    let sent: Vec<_> =
        endpoint.requests().iter().map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect();
    let assertion = endpoint.requests()[3].form("assertion").expect("it was signed");
    let log = proxy.output();
    assert!(log.contains("TRACE") && log.contains("invalid_grant") && sent.len() == kinds.len(), "{log}");
    for (name, secret) in PLANTED {
        let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        assert!(sent.iter().any(|body| body.contains(&form)), "{name} reached nobody");
        for spelling in [secret, &form, &assertion] {
            assert!(!log.contains(spelling) && !answers.contains(spelling), "{name} leaks:\n{log}\n{answers}");
        }
    }
}
