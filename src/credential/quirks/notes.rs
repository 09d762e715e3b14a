//! What an entry says in prose, each shown by a run of its own.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{configured, headers, text};
use crate::clock::{Clock, ManualClock};
use crate::credential::endpoint::tests::{Peer, Then, answer};
use crate::credential::oauth2::tests::parts;
use crate::credential::{Credential, Parts};
use crate::token::TokenCache;

/// RFC 6749 section 6: an answer without a refresh token leaves the one that is held in force (TL-50).
pub(super) async fn the_refresh_token_is_kept(quirk: &Value) {
    let (clock, peer) = (Arc::new(ManualClock::at(SystemTime::UNIX_EPOCH)), answering(quirk).await);
    let url = peer.url("/v1/oauth/refresh");
    let config = configured(&format!(
        "[credentials.quirk.refresh_token]\ntoken_url = \"{url}\"\nclient_id = \"id\"\nclient_secret = {{ env = \"SECRET\" }}\n\
         refresh_token = {{ env = \"SEED\" }}\n"
    ));
    let tokens = TokenCache::new(clock.clone(), tokio::runtime::Handle::current());
    let parts = Parts { clock: clock.clone() as Arc<dyn Clock>, tokens, ..parts() };
    let running = Credential::new(&config, &parts);
    for _ in 0..2 {
        running.take(Duration::from_secs(10)).await.expect("a token is granted");
        clock.advance(Duration::from_secs(quirk["expect_life_s"].as_u64().expect("it is a number") + 1));
    }
    let requests = peer.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|request| request.contains("refresh_token=the-stored-one")), "{requests:?}");
}

/// No path into XML can be declared. The entry concludes that JSON is to be asked for, which every token request does: with the
/// token, the lifetime and the header that the note names, in JSON, this is what becomes of it. The peer is scripted: that Walmart
/// heeds `Accept` is taken from the entry.
pub(super) async fn json_is_asked_for(quirk: &Value) {
    let json = r#"{"access_token":"T","token_type":"Bearer","expires_in":900}"#;
    let json = answer(200, "Content-Type: application/json\r\n", json);
    let xml = in_answer(quirk);
    let peer = Peer::start(move |request| {
        let wants_json = request.to_ascii_lowercase().contains("\r\naccept: application/json\r\n");
        let is_told = request.contains("wm_svc.name: attache\r\n") && request.contains("wm_qos.correlation_id: 7\r\n");
        Then::Answer(if wants_json && is_told { json.clone() } else { xml.clone() })
    })
    .await;
    let url = peer.url("/v3/token");
    let config = configured(&format!(
        "[credentials.quirk.login]\nurl = \"{url}\"\nvalues.secret = {{ env = \"SECRET\" }}\n\
         basic = {{ username = \"id\", password = \"{{secret}}\" }}\nform.grant_type = \"client_credentials\"\n\
         headers = {{ \"WM_SVC.NAME\" = \"attache\", \"WM_QOS.CORRELATION_ID\" = \"7\" }}\n\
         attach = {{ header = \"WM_SEC.ACCESS_TOKEN\" }}\n"
    ));
    let running = Credential::new(&config, &parts());
    let attachment = running.take(Duration::from_secs(10)).await.expect("a token is granted");
    assert_eq!(super::sent(&attachment), "wm_sec.access_token: T");
    let Credential::Token(token) = &running else { panic!("it is fetched") };
    let life = token.cell.status().expires_in.expect("it says how long");
    assert_eq!(life.as_secs_f64().round(), 900.0);
}

async fn answering(quirk: &Value) -> Peer {
    Peer::answering(in_answer(quirk)).await
}

fn in_answer(quirk: &Value) -> Vec<u8> {
    let status = quirk["status"].as_u64().expect("it has one") as u16;
    let headers = headers(quirk);
    let head: String = headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect();
    answer(status, &head, text(quirk, "body").expect("it has one"))
}
