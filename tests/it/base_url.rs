//! Upstreams that are where the token's answer says: Salesforce's `instance_url`, and the like.

use std::time::Duration;

use http::{Response, Version};
use hyper::body::Frame;
use serde_json::{Value, json};

use crate::support::{
    Grant, Identity, Proxy, Reply, TlsPeer, TokenEndpoint, Upstream, assert_problem, client_credentials, one_route_of,
};

const URL: &str = "url = \"{instance_url}/services/data/\"";

/// A token that says where the API is, and lives for this many seconds.
fn living(expires_in: u64, token: &str, url: &str) -> Grant {
    Grant::Json(200, json!({ "access_token": token, "expires_in": expires_in, "instance_url": url }))
}

fn granted(token: &str, url: &str) -> Grant {
    living(3600, token, url)
}

fn host(upstream: &Upstream) -> String {
    upstream.address().to_string()
}

/// A configuration whose upstream may be at these hosts.
fn configuration(endpoint: &TokenEndpoint, hosts: &[String]) -> String {
    let credential = format!("{}answer.base_urls.instance_url = {hosts:?}\n", client_credentials(&endpoint.url()));
    one_route_of(&credential, URL, "")
}

/// SEC-11, SEC-12, SEC-14, TL-40: a request goes where its token says, `Host` and rewritten URLs included; the replay with a
/// new token goes where that one says, and so do the requests after it.
#[test]
fn requests_follow_the_url_of_their_token() {
    let (endpoint, first, second) = (TokenEndpoint::start(), Upstream::open(), Upstream::open());
    let proxy = Proxy::start(&configuration(&endpoint, &[host(&first), host(&second)]));
    endpoint.script([living(10, "token-one", &first.url()), granted("token-two", &format!("{}/", second.url()))]);

    let location = |upstream: &Upstream| format!("{}/services/data/things/7", upstream.url());
    first.script([Reply::answer(201, &[("Location", &location(&first))], b"made"), Reply::answer(401, &[], b"")]);
    endpoint.grants().add("token-one", None);
    let made = proxy.send("POST", "/api/things", &[], b"{}");
    let here = format!("http://{}/api/things/7", proxy.address());
    assert_eq!((made.status, made.headers.get("location")), (201, Some(here.as_str())));
    let sent = first.request();
    assert_eq!((sent.target.as_str(), sent.headers.get("host")), ("/services/data/things", Some(&*host(&first))));
    assert_eq!(sent.headers.get("authorization"), Some("Bearer token-one"));

    // Old enough to be replaced when it is rejected.
    endpoint.grants().wait_until_older_than(Duration::from_millis(1_200));
    second.script([Reply::answer(200, &[("Location", &location(&first))], b"moved")]);
    let moved = proxy.send("POST", "/api/things", &[], b"{\"a\":1}");
    assert_eq!((moved.status, &*moved.text()), (200, "moved"));
    assert_eq!(moved.headers.get("location"), Some(location(&first).as_str()), "it is another host now");
    let sent = second.request();
    assert_eq!((sent.target.as_str(), sent.headers.get("host")), ("/services/data/things", Some(&*host(&second))));
    assert_eq!((sent.headers.get("authorization"), &*sent.body), (Some("Bearer token-two"), &b"{\"a\":1}"[..]));

    assert_eq!(proxy.get("/api/more?x=1").status, 200);
    assert_eq!((first.asked(), second.asked(), endpoint.requests().len()), (2, 2, 2));
}

/// SEC-11, SEC-14: name, certificate and HTTP/2's authority are those of the token's URL.
#[test]
fn tls_and_http2_are_spoken_with_the_host_of_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::new(folder.path(), "own", &["localhost"]);
    let [first, second] =
        [(), ()].map(|()| TlsPeer::start(&identity, &identity, |_| Response::new(vec![Frame::data("ok".into())])));
    let endpoint = TokenEndpoint::start();
    let ports = [&first, &second].map(|peer| peer.address.port());
    let [one, two] = ports.map(|port| format!("localhost:{port}"));
    let configuration = |url: &str| {
        let credential =
            format!("{}answer.base_urls.instance_url = [{one:?}, {two:?}]\n", client_credentials(&endpoint.url()));
        one_route_of(&credential, &format!("{url}\nca = {:?}", identity.cert_file), "")
    };
    for (peer, authority) in [(&first, &one), (&second, &two)] {
        endpoint.script([granted(authority, &format!("https://{authority}"))]);
        let proxy = Proxy::start(&configuration(URL));
        assert_eq!(proxy.get("/api/x").text(), "ok");
        let [request] = &peer.requests()[..] else { panic!("one request") };
        assert_eq!((request.version, &request.authority), (Version::HTTP_2, authority));
    }
}

/// SEC-14, TL-26, TL-71: a token whose URL is not allowed is refused before anything is sent.
#[test]
fn what_is_not_allowed_is_sent_nothing() {
    let (allowed, other) = (Upstream::open(), Upstream::open());
    let port = allowed.address().port();
    let cases: [(Value, u16); 8] = [
        (json!(other.url()), 502),
        (json!(format!("http://localhost:{port}")), 502),
        (json!(format!("http://user@127.0.0.1:{port}")), 502),
        (json!(format!("http://127.0.0.1:{port}/v1")), 502),
        (json!(format!("http://acme.crm.example:{port}")), 502),
        (json!("https://acme.crm.example.evil.example"), 502),
        (json!("acme.crm.example"), 502),
        // The answer is not as it should be: that passes as often as not.
        (Value::Null, 503),
    ];
    for (url, status) in cases {
        let endpoint = TokenEndpoint::start();
        let hosts = [host(&allowed), format!("*.crm.example:{port}"), "*.crm.example".to_owned()];
        let toml = configuration(&endpoint, &hosts)
            .replace("client_id", "timeouts = { connect = \"1s\", attempt = \"1s\", total = \"2s\" }\nclient_id");
        let proxy = Proxy::start(&toml);
        let answer = json!({ "access_token": "a-token-that-stays", "expires_in": 3600, "instance_url": url });
        endpoint.script(std::iter::repeat_n(Grant::Json(200, answer), 20));
        let problem = assert_problem(&proxy.get("/api/x"), status);
        assert_eq!(problem["fault"], "token_endpoint", "{url}");
    }
    assert_eq!((allowed.connections(), other.connections()), (0, 0));
}

/// SEC-14, TL-03: a reload that takes a host off the list ends the token that leads there.
#[test]
fn a_reload_that_allows_less_ends_the_token_that_leads_elsewhere() {
    let (endpoint, first, second) = (TokenEndpoint::start(), Upstream::open(), Upstream::open());
    let proxy = Proxy::start(&configuration(&endpoint, &[host(&first), host(&second)]));
    endpoint.script([granted("token-one", &first.url()), granted("token-two", &second.url())]);
    assert_eq!(proxy.get("/api/x").status, 200);
    proxy.reload(&configuration(&endpoint, &[host(&second)])).unwrap();
    assert_eq!(proxy.get("/api/x").status, 200);
    assert_eq!((first.asked(), second.asked(), endpoint.requests().len()), (1, 1, 2));

    // One that allows more leaves it as it is.
    proxy.reload(&configuration(&endpoint, &[host(&second), host(&first)])).unwrap();
    assert_eq!(proxy.get("/api/x").status, 200);
    assert_eq!((first.asked(), second.asked()), (1, 2));
}

/// SEC-11: a login's answer says it as well, in a value of another name.
#[test]
fn a_login_says_where_its_api_is() {
    let (login, api) = (Upstream::open(), Upstream::open());
    let credential = format!(
        r#"
[credentials.api.login]
url = "{}/login"
values.password = {{ env = "SECRET" }}
json = {{ password = "{{password}}" }}
answer.values.api = {{ header = "X-Api" }}
answer.base_urls.api = ["{}"]
"#,
        login.url(),
        host(&api)
    );
    let proxy = Proxy::start(&one_route_of(&credential, "url = \"{api}\"", ""));
    login.script([Reply::answer(200, &[("X-Api", &api.url())], br#"{"access_token":"T"}"#)]);
    assert_eq!(proxy.get("/api/x").status, 200);
    assert_eq!(api.request().headers.get("authorization"), Some("Bearer T"));
}

/// A login that is renewed by its refresh token follows the URL that the renewal says; where it says none, that of the login
/// stays.
#[test]
fn a_renewed_login_may_say_anew_where_the_upstream_is() {
    for (moves, asked) in [(true, (1, 1)), (false, (2, 0))] {
        let (login, first, second) = (Upstream::open(), Upstream::open(), Upstream::open());
        let credential = format!(
            r#"
[credentials.api.login]
values.password = {{ env = "SECRET" }}
url = "{0}/login"
json = {{ password = "{{password}}" }}
answer.base_urls.instance_url = [{1:?}, {2:?}]
[credentials.api.login.refresh]
url = "{0}/renew"
form.with = "{{refresh_token}}"
"#,
            login.url(),
            host(&first),
            host(&second)
        );
        // Tokens that cannot be kept: each request takes another one, and the proxy may fetch one more of its own accord.
        let answers = (1..9).map(|number| {
            let mut answer = json!({ "access_token": format!("T{number}"), "expires_in": 0 });
            if number == 1 {
                answer["refresh_token"] = json!("R1");
                answer["instance_url"] = json!(first.url());
            } else if moves {
                answer["instance_url"] = json!(second.url());
            }
            Reply::answer(200, &[], answer.to_string().as_bytes())
        });
        login.script(answers);
        let proxy = Proxy::start(&one_route_of(&credential, URL, ""));
        assert_eq!([proxy.get("/api/x").status, proxy.get("/api/x").status], [200, 200]);
        assert_eq!((first.asked(), second.asked()), asked);
        let renewal = &login.requests()[1];
        assert_eq!((renewal.target.as_str(), &*renewal.body), ("/renew", &b"with=R1"[..]));
    }
}
