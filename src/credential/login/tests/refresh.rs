use super::*;
use crate::token::FetchErrorKind;

/// A login in two steps, and its renewal.
const TABLE: &str = r#"
attach = { header = "X-Auth", value = "{site}:{token}" }
[[credentials.api.login.steps]]
url = "$URL/login"
form = { password = "{password}" }
answer = { token = "auth.token", values.site = "auth.site" }
[[credentials.api.login.steps]]
method = "GET"
url = "$URL/confirm/{token}"
answer.values.seat = "seat"
[credentials.api.login.refresh]
url = "$URL/renew/{site}"
headers = { X-Old = "{token}" }
json = { refresh = "{refresh_token}", seat = "{seat}" }
"#;

fn source(table: &str, peer: &Peer) -> Login {
    let config = config(table, peer);
    let CredentialKind::Login(login) = &config.kind else { panic!("it is a login") };
    Login::new(&config.name, login, &parts(WALL_S))
}

async fn renewed(login: &Login) -> Result<Granted, Failure> {
    login.renewed(timer_now() + Duration::from_secs(10)).await
}

/// Answers logins with `L1`, `L2` and so on, and renewals with what stands here.
async fn peer(renewals: Vec<Vec<u8>>) -> Peer {
    let (mut logins, mut renewals) = (0, renewals.into_iter());
    Peer::start(move |request| {
        let target = request.split(' ').nth(1).unwrap();
        Then::Answer(if target == "/login" {
            logins += 1;
            let body = format!(r#"{{"auth":{{"token":"L{logins}","site":"s","refresh_token":"of-L{logins}"}}}}"#);
            answer(200, "", &body)
        } else if target.starts_with("/confirm/") {
            answer(200, "", r#"{"seat":"7"}"#)
        } else {
            renewals.next().expect("no further renewal is asked for")
        })
    })
    .await
}

fn asked(peer: &Peer) -> Vec<String> {
    peer.requests().iter().map(|request| request.split(' ').nth(1).unwrap().to_owned()).collect()
}

/// TL-52: a token is renewed by the last refresh token that there is; one that is not replaced stays in force. What else the login
/// was answered stays with the token.
#[tokio::test]
async fn a_login_is_renewed_by_its_refresh_token() {
    let token = |body: &str| answer(200, "", format!(r#"{{"auth":{{{body}}}}}"#));
    let peer = peer(vec![
        token(r#""token":"T2","refresh_token":"R2""#),
        token(r#""token":"T3""#),
        token(r#""token":"T4","refresh_token":"""#),
    ])
    .await;
    let login = source(TABLE, &peer);
    for (number, expected) in ["L1", "T2", "T3", "T4"].into_iter().enumerate() {
        let granted = renewed(&login).await.unwrap_or_else(|failure| panic!("{number}: {}", failure.text()));
        assert_eq!(granted.value.expose(), expected);
        let further: Vec<_> = granted.further.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(further, [("seat", "7"), ("site", "s")], "{number}");
    }
    assert_eq!(asked(&peer), ["/login", "/confirm/L1", "/renew/s", "/renew/s", "/renew/s"]);
    for (request, (old, refresh)) in peer.requests()[2..].iter().zip([("L1", "of-L1"), ("T2", "R2"), ("T3", "R2")]) {
        assert!(request.contains(&format!("x-old: {old}\r\n")), "{request}");
        assert!(request.ends_with(&format!(r#"{{"refresh":"{refresh}","seat":"7"}}"#)), "{request}");
    }
}

/// A refresh token that is refused, or brings nothing that can be read, is given up in the same attempt: logging in takes nobody.
#[tokio::test]
async fn a_refused_renewal_is_a_login() {
    for (status, body) in [(400, r#"{"error":"invalid_grant"}"#), (401, ""), (404, ""), (200, "<html>Hello</html>")] {
        let peer = peer(vec![answer(status, "", body), answer(200, "", r#"{"auth":{"token":"T2"}}"#)]).await;
        let login = source(TABLE, &peer);
        for expected in ["L1", "L2", "T2"] {
            assert_eq!(renewed(&login).await.unwrap().value.expose(), expected, "{status} {body}");
        }
        assert!(peer.requests().last().unwrap().contains("of-L2"), "the new login's refresh token counts");
    }
}

/// TL-32: a request to wait is no refusal, and the refresh token is kept meanwhile.
#[tokio::test]
async fn a_renewal_that_has_to_wait_is_tried_again() {
    let peer = peer(vec![answer(429, "Retry-After: 7\r\n", ""), answer(200, "", r#"{"auth":{"token":"T2"}}"#)]).await;
    let login = source(TABLE, &peer);
    renewed(&login).await.unwrap();
    let failure = renewed(&login).await.unwrap_err();
    assert_eq!(failure.kind, FetchErrorKind::RateLimited { retry_after: Some(Duration::from_secs(7)) });
    assert_eq!(renewed(&login).await.unwrap().value.expose(), "T2");
    assert_eq!(asked(&peer), ["/login", "/confirm/L1", "/renew/s", "/renew/s"]);
}

/// TL-32: whatever else became of a renewal, the attempt after it logs in: the refresh token may be used up, and a server may
/// answer 500 to one that is, for ever. The failure does not repeat it.
#[tokio::test]
async fn a_renewal_that_may_have_been_one_is_not_made_again() {
    let renewals = [
        Then::Answer(answer(500, "", r#"{"error":"dead: of-L1"}"#)),
        Then::Answer(answer(503, "Retry-After: 7\r\n", "")),
        Then::Close(Vec::new()),
        Then::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"auth\":".to_vec()),
    ];
    let count = renewals.len();
    let (mut logins, mut renewals) = (0, renewals.into_iter());
    let peer = Peer::start(move |request| match request.split(' ').nth(1).unwrap() {
        "/login" => {
            logins += 1;
            let body = format!(r#"{{"auth":{{"token":"L{logins}","site":"s","refresh_token":"of-L{logins}"}}}}"#);
            Then::Answer(answer(200, "", &body))
        }
        "/renew/s" => renewals.next().expect("no further renewal is asked for"),
        _ => Then::Answer(answer(200, "", r#"{"seat":"7"}"#)),
    })
    .await;
    let login = source(TABLE, &peer);
    assert_eq!(renewed(&login).await.unwrap().value.expose(), "L1");
    for number in 0..count {
        let failure = renewed(&login).await.unwrap_err();
        assert!(failure.text().contains("failed: renewing, "), "{number}: {}", failure.text());
        assert!(!failure.text().contains("of-L"), "{number}: {}", failure.text());
        let granted = renewed(&login).await.unwrap_or_else(|failure| panic!("{number}: {}", failure.text()));
        assert_eq!(granted.value.expose(), format!("L{}", number + 2));
    }
    let asked = asked(&peer);
    let of = |target: &str| asked.iter().filter(|asked| *asked == target).count();
    assert_eq!((of("/renew/s"), of("/login")), (count, count + 1));
}

/// Without an `answer` of its own, a renewal says anew what the login said of the token, as far as it says it: the base URL
/// among it, by the same rule.
#[tokio::test]
async fn a_renewal_may_say_the_values_anew() {
    let token = |body: &str| answer(200, "", format!(r#"{{"auth":{{{body}}}}}"#));
    let peer = peer(vec![
        token(r#""token":"T2","site":"moved""#),
        token(r#""token":"T3","site":"""#),
        token(r#""token":"T4""#),
    ])
    .await;
    let login = source(TABLE, &peer);
    for (token, site) in [("L1", "s"), ("T2", "moved"), ("T3", "moved"), ("T4", "moved")] {
        let granted = renewed(&login).await.unwrap();
        let further = |name: &str| granted.further[name].expose().to_owned();
        assert_eq!((granted.value.expose(), &*further("site"), &*further("seat")), (token, site, "7"));
    }
    assert_eq!(asked(&peer)[2..], ["/renew/s", "/renew/moved", "/renew/moved"]);
}

/// It may be anywhere, as the token may, and an answer without one is followed by a login.
#[tokio::test]
async fn a_refresh_token_is_where_it_is_declared_to_be() {
    for (place, headers, body) in [
        ("\"keys.0.renew\"", "", r#"{"access_token":"T","keys":[{"renew":"R"}]}"#),
        ("{ header = \"X-Renew\" }", "x-renew: R\r\n", r#"{"access_token":"T","refresh_token":"other"}"#),
        ("{ cookie = \"renew\" }", "set-cookie: renew=R; Path=/\r\n", r#"{"access_token":"T"}"#),
    ] {
        let (bytes, bare) =
            (answer(200, headers, body), answer(200, "", r#"{"access_token":"T","refresh_token":"other"}"#));
        let mut answers = vec![bare, bytes].into_iter().cycle();
        let peer = Peer::start(move |_| Then::Answer(answers.next().unwrap())).await;
        let table = format!(
            "url = \"$URL/login\"\nanswer.refresh_token = {place}\n\
             [credentials.api.login.refresh]\nurl = \"$URL/renew\"\nform.refresh_token = \"{{refresh_token}}\"\n"
        );
        let login = source(&table, &peer);
        for _ in 0..3 {
            renewed(&login).await.unwrap();
        }
        assert_eq!(asked(&peer), ["/login", "/login", "/renew"], "{place}");
        assert!(peer.requests()[2].ends_with("refresh_token=R"));
    }
}
