use std::collections::BTreeMap;

use super::*;
use crate::clock::SystemClock;
use crate::config::{Environment, load_text};
use crate::snapshot::Living;

const TOML: &str = r#"
[[listeners]]
address = "127.0.0.1:8080"

[credentials.crm.bearer]
token = { env = "SECRET" }

[credentials.maps.basic]
username = "u"
password = { env = "SECRET" }
"#;

fn config() -> Config {
    let environment = Environment(BTreeMap::from([("SECRET".to_owned(), "planted-secret".to_owned())]));
    load_text(Path::new("proxy.toml"), TOML, &environment, Load::Full).unwrap().config
}

#[test]
fn a_name_that_is_not_there_is_told_which_ones_are() {
    let config = config();
    assert_eq!(&*find(&config, "maps").unwrap().name, "maps");
    let Err(Failure::Failed(why)) = find(&config, "crn") else { panic!("it is not there") };
    assert_eq!(why, "there is no credential `crn`: there are `crm`, `maps`");
}

/// Nothing is loaded and nobody is asked before it is clear where the token would go.
#[test]
fn a_bare_token_is_not_shown_on_a_terminal() {
    let wanted = Wanted { name: "crm", may_rotate: MayRotate::No, subject: None };
    let Err(Failure::Failed(why)) = print(Path::new("/nowhere"), &wanted, true) else { panic!("it is") };
    assert!(why.contains("terminal"), "{why}");
}

#[tokio::test]
async fn what_is_sent_as_it_is_has_no_token() {
    let config = config();
    let living = Living::new(&config, Arc::new(SystemClock), tokio::runtime::Handle::current());
    let parts = living.credential_parts();
    for credential in &config.credentials {
        let mut out = Vec::new();
        let told = tell_of(credential, &parts, None, MayRotate::Yes, &mut out).await;
        let Err(Failure::Failed(why)) = told else { panic!("there is none") };
        assert!(why.contains("it is sent as it is") && out.is_empty(), "{why}");
        assert!(live::fetch(credential, &parts, MayRotate::Yes).await.unwrap_err().contains("no token to fetch"));
    }
}
