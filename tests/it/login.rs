//! Logins that are no OAuth 2.0 are renewed as they declare. Those of docs/credentials/login.md are run with the other pages.

use crate::support::{Proxy, Reply, Upstream, one_route_of};

/// TL-26: a wrong password is sent once, and not again and again, whether the server says so with a 4xx or in a 200.
#[test]
fn a_refused_login_is_not_repeated() {
    let declared = "answer.success = { path = \"errcode\", equals = 0, or_absent = true }";
    for (shape, body) in [
        ("", r#"{"code":4,"message":"wrong password"}"#),
        ("", r#"{"errcode":40013,"errmsg":"invalid appid"}"#),
        (declared, r#"{"errcode":40013,"errmsg":"invalid appid"}"#),
    ] {
        let (server, api) = (Upstream::open(), Upstream::open());
        server.script((0..20).map(|_| Reply::answer(200, &[], body.as_bytes())));
        let login = format!(
            "[credentials.api.login]\nvalues.p = {{ env = \"SECRET\" }}\nurl = \"{}\"\njson = {{ p = \"{{p}}\" }}\n{shape}",
            server.url()
        );
        let proxy = Proxy::start(&one_route_of(&login, &format!("url = \"{}\"", api.url()), ""));
        for _ in 0..5 {
            assert_eq!(proxy.send("GET", "/api/x", &[], b"").status, 502, "{body}");
        }
        assert_eq!(server.requests().len(), 1, "{body}");
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
