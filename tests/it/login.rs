//! Logins that are no OAuth 2.0, as docs/credentials/login.md declares them, against scripted peers.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Proxy, Reply, Request, Upstream, one_route_of};

const SECRET: &str = "a-secret-of-the-provider";

/// What a provider answers to a login, and what is to be seen of it.
struct Provider {
    /// The path that its route begins with.
    route: &'static str,
    host: &'static str,
    answer: (&'static [(&'static str, &'static str)], &'static str),
    /// Target and body of the login.
    asked: (&'static str, &'static str),
    /// The header that the API is then sent.
    attached: (&'static str, &'static str),
}

const PROVIDERS: [Provider; 3] = [
    Provider {
        route: "feishu",
        host: "https://open.feishu.cn",
        answer: (&[], r#"{"code":0,"msg":"ok","tenant_access_token":"t-0123456789abcdef","expire":7200}"#),
        asked: (
            "/open-apis/auth/v3/tenant_access_token/internal",
            r#"{"app_id":"cli_a1b2c3","app_secret":"a-secret-of-the-provider"}"#,
        ),
        attached: ("authorization", "Bearer t-0123456789abcdef"),
    },
    Provider {
        route: "tableau",
        host: "https://tableau.example.com",
        answer: (
            &[],
            r#"{"credentials":{"site":{"id":"s"},"token":"0123456789abcdef|T","estimatedTimeToExpiration":"177:05:38"}}"#,
        ),
        asked: (
            "/api/3.22/auth/signin",
            r#"{"credentials":{"personalAccessTokenName":"attache","personalAccessTokenSecret":"a-secret-of-the-provider","site":{"contentUrl":"acme"}}}"#,
        ),
        attached: ("x-tableau-auth", "0123456789abcdef|T"),
    },
    Provider {
        route: "sap",
        host: "https://sap.example.com:50000",
        answer: (
            &[
                ("Set-Cookie", "B1SESSION=S-0123456789; Path=/b1s/v1; HttpOnly"),
                ("Set-Cookie", "ROUTEID=.node1; Path=/b1s"),
            ],
            r#"{"SessionId":"S","Version":"10","SessionTimeout":30}"#,
        ),
        asked: (
            "/b1s/v1/Login",
            r#"{"CompanyDB":"SBODEMO","Password":"a-secret-of-the-provider","UserName":"manager"}"#,
        ),
        attached: ("cookie", "B1SESSION=S-0123456789; ROUTEID=.node1"),
    },
];

/// The first configuration of the page, with these peers in place of the providers.
fn configuration(folder: &std::path::Path, peers: &[Upstream]) -> String {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/credentials/login.md")).unwrap();
    let mut toml =
        page.split("```").nth(1).unwrap().strip_prefix("toml").unwrap().replace("127.0.0.1:8080", "127.0.0.1:0");
    for (provider, peer) in PROVIDERS.iter().zip(peers) {
        assert!(toml.contains(provider.host), "{}", provider.host);
        toml = toml.replace(provider.host, &peer.url());
        let file = folder.join(provider.route);
        fs::write(&file, SECRET).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    toml.replace("/run/secrets", &folder.display().to_string())
}

/// The login, and what the API was asked after it.
fn login_and_request(peer: &Upstream) -> (Request, Request) {
    let requests: [Request; 2] = peer.requests().try_into().unwrap_or_else(|requests| panic!("{requests:?}"));
    requests.into()
}

/// SEC-10, SEC-13: what a login brings goes where the page says, in place of the client's own, and is masked in answers.
#[test]
fn the_logins_of_the_page_are_made_and_what_they_bring_is_attached() {
    let folder = tempfile::tempdir().unwrap();
    let peers: Vec<Upstream> = PROVIDERS.iter().map(|_| Upstream::open()).collect();
    let proxy = Proxy::start(&configuration(folder.path(), &peers));
    for (provider, peer) in PROVIDERS.iter().zip(&peers) {
        let (name, value) = provider.attached;
        peer.script([
            Reply::answer(200, provider.answer.0, provider.answer.1.as_bytes()),
            Reply::answer(200, &[("X-Echo", value)], b"ok"),
        ]);
        let answer = proxy.send("GET", &format!("/{}/things", provider.route), &[(name, "the-client's=own")], b"");
        assert_eq!((answer.status, &*answer.text()), (200, "ok"), "{}", provider.route);
        let (login, request) = login_and_request(peer);
        assert_eq!((login.method.as_str(), login.target.as_str()), ("POST", provider.asked.0));
        assert_eq!(String::from_utf8(login.body).unwrap(), provider.asked.1);
        assert_eq!((request.target.as_str(), request.headers.get(name)), ("/things", Some(value)));
        let echoed = answer.headers.get("x-echo").unwrap();
        assert!(echoed.contains("*****") && !echoed.contains("0123456789"), "{echoed}");
    }
}

/// The password is sent once: what renews the token is the refresh token that came with it.
#[test]
fn a_login_is_renewed_by_its_refresh_token() {
    let peer = Upstream::open();
    let credential = format!(
        r#"
[credentials.api.login]
values.password = {{ env = "SECRET" }}
url = "{0}/login"
json = {{ password = "{{password}}" }}
answer.refresh_token = {{ header = "X-Refresh" }}
[credentials.api.login.refresh]
url = "{0}/renew"
form.with = "{{refresh_token}}"
"#,
        peer.url()
    );
    // Tokens that cannot be kept: each request takes another one.
    let granted = |token: &str| format!(r#"{{"access_token":"{token}","expires_in":0}}"#).into_bytes();
    let refresh = [("X-Refresh", "r-0123456789abcdef")];
    peer.script([
        Reply::answer(200, &refresh, &granted("t-one")),
        Reply::text("ok"),
        Reply::answer(200, &[], &granted("t-two")),
        Reply::text("ok"),
    ]);
    let proxy = Proxy::start(&one_route_of(&credential, &format!("url = \"{}\"", peer.url()), ""));
    assert_eq!([proxy.get("/api/x").status, proxy.get("/api/x").status], [200, 200]);
    let requests = peer.requests();
    let targets: Vec<&str> = requests.iter().map(|request| request.target.as_str()).collect();
    assert_eq!(targets, ["/login", "/x", "/renew", "/x"]);
    assert_eq!(requests[2].body, b"with=r-0123456789abcdef");
    assert_eq!(requests[3].bearer(), Some("t-two"));
}
